//! Who is bound to which waypoint, and the condition `istio.io/WaypointBound` that says so on Services and entries.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::attach::Class;
use super::kinds::{SERVICE_ENTRIES, WORKLOAD_ENTRIES};
use super::presence;
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Resource, Status};
use crate::sandbox::controllers::kinds::{GATEWAY_CLASSES, GATEWAYS, NAMESPACES, SERVICES};
use crate::sandbox::controllers::object::{self, Condition};

const USE: &str = "istio.io/use-waypoint";
const USE_NAMESPACE: &str = "istio.io/use-waypoint-namespace";
const CANARY: &str = "istio.io/use-waypoint-canary";
const INGRESS: &str = "istio.io/ingress-use-waypoint";

/// What an object's labels ask for and get.
#[derive(Clone, Debug)]
pub enum Binding {
    /// No waypoint is asked for, or the object opts out.
    None,
    /// Bound to this Gateway.
    To(Arc<Value>),
    /// Asked for and not had: reason and message.
    Failed(&'static str, String),
}

/// The waypoint that labels name: namespace and name. `Some(None)` opts out.
fn named(object: &Value, fallback: &str) -> Option<Option<(String, String)>> {
    let name = object::label(object, USE)?;
    if name == "none" {
        return Some(None);
    }
    let namespace = object::label(object, USE_NAMESPACE).unwrap_or(fallback);
    Some(Some((namespace.to_owned(), name.to_owned())))
}

/// A waypoint counts once it has an address; its pods may still be on their way. istiod does not ask for its class.
fn ready(api: &dyn Api, place: &(String, String)) -> Option<Arc<Value>> {
    let gateway = api.get(&GATEWAYS, &place.0, &place.1)?;
    let has_address = !object::items(&gateway["status"], "addresses").is_empty();
    has_address.then_some(gateway)
}

/// Whether what an object's labels name is a Gateway of a class that is none of Istio's for waypoints or gateways.
pub(super) fn is_of_another(api: &dyn Api, object: &Value) -> bool {
    let namespace = object::namespace(object);
    let asked = named(object, namespace)
        .or_else(|| api.get(&NAMESPACES, "", namespace).and_then(|found| named(&found, namespace)));
    let Some(Some((namespace, name))) = asked else { return false };
    let Some(gateway) = api.get(&GATEWAYS, &namespace, &name) else { return false };
    let class = gateway["spec"]["gatewayClassName"].as_str().unwrap_or_default();
    let Some(class) = api.get(&GATEWAY_CLASSES, "", class) else { return false };
    ![Class::Waypoint, Class::Gateway]
        .iter()
        .any(|ours| class["spec"]["controllerName"] == ours.controller())
}

/// `service`, `workload`, `all` or `none`.
fn traffic_type(api: &dyn Api, waypoint: &Value) -> String {
    let own = object::label(waypoint, "istio.io/waypoint-for").map(str::to_owned);
    own.or_else(|| {
        let class = waypoint["spec"]["gatewayClassName"].as_str()?;
        let kinds = &crate::sandbox::controllers::kinds::GATEWAY_CLASSES;
        let class = api.get(kinds, "", class)?;
        object::label(&class, "istio.io/waypoint-for").map(str::to_owned)
    })
    .unwrap_or_else(|| "service".to_owned())
}

fn admits(api: &dyn Api, waypoint: &Value, namespace: &str) -> bool {
    let listener = object::items(&waypoint["spec"], "listeners")
        .iter()
        .find(|listener| listener["protocol"] == "HBONE" && listener["port"] == 15_008);
    let allowed = listener.map(|listener| &listener["allowedRoutes"]["namespaces"]);
    match allowed.and_then(|allowed| allowed["from"].as_str()).unwrap_or("Same") {
        "All" => true,
        "Selector" => api.get(&NAMESPACES, "", namespace).is_some_and(|found| {
            let selector = allowed.map_or(&Value::Null, |allowed| &allowed["selector"]);
            object::selects(selector, &found["metadata"]["labels"])
        }),
        _ => object::namespace(waypoint) == namespace,
    }
}

/// The waypoint at a place, for what stands in `namespace` and is `service` or `workload`.
fn at(api: &dyn Api, place: &(String, String), namespace: &str, traffic: &str) -> Binding {
    let written = format!("{}/{}", place.0, place.1);
    let Some(waypoint) = ready(api, place) else {
        return Binding::Failed(
            "WaypointIsNotReady",
            format!("waypoint \"{written}\" is not ready"),
        );
    };
    if !admits(api, &waypoint, namespace) {
        let text = format!(
            "we are not permitted to attach to waypoint \"{written}\" (missing allowedRoutes?)"
        );
        return Binding::Failed("AttachmentDenied", text);
    }
    let takes = traffic_type(api, &waypoint);
    if takes != traffic && takes != "all" {
        let text = format!(
            "attempting to bind to traffic type \"{traffic}\" which the waypoint \"{written}\" does not support"
        );
        return Binding::Failed("UnsupportedTrafficType", text);
    }
    Binding::To(waypoint)
}

/// The waypoint of a Service or ServiceEntry.
pub fn of_service(api: &dyn Api, service: &Value) -> Binding {
    if object::label(service, "gateway.istio.io/managed") == Some("istio.io-mesh-controller") {
        return Binding::None;
    }
    let namespace = object::namespace(service);
    let asked = named(service, namespace)
        .or_else(|| api.get(&NAMESPACES, "", namespace).and_then(|found| named(&found, namespace)));
    match asked {
        Some(Some(place)) => at(api, &place, namespace, "service"),
        _ => Binding::None,
    }
}

/// The waypoint of a WorkloadEntry. One that its namespace names for Services only is no failure.
fn of_workload(api: &dyn Api, workload: &Value) -> Binding {
    let namespace = object::namespace(workload);
    let own = named(workload, namespace);
    let is_own = own.is_some();
    let asked = own
        .or_else(|| api.get(&NAMESPACES, "", namespace).and_then(|found| named(&found, namespace)));
    let Some(Some(place)) = asked else { return Binding::None };
    match at(api, &place, namespace, "workload") {
        Binding::Failed("UnsupportedTrafficType", _) if !is_own => Binding::None,
        found => found,
    }
}

/// What is wrong with the second waypoint that an object asks for; the first one serves all the same.
fn canary_problem(api: &dyn Api, service: &Value, primary: &Value) -> Option<String> {
    let namespace = object::namespace(service);
    // It is inherited from the namespace only together with the first one.
    let inherited = object::label(service, USE)
        .is_none()
        .then(|| api.get(&NAMESPACES, "", namespace))
        .flatten();
    let source = match (object::label(service, CANARY), &inherited) {
        (None, Some(found)) => found,
        _ => service,
    };
    let name = object::label(source, CANARY)
        .filter(|name| !name.is_empty() && *name != "none")?
        .to_owned();
    let place = (
        object::label(source, "istio.io/use-waypoint-canary-namespace")
            .unwrap_or(namespace)
            .to_owned(),
        name,
    );
    let written = format!("{}/{}", place.0, place.1);
    if (place.0.as_str(), place.1.as_str()) == (object::namespace(primary), object::name(primary)) {
        return Some(format!(
            "canary waypoint \"{written}\" must differ from the primary waypoint"
        ));
    }
    let weight = |object: &Value| {
        object::annotation(object, "istio.io/use-waypoint-canary-weight").map(str::to_owned)
    };
    let weight = weight(service).or_else(|| inherited.as_deref().and_then(weight));
    let is_valid = weight
        .is_none_or(|text| text.parse::<i64>().is_ok_and(|weight| (0..=100).contains(&weight)));
    if !is_valid {
        return Some(format!(
            "canary waypoint \"{written}\" has an invalid weight; must be an integer in [0,100]"
        ));
    }
    match at(api, &place, namespace, "service") {
        Binding::Failed(_, message) => Some(message),
        Binding::None | Binding::To(_) => None,
    }
}

/// Whether gateways use the Service's waypoint: the Service's own label wins over its namespace's.
pub fn ingress_uses(api: &dyn Api, service: &Value) -> Option<bool> {
    let parse = |text: &str| matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True");
    object::label(service, INGRESS).map(parse).or_else(|| {
        let namespace = api.get(&NAMESPACES, "", object::namespace(service))?;
        object::label(&namespace, INGRESS).map(parse)
    })
}

/// Writes the conditions on Services, ServiceEntries and WorkloadEntries. Keys carry the kind before the name: `services/name`.
pub(super) struct Bindings;

fn kinds() -> [&'static Resource; 3] {
    [&SERVICES, &SERVICE_ENTRIES, &WORKLOAD_ENTRIES]
}

impl Controller for Bindings {
    fn name(&self) -> &'static str {
        "istio-ambient-service"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let key = |resource: &Resource, found: &Value| {
            let name = format!("{}/{}", resource.plural, object::name(found));
            (object::namespace(found).to_owned(), name)
        };
        let those = |namespace: &str| {
            kinds()
                .into_iter()
                .flat_map(|kind| {
                    api.list(kind, namespace).into_iter().map(|found| key(kind, &found))
                })
                .collect()
        };
        // A Gateway's status changes often; it concerns only those that ask for its name.
        let asking = |name: &str| {
            let asks = |found: &Value| {
                [USE, CANARY].iter().any(|label| object::label(found, label) == Some(name))
            };
            let namespaces: BTreeSet<String> = api
                .list(&NAMESPACES, "")
                .iter()
                .filter(|found| asks(found))
                .map(|found| object::name(found).to_owned())
                .collect();
            let mut keys = Vec::new();
            for kind in kinds() {
                for found in api.list(kind, "") {
                    if asks(&found) || namespaces.contains(object::namespace(&found)) {
                        keys.push(key(kind, &found));
                    }
                }
            }
            keys
        };
        match (change.resource.group.as_str(), change.resource.plural.as_str()) {
            ("", "services") | ("networking.istio.io", "serviceentries" | "workloadentries") => {
                vec![key(&change.resource, &change.object)]
            }
            ("", "namespaces") => those(object::name(&change.object)),
            ("gateway.networking.k8s.io", "gateways") => asking(object::name(&change.object)),
            _ if presence::concerns_istiod(change) => those(""),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, key: &str) -> Result<Requeue, Status> {
        let Some((plural, name)) = key.split_once('/') else { return Ok(Requeue::OnChange) };
        let kind = kinds().into_iter().find(|kind| kind.plural == plural);
        let (Some(kind), Some(_)) = (kind, presence::istiod(api)) else {
            return Ok(Requeue::OnChange);
        };
        let Some(found) = api.get(kind, namespace, name) else { return Ok(Requeue::OnChange) };
        let wanted = conditions(api, kind, &found);
        let owned = [BOUND, MISSING];
        let old: Vec<&Value> =
            owned.iter().filter_map(|kind| object::condition(&found, kind)).collect();
        let now = object::now(api);
        let mut new = Vec::new();
        for condition in &wanted {
            let before = old.iter().find(|found| found["type"] == condition.kind);
            let mut list: Vec<Value> = before.into_iter().map(|found| (*found).clone()).collect();
            object::set_condition(&mut list, condition, None, &now);
            new.append(&mut list);
        }
        if new.iter().collect::<Vec<_>>() == old {
            return Ok(Requeue::OnChange);
        }
        let manager = match plural {
            "workloadentries" => "istio-ambient-workloadentry",
            _ => "istio-ambient-service",
        };
        let patch = json!({
            "apiVersion": found["apiVersion"],
            "kind": found["kind"],
            "metadata": { "name": name, "namespace": namespace },
            "status": { "conditions": new },
        });
        api.apply_status(manager, patch)?;
        Ok(Requeue::OnChange)
    }
}

const BOUND: &str = "istio.io/WaypointBound";
const MISSING: &str = "istio.io/WaypointMissing";

fn conditions(api: &dyn Api, kind: &Resource, found: &Value) -> Vec<Condition> {
    let is_workload = kind.plural == "workloadentries";
    // A name in DNS only is nothing that traffic could be captured for.
    if found["spec"]["type"] == "ExternalName" {
        return Vec::new();
    }
    let binding = if is_workload { of_workload(api, found) } else { of_service(api, found) };
    let mut conditions = Vec::new();
    match binding {
        Binding::To(waypoint) => {
            let mut text = format!(
                "Successfully attached to waypoint {}/{}",
                object::namespace(&waypoint),
                object::name(&waypoint)
            );
            if !is_workload {
                text.push_str(match ingress_uses(api, found) {
                    Some(true) => ". Ingress traffic will traverse the waypoint",
                    Some(false) => {
                        ". Ingress traffic is not using the waypoint, set the istio.io/ingress-use-waypoint label to \
                         true if desired."
                    }
                    None => "",
                });
                if let Some(why) = canary_problem(api, found, &waypoint) {
                    text.push_str(&format!(". Canary waypoint not attached: {why}"));
                }
            }
            conditions.push(Condition::new(BOUND, true, "WaypointAccepted", text));
            return conditions;
        }
        Binding::Failed(reason, message) => {
            conditions.push(Condition::new(BOUND, false, reason, message));
        }
        Binding::None => {}
    }
    let is_wild = object::items(&found["spec"], "hosts")
        .iter()
        .any(|host| host.as_str().is_some_and(|host| host.starts_with('*')));
    if kind.plural == "serviceentries" && is_wild {
        let text = "ServiceEntry will not apply until it is bound to a valid waypoint.";
        conditions.push(Condition::new(MISSING, true, "NoWaypointForWildcardService", text));
    }
    conditions
}
