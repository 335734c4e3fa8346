//! What the Services of a Gateway offer, as istiod looks it up for the condition `Programmed` and for the addresses.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::attach::Listener;
use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::{ENDPOINT_SLICES, SERVICES};
use crate::sandbox::controllers::object;

/// What was found at the Services of a Gateway.
#[derive(Default)]
pub(super) struct Resolved {
    /// `host:port` of what can be reached in the cluster.
    pub(super) internal: BTreeSet<String>,
    pub(super) internal_ips: BTreeSet<String>,
    /// Addresses of load balancers.
    pub(super) external: BTreeSet<String>,
    /// Hosts whose load balancers have none yet.
    pub(super) pending: BTreeSet<String>,
    /// In order; one text may come once for each port.
    pub(super) warnings: Vec<String>,
    pub(super) is_unusable: bool,
}

impl Resolved {
    /// Looks up the ports of the listeners that have a server at each host.
    pub(super) fn of(
        api: &dyn Api,
        namespace: &str,
        hosts: &[String],
        listeners: &[&Listener],
    ) -> Self {
        let ports: BTreeSet<u16> =
            listeners.iter().filter(|found| found.has_server()).map(|found| found.port).collect();
        let mut resolved = Self::default();
        for host in hosts {
            let place =
                host.strip_suffix(".svc.cluster.local").and_then(|host| host.split_once('.'));
            let service = place.and_then(|(name, namespace)| api.get(&SERVICES, namespace, name));
            match service {
                Some(service) if object::namespace(&service) == namespace => {
                    for port in &ports {
                        resolved.look_up(api, host, &service, *port);
                    }
                }
                found => {
                    let elsewhere = found.map(|found| {
                        format!(
                            " in namespace \"{namespace}\", but it was found in namespace(s) \"{}\"",
                            object::namespace(&found)
                        )
                    });
                    let elsewhere = elsewhere.unwrap_or_default();
                    resolved.warnings.push(format!("hostname \"{host}\" not found{elsewhere}"));
                    resolved.is_unusable = true;
                }
            }
        }
        resolved.warnings.sort();
        resolved
    }

    fn look_up(&mut self, api: &dyn Api, host: &str, service: &Value, port: u16) {
        let own_ports = object::items(&service["spec"], "ports");
        let own = own_ports.iter().find(|found| found["port"].as_u64() == Some(u64::from(port)));
        let slices = slices(api, service);
        let name_of = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
        let offers = |name: &str| {
            slices.iter().any(|slice| {
                object::items(slice, "ports").iter().any(|found| name_of(found) == name)
            })
        };
        if own.is_some_and(|own| offers(&name_of(own))) {
            self.internal.insert(format!("{host}:{port}"));
            self.add_addresses(service, host);
            return;
        }
        if slices.iter().all(|slice| object::items(slice, "ports").is_empty()) {
            self.warnings.push(format!("no instances found for hostname \"{host}\""));
            return;
        }
        let meant: BTreeSet<String> = slices
            .iter()
            .flat_map(|slice| object::items(slice, "ports"))
            .filter(|found| found["port"].as_u64() == Some(u64::from(port)))
            .filter_map(|found| own_ports.iter().find(|own| name_of(own) == name_of(found)))
            .map(|own| own["port"].to_string())
            .collect();
        let is_managed = object::label(service, "gateway.istio.io/managed").is_some();
        if meant.is_empty() && is_managed && own.is_some() {
            // Its endpoints only lag behind.
            return;
        }
        let mut text = format!("port {port} not found for hostname \"{host}\"");
        if !meant.is_empty() {
            let meant: Vec<_> = meant.into_iter().collect();
            text.push_str(&format!(
                " (hint: the service port should be specified, not the workload port. Did you mean one of these ports: \
                 [{}]?)",
                meant.join(" ")
            ));
        }
        self.warnings.push(text);
        self.is_unusable = true;
    }

    fn add_addresses(&mut self, service: &Value, host: &str) {
        let ips = object::items(&service["spec"], "clusterIPs").iter().filter_map(Value::as_str);
        self.internal_ips.extend(ips.filter(|ip| *ip != "None").map(str::to_owned));
        let ingress = object::items(&service["status"]["loadBalancer"], "ingress");
        for entry in ingress {
            let address = entry["ip"].as_str().or_else(|| entry["hostname"].as_str());
            self.external.extend(address.map(str::to_owned));
        }
        let is_pending = ingress.is_empty() && service["spec"]["type"] == "LoadBalancer";
        if is_pending && self.pending.insert(host.to_owned()) {
            self.warnings.push(format!("address pending for hostname \"{host}\""));
        }
    }
}

/// The slices of a Service that have endpoints. They count whether they are ready or not: `Programmed` says nothing about pods.
fn slices(api: &dyn Api, service: &Value) -> Vec<Arc<Value>> {
    api.list(&ENDPOINT_SLICES, object::namespace(service))
        .into_iter()
        .filter(|slice| {
            object::label(slice, "kubernetes.io/service-name") == Some(object::name(service))
        })
        .filter(|slice| !object::items(slice, "endpoints").is_empty())
        .collect()
}
