//! Deleting objects: only what exists, and until it is gone.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::error::Error;
use super::manifest::Manifest;
use super::read::get_object;
use super::request::Request;
use super::resource::Resource;
use super::wait::{self, Goal, WaitOptions, Wanted};
use crate::base::progress::Change;

/// What happens to the objects that an object owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted afterwards.
    #[default]
    Background,
    /// They are deleted before.
    Foreground,
    /// They stay.
    Orphan,
}

impl Propagation {
    /// The policy of a name, in any case.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub fn parse(name: &str) -> Result<Self, Error> {
        match name.to_lowercase().as_str() {
            "" | "background" => Ok(Self::Background),
            "foreground" => Ok(Self::Foreground),
            "orphan" => Ok(Self::Orphan),
            _ => Err(Error::InvalidInput {
                reason: format!("`{name}` is not a propagation policy"),
                hint: Some("the policies are `background`, `foreground` and `orphan`".to_owned()),
            }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// How to delete.
#[derive(Clone, Debug)]
pub struct DeleteOptions {
    pub propagation: Propagation,
    /// Seconds that pods get to end; `None` is their own.
    pub grace_period: Option<i64>,
    /// Waits until the object is gone.
    pub wait: bool,
    pub timeout: Duration,
}

impl Default for DeleteOptions {
    fn default() -> Self {
        Self {
            propagation: Propagation::Background,
            grace_period: None,
            wait: true,
            timeout: Duration::from_secs(300),
        }
    }
}

/// Deletes an object; `false` if there was none.
///
/// # Errors
/// `UnknownKind`, refusals of the server, `Timeout` with what holds the object (finalizers, a namespace's contents).
pub async fn delete(
    cluster: &Cluster,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
    options: &DeleteOptions,
) -> Result<bool, Error> {
    let resource = cluster.resolve(kind).await?;
    delete_object(cluster, &resource, namespace, name, options).await
}

/// As [`delete`], of a kind that is already known.
///
/// # Errors
/// As [`delete`].
pub async fn delete_object(
    cluster: &Cluster,
    resource: &Arc<Resource>,
    namespace: Option<&str>,
    name: &str,
    options: &DeleteOptions,
) -> Result<bool, Error> {
    let namespace = namespace.unwrap_or(cluster.namespace());
    let found = get_object(cluster, resource, Some(namespace), name).await?;
    let Some(object) = found else { return Ok(false) };
    let wanted = begin(cluster, resource, namespace, name, &object, options).await?;
    if options.wait
        && let Some(wanted) = wanted
    {
        let options = WaitOptions { timeout: options.timeout };
        wait::wait(cluster, vec![wanted], &options).await?;
    }
    Ok(true)
}

/// Deletes the objects of a manifest, last ones first, many at once; the number of those that existed.
///
/// # Errors
/// As [`delete`]; kinds that the cluster does not serve have no objects and are no error.
pub async fn delete_manifests(
    cluster: &Cluster,
    manifests: Vec<Manifest>,
    options: &DeleteOptions,
) -> Result<usize, Error> {
    let mut targets = Vec::new();
    for manifest in manifests.iter().rev() {
        let reference = manifest.reference()?;
        match cluster.resource_of(&reference.api_version, &reference.kind).await {
            Ok(resource) => targets.push((resource, reference)),
            Err(Error::UnknownKind { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // What hangs on others goes before them: CRDs and namespaces, which take everything inside with them, come last.
    let is_container = |resource: &Resource| {
        matches!(resource.plural.as_str(), "namespaces" | "customresourcedefinitions")
    };
    let (last, first): (Vec<_>, Vec<_>) =
        targets.into_iter().partition(|(resource, _)| is_container(resource));
    let mut deleted = 0;
    for targets in [first, last] {
        let begun: Vec<Option<(bool, Option<Wanted>)>> = stream::iter(targets)
            .map(|(resource, reference)| async move {
                let namespace = reference.namespace.as_deref().unwrap_or(cluster.namespace());
                let name = reference.name.as_str();
                let found = get_object(cluster, &resource, Some(namespace), name).await?;
                let Some(object) = found else { return Ok::<_, Error>(None) };
                let wanted = begin(cluster, &resource, namespace, name, &object, options).await?;
                Ok(Some((true, wanted)))
            })
            .buffer_unordered(cluster.in_flight())
            .try_collect()
            .await?;
        let begun: Vec<_> = begun.into_iter().flatten().collect();
        deleted += begun.len();
        let wanted: Vec<Wanted> = begun.into_iter().filter_map(|(_, wanted)| wanted).collect();
        if options.wait && !wanted.is_empty() {
            wait::wait(cluster, wanted, &WaitOptions { timeout: options.timeout }).await?;
        }
    }
    Ok(deleted)
}

/// Sends the delete; what then is to be waited for, if it is not gone at once.
async fn begin(
    cluster: &Cluster,
    resource: &Arc<Resource>,
    namespace: &str,
    name: &str,
    object: &Value,
    options: &DeleteOptions,
) -> Result<Option<Wanted>, Error> {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let reference = resource.object(Some(namespace), name);
    let mut body = json!({
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": options.propagation.name(),
    });
    if !uid.is_empty() {
        // Never the namesake that somebody may have made meanwhile.
        body["preconditions"] = json!({"uid": uid});
    }
    if let Some(seconds) = options.grace_period {
        body["gracePeriodSeconds"] = json!(seconds);
    }
    let path = resource.path_of(Some(namespace), name);
    let request = Request::delete(&path, format!("delete `{reference}`"), &body);
    match cluster.send(&request).await {
        Ok(answer) => {
            cluster.progress().object(&reference, Change::Deleted);
            // The object itself in the answer means that something still holds it; a Status means that it is gone.
            let is_held = answer.value["kind"] == object["kind"];
            Ok(is_held.then(|| Wanted {
                resource: resource.clone(),
                namespace: resource.namespaced.then(|| namespace.to_owned()),
                name: name.to_owned(),
                goal: Goal::Deleted { uid },
            }))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
