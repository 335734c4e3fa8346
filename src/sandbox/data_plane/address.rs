//! Who answers at an address: LoadBalancer and node addresses from outside, everything from inside.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::sandbox::api::Api;
use crate::sandbox::controllers::endpoints::target_port;
use crate::sandbox::controllers::kinds::{
    ENDPOINT_SLICES, L2_ADVERTISEMENTS, NODES, PODS, SERVICES,
};
use crate::sandbox::controllers::object;

/// What an address and a port lead to.
pub(super) enum Destination {
    /// A pod's port, possibly through a Service.
    Pod { pod: Arc<Value>, port: u16, service: Option<Arc<Value>> },
    /// Somebody is there and does not listen.
    Refused,
    /// No way leads there, for this reason.
    Unreachable(String),
    /// No such name.
    UnknownName,
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok())
}

/// The ready pods behind a Service.
pub(super) fn ready_pods(api: &dyn Api, service: &Value) -> Vec<Arc<Value>> {
    let publish = service["spec"]["publishNotReadyAddresses"] == true;
    api.list(&PODS, object::namespace(service))
        .into_iter()
        .filter(|pod| {
            object::selects_map(&service["spec"]["selector"], &pod["metadata"]["labels"])
                && pod["status"]["podIP"].is_string()
                && !object::is_deleting(pod)
                && (publish || object::is_true(pod, "Ready"))
        })
        .collect()
}

/// Who answers for a port of a Service, and on which port of theirs: the ready pods that it selects, or those whose addresses
/// somebody put into EndpointSlices.
pub(super) fn endpoints(api: &dyn Api, service: &Value, port: &Value) -> Vec<(Arc<Value>, u16)> {
    let selects = service["spec"]["selector"].as_object().is_some_and(|map| !map.is_empty());
    if selects {
        return ready_pods(api, service)
            .into_iter()
            .filter_map(|pod| target_port(port, &pod).map(|target| (pod, target)))
            .collect();
    }
    let name = port["name"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    for slice in api.list(&ENDPOINT_SLICES, object::namespace(service)) {
        if object::label(&slice, "kubernetes.io/service-name") != Some(object::name(service)) {
            continue;
        }
        let target = object::items(&slice, "ports")
            .iter()
            .find(|found| found["name"].as_str().unwrap_or_default() == name)
            .and_then(|found| number(&found["port"]));
        let Some(target) = target else { continue };
        let addresses = object::items(&slice, "endpoints")
            .iter()
            .filter(|endpoint| endpoint["conditions"]["ready"] != false)
            .flat_map(|endpoint| object::items(endpoint, "addresses"))
            .filter_map(Value::as_str);
        for address in addresses {
            let pod = api.list(&PODS, "").into_iter().find(|pod| {
                pod["status"]["podIP"] == address && pod["spec"]["hostNetwork"] != true
            });
            found.extend(pod.map(|pod| (pod, target)));
        }
    }
    found
}

/// Chooses among the pods of a Service, one after the other.
#[derive(Debug, Default)]
pub(super) struct RoundRobin(AtomicUsize);

impl RoundRobin {
    pub(super) fn choose<T: Clone>(&self, among: &[T]) -> Option<T> {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        among.get(turn.checked_rem(among.len())?).cloned()
    }
}

/// The port of a Service by number or name.
pub(super) fn service_port<'a>(service: &'a Value, port: &str) -> Option<&'a Value> {
    let ports = object::items(&service["spec"], "ports");
    if port.is_empty() {
        return (ports.len() == 1).then(|| &ports[0]);
    }
    ports.iter().find(|found| {
        found["name"] == port
            || port.parse().ok().is_some_and(|wanted: u16| number(&found["port"]) == Some(wanted))
    })
}

fn through(api: &dyn Api, turn: &RoundRobin, service: Arc<Value>, port: &Value) -> Destination {
    match turn.choose(&endpoints(api, &service, port)) {
        Some((pod, port)) => Destination::Pod { pod, port, service: Some(service) },
        None => Destination::Refused,
    }
}

fn with_port(service: &Value, field: &str, wanted: u16) -> Option<Value> {
    object::items(&service["spec"], "ports")
        .iter()
        .find(|port| number(&port[field]) == Some(wanted))
        .cloned()
}

/// Whether MetalLB announces the address of a Service; addresses of other origin always are.
pub(super) fn is_announced(api: &dyn Api, service: &Value) -> bool {
    let Some(pool) = object::annotation(service, "metallb.io/ip-allocated-from-pool") else {
        return true;
    };
    api.list(&L2_ADVERTISEMENTS, "").iter().any(|found| {
        let wanted = object::items(&found["spec"], "ipAddressPools");
        wanted.is_empty() || wanted.iter().any(|name| name == pool)
    })
}

/// What a client outside the cluster reaches.
pub(super) fn from_outside(api: &dyn Api, turn: &RoundRobin, host: &str, port: u16) -> Destination {
    let Ok(address) = host.parse::<IpAddr>() else { return Destination::UnknownName };
    let text = address.to_string();
    for service in api.list(&SERVICES, "") {
        let ingress = object::items(&service["status"]["loadBalancer"], "ingress");
        let external = object::items(&service["spec"], "externalIPs");
        let matches = ingress.iter().any(|entry| entry["ip"] == text.as_str())
            || external.iter().any(|entry| entry == text.as_str());
        if !matches {
            continue;
        }
        if !is_announced(api, &service) {
            return Destination::Unreachable(format!(
                "no node announces `{text}`: no L2Advertisement covers its pool"
            ));
        }
        return match with_port(&service, "port", port) {
            Some(found) => through(api, turn, service, &found),
            None => Destination::Refused,
        };
    }
    if is_node(api, &text) {
        for service in api.list(&SERVICES, "") {
            if let Some(found) = with_port(&service, "nodePort", port) {
                return through(api, turn, service, &found);
            }
        }
        return Destination::Refused;
    }
    let inner =
        api.list(&SERVICES, "").iter().any(|found| found["spec"]["clusterIP"] == text.as_str())
            || api.list(&PODS, "").iter().any(|pod| pod["status"]["podIP"] == text.as_str());
    Destination::Unreachable(if inner {
        format!("`{text}` is an address inside the cluster, which no route leads to from here")
    } else {
        format!("nobody in the rehearsal cluster has the address `{text}`")
    })
}

fn is_node(api: &dyn Api, address: &str) -> bool {
    api.list(&NODES, "").iter().any(|node| {
        object::items(&node["status"], "addresses").iter().any(|found| found["address"] == address)
    })
}

/// What a pod or a node of the cluster reaches.
pub(super) fn from_inside(
    api: &dyn Api,
    turn: &RoundRobin,
    own_namespace: &str,
    host: &str,
    port: u16,
) -> Destination {
    if host.parse::<IpAddr>().is_err() {
        let mut parts = host.trim_end_matches('.').split('.');
        let name = parts.next().unwrap_or_default();
        let namespace = parts.next().unwrap_or(own_namespace);
        let rest: Vec<_> = parts.collect();
        if !matches!(rest.as_slice(), [] | ["svc"] | ["svc", "cluster", "local"]) {
            return Destination::UnknownName;
        }
        return match api.get(&SERVICES, namespace, name) {
            Some(service) => match with_port(&service, "port", port) {
                Some(found) => through(api, turn, service, &found),
                None => Destination::Refused,
            },
            None => Destination::UnknownName,
        };
    }
    for service in api.list(&SERVICES, "") {
        if service["spec"]["clusterIP"] == host {
            return match with_port(&service, "port", port) {
                Some(found) => through(api, turn, service, &found),
                None => Destination::Refused,
            };
        }
    }
    for pod in api.list(&PODS, "") {
        if pod["status"]["podIP"] == host && pod["spec"]["hostNetwork"] != true {
            return Destination::Pod { pod, port, service: None };
        }
    }
    from_outside(api, turn, host, port)
}
