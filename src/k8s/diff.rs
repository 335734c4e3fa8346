//! What applying objects would change, field by field, as the server itself answers in a dry run.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use serde_json::Value;

use super::apply::{ApplyOptions, apply};
use super::cluster::Cluster;
use super::error::Error;
use super::manifest::Manifest;
use super::read::{fetch, get_object};
use super::secrets;
use crate::base::object_ref::ObjectRef;
use crate::base::progress::Change;

/// A field that would change.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// `spec.template.spec.containers[0].image`
    pub path: String,
    /// `Null` when it is not there now.
    pub before: Value,
    /// `Null` when it would be gone.
    pub after: Value,
}

/// An object that would change.
#[derive(Clone, Debug)]
pub struct ObjectDiff {
    pub reference: ObjectRef,
    pub change: Change,
    /// Empty for an object that would be created: all of it is new.
    pub fields: Vec<FieldChange>,
    /// As it would be; the data of Secrets as hashes.
    pub after: Value,
}

/// Fields that change by themselves and say nothing.
const NOISE: &[&str] =
    &["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"];

/// How often an object that others write at the same time is read.
const READS: usize = 5;

/// Compares objects with what applying them would make of them; unchanged ones are in the result, too.
///
/// # Errors
/// Those of [`apply`].
pub async fn diff(
    cluster: &Cluster,
    manifests: Vec<Manifest>,
    options: &ApplyOptions,
) -> Result<Vec<ObjectDiff>, Error> {
    let options = ApplyOptions { dry_run: true, ..options.clone() };
    let results: Vec<Result<ObjectDiff, Error>> = stream::iter(manifests)
        .map(|manifest| diff_one(cluster, manifest, &options))
        .buffered(cluster.in_flight())
        .collect()
        .await;
    results.into_iter().collect()
}

async fn diff_one(
    cluster: &Cluster,
    manifest: Manifest,
    options: &ApplyOptions,
) -> Result<ObjectDiff, Error> {
    let mut reference = manifest.reference()?;
    let created = |reference: ObjectRef, object: &Value| ObjectDiff {
        reference,
        change: Change::Created,
        fields: Vec::new(),
        after: quiet(&secrets::hashed(object)),
    };
    let resource = match cluster.resource_of(&reference.api_version, &reference.kind).await {
        Ok(resource) => resource,
        // Its CRD may be among the objects, or in an earlier step: the object is certainly new.
        Err(Error::UnknownKind { .. }) => return Ok(created(reference, &manifest.object)),
        Err(error) => return Err(error),
    };
    let resource = Arc::clone(&resource);
    if resource.namespaced && reference.namespace.is_none() {
        let default = options.namespace.as_deref().unwrap_or(cluster.namespace());
        reference.namespace = Some(default.to_owned());
    }
    let namespace = reference.namespace.as_deref();
    let mut tries = 0;
    let mut live = get_object(cluster, &resource, namespace, &reference.name).await?;
    let (live, after) = loop {
        let Some(seen) = live else {
            // A dry run in a namespace that does not exist yet is refused; so is nothing else here.
            return match apply(cluster, vec![manifest.clone()], options).await {
                Ok(mut applied) => {
                    let object = applied.pop().map(|applied| applied.object).unwrap_or_default();
                    Ok(created(reference, &object))
                }
                Err(error) if error.is_not_found() => Ok(created(reference, &manifest.object)),
                Err(error) => Err(error),
            };
        };
        let applied = apply(cluster, vec![manifest.clone()], options).await?.pop();
        let after = applied.map(|applied| applied.object).unwrap_or_default();
        tries += 1;
        // The answer to a dry run has the revision of the object it stood on. Where that is not the one that was read,
        // somebody wrote in between, and what he changed would be taken for what applying changes.
        let revision = |object: &Value| object["metadata"]["resourceVersion"].clone();
        if revision(&seen) == revision(&after) || tries == READS {
            break (seen, after);
        }
        let namespace = namespace.unwrap_or(cluster.namespace());
        live = fetch(cluster, &resource, namespace, &reference.name).await?;
    };
    let fields = compare(&quiet(&secrets::hashed(&live)), &quiet(&secrets::hashed(&after)));
    let change = if fields.is_empty() { Change::Unchanged } else { Change::Configured };
    Ok(ObjectDiff { reference, change, fields, after: quiet(&secrets::hashed(&after)) })
}

/// The object without what changes by itself.
fn quiet(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|name, _| !NOISE.contains(&name.as_str()));
    }
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    object
}

/// The fields in which two values differ, in order of their paths.
pub fn compare(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    walk(before, after, String::new(), &mut changes);
    changes
}

fn walk(before: &Value, after: &Value, path: String, into: &mut Vec<FieldChange>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let before = old.get(name).unwrap_or(&Value::Null);
                let after = new.get(name).unwrap_or(&Value::Null);
                walk(before, after, join(&path, name), into);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for at in 0..old.len().max(new.len()) {
                let before = old.get(at).unwrap_or(&Value::Null);
                let after = new.get(at).unwrap_or(&Value::Null);
                walk(before, after, format!("{path}[{at}]"), into);
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            into.push(FieldChange { path, before: before.clone(), after: after.clone() });
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if name.contains(['.', '/']) {
        format!("{path}[{name:?}]")
    } else if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_found_field_by_field() {
        let before = json!({"a": 1, "l": {"x.y/z": "1"}, "items": [1, 2], "gone": {"b": 1}});
        let after = json!({"a": 2, "l": {"x.y/z": "2"}, "items": [1, 3, 4], "new": true});
        let found: Vec<String> = compare(&before, &after)
            .into_iter()
            .map(|change| format!("{}: {} -> {}", change.path, change.before, change.after))
            .collect();
        let expected = [
            "a: 1 -> 2",
            "gone: {\"b\":1} -> null",
            "items[1]: 2 -> 3",
            "items[2]: null -> 4",
            "l[\"x.y/z\"]: \"1\" -> \"2\"",
            "new: null -> true",
        ];
        assert_eq!(found, expected);
    }
}
