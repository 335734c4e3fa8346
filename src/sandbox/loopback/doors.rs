//! The addresses and ports at which somebody in the cluster answers: those of load balancers, and node ports.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;

use crate::sandbox::controllers::kinds::{NODES, SERVICES};
use crate::sandbox::controllers::object;
use crate::sandbox::data_plane::DataPlane;

/// An address and a port, and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) scheme: &'static str,
    pub(super) service: String,
}

/// Whether objects of a kind decide on who answers where.
pub(super) fn concerns(group: &str, plural: &str) -> bool {
    matches!(
        (group, plural),
        ("", "services" | "pods" | "secrets" | "namespaces" | "nodes")
            | (
                "gateway.networking.k8s.io",
                "gateways" | "gatewayclasses" | "listenersets" | "referencegrants"
            )
            | ("metallb.io", _)
    )
}

/// The scheme of a Service's port, by its protocol or its name.
fn scheme(port: &Value) -> &'static str {
    let written = port["appProtocol"].as_str().or_else(|| port["name"].as_str()).unwrap_or("");
    match written.trim_start_matches("kubernetes.io/").split('-').next() {
        Some("https") => "https",
        Some("http" | "http2" | "h2c" | "ws" | "grpc") => "http",
        _ => "tcp",
    }
}

fn addresses(service: &Value) -> Vec<IpAddr> {
    let ingress = object::items(&service["status"]["loadBalancer"], "ingress");
    let external = object::items(&service["spec"], "externalIPs");
    ingress
        .iter()
        .map(|entry| &entry["ip"])
        .chain(external)
        .filter_map(|address| address.as_str()?.parse().ok())
        .collect()
}

/// Every door behind which somebody listens now.
pub(super) fn open(plane: &Arc<DataPlane>) -> BTreeSet<Door> {
    let api = plane.api();
    let node = api.list(&NODES, "").iter().find_map(|node| {
        object::items(&node["status"], "addresses")
            .iter()
            .find(|address| address["type"] == "InternalIP")
            .and_then(|address| address["address"].as_str()?.parse::<IpAddr>().ok())
    });
    let mut found = BTreeSet::new();
    for service in api.list(&SERVICES, "") {
        let (namespace, name) = object::key(&service);
        let (field, hosts) = match service["spec"]["type"].as_str() {
            Some("NodePort") => ("nodePort", Vec::from_iter(node)),
            _ => ("port", addresses(&service)),
        };
        for port in object::items(&service["spec"], "ports") {
            let number = port[field].as_u64().and_then(|number| u16::try_from(number).ok());
            let tcp = port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP");
            let Some(number) = number.filter(|_| tcp) else { continue };
            for host in &hosts {
                if plane.answers(&host.to_string(), number) {
                    found.insert(Door {
                        address: SocketAddr::new(*host, number),
                        scheme: scheme(port),
                        service: format!("{namespace}/{name}"),
                    });
                }
            }
        }
    }
    found
}
