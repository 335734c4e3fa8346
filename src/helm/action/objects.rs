//! The objects of a release: what marks them as its own, applying them, waiting for them, removing what is dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{ActionError, ConvergeOptions, MANAGER};
use crate::base::object_ref::ObjectRef;
use crate::base::progress::Change;
use crate::base::yaml;
use crate::helm::manifest;
use crate::helm::release::Release;
use crate::helm::render::{RenderError, Rendered};
use crate::k8s::apply::{self, ApplyOptions};
use crate::k8s::cluster::Cluster;
use crate::k8s::delete::{self, DeleteOptions};
use crate::k8s::manifest::Manifest;
use crate::k8s::read::{self, ListOptions, Scope};
use crate::k8s::wait::{self, Goal, WaitOptions, Wanted};

const RELEASE_NAME: &str = "meta.helm.sh/release-name";
const RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The rendered objects with their namespace and the marks of their release.
pub(super) fn objects(
    rendered: &Rendered,
    name: &str,
    namespace: &str,
) -> Result<Vec<Json>, ActionError> {
    let mut objects = Vec::new();
    for manifest in &rendered.manifests {
        objects.extend(documents(&manifest.content, &manifest.source)?);
    }
    for object in &mut objects {
        mark_ownership(object, name, namespace);
    }
    Ok(objects)
}

fn documents(text: &str, source: &str) -> Result<Vec<Json>, ActionError> {
    let found = yaml::parse_documents(text).map_err(|error| {
        RenderError::Manifest(manifest::ManifestError {
            template: source.to_owned(),
            source: manifest::DocumentError::Yaml(error),
            content: text.to_owned(),
        })
    })?;
    let mut objects = Vec::new();
    for document in found {
        let is_list = document.value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        match document.value["items"].as_array().filter(|_| is_list) {
            Some(items) => objects.extend(items.iter().cloned()),
            None => objects.push(document.value),
        }
    }
    objects.retain(|object| object["kind"].is_string());
    Ok(objects)
}

pub(super) fn mark_ownership(object: &mut Json, name: &str, namespace: &str) {
    if !object["metadata"].is_object() {
        return;
    }
    for (field, entries) in [
        ("labels", vec![(MANAGED_BY, "Helm")]),
        ("annotations", vec![(RELEASE_NAME, name), (RELEASE_NAMESPACE, namespace)]),
    ] {
        if !object["metadata"][field].is_object() {
            object["metadata"][field] = json!({});
        }
        for (key, value) in entries {
            object["metadata"][field][key] = Json::from(value);
        }
    }
}

/// Why an object is not of a release, in Helm's words.
fn foreign(object: &Json, name: &str, namespace: &str) -> Option<String> {
    let metadata = &object["metadata"];
    let mut reasons = Vec::new();
    let mut check = |what: &str, field: &str, key: &str, wanted: &str| match metadata[field][key]
        .as_str()
    {
        Some(found) if found == wanted => {}
        Some(found) => reasons.push(format!(
            "{what} validation error: key {key:?} must equal {wanted:?}: current value is {found:?}"
        )),
        None => reasons.push(format!(
            "{what} validation error: missing key {key:?}: must be set to {wanted:?}"
        )),
    };
    check("label", "labels", MANAGED_BY, "Helm");
    check("annotation", "annotations", RELEASE_NAME, name);
    check("annotation", "annotations", RELEASE_NAMESPACE, namespace);
    (!reasons.is_empty()).then(|| format!("invalid ownership metadata; {}", reasons.join("; ")))
}

/// No object may exist that belongs to nobody or to another release. One list per kind and namespace.
pub(super) async fn check_ownership(
    cluster: &Cluster,
    objects: &[Json],
    name: &str,
    namespace: &str,
) -> Result<(), ActionError> {
    let mut groups: BTreeMap<(String, String, Option<String>), Vec<&str>> = BTreeMap::new();
    for object in objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(Json::as_str);
        let (Some(version), Some(kind), Some(object_name)) =
            (text("/apiVersion"), text("/kind"), text("/metadata/name"))
        else {
            continue;
        };
        // A kind whose CRD comes with this very chart has no objects yet.
        let Ok(resource) = cluster.resource_of(version, kind).await else { continue };
        let own = text("/metadata/namespace").unwrap_or(namespace).to_owned();
        let place = resource.namespaced.then_some(own);
        groups.entry((version.to_owned(), kind.to_owned(), place)).or_default().push(object_name);
    }
    for ((version, kind, place), names) in groups {
        let resource = cluster.resource_of(&version, &kind).await?;
        let found = if let [only] = names[..] {
            read::get_object(cluster, &resource, place.as_deref(), only)
                .await?
                .into_iter()
                .collect()
        } else {
            let scope = place.clone().map_or(Scope::AllNamespaces, Scope::Namespace);
            let options = ListOptions { scope, ..ListOptions::default() };
            read::list_objects(cluster, &resource, &options).await?
        };
        for object in found {
            let found_name = object["metadata"]["name"].as_str().unwrap_or_default();
            if names.contains(&found_name)
                && let Some(reason) = foreign(&object, name, namespace)
            {
                return Err(ActionError::NotOurs {
                    object: format!(
                        "{kind} {found_name:?} in namespace {:?}",
                        place.unwrap_or_default()
                    ),
                    name: name.to_owned(),
                    reason,
                });
            }
        }
    }
    Ok(())
}

pub(super) fn apply_options(options: &ConvergeOptions) -> ApplyOptions {
    ApplyOptions {
        field_manager: MANAGER.to_owned(),
        namespace: Some(options.namespace.clone()),
        timeout: options.timeout,
        ..ApplyOptions::default()
    }
}

/// `applied` is what was done, also before an error.
pub(super) async fn apply_objects(
    cluster: &Cluster,
    objects: Vec<Json>,
    options: &ConvergeOptions,
    applied: &mut Vec<apply::Applied>,
) -> Result<(), ActionError> {
    let manifests = objects.into_iter().map(Manifest::of).collect();
    Ok(apply::apply_into(cluster, manifests, &apply_options(options), applied).await?)
}

pub(super) async fn wait_for(
    cluster: &Cluster,
    applied: &[apply::Applied],
    jobs: bool,
    timeout: Duration,
) -> Result<(), ActionError> {
    let mut wanted = Vec::new();
    for applied in applied {
        let reference = &applied.reference;
        let workload = matches!(
            reference.kind.as_str(),
            "Deployment"
                | "DaemonSet"
                | "StatefulSet"
                | "ReplicaSet"
                | "Pod"
                | "Job"
                | "PersistentVolumeClaim"
                | "CustomResourceDefinition"
        );
        if !workload {
            continue;
        }
        let resource = cluster.resource_of(&reference.api_version, &reference.kind).await?;
        wanted.push(Wanted {
            resource,
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
            goal: Goal::Ready { jobs },
        });
    }
    if !wanted.is_empty() {
        wait::wait(cluster, wanted, &WaitOptions { timeout }).await?;
    }
    Ok(())
}

pub(super) fn is_kept(object: &Json) -> bool {
    object["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
}

/// What the last revision had and the next one has no more, without what is to be kept.
pub(super) fn dropped(last: &Release, kept: &[ObjectRef]) -> Result<Vec<Json>, ActionError> {
    let namespace = last.namespace();
    let place = |reference: &ObjectRef| {
        let own = reference.namespace.clone().unwrap_or_else(|| namespace.to_owned());
        (reference.group().to_owned(), reference.kind.clone(), own, reference.name.clone())
    };
    let kept: Vec<_> = kept.iter().map(place).collect();
    let mut found = stored_objects(last)?;
    found.retain(|object| {
        !is_kept(object)
            && ObjectRef::of(object).is_some_and(|object| !kept.contains(&place(&object)))
    });
    Ok(found)
}

/// Deletes what the last revision had and this one has no more.
pub(super) async fn remove_dropped(
    cluster: &Cluster,
    last: &Release,
    kept: &[ObjectRef],
) -> Result<(), ActionError> {
    let namespace = last.namespace();
    let mut manifests = Vec::new();
    for object in dropped(last, kept)? {
        let manifest = placed(object, namespace);
        // Somebody may have marked the live object, as Helm looks at it, too.
        let reference = manifest.reference()?;
        let Ok(resource) = cluster.resource_of(&reference.api_version, &reference.kind).await
        else {
            continue;
        };
        let place = reference.namespace.as_deref();
        let live = read::get_object(cluster, &resource, place, &reference.name).await?;
        if live.is_some_and(|live| !is_kept(&live)) {
            manifests.push(manifest);
        }
    }
    if manifests.is_empty() {
        return Ok(());
    }
    let options = DeleteOptions { wait: false, ..DeleteOptions::default() };
    delete::delete_manifests(cluster, manifests, &options).await?;
    Ok(())
}

/// Deletes objects that a run created which failed.
pub(super) async fn delete_created(
    cluster: &Cluster,
    applied: &[apply::Applied],
    namespace: &str,
) -> Result<(), ActionError> {
    let manifests = applied
        .iter()
        .filter(|applied| applied.change == Change::Created)
        .map(|applied| {
            let reference = &applied.reference;
            placed(
                json!({
                    "apiVersion": reference.api_version,
                    "kind": reference.kind,
                    "metadata": {"name": reference.name, "namespace": reference.namespace},
                }),
                namespace,
            )
        })
        .collect();
    let options = DeleteOptions { wait: false, ..DeleteOptions::default() };
    delete::delete_manifests(cluster, manifests, &options).await?;
    Ok(())
}

pub(super) fn placed(mut object: Json, namespace: &str) -> Manifest {
    if object["metadata"]["namespace"].as_str().is_none_or(str::is_empty) {
        object["metadata"]["namespace"] = Json::from(namespace);
    }
    Manifest::of(object)
}

pub(super) fn stored_objects(release: &Release) -> Result<Vec<Json>, ActionError> {
    let mut objects = Vec::new();
    for document in manifest::split(release.manifest()) {
        objects.extend(documents(document, release.name())?);
    }
    Ok(objects)
}

pub(super) async fn ensure_namespace(
    cluster: &Cluster,
    namespace: &str,
) -> Result<(), ActionError> {
    if read::exists(cluster, "namespaces", namespace, None).await? {
        return Ok(());
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {"name": namespace}},
    });
    let options = ApplyOptions { field_manager: MANAGER.to_owned(), ..ApplyOptions::default() };
    apply::apply(cluster, vec![Manifest::of(object)], &options).await?;
    Ok(())
}

pub(super) async fn is_owned(
    cluster: &Cluster,
    manifest: &Manifest,
    name: &str,
    namespace: &str,
) -> Result<bool, ActionError> {
    let reference = manifest.reference()?;
    let Ok(resource) = cluster.resource_of(&reference.api_version, &reference.kind).await else {
        return Ok(false);
    };
    let place = reference.namespace.as_deref();
    let Some(live) = read::get_object(cluster, &resource, place, &reference.name).await? else {
        return Ok(false);
    };
    if let Some(reason) = foreign(&live, name, namespace) {
        cluster.progress().warn(&format!("{reference} is kept: {reason}"));
        return Ok(false);
    }
    Ok(true)
}
