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
    causes.extend(content(kind, None, object));
    causes
}

/// Causes against a changed object.
pub(crate) fn update(kind: &Kind, live: &Value, object: &Value, subresource: &str) -> Vec<Cause> {
    let mut causes = metadata::validate_update(object, live);
    if kind.custom.is_some() {
        // The generic registry looks at metadata, and the strategy of custom objects once more: refusals come twice.
        causes.extend(causes.clone());
    }
    if subresource.is_empty() || kind.custom.is_some() {
        causes.extend(content(kind, Some(live), object));
    }
    causes
}

fn content(kind: &Kind, live: Option<&Value>, object: &Value) -> Vec<Cause> {
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
    custom.validator().map(|validator| validator.validate(object, live)).unwrap_or_default()
}
