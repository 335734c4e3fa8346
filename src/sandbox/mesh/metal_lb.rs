//! MetalLB's controller and speaker: addresses of IPAddressPools for LoadBalancer Services.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{metal_lb_start, presence};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::certificates::Authority;
use crate::sandbox::controllers::kinds::{
    ADDRESS_POOLS, DEPLOYMENTS, L2_ADVERTISEMENTS, NAMESPACES, NODES, SECRETS, SERVICES,
};
use crate::sandbox::controllers::object;

const MANAGER: &str = "metallb-controller";
const FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";

/// MetalLB.
pub(super) struct MetalLb {
    /// What its webhooks are known by.
    authority: Authority,
}

impl Default for MetalLb {
    fn default() -> Self {
        Self { authority: Authority::named("cert") }
    }
}

impl Controller for MetalLb {
    fn name(&self) -> &'static str {
        MANAGER
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let all = || {
            let mut keys: Vec<_> = api
                .list(&SERVICES, "")
                .iter()
                .filter(|service| service["spec"]["type"] == "LoadBalancer")
                .map(|service| object::key(service))
                .collect();
            keys.push(pools_key());
            keys
        };
        let object = &change.object;
        match (change.resource.group.as_str(), change.resource.plural.as_str()) {
            ("", "services") => vec![object::key(object), pools_key()],
            ("admissionregistration.k8s.io", "validatingwebhookconfigurations")
                if object::name(object).starts_with("metallb") =>
            {
                vec![pools_key()]
            }
            ("metallb.io", "ipaddresspools" | "l2advertisements") => all(),
            ("", "pods")
                if object::label(object, "app") == Some("metallb")
                    || object::label(object, "app.kubernetes.io/name") == Some("metallb") =>
            {
                all()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(controller) = presence::metal_lb(api) else {
            return Ok(Requeue::OnChange);
        };
        if (namespace, name) == ("", "") {
            member_list(api, &controller)?;
            metal_lb_start::certificates(api, &controller, &self.authority)?;
            metal_lb_start::state(api, &controller)?;
            return count_pools(api);
        }
        let Some(service) = api.get(&SERVICES, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        let wanted = service["spec"]["type"] == "LoadBalancer"
            && service["spec"]["loadBalancerClass"].is_null();
        let held = address(&service);
        if let Some(held) = held {
            let valid = wanted && pools(api).iter().any(|pool| contains(pool, held));
            if !valid {
                write_address(api, &service, None)?;
                return Ok(Requeue::OnChange);
            }
            return Ok(Requeue::OnChange);
        }
        if wanted && !object::is_deleting(&service) {
            assign(api, &service)?;
        }
        Ok(Requeue::OnChange)
    }
}

/// The Secret by which speakers know each other: the controller makes it when its pod is told a name for it, owned by its
/// Deployment; the speakers' pods mount it and start only then.
fn member_list(api: &dyn Api, controller: &Value) -> Result<(), Status> {
    let told = |name: &str| {
        object::items(&controller["spec"], "containers")
            .iter()
            .flat_map(|container| object::items(container, "env"))
            .find(|variable| variable["name"] == name)
            .and_then(|variable| variable["value"].as_str())
            .map(str::to_owned)
    };
    let Some(name) = told("METALLB_ML_SECRET_NAME") else { return Ok(()) };
    let namespace = object::namespace(controller);
    if api.get(&SECRETS, namespace, &name).is_some() {
        return Ok(());
    }
    let owner = told("METALLB_DEPLOYMENT")
        .and_then(|deployment| api.get(&DEPLOYMENTS, namespace, &deployment))
        .map(|deployment| {
            json!([{
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": object::name(&deployment),
                "uid": deployment["metadata"]["uid"],
            }])
        });
    let mut metadata = json!({ "name": name, "namespace": namespace });
    if let Some(owner) = owner {
        metadata["ownerReferences"] = owner;
    }
    let key = api.random_suffix(128);
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": { "secretkey": key },
    });
    match api.create(MANAGER, secret) {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        _ => Ok(()),
    }
}

/// The key under which the pools' own statuses are counted.
fn pools_key() -> (String, String) {
    (String::new(), String::new())
}

/// The first and the last address of `a-b` or `a/n`.
pub(super) fn range(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        return (first <= last).then_some((first, last));
    }
    let (base, bits) = text.split_once('/')?;
    let base: Ipv4Addr = base.parse().ok()?;
    let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    let first = base.to_bits() & mask;
    Some((Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first | !mask)))
}

fn pools(api: &dyn Api) -> Vec<std::sync::Arc<Value>> {
    api.list(&ADDRESS_POOLS, "").into_iter().filter(|pool| !object::is_deleting(pool)).collect()
}

fn ranges(pool: &Value) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> {
    object::items(&pool["spec"], "addresses").iter().filter_map(|text| range(text.as_str()?))
}

fn contains(pool: &Value, address: Ipv4Addr) -> bool {
    ranges(pool).any(|(first, last)| (first..=last).contains(&address))
}

fn address(service: &Value) -> Option<Ipv4Addr> {
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()?.parse().ok()
}

fn used(api: &dyn Api) -> BTreeSet<Ipv4Addr> {
    api.list(&SERVICES, "").iter().filter_map(|service| address(service)).collect()
}

/// Whether a pool serves a Service: by namespace and label, or to everybody.
fn serves(api: &dyn Api, pool: &Value, service: &Value) -> bool {
    let allocation = &pool["spec"]["serviceAllocation"];
    let namespaces = object::items(allocation, "namespaces");
    let selectors = object::items(allocation, "serviceSelectors");
    let namespace_selectors = object::items(allocation, "namespaceSelectors");
    let own = object::namespace(service);
    let by_namespace = namespaces.is_empty() && namespace_selectors.is_empty()
        || namespaces.iter().any(|name| name == own)
        || api.get(&NAMESPACES, "", own).is_some_and(|found| {
            namespace_selectors
                .iter()
                .any(|selector| object::selects(selector, &found["metadata"]["labels"]))
        });
    let labels = &service["metadata"]["labels"];
    let by_label =
        selectors.is_empty() || selectors.iter().any(|selector| object::selects(selector, labels));
    by_namespace && by_label
}

fn assign(api: &dyn Api, service: &Value) -> Result<(), Status> {
    let taken = used(api);
    let asked = service["spec"]["loadBalancerIP"]
        .as_str()
        .or_else(|| object::annotation(service, "metallb.io/loadBalancerIPs"))
        .or_else(|| object::annotation(service, "metallb.universe.tf/loadBalancerIPs"));
    let named = object::annotation(service, "metallb.io/address-pool")
        .or_else(|| object::annotation(service, "metallb.universe.tf/address-pool"));
    let mut all = pools(api);
    if all.is_empty() {
        // The real controller waits silently for a first pool.
        return Ok(());
    }
    all.sort_by_key(|pool| {
        let priority = pool["spec"]["serviceAllocation"]["priority"].as_u64().unwrap_or(0);
        (if priority == 0 { u64::MAX } else { priority }, object::name(pool).to_owned())
    });
    let refuse = |text: &str| {
        api.event(MANAGER, service, "Warning", "AllocationFailed", text);
        Ok(())
    };
    let key = format!("{}/{}", object::namespace(service), object::name(service));
    if let Some(asked) = asked {
        let wanted: Option<Ipv4Addr> = asked.trim().parse().ok();
        let Some((wanted, pool)) = wanted.and_then(|wanted| {
            all.iter().find(|pool| contains(pool, wanted)).map(|pool| (wanted, pool))
        }) else {
            return refuse(&format!(
                "Failed to allocate IP for \"{key}\": [\"{asked}\"] is not allowed in config"
            ));
        };
        if taken.contains(&wanted) {
            return refuse(&format!(
                "Failed to allocate IP for \"{key}\": can't change sharing key for \"{key}\", address also in use by \
                 another service"
            ));
        }
        return give(api, service, wanted, pool);
    }
    for pool in &all {
        let fits = match named {
            Some(named) => object::name(pool) == named,
            None => pool["spec"]["autoAssign"] != false && serves(api, pool, service),
        };
        if !fits {
            continue;
        }
        let buggy = pool["spec"]["avoidBuggyIPs"] == true;
        for (first, last) in ranges(pool) {
            for bits in first.to_bits()..=last.to_bits() {
                let candidate = Ipv4Addr::from_bits(bits);
                let skipped = buggy && matches!(candidate.octets()[3], 0 | 255);
                if !skipped && !taken.contains(&candidate) {
                    return give(api, service, candidate, pool);
                }
            }
        }
    }
    refuse(&format!("Failed to allocate IP for \"{key}\": no available IPs"))
}

fn give(api: &dyn Api, service: &Value, address: Ipv4Addr, pool: &Value) -> Result<(), Status> {
    write_address(api, service, Some((address, object::name(pool))))?;
    let text = format!("Assigned IP [\"{address}\"]");
    api.event(MANAGER, service, "Normal", "IPAllocated", &text);
    if service["spec"]["ipFamilyPolicy"] == "PreferDualStack" {
        let text = "cannot assign additional IP in PreferDualStack";
        api.event(MANAGER, service, "Warning", "AdditionalAssignFailed", text);
    }
    let advertised = api.list(&L2_ADVERTISEMENTS, "").iter().any(|found| {
        let wanted = object::items(&found["spec"], "ipAddressPools");
        wanted.is_empty() || wanted.iter().any(|name| name == object::name(pool))
    });
    let node = api.list(&NODES, "").first().map(|node| object::name(node).to_owned());
    if let (true, Some(node)) = (advertised, node) {
        let text = format!("announcing from node \"{node}\" with protocol \"layer2\"");
        api.event("metallb-speaker", service, "Normal", "nodeAssigned", &text);
    }
    Ok(())
}

fn write_address(
    api: &dyn Api,
    service: &Value,
    address: Option<(Ipv4Addr, &str)>,
) -> Result<(), Status> {
    let (namespace, name) = object::key(service);
    let pool = address.map(|(_, pool)| pool);
    let annotations = json!({ "metadata": { "annotations": { FROM_POOL: pool } } });
    api.merge_patch(MANAGER, &SERVICES, &namespace, &name, "", annotations)?;
    let balancer = match address {
        Some((address, _)) => {
            json!({ "ingress": [{ "ip": address.to_string(), "ipMode": "VIP" }] })
        }
        None => json!({ "ingress": null }),
    };
    let status = json!({ "status": { "loadBalancer": balancer } });
    api.merge_patch(MANAGER, &SERVICES, &namespace, &name, "status", status).map(drop)
}

/// `status` of each pool: how many addresses are given and left.
fn count_pools(api: &dyn Api) -> Result<Requeue, Status> {
    let used = used(api);
    for pool in pools(api) {
        let total: u64 = ranges(&pool)
            .map(|(first, last)| u64::from(last.to_bits() - first.to_bits()) + 1)
            .sum();
        let assigned = used.iter().filter(|address| contains(&pool, **address)).count() as u64;
        let status = json!({
            "assignedIPv4": assigned,
            "assignedIPv6": 0,
            "availableIPv4": total.saturating_sub(assigned),
            "availableIPv6": 0,
        });
        object::put_status(api, MANAGER, &pool, status)?;
    }
    Ok(Requeue::OnChange)
}
