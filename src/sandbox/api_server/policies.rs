//! ValidatingAdmissionPolicies and their bindings.

use serde_json::Value;

use super::admission::{namespace_matches, rule_matches};
use super::kinds::{Kind, metadata_text};
use super::selectors::label_selector_matches;
use super::{ApiServer, Request};
use crate::sandbox::api::Status;
use crate::sandbox::store::GroupResource;

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
        let covered = matches(server, &policy["spec"]["matchConstraints"], kind, subject, operation)
            && (binding["spec"]["matchResources"].is_null()
                || matches(server, &binding["spec"]["matchResources"], kind, subject, operation));
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
        && label_selector_matches(&constraints["objectSelector"], &subject["metadata"]["labels"])
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
    let mut builder = kube_cel::VapEvaluator::builder().request(kube_cel::AdmissionRequest {
        operation: operation.to_owned(),
        username: request.user.clone(),
        groups: request.groups.clone(),
        name: metadata_text(subject, "name").to_owned(),
        namespace: metadata_text(subject, "namespace").to_owned(),
        dry_run: request.dry_run,
        kind: kube_cel::GroupVersionKind {
            group: kind.group.clone(),
            version: kind.version.clone(),
            kind: kind.kind.clone(),
        },
        resource: kube_cel::GroupVersionResource {
            group: kind.group.clone(),
            version: kind.version.clone(),
            resource: kind.plural.clone(),
        },
        ..kube_cel::AdmissionRequest::default()
    });
    builder = builder.object(object.cloned().unwrap_or(Value::Null));
    if let Some(live) = live {
        builder = builder.old_object(live.clone());
    }
    if kind.namespaced {
        let namespaces = GroupResource::new("", "namespaces");
        if let Some(found) = server.store.get(&namespaces, "", metadata_text(subject, "namespace")) {
            builder = builder.namespace_object((*server.store.value(&found)).clone());
        }
    }
    let evaluator = builder.build();
    // `variables.x` is bound by writing the expression in its place: policies name them before use.
    let variables: Vec<(String, String)> = list("variables")
        .iter()
        .filter_map(|variable| Some((text(variable, "name")?, text(variable, "expression")?)))
        .collect();
    let inline = |expression: &str| {
        let mut expression = expression.to_owned();
        for (name, value) in variables.iter().rev() {
            expression = replace_variable(&expression, name, value);
        }
        expression
    };
    let conditions: Vec<kube_cel::VapExpression> = list("matchConditions")
        .iter()
        .filter_map(|condition| {
            Some(kube_cel::VapExpression {
                expression: inline(&text(condition, "expression")?),
                message: None,
                message_expression: None,
            })
        })
        .collect();
    if evaluator.evaluate(&conditions).iter().any(|result| !result.passed) {
        return None;
    }
    for validation in list("validations") {
        let Some(expression) = text(validation, "expression") else { continue };
        let result = evaluator
            .evaluate(&[kube_cel::VapExpression {
                expression: inline(&expression),
                message: text(validation, "message"),
                message_expression: text(validation, "messageExpression").map(|text| inline(&text)),
            }])
            .into_iter()
            .next();
        if let Some(result) = result
            && !result.passed
        {
            let given = text(validation, "message").is_some()
                || text(validation, "messageExpression").is_some();
            let message = match result.message {
                Some(message) if given => message,
                _ => format!("failed expression: {}", expression.trim()),
            };
            return Some(Refused {
                message: message.trim().to_owned(),
                reason: text(validation, "reason").unwrap_or_default(),
            });
        }
    }
    None
}

/// Puts `(value)` in the place of `variables.name`.
fn replace_variable(expression: &str, name: &str, value: &str) -> String {
    let wanted = format!("variables.{name}");
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some(at) = rest.find(&wanted) {
        let after = &rest[at + wanted.len()..];
        out.push_str(&rest[..at]);
        if after.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            out.push_str(&wanted);
        } else {
            out.push('(');
            out.push_str(value);
            out.push(')');
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
