//! ValidatingAdmissionPolicies and their bindings.

use serde_json::{Value, json};

use super::admission::{chosen_by, namespace_matches, rule_matches};
use super::kinds::{Kind, metadata_text};
use super::{ApiServer, Request};
use crate::sandbox::api::Status;
use crate::sandbox::store::GroupResource;
use crate::sandbox::validation::cel::engine::{self, Expression};

const GROUP: &str = "admissionregistration.k8s.io";

/// Refuses what a bound policy refuses.
pub(crate) fn check(
    server: &ApiServer,
    kind: &Kind,
    live: Option<&Value>,
    object: Option<&Value>,
    operation: &str,
    request: &mut Request,
) -> Result<(), Status> {
    let bindings = GroupResource::new(GROUP, "validatingadmissionpolicybindings");
    for stored in server.store.list(&bindings, "", None, 0).objects {
        let binding = server.store.value(&stored);
        let name = binding["spec"]["policyName"].as_str().unwrap_or_default();
        let policies = GroupResource::new(GROUP, "validatingadmissionpolicies");
        let Some(policy) = server.store.get(&policies, "", name) else { continue };
        let policy = server.store.value(&policy);
        let subject = object.or(live).unwrap_or(&Value::Null);
        let covered =
            matches(server, &policy["spec"]["matchConstraints"], kind, subject, operation)
                && (binding["spec"]["matchResources"].is_null()
                    || matches(
                        server,
                        &binding["spec"]["matchResources"],
                        kind,
                        subject,
                        operation,
                    ));
        if !covered {
            continue;
        }
        if !policy["spec"]["paramKind"].is_null() {
            server.note_not_modelled(&format!("parameters of ValidatingAdmissionPolicy {name}"));
            continue;
        }
        let Some(refused) = evaluate(server, &policy, kind, live, object, operation, request)
        else {
            continue;
        };
        let actions = binding["spec"]["validationActions"].as_array();
        let asks = |action: &str| {
            actions.is_some_and(|actions| actions.iter().any(|found| found == action))
        };
        let text = format!(
            "ValidatingAdmissionPolicy '{name}' with binding '{}' denied request: {}",
            metadata_text(&binding, "name"),
            refused.message
        );
        if asks("Deny") {
            return Err(denied(kind, subject, &text, &refused.reason));
        }
        if asks("Warn") {
            request.warnings.push(format!(
                "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{}': {}",
                metadata_text(&binding, "name"),
                refused.message
            ));
        }
    }
    Ok(())
}

struct Refused {
    message: String,
    reason: String,
}

fn denied(kind: &Kind, subject: &Value, text: &str, reason: &str) -> Status {
    let name = metadata_text(subject, "name");
    let resource = super::status::group_resource(&kind.group, &kind.plural);
    let message = format!("{resource} \"{name}\" is forbidden: {text}");
    let code = match reason {
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    let mut status = super::status::forbidden(&kind.group, &kind.plural, name, text);
    status.code = code;
    status.reason = if reason.is_empty() { "Invalid".to_owned() } else { reason.to_owned() };
    status.message = message;
    status.details["causes"] = serde_json::json!([{"message": text}]);
    status
}

fn matches(
    server: &ApiServer,
    constraints: &Value,
    kind: &Kind,
    subject: &Value,
    operation: &str,
) -> bool {
    let rule = |rule: &Value| {
        let names = rule["resourceNames"].as_array();
        let named = names.is_none_or(|names| {
            names.is_empty() || names.iter().any(|name| name == metadata_text(subject, "name"))
        });
        named && rule_matches(rule, kind, operation)
    };
    let list = |field: &str| constraints[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let included = list("resourceRules").is_empty() || list("resourceRules").iter().any(rule);
    included
        && !list("excludeResourceRules").iter().any(rule)
        && chosen_by(&constraints["objectSelector"], &subject["metadata"]["labels"])
        && namespace_matches(server, &constraints["namespaceSelector"], kind, subject)
}

fn evaluate(
    server: &ApiServer,
    policy: &Value,
    kind: &Kind,
    live: Option<&Value>,
    object: Option<&Value>,
    operation: &str,
    request: &Request,
) -> Option<Refused> {
    let spec = &policy["spec"];
    let list = |field: &str| spec[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value, field: &str| value[field].as_str().map(str::to_owned);
    let subject = object.or(live).unwrap_or(&Value::Null);
    let mut names = engine::Variables::new();
    names.add("object", engine::from_json(object.unwrap_or(&Value::Null)));
    names.add("oldObject", engine::from_json(live.unwrap_or(&Value::Null)));
    names.add("params", engine::from_json(&Value::Null));
    names.add("request", engine::from_json(&request_facts(kind, subject, operation, request)));
    let namespaces = GroupResource::new("", "namespaces");
    let namespace = server.store.get(&namespaces, "", metadata_text(subject, "namespace"));
    let namespace = namespace.map(|stored| server.store.value(&stored));
    names.add("namespaceObject", engine::from_json(namespace.as_deref().unwrap_or(&Value::Null)));
    for condition in list("matchConditions") {
        let expression = Expression::new(condition["expression"].as_str().unwrap_or("true"));
        if expression.is_true(&names) == Ok(false) {
            return None;
        }
    }
    let mut variables: Vec<(String, kube_cel::cel::Value)> = Vec::new();
    for variable in list("variables") {
        names.add("variables", engine::map(variables.iter().cloned()));
        let (Some(name), Some(expression)) = (text(variable, "name"), text(variable, "expression"))
        else {
            continue;
        };
        // A variable that fails is missed only by who uses it.
        if let Ok(value) = Expression::new(&expression).evaluate(&names) {
            variables.push((name, value));
        }
    }
    names.add("variables", engine::map(variables.into_iter()));
    for validation in list("validations") {
        let source = validation["expression"].as_str().unwrap_or("true");
        let reason = text(validation, "reason").unwrap_or_default();
        let message = match Expression::new(source).is_true(&names) {
            Ok(true) => continue,
            Ok(false) => text(validation, "messageExpression")
                .and_then(|message| Expression::new(&message).text(&names).ok())
                .or_else(|| text(validation, "message"))
                .unwrap_or_else(|| format!("failed expression: {}", source.trim())),
            Err(_) if spec["failurePolicy"] == "Ignore" => continue,
            Err(error) => {
                format!("expression '{}' resulted in error: {error}", source.trim())
            }
        };
        return Some(Refused { message: message.trim().to_owned(), reason });
    }
    None
}

/// The variable `request`.
fn request_facts(kind: &Kind, subject: &Value, operation: &str, request: &Request) -> Value {
    let gvk = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let gvr = json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
    json!({
        "kind": gvk, "resource": gvr, "requestKind": gvk, "requestResource": gvr,
        "subResource": "", "requestSubResource": "", "operation": operation,
        "name": metadata_text(subject, "name"), "namespace": metadata_text(subject, "namespace"),
        "dryRun": request.dry_run,
        "userInfo": {"username": request.user, "groups": request.groups, "uid": "", "extra": {}},
        "options": {}
    })
}
