//! `Status` objects of refused requests, in the API server's own words.

use serde_json::{Map, Value, json};

use crate::sandbox::api::Status;
use crate::sandbox::validation::cause::{Cause, joined, quoted as go_quote};

/// `deployments.apps`, or `configmaps` for the core group.
pub(crate) fn group_resource(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

fn status(code: u16, reason: &str, message: String, details: Value) -> Status {
    Status { code, reason: reason.to_owned(), message, details }
}

fn of_object(group: &str, kind: &str, name: &str) -> Map<String, Value> {
    let mut details = Map::new();
    for (field, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details.insert(field.to_owned(), value.into());
        }
    }
    details
}

pub(crate) fn not_found(group: &str, plural: &str, name: &str) -> Status {
    let message = format!("{} {} not found", group_resource(group, plural), go_quote(name));
    status(404, "NotFound", message, of_object(group, plural, name).into())
}

pub(crate) fn already_exists(group: &str, plural: &str, name: &str) -> Status {
    let message = format!("{} {} already exists", group_resource(group, plural), go_quote(name));
    status(409, "AlreadyExists", message, of_object(group, plural, name).into())
}

pub(crate) fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Status {
    let message = format!(
        "Operation cannot be fulfilled on {} {}: {why}",
        group_resource(group, plural),
        go_quote(name)
    );
    status(409, "Conflict", message, of_object(group, plural, name).into())
}

/// The object was changed between read and write.
pub(crate) fn modified(group: &str, plural: &str, name: &str) -> Status {
    conflict(
        group,
        plural,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )
}

pub(crate) fn bad_request(message: impl Into<String>) -> Status {
    status(400, "BadRequest", message.into(), Value::Null)
}

/// The answer to credentials that are not valid.
pub(crate) fn unauthorized() -> Status {
    status(401, "Unauthorized", "Unauthorized".to_owned(), Value::Null)
}

pub(crate) fn internal(message: impl Into<String>) -> Status {
    let message = message.into();
    status(
        500,
        "InternalError",
        format!("Internal error occurred: {message}"),
        json!({"causes": [{"message": message}]}),
    )
}

pub(crate) fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Status {
    let message = if name.is_empty() {
        format!("{} is forbidden: {why}", group_resource(group, plural))
    } else {
        format!("{} {} is forbidden: {why}", group_resource(group, plural), go_quote(name))
    };
    status(403, "Forbidden", message, of_object(group, plural, name).into())
}

/// 422 with all causes; `kind` is the object's kind.
pub(crate) fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Status {
    let mut details = of_object(group, kind, name);
    let shown = joined(&causes);
    let kind = group_resource(group, kind);
    details.insert(
        "causes".to_owned(),
        causes
            .into_iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect(),
    );
    let message = format!("{kind} {} is invalid: {shown}", go_quote(name));
    status(422, "Invalid", message, details.into())
}

/// The path is known, the verb is not.
pub(crate) fn method_not_allowed() -> Status {
    status(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource".to_owned(),
        json!({}),
    )
}

/// A custom object has no such verb.
pub(crate) fn not_supported(verb: &str, group: &str, plural: &str) -> Status {
    let resource = group_resource(group, plural);
    let message = format!("{verb} is not supported on resources of kind \"{resource}\"");
    status(405, "MethodNotAllowed", message, of_object(group, plural, "").into())
}

/// The resource is not served.
pub(crate) fn resource_not_found() -> Status {
    status(
        404,
        "NotFound",
        "the server could not find the requested resource".to_owned(),
        json!({}),
    )
}

pub(crate) fn unsupported_media_type(message: String) -> Status {
    status(415, "UnsupportedMediaType", message, Value::Null)
}

pub(crate) fn not_acceptable(supported: &str) -> Status {
    let message = format!("only the following media types are accepted: {supported}");
    status(406, "NotAcceptable", message, Value::Null)
}

pub(crate) fn expired(message: impl Into<String>) -> Status {
    status(410, "Expired", message.into(), Value::Null)
}

pub(crate) fn too_large(message: &str) -> Status {
    status(413, "RequestEntityTooLarge", message.to_owned(), Value::Null)
}

/// What the sandbox does not model answers so, and is listed at the end of the run.
pub(crate) fn not_modelled(what: &str) -> Status {
    status(
        501,
        "NotImplemented",
        format!("the sandbox does not model {what}"),
        json!({"causes": [{"reason": "NotModelled", "message": what}]}),
    )
}

/// The answer to a deletion of an object that is gone at once.
pub(crate) fn deleted(group: &str, plural: &str, name: &str, uid: &str) -> Value {
    let mut details = of_object(group, plural, name);
    details.insert("uid".to_owned(), uid.into());
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// The wire form of a failure.
pub(crate) fn to_json(status: &Status) -> Value {
    let mut json = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": status.message, "code": status.code,
    });
    if !status.reason.is_empty() {
        json["reason"] = status.reason.as_str().into();
    }
    if !status.details.is_null() {
        json["details"] = status.details.clone();
    }
    json
}
