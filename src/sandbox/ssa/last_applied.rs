//! The way from `kubectl apply` to `kubectl apply --server-side`: its annotation says what it owned, and stays true.

use serde_json::Value;

use super::error::Conflict;
use super::fields_v1::json_text;
use super::set::Set;
use super::typed::{self, Duplicates};
use super::updater::Updater;

/// The only manager for which the annotation counts.
pub(super) const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The limit of all annotations of an object together.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// The conflicts that the annotation does not excuse; `None` without a usable annotation.
pub(super) fn remaining_conflicts(
    updater: &Updater<'_>,
    live: &Value,
    conflicts: &[Conflict],
) -> Option<Vec<Conflict>> {
    let owned = owned_by_annotation(updater, live)?;
    Some(conflicts.iter().filter(|conflict| !owned.has(&conflict.path)).cloned().collect())
}

/// What the annotation mentions and the object still holds unchanged.
fn owned_by_annotation(updater: &Updater<'_>, live: &Value) -> Option<Set> {
    let text = annotation(live)?;
    typed::validate(live, updater.typ, Duplicates::Refused).ok()?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(updater.api_version) {
        return None;
    }
    typed::validate(&last, updater.typ, Duplicates::Refused).ok()?;
    let comparison = typed::compare(&last, live, updater.typ).ok()?;
    let set = typed::field_set(&last, updater.typ)
        .difference(&comparison.modified)
        .difference(&comparison.added)
        .difference(&comparison.removed);
    Some(set)
}

fn annotation(object: &Value) -> Option<&str> {
    let text = object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str()?;
    (!text.is_empty()).then_some(text)
}

/// Writes the configuration into an annotation that is there, so that `kubectl apply` can take over again.
pub(super) fn refresh(object: &mut Value, applied: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) = applied
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("annotations"))
        .and_then(Value::as_object_mut)
    {
        annotations.remove(ANNOTATION);
    }
    let text = format!("{}\n", json_text(&applied));
    let Some(annotations) = object
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("annotations"))
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    annotations.insert(ANNOTATION.to_owned(), Value::from(text));
    let size: usize = annotations
        .iter()
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > MAX_ANNOTATIONS {
        annotations.remove(ANNOTATION);
    }
}
