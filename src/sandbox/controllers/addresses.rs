//! Service → the IPAddress objects by which cluster addresses are taken.

use serde_json::{Value, json};

use super::kinds::{IP_ADDRESSES, SERVICES};
use super::object;
use crate::sandbox::api::{Api, Changed, Controller, EventType, Requeue, Status};

/// The allocator of kube-apiserver keeps its books as objects.
pub(super) struct IpAddresses;

fn addresses(service: &Value) -> impl Iterator<Item = &str> {
    object::items(&service["spec"], "clusterIPs")
        .iter()
        .filter_map(Value::as_str)
        .filter(|address| !address.is_empty() && *address != "None")
}

impl Controller for IpAddresses {
    fn name(&self) -> &'static str {
        "kube-apiserver"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        if change.resource.plural != "services" || !change.resource.group.is_empty() {
            return Vec::new();
        }
        let gone = change.event == EventType::Deleted;
        addresses(&change.object)
            .filter(|address| gone || api.get(&IP_ADDRESSES, "", address).is_none())
            .map(|address| (String::new(), address.to_owned()))
            .collect()
    }

    fn reconcile(&mut self, api: &dyn Api, _: &str, address: &str) -> Result<Requeue, Status> {
        let holder = api
            .list(&SERVICES, "")
            .into_iter()
            .find(|service| addresses(service).any(|held| held == address));
        let written = match (holder, api.get(&IP_ADDRESSES, "", address)) {
            (None, Some(_)) => api.delete(&IP_ADDRESSES, "", address, "Background"),
            (Some(service), None) => api.create(self.name(), taken(&service, address)).map(drop),
            _ => Ok(()),
        };
        match written {
            Err(status) if !matches!(status.code, 404 | 409) => Err(status),
            _ => Ok(Requeue::OnChange),
        }
    }
}

fn taken(service: &Value, address: &str) -> Value {
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": { "parentRef": {
            "group": "",
            "name": object::name(service),
            "namespace": object::namespace(service),
            "resource": "services",
        } },
    })
}
