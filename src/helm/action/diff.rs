//! What converging would change: next against live, and next against the last revision.

use similar::TextDiff;

use super::converge::{definitions, lost};
use super::objects::{apply_options, dropped, objects};
use super::plan::Plan;
use super::{ActionError, ConvergeOptions};
use crate::base::object_ref::ObjectRef;
use crate::base::progress::Change;
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
    /// What objects lose by CRDs of the chart that replace those of the cluster.
    pub lost: Vec<String>,
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
    let manifest = TextDiff::from_lines(
        last.unwrap_or_default().as_str(),
        without_secrets(&plan.rendered.manifest()).as_str(),
    )
    .unified_diff()
    .header("last", "next")
    .to_string();
    let mut manifests = definitions(&plan.rendered, options, plan.is_upgrade)?;
    let lost = lost(cluster, &manifests).await?;
    manifests.extend(next.into_iter().map(Manifest::of));
    let mut objects = diff::diff(cluster, manifests, &apply_options(options)).await?;
    objects.retain(|object| object.change != Change::Unchanged);
    Ok(Difference { objects, removed, manifest, lost })
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
