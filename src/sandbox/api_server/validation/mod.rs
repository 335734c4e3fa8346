//! What is refused with 422: metadata, values against schemas, rules of the kinds.
//!
//! `names` holds the formats of names, `metadata` what all objects share, `schema` the value checks of CRDs (with CEL),
//! `builtin` the rules of the API server's own kinds.

mod builtin;
mod metadata;
pub(crate) mod names;
mod pods;
mod schema;

use serde_json::Value;

use super::kinds::Kind;
use super::status::Cause;
use super::{ApiServer, cel};

/// Causes against a new object.
pub(crate) fn create(server: &ApiServer, kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = metadata::of_object(kind, object);
    causes.extend(content(server, kind, None, object));
    causes
}

/// Causes against a changed object.
pub(crate) fn update(
    server: &ApiServer,
    kind: &Kind,
    live: &Value,
    object: &Value,
    subresource: &str,
) -> Vec<Cause> {
    let mut causes = metadata::of_object(kind, object);
    causes.extend(metadata::of_update(live, object));
    if subresource.is_empty() || kind.custom.is_some() {
        causes.extend(content(server, kind, Some(live), object));
    }
    causes
}

fn content(server: &ApiServer, kind: &Kind, live: Option<&Value>, object: &Value) -> Vec<Cause> {
    let Some(custom) = &kind.custom else { return builtin::check(server, kind, live, object) };
    let found = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    if found != kind.kind {
        let detail = format!("must be {}", kind.kind);
        return vec![Cause::invalid("kind", &Value::String(found.to_owned()), &detail)];
    }
    let Some(schema) = kind.schema() else { return Vec::new() };
    let mut causes = schema::check(&schema, live, object);
    let blocked = causes.iter().any(|cause| {
        matches!(
            cause.reason,
            "FieldValueRequired"
                | "FieldValueNotSupported"
                | "FieldValueTooLong"
                | "FieldValueTooMany"
                | "FieldValueTypeInvalid"
        )
    });
    if let Some(rules) = custom.rules() {
        if blocked {
            causes.push(Cause::invalid(
                "<nil>",
                &Value::Null,
                "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
            ));
        } else {
            causes.extend(cel::check(server, custom, rules, live, object));
        }
    }
    causes
}
