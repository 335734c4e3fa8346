//! Writing single objects: create, update, patch, label, annotate, scale, restart.

use serde_json::{Value, json};

use super::cluster::{Cluster, FIELD_MANAGER};
use super::error::Error;
use super::manifest::{Manifest, check_name};
use super::read::{get_object, require};
use super::request::Request;
use super::resource::Resource;
use super::secrets;
use crate::base::progress::Change;

/// How a patch is merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7386: maps are merged, everything else is replaced, null removes.
    #[default]
    Merge,
    /// RFC 6902: a list of operations.
    Json,
    /// Kubernetes' own: lists of built-in kinds are merged by key.
    Strategic,
}

impl PatchKind {
    /// The kind of a name, as kubectl's `--type` takes it.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "" | "merge" => Ok(Self::Merge),
            "json" => Ok(Self::Json),
            "strategic" => Ok(Self::Strategic),
            other => Err(Error::InvalidInput {
                reason: format!("`{other}` is not a type of patch"),
                hint: Some("the types are `merge`, `json` and `strategic`".to_owned()),
            }),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Json => "application/json-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

/// How to patch.
#[derive(Clone, Debug)]
pub struct PatchOptions {
    pub kind: PatchKind,
    pub field_manager: String,
    /// Empty for the object itself, or `status`, `scale`, …
    pub subresource: String,
    pub dry_run: bool,
}

impl Default for PatchOptions {
    fn default() -> Self {
        Self {
            kind: PatchKind::Merge,
            field_manager: FIELD_MANAGER.to_owned(),
            subresource: String::new(),
            dry_run: false,
        }
    }
}

/// A written object.
#[derive(Clone, Debug)]
pub struct Written {
    pub change: Change,
    /// As the server has it now.
    pub object: Value,
}

/// Creates an object.
///
/// # Errors
/// `AlreadyExists` (as a refusal), `InvalidManifest`, `UnknownKind`, and refusals of the server.
pub async fn create(
    cluster: &Cluster,
    mut object: Value,
    namespace: Option<&str>,
    field_manager: &str,
) -> Result<Value, Error> {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    // A name that the server makes up stands for a name here.
    if object["metadata"]["generateName"].is_null() {
        Manifest::of(object.clone()).reference()?;
    }
    let api_version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
    let resource = cluster.resource_of(&api_version, &kind).await?;
    secrets::learn(cluster.redactor(), &object);
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().or(metadata["generateName"].as_str()).unwrap_or_default();
    let name = name.to_owned();
    let own = metadata["namespace"].as_str().map(str::to_owned);
    let namespace = own.or(namespace.map(str::to_owned));
    let namespace = namespace.unwrap_or_else(|| cluster.namespace().to_owned());
    if resource.namespaced
        && let Some(metadata) = object["metadata"].as_object_mut()
    {
        metadata.insert("namespace".to_owned(), Value::String(namespace.clone()));
    }
    let reference = resource.object(Some(&namespace), &name);
    let path = resource.path(Some(&namespace));
    let request = Request::post(&path, format!("create `{reference}`"), &object)
        .query("fieldManager", field_manager)
        .query("fieldValidation", "Strict");
    let answer = cluster.send(&request).await?;
    secrets::learn(cluster.redactor(), &answer.value);
    if resource.plural == "customresourcedefinitions" {
        cluster.learn(&answer.value);
    }
    cluster.wrote(&resource, &answer.value, true);
    cluster.progress().object(&reference, Change::Created);
    Ok(answer.value)
}

/// Replaces an object. Its resource version, if it carries one, must be the current one.
///
/// # Errors
/// `Conflict` (as a refusal) when it changed meanwhile, and refusals of the server.
pub async fn update(
    cluster: &Cluster,
    object: &Value,
    field_manager: &str,
) -> Result<Value, Error> {
    let reference = Manifest::of(object.clone()).reference()?;
    let resource = cluster.resource_of(&reference.api_version, &reference.kind).await?;
    secrets::learn(cluster.redactor(), object);
    let namespace = reference.namespace.as_deref().unwrap_or(cluster.namespace());
    let path = resource.path_of(Some(namespace), &reference.name);
    let request = Request::put(&path, format!("update `{reference}`"), object)
        .query("fieldManager", field_manager);
    let answer = cluster.send(&request).await?;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let same = version(object) == version(&answer.value);
    let change = if same { Change::Unchanged } else { Change::Configured };
    cluster.wrote(&resource, &answer.value, false);
    cluster.progress().object(&reference, change);
    Ok(answer.value)
}

/// Patches an object.
///
/// # Errors
/// `UnknownKind`, and refusals of the server; an object that does not exist is one.
pub async fn patch(
    cluster: &Cluster,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
    patch: &Value,
    options: &PatchOptions,
) -> Result<Written, Error> {
    check_name(name)?;
    let resource = cluster.resolve(kind).await?;
    let namespace = namespace.unwrap_or(cluster.namespace());
    let before = get_object(cluster, &resource, Some(namespace), name).await?;
    let Some(before) = before else {
        // Finds the nearest name for the error.
        return Err(match require(cluster, kind, name, Some(namespace)).await {
            Err(error) => error,
            Ok(_) => Error::NotFound {
                object: resource.object(Some(namespace), name).to_string(),
                near: None,
            },
        });
    };
    patch_object(cluster, &resource, namespace, name, &before, patch, options).await
}

async fn patch_object(
    cluster: &Cluster,
    resource: &Resource,
    namespace: &str,
    name: &str,
    before: &Value,
    patch: &Value,
    options: &PatchOptions,
) -> Result<Written, Error> {
    let reference = resource.object(Some(namespace), name);
    // A merge patch whose every value is there already changes nothing: no request.
    let is_merge = options.kind == PatchKind::Merge;
    if is_merge && options.subresource.is_empty() && is_merged(patch, before) {
        if !options.dry_run {
            cluster.progress().object(&reference, Change::Unchanged);
        }
        return Ok(Written { change: Change::Unchanged, object: before.clone() });
    }
    let mut path = resource.path_of(Some(namespace), name);
    if !options.subresource.is_empty() {
        path.push('/');
        path.push_str(&options.subresource);
    }
    let request =
        Request::patch(&path, format!("patch `{reference}`"), options.kind.content_type(), patch)
            .query("fieldManager", &options.field_manager)
            .query("fieldValidation", "Strict")
            .query("dryRun", if options.dry_run { "All" } else { "" });
    let answer = cluster.send(&request).await?;
    secrets::learn(cluster.redactor(), &answer.value);
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let same = version(before) == version(&answer.value);
    let change = if same { Change::Unchanged } else { Change::Configured };
    if !options.dry_run {
        cluster.wrote(resource, &answer.value, false);
        cluster.progress().object(&reference, change);
    }
    Ok(Written { change, object: answer.value })
}

/// Whether a merge patch would leave a value as it is.
fn is_merged(patch: &Value, value: &Value) -> bool {
    match patch {
        Value::Object(fields) => {
            value.is_object()
                && fields.iter().all(|(name, patch)| match value.get(name) {
                    Some(value) => is_merged(patch, value),
                    None => patch.is_null(),
                })
        }
        // A null removes; here the field is there.
        Value::Null => false,
        patch => patch == value,
    }
}

/// Sets labels or annotations of an object; null removes one.
///
/// # Errors
/// As [`patch`].
pub async fn set_metadata(
    cluster: &Cluster,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
    field: MetadataField,
    values: &Value,
) -> Result<Written, Error> {
    let field = match field {
        MetadataField::Labels => "labels",
        MetadataField::Annotations => "annotations",
    };
    let mut wanted = serde_json::Map::new();
    for (name, value) in values.as_object().into_iter().flatten() {
        let value = match value {
            Value::Null => Value::Null,
            Value::String(text) => Value::String(text.clone()),
            Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
            Value::Array(_) | Value::Object(_) => {
                return Err(Error::InvalidInput {
                    reason: format!("the value of `{name}` is no text"),
                    hint: Some(format!("{field} are texts; `()` removes one")),
                });
            }
        };
        wanted.insert(name.clone(), value);
    }
    let body = json!({"metadata": {field: wanted}});
    patch(cluster, kind, name, namespace, &body, &PatchOptions::default()).await
}

/// What [`set_metadata`] sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataField {
    Labels,
    Annotations,
}

/// Sets the number of replicas through the subresource `scale`.
///
/// # Errors
/// `NotSupported` for kinds that do not scale; otherwise as [`patch`].
pub async fn scale(
    cluster: &Cluster,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
    replicas: i64,
) -> Result<Written, Error> {
    let resource = cluster.resolve(kind).await?;
    if !resource.has_subresource("scale") {
        return Err(Error::NotSupported { kind: resource.kind.clone(), what: "scale".to_owned() });
    }
    if replicas < 0 {
        return Err(Error::InvalidInput {
            reason: format!("the number of replicas cannot be {replicas}"),
            hint: None,
        });
    }
    let before = require(cluster, kind, name, namespace).await?;
    let namespace = namespace.unwrap_or(cluster.namespace());
    let reference = resource.object(Some(namespace), name);
    if before["spec"]["replicas"] == replicas {
        cluster.progress().object(&reference, Change::Unchanged);
        return Ok(Written { change: Change::Unchanged, object: before });
    }
    let path = format!("{}/scale", resource.path_of(Some(namespace), name));
    let body = json!({"spec": {"replicas": replicas}});
    let request = Request::patch(
        &path,
        format!("scale `{reference}`"),
        PatchKind::Merge.content_type(),
        &body,
    )
    .query("fieldManager", FIELD_MANAGER);
    cluster.send(&request).await?;
    cluster.progress().object(&reference, Change::Configured);
    let object = require(cluster, kind, name, Some(namespace)).await?;
    cluster.wrote(&resource, &object, false);
    Ok(Written { change: Change::Configured, object })
}

/// Restarts the pods of a workload as `kubectl rollout restart` does: by a new annotation in its template.
///
/// # Errors
/// `NotSupported` for kinds without a pod template; otherwise as [`patch`].
pub async fn restart(
    cluster: &Cluster,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
) -> Result<Written, Error> {
    let resource = cluster.resolve(kind).await?;
    let before = require(cluster, kind, name, namespace).await?;
    if !before["spec"]["template"]["spec"].is_object() || resource.group != "apps" {
        return Err(Error::NotSupported {
            kind: resource.kind.clone(),
            what: "restart".to_owned(),
        });
    }
    let now = cluster.clock().now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let annotation = json!({"kubectl.kubernetes.io/restartedAt": now});
    let body = json!({"spec": {"template": {"metadata": {"annotations": annotation}}}});
    let options = PatchOptions { kind: PatchKind::Strategic, ..PatchOptions::default() };
    let namespace = namespace.unwrap_or(cluster.namespace());
    patch_object(cluster, &resource, namespace, name, &before, &body, &options).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_that_changes_nothing_is_seen() {
        let object = json!({"metadata": {"labels": {"a": "b"}}, "list": [1, 2]});
        for (patch, expected) in [
            (json!({}), true),
            (json!({"metadata": {"labels": {"a": "b"}}}), true),
            (json!({"metadata": {"labels": {"gone": null}}}), true),
            (json!({"metadata": {"labels": {"a": null}}}), false),
            (json!({"metadata": {"labels": {"a": "c"}}}), false),
            (json!({"metadata": {"annotations": {}}}), false),
            (json!({"list": [1]}), false),
            (json!({"list": [1, 2]}), true),
        ] {
            assert_eq!(is_merged(&patch, &object), expected, "{patch}");
        }
    }
}
