//! The access reviews of `authorization.k8s.io` and `authentication.k8s.io`: questions as objects that are not stored.

use serde_json::{Map, Value, json};

use super::{Access, Roles, User, authorize, rules_of};
use crate::sandbox::api::Status;
use crate::sandbox::ssa::go_text::quoted;

/// Whether a kind is an access review that `review` answers.
pub fn is_review(group: &str, kind: &str) -> bool {
    matches!(
        (group, kind),
        (
            "authorization.k8s.io",
            "SelfSubjectAccessReview"
                | "SubjectAccessReview"
                | "LocalSubjectAccessReview"
                | "SelfSubjectRulesReview"
        ) | ("authentication.k8s.io", "SelfSubjectReview")
    )
}

/// The review with its answer in `status`. `namespace` is that of the request.
///
/// # Errors
/// Reviews that ask nothing, or two things.
pub fn review(
    roles: &dyn Roles,
    requester: &User,
    namespace: &str,
    mut object: Value,
) -> Result<Value, Status> {
    let kind = text(&object, "kind").to_owned();
    let spec = object.get("spec").cloned().unwrap_or_default();
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    let named = metadata.as_object().is_some_and(|metadata| {
        metadata.keys().any(|field| field != "managedFields" && field != "namespace")
    });
    if named && kind.ends_with("AccessReview") {
        return Err(invalid("metadata", &format!("Invalid value: {metadata}: must be empty")));
    }
    let status = match kind.as_str() {
        "SelfSubjectReview" => json!({"userInfo": user_info(requester)}),
        "SelfSubjectRulesReview" => rules_review(roles, requester, &spec)?,
        _ => {
            let user = if kind == "SelfSubjectAccessReview" {
                requester.clone()
            } else {
                check_local(&kind, namespace, &spec)?;
                subject(&spec)?
            };
            let decision = authorize(roles, &user, &access(&spec)?);
            let mut status = json!({"allowed": decision.allowed});
            if !decision.reason.is_empty() {
                status["reason"] = Value::from(decision.reason);
            }
            status
        }
    };
    if let Some(object) = object.as_object_mut() {
        object.insert("status".to_owned(), status);
        object.entry("metadata").or_insert_with(|| json!({}));
    }
    Ok(object)
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The API server does not name the kind here.
fn invalid(field: &str, words: &str) -> Status {
    let message = format!(".authorization.k8s.io \"\" is invalid: {field}: {words}");
    let details = json!({
        "group": "authorization.k8s.io",
        "causes": [{"reason": "FieldValueInvalid", "message": words, "field": field}],
    });
    Status { code: 422, reason: "Invalid".to_owned(), message, details }
}

fn given<'a>(spec: &'a Value, name: &str) -> Option<&'a Value> {
    spec.get(name).filter(|value| !value.is_null())
}

/// What a review asks about.
fn access(spec: &Value) -> Result<Access, Status> {
    match (given(spec, "resourceAttributes"), given(spec, "nonResourceAttributes")) {
        (Some(_), Some(path)) => Err(invalid(
            "spec.nonResourceAttributes",
            &format!(
                "Invalid value: {}: cannot be specified in combination with resourceAttributes",
                json!({"Path": text(path, "path"), "Verb": text(path, "verb")})
            ),
        )),
        (None, None) => Err(invalid(
            "spec.resourceAttributes",
            "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        (None, Some(path)) => Ok(Access::to_path(text(path, "verb"), text(path, "path"))),
        (Some(resource), None) => Ok(Access {
            verb: text(resource, "verb").to_owned(),
            namespace: text(resource, "namespace").to_owned(),
            group: text(resource, "group").to_owned(),
            resource: text(resource, "resource").to_owned(),
            subresource: text(resource, "subresource").to_owned(),
            name: text(resource, "name").to_owned(),
            path: String::new(),
        }),
    }
}

/// Whom a review asks about.
fn subject(spec: &Value) -> Result<User, Status> {
    let texts = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let groups = texts(spec.get("groups"));
    if text(spec, "user").is_empty() && groups.is_empty() {
        return Err(invalid(
            "spec.user",
            "Invalid value: \"\": at least one of user or group must be specified",
        ));
    }
    let extra = spec.get("extra").and_then(Value::as_object).into_iter().flatten();
    Ok(User {
        name: text(spec, "user").to_owned(),
        uid: text(spec, "uid").to_owned(),
        groups,
        extra: extra.map(|(key, values)| (key.to_ascii_lowercase(), texts(Some(values)))).collect(),
    })
}

/// A local review is about its own namespace.
fn check_local(kind: &str, namespace: &str, spec: &Value) -> Result<(), Status> {
    if kind != "LocalSubjectAccessReview" {
        return Ok(());
    }
    let asked = spec.get("resourceAttributes").map(|it| text(it, "namespace")).unwrap_or_default();
    if asked == namespace {
        return Ok(());
    }
    let words = format!("Invalid value: {}: must match metadata.namespace", quoted(asked));
    Err(invalid("spec.resourceAttributes.namespace", &words))
}

fn rules_review(roles: &dyn Roles, user: &User, spec: &Value) -> Result<Value, Status> {
    let namespace = text(spec, "namespace");
    if namespace.is_empty() {
        let message = "no namespace on request".to_owned();
        let details = Value::Null;
        return Err(Status { code: 400, reason: "BadRequest".to_owned(), message, details });
    }
    let mut resources = Vec::new();
    let mut paths = Vec::new();
    if user.is_in(super::MASTERS) {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for rule in rules_of(roles, user, namespace) {
        resources.extend(rule.as_resource_rule());
        paths.extend(rule.as_non_resource_rule());
    }
    Ok(json!({"incomplete": false, "resourceRules": resources, "nonResourceRules": paths}))
}

fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    info.insert("username".to_owned(), Value::from(user.name.as_str()));
    if !user.uid.is_empty() {
        info.insert("uid".to_owned(), Value::from(user.uid.as_str()));
    }
    info.insert("groups".to_owned(), json!(user.groups));
    if !user.extra.is_empty() {
        let extra: Map<String, Value> =
            user.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect();
        info.insert("extra".to_owned(), Value::Object(extra));
    }
    Value::Object(info)
}
