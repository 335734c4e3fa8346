//! The status that istiod writes for a Gateway and its listeners.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::attach::{self, Class, GROUP, Listener};
use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::{ENDPOINT_SLICES, GRPC_ROUTES, HTTP_ROUTES, SERVICES};
use crate::sandbox::controllers::object::{self, Condition};

/// What the Services of a Gateway offer, as istiod looks it up.
#[derive(Default)]
struct Resolved {
    internal: BTreeSet<String>,
    internal_ips: BTreeSet<String>,
    external: BTreeSet<String>,
    pending: BTreeSet<String>,
    warnings: BTreeSet<String>,
    unusable: bool,
}

/// The Services that stand for a Gateway (`host` names), and what is wrong with its addresses.
fn services(gateway: &Value, class: Class) -> (Vec<String>, Option<(&'static str, String)>) {
    let namespace = object::namespace(gateway);
    if is_managed(gateway) {
        let name = managed_name(gateway, class);
        return (vec![format!("{name}.{namespace}.svc.cluster.local")], None);
    }
    let mut found = Vec::new();
    let mut skipped = Vec::new();
    for address in object::items(&gateway["spec"], "addresses") {
        let value = address["value"].as_str().unwrap_or_default();
        if address["type"].as_str().is_some_and(|kind| kind != "Hostname") {
            skipped.push(value);
        } else if value.contains('.') {
            found.push(value.to_owned());
        } else {
            found.push(format!("{value}.{namespace}.svc.cluster.local"));
        }
    }
    let problem = (!skipped.is_empty()).then(|| {
        let text = format!("only Hostname is supported, ignoring [{}]", skipped.join(" "));
        ("UnsupportedAddress", text)
    });
    (found, problem)
}

/// istiod deploys a Gateway unless a Hostname address says that somebody else did.
pub(super) fn is_managed(gateway: &Value) -> bool {
    object::items(&gateway["spec"], "addresses")
        .iter()
        .all(|address| address["type"].as_str().is_some_and(|kind| kind == "IPAddress"))
}

/// The name of what istiod makes for a Gateway.
pub(super) fn managed_name(gateway: &Value, class: Class) -> String {
    if let Some(name) = object::annotation(gateway, "gateway.istio.io/name-override") {
        return name.to_owned();
    }
    match class {
        Class::Waypoint => object::name(gateway).to_owned(),
        Class::Gateway | Class::Remote => format!(
            "{}-{}",
            object::name(gateway),
            gateway["spec"]["gatewayClassName"].as_str().unwrap_or_default()
        ),
    }
}

fn resolve(api: &dyn Api, namespace: &str, hosts: &[String], listeners: &[Listener]) -> Resolved {
    let ports: BTreeSet<u16> =
        listeners.iter().filter(|found| found.has_server()).map(|found| found.port).collect();
    let mut resolved = Resolved::default();
    for host in hosts {
        let name = host.split('.').next().unwrap_or_default();
        let Some(service) = api.get(&SERVICES, namespace, name) else {
            resolved.warnings.insert(format!("hostname \"{host}\" not found"));
            resolved.unusable = true;
            continue;
        };
        // Endpoints count whether they are ready or not: `Programmed` says nothing about pods.
        let any_endpoint = api
            .list(&ENDPOINT_SLICES, namespace)
            .iter()
            .filter(|slice| object::label(slice, "kubernetes.io/service-name") == Some(name))
            .any(|slice| !object::items(slice, "endpoints").is_empty());
        for port in &ports {
            let offered = object::items(&service["spec"], "ports")
                .iter()
                .any(|found| found["port"].as_u64() == Some(u64::from(*port)));
            if !any_endpoint {
                let warning = format!("no instances found for hostname \"{host}\"");
                resolved.warnings.insert(warning);
            } else if !offered {
                resolved.warnings.insert(format!("port {port} not found for hostname \"{host}\""));
                resolved.unusable = true;
            } else {
                resolved.internal.insert(format!("{host}:{port}"));
                add_addresses(&service, host, &mut resolved);
            }
        }
    }
    resolved
}

fn add_addresses(service: &Value, host: &str, resolved: &mut Resolved) {
    if let Some(ip) = service["spec"]["clusterIP"].as_str().filter(|ip| *ip != "None") {
        resolved.internal_ips.insert(ip.to_owned());
    }
    let ingress = object::items(&service["status"]["loadBalancer"], "ingress");
    for entry in ingress {
        let address = entry["ip"].as_str().or_else(|| entry["hostname"].as_str());
        resolved.external.extend(address.map(str::to_owned));
    }
    if ingress.is_empty() && service["spec"]["type"] == "LoadBalancer" {
        resolved.warnings.insert(format!("address pending for hostname \"{host}\""));
        resolved.pending.insert(host.to_owned());
    }
}

/// Names in a sentence: `a`, `a and b`, `a, b, and c`.
fn joined(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one} and {two}"),
        [first @ .., last] => format!("{}, and {last}", first.join(", ")),
    }
}

fn programmed(resolved: &Resolved, hosts: &[String]) -> Condition {
    const KIND: &str = "Programmed";
    let warnings: Vec<&str> = resolved.warnings.iter().map(String::as_str).collect();
    if hosts.is_empty() {
        let text = "Failed to assign to any requested addresses";
        return Condition::new(KIND, false, "UnsupportedAddress", text);
    }
    if warnings.is_empty() {
        let text = if resolved.internal.is_empty() {
            "Resource programmed".to_owned()
        } else {
            format!("Resource programmed, assigned to service(s) {}", joined(&resolved.internal))
        };
        return Condition::new(KIND, true, "Programmed", text);
    }
    let reason = if resolved.unusable { "AddressNotUsable" } else { "AddressNotAssigned" };
    let text = if resolved.internal.is_empty() {
        format!("Failed to assign to any requested addresses: {}", warnings.join("; "))
    } else {
        format!(
            "Assigned to service(s) {}, but failed to assign to all requested addresses: {}",
            joined(&resolved.internal),
            warnings.join("; ")
        )
    };
    Condition::new(KIND, false, reason, text)
}

fn accepted(own: &[Listener], problem: Option<(&'static str, String)>) -> Condition {
    const KIND: &str = "Accepted";
    if let Some((reason, message)) = problem {
        return Condition::new(KIND, false, reason, message);
    }
    let valid = own.iter().filter(|listener| listener.is_programmed()).count();
    if own.is_empty() || valid == own.len() {
        Condition::new(KIND, true, "Accepted", "Resource accepted")
    } else if valid == 0 {
        let text = "None of the Gateway's listeners are valid";
        Condition::new(KIND, false, "ListenersNotValid", text)
    } else {
        let text = "One or more of the Gateway's listeners are invalid";
        Condition::new(KIND, true, "ListenersNotValid", text)
    }
}

fn parameters_problem(api: &dyn Api, gateway: &Value) -> Option<(&'static str, String)> {
    let reference = gateway["spec"]["infrastructure"].get("parametersRef")?;
    let (group, kind) = (
        reference["group"].as_str().unwrap_or_default(),
        reference["kind"].as_str().unwrap_or_default(),
    );
    let reason = "InvalidParameters";
    if kind != "ConfigMap" || !group.is_empty() {
        let text = format!(
            "Unsupported parametersRef group/kind {group}/{kind}, only ConfigMap is supported"
        );
        return Some((reason, text));
    }
    let (namespace, name) =
        (object::namespace(gateway), reference["name"].as_str().unwrap_or_default());
    let config_maps = &crate::sandbox::controllers::kinds::CONFIG_MAPS;
    let missing = api.get(config_maps, namespace, name).is_none();
    missing.then(|| (reason, format!("parametersRef ConfigMap {namespace}/{name} does not exist")))
}

/// The routes on each listener: by the listener's owner and name.
fn attached(api: &dyn Api) -> BTreeMap<(String, String, String, String), usize> {
    let mut counts = BTreeMap::new();
    let mut routes = api.list(&HTTP_ROUTES, "");
    if super::presence::reads(api, "grpcroutes") {
        routes.extend(api.list(&GRPC_ROUTES, ""));
    }
    for route in routes.iter().filter(|route| !object::is_deleting(route)) {
        for attachment in attach::attachments(api, route) {
            if let (Some(listener), None) = (attachment.listener, attachment.denied) {
                let (kind, namespace, name) = listener.owner;
                *counts.entry((kind.to_owned(), namespace, name, listener.name)).or_insert(0) += 1;
            }
        }
    }
    counts
}

fn listener_conditions(listener: &Listener) -> Vec<Condition> {
    const FINE: &str = "No errors found";
    if let Some(reason) = listener.conflict {
        let text = "Listener has a conflict with another listener attached to the same Gateway";
        return vec![
            Condition::new("Accepted", false, reason, text),
            Condition::new("Conflicted", true, reason, text),
            Condition::new("Programmed", false, reason, text),
        ];
    }
    let mut accepted = Condition::new("Accepted", true, "Accepted", FINE);
    let mut programmed = Condition::new("Programmed", true, "Programmed", FINE);
    let mut refs = Condition::new("ResolvedRefs", true, "ResolvedRefs", FINE);
    if let Some(problem) = &listener.tls_problem {
        programmed = Condition::new("Programmed", false, "Invalid", "Bad TLS configuration");
        refs = Condition::new("ResolvedRefs", false, problem.reason, problem.message.clone());
        if problem.reason == "RefNotPermitted" {
            accepted =
                Condition::new("Accepted", false, "NoValidCACertificate", problem.message.clone());
        }
    }
    if let Some(problem) = &listener.protocol_problem {
        accepted = Condition::new("Accepted", false, problem.reason, problem.message.clone());
    }
    if !listener.kinds_valid {
        refs = Condition::new("ResolvedRefs", false, "InvalidRouteKinds", "Invalid route kinds");
    }
    let conflicted = Condition::new("Conflicted", false, "NoConflicts", FINE);
    vec![accepted, conflicted, programmed, refs]
}

fn listener_status(
    old: &Value,
    listener: &Listener,
    n_routes: usize,
    generation: i64,
    now: &str,
) -> Value {
    let before = object::items(old, "listeners")
        .iter()
        .find(|found| found["name"] == listener.name.as_str());
    let mut conditions =
        before.map(|found| object::items(found, "conditions").to_vec()).unwrap_or_default();
    for condition in listener_conditions(listener) {
        object::set_condition(&mut conditions, &condition, Some(generation), now);
    }
    let kinds: Vec<Value> = listener
        .kinds
        .iter()
        .map(|(group, kind)| json!({ "group": group, "kind": kind }))
        .collect();
    json!({
        "attachedRoutes": n_routes,
        "conditions": conditions,
        "name": listener.name,
        "supportedKinds": kinds,
    })
}

/// The status of a Gateway as it should be now.
pub(super) fn gateway(api: &dyn Api, gateway: &Value, class: Class) -> Value {
    let generation = object::generation(gateway);
    let now = object::now(api);
    let mut status = gateway["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    let mut conditions = object::items(&gateway["status"], "conditions").to_vec();
    if class == Class::Remote {
        let text = "This Gateway is remote; Istio will not program it";
        for condition in [
            Condition::new("Accepted", true, "Accepted", "Resource accepted"),
            Condition::new("Programmed", true, "Programmed", text),
        ] {
            object::set_condition(&mut conditions, &condition, Some(generation), &now);
        }
        status["conditions"] = Value::Array(conditions);
        status["addresses"] = json!(object::items(&gateway["spec"], "addresses"));
        return status;
    }
    let all = attach::listeners(api, gateway, class);
    let own: Vec<Listener> =
        all.iter().filter(|listener| listener.owner.0 == "Gateway").cloned().collect();
    let (hosts, problem) = services(gateway, class);
    let problem = problem.or_else(|| parameters_problem(api, gateway));
    let resolved = resolve(api, object::namespace(gateway), &hosts, &all);
    for condition in [
        accepted(&own, problem),
        programmed(&resolved, &hosts),
        Condition::new("ResolvedRefs", true, "ResolvedRefs", "All references resolved"),
    ] {
        object::set_condition(&mut conditions, &condition, Some(generation), &now);
    }
    let addresses = addresses(&resolved, class);
    if !addresses.is_empty() {
        status["addresses"] = Value::Array(addresses);
    }
    let sets: BTreeSet<_> = all
        .iter()
        .filter(|listener| listener.owner.0 == "ListenerSet" && listener.is_programmed())
        .map(|listener| listener.owner.clone())
        .collect();
    if !sets.is_empty() {
        status["attachedListenerSets"] = json!(sets.len());
    }
    status["conditions"] = Value::Array(conditions);
    let counts = attached(api);
    status["listeners"] = own
        .iter()
        .map(|listener| {
            let (kind, namespace, name) = listener.owner.clone();
            let place = (kind.to_owned(), namespace, name, listener.name.clone());
            let n_routes = counts.get(&place).copied().unwrap_or(0);
            listener_status(&gateway["status"], listener, n_routes, generation, &now)
        })
        .collect();
    status
}

fn addresses(resolved: &Resolved, class: Class) -> Vec<Value> {
    let ip = |value: &String| json!({ "type": "IPAddress", "value": value });
    let host = |value: &str| json!({ "type": "Hostname", "value": value });
    if !resolved.external.is_empty() {
        return resolved
            .external
            .iter()
            .map(
                |value| {
                    if value.parse::<std::net::IpAddr>().is_ok() { ip(value) } else { host(value) }
                },
            )
            .collect();
    }
    let mut found = Vec::new();
    if class == Class::Waypoint {
        found.extend(resolved.internal_ips.iter().map(ip));
    }
    let hosts: BTreeSet<&str> =
        resolved.internal.iter().filter_map(|place| Some(place.split_once(':')?.0)).collect();
    found.extend(hosts.into_iter().filter(|name| !resolved.pending.contains(*name)).map(host));
    found
}

/// The status of a ListenerSet.
pub(super) fn listener_set(api: &dyn Api, set: &Value, gateway: &Value) -> Value {
    let generation = object::generation(set);
    let now = object::now(api);
    let mut conditions = object::items(&set["status"], "conditions").to_vec();
    if !attach::admits_set(api, gateway, set) {
        let text =
            "The parent Gateway does not allow this reference; check the 'spec.allowedRoutes'";
        for kind in ["Accepted", "Programmed"] {
            let condition = Condition::new(kind, false, "NotAllowed", text);
            object::set_condition(&mut conditions, &condition, Some(generation), &now);
        }
        return json!({ "conditions": conditions });
    }
    let (namespace, name) = object::key(set);
    let all = attach::listeners(api, gateway, Class::Gateway);
    let own: Vec<Listener> = all
        .into_iter()
        .filter(|listener| listener.owner == ("ListenerSet", namespace.clone(), name.clone()))
        .collect();
    let (hosts, _) = services(gateway, Class::Gateway);
    let resolved = resolve(api, object::namespace(gateway), &hosts, &own);
    let none_valid = own.iter().all(|listener| !listener.is_programmed());
    let (first, second) = if none_valid {
        let text = "None of the ListenerSet's listeners are valid";
        let not = |kind| Condition::new(kind, false, "ListenersNotValid", text);
        (not("Accepted"), not("Programmed"))
    } else {
        let fine = Condition::new("Accepted", true, "Accepted", "Resource accepted");
        (fine, programmed(&resolved, &hosts))
    };
    for condition in [first, second] {
        object::set_condition(&mut conditions, &condition, Some(generation), &now);
    }
    let counts = attached(api);
    let listeners: Vec<Value> = own
        .iter()
        .map(|listener| {
            let place =
                ("ListenerSet".to_owned(), namespace.clone(), name.clone(), listener.name.clone());
            let n_routes = counts.get(&place).copied().unwrap_or(0);
            listener_status(&set["status"], listener, n_routes, generation, &now)
        })
        .collect();
    json!({ "conditions": conditions, "listeners": listeners })
}

/// The group, for those who compare kinds.
pub(super) fn is_gateway_api(group: &str) -> bool {
    group == GROUP
}
