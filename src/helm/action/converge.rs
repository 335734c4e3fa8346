//! Install and upgrade in one: the release becomes what chart and values say.

use serde_json::{Map, Value as Json};

use super::holder::alive;
use super::hooks::{self, Hooks};
use super::objects::{
    apply_objects, apply_options, check_ownership, delete_created, ensure_namespace, objects,
    remove_dropped, wait_for,
};
use super::plan::Plan;
use super::rollback::{RollbackOptions, rollback};
use super::uninstall::{UninstallOptions, uninstall};
use super::{ActionError, ConvergeOptions, Crds, MANAGER, Outcome};
use crate::base::object_ref::ObjectRef;
use crate::base::progress::Change;
use crate::helm::crds;
use crate::helm::release::{self, Release};
use crate::helm::render::Rendered;
use crate::k8s::apply::{self, Applied, ApplyOptions};
use crate::k8s::cluster::Cluster;
use crate::k8s::manifest::Manifest;
use crate::k8s::migrate::migrate;
use crate::k8s::read;

/// Installs or upgrades a release as planned.
///
/// # Errors
/// Those of the cluster; once the revision is stored it is marked `failed`.
pub async fn converge(
    cluster: &Cluster,
    plan: Plan,
    options: &ConvergeOptions,
) -> Result<Outcome, ActionError> {
    let Plan { name, history, before, base, chart, values, revision, is_upgrade, .. } = &plan;
    let (name, base, is_upgrade) = (name.as_str(), base.as_ref(), *is_upgrade);
    let (rendered, revision) = (&plan.rendered, *revision);
    let namespace = options.namespace.as_str();
    let objects = objects(rendered, name, namespace)?;
    if let Some(last) = plan.unchanged() {
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
        values,
        &rendered.manifest(),
        &rendered.hooks,
        &rendered.notes,
    );
    if let Some(first) = base.and_then(|base| base.json.pointer("/info/first_deployed")) {
        release.json["info"]["first_deployed"] = first.clone();
    }
    release.labels = labels(base, options);
    let (status, begun) = if is_upgrade {
        ("pending-upgrade", "Preparing upgrade")
    } else {
        ("pending-install", "Initial install underway")
    };
    release.mark(status, begun, cluster);
    if is_upgrade {
        release::prune(cluster, before, options.history_max).await?;
    } else if let Some(old) = before.last().filter(|old| old.status() == "uninstalled") {
        let mut old = old.clone();
        old.mark("superseded", "superseded by new release", cluster);
        old.update(cluster).await?;
    }
    release.create(cluster).await?;
    let mut applied = Vec::new();
    let work =
        deploy(cluster, &mut release, base, rendered, objects, options, is_upgrade, &mut applied);
    let done = alive(cluster, name, namespace, revision, work).await;
    if let Err(error) = &done {
        failed(cluster, &mut release, error, is_upgrade).await;
    }
    if let Err(error) = done {
        let source = Box::new(ActionError::Failed {
            name: name.to_owned(),
            revision,
            source: Box::new(error),
        });
        return Err(undo(cluster, name, before, is_upgrade, &applied, options, source).await);
    }
    let complete = if is_upgrade { "Upgrade complete" } else { "Install complete" };
    let text = if options.description.is_empty() { complete } else { options.description.as_str() };
    release.mark("deployed", text, cluster);
    supersede(cluster, history, base).await?;
    release.update(cluster).await?;
    let change = if is_upgrade { Change::Configured } else { Change::Created };
    cluster.progress().info(&format!("release {name} revision {revision} deployed"));
    Ok(Outcome { release, change })
}

/// Labels of the last revision with those of the options; an empty value removes one.
fn labels(base: Option<&Release>, options: &ConvergeOptions) -> Map<String, Json> {
    let mut labels = base.map(|base| base.labels.clone()).unwrap_or_default();
    for (name, value) in &options.labels {
        if value.as_str().is_none_or(str::is_empty) {
            labels.remove(name);
        } else {
            labels.insert(name.clone(), value.clone());
        }
    }
    labels
}

/// The release is as wanted; its objects are applied only where somebody changed them.
async fn keep(
    cluster: &Cluster,
    last: &Release,
    objects: Vec<Json>,
    options: &ConvergeOptions,
) -> Result<Outcome, ActionError> {
    let mut applied = Vec::new();
    apply_objects(cluster, objects, options, &mut applied).await?;
    if options.waits() {
        wait_for(cluster, &applied, options.wait_for_jobs, options.timeout).await?;
    }
    let repaired = applied.iter().any(|applied| applied.change != Change::Unchanged);
    let change = if repaired { Change::Configured } else { Change::Unchanged };
    Ok(Outcome { release: last.clone(), change })
}

/// The objects of `crds/`, where they are to be applied.
pub(super) fn definitions(
    rendered: &Rendered,
    options: &ConvergeOptions,
    is_upgrade: bool,
) -> Result<Vec<Manifest>, ActionError> {
    let wanted = match options.crds {
        Crds::Skip => false,
        Crds::Install => !is_upgrade,
        Crds::Upgrade => true,
    };
    let mut manifests = Vec::new();
    if wanted {
        for file in rendered.chart.crds() {
            manifests.extend(crate::k8s::manifest::parse(&file.text())?);
        }
    }
    Ok(manifests)
}

/// What objects lose by the definitions that take the place of those in the cluster.
pub(super) async fn lost(
    cluster: &Cluster,
    definitions: &[Manifest],
) -> Result<Vec<String>, ActionError> {
    let mut lost = Vec::new();
    for definition in definitions {
        let reference = definition.reference()?;
        if reference.kind != "CustomResourceDefinition" {
            continue;
        }
        let resource = cluster.resource_of(&reference.api_version, &reference.kind).await?;
        if let Some(live) = read::get_object(cluster, &resource, None, &reference.name).await? {
            lost.extend(crds::losses(&live, &definition.object));
        }
    }
    Ok(lost)
}

#[expect(clippy::too_many_arguments, reason = "the facts of a release")]
async fn deploy(
    cluster: &Cluster,
    release: &mut Release,
    base: Option<&Release>,
    rendered: &Rendered,
    objects: Vec<Json>,
    options: &ConvergeOptions,
    is_upgrade: bool,
    applied: &mut Vec<Applied>,
) -> Result<(), ActionError> {
    let manifests = definitions(rendered, options, is_upgrade)?;
    if !manifests.is_empty() {
        if is_upgrade {
            for lost in lost(cluster, &manifests).await? {
                cluster.progress().warn(&lost);
            }
        }
        apply::apply(cluster, manifests, &apply_options(options)).await?;
    }
    let moment = if is_upgrade { "upgrade" } else { "install" };
    let how = Hooks { timeout: options.timeout, skip: options.no_hooks };
    hooks::run(cluster, release, &format!("pre-{moment}"), &how).await?;
    let kept: Vec<ObjectRef> = objects.iter().filter_map(ObjectRef::of).collect();
    if let Some(base) = base.filter(|base| !base.is_server_side()) {
        cluster.progress().info(&format!(
            "release {} was applied by the client; its fields are handed over to server-side apply",
            base.name()
        ));
        migrate(cluster, &objects, &options.namespace, MANAGER).await?;
    }
    // Hardly anything of a first revision is there: comparing with the cluster would cost more requests than it saves.
    let apply = ApplyOptions { skip_unchanged: base.is_some(), ..apply_options(options) };
    let manifests = objects.into_iter().map(Manifest::of).collect();
    apply::apply_into(cluster, manifests, &apply, applied).await?;
    if let Some(base) = base {
        remove_dropped(cluster, base, &kept).await?;
    }
    if options.waits() {
        wait_for(cluster, applied, options.wait_for_jobs, options.timeout).await?;
    }
    hooks::run(cluster, release, &format!("post-{moment}"), &how).await
}

/// Records why a revision failed; the error that made it fail counts, also when the record cannot be written.
async fn failed(cluster: &Cluster, release: &mut Release, error: &ActionError, is_upgrade: bool) {
    let what = if is_upgrade { "Upgrade" } else { "Release" };
    let reason = cluster.redactor().mask(&error.to_string());
    let text = format!("{what} {:?} failed: {reason}", release.name());
    release.mark("failed", &text, cluster);
    let _ = release.update(cluster).await;
}

/// What is done about a failure beyond its record.
async fn undo(
    cluster: &Cluster,
    name: &str,
    before: &[Release],
    is_upgrade: bool,
    applied: &[Applied],
    options: &ConvergeOptions,
    source: Box<ActionError>,
) -> ActionError {
    let namespace = options.namespace.as_str();
    if is_upgrade && options.cleanup_on_failure {
        let deleted = delete_created(cluster, applied, namespace).await;
        if let Err(undoing) = deleted {
            return ActionError::NotUndone {
                name: name.to_owned(),
                undoing: Box::new(undoing),
                source,
            };
        }
    }
    if !options.rollback_on_failure {
        return *source;
    }
    let (done, outcome) = if is_upgrade {
        let good = |release: &&Release| matches!(release.status(), "deployed" | "superseded");
        let Some(goal) = before.iter().rev().find(good).map(Release::revision) else {
            let undoing = Box::new(ActionError::NoDeployed { name: name.to_owned() });
            return ActionError::NotUndone { name: name.to_owned(), undoing, source };
        };
        let how = RollbackOptions {
            revision: goal,
            wait: true,
            wait_for_jobs: options.wait_for_jobs,
            no_hooks: options.no_hooks,
            history_max: options.history_max,
            ..RollbackOptions::new(namespace, options.timeout)
        };
        let done = Box::pin(rollback(cluster, name, &how)).await.map(drop);
        (done, format!("has been rolled back to revision {goal}"))
    } else {
        let how = UninstallOptions {
            namespace: namespace.to_owned(),
            wait: true,
            timeout: options.timeout,
            keep_history: false,
            no_hooks: options.no_hooks,
            description: String::new(),
        };
        let done = uninstall(cluster, name, &how).await.map(drop);
        (done, "has been uninstalled".to_owned())
    };
    match done {
        Ok(()) => ActionError::Undone { name: name.to_owned(), outcome, source },
        Err(undoing) => {
            ActionError::NotUndone { name: name.to_owned(), undoing: Box::new(undoing), source }
        }
    }
}

/// What was deployed before, and the revision that was built on, is so no more.
async fn supersede(
    cluster: &Cluster,
    history: &[Release],
    base: Option<&Release>,
) -> Result<(), ActionError> {
    let is_base = |old: &&Release| base.is_some_and(|base| base.revision() == old.revision());
    for old in history.iter().filter(|old| old.status() == "deployed" || is_base(old)) {
        let mut old = old.clone();
        let description = old.description().to_owned();
        old.mark("superseded", &description, cluster);
        old.update(cluster).await?;
    }
    Ok(())
}
