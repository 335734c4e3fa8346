//! Rollback: an old revision becomes a new one.

use std::time::Duration;

use serde_json::Value as Json;

use super::holder::{alive, take_over};
use super::hooks::{self, Hooks};
use super::objects::{
    apply_objects, delete_created, mark_ownership, remove_dropped, stored_objects, wait_for,
};
use super::{ActionError, ConvergeOptions, MANAGER, MAX_HISTORY};
use crate::base::object_ref::ObjectRef;
use crate::helm::release::{self, Release};
use crate::k8s::apply::Applied;
use crate::k8s::cluster::Cluster;
use crate::k8s::migrate::migrate;

/// How to roll back.
#[derive(Clone, Debug)]
pub struct RollbackOptions {
    pub namespace: String,
    /// 0 is the one before the last.
    pub revision: i64,
    pub wait: bool,
    pub wait_for_jobs: bool,
    pub timeout: Duration,
    pub no_hooks: bool,
    /// Deletes what a rollback that fails has created.
    pub cleanup_on_failure: bool,
    /// Revisions that are kept; 0 for all.
    pub history_max: usize,
}

impl RollbackOptions {
    /// Helm's own defaults.
    pub fn new(namespace: &str, timeout: Duration) -> Self {
        Self {
            namespace: namespace.to_owned(),
            revision: 0,
            wait: false,
            wait_for_jobs: false,
            timeout,
            no_hooks: false,
            cleanup_on_failure: false,
            history_max: MAX_HISTORY,
        }
    }
}

/// Goes back to a revision.
///
/// # Errors
/// `NotFound` and `NoRevision` before anything is written; then those of the cluster, with the new revision marked `failed`.
pub async fn rollback(
    cluster: &Cluster,
    name: &str,
    options: &RollbackOptions,
) -> Result<Release, ActionError> {
    let namespace = options.namespace.as_str();
    let mut history = release::history(cluster, name, namespace).await?;
    take_over(cluster, &mut history).await?;
    let not_found =
        || ActionError::NotFound { name: name.to_owned(), namespace: namespace.to_owned() };
    let last = history.last().ok_or_else(not_found)?.clone();
    let revision = if options.revision == 0 { last.revision() - 1 } else { options.revision };
    let Some(goal) = history.iter().find(|release| release.revision() == revision) else {
        return Err(ActionError::NoRevision { name: name.to_owned(), revision });
    };
    let mut release = goal.clone();
    let next = last.revision() + 1;
    release.json["version"] = Json::from(next);
    release.json["apply_method"] = Json::from("ssa");
    release.json["info"]["last_deployed"] = Json::Null;
    release.json["info"]["rollback_revision"] = Json::from(revision);
    if let Some(first) = last.json.pointer("/info/first_deployed") {
        release.json["info"]["first_deployed"] = first.clone();
    }
    let description = format!("Rollback to {revision}");
    release.mark("pending-rollback", &description, cluster);
    release::prune(cluster, &history, options.history_max).await?;
    release.create(cluster).await?;
    let mut applied = Vec::new();
    let work = work(cluster, &mut release, &last, options, &mut applied);
    let done = alive(cluster, name, namespace, next, work).await;
    if let Err(error) = done {
        let reason = cluster.redactor().mask(&error.to_string());
        release.mark("failed", &format!("Rollback {name:?} failed: {reason}"), cluster);
        let mut old = last.clone();
        let text = old.description().to_owned();
        old.mark("superseded", &text, cluster);
        // The first error counts, also when the records cannot be written.
        let _ = old.update(cluster).await;
        let _ = release.update(cluster).await;
        let source = Box::new(ActionError::Failed {
            name: name.to_owned(),
            revision: next,
            source: Box::new(error),
        });
        if options.cleanup_on_failure
            && let Err(undoing) = delete_created(cluster, &applied, namespace).await
        {
            return Err(ActionError::NotUndone {
                name: name.to_owned(),
                undoing: Box::new(undoing),
                source,
            });
        }
        return Err(*source);
    }
    for old in history.iter().filter(|old| old.status() == "deployed") {
        let mut old = old.clone();
        let text = old.description().to_owned();
        old.mark("superseded", &text, cluster);
        old.update(cluster).await?;
    }
    release.mark("deployed", &description, cluster);
    release.update(cluster).await?;
    cluster
        .progress()
        .info(&format!("release {name} revision {next} is revision {revision} again"));
    Ok(release)
}

async fn work(
    cluster: &Cluster,
    release: &mut Release,
    last: &Release,
    options: &RollbackOptions,
    applied: &mut Vec<Applied>,
) -> Result<(), ActionError> {
    let namespace = options.namespace.as_str();
    let how = Hooks { timeout: options.timeout, skip: options.no_hooks };
    hooks::run(cluster, release, "pre-rollback", &how).await?;
    let mut objects = stored_objects(release)?;
    for object in &mut objects {
        mark_ownership(object, release.name(), namespace);
    }
    if !last.is_server_side() {
        migrate(cluster, &objects, namespace, MANAGER).await?;
    }
    let kept: Vec<ObjectRef> = objects.iter().filter_map(ObjectRef::of).collect();
    let applying = ConvergeOptions::new(namespace, options.timeout);
    apply_objects(cluster, objects, &applying, applied).await?;
    remove_dropped(cluster, last, &kept).await?;
    if options.wait || options.wait_for_jobs {
        wait_for(cluster, applied, options.wait_for_jobs, options.timeout).await?;
    }
    hooks::run(cluster, release, "post-rollback", &how).await
}
