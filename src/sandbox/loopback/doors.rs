//! The addresses and ports at which somebody in the cluster answers: those of load balancers, and node ports.
//!
//! Which Services have any is kept from write to write, so that a cluster with thousands of others costs nothing here.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use crate::sandbox::api::EventType;
use crate::sandbox::controllers::kinds::{NODES, SERVICES};
use crate::sandbox::controllers::object;
use crate::sandbox::data_plane::DataPlane;
use crate::sandbox::store::{GroupResource, ObjectKey, StoreEvent};

/// An address and a port, and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) scheme: &'static str,
    pub(super) service: String,
}

/// The Services that can be reached from outside, by namespace and name, and whether something about them has changed.
#[derive(Default)]
pub(super) struct Exposed {
    services: Mutex<BTreeSet<ObjectKey>>,
    changed: Notify,
}

/// What the text of a Service holds that can be reached from outside.
const SIGNS: [&str; 3] = ["\"LoadBalancer\"", "\"NodePort\"", "\"externalIPs\""];

/// Whether objects of a kind decide on who answers where.
fn concerns(resource: &GroupResource) -> bool {
    matches!(
        (resource.group.as_str(), resource.plural.as_str()),
        ("", "pods" | "secrets" | "namespaces" | "nodes")
            | ("discovery.k8s.io", "endpointslices")
            | (
                "gateway.networking.k8s.io",
                "gateways" | "gatewayclasses" | "listenersets" | "referencegrants"
            )
            | ("metallb.io", _)
    )
}

impl Exposed {
    /// Takes the Services that are there already.
    pub(super) fn begin(&self, plane: &DataPlane) {
        let found = plane.api().list(&SERVICES, "");
        let text = |service: &Value| service.to_string();
        self.services.lock().extend(
            found
                .iter()
                .filter(|service| SIGNS.iter().any(|sign| text(service).contains(sign)))
                .map(|service| object::key(service)),
        );
        self.changed.notify_one();
    }

    /// Takes note of a write.
    pub(super) fn note(&self, event: &StoreEvent) {
        let services = &mut *self.services.lock();
        if event.resource.group.is_empty() && event.resource.plural == "services" {
            let reachable = event.event != EventType::Deleted
                && SIGNS.iter().any(|sign| event.object.mentions(sign));
            let known = if reachable {
                services.insert(event.object.key.clone());
                true
            } else {
                services.remove(&event.object.key)
            };
            if known {
                self.changed.notify_one();
            }
        } else if !services.is_empty() && concerns(&event.resource) {
            self.changed.notify_one();
        }
    }

    /// Completes after the next write that matters.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Every door behind which somebody listens now.
    pub(super) fn open(&self, plane: &Arc<DataPlane>) -> BTreeSet<Door> {
        let services = self.services.lock().clone();
        if services.is_empty() { BTreeSet::new() } else { open(plane, &services) }
    }
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

fn open(plane: &Arc<DataPlane>, services: &BTreeSet<ObjectKey>) -> BTreeSet<Door> {
    let api = plane.api();
    let node = api.list(&NODES, "").iter().find_map(|node| {
        object::items(&node["status"], "addresses")
            .iter()
            .find(|address| address["type"] == "InternalIP")
            .and_then(|address| address["address"].as_str()?.parse::<IpAddr>().ok())
    });
    let mut found = BTreeSet::new();
    for (namespace, name) in services {
        let Some(service) = api.get(&SERVICES, namespace, name) else { continue };
        let (field, hosts) = match service["spec"]["type"].as_str() {
            Some("NodePort") => ("nodePort", Vec::from_iter(node)),
            _ => ("port", addresses(&service)),
        };
        for port in object::items(&service["spec"], "ports") {
            let number = port[field].as_u64().and_then(|number| u16::try_from(number).ok());
            let tcp = port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP");
            let Some(number) = number.filter(|_| tcp) else { continue };
            if hosts.is_empty() || !plane.answers(&service, port) {
                continue;
            }
            found.extend(hosts.iter().map(|host| Door {
                address: SocketAddr::new(*host, number),
                scheme: scheme(port),
                service: format!("{namespace}/{name}"),
            }));
        }
    }
    found
}
