//! The status that istiod writes for BackendTLSPolicies: one ancestor for each target, one for each Gateway whose routes lead
//! there. The conditions of a target that cannot be used stay with those after it, as they do in istiod.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::attach::{Class, GROUP, Problem};
use super::gateways::MANAGER;
use super::kinds::{BACKEND_TLS_POLICIES, SERVICE_ENTRIES, TLS_ROUTES};
use super::reference_grant::text;
use super::{listener_tls, presence};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::controllers::kinds::{
    CONFIG_MAPS, GRPC_ROUTES, HTTP_ROUTES, SECRETS, SERVICES,
};
use crate::sandbox::controllers::object::{self, Condition};

/// Ancestors that a status may list.
const MOST: usize = 16;

/// The policy that rules over the connections to a port of a Service: one for the port before one for all, then the older
/// one.
pub(crate) fn of_port(api: &dyn Api, service: &Value, port: &Value) -> Option<Arc<Value>> {
    let namespace = object::namespace(service);
    let section = port["name"].as_str().unwrap_or_default();
    let mut found: Vec<(bool, (String, String), Arc<Value>)> = Vec::new();
    for policy in api.list(&BACKEND_TLS_POLICIES, namespace) {
        if ignored(&policy) {
            continue;
        }
        let of_service = object::items(&policy["spec"], "targetRefs").iter().filter(|target| {
            text(target, "group", "").is_empty()
                && target["kind"] == "Service"
                && target["name"] == service["metadata"]["name"]
        });
        for target in of_service {
            let wanted = text(target, "sectionName", "");
            if wanted.is_empty() || wanted == section {
                found.push((wanted.is_empty(), age(&policy), policy.clone()));
            }
        }
    }
    found.into_iter().min_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1))).map(|(_, _, policy)| policy)
}

/// Older policies come first, of the same age by name.
fn age(policy: &Value) -> (String, String) {
    let created = policy["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
    (created.to_owned(), object::name(policy).to_owned())
}

/// Whether its author keeps istiod from a policy.
fn ignored(policy: &Value) -> bool {
    object::annotation(policy, "istio.io/ignore-policy-attachment")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The policy controller.
pub(super) struct BackendPolicies;

impl Controller for BackendPolicies {
    fn name(&self) -> &'static str {
        "istio-backend-policy-controller"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let all = || -> Vec<(String, String)> {
            api.list(&BACKEND_TLS_POLICIES, "").iter().map(|found| object::key(found)).collect()
        };
        match (change.resource.group.as_str(), change.resource.plural.as_str()) {
            (GROUP, "backendtlspolicies" | "httproutes" | "grpcroutes" | "tlsroutes")
            | ("", "services" | "configmaps")
            | ("networking.istio.io", "serviceentries") => all(),
            _ if presence::concerns_istiod(change) => all(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(istiod) = presence::istiod(api) else { return Ok(Requeue::OnChange) };
        let Some(policy) = api.get(&BACKEND_TLS_POLICIES, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        let reads = presence::reads(api, "backendtlspolicies");
        if !reads || object::is_deleting(&policy) || !presence::is_mine(api, &istiod, &policy) {
            return Ok(Requeue::OnChange);
        }
        let mut status = policy["status"].clone();
        if !status.is_object() {
            status = json!({});
        }
        status["ancestors"] = Value::Array(ancestors(api, &policy));
        object::put_status(api, MANAGER, &policy, status)?;
        Ok(Requeue::OnChange)
    }
}

/// What an ancestor is told: why the policy is not accepted, why its references do not resolve, a word of warning.
#[derive(Clone, Default)]
struct Verdict {
    refused: Option<Problem>,
    unresolved: Option<Problem>,
    warning: &'static str,
}

impl Verdict {
    fn conditions(&self) -> Vec<Condition> {
        const VALID: &str = "Configuration is valid";
        let one = |kind, reason, problem: &Option<Problem>, warning: &str| match problem {
            Some(problem) => Condition::new(kind, false, problem.reason, problem.message.clone()),
            None => Condition::new(kind, true, reason, format!("{VALID}{warning}")),
        };
        vec![
            one("Accepted", "Accepted", &self.refused, self.warning),
            one("ResolvedRefs", "ResolvedRefs", &self.unresolved, ""),
        ]
    }
}

/// `status.ancestors`: others' entries stay, ours keep their places, new ones follow.
fn ancestors(api: &dyn Api, policy: &Value) -> Vec<Value> {
    let mut wanted: Vec<(Value, &'static str, Vec<Condition>)> = Vec::new();
    let targets = object::items(&policy["spec"], "targetRefs");
    if ignored(policy) {
        let text = "Ignored by Istio due to annotation istio.io/ignore-policy-attachment=true";
        let condition = Condition::new("Accepted", false, "IgnoredByIstio", text);
        wanted.extend(
            targets.iter().map(|target| {
                (target.clone(), Class::Waypoint.controller(), vec![condition.clone()])
            }),
        );
    } else {
        let mut verdict = validation(api, policy);
        let mut gateways = BTreeSet::new();
        for target in targets {
            match target_problem(api, policy, target) {
                Some(problem) => verdict.refused = Some(problem),
                None => {
                    if let Some(problem) = conflict(api, policy, target) {
                        verdict.refused = Some(problem);
                    }
                    gateways.extend(gateways_to(api, policy, target));
                }
            }
            wanted.push((target.clone(), Class::Waypoint.controller(), verdict.conditions()));
        }
        for (_, name) in gateways {
            let reference = json!({ "group": GROUP, "kind": "Gateway", "name": name });
            wanted.push((reference, Class::Gateway.controller(), verdict.conditions()));
        }
    }
    let old = object::items(&policy["status"], "ancestors");
    let now = object::now(api);
    let generation = object::generation(policy);
    let mut incoming: Vec<Value> = wanted
        .into_iter()
        .map(|(reference, controller, conditions)| {
            let before = old.iter().find(|entry| entry["ancestorRef"] == reference);
            let mut list =
                before.map(|entry| object::items(entry, "conditions").to_vec()).unwrap_or_default();
            for condition in conditions {
                object::set_condition(&mut list, &condition, Some(generation), &now);
            }
            json!({ "ancestorRef": reference, "conditions": list, "controllerName": controller })
        })
        .collect();
    let ours = [Class::Waypoint.controller(), Class::Gateway.controller()];
    let mut result = Vec::new();
    for entry in old {
        if !ours.iter().any(|controller| entry["controllerName"] == *controller) {
            result.push(entry.clone());
        } else if let Some(at) =
            incoming.iter().position(|new| new["ancestorRef"] == entry["ancestorRef"])
        {
            result.push(incoming.remove(at));
        }
    }
    result.append(&mut incoming);
    result.truncate(MOST);
    result
}

/// What is wrong with the authority that the policy names.
fn validation(api: &dyn Api, policy: &Value) -> Verdict {
    let validation = &policy["spec"]["validation"];
    let mut verdict = Verdict::default();
    if let Some(known) = validation["wellKnownCACertificates"].as_str() {
        if known != "System" {
            let message = format!("Unknown wellKnownCACertificates: {known}");
            verdict.refused = Some(Problem::new("Invalid", message));
        }
        return verdict;
    }
    let references = object::items(validation, "caCertificateRefs");
    let Some(reference) = references.first() else { return verdict };
    if references.len() > 1 {
        verdict.warning = "; warning: only the first caCertificateRefs will be used";
    }
    let (namespace, name) = (object::namespace(policy), text(reference, "name", ""));
    let kind = text(reference, "kind", "");
    let missing = || {
        let why = format!("reference {namespace}/{name} (of kind {kind}) not found");
        ("InvalidCACertificateRef", format!("Certificate reference not found: {why}"), why)
    };
    let unsupported = |text: &str| {
        let why = format!("unsupported {text}{kind}");
        let how = if text == "kind " { "not supported" } else { "invalid" };
        ("InvalidKind", format!("Certificate reference {how}: {why}"), why)
    };
    let resource = match (text(reference, "group", ""), kind) {
        ("", "ConfigMap") => Some(&*CONFIG_MAPS),
        ("", "Secret") => Some(&*SECRETS),
        ("", "Service") => Some(&*SERVICES),
        ("networking.istio.io", "ServiceEntry") => Some(&*SERVICE_ENTRIES),
        _ => None,
    };
    let problem = match resource.map(|resource| api.get(resource, namespace, name)) {
        None => Some(unsupported("kind ")),
        Some(None) => Some(missing()),
        Some(Some(_)) if kind != "ConfigMap" => Some(unsupported("reference kind: ")),
        Some(Some(found)) => listener_tls::authority_bundle(&found)
            .err()
            .map(|why| ("InvalidCACertificateRef", format!("Certificate invalid: {why}"), why)),
    };
    if let Some((reason, message, why)) = problem {
        verdict.unresolved = Some(Problem::new(reason, message));
        let message = format!("Certificate reference invalid: {why}");
        verdict.refused = Some(Problem::new("NoValidCACertificate", message));
    }
    verdict
}

/// Why a target cannot be one.
fn target_problem(api: &dyn Api, policy: &Value, target: &Value) -> Option<Problem> {
    let (namespace, name) = (object::namespace(policy), text(target, "name", ""));
    let kind = text(target, "kind", "");
    let refused =
        |why: String| Some(Problem::new("TargetNotFound", format!("targetRefs invalid: {why}")));
    let resource = match (text(target, "group", ""), kind) {
        ("", "Service") => &*SERVICES,
        ("networking.istio.io", "ServiceEntry") => &*SERVICE_ENTRIES,
        ("", "ConfigMap") => &*CONFIG_MAPS,
        ("", "Secret") => &*SECRETS,
        _ => return refused(format!("unsupported kind {kind}")),
    };
    let Some(found) = api.get(resource, namespace, name) else {
        return refused(format!("reference {namespace}/{name} (of kind {kind}) not found"));
    };
    if matches!(kind, "ConfigMap" | "Secret") {
        return refused(format!("unsupported reference kind: {kind}"));
    }
    let section = text(target, "sectionName", "");
    let exists = section.is_empty()
        || object::items(&found["spec"], "ports").iter().any(|port| port["name"] == section);
    if exists {
        return None;
    }
    refused(format!("sectionName \"{section}\" does not exist in {kind} {namespace}/{name}"))
}

/// An older policy on the same target wins.
fn conflict(api: &dyn Api, policy: &Value, target: &Value) -> Option<Problem> {
    api.list(&BACKEND_TLS_POLICIES, object::namespace(policy))
        .iter()
        .filter(|other| object::uid(other) != object::uid(policy) && !ignored(other))
        .filter(|other| object::items(&other["spec"], "targetRefs").contains(target))
        .find(|other| age(other) < age(policy))
        .map(|other| {
            let name = object::name(other);
            let message =
                format!("Conflicts with BackendTLSPolicy \"{name}\" targeting the same backend");
            Problem::new("Conflicted", message)
        })
}

/// The Gateways (namespace, name) of routes that lead to a target, whether they are there or not.
fn gateways_to(api: &dyn Api, policy: &Value, target: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for resource in [&*HTTP_ROUTES, &*GRPC_ROUTES, &*TLS_ROUTES] {
        for route in api.list(resource, "") {
            let own = object::namespace(&route);
            let leads_there = object::items(&route["spec"], "rules")
                .iter()
                .flat_map(|rule| object::items(rule, "backendRefs"))
                .any(|backend| {
                    text(backend, "namespace", own) == object::namespace(policy)
                        && backend["name"] == target["name"]
                        && text(backend, "kind", "Service") == text(target, "kind", "")
                        && text(backend, "group", "") == text(target, "group", "")
                });
            if !leads_there {
                continue;
            }
            for parent in object::items(&route["spec"], "parentRefs") {
                if text(parent, "kind", "Gateway") == "Gateway"
                    && text(parent, "group", GROUP) == GROUP
                {
                    let namespace = text(parent, "namespace", own).to_owned();
                    found.insert((namespace, text(parent, "name", "").to_owned()));
                }
            }
        }
    }
    found
}
