//! Server-side apply of many objects: in order, many at once, and none that needs no write.
//!
//! Namespaces come first, then CRDs (until they are established), then what others refer to, then the rest, and webhooks
//! last, since a webhook can refuse what is applied beside it. The live objects are read beforehand, one list per kind
//! and namespace; an object whose applied fields are all there and all ours is left alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use serde_json::Value;

use super::cluster::{Cluster, FIELD_MANAGER};
use super::error::{Error, FieldConflict, is_webhook_not_ready};
use super::manifest::Manifest;
use super::read::{get_object, list_page_by_page};
use super::request::Request;
use super::resource::Resource;
use super::wait::{self, Goal, WaitOptions, Wanted};
use super::{ownership, secrets};
use crate::base::object_ref::ObjectRef;
use crate::base::progress::{Change, Waiting};

/// What an unknown or doubled field of an applied object does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// It is an error.
    #[default]
    Strict,
    /// The server warns.
    Warn,
    /// Nothing.
    Ignore,
}

impl Validation {
    fn parameter(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Warn => "Warn",
            Self::Ignore => "Ignore",
        }
    }
}

/// How to apply.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    pub field_manager: String,
    /// Takes fields from other managers. Scripts cannot ask for it; Helm's `--force-conflicts` does.
    pub force: bool,
    /// The namespace of objects that name none; `None` is the connection's.
    pub namespace: Option<String>,
    pub validation: Validation,
    /// Asks the server what would happen; nothing is stored.
    pub dry_run: bool,
    /// Leaves objects alone that need no write. Off, each object is sent.
    pub skip_unchanged: bool,
    /// How long CRDs may take to be established, and webhooks to answer.
    pub timeout: Duration,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            field_manager: FIELD_MANAGER.to_owned(),
            force: false,
            namespace: None,
            validation: Validation::Strict,
            dry_run: false,
            skip_unchanged: true,
            timeout: Duration::from_secs(60),
        }
    }
}

/// An applied object.
#[derive(Clone, Debug)]
pub struct Applied {
    pub reference: ObjectRef,
    pub change: Change,
    /// As the server has it now.
    pub object: Value,
}

/// An object on its way.
struct Item {
    at: usize,
    resource: Arc<Resource>,
    reference: ObjectRef,
    object: Value,
}

/// Applies objects; the results are in their order.
///
/// # Errors
/// `InvalidManifest` and `UnknownKind` before anything is written; then `FieldConflict` and refusals of the server. What
/// is under way is finished before an error is returned, and nothing new is begun.
pub async fn apply(
    cluster: &Cluster,
    manifests: Vec<Manifest>,
    options: &ApplyOptions,
) -> Result<Vec<Applied>, Error> {
    let mut applied = Vec::new();
    apply_into(cluster, manifests, options, &mut applied).await?;
    Ok(applied)
}

/// As [`apply`], for a caller who has to know what was done before an error.
///
/// # Errors
/// Those of [`apply`].
pub async fn apply_into(
    cluster: &Cluster,
    manifests: Vec<Manifest>,
    options: &ApplyOptions,
    applied: &mut Vec<Applied>,
) -> Result<(), Error> {
    let mut found = Vec::new();
    let done = apply_phases(cluster, manifests, options, &mut found).await;
    found.sort_by_key(|(at, _)| *at);
    applied.extend(found.into_iter().map(|(_, applied)| applied));
    done
}

async fn apply_phases(
    cluster: &Cluster,
    manifests: Vec<Manifest>,
    options: &ApplyOptions,
    applied: &mut Vec<(usize, Applied)>,
) -> Result<(), Error> {
    // All names are checked before the first write.
    let mut phases: BTreeMap<u8, Vec<(usize, Value, ObjectRef)>> = BTreeMap::new();
    for (at, manifest) in manifests.into_iter().enumerate() {
        let reference = manifest.reference()?;
        phases.entry(phase(&reference)).or_default().push((at, manifest.object, reference));
    }
    let defines_kinds = phases.contains_key(&CRDS);
    if !defines_kinds {
        for (_, _, reference) in phases.values().flatten() {
            cluster.resource_of(&reference.api_version, &reference.kind).await?;
        }
    }
    for (phase, objects) in phases {
        let mut items = Vec::new();
        for (at, object, reference) in objects {
            items.push(prepare(cluster, at, object, &reference, options).await?);
        }
        let before = applied.len();
        apply_phase(cluster, items, options, applied).await?;
        if phase == CRDS && !options.dry_run {
            establish(cluster, &applied[before..], options).await?;
        }
    }
    Ok(())
}

const CRDS: u8 = 1;

/// In which round an object is applied.
fn phase(reference: &ObjectRef) -> u8 {
    match (reference.group(), reference.kind.as_str()) {
        ("", "Namespace") => 0,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => CRDS,
        (
            "",
            "ServiceAccount"
            | "Secret"
            | "ConfigMap"
            | "ResourceQuota"
            | "LimitRange"
            | "PersistentVolume"
            | "PersistentVolumeClaim",
        )
        | (
            "rbac.authorization.k8s.io" | "scheduling.k8s.io" | "storage.k8s.io" | "node.k8s.io",
            _,
        )
        | (_, "GatewayClass") => 2,
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        )
        | ("apiregistration.k8s.io", _) => 4,
        _ => 3,
    }
}

async fn prepare(
    cluster: &Cluster,
    at: usize,
    mut object: Value,
    reference: &ObjectRef,
    options: &ApplyOptions,
) -> Result<Item, Error> {
    let resource = cluster.resource_of(&reference.api_version, &reference.kind).await?;
    secrets::learn(cluster.redactor(), &object);
    secrets::encode(&mut object);
    if let Some(metadata) = object["metadata"].as_object_mut() {
        // The server refuses an apply with managedFields, and a resource version would make it conditional.
        for field in ["managedFields", "resourceVersion", "uid", "generation", "selfLink"] {
            metadata.remove(field);
        }
        if metadata.get("creationTimestamp").is_some() {
            metadata.remove("creationTimestamp");
        }
        if resource.namespaced {
            let default = options.namespace.as_deref().unwrap_or(cluster.namespace());
            let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
            if namespace.is_empty() {
                metadata.insert("namespace".to_owned(), Value::String(default.to_owned()));
            }
        } else {
            metadata.remove("namespace");
        }
        if reference.kind == "Namespace" {
            name_label(metadata, &reference.name);
        }
    }
    let namespace = object["metadata"]["namespace"].as_str();
    let reference = resource.object(namespace, &reference.name);
    Ok(Item { at, resource, reference, object })
}

/// The server labels a namespace with its name while it creates it and counts the label as the applier's own; an apply
/// without it would take it back and be a write each time that follows a creation.
fn name_label(metadata: &mut serde_json::Map<String, Value>, name: &str) {
    let labels = metadata.entry("labels").or_insert(Value::Null);
    if labels.is_null() {
        *labels = Value::Object(serde_json::Map::new());
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.entry("kubernetes.io/metadata.name").or_insert_with(|| name.into());
    }
}

async fn apply_phase(
    cluster: &Cluster,
    items: Vec<Item>,
    options: &ApplyOptions,
    into: &mut Vec<(usize, Applied)>,
) -> Result<(), Error> {
    let live =
        if options.skip_unchanged { read_live(cluster, &items).await? } else { BTreeMap::new() };
    let live = &live;
    // After a failure nothing new is begun, and what is under way is finished: whether a request that is cut off was
    // done would be unknown.
    let failed = &AtomicBool::new(false);
    let mut running = stream::iter(items)
        .map(|item| async move {
            if failed.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let before = live.get(&item.reference);
            let applied = apply_one(cluster, &item, before, options).await;
            failed.fetch_or(applied.is_err(), Ordering::Relaxed);
            applied.map(|applied| Some((item.at, applied)))
        })
        .buffer_unordered(cluster.in_flight());
    let mut failure = None;
    while let Some(result) = running.next().await {
        match result {
            Ok(None) => {}
            Ok(Some((at, applied))) => {
                if !options.dry_run {
                    cluster.progress().object(&applied.reference, applied.change);
                }
                into.push((at, applied));
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// The live objects, by one list per kind and namespace where that is cheaper than single reads. What controllers put into a
/// namespace of this connection is not read: it is not as wanted by chance.
async fn read_live(cluster: &Cluster, items: &[Item]) -> Result<BTreeMap<ObjectRef, Value>, Error> {
    let mut groups: BTreeMap<(Arc<Resource>, Option<String>), Vec<&Item>> = BTreeMap::new();
    for item in items {
        let reference = &item.reference;
        let place = reference.namespace.as_deref().filter(|_| item.resource.namespaced);
        let is_new = |place| cluster.is_surely_new(&item.resource, place, &reference.name);
        if place.is_some_and(is_new) {
            continue;
        }
        let key = (item.resource.clone(), item.reference.namespace.clone());
        groups.entry(key).or_default().push(item);
    }
    let mut reads: Vec<BoxFuture<'_, _>> = Vec::new();
    let mut live = BTreeMap::new();
    for ((resource, namespace), members) in &groups {
        if let Some(objects) = cluster.snapshot(resource).await? {
            for item in members {
                let place = item.reference.namespace.clone().unwrap_or_default();
                if let Some(object) = objects.get(&(place, item.reference.name.clone())) {
                    live.insert(item.reference.clone(), (**object).clone());
                }
            }
            continue;
        }
        // Secrets are not listed for the sake of a few: others' Secrets are nobody's business.
        let few = if resource.plural == "secrets" { 8 } else { 1 };
        if members.len() <= few {
            reads.extend(members.iter().map(|item| Read::One(item).run(cluster).boxed()));
        } else {
            let list = Read::List(resource, namespace.as_deref(), members);
            reads.push(list.run(cluster).boxed());
        }
    }
    let mut running = stream::iter(reads).buffer_unordered(cluster.in_flight());
    while let Some(objects) = running.next().await {
        for (reference, object) in objects? {
            live.insert(reference, object);
        }
    }
    Ok(live)
}

enum Read<'a> {
    One(&'a Item),
    List(&'a Resource, Option<&'a str>, &'a [&'a Item]),
}

impl Read<'_> {
    /// Who may write but not read still applies; the server then tells what changed.
    async fn run(self, cluster: &Cluster) -> Result<Vec<(ObjectRef, Value)>, Error> {
        let found = match self {
            Self::One(item) => {
                let reference = &item.reference;
                let namespace = reference.namespace.as_deref();
                get_object(cluster, &item.resource, namespace, &reference.name).await.map(
                    |object| object.map(|object| (reference.clone(), object)).into_iter().collect(),
                )
            }
            Self::List(resource, namespace, members) => {
                let labels = shared_labels(members);
                list_page_by_page(cluster, resource, namespace, &labels, "").await.map(|listed| {
                    let named = |object: Value| {
                        let name = object["metadata"]["name"].as_str().unwrap_or_default();
                        (resource.object(object["metadata"]["namespace"].as_str(), name), object)
                    };
                    listed.items.into_iter().map(named).collect()
                })
            }
        };
        match found {
            Err(error) if error.is_forbidden() || error.is_not_found() => Ok(Vec::new()),
            found => found,
        }
    }
}

/// Labels that all members carry narrow a list to them. Should somebody have removed one, the object looks absent and
/// is simply applied.
fn shared_labels(members: &[&Item]) -> String {
    let Some((first, rest)) = members.split_first() else { return String::new() };
    let labels = first.object["metadata"]["labels"].as_object();
    let shared: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter(|(name, value)| {
            value.is_string()
                && rest
                    .iter()
                    .all(|item| &item.object["metadata"]["labels"][name.as_str()] == *value)
        })
        .take(3)
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    shared.join(",")
}

async fn apply_one(
    cluster: &Cluster,
    item: &Item,
    before: Option<&Value>,
    options: &ApplyOptions,
) -> Result<Applied, Error> {
    let done = |change, object| Applied { reference: item.reference.clone(), change, object };
    if options.skip_unchanged
        && let Some(live) = before
        && live["metadata"]["deletionTimestamp"].is_null()
        && ownership::is_applied(
            &item.object,
            live,
            &options.field_manager,
            item.resource.has_subresource("status"),
        )
    {
        return Ok(done(Change::Unchanged, live.clone()));
    }
    let path = item.resource.path_of(item.reference.namespace.as_deref(), &item.reference.name);
    let request = Request::patch(
        &path,
        format!("apply `{}`", item.reference),
        "application/apply-patch+yaml",
        &item.object,
    )
    .query("fieldManager", &options.field_manager)
    .query("fieldValidation", options.validation.parameter())
    .query("force", if options.force { "true" } else { "" })
    .query("dryRun", if options.dry_run { "All" } else { "" });
    let answer = send_until_ready(cluster, &request, item, options).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Err(explain(cluster, error, item, before).await),
    };
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let change = if answer.status == 201 {
        Change::Created
    } else if before.is_some_and(|before| version(before) == version(&answer.value)) {
        Change::Unchanged
    } else {
        Change::Configured
    };
    secrets::learn(cluster.redactor(), &answer.value);
    if !options.dry_run {
        cluster.wrote(&item.resource, &answer.value, answer.status == 201);
    }
    if item.resource.plural == "customresourcedefinitions" && !options.dry_run {
        cluster.learn(&answer.value);
    }
    Ok(done(change, answer.value))
}

/// Sends an apply, and again while the webhook that must admit it is not up, or the CRD it needs is not served yet.
async fn send_until_ready(
    cluster: &Cluster,
    request: &Request,
    item: &Item,
    options: &ApplyOptions,
) -> Result<super::request::Answer, Error> {
    let began = cluster.clock().monotonic();
    let what = format!("{} to be admitted", item.reference);
    let mut pause = Duration::from_millis(250);
    let mut told = String::new();
    let result = loop {
        let error = match cluster.send(request).await {
            Ok(answer) => break Ok(answer),
            Err(error) => error,
        };
        let Some(reason) = heals(&error) else { break Err(error) };
        let waited = cluster.clock().monotonic().saturating_sub(began);
        if waited >= options.timeout {
            break Err(error);
        }
        if reason != told {
            let waiting = Waiting { what: what.clone(), reason: reason.clone(), since: waited };
            cluster.progress().waiting(&waiting);
            told = reason;
        }
        cluster.clock().pause(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    };
    if !told.is_empty() {
        cluster.progress().waited(&what);
    }
    result
}

/// Why an apply may succeed a little later.
fn heals(error: &Error) -> Option<String> {
    let status = error.status()?;
    // The endpoint of a CRD appears a moment after it is established.
    let kind_missing = status.code == 404
        && status.message.contains("the server could not find the requested resource");
    (kind_missing || is_webhook_not_ready(&status.message)).then(|| status.message.clone())
}

/// A conflict with owners and values; other errors as they are.
async fn explain(cluster: &Cluster, error: Error, item: &Item, before: Option<&Value>) -> Error {
    let Error::Refused { status, .. } = &error else { return error };
    let causes =
        status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let about: Vec<_> =
        causes.iter().filter(|cause| cause.reason == "FieldManagerConflict").collect();
    if about.is_empty() {
        return error;
    }
    let reference = &item.reference;
    let live = match before {
        Some(live) => live.clone(),
        None => {
            let namespace = reference.namespace.as_deref();
            let found = get_object(cluster, &item.resource, namespace, &reference.name).await;
            found.ok().flatten().unwrap_or_default()
        }
    };
    let (ours, theirs) = (secrets::hashed(&item.object), secrets::hashed(&live));
    let conflicts = about
        .into_iter()
        .map(|cause| FieldConflict {
            field: cause.field.clone(),
            owner: owner(&cause.message),
            ours: ownership::field(&ours, &cause.field).clone(),
            theirs: ownership::field(&theirs, &cause.field).clone(),
        })
        .collect();
    Error::FieldConflict { object: reference.clone(), conflicts }
}

/// `conflict with "kubectl" with subresource "scale" using apps/v1` names its manager.
fn owner(message: &str) -> String {
    let mut quoted = message.split('"').skip(1).step_by(2);
    let manager = quoted.next().unwrap_or("another manager");
    match quoted.next() {
        Some(subresource) => format!("{manager} ({subresource})"),
        None => manager.to_owned(),
    }
}

/// Waits until CRDs are served, and makes their kinds known.
async fn establish(
    cluster: &Cluster,
    applied: &[(usize, Applied)],
    options: &ApplyOptions,
) -> Result<(), Error> {
    let is_established = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
    };
    let mut wanted = Vec::new();
    for (_, applied) in applied {
        if is_established(&applied.object) {
            cluster.learn(&applied.object);
        } else {
            let reference = &applied.reference;
            let resource = cluster.resource_of(&reference.api_version, &reference.kind).await?;
            let goal = Goal::condition("Established", "True");
            wanted.push(Wanted { resource, namespace: None, name: reference.name.clone(), goal });
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let options = WaitOptions { timeout: options.timeout };
    for crd in wait::wait(cluster, wanted, &options).await? {
        cluster.learn(&crd);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_name_their_owner() {
        assert_eq!(owner("conflict with \"kubectl\" using apps/v1"), "kubectl");
        assert_eq!(
            owner("conflict with \"hpa\" with subresource \"scale\" using apps/v1"),
            "hpa (scale)"
        );
    }

    #[test]
    fn what_others_need_comes_first() {
        let of = |api_version: &str, kind: &str| {
            phase(&ObjectRef {
                api_version: api_version.into(),
                kind: kind.into(),
                namespace: None,
                name: "a".into(),
            })
        };
        assert!(of("v1", "Namespace") < of("apiextensions.k8s.io/v1", "CustomResourceDefinition"));
        assert!(of("v1", "ServiceAccount") < of("apps/v1", "Deployment"));
        let webhook = of("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration");
        assert!(of("apps/v1", "Deployment") < webhook);
    }
}
