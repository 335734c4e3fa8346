//! What all objects share: names, labels, annotations, what never changes.

use serde_json::Value;

use super::names;
use crate::sandbox::api_server::kinds::{Kind, metadata_text};
use crate::sandbox::api_server::status::Cause;

/// The API server's limit for all annotations of an object.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

pub(super) fn of_object(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = metadata_text(object, "name");
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else {
        let value = Value::String(name.to_owned());
        let complaints = name_complaints(kind, name);
        causes.extend(
            complaints.iter().map(|why| Cause::invalid("metadata.name", &value, why)),
        );
    }
    causes.extend(labels(&object["metadata"]["labels"], "metadata.labels"));
    causes.extend(annotations(&object["metadata"]["annotations"], "metadata.annotations"));
    for finalizer in texts(&object["metadata"]["finalizers"]) {
        let value = Value::String(finalizer.to_owned());
        causes.extend(
            names::qualified(finalizer)
                .iter()
                .map(|why| Cause::invalid("metadata.finalizers", &value, why)),
        );
    }
    causes.extend(owners(&object["metadata"]["ownerReferences"]));
    causes
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn name_complaints(kind: &Kind, name: &str) -> Vec<String> {
    if kind.custom.is_some() {
        return names::subdomain(name);
    }
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "namespaces") => {
            let complaints = names::label(name);
            if name.contains('.') && !complaints.is_empty() {
                return vec!["must not contain dots".to_owned()];
            }
            complaints
        }
        ("", "services") => names::label_1035(name),
        ("rbac.authorization.k8s.io", _)
        | ("flowcontrol.apiserver.k8s.io", _)
        | ("certificates.k8s.io", "certificatesigningrequests") => names::path_segment(name),
        _ => names::subdomain(name),
    }
}

pub(super) fn labels(labels: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        let shown = Value::String(key.clone());
        causes.extend(names::qualified(key).iter().map(|why| Cause::invalid(field, &shown, why)));
        let text = value.as_str().unwrap_or_default();
        causes.extend(names::label_value(text).iter().map(|why| Cause::invalid(field, value, why)));
    }
    causes
}

pub(super) fn annotations(annotations: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        let shown = Value::String(key.clone());
        let complaints = names::qualified(&key.to_lowercase());
        causes.extend(complaints.iter().map(|why| Cause::invalid(field, &shown, why)));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_ANNOTATION_BYTES {
        causes.push(Cause::too_long(field, MAX_ANNOTATION_BYTES, "bytes"));
    }
    causes
}

fn owners(owners: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut controllers = Vec::new();
    for (index, owner) in owners.as_array().into_iter().flatten().enumerate() {
        let at = |field: &str| format!("metadata.ownerReferences[{index}].{field}");
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                let shown = Value::String(String::new());
                let detail = match field {
                    "apiVersion" => "version must not be empty",
                    _ => "must not be empty",
                };
                causes.push(Cause::invalid(&at(field), &shown, detail));
            }
        }
        if owner["controller"] == true {
            controllers.push(owner["name"].as_str().unwrap_or_default());
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        causes.push(Cause::invalid("metadata.ownerReferences", owners, &detail));
    }
    causes
}

/// A deletion that is under way takes no new finalizers.
pub(super) fn of_update(live: &Value, object: &Value) -> Vec<Cause> {
    if !live["metadata"]["deletionTimestamp"].is_string() {
        return Vec::new();
    }
    let before: Vec<&str> = texts(&live["metadata"]["finalizers"]).collect();
    let added: Vec<&str> = texts(&object["metadata"]["finalizers"])
        .filter(|finalizer| !before.contains(finalizer))
        .collect();
    if added.is_empty() {
        return Vec::new();
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    );
    vec![Cause::forbidden("metadata.finalizers", &detail)]
}
