//! What is done with releases: converge (install or upgrade), rollback, uninstall.
//!
//! A second converge with the same chart and values writes nothing. A revision that a killed run left pending is taken over
//! once its heartbeat stands still. Objects are applied by server-side apply as field manager `helm`, never by force.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value as Json, json};

use super::chart::Chart;
use super::lookup;
use super::manifest;
use super::release::{self, Release};
use super::render::{self, Capabilities, ReleaseFacts, RenderError, RenderOptions, Rendered};
use super::template::Environment;
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::object_ref::ObjectRef;
use crate::base::progress::Change;
use crate::base::yaml;
use crate::k8s::apply::{self, ApplyOptions};
use crate::k8s::cluster::Cluster;
use crate::k8s::delete::{self, DeleteOptions};
use crate::k8s::error::Error;
use crate::k8s::manifest::Manifest;
use crate::k8s::read::{self, ListOptions, Scope};
use crate::k8s::wait::{self, Goal, WaitOptions, Wanted};

const MANAGER: &str = "helm";
const RELEASE_NAME: &str = "meta.helm.sh/release-name";
const RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// How often a run tells that it is alive, and how long silence means that it is not.
const HEARTBEAT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(12);
/// Revisions that are kept.
const MAX_HISTORY: usize = 10;

/// An action that failed.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Cluster(#[from] Error),
    #[error(
        "release name `{0}` is invalid: lower-case letters, digits, `-` and `.`, at most 53 characters"
    )]
    InvalidName(String),
    #[error("release `{name}` does not exist in namespace `{namespace}`")]
    NotFound { name: String, namespace: String },
    #[error("release `{name}` has no revision {revision}")]
    NoRevision { name: String, revision: i64 },
    #[error("another operation (install/upgrade/rollback) is in progress on release `{name}`")]
    InProgress { name: String },
    #[error("{object} exists and cannot be imported into release `{name}`: {reason}")]
    NotOurs { object: String, name: String, reason: String },
    #[error("hook `{hook}` of event `{event}` failed: {source}")]
    Hook { hook: String, event: String, source: Box<Error> },
    #[error("release `{name}` revision {revision} failed: {source}")]
    Failed { name: String, revision: i64, source: Box<Self> },
}

impl ActionError {
    /// What it is about, for the exit code.
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Render(_) | Self::InvalidName(_) => ErrorKind::Invalid,
            Self::Cluster(_) | Self::Hook { .. } | Self::Failed { .. } => ErrorKind::Failed,
            Self::NotFound { .. } | Self::NoRevision { .. } => ErrorKind::NotFound,
            Self::InProgress { .. } => ErrorKind::Locked,
            Self::NotOurs { .. } => ErrorKind::Conflict,
        }
    }
}

impl From<ActionError> for Diagnostic {
    fn from(error: ActionError) -> Self {
        let message = error.to_string();
        match error {
            ActionError::Cluster(inner) => inner.into(),
            ActionError::Render(inner) => inner.into(),
            ActionError::NotOurs { .. } => Self::new(ErrorKind::Conflict, message)
                .hint("delete the object, or take it over with the option `take_ownership: true`"),
            ActionError::InProgress { .. } => Self::new(ErrorKind::Locked, message)
                .hint("wait for the other run to end, then run this one again"),
            ActionError::Failed { name, revision, source } => {
                let inner: Self = (*source).into();
                inner.cause(format!("release `{name}` revision {revision} is now `failed`"))
            }
            ActionError::Hook { hook, event, source } => {
                let inner: Self = (*source).into();
                inner.cause(format!("hook `{hook}` of event `{event}` failed"))
            }
            error => Self::new(error.kind(), message),
        }
    }
}

/// What becomes of the objects in `crds/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crds {
    /// They are created on the first install, as Helm does.
    #[default]
    Install,
    /// They are applied on every change.
    Upgrade,
    Skip,
}

/// How to converge.
#[derive(Clone, Debug)]
pub struct ConvergeOptions {
    pub namespace: String,
    pub values: Map<String, Json>,
    pub create_namespace: bool,
    pub wait: bool,
    pub timeout: Duration,
    pub crds: Crds,
    /// Leaves a release alone that is as wanted.
    pub skip_unchanged: bool,
    pub take_ownership: bool,
    pub skip_schema_validation: bool,
}

/// What a converge did.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub release: Release,
    /// `Created`, `Configured` or `Unchanged`.
    pub change: Change,
}

/// Installs or upgrades a release.
///
/// # Errors
/// Errors of rendering before anything is written; then those of the cluster, with the revision marked `failed`.
pub async fn converge(
    cluster: &Cluster,
    name: &str,
    chart: &Chart,
    options: &ConvergeOptions,
) -> Result<Outcome, ActionError> {
    check_name(name)?;
    let namespace = options.namespace.as_str();
    let mut history = release::history(cluster, name, namespace).await?;
    let revision = history.last().map_or(1, |release| release.revision() + 1);
    history.retain(|release| release.status() != "uninstalled");
    take_over(cluster, &mut history).await?;
    let capabilities = capabilities(cluster).await?;
    let draw = |revision: i64, is_upgrade: bool| {
        draw(cluster, name, chart, options, &capabilities, revision, is_upgrade)
    };
    let last = history.last();
    let is_upgrade = last.is_some_and(|release| release.status() != "pending-install");
    let rendered = draw(revision, is_upgrade).await?;
    let objects = objects(&rendered, name, namespace)?;
    if options.skip_unchanged
        && let Some(last) = last
        && last.status() == "deployed"
        && is_same(last, chart, options, &draw(last.revision(), last.revision() > 1).await?)
    {
        return keep(cluster, last, objects, options).await;
    }
    if options.create_namespace {
        ensure_namespace(cluster, namespace).await?;
    }
    if !options.take_ownership {
        check_ownership(cluster, &objects, name, namespace).await?;
    }
    let mut release = Release::new(
        name,
        namespace,
        revision,
        chart,
        &options.values,
        &rendered.manifest(),
        &rendered.hooks,
        &rendered.notes,
    );
    if let Some(first) = last.and_then(|last| last.json.pointer("/info/first_deployed")) {
        release.json["info"]["first_deployed"] = first.clone();
    }
    let (status, begun) = if is_upgrade {
        ("pending-upgrade", "Preparing upgrade")
    } else {
        ("pending-install", "Initial install underway")
    };
    release.mark(status, begun, cluster);
    release.create(cluster).await?;
    let work = deploy(cluster, &mut release, last, &rendered, objects, options, is_upgrade);
    let done = alive(cluster, name, namespace, revision, work).await;
    finish(cluster, &mut release, &history, done, is_upgrade).await?;
    let change = if is_upgrade { Change::Configured } else { Change::Created };
    cluster.progress().info(&format!("release {name} revision {revision} deployed"));
    Ok(Outcome { release, change })
}

/// The release is as wanted; its objects are applied only where somebody changed them.
async fn keep(
    cluster: &Cluster,
    last: &Release,
    objects: Vec<Json>,
    options: &ConvergeOptions,
) -> Result<Outcome, ActionError> {
    let applied = apply_objects(cluster, objects, options).await?;
    if options.wait {
        wait_for(cluster, &applied, options.timeout).await?;
    }
    let repaired = applied.iter().any(|applied| applied.change != Change::Unchanged);
    let change = if repaired { Change::Configured } else { Change::Unchanged };
    Ok(Outcome { release: last.clone(), change })
}

/// Chart, values and rendered objects are those of the stored revision.
fn is_same(last: &Release, chart: &Chart, options: &ConvergeOptions, again: &Rendered) -> bool {
    last.chart_name() == chart.metadata.name
        && last.chart_version() == chart.metadata.version
        && release::same_values(&Json::Object(last.config()), &Json::Object(options.values.clone()))
        && last.manifest() == again.manifest()
        && last.json["hooks"].as_array().map_or(0, Vec::len) == again.hooks.len()
}

async fn draw(
    cluster: &Cluster,
    name: &str,
    chart: &Chart,
    options: &ConvergeOptions,
    capabilities: &Capabilities,
    revision: i64,
    is_upgrade: bool,
) -> Result<Rendered, ActionError> {
    let facts = ReleaseFacts {
        name: name.to_owned(),
        namespace: options.namespace.clone(),
        revision,
        is_upgrade,
    };
    let render_options = RenderOptions {
        capabilities: capabilities.clone(),
        skip_schema_validation: options.skip_schema_validation,
        subchart_notes: false,
    };
    let now = cluster.clock().now();
    let (chart, values) = (chart.clone(), options.values.clone());
    lookup::serve(cluster, move |lookup| {
        let environment =
            Environment { now: Some(now), random: Some(&random), lookup: Some(lookup) };
        render::render(&chart, &values, &facts, &render_options, &environment)
    })
    .await
    .map_err(ActionError::Render)
}

/// The system's randomness for templates.
pub fn random(bytes: &mut [u8]) {
    // A generator that fails has failed since the start of the process: TLS would not work either.
    let _ = aws_lc_rs::rand::fill(bytes);
}

/// Version and API versions of the cluster.
pub async fn capabilities(cluster: &Cluster) -> Result<Capabilities, ActionError> {
    let mut info = cluster.info();
    if info.version.is_empty() {
        info = cluster.reach().await?;
    }
    let mut api_versions: Vec<String> = Vec::new();
    for resource in cluster.resources().await?.iter() {
        let version = resource.api_version();
        let kind = format!("{version}/{}", resource.kind);
        for text in [version, kind] {
            if !api_versions.contains(&text) {
                api_versions.push(text);
            }
        }
    }
    let default = Capabilities::default();
    let kube_version =
        if info.version.is_empty() { default.kube_version } else { info.version.clone() };
    Ok(Capabilities { kube_version, api_versions })
}

fn check_name(name: &str) -> Result<(), ActionError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = !name.is_empty()
        && name.len() <= 53
        && name.chars().all(allowed)
        && name.starts_with(edge)
        && name.ends_with(edge);
    if valid { Ok(()) } else { Err(ActionError::InvalidName(name.to_owned())) }
}

/// A pending revision whose holder is silent is marked as failed; one that is being worked on is left alone.
async fn take_over(cluster: &Cluster, history: &mut [Release]) -> Result<(), ActionError> {
    let Some(last) = history.last_mut().filter(|last| last.is_pending()) else { return Ok(()) };
    let (name, namespace) = (last.name().to_owned(), last.namespace().to_owned());
    cluster.clock().sleep(SILENCE).await;
    let now = release::history(cluster, &name, &namespace).await?;
    let Some(seen) = now.into_iter().last() else { return Ok(()) };
    let moved = seen.revision() != last.revision()
        || seen.heartbeat != last.heartbeat
        || seen.status() != last.status();
    if moved {
        return Err(ActionError::InProgress { name });
    }
    let revision = last.revision();
    cluster.progress().warn(&format!(
        "release {name} revision {revision} was left {}; its holder is silent, so this run takes over",
        last.status()
    ));
    last.mark("failed", "Release left unfinished by a run that ended", cluster);
    last.update(cluster).await?;
    Ok(())
}

/// Runs work and tells meanwhile that the run is alive.
async fn alive<T>(
    cluster: &Cluster,
    name: &str,
    namespace: &str,
    revision: i64,
    work: impl Future<Output = T>,
) -> T {
    let secret = format!("sh.helm.release.v1.{name}.v{revision}");
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = cluster.clock().pause(HEARTBEAT) => {}
        }
        let now = cluster.clock().now().to_string();
        let patch = json!({"metadata": {"annotations": {release::HEARTBEAT: now}}});
        let beat = beat(cluster, &secret, namespace, &patch);
        // The work goes on while a beat is sent; a missed one is no reason to stop.
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = beat => {}
        }
    }
}

/// A beat is no change of anything: it is neither told nor counted.
async fn beat(cluster: &Cluster, secret: &str, namespace: &str, patch: &Json) {
    let secrets: kube::Api<Secret> = kube::Api::namespaced(cluster.client().clone(), namespace);
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
    // The record may be gone by now, and the work goes on without it.
    let _ = secrets.patch_metadata(secret, &parameters, &Patch::Merge(patch)).await;
}

async fn deploy(
    cluster: &Cluster,
    release: &mut Release,
    last: Option<&Release>,
    rendered: &Rendered,
    objects: Vec<Json>,
    options: &ConvergeOptions,
    is_upgrade: bool,
) -> Result<(), ActionError> {
    let crds = match options.crds {
        Crds::Skip => false,
        Crds::Install => !is_upgrade,
        Crds::Upgrade => true,
    };
    if crds {
        let mut manifests = Vec::new();
        for file in rendered.chart.crds() {
            manifests.extend(crate::k8s::manifest::parse(&file.text())?);
        }
        if !manifests.is_empty() {
            apply::apply(cluster, manifests, &apply_options(options)).await?;
        }
    }
    let moment = if is_upgrade { "upgrade" } else { "install" };
    run_hooks(cluster, release, &format!("pre-{moment}"), options.timeout).await?;
    let kept: Vec<ObjectRef> = objects.iter().filter_map(ObjectRef::of).collect();
    // Hardly anything of a first revision is there: comparing with the cluster would cost more requests than it saves.
    let how = ApplyOptions { skip_unchanged: last.is_some(), ..apply_options(options) };
    let manifests = objects.into_iter().map(Manifest::of).collect();
    let applied = apply::apply(cluster, manifests, &how).await?;
    if let Some(last) = last {
        remove_dropped(cluster, last, &kept).await?;
    }
    if options.wait {
        wait_for(cluster, &applied, options.timeout).await?;
    }
    run_hooks(cluster, release, &format!("post-{moment}"), options.timeout).await
}

/// Records how a revision ended: the ones before are superseded, old ones go.
async fn finish(
    cluster: &Cluster,
    release: &mut Release,
    history: &[Release],
    done: Result<(), ActionError>,
    is_upgrade: bool,
) -> Result<(), ActionError> {
    let (name, revision) = (release.name().to_owned(), release.revision());
    if let Err(error) = done {
        let what = if is_upgrade { "Upgrade" } else { "Release" };
        let reason = cluster.redactor().mask(&error.to_string());
        release.mark("failed", &format!("{what} {name:?} failed: {reason}"), cluster);
        // The first error counts, also when the record cannot be written.
        let _ = release.update(cluster).await;
        return Err(ActionError::Failed { name, revision, source: Box::new(error) });
    }
    let text = if is_upgrade { "Upgrade complete" } else { "Install complete" };
    release.mark("deployed", text, cluster);
    release.update(cluster).await?;
    for old in history.iter().filter(|old| old.status() == "deployed") {
        let mut old = old.clone();
        let description = old.description().to_owned();
        old.mark("superseded", &description, cluster);
        old.update(cluster).await?;
    }
    let surplus = (history.len() + 1).saturating_sub(MAX_HISTORY);
    for old in history.iter().filter(|old| old.status() != "deployed").take(surplus) {
        old.purge(cluster).await?;
    }
    Ok(())
}

/// The rendered objects with their namespace and the marks of their release.
fn objects(rendered: &Rendered, name: &str, namespace: &str) -> Result<Vec<Json>, ActionError> {
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

fn mark_ownership(object: &mut Json, name: &str, namespace: &str) {
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
async fn check_ownership(
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

fn apply_options(options: &ConvergeOptions) -> ApplyOptions {
    ApplyOptions {
        field_manager: MANAGER.to_owned(),
        namespace: Some(options.namespace.clone()),
        timeout: options.timeout,
        ..ApplyOptions::default()
    }
}

async fn apply_objects(
    cluster: &Cluster,
    objects: Vec<Json>,
    options: &ConvergeOptions,
) -> Result<Vec<apply::Applied>, ActionError> {
    let manifests = objects.into_iter().map(Manifest::of).collect();
    Ok(apply::apply(cluster, manifests, &apply_options(options)).await?)
}

async fn wait_for(
    cluster: &Cluster,
    applied: &[apply::Applied],
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
            goal: Goal::Ready { jobs: false },
        });
    }
    if !wanted.is_empty() {
        wait::wait(cluster, wanted, &WaitOptions { timeout }).await?;
    }
    Ok(())
}

fn is_kept(object: &Json) -> bool {
    object["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
}

/// Deletes what the last revision had and this one has no more.
async fn remove_dropped(
    cluster: &Cluster,
    last: &Release,
    kept: &[ObjectRef],
) -> Result<(), ActionError> {
    let namespace = last.namespace();
    let place = |reference: &ObjectRef| {
        let own = reference.namespace.clone().unwrap_or_else(|| namespace.to_owned());
        (reference.group().to_owned(), reference.kind.clone(), own, reference.name.clone())
    };
    let kept: Vec<_> = kept.iter().map(place).collect();
    let mut dropped = stored_objects(last)?;
    dropped.retain(|object| {
        !is_kept(object)
            && ObjectRef::of(object).is_some_and(|object| !kept.contains(&place(&object)))
    });
    if dropped.is_empty() {
        return Ok(());
    }
    let manifests = dropped.into_iter().map(|object| placed(object, namespace)).collect();
    let options = DeleteOptions { wait: false, ..DeleteOptions::default() };
    delete::delete_manifests(cluster, manifests, &options).await?;
    Ok(())
}

fn placed(mut object: Json, namespace: &str) -> Manifest {
    if object["metadata"]["namespace"].as_str().is_none_or(str::is_empty) {
        object["metadata"]["namespace"] = Json::from(namespace);
    }
    Manifest::of(object)
}

fn stored_objects(release: &Release) -> Result<Vec<Json>, ActionError> {
    let mut objects = Vec::new();
    for document in manifest::split(release.manifest()) {
        objects.extend(documents(document, release.name())?);
    }
    Ok(objects)
}

async fn ensure_namespace(cluster: &Cluster, namespace: &str) -> Result<(), ActionError> {
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

/// Runs the hooks of an event one after the other, by weight and name.
async fn run_hooks(
    cluster: &Cluster,
    release: &mut Release,
    event: &str,
    timeout: Duration,
) -> Result<(), ActionError> {
    for hook in release.hooks(event) {
        let name = hook["name"].as_str().unwrap_or_default().to_owned();
        let done = run_hook(cluster, release.namespace(), &hook, timeout).await;
        let phase = if done.is_ok() { "Succeeded" } else { "Failed" };
        let now = cluster.clock().now().to_string();
        let record = json!({"started_at": now, "completed_at": now, "phase": phase});
        for stored in release.json["hooks"].as_array_mut().into_iter().flatten() {
            if stored["name"] == hook["name"] && stored["path"] == hook["path"] {
                stored["last_run"] = record.clone();
            }
        }
        let policy = if done.is_ok() { "hook-succeeded" } else { "hook-failed" };
        if has_policy(&hook, policy) {
            delete_hook(cluster, release.namespace(), &hook, timeout).await?;
        }
        if let Err(source) = done {
            let event = event.to_owned();
            return Err(ActionError::Hook { hook: name, event, source: Box::new(source) });
        }
    }
    Ok(())
}

fn has_policy(hook: &Json, policy: &str) -> bool {
    // CRDs are never deleted: their objects would go with them.
    if hook["kind"] == "CustomResourceDefinition" {
        return false;
    }
    match hook["delete_policies"].as_array().filter(|policies| !policies.is_empty()) {
        Some(policies) => policies.iter().any(|found| found == policy),
        None => policy == "before-hook-creation",
    }
}

async fn delete_hook(
    cluster: &Cluster,
    namespace: &str,
    hook: &Json,
    timeout: Duration,
) -> Result<(), Error> {
    let manifests = crate::k8s::manifest::parse(hook["manifest"].as_str().unwrap_or_default())?;
    let manifests =
        manifests.into_iter().map(|manifest| placed(manifest.object, namespace)).collect();
    let options = DeleteOptions { timeout, ..DeleteOptions::default() };
    delete::delete_manifests(cluster, manifests, &options).await?;
    Ok(())
}

async fn run_hook(
    cluster: &Cluster,
    namespace: &str,
    hook: &Json,
    timeout: Duration,
) -> Result<(), Error> {
    if has_policy(hook, "before-hook-creation") {
        delete_hook(cluster, namespace, hook, timeout).await?;
    }
    let manifests = crate::k8s::manifest::parse(hook["manifest"].as_str().unwrap_or_default())?;
    let options = ApplyOptions {
        field_manager: MANAGER.to_owned(),
        namespace: Some(namespace.to_owned()),
        ..ApplyOptions::default()
    };
    let applied = apply::apply(cluster, manifests, &options).await?;
    let mut wanted = Vec::new();
    for applied in applied {
        let reference = applied.reference;
        let goal = match reference.kind.as_str() {
            "Job" => Goal::Ready { jobs: true },
            "Pod" => Goal::JsonPath {
                path: crate::base::jsonpath::JsonPath::parse("{.status.phase}")
                    .map_err(crate::k8s::error::Error::from)?,
                value: Some("Succeeded".to_owned()),
            },
            _ => continue,
        };
        let resource = cluster.resource_of(&reference.api_version, &reference.kind).await?;
        wanted.push(Wanted {
            resource,
            namespace: reference.namespace,
            name: reference.name,
            goal,
        });
    }
    if !wanted.is_empty() {
        wait::wait(cluster, wanted, &WaitOptions { timeout }).await?;
    }
    Ok(())
}

/// How to uninstall.
#[derive(Clone, Debug)]
pub struct UninstallOptions {
    pub namespace: String,
    pub wait: bool,
    pub timeout: Duration,
    pub keep_history: bool,
}

/// Removes a release and its objects; `false` if there is none. Objects that are to be kept, or belong to another release, stay.
pub async fn uninstall(
    cluster: &Cluster,
    name: &str,
    options: &UninstallOptions,
) -> Result<bool, ActionError> {
    let namespace = options.namespace.as_str();
    let history = release::history(cluster, name, namespace).await?;
    let Some(last) = history.last() else { return Ok(false) };
    if last.status() == "uninstalled" && options.keep_history {
        return Ok(false);
    }
    let mut release = last.clone();
    if last.status() != "uninstalled" {
        release.mark("uninstalling", "Deletion in progress (or silently failed)", cluster);
        release.update(cluster).await?;
        run_hooks(cluster, &mut release, "pre-delete", options.timeout).await?;
        let mut doomed = Vec::new();
        for object in stored_objects(&release)? {
            if is_kept(&object) {
                continue;
            }
            let manifest = placed(object, namespace);
            if is_owned(cluster, &manifest, name, namespace).await? {
                doomed.push(manifest);
            }
        }
        let delete_options = DeleteOptions {
            wait: options.wait,
            timeout: options.timeout,
            ..DeleteOptions::default()
        };
        delete::delete_manifests(cluster, doomed, &delete_options).await?;
        run_hooks(cluster, &mut release, "post-delete", options.timeout).await?;
    }
    if options.keep_history {
        release.mark("uninstalled", "Uninstallation complete", cluster);
        release.update(cluster).await?;
    } else {
        for revision in &history {
            revision.purge(cluster).await?;
        }
    }
    cluster.progress().info(&format!("release {name} uninstalled"));
    Ok(true)
}

async fn is_owned(
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

/// Goes back to a revision; 0 is the one before the last.
pub async fn rollback(
    cluster: &Cluster,
    name: &str,
    revision: i64,
    options: &ConvergeOptions,
) -> Result<Release, ActionError> {
    let namespace = options.namespace.as_str();
    let mut history = release::history(cluster, name, namespace).await?;
    take_over(cluster, &mut history).await?;
    let not_found =
        || ActionError::NotFound { name: name.to_owned(), namespace: namespace.to_owned() };
    let last = history.last().ok_or_else(not_found)?.clone();
    let revision = if revision == 0 { last.revision() - 1 } else { revision };
    let Some(goal) = history.iter().find(|release| release.revision() == revision) else {
        return Err(ActionError::NoRevision { name: name.to_owned(), revision });
    };
    let mut release = goal.clone();
    let next = last.revision() + 1;
    release.json["version"] = Json::from(next);
    release.json["apply_method"] = Json::from("ssa");
    release.json["info"]["last_deployed"] = Json::Null;
    release.json["info"]["rollback_revision"] = Json::from(revision);
    let description = format!("Rollback to {revision}");
    release.mark("pending-rollback", &description, cluster);
    release.create(cluster).await?;
    let work = async {
        run_hooks(cluster, &mut release, "pre-rollback", options.timeout).await?;
        let mut objects = stored_objects(&release)?;
        for object in &mut objects {
            mark_ownership(object, name, namespace);
        }
        let kept: Vec<ObjectRef> = objects.iter().filter_map(ObjectRef::of).collect();
        let applied = apply_objects(cluster, objects, options).await?;
        remove_dropped(cluster, &last, &kept).await?;
        if options.wait {
            wait_for(cluster, &applied, options.timeout).await?;
        }
        run_hooks(cluster, &mut release, "post-rollback", options.timeout).await
    };
    let done = alive(cluster, name, namespace, next, work).await;
    finish(cluster, &mut release, &history, done, true).await?;
    release.mark("deployed", &description, cluster);
    release.update(cluster).await?;
    Ok(release)
}
