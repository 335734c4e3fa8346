//! The conditions that istiod writes on AuthorizationPolicies: who reads them, ztunnel or a waypoint.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::attach::{Class, Problem};
use super::{presence, waypoint};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::controllers::kinds::{
    AUTHORIZATION_POLICIES, GATEWAY_CLASSES, GATEWAYS, SERVICES,
};
use crate::sandbox::controllers::object::{self, Condition};

/// The policy statuses.
pub(super) struct Policies;

impl Controller for Policies {
    fn name(&self) -> &'static str {
        "istio-ambient-policy"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let all = || {
            api.list(&AUTHORIZATION_POLICIES, "").iter().map(|found| object::key(found)).collect()
        };
        match (change.resource.group.as_str(), change.resource.plural.as_str()) {
            ("security.istio.io", "authorizationpolicies") => vec![object::key(&change.object)],
            ("", "services" | "namespaces") | ("gateway.networking.k8s.io", "gateways") => all(),
            _ if presence::concerns_istiod(change) => all(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(root) = presence::root_namespace(api) else { return Ok(Requeue::OnChange) };
        let Some(policy) = api.get(&AUTHORIZATION_POLICIES, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        let (manager, condition) = if targets(&policy).is_empty() {
            ("istio-ambient-ztunnel-policy", at_ztunnel(&policy))
        } else {
            ("istio-ambient-waypoint-policy", at_waypoint(api, &policy, &root))
        };
        let old = object::items(&policy["status"], "conditions");
        let same = old.iter().any(|found| {
            found["type"] == condition.kind
                && found["status"] == condition.status
                && found["reason"] == condition.reason.as_str()
                && found["message"] == condition.message.as_str()
        });
        if same {
            return Ok(Requeue::OnChange);
        }
        let mut conditions = Vec::new();
        object::set_condition(&mut conditions, &condition, None, &object::now(api));
        // A string here, where every other status has a number.
        conditions[0]["observedGeneration"] = json!(object::generation(&policy).to_string());
        api.apply_status(
            manager,
            json!({
                "apiVersion": policy["apiVersion"],
                "kind": "AuthorizationPolicy",
                "metadata": { "name": name, "namespace": namespace },
                "status": { "conditions": conditions },
            }),
        )?;
        Ok(Requeue::OnChange)
    }
}

/// `targetRefs`, or the older single `targetRef`.
pub(crate) fn targets(policy: &Value) -> Vec<Value> {
    let mut found = object::items(&policy["spec"], "targetRefs").to_vec();
    if policy["spec"]["targetRef"].is_object() {
        found.push(policy["spec"]["targetRef"].clone());
    }
    found
}

/// The HTTP attributes of a policy, which ztunnel cannot see.
pub(crate) fn http_attributes(policy: &Value) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for rule in object::items(&policy["spec"], "rules") {
        for to in object::items(rule, "to") {
            for field in ["hosts", "notHosts", "methods", "notMethods", "paths", "notPaths"] {
                if !object::items(&to["operation"], field).is_empty() {
                    found.insert(field);
                }
            }
        }
        for from in object::items(rule, "from") {
            for field in
                ["remoteIpBlocks", "notRemoteIpBlocks", "requestPrincipals", "notRequestPrincipals"]
            {
                if !object::items(&from["source"], field).is_empty() {
                    found.insert(field);
                }
            }
        }
        if !object::items(rule, "when").is_empty() {
            let l4 = [
                "source.ip",
                "source.namespace",
                "source.principal",
                "destination.ip",
                "destination.port",
            ];
            if object::items(rule, "when")
                .iter()
                .any(|when| !l4.contains(&when["key"].as_str().unwrap_or_default()))
            {
                found.insert("when");
            }
        }
    }
    found
}

fn at_ztunnel(policy: &Value) -> Condition {
    const KIND: &str = "ZtunnelAccepted";
    let action = policy["spec"]["action"].as_str().unwrap_or("ALLOW");
    let found = http_attributes(policy);
    if !matches!(action, "ALLOW" | "DENY") {
        let text = format!("ztunnel does not support the {action} action");
        return Condition::new(KIND, false, "UnsupportedValue", text);
    }
    if found.is_empty() {
        return Condition::new(KIND, true, "Accepted", "attached to ztunnel");
    }
    let names: Vec<_> = found.into_iter().collect();
    let effect = if action == "ALLOW" {
        "Within an ALLOW policy, rules matching HTTP attributes are omitted."
    } else {
        "Within a DENY policy, rules matching HTTP attributes are omitted."
    };
    Condition::new(
        KIND,
        true,
        "UnsupportedValue",
        format!(
            "ztunnel does not support HTTP attributes (found: {}). In ambient mode you must use a waypoint proxy to \
             enforce HTTP rules. {effect} This will be more restrictive than requested.",
            names.join(", ")
        ),
    )
}

fn at_waypoint(api: &dyn Api, policy: &Value, root: &str) -> Condition {
    const KIND: &str = "WaypointAccepted";
    let outcomes: Vec<_> =
        targets(policy).iter().map(|target| bind(api, policy, target, root)).collect();
    let failed = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
    let bound: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    match (bound.first(), failed) {
        (Some(first), None) => Condition::new(KIND, true, "Accepted", (*first).clone()),
        (Some(_), Some(problem)) => {
            Condition::new(KIND, true, "PartiallyInvalid", problem.message.clone())
        }
        (None, Some(problem)) => {
            Condition::new(KIND, false, problem.reason, problem.message.clone())
        }
        (None, None) => Condition::new(KIND, false, "unknown", "not bound"),
    }
}

fn bind(api: &dyn Api, policy: &Value, target: &Value, root: &str) -> Result<String, Problem> {
    let namespace = object::namespace(policy);
    let name = target["name"].as_str().unwrap_or_default();
    let key = format!("{namespace}/{name}");
    let problem = |reason: &'static str, message: String| Err(Problem { reason, message });
    match target["kind"].as_str().unwrap_or_default() {
        "GatewayClass" if namespace != root => problem(
            "Invalid",
            format!(
                "AuthorizationPolicy must be in the root namespace `{root}` when referencing a GatewayClass"
            ),
        ),
        "GatewayClass" => match api.get(&GATEWAY_CLASSES, "", name) {
            None => problem("TargetNotFound", "not bound".to_owned()),
            Some(class) if class["spec"]["controllerName"] != Class::Waypoint.controller() => {
                problem(
                    "Invalid",
                    "GatewayClass must use controller name `istio.io/mesh-controller` for waypoints"
                        .to_owned(),
                )
            }
            Some(_) => Ok(format!("bound to {name}")),
        },
        "Gateway" => match api.get(&GATEWAYS, namespace, name) {
            Some(gateway) if Class::of(api, &gateway) == Some(Class::Waypoint) => {
                Ok(format!("bound to {key}"))
            }
            _ => problem("TargetNotFound", "not bound".to_owned()),
        },
        "Service" => match api.get(&SERVICES, namespace, name) {
            None => problem("TargetNotFound", format!("Service {key} was not found")),
            Some(service) => match waypoint::of_service(api, &service) {
                waypoint::Binding::To(found) => {
                    Ok(format!("bound to {}/{}", object::namespace(&found), object::name(&found)))
                }
                _ => problem(
                    "AncestorNotBound",
                    format!("Service {key} is not bound to a waypoint"),
                ),
            },
        },
        _ => problem("unknown", "not bound".to_owned()),
    }
}
