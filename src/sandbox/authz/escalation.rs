//! Nobody gives away what they do not hold; and ClusterRoles that are put together from others.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::rules::quoted_list;
use super::{
    Access, GROUP, MASTERS, Roles, Rule, User, authorize, refusal, rules_of, rules_of_role,
};
use crate::sandbox::api::Status;
use crate::sandbox::ssa::go_text::quoted;

/// Checks a write of a role or a binding: its writer must hold every right that it gives, or hold `escalate` on the
/// role, `bind` on the role bound. `access` is the write, `object` what is to be stored, `live` what is there.
///
/// # Errors
/// The 403 that names the missing rights.
pub fn escalation(
    roles: &dyn Roles,
    user: &User,
    access: &Access,
    object: &Value,
    live: Option<&Value>,
) -> Result<(), Status> {
    if access.group != GROUP || user.groups.iter().any(|group| group == MASTERS) {
        return Ok(());
    }
    let may = |verb: &str, resource: &str, name: &str| {
        let access = Access {
            verb: verb.to_owned(),
            namespace: access.namespace.clone(),
            group: GROUP.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..Access::default()
        };
        authorize(roles, user, &access).allowed
    };
    let name = text(object.get("metadata"), "name");
    let given = match access.resource.as_str() {
        resource @ ("roles" | "clusterroles") => {
            let unchanged = live.is_some_and(|live| live.get("rules") == object.get("rules"));
            if unchanged || may("escalate", resource, name) {
                return Ok(());
            }
            Rule::all_of(object)
        }
        "rolebindings" | "clusterrolebindings" => {
            let reference = object.get("roleRef");
            let unchanged = live.is_some_and(|live| {
                live.get("roleRef") == reference && live.get("subjects") == object.get("subjects")
            });
            let (kind, role) = (text(reference, "kind"), text(reference, "name"));
            let resource = if kind == "Role" { "roles" } else { "clusterroles" };
            if unchanged || may("bind", resource, role) {
                return Ok(());
            }
            // The answer names the role as if it were one of the bindings.
            rules_of_role(roles, kind, &access.namespace, role).map_err(|_| Status {
                code: 404,
                reason: "NotFound".to_owned(),
                message: format!("{}.{GROUP} {} not found", access.resource, quoted(role)),
                details: serde_json::json!({
                    "name": role, "group": GROUP, "kind": access.resource,
                }),
            })?
        }
        _ => return Ok(()),
    };
    let held = rules_of(roles, user, &access.namespace);
    let missing = Rule::missing(&held, &given);
    if missing.is_empty() {
        return Ok(());
    }
    let mut texts: Vec<String> = missing.iter().map(Rule::text).collect();
    texts.sort();
    texts.dedup();
    let named = Access { name: name.to_owned(), ..access.clone() };
    let what = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quoted(&user.name),
        quoted_list(&user.groups),
        texts.join("\n")
    );
    Err(refusal(&named, &what))
}

fn text<'a>(object: Option<&'a Value>, name: &str) -> &'a str {
    object.and_then(|object| object.get(name)).and_then(Value::as_str).unwrap_or_default()
}

/// The rules that a ClusterRole with `aggregationRule` has by the labels of all others, in order of their names; `None`
/// when it has them already or has no such rule.
pub fn aggregated(role: &Value, cluster_roles: &[Arc<Value>]) -> Option<Value> {
    let selectors = role.get("aggregationRule")?.get("clusterRoleSelectors")?.as_array()?;
    let own = text(role.get("metadata"), "name");
    let mut rules: Vec<Value> = Vec::new();
    let mut others: Vec<&Arc<Value>> =
        cluster_roles.iter().filter(|other| text(other.get("metadata"), "name") != own).collect();
    others.sort_by_key(|other| text(other.get("metadata"), "name").to_owned());
    for selector in selectors {
        for other in &others {
            let labels = other.get("metadata").and_then(|metadata| metadata.get("labels"));
            if !selects(selector, labels.and_then(Value::as_object)) {
                continue;
            }
            for rule in other.get("rules").and_then(Value::as_array).into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    let rules = Value::Array(rules);
    let before = role.get("rules").filter(|rules| !rules.is_null());
    let nothing = Value::Array(Vec::new());
    (before.unwrap_or(&nothing) != &rules).then_some(rules)
}

/// Whether a label selector selects these labels.
fn selects(selector: &Value, labels: Option<&Map<String, Value>>) -> bool {
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let equal = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .all(|(key, value)| label(key) == value.as_str());
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    equal
        && expressions.into_iter().flatten().all(|expression| {
            let found = label(text(Some(expression), "key"));
            let values = expression.get("values").and_then(Value::as_array);
            let listed = |found: &str| {
                values.is_some_and(|values| values.iter().any(|value| value == found))
            };
            match text(Some(expression), "operator") {
                "In" => found.is_some_and(listed),
                "NotIn" => !found.is_some_and(listed),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}
