//! Who is bound to which waypoint, and the condition `istio.io/WaypointBound` that says so.

use std::sync::Arc;

use serde_json::{Value, json};

use super::attach::Class;
use super::presence;
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::controllers::kinds::{GATEWAYS, NAMESPACES, SERVICES};
use crate::sandbox::controllers::object::{self, Condition};

const USE: &str = "istio.io/use-waypoint";
const USE_NAMESPACE: &str = "istio.io/use-waypoint-namespace";
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

/// A waypoint counts once it has an address; its pods may still be on their way.
fn ready(api: &dyn Api, place: &(String, String)) -> Option<Arc<Value>> {
    let gateway = api.get(&GATEWAYS, &place.0, &place.1)?;
    let has_address = !object::items(&gateway["status"], "addresses").is_empty();
    (Class::of(api, &gateway) == Some(Class::Waypoint) && has_address).then_some(gateway)
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
    let allowed = &waypoint["spec"]["listeners"][0]["allowedRoutes"]["namespaces"];
    match allowed["from"].as_str().unwrap_or("Same") {
        "All" => true,
        "Selector" => api.get(&NAMESPACES, "", namespace).is_some_and(|found| {
            object::selects(&allowed["selector"], &found["metadata"]["labels"])
        }),
        _ => object::namespace(waypoint) == namespace,
    }
}

/// The waypoint of a Service.
pub fn of_service(api: &dyn Api, service: &Value) -> Binding {
    if object::label(service, "gateway.istio.io/managed") == Some("istio.io-mesh-controller") {
        return Binding::None;
    }
    let namespace = object::namespace(service);
    let asked = named(service, namespace)
        .or_else(|| api.get(&NAMESPACES, "", namespace).and_then(|found| named(&found, namespace)));
    let Some(Some(place)) = asked else { return Binding::None };
    let written = format!("{}/{}", place.0, place.1);
    let Some(waypoint) = ready(api, &place) else {
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
    if !matches!(traffic_type(api, &waypoint).as_str(), "service" | "all") {
        let text = format!(
            "attempting to bind to traffic type \"service\" which the waypoint \"{written}\" does not support"
        );
        return Binding::Failed("UnsupportedTrafficType", text);
    }
    Binding::To(waypoint)
}

/// Whether gateways use the Service's waypoint: the Service's own label wins over its namespace's.
pub fn ingress_uses(api: &dyn Api, service: &Value) -> Option<bool> {
    let parse = |text: &str| matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True");
    object::label(service, INGRESS).map(parse).or_else(|| {
        let namespace = api.get(&NAMESPACES, "", object::namespace(service))?;
        object::label(&namespace, INGRESS).map(parse)
    })
}

/// Writes the condition on Services.
pub(super) struct Bindings;

impl Controller for Bindings {
    fn name(&self) -> &'static str {
        "istio-ambient-service"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let services = |namespace: &str| {
            api.list(&SERVICES, namespace).iter().map(|found| object::key(found)).collect()
        };
        match (change.resource.group.as_str(), change.resource.plural.as_str()) {
            ("", "services") => vec![object::key(&change.object)],
            ("", "namespaces") => services(object::name(&change.object)),
            ("gateway.networking.k8s.io", "gateways")
                if change.object["spec"]["gatewayClassName"] != "istio" =>
            {
                services("")
            }
            _ if presence::concerns_istiod(change) => services(""),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        const KIND: &str = "istio.io/WaypointBound";
        if presence::istiod(api).is_none() {
            return Ok(Requeue::OnChange);
        }
        let Some(service) = api.get(&SERVICES, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        let wanted = match of_service(api, &service) {
            Binding::None => None,
            Binding::Failed(reason, message) => Some(Condition::new(KIND, false, reason, message)),
            Binding::To(waypoint) => {
                let mut text = format!(
                    "Successfully attached to waypoint {}/{}",
                    object::namespace(&waypoint),
                    object::name(&waypoint)
                );
                text.push_str(match ingress_uses(api, &service) {
                    Some(true) => ". Ingress traffic will traverse the waypoint",
                    Some(false) => {
                        ". Ingress traffic is not using the waypoint, set the istio.io/ingress-use-waypoint label to \
                         true if desired."
                    }
                    None => "",
                });
                Some(Condition::new(KIND, true, "WaypointAccepted", text))
            }
        };
        let old = object::condition(&service, KIND);
        let mut conditions = Vec::new();
        if let Some(wanted) = wanted {
            conditions.extend(old.cloned());
            object::set_condition(&mut conditions, &wanted, None, &object::now(api));
        }
        if conditions.first() == old {
            return Ok(Requeue::OnChange);
        }
        let patch = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "namespace": namespace },
            "status": { "conditions": conditions },
        });
        api.apply_status("istio-ambient-service", patch)?;
        Ok(Requeue::OnChange)
    }
}
