//! The conditions that istiod writes on AuthorizationPolicies: who reads them, ztunnel or a waypoint.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::attach::{Class, Problem};
use super::kinds::SERVICE_ENTRIES;
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
            ("", "services" | "namespaces")
            | ("networking.istio.io", "serviceentries")
            | ("gateway.networking.k8s.io", "gateways" | "gatewayclasses") => all(),
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
            old.len() == 1
                && found["type"] == condition.kind
                && found["status"] == condition.status
                && found["reason"] == condition.reason.as_str()
                && found["message"].as_str().unwrap_or_default() == condition.message
        });
        if same {
            return Ok(Requeue::OnChange);
        }
        let mut conditions = Vec::new();
        object::set_condition(&mut conditions, &condition, None, &object::now(api));
        if condition.message.is_empty()
            && let Some(fields) = conditions[0].as_object_mut()
        {
            fields.remove("message");
        }
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
pub(crate) fn http_attributes(policy: &Value) -> BTreeSet<&str> {
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
        let l4 = [
            "source.ip",
            "source.namespace",
            "source.principal",
            "destination.ip",
            "destination.port",
        ];
        let keys = object::items(rule, "when").iter().filter_map(|when| when["key"].as_str());
        found.extend(keys.filter(|key| !l4.contains(key)));
    }
    found
}

fn at_ztunnel(policy: &Value) -> Condition {
    const KIND: &str = "ZtunnelAccepted";
    let action = policy["spec"]["action"].as_str().unwrap_or("ALLOW");
    let is_dry_run = object::annotation(policy, "istio.io/dry-run")
        .is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"));
    if is_dry_run {
        let text = format!(
            "found policy \"{}/{}\" using dry-run annotation, but support for ambient dry-run authorizationPolicies isn't \
             enabled",
            object::namespace(policy),
            object::name(policy)
        );
        return Condition::new(KIND, false, "UnsupportedValue", text);
    }
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
        "DENY policy with HTTP attributes is enforced without the HTTP rules."
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
    let targets = targets(policy);
    let outcomes: Vec<_> = targets.iter().map(|target| bind(api, policy, target, root)).collect();
    if let [only] = outcomes.as_slice() {
        return match only {
            Ok(bound) => Condition::new(KIND, true, "Accepted", bound.clone()),
            Err(problem) => Condition::new(KIND, false, problem.reason, problem.message.clone()),
        };
    }
    // Of several, only those that are not bound are named.
    let unbound: Vec<String> = targets
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.is_err())
        .map(|(target, _)| {
            let group = target["group"].as_str().filter(|group| !group.is_empty());
            format!(
                "{}.{}:{}/{}",
                target["kind"].as_str().unwrap_or_default(),
                group.unwrap_or("core"),
                object::namespace(policy),
                target["name"].as_str().unwrap_or_default()
            )
        })
        .collect();
    if unbound.is_empty() {
        return Condition::new(KIND, true, "Accepted", "");
    }
    let text = format!("Invalid targetRefs: {}", unbound.join(", "));
    if unbound.len() < outcomes.len() {
        Condition::new(KIND, true, "PartiallyInvalid", text)
    } else {
        Condition::new(KIND, false, "Invalid", text)
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
        // Any Gateway with an address will do.
        "Gateway" => match api.get(&GATEWAYS, namespace, name) {
            Some(gateway) if !object::items(&gateway["status"], "addresses").is_empty() => {
                Ok(format!("bound to {key}"))
            }
            _ => problem("TargetNotFound", "not bound".to_owned()),
        },
        kind @ ("Service" | "ServiceEntry") => {
            let resource = if kind == "Service" { &*SERVICES } else { &*SERVICE_ENTRIES };
            match api.get(resource, namespace, name) {
                None => problem("TargetNotFound", format!("{kind} {key} was not found")),
                Some(found) => match waypoint::of_service(api, &found) {
                    waypoint::Binding::To(found) => Ok(format!(
                        "bound to {}/{}",
                        object::namespace(&found),
                        object::name(&found)
                    )),
                    _ => problem(
                        "AncestorNotBound",
                        format!("{kind} {key} is not bound to a waypoint"),
                    ),
                },
            }
        }
        _ => problem("unknown", "not bound".to_owned()),
    }
}
