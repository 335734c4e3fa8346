//! Service of type LoadBalancer → an address of 127.0.0.0/8, as a cloud's controller gives one of its own.
//!
//! MetalLB's pools go before: where its controller runs, or a pool is there, this one gives nothing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::controllers::kinds::{ADDRESS_POOLS, SERVICES};
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::presence;

/// The first address that is given; 127.0.0.1 and its neighbours have owners on many machines.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 18, 0, 1);
const N_ADDRESSES: u32 = 65_000;

/// The controller of load balancers.
pub(in crate::sandbox) struct Balancer;

fn held(service: &Value) -> Option<Ipv4Addr> {
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()?.parse().ok()
}

fn wants(service: &Value) -> bool {
    service["spec"]["type"] == "LoadBalancer" && service["spec"]["loadBalancerClass"].is_null()
}

impl Controller for Balancer {
    fn name(&self) -> &'static str {
        "cloud-controller-manager"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match (change.resource.group.as_str(), change.resource.plural.as_str()) {
            ("", "services") => vec![object::key(&change.object)],
            ("metallb.io", "ipaddresspools") => api
                .list(&SERVICES, "")
                .iter()
                .filter(|service| wants(service))
                .map(|service| object::key(service))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(service) = api.get(&SERVICES, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        let others = presence::metal_lb(api).is_some() || !api.list(&ADDRESS_POOLS, "").is_empty();
        let own = held(&service);
        let wanted = wants(&service) && !object::is_deleting(&service);
        match own {
            Some(own) if own.is_loopback() && !wanted && !others => {
                self.write(api, &service, &Value::Null)?;
            }
            None if wanted && !others => {
                if let Some(address) = free(api, &service) {
                    let ingress = json!([{ "ip": address.to_string(), "ipMode": "VIP" }]);
                    self.write(api, &service, &ingress)?;
                    let text = "Ensured load balancer";
                    api.event(
                        "service-controller",
                        &service,
                        "Normal",
                        "EnsuredLoadBalancer",
                        text,
                    );
                }
            }
            _ => {}
        }
        Ok(Requeue::OnChange)
    }
}

impl Balancer {
    fn write(&self, api: &dyn Api, service: &Value, ingress: &Value) -> Result<(), Status> {
        let (namespace, name) = object::key(service);
        let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
        api.merge_patch(self.name(), &SERVICES, &namespace, &name, "status", status).map(drop)
    }
}

/// The address that a Service asks for, or the first that is free. An address that is not loopback's, or taken, is none.
fn free(api: &dyn Api, service: &Value) -> Option<Ipv4Addr> {
    let taken: BTreeSet<Ipv4Addr> =
        api.list(&SERVICES, "").iter().filter_map(|service| held(service)).collect();
    if let Some(asked) = service["spec"]["loadBalancerIP"].as_str().filter(|ip| !ip.is_empty()) {
        let asked: Ipv4Addr = asked.parse().ok()?;
        return (asked.is_loopback() && !taken.contains(&asked)).then_some(asked);
    }
    (0..N_ADDRESSES)
        .map(|step| Ipv4Addr::from_bits(FIRST.to_bits() + step))
        .find(|address| !taken.contains(address))
}
