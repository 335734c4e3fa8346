//! From client-side to server-side apply: what a manager wrote by updates becomes what it applied.
//!
//! Without it the first apply conflicts with the manager's own updates, and fields that it no longer wants stay for ever.
//! The rules are those of client-go's `util/csaupgrade`, which kubectl and Helm use.

use futures::stream::{self, TryStreamExt as _};
use serde_json::{Map, Value, json};

use super::cluster::Cluster;
use super::error::Error;
use super::manifest::Manifest;
use super::read::fetch;
use super::request::Request;

/// How often an object that others write at the same time is tried.
const TRIES: usize = 5;

/// Hands over, on each object that is there, the fields that `manager` wrote by updates to the same manager's applies.
///
/// `namespace` is that of objects which name none.
///
/// # Errors
/// `InvalidManifest`, and refusals of the server. An object of an unknown kind is not there.
pub async fn migrate(
    cluster: &Cluster,
    objects: &[Value],
    namespace: &str,
    manager: &str,
) -> Result<(), Error> {
    stream::iter(objects.iter().map(Ok))
        .try_for_each_concurrent(cluster.in_flight(), |object| {
            migrate_one(cluster, object, namespace, manager)
        })
        .await
}

async fn migrate_one(
    cluster: &Cluster,
    object: &Value,
    namespace: &str,
    manager: &str,
) -> Result<(), Error> {
    let reference = Manifest::of(object.clone()).reference()?;
    let resource = match cluster.resource_of(&reference.api_version, &reference.kind).await {
        Ok(resource) => resource,
        Err(Error::UnknownKind { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    let mut tries = 0;
    loop {
        tries += 1;
        let live = fetch(cluster, &resource, namespace, &reference.name).await?;
        let Some(live) = live else { return Ok(()) };
        let metadata = &live["metadata"];
        let Some(entries) = metadata["managedFields"].as_array() else { return Ok(()) };
        let Some(entries) = migrated(entries, manager) else { return Ok(()) };
        // The revision makes sure that nobody's entry is lost.
        let patch = json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": entries},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        ]);
        let path = resource.path_of(Some(namespace), &reference.name);
        let what = format!("hand over the fields of `{reference}`");
        let request = Request::patch(&path, what, "application/json-patch+json", &patch)
            .query("fieldManager", manager);
        match cluster.send(&request).await {
            Ok(answer) => {
                cluster.wrote(&resource, &answer.value, false);
                return Ok(());
            }
            Err(error) if error.is_conflict() && tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// The entries of `managedFields` after the change; `None` when `manager` has no updates among them.
fn migrated(entries: &[Value], manager: &str) -> Option<Vec<Value>> {
    let is = |entry: &Value, operation: &str| {
        entry["manager"] == manager
            && entry["operation"] == operation
            && entry["subresource"].as_str().is_none_or(str::is_empty)
    };
    let updates: Vec<&Value> = entries.iter().filter(|entry| is(entry, "Update")).collect();
    let newest = updates.iter().max_by_key(|entry| entry["time"].as_str().unwrap_or_default())?;
    let mut applied = match entries.iter().find(|entry| is(entry, "Apply")) {
        Some(applied) => applied.clone(),
        None => {
            let mut entry = (*newest).clone();
            entry["operation"] = Value::from("Apply");
            entry
        }
    };
    for update in &updates {
        // Paths of another version may mean something else.
        if update["apiVersion"] == applied["apiVersion"] {
            unite(&mut applied["fieldsV1"], &update["fieldsV1"]);
        }
    }
    let others = entries.iter().filter(|entry| !is(entry, "Update") && !is(entry, "Apply"));
    Some(std::iter::once(applied).chain(others.cloned()).collect())
}

/// The union of two sets of fields.
fn unite(into: &mut Value, from: &Value) {
    let Some(from) = from.as_object() else { return };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let Some(fields) = into.as_object_mut() else { return };
    for (name, below) in from {
        unite(fields.entry(name).or_insert_with(|| json!({})), below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_become_the_managers_apply() {
        let entry = |manager: &str, operation: &str, fields: Value| json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsV1": fields});
        let entries = [
            entry("helm", "Update", json!({"f:data": {".": {}, "f:a": {}}})),
            entry("kubectl-edit", "Update", json!({"f:data": {"f:b": {}}})),
            entry("helm", "Apply", json!({"f:data": {"f:c": {}}})),
        ];
        let expected = [
            entry("helm", "Apply", json!({"f:data": {"f:c": {}, ".": {}, "f:a": {}}})),
            entry("kubectl-edit", "Update", json!({"f:data": {"f:b": {}}})),
        ];
        assert_eq!(migrated(&entries, "helm"), Some(expected.to_vec()));
        assert_eq!(
            migrated(&entries[..1], "helm").map(|found| found[0]["operation"].clone()),
            Some(json!("Apply"))
        );
        assert_eq!(migrated(&entries[1..], "helm"), None);
    }

    #[test]
    fn what_a_subresource_wrote_stays() {
        let status = json!({"manager": "helm", "operation": "Update", "subresource": "status", "apiVersion": "v1", "fieldsV1": {}});
        assert_eq!(migrated(&[status], "helm"), None);
    }
}
