//! What converging would change: next against live, and next against the last revision.

use serde_json::Value as Json;
use similar::TextDiff;

use super::converge::{definitions, lost};
use super::objects::{apply_options, dropped, objects};
use super::plan::Plan;
use super::{ActionError, ConvergeOptions};
use crate::base::object_ref::ObjectRef;
use crate::base::progress::Change;
use crate::helm::manifest::Hook;
use crate::k8s::cluster::Cluster;
use crate::k8s::diff::{self, ObjectDiff};
use crate::k8s::manifest::Manifest;

/// What would change.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Each object of the next revision against the cluster.
    pub objects: Vec<ObjectDiff>,
    /// What the last revision had and the next has no more.
    pub removed: Vec<ObjectRef>,
    /// The stored manifest against the next one, as a unified diff; Secrets are left out.
    pub manifest: String,
    /// The stored hooks against the next ones.
    pub hooks: Vec<HookDiff>,
    /// What objects lose by CRDs of the chart that replace those of the cluster.
    pub lost: Vec<String>,
}

/// A hook that comes, goes or changes. Hooks are not compared with the cluster: most are gone after they ran.
#[derive(Clone, Debug)]
pub struct HookDiff {
    pub name: String,
    pub kind: String,
    /// The template's path.
    pub path: String,
    /// When it runs; for one that goes, when it ran.
    pub events: Vec<String>,
    pub change: Change,
    /// The last text against the next one, as a unified diff; empty for Secrets, whose data is not shown.
    pub manifest: String,
}

/// Compares a release with what a plan would make of it. Nothing is written.
///
/// # Errors
/// Those of the server's dry run.
pub async fn diff(
    cluster: &Cluster,
    plan: &Plan,
    options: &ConvergeOptions,
) -> Result<Difference, ActionError> {
    let next = objects(&plan.rendered, &plan.name, &options.namespace)?;
    let kept: Vec<ObjectRef> = next.iter().filter_map(ObjectRef::of).collect();
    let removed = match &plan.base {
        Some(base) => dropped(base, &kept)?.iter().filter_map(ObjectRef::of).collect(),
        None => Vec::new(),
    };
    let last = plan.base.as_ref().map(|base| without_secrets(base.manifest()));
    let manifest = unified(&last.unwrap_or_default(), &without_secrets(&plan.rendered.manifest()));
    let stored = plan.base.as_ref().map(|base| base.json["hooks"].clone()).unwrap_or_default();
    let hooks = hooks(stored.as_array().map_or(&[][..], Vec::as_slice), &plan.rendered.hooks);
    let mut manifests = definitions(&plan.rendered, options, plan.is_upgrade)?;
    let lost = lost(cluster, &manifests).await?;
    manifests.extend(next.into_iter().map(Manifest::of));
    let mut objects = diff::diff(cluster, manifests, &apply_options(options)).await?;
    objects.retain(|object| object.change != Change::Unchanged);
    Ok(Difference { objects, removed, manifest, hooks, lost })
}

fn unified(last: &str, next: &str) -> String {
    TextDiff::from_lines(last, next).unified_diff().header("last", "next").to_string()
}

/// Hooks are the same by template, kind and name; of several such the first is the first.
fn hooks(stored: &[Json], next: &[Hook]) -> Vec<HookDiff> {
    let text = |hook: &Json, key: &str| hook[key].as_str().unwrap_or_default().to_owned();
    let mut stored: Vec<&Json> = stored.iter().collect();
    let diff = |hook: &Hook, change, last: &str, next: &str| HookDiff {
        name: hook.name.clone(),
        kind: hook.kind.clone(),
        path: hook.path.clone(),
        events: hook.events.clone(),
        change,
        manifest: if hook.kind == "Secret" { String::new() } else { unified(last, next) },
    };
    let mut found = Vec::new();
    for hook in next {
        let same = |last: &&&Json| {
            (text(last, "path"), text(last, "kind"), text(last, "name"))
                == (hook.path.clone(), hook.kind.clone(), hook.name.clone())
        };
        match stored.iter().find(same).copied() {
            None => found.push(diff(hook, Change::Created, "", &hook.manifest)),
            Some(last) => {
                stored.retain(|other| !std::ptr::eq(*other, last));
                let before = text(last, "manifest");
                if before != hook.manifest {
                    found.push(diff(hook, Change::Configured, &before, &hook.manifest));
                }
            }
        }
    }
    for last in stored {
        let events = last["events"].as_array().into_iter().flatten();
        let gone = Hook {
            name: text(last, "name"),
            kind: text(last, "kind"),
            path: text(last, "path"),
            manifest: text(last, "manifest"),
            events: events.filter_map(Json::as_str).map(str::to_owned).collect(),
            weight: 0,
            delete_policies: Vec::new(),
            output_log_policies: Vec::new(),
        };
        found.push(diff(&gone, Change::Deleted, &gone.manifest, ""));
    }
    found
}

/// The documents that are no Secrets: their data must not be shown.
fn without_secrets(manifest: &str) -> String {
    let mut text = String::new();
    for document in crate::helm::manifest::split(manifest) {
        let is_secret = document.lines().any(|line| line.trim_end() == "kind: Secret");
        if !is_secret {
            text.push_str("---\n");
            text.push_str(document);
        }
    }
    text
}
