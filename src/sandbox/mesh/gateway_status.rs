//! The status that istiod writes for a Gateway and its listeners.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::attach::{self, Class, GROUP, Listener, Problem};
use super::gateway_services::Resolved;
use super::kinds::TLS_ROUTES;
use super::listener_tls;
use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::{GRPC_ROUTES, HTTP_ROUTES};
use crate::sandbox::controllers::object::{self, Condition};

/// The annotation that chooses the type of a managed Service.
pub(super) const SERVICE_TYPE: &str = "networking.istio.io/service-type";
/// The condition of a Gateway that lets clients in whose certificates do not hold.
const LAX: &str = "InsecureFrontendValidationMode";

/// The Services that stand for a Gateway (`host` names), and what is wrong with its addresses.
fn services(gateway: &Value, class: Class) -> (Vec<String>, Option<Problem>) {
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
    if !skipped.is_empty() {
        let text = format!("only Hostname is supported, ignoring [{}]", skipped.join(" "));
        return (found, Some(Problem::new("UnsupportedAddress", text)));
    }
    let deprecated = object::annotation(gateway, SERVICE_TYPE).map(|_| {
        let text = format!(
            "annotation {SERVICE_TYPE} is deprecated, use Spec.Infrastructure.Routeability"
        );
        Problem::new("DeprecatedField", text)
    });
    (found, deprecated)
}

/// istiod deploys a Gateway unless a Hostname, or more than one address, says that somebody else did.
pub(super) fn is_managed(gateway: &Value) -> bool {
    match object::items(&gateway["spec"], "addresses") {
        [] => true,
        [only] => only["type"].as_str().is_none_or(|kind| kind == "IPAddress"),
        _ => false,
    }
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
    let reason = if resolved.is_unusable { "AddressNotUsable" } else { "AddressNotAssigned" };
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

fn accepted(own: &[Listener], problem: Option<Problem>) -> Condition {
    const KIND: &str = "Accepted";
    if let Some(problem) = problem {
        return Condition::new(KIND, false, problem.reason, problem.message);
    }
    let valid = own.iter().filter(|listener| listener.is_valid()).count();
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

fn parameters_problem(api: &dyn Api, gateway: &Value) -> Option<Problem> {
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
        return Some(Problem::new(reason, text));
    }
    let (namespace, name) =
        (object::namespace(gateway), reference["name"].as_str().unwrap_or_default());
    let config_maps = &crate::sandbox::controllers::kinds::CONFIG_MAPS;
    let missing = api.get(config_maps, namespace, name).is_none();
    missing.then(|| {
        let text = format!("parametersRef ConfigMap {namespace}/{name} does not exist");
        Problem::new(reason, text)
    })
}

/// The routes on each listener: by the listener's owner and name.
fn attached(api: &dyn Api) -> BTreeMap<(String, String, String, String), usize> {
    let mut counts = BTreeMap::new();
    let mut routes = api.list(&HTTP_ROUTES, "");
    if super::presence::reads(api, "grpcroutes") {
        routes.extend(api.list(&GRPC_ROUTES, ""));
    }
    if super::presence::reads(api, "tlsroutes") {
        routes.extend(api.list(&TLS_ROUTES, ""));
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

fn invalid_kinds() -> Condition {
    Condition::new("ResolvedRefs", false, "InvalidRouteKinds", "Invalid route kinds")
}

fn listener_conditions(listener: &Listener) -> Vec<Condition> {
    const FINE: &str = "No errors found";
    if let Some(reason) = listener.conflict {
        let text = "Listener has a conflict with another listener attached to the same Gateway";
        let mut conditions = vec![
            Condition::new("Accepted", false, reason, text),
            Condition::new("Conflicted", true, reason, text),
            Condition::new("Programmed", false, reason, text),
        ];
        if !listener.kinds_valid {
            conditions.push(invalid_kinds());
        }
        return conditions;
    }
    let mut accepted = Condition::new("Accepted", true, "Accepted", FINE);
    let mut programmed = Condition::new("Programmed", true, "Programmed", FINE);
    let mut refs = Condition::new("ResolvedRefs", true, "ResolvedRefs", FINE);
    if let Some(problem) = &listener.tls_problem {
        programmed = Condition::new("Programmed", false, "Invalid", "Bad TLS configuration");
        refs = Condition::new("ResolvedRefs", false, problem.reason, problem.message.clone());
        if matches!(
            problem.reason,
            "RefNotPermitted" | "InvalidCACertificateRef" | "InvalidCACertificateKind"
        ) {
            accepted =
                Condition::new("Accepted", false, "NoValidCACertificate", problem.message.clone());
        }
    }
    if let Some(problem) = &listener.protocol_problem {
        accepted = Condition::new("Accepted", false, problem.reason, problem.message.clone());
    }
    if listener.owner.0 == "ListenerSet" && listener.lacks_tls() {
        programmed = Condition::new("Programmed", false, "Invalid", "Bad TLS configuration");
    }
    if !listener.kinds_valid {
        refs = invalid_kinds();
    }
    let conflicted = Condition::new("Conflicted", false, "NoConflicts", FINE);
    vec![accepted, conflicted, programmed, refs]
}

/// `status.listeners`: istiod looks up what it wrote before by place, not by name.
fn listener_statuses(
    api: &dyn Api,
    holder: &Value,
    listeners: &[Listener],
    now: &str,
) -> Vec<Value> {
    let counts = attached(api);
    let old = object::items(&holder["status"], "listeners");
    let one = |(at, listener): (usize, &Listener)| {
        let (kind, namespace, name) = listener.owner.clone();
        let place = (kind.to_owned(), namespace, name, listener.name.clone());
        let mut conditions = old
            .get(at)
            .map(|found| object::items(found, "conditions").to_vec())
            .unwrap_or_default();
        for condition in listener_conditions(listener) {
            let generation = object::generation(holder);
            object::set_condition(&mut conditions, &condition, Some(generation), now);
        }
        let kinds: Vec<Value> = listener
            .kinds
            .iter()
            .map(|(group, kind)| json!({ "group": group, "kind": kind }))
            .collect();
        json!({
            "attachedRoutes": counts.get(&place).copied().unwrap_or(0),
            "conditions": conditions,
            "name": listener.name,
            "supportedKinds": kinds,
        })
    };
    listeners.iter().enumerate().map(one).collect()
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
    let (hosts, problem) = services(gateway, class);
    // Without any Service istiod does not look at the listeners.
    let is_served = !hosts.is_empty() || problem.is_none();
    let all = if is_served { attach::listeners(api, gateway, class) } else { Vec::new() };
    let own: Vec<Listener> =
        all.iter().filter(|listener| listener.owner.0 == "Gateway").cloned().collect();
    let of_sets: Vec<&Listener> = all
        .iter()
        .filter(|listener| listener.owner.0 == "ListenerSet" && listener.is_valid())
        .collect();
    let problem = problem.or_else(|| is_served.then(|| parameters_problem(api, gateway)).flatten());
    let served: Vec<&Listener> = own.iter().chain(of_sets.iter().copied()).collect();
    let resolved = Resolved::of(api, object::namespace(gateway), &hosts, &served);
    let mut wanted = vec![accepted(&own, problem)];
    let is_lax = lax_frontend(gateway);
    if is_lax == Some(true) {
        let text = "Gateway is operating in AllowInsecureFallback mode for frontend validation";
        wanted.push(Condition::new(LAX, true, "ConfigurationChanged", text));
    } else if is_lax == Some(false) {
        conditions.retain(|condition| condition["type"] != LAX);
    }
    wanted.push(programmed(&resolved, &hosts));
    wanted.push(match listener_tls::client_certificate_problem(api, gateway) {
        Some(problem) => Condition::new("ResolvedRefs", false, problem.reason, problem.message),
        None => Condition::new("ResolvedRefs", true, "ResolvedRefs", "All references resolved"),
    });
    for condition in wanted {
        object::set_condition(&mut conditions, &condition, Some(generation), &now);
    }
    let addresses = addresses(&resolved, gateway, class);
    if !addresses.is_empty() {
        status["addresses"] = Value::Array(addresses);
    }
    let sets: BTreeSet<_> = of_sets.iter().map(|listener| listener.owner.clone()).collect();
    if !sets.is_empty() {
        status["attachedListenerSets"] = json!(sets.len());
    }
    status["conditions"] = Value::Array(conditions);
    let listeners = listener_statuses(api, gateway, &own, &now);
    if is_served || status.get("listeners").is_some() {
        status["listeners"] = Value::Array(listeners);
    }
    status
}

/// Whether clients may come without a certificate that holds; `None` if no port asks for one.
fn lax_frontend(gateway: &Value) -> Option<bool> {
    let frontend = gateway["spec"]["tls"].get("frontend")?;
    let is_lax = |tls: &Value| tls["validation"]["mode"] == "AllowInsecureFallback";
    let of_port = object::items(frontend, "perPort").iter().any(|entry| is_lax(&entry["tls"]));
    Some(is_lax(&frontend["default"]) || of_port)
}

fn addresses(resolved: &Resolved, gateway: &Value, class: Class) -> Vec<Value> {
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
    // A waypoint is known by both, a gateway by its name; an annotation chooses otherwise.
    let default = if class == Class::Waypoint { "" } else { "Hostname" };
    let wanted = object::annotation(gateway, "networking.istio.io/address-type").unwrap_or(default);
    let mut found = Vec::new();
    if wanted != "Hostname" {
        found.extend(resolved.internal_ips.iter().map(ip));
    }
    if wanted != "IPAddress" {
        let hosts: BTreeSet<&str> =
            resolved.internal.iter().filter_map(|place| Some(place.split_once(':')?.0)).collect();
        found.extend(hosts.into_iter().filter(|name| !resolved.pending.contains(*name)).map(host));
    }
    found
}

/// The status of a ListenerSet.
pub(super) fn listener_set(api: &dyn Api, set: &Value, gateway: &Value, class: Class) -> Value {
    let generation = object::generation(set);
    let now = object::now(api);
    let mut conditions = object::items(&set["status"], "conditions").to_vec();
    let refusal = if class != Class::Gateway {
        let name = gateway["spec"]["gatewayClassName"].as_str().unwrap_or_default();
        Some(format!("The \"{name}\" GatewayClass does not support ListenerSet"))
    } else if !attach::admits_set(api, gateway, set) {
        let text =
            "The parent Gateway does not allow this reference; check the 'spec.allowedRoutes'";
        Some(text.to_owned())
    } else {
        None
    };
    if let Some(text) = refusal {
        for kind in ["Accepted", "Programmed"] {
            let condition = Condition::new(kind, false, "NotAllowed", text.as_str());
            object::set_condition(&mut conditions, &condition, Some(generation), &now);
        }
        return json!({ "conditions": conditions });
    }
    let (hosts, problem) = services(gateway, class);
    let is_served = !hosts.is_empty() || problem.is_none();
    let (namespace, name) = object::key(set);
    let owner = ("ListenerSet", namespace, name);
    let mut own = Vec::new();
    if is_served {
        own.extend(
            attach::listeners(api, gateway, class)
                .into_iter()
                .filter(|listener| listener.owner == owner),
        );
    }
    let served: Vec<&Listener> = own.iter().filter(|listener| listener.has_server()).collect();
    let resolved = Resolved::of(api, object::namespace(gateway), &hosts, &served);
    let none_valid = is_served && !served.iter().any(|listener| listener.is_valid());
    let invalid = |kind| {
        let text = "None of the ListenerSet's listeners are valid";
        Condition::new(kind, false, "ListenersNotValid", text)
    };
    let accepted = match problem {
        Some(problem) => {
            let text = format!("Parent not accepted: {}", problem.message);
            Condition::new("Accepted", false, problem.reason, text)
        }
        None if none_valid => invalid("Accepted"),
        None => Condition::new("Accepted", true, "Accepted", "Resource accepted"),
    };
    let programmed = if none_valid { invalid("Programmed") } else { programmed(&resolved, &hosts) };
    for condition in [accepted, programmed] {
        object::set_condition(&mut conditions, &condition, Some(generation), &now);
    }
    let listeners = listener_statuses(api, set, &own, &now);
    json!({ "conditions": conditions, "listeners": listeners })
}

/// The group, for those who compare kinds.
pub(super) fn is_gateway_api(group: &str) -> bool {
    group == GROUP
}
