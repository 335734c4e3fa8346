//! Uninstall: hooks, objects in reverse, then the record.

use std::time::Duration;

use super::ActionError;
use super::hooks::{self, Hooks};
use super::objects::{is_kept, is_owned, placed, stored_objects};
use crate::helm::release;
use crate::k8s::cluster::Cluster;
use crate::k8s::delete::{self, DeleteOptions};

/// How to uninstall.
#[derive(Clone, Debug)]
pub struct UninstallOptions {
    pub namespace: String,
    pub wait: bool,
    pub timeout: Duration,
    pub keep_history: bool,
    pub no_hooks: bool,
    /// Instead of `Uninstallation complete`, for a history that is kept.
    pub description: String,
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
    let how = Hooks { timeout: options.timeout, skip: options.no_hooks };
    if last.status() != "uninstalled" {
        release.mark("uninstalling", "Deletion in progress (or silently failed)", cluster);
        release.update(cluster).await?;
        hooks::run(cluster, &mut release, "pre-delete", &how).await?;
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
        hooks::run(cluster, &mut release, "post-delete", &how).await?;
    }
    if options.keep_history {
        let text = if options.description.is_empty() {
            "Uninstallation complete"
        } else {
            options.description.as_str()
        };
        release.mark("uninstalled", text, cluster);
        release.update(cluster).await?;
    } else {
        for revision in &history {
            revision.purge(cluster).await?;
        }
    }
    cluster.progress().info(&format!("release {name} uninstalled"));
    Ok(true)
}
