//! istiod's allocator of addresses for the hosts of ServiceEntries: `status.addresses`, one of each family for each host.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::gateways::MANAGER;
use super::kinds::SERVICE_ENTRIES;
use super::presence;
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::controllers::object;

/// The networks that addresses come from, `240.240.0.0/16` and `2001:2::/48`.
const V4: Ipv4Addr = Ipv4Addr::new(240, 240, 0, 0);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0);

/// The allocator: addresses that were given are not given again as long as istiod runs.
#[derive(Default)]
pub(super) struct AutoAllocation {
    n_v4: u16,
    n_v6: u128,
}

impl Controller for AutoAllocation {
    fn name(&self) -> &'static str {
        "istio-ip-autoallocate"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match (change.resource.group.as_str(), change.resource.plural.as_str()) {
            ("networking.istio.io", "serviceentries") => vec![object::key(&change.object)],
            _ if presence::concerns_istiod(change) => {
                api.list(&SERVICE_ENTRIES, "").iter().map(|found| object::key(found)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        if presence::istiod(api).is_none() {
            return Ok(Requeue::OnChange);
        }
        let Some(entry) = api.get(&SERVICE_ENTRIES, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        let old = object::items(&entry["status"], "addresses");
        let hosts = hosts(&entry);
        let have: BTreeSet<&str> = old.iter().filter_map(|found| found["host"].as_str()).collect();
        if object::is_deleting(&entry) || have == hosts.iter().copied().collect() {
            return Ok(Requeue::OnChange);
        }
        let used = used(api);
        let mut addresses = Vec::new();
        for host in hosts {
            let before: Vec<&Value> = old.iter().filter(|found| found["host"] == host).collect();
            if before.is_empty() {
                for address in [self.next_v4(&used), self.next_v6(&used)] {
                    addresses.push(json!({ "host": host, "value": address.to_string() }));
                }
            } else {
                addresses.extend(before.into_iter().cloned());
            }
        }
        let patch = json!({ "status": { "addresses": addresses } });
        api.merge_patch(MANAGER, &SERVICE_ENTRIES, namespace, name, "status", patch)?;
        Ok(Requeue::OnChange)
    }
}

impl AutoAllocation {
    fn next_v4(&mut self, used: &BTreeSet<IpAddr>) -> IpAddr {
        loop {
            self.n_v4 = self.n_v4.wrapping_add(1).max(1);
            let address = IpAddr::from(Ipv4Addr::from(u32::from(V4) + u32::from(self.n_v4)));
            if !used.contains(&address) {
                return address;
            }
        }
    }

    fn next_v6(&mut self, used: &BTreeSet<IpAddr>) -> IpAddr {
        loop {
            self.n_v6 += 1;
            let address = IpAddr::from(Ipv6Addr::from(u128::from(V6) + self.n_v6));
            if !used.contains(&address) {
                return address;
            }
        }
    }
}

/// The hosts that get addresses: none if the entry has its own, resolves nothing, or opted out.
fn hosts(entry: &Value) -> Vec<&str> {
    let spec = &entry["spec"];
    let opted_out = object::label(entry, "networking.istio.io/enable-autoallocate-ip")
        .is_some_and(|value| value.eq_ignore_ascii_case("false"));
    let resolution = spec["resolution"].as_str().unwrap_or("NONE");
    if opted_out || resolution == "NONE" || !object::items(spec, "addresses").is_empty() {
        return Vec::new();
    }
    let mut found: Vec<&str> = Vec::new();
    for host in object::items(spec, "hosts").iter().filter_map(Value::as_str) {
        if (!host.starts_with('*') || resolution == "DYNAMIC_DNS") && !found.contains(&host) {
            found.push(host);
        }
    }
    found
}

/// All addresses that ServiceEntries have, given and their own.
fn used(api: &dyn Api) -> BTreeSet<IpAddr> {
    let parse = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    api.list(&SERVICE_ENTRIES, "")
        .iter()
        .flat_map(|entry| {
            let given = object::items(&entry["status"], "addresses").iter();
            let own = object::items(&entry["spec"], "addresses").iter();
            let given = given.filter_map(|found| parse(&found["value"]));
            given.chain(own.filter_map(parse)).collect::<Vec<IpAddr>>()
        })
        .collect()
}
