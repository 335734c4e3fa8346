//! Who works on a pending revision: a run tells that it is alive, and one that is silent is replaced.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value as Json, json};

use super::{ActionError, MANAGER};
use crate::helm::release::{self, Release};
use crate::k8s::cluster::Cluster;

/// How often a run tells that it is alive, and how long silence means that it is not.
const HEARTBEAT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(12);

/// A pending revision whose holder is silent is marked as failed; one that is being worked on is left alone.
pub(super) async fn take_over(
    cluster: &Cluster,
    history: &mut [Release],
) -> Result<(), ActionError> {
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
pub(super) async fn alive<T>(
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
