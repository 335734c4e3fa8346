//! The status that istiod writes for HTTPRoutes, GRPCRoutes and TLSRoutes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::attach::{self, Attachment, GROUP, Problem};
use super::gateways::MANAGER;
use super::kinds::TLS_ROUTES;
use super::presence;
use super::reference_grant::text;
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Resource, Status};
use crate::sandbox::controllers::kinds::{GRPC_ROUTES, HTTP_ROUTES};
use crate::sandbox::controllers::object::{self, Condition};

const CONTROLLER: &str = "istio.io/gateway-controller";

/// The route controller. Keys carry the kind before the name: `httproutes/name`.
pub(super) struct Routes;

fn kinds() -> [&'static Resource; 3] {
    [&HTTP_ROUTES, &GRPC_ROUTES, &TLS_ROUTES]
}

impl Controller for Routes {
    fn name(&self) -> &'static str {
        "istio-route-controller"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let key = |resource: &Resource, route: &Value| {
            let name = format!("{}/{}", resource.plural, object::name(route));
            (object::namespace(route).to_owned(), name)
        };
        let those = |wanted: &dyn Fn(&Value) -> bool| {
            let mut keys = Vec::new();
            for resource in kinds() {
                let routes = api.list(resource, "");
                keys.extend(
                    routes.iter().filter(|route| wanted(route)).map(|route| key(resource, route)),
                );
            }
            keys
        };
        let name = object::name(&change.object);
        match (change.resource.group.as_str(), change.resource.plural.as_str()) {
            (GROUP, "httproutes" | "grpcroutes" | "tlsroutes") => {
                vec![key(&change.resource, &change.object)]
            }
            // Whose listeners conflict with a set's, its Gateway says; routes on other sets feel it.
            (GROUP, "listenersets") => those(&|_| true),
            (GROUP, "gateways") => {
                // A Gateway's status changes often; only what it asks for concerns routes.
                those(&|route| {
                    object::items(&route["spec"], "parentRefs").iter().any(|reference| {
                        reference["name"] == name || reference["kind"] != "Gateway"
                    })
                })
            }
            (GROUP, "gatewayclasses" | "referencegrants") | ("", "namespaces") => those(&|_| true),
            ("", "services") => those(&|route| mentions(route, name)),
            ("networking.istio.io", "serviceentries") => those(&|_| true),
            _ if presence::concerns_istiod(change) => those(&|_| true),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, key: &str) -> Result<Requeue, Status> {
        let Some((plural, name)) = key.split_once('/') else { return Ok(Requeue::OnChange) };
        let Some(istiod) = presence::istiod(api) else { return Ok(Requeue::OnChange) };
        if !presence::reads(api, plural) {
            return Ok(Requeue::OnChange);
        }
        let Some(resource) = kinds().into_iter().find(|found| found.plural == plural) else {
            return Ok(Requeue::OnChange);
        };
        let Some(route) = api.get(resource, namespace, name) else { return Ok(Requeue::OnChange) };
        if object::is_deleting(&route) || !presence::is_mine(api, &istiod, &route) {
            return Ok(Requeue::OnChange);
        }
        let status = json!({ "parents": parents(api, &route) });
        object::put_status(api, MANAGER, &route, status)?;
        Ok(Requeue::OnChange)
    }
}

fn mentions(route: &Value, service: &str) -> bool {
    let names = |list: &[Value]| list.iter().any(|entry| entry["name"] == service);
    names(object::items(&route["spec"], "parentRefs"))
        || object::items(&route["spec"], "rules").iter().any(|rule| {
            names(object::items(rule, "backendRefs"))
                || object::items(rule, "filters")
                    .iter()
                    .any(|filter| filter["requestMirror"]["backendRef"]["name"] == service)
        })
}

/// How telling a refusal is: the lowest is reported.
fn rank(attachment: &Attachment) -> u8 {
    match attachment.denied.as_ref().map(|problem| problem.reason) {
        None => 0,
        Some("NotAllowedByListeners") => 1,
        Some("NoMatchingListenerHostname") => 2,
        Some("ParentRefConflict") => 3,
        Some(_) => 4,
    }
}

/// A parent reference as a text that orders and tells apart.
fn reference_text(reference: &Value, namespace: &str) -> String {
    format!(
        "{}/{}/{}/{}/{}.{}",
        text(reference, "group", GROUP),
        text(reference, "kind", "Gateway"),
        text(reference, "name", ""),
        text(reference, "sectionName", ""),
        reference["port"].as_u64().unwrap_or(0),
        text(reference, "namespace", namespace)
    )
}

/// `status.parents`: others' entries stay, ours keep their places, new ones follow in descending order.
fn parents(api: &dyn Api, route: &Value) -> Vec<Value> {
    let namespace = object::namespace(route);
    let generation = object::generation(route);
    let now = object::now(api);
    let references = object::items(&route["spec"], "parentRefs");
    let mut by_reference: BTreeMap<usize, Vec<Attachment>> = BTreeMap::new();
    for attachment in attach::attachments(api, route) {
        by_reference.entry(attachment.reference).or_default().push(attachment);
    }
    let in_mesh = rules_problem(api, route, false);
    let at_gateway = rules_problem(api, route, true);
    let mut entries: Vec<(String, Value)> = Vec::new();
    let old = object::items(&route["status"], "parents");
    for (index, attachments) in by_reference {
        let id = reference_text(&references[index], namespace);
        let before = old.iter().find(|entry| {
            entry["controllerName"] == CONTROLLER
                && reference_text(&entry["parentRef"], namespace) == id
        });
        let mut conditions =
            before.map(|entry| object::items(entry, "conditions").to_vec()).unwrap_or_default();
        let of_service = attachments.iter().any(|found| found.listener.is_none());
        let problem = if of_service { &in_mesh } else { &at_gateway };
        for condition in conditions_of(&attachments, problem.as_ref()) {
            object::set_condition(&mut conditions, &condition, Some(generation), &now);
        }
        let entry = json!({
            "conditions": conditions,
            "controllerName": CONTROLLER,
            "parentRef": references[index],
        });
        entries.push((id, entry));
    }
    let mut result = Vec::new();
    for entry in old {
        if entry["controllerName"] != CONTROLLER {
            result.push(entry.clone());
            continue;
        }
        let id = reference_text(&entry["parentRef"], namespace);
        if let Some(at) = entries.iter().position(|(found, _)| *found == id) {
            result.push(entries.remove(at).1);
        }
    }
    entries.sort_by(|a, b| b.0.cmp(&a.0));
    result.extend(entries.into_iter().map(|(_, entry)| entry));
    result
}

fn conditions_of(attachments: &[Attachment], problem: Option<&Problem>) -> Vec<Condition> {
    let bound = attachments.iter().filter(|found| found.denied.is_none()).count();
    let best = attachments.iter().map(rank).min().unwrap_or(0);
    let accepted = if best == 0 {
        let text = if bound > 1 {
            format!("Route was valid, bound to {bound} parents")
        } else {
            "Route was valid".to_owned()
        };
        Condition::new("Accepted", true, "Accepted", text)
    } else {
        let reported: Vec<&Problem> = attachments
            .iter()
            .filter(|found| rank(found) == best)
            .filter_map(|found| found.denied.as_ref())
            .collect();
        let reason = reported.first().map_or("NoMatchingParent", |problem| problem.reason);
        let texts: Vec<_> = reported.iter().map(|problem| problem.message.as_str()).collect();
        Condition::new("Accepted", false, reason, texts.join("; "))
    };
    let refs = match problem {
        Some(problem) => {
            Condition::new("ResolvedRefs", false, problem.reason, problem.message.clone())
        }
        None => Condition::new("ResolvedRefs", true, "ResolvedRefs", "All references resolved"),
    };
    let waypoint = attachments.iter().find_map(|found| found.waypoint_problem);
    let waypoints = Condition::new(
        "ResolvedWaypoints",
        true,
        "ResolvedWaypoints",
        waypoint.unwrap_or("All waypoints resolved"),
    );
    vec![accepted, refs, waypoints]
}

/// Why a rule cannot be used: as a whole, or only in part.
enum Broken {
    /// The route as a whole is dropped.
    Wholly(Problem),
    /// What can be used is.
    Partly(Problem),
}

/// The problem of the route's rules that is reported: one that drops the route at once, else the last rule's.
fn rules_problem(api: &dyn Api, route: &Value, needs_grant: bool) -> Option<Problem> {
    let mut reported = None;
    for rule in object::items(&route["spec"], "rules") {
        match rule_problem(api, route, rule, needs_grant) {
            Some(Broken::Wholly(problem)) => return Some(problem),
            Some(Broken::Partly(problem)) => reported = Some(problem),
            None => {}
        }
    }
    reported
}

fn rule_problem(api: &dyn Api, route: &Value, rule: &Value, needs_grant: bool) -> Option<Broken> {
    let is_http = text(route, "kind", "") == "HTTPRoute";
    let mut of_mirror = None;
    let mut redirects = false;
    for filter in object::items(rule, "filters") {
        match text(filter, "type", "") {
            "RequestMirror" => {
                let backend = &filter["requestMirror"]["backendRef"];
                let problem = attach::backend_problem_in(api, route, backend, needs_grant);
                match problem {
                    Some(problem) if !is_http => return Some(Broken::Wholly(problem)),
                    problem => of_mirror = problem.or(of_mirror),
                }
            }
            "RequestRedirect" if is_http => redirects = true,
            "URLRewrite" | "CORS" if is_http => {}
            _ => {
                if let Some(problem) = header_filter_problem(filter) {
                    return Some(Broken::Wholly(problem));
                }
            }
        }
    }
    let of_mirror = of_mirror.map(Broken::Partly);
    let backends = object::items(rule, "backendRefs");
    let weight = |backend: &Value| backend["weight"].as_i64().unwrap_or(1);
    // Without any weight a rule answers 500, whatever it names.
    if backends.iter().map(weight).sum::<i64>() == 0 && !redirects {
        return of_mirror;
    }
    let mut of_backend = None;
    for backend in backends.iter().filter(|backend| weight(backend) != 0) {
        if let Some(problem) = attach::backend_problem_in(api, route, backend, needs_grant) {
            if problem.reason == "InvalidDestination" {
                return Some(Broken::Wholly(problem));
            }
            of_backend = Some(problem);
        }
        let filters = object::items(backend, "filters").iter();
        if let Some(problem) = filters.filter_map(header_filter_problem).next() {
            return Some(Broken::Wholly(problem));
        }
    }
    match (of_backend, of_mirror) {
        (Some(first), Some(Broken::Partly(second))) => Some(Broken::Partly(Problem {
            reason: first.reason,
            message: format!("{}; {}", first.message, second.message),
        })),
        (first, second) => first.map(Broken::Partly).or(second),
    }
}

/// What is wrong with a filter that may only change headers.
fn header_filter_problem(filter: &Value) -> Option<Problem> {
    let kind = text(filter, "type", "");
    let changes = match kind {
        "RequestHeaderModifier" => &filter["requestHeaderModifier"],
        "ResponseHeaderModifier" => &filter["responseHeaderModifier"],
        _ => {
            let message = format!("unsupported filter type \"{kind}\"");
            return Some(Problem::new("InvalidFilter", message));
        }
    };
    let is_printable =
        |value: &str| value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    object::items(changes, "set")
        .iter()
        .chain(object::items(changes, "add"))
        .find(|header| !is_printable(text(header, "value", "")))
        .map(|header| {
            let name = text(header, "name", "");
            let message = format!("header \"{name}\" value contains invalid characters");
            Problem::new("InvalidFilter", message)
        })
}
