//! What is refused with 422, as `sandbox::validation` has it: metadata, then values.

use serde_json::Value;

use super::kinds::Kind;
use crate::sandbox::validation::metadata::{self, Owner};
use crate::sandbox::validation::names::NameRule;
use crate::sandbox::validation::{Cause, builtin};

/// Causes against a new object.
pub(crate) fn create(kind: &Kind, object: &Value) -> Vec<Cause> {
    let owner = Owner {
        name_rule: NameRule::of_kind(&kind.group, &kind.kind),
        namespaced: kind.namespaced,
    };
    let mut causes = metadata::validate(object, owner);
    let core = kind.custom.is_none() && kind.group != "apiextensions.k8s.io";
    if core {
        finalizers(object, &mut causes);
    }
    causes.extend(content(kind, None, object, &mut Vec::new()));
    causes
}

/// Finalizers of the API server's own kinds name their domain, unless they are the well-known ones.
fn finalizers(object: &Value, causes: &mut Vec<Cause>) {
    const STANDARD: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
    let found = object["metadata"]["finalizers"].as_array();
    for (at, finalizer) in found.into_iter().flatten().enumerate() {
        let text = finalizer.as_str().unwrap_or_default();
        if !text.contains('/') && !STANDARD.contains(&text) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(&format!("metadata.finalizers[{at}]"), finalizer, detail));
        }
    }
}

/// Causes against a changed object. What it breaks as before is told in `warnings`.
pub(crate) fn update(
    kind: &Kind,
    live: &Value,
    object: &Value,
    subresource: &str,
    warnings: &mut Vec<String>,
) -> Vec<Cause> {
    let mut causes = metadata::validate_update(object, live);
    // The generic registry looks at metadata, and the strategy of the kind once more: refusals come twice.
    causes.extend(causes.clone());
    if subresource.is_empty() || kind.custom.is_some() {
        let found = content(kind, Some(live), object, warnings);
        let of_status = subresource == "status" && kind.custom.is_some();
        causes.extend(
            found.into_iter().map(|cause| if of_status { within_status(cause) } else { cause }),
        );
    } else if subresource == "status" {
        causes.extend(builtin::validate_status(&kind.group, &kind.kind, object, live));
    } else {
        causes.extend(builtin::validate_subresource(
            &kind.group,
            &kind.kind,
            subresource,
            object,
            live,
        ));
    }
    causes
}

/// A status is validated by itself: what is said of a value names it from there, though its field is told from the root.
fn within_status(mut cause: Cause) -> Cause {
    if let Some(below) = cause.field.strip_prefix("status") {
        let (from_root, from_status) = (
            format!("{} in body", cause.field),
            format!("{} in body", below.trim_start_matches('.')),
        );
        cause.message = cause.message.replacen(&from_root, &from_status, 1);
    }
    cause
}

fn content(
    kind: &Kind,
    live: Option<&Value>,
    object: &Value,
    warnings: &mut Vec<String>,
) -> Vec<Cause> {
    let Some(custom) = &kind.custom else {
        return match live {
            Some(live) => builtin::validate_update(&kind.group, &kind.kind, object, live),
            None => builtin::validate(&kind.group, &kind.kind, object),
        };
    };
    let found = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    if found != kind.kind {
        let detail = format!("must be {}", kind.kind);
        return vec![Cause::invalid("kind", &Value::String(found.to_owned()), detail)];
    }
    custom
        .validator()
        .map(|validator| validator.validate_telling(object, live, warnings))
        .unwrap_or_default()
}
