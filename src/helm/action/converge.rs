//! Install and upgrade in one: the release becomes what chart and values say.

use serde_json::{Map, Value as Json};

use super::holder::{alive, take_over};
use super::hooks::{self, Hooks};
use super::objects::{
    apply_objects, apply_options, check_ownership, delete_created, ensure_namespace, objects,
    remove_dropped, wait_for,
};
use super::rollback::{RollbackOptions, rollback};
use super::uninstall::{UninstallOptions, uninstall};
use super::{ActionError, ConvergeOptions, Crds, Outcome, Reuse, check_name};
use crate::base::object_ref::ObjectRef;
use crate::base::progress::Change;
use crate::helm::chart::Chart;
use crate::helm::lookup;
use crate::helm::release::{self, Release};
use crate::helm::render::{self, Capabilities, ReleaseFacts, RenderOptions, Rendered};
use crate::helm::template::Environment;
use crate::helm::values;
use crate::k8s::apply::{self, Applied, ApplyOptions};
use crate::k8s::cluster::Cluster;
use crate::k8s::manifest::Manifest;

/// Names that Helm gives the labels of its Secrets.
const SYSTEM_LABELS: &[&str] = &["name", "owner", "status", "version", "createdAt", "modifiedAt"];

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
    if let Some(label) = options.labels.keys().find(|label| SYSTEM_LABELS.contains(&label.as_str()))
    {
        return Err(ActionError::SystemLabel(label.clone()));
    }
    let namespace = options.namespace.as_str();
    let mut history = release::history(cluster, name, namespace).await?;
    let revision = history.last().map_or(1, |release| release.revision() + 1);
    let before = history.clone();
    history.retain(|release| release.status() != "uninstalled");
    take_over(cluster, &mut history).await?;
    let capabilities = capabilities(cluster).await?;
    let last = history.last();
    // An install that failed is no base of its own: Helm carries it on as an upgrade all the same.
    let is_upgrade = last.is_some_and(|release| release.status() != "pending-install");
    let base = history.iter().rev().find(|release| release.status() == "deployed").or(last);
    let (chart, values) = chosen(chart, options, base)?;
    let draw = |revision: i64, is_upgrade: bool| {
        draw(cluster, name, &chart, &values, options, &capabilities, revision, is_upgrade)
    };
    // Where a release was uninstalled and its history kept, Helm tells the templates of a first revision.
    let told = if is_upgrade { revision } else { 1 };
    let rendered = draw(told, is_upgrade).await?;
    let objects = objects(&rendered, name, namespace)?;
    if options.skip_unchanged
        && let Some(last) = last
        && last.status() == "deployed"
        && is_same(last, &chart, &values, &draw(last.revision(), last.revision() > 1).await?)
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
        &chart,
        &values,
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
        release::prune(cluster, &before, options.history_max).await?;
    } else if let Some(old) = before.last().filter(|old| old.status() == "uninstalled") {
        let mut old = old.clone();
        old.mark("superseded", "superseded by new release", cluster);
        old.update(cluster).await?;
    }
    release.create(cluster).await?;
    let mut applied = Vec::new();
    let work =
        deploy(cluster, &mut release, base, &rendered, objects, options, is_upgrade, &mut applied);
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
        return Err(undo(cluster, name, &before, is_upgrade, &applied, options, source).await);
    }
    let complete = if is_upgrade { "Upgrade complete" } else { "Install complete" };
    let text = if options.description.is_empty() { complete } else { options.description.as_str() };
    release.mark("deployed", text, cluster);
    supersede(cluster, &history, base).await?;
    release.update(cluster).await?;
    let change = if is_upgrade { Change::Configured } else { Change::Created };
    cluster.progress().info(&format!("release {name} revision {revision} deployed"));
    Ok(Outcome { release, change })
}

/// What a release would become, without a write.
pub(super) struct Prepared {
    pub(super) base: Option<Release>,
    pub(super) rendered: Rendered,
}

/// Renders the next revision as [`converge`] does.
pub(super) async fn prepare(
    cluster: &Cluster,
    name: &str,
    chart: &Chart,
    options: &ConvergeOptions,
) -> Result<Prepared, ActionError> {
    check_name(name)?;
    let mut history = release::history(cluster, name, &options.namespace).await?;
    let revision = history.last().map_or(1, |release| release.revision() + 1);
    history.retain(|release| release.status() != "uninstalled");
    let last = history.last();
    let is_upgrade = last.is_some_and(|release| release.status() != "pending-install");
    let base =
        history.iter().rev().find(|release| release.status() == "deployed").or(last).cloned();
    let (chart, values) = chosen(chart, options, base.as_ref())?;
    let capabilities = capabilities(cluster).await?;
    let told = if is_upgrade { revision } else { 1 };
    let rendered =
        draw(cluster, name, &chart, &values, options, &capabilities, told, is_upgrade).await?;
    Ok(Prepared { base, rendered })
}

/// Chart and values with what is taken over from the last revision.
fn chosen(
    chart: &Chart,
    options: &ConvergeOptions,
    base: Option<&Release>,
) -> Result<(Chart, Map<String, Json>), ActionError> {
    let mut chart = chart.clone();
    let mut given = options.values.clone();
    let Some(base) = base else { return Ok((chart, given)) };
    match options.reuse {
        Reuse::Reset => {}
        Reuse::WhenNoneGiven => {
            if given.is_empty() {
                given = base.config();
                values::to_floats_in(&mut given);
            }
        }
        Reuse::Values | Reuse::ResetThenReuse => {
            let mut old = base.config();
            values::to_floats_in(&mut old);
            if options.reuse == Reuse::Values {
                let mut defaults = base.defaults();
                values::to_floats_in(&mut defaults);
                values::merge_into(&mut defaults, old.clone());
                chart.values = defaults;
            }
            values::merge_into(&mut old, given);
            given = old;
        }
    }
    Ok((chart, given))
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

/// Chart, values and rendered objects are those of the stored revision.
fn is_same(last: &Release, chart: &Chart, values: &Map<String, Json>, again: &Rendered) -> bool {
    last.chart_name() == chart.metadata.name
        && last.chart_version() == chart.metadata.version
        && release::same_values(&Json::Object(last.config()), &Json::Object(values.clone()))
        && last.manifest() == again.manifest()
        && last.json["hooks"].as_array().map_or(0, Vec::len) == again.hooks.len()
}

#[expect(clippy::too_many_arguments, reason = "the facts of a release")]
async fn draw(
    cluster: &Cluster,
    name: &str,
    chart: &Chart,
    values: &Map<String, Json>,
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
    let (chart, values) = (chart.clone(), values.clone());
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
    let how = Hooks { timeout: options.timeout, skip: options.no_hooks };
    hooks::run(cluster, release, &format!("pre-{moment}"), &how).await?;
    let kept: Vec<ObjectRef> = objects.iter().filter_map(ObjectRef::of).collect();
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
