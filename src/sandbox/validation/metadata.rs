//! Names, labels, annotations, finalizers and owners of objects.

use serde_json::{Map, Value};

use crate::sandbox::schema::Schema;

use super::Cause;
use super::names::{self, NameRule};

/// All annotations of an object together, keys and values.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// What the metadata is the metadata of.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub name_rule: NameRule,
    pub namespaced: bool,
}

/// Checks the metadata of a new object.
pub fn validate(object: &Value, owner: Owner) -> Vec<Cause> {
    let metadata = &object["metadata"];
    let mut causes = Vec::new();
    validate_names(metadata, owner, &mut causes);
    validate_parts(metadata, "metadata", &mut causes);
    causes
}

/// Checks the metadata of a changed object against what it was.
pub fn validate_update(object: &Value, old: &Value) -> Vec<Cause> {
    let (new, old) = (&object["metadata"], &old["metadata"]);
    let mut causes = Vec::new();
    validate_parts(new, "metadata", &mut causes);
    if !old["deletionTimestamp"].is_null() {
        let added: Vec<Value> = list(&new["finalizers"])
            .iter()
            .filter(|finalizer| !list(&old["finalizers"]).contains(finalizer))
            .cloned()
            .collect();
        if !added.is_empty() {
            let shown: Vec<&str> = added.iter().filter_map(Value::as_str).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                shown.iter().map(|text| super::cause::quoted(text)).collect::<Vec<_>>().join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &detail));
        }
    }
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        if new[field] != old[field] {
            causes.push(immutable(&format!("metadata.{field}"), &new[field]));
        }
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if new[field] != old[field] {
            causes.push(immutable(&format!("metadata.{field}"), &new[field]));
        }
    }
    causes
}

/// `field is immutable`
pub(super) fn immutable(field: &str, value: &Value) -> Cause {
    Cause::invalid(field, value, "field is immutable")
}

fn validate_names(metadata: &Value, owner: Owner, causes: &mut Vec<Cause>) {
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    let generate_name = text("generateName");
    if !generate_name.is_empty() {
        for why in owner.name_rule.check(generate_name, true) {
            causes.push(Cause::invalid("metadata.generateName", &generate_name.into(), why));
        }
    }
    let name = text("name");
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else {
        for why in owner.name_rule.check(name, false) {
            causes.push(Cause::invalid("metadata.name", &name.into(), why));
        }
    }
    let namespace = text("namespace");
    if !owner.namespaced {
        if !namespace.is_empty() {
            causes.push(Cause::forbidden("metadata.namespace", "not allowed on this type"));
        }
    } else if namespace.is_empty() {
        causes.push(Cause::required("metadata.namespace", ""));
    } else {
        for why in names::dns1123_label(namespace) {
            causes.push(Cause::invalid("metadata.namespace", &namespace.into(), why));
        }
    }
}

fn validate_parts(metadata: &Value, path: &str, causes: &mut Vec<Cause>) {
    if metadata["generation"].as_i64().is_some_and(|generation| generation < 0) {
        let detail = "must be greater than or equal to 0";
        causes.push(Cause::invalid(&format!("{path}.generation"), &metadata["generation"], detail));
    }
    labels(&metadata["labels"], &format!("{path}.labels"), causes);
    annotations(&metadata["annotations"], &format!("{path}.annotations"), causes);
    owners(&metadata["ownerReferences"], &format!("{path}.ownerReferences"), causes);
    finalizers(&metadata["finalizers"], &format!("{path}.finalizers"), causes);
}

/// The syntax of a map of labels.
pub fn labels(labels: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        for why in names::qualified_name(key) {
            causes.push(Cause::invalid(path, &key.as_str().into(), why));
        }
        for why in names::label_value(value.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid(path, value, why));
        }
    }
}

/// The keys of annotations, and the size of them all.
pub fn annotations(annotations: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        for why in names::qualified_name(&key.to_lowercase()) {
            causes.push(Cause::invalid(path, &key.as_str().into(), why));
        }
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > MAX_ANNOTATION_BYTES {
        causes.push(Cause::too_long(path, MAX_ANNOTATION_BYTES as u64));
    }
}

fn owners(owners: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut controllers = Vec::new();
    for owner in list(owners) {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let (api_version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
        if api_version.matches('/').count() > 1 {
            let detail = format!("unexpected GroupVersion string: {api_version}");
            causes.push(Cause::invalid(
                &format!("{path}.apiVersion"),
                &owner["apiVersion"],
                detail,
            ));
        } else if api_version.rsplit('/').next().unwrap_or_default().is_empty() {
            let detail = "version must not be empty";
            causes.push(Cause::invalid(&format!("{path}.apiVersion"), &api_version.into(), detail));
        }
        for (field, value) in [("kind", kind), ("name", name), ("uid", text("uid"))] {
            if value.is_empty() {
                causes.push(Cause::invalid(
                    &format!("{path}.{field}"),
                    &"".into(),
                    "must not be empty",
                ));
            }
        }
        if (api_version, kind) == ("v1", "Event") {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            causes.push(Cause::invalid(path, owner, detail));
        }
        if owner["controller"].as_bool().unwrap_or(false) {
            controllers.push(format!("{kind}/{name}"));
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        causes.push(Cause::invalid(path, owners, detail));
    }
}

fn finalizers(finalizers: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut n_policies = 0;
    for finalizer in list(finalizers) {
        let text = finalizer.as_str().unwrap_or_default();
        n_policies += usize::from(["orphan", "foregroundDeletion"].contains(&text));
        for why in names::qualified_name(text) {
            causes.push(Cause::invalid(path, finalizer, why));
        }
    }
    if n_policies > 1 {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        causes.push(Cause::invalid(path, finalizers, detail));
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The metadata of objects inside of an object (`x-kubernetes-embedded-resource`).
pub(super) fn validate_embedded(schema: &Schema, value: &Value, causes: &mut Vec<Cause>) {
    walk_embedded(schema, value, "", causes);
}

fn walk_embedded(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    match value {
        Value::Object(fields) => {
            if schema.embedded_resource {
                embedded(fields, path, causes);
            }
            for (name, found) in fields {
                if let Some(child) = schema.field(name) {
                    let below =
                        if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    walk_embedded(child, found, &below, causes);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = &schema.items {
                for (at, item) in items.iter().enumerate() {
                    walk_embedded(child, item, &format!("{path}[{at}]"), causes);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn embedded(fields: &Map<String, Value>, path: &str, causes: &mut Vec<Cause>) {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let api_version = text("apiVersion").unwrap_or_default();
    if api_version.matches('/').count() > 1 {
        let detail = format!("unexpected GroupVersion string: {api_version}");
        causes.push(Cause::invalid(&format!("{path}.apiVersion"), &api_version.into(), detail));
    }
    if let Some(kind) = text("kind") {
        for why in names::dns1035_label(&kind.to_lowercase()) {
            let detail = format!("may have mixed case, but should otherwise match: {why}");
            causes.push(Cause::invalid(&format!("{path}.kind"), &kind.into(), detail));
        }
    }
    if let Some(metadata) = fields.get("metadata") {
        validate_parts(metadata, &format!("{path}.metadata"), causes);
    }
}
