//! What all workload controllers share: the pods of an owner, readiness, creation and deletion with their events.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::kinds::PODS;
use super::{MANAGER, object};
use crate::sandbox::api::{Api, Status};

/// The pods that `owner` controls, in order of name.
pub(super) fn owned_pods(api: &dyn Api, owner: &Value) -> Vec<Arc<Value>> {
    api.list(&PODS, object::namespace(owner))
        .into_iter()
        .filter(|pod| object::is_controlled_by(pod, owner))
        .collect()
}

/// Whether a pod counts: it neither ended nor is it about to.
pub(super) fn is_active(pod: &Value) -> bool {
    !object::is_deleting(pod)
        && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Whether the pod's condition `Ready` is true.
pub(super) fn is_ready(pod: &Value) -> bool {
    object::is_true(pod, "Ready")
}

/// How long until a ready pod counts as available; `None` when it is not ready.
pub(super) fn available_in(api: &dyn Api, pod: &Value, min_ready: i64) -> Option<Duration> {
    let ready = object::condition(pod, "Ready").filter(|ready| ready["status"] == "True")?;
    let wanted = Duration::from_secs(u64::try_from(min_ready).unwrap_or(0));
    Some(wanted.saturating_sub(object::age(api, &ready["lastTransitionTime"])))
}

/// A pod of a template: metadata of the template, owned by `owner`; `extra` labels on top.
pub(super) fn pod_of(owner: &Value, template: &Value, extra_labels: &[(&str, &str)]) -> Value {
    let mut labels = template["metadata"]["labels"].clone();
    for (name, value) in extra_labels {
        labels[*name] = json!(value);
    }
    let mut metadata = json!({
        "generateName": format!("{}-", object::name(owner)),
        "namespace": object::namespace(owner),
        "labels": labels,
        "ownerReferences": [object::controller_reference(owner)],
    });
    for field in ["annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] })
}

/// Creates a pod for `owner`, with the event that says so or why not.
pub(super) fn create_pod(
    api: &dyn Api,
    component: &str,
    owner: &Value,
    pod: Value,
) -> Result<(), Status> {
    match api.create(MANAGER, pod) {
        Ok(created) => {
            let message = format!("Created pod: {}", object::name(&created));
            api.event(component, owner, "Normal", "SuccessfulCreate", &message);
            Ok(())
        }
        Err(status) => {
            let message = format!("Error creating: {}", status.message);
            api.event(component, owner, "Warning", "FailedCreate", &message);
            Err(status)
        }
    }
}

/// Deletes a pod of `owner`; one that is gone already is no error.
pub(super) fn delete_pod(
    api: &dyn Api,
    component: &str,
    owner: &Value,
    pod: &Value,
) -> Result<(), Status> {
    match api.delete(&PODS, object::namespace(pod), object::name(pod), "Background") {
        Ok(()) => {
            let message = format!("Deleted pod: {}", object::name(pod));
            api.event(component, owner, "Normal", "SuccessfulDelete", &message);
            Ok(())
        }
        Err(status) if status.code == 404 => Ok(()),
        Err(status) => Err(status),
    }
}

/// The order in which pods go: those that serve least first, then the youngest.
pub(super) fn sort_for_deletion(pods: &mut [Arc<Value>]) {
    pods.sort_by(|a, b| {
        let rank = |pod: &Value| {
            (
                pod["spec"]["nodeName"].is_string(),
                pod["status"]["phase"] != "Pending",
                is_ready(pod),
            )
        };
        let born = |pod: &Value| pod["metadata"]["creationTimestamp"].as_str().map(str::to_owned);
        rank(a).cmp(&rank(b)).then_with(|| born(b).cmp(&born(a)))
    });
}
