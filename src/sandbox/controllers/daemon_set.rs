//! DaemonSet → one pod per node, with its ControllerRevisions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{CONTROLLER_REVISIONS, DAEMON_SETS, NODES};
use super::{MANAGER, object, pod_set};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::node::scheduler;

const COMPONENT: &str = "daemonset-controller";
const HASH: &str = "controller-revision-hash";
const GENERATION: &str = "pod-template-generation";

/// The daemon set controller.
pub(super) struct DaemonSets;

impl Controller for DaemonSets {
    fn name(&self) -> &'static str {
        COMPONENT
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "daemonsets" => vec![object::key(&change.object)],
            "pods" => object::controller_key(&change.object, "DaemonSet").into_iter().collect(),
            "nodes" => api.list(&DAEMON_SETS, "").iter().map(|set| object::key(set)).collect(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(set) = api.get(&DAEMON_SETS, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        if object::is_deleting(&set) {
            return Ok(Requeue::OnChange);
        }
        let hash = revision(api, &set)?;
        let pods = pod_set::owned_pods(api, &set);
        let nodes = api.list(&NODES, "");
        let wanted: Vec<&str> = nodes
            .iter()
            .filter(|node| scheduler::daemon_fits(&set["spec"]["template"]["spec"], node))
            .map(|node| object::name(node))
            .collect();
        place(api, &set, &wanted, &pods, &hash)?;
        roll(api, &set, &pods, &hash)?;
        write_status(api, &set, &wanted, &pods, &hash)
    }
}

/// The node that a pod of a DaemonSet is for: by its affinity before it is bound.
fn node_of(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_else(|| {
        pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            ["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]
            .as_str()
            .unwrap_or_default()
    })
}

/// The hash of the present template; its ControllerRevision is made when it is new.
fn revision(api: &dyn Api, set: &Value) -> Result<String, Status> {
    let data = json!({ "spec": { "template": with_patch_mark(&set["spec"]["template"]) } });
    let revisions: Vec<_> = api
        .list(&CONTROLLER_REVISIONS, object::namespace(set))
        .into_iter()
        .filter(|revision| object::is_controlled_by(revision, set))
        .collect();
    if let Some(found) = revisions.iter().find(|revision| revision["data"] == data) {
        return Ok(object::label(found, HASH).unwrap_or_default().to_owned());
    }
    let hash = object::short_hash(&set["spec"]["template"]);
    let number = revisions.iter().filter_map(|revision| revision["revision"].as_i64()).max();
    let mut labels = set["spec"]["template"]["metadata"]["labels"].clone();
    labels[HASH] = json!(hash);
    // The annotations of the set, which hold the number of its template too.
    let annotations = set["metadata"]["annotations"].clone();
    api.create(
        MANAGER,
        json!({
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": format!("{}-{hash}", object::name(set)),
                "namespace": object::namespace(set),
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [object::controller_reference(set)],
            },
            "data": data,
            "revision": number.unwrap_or(0) + 1,
        }),
    )?;
    Ok(hash)
}

fn with_patch_mark(template: &Value) -> Value {
    let mut template = template.clone();
    template["$patch"] = json!("replace");
    template
}

fn place(
    api: &dyn Api,
    set: &Value,
    wanted: &[&str],
    pods: &[Arc<Value>],
    hash: &str,
) -> Result<(), Status> {
    for node in wanted {
        if pods.iter().any(|pod| node_of(pod) == *node && ended(pod).is_none()) {
            continue;
        }
        let generation = object::generation(set).to_string();
        let extra = [(HASH, hash), (GENERATION, generation.as_str())];
        let mut pod = pod_set::pod_of(set, &set["spec"]["template"], &extra);
        pod["spec"]["affinity"]["nodeAffinity"] = json!({
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{
                "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }],
            }] },
        });
        let mut tolerations = object::items(&pod["spec"], "tolerations").to_vec();
        tolerations.extend(daemon_tolerations(&pod));
        pod["spec"]["tolerations"] = Value::Array(tolerations);
        pod_set::create_pod(api, COMPONENT, set, pod)?;
    }
    for pod in pods.iter().filter(|pod| !object::is_deleting(pod)) {
        if !wanted.contains(&node_of(pod)) || ended(pod).is_some() {
            if ended(pod) == Some("Failed") {
                let message = format!(
                    "Found failed daemon pod {}/{} on node {}, will try to kill it",
                    object::namespace(pod),
                    object::name(pod),
                    node_of(pod)
                );
                api.event(COMPONENT, set, "Warning", "FailedDaemonPod", &message);
            }
            pod_set::delete_pod(api, COMPONENT, set, pod)?;
        }
    }
    Ok(())
}

fn ended(pod: &Value) -> Option<&'static str> {
    match pod["status"]["phase"].as_str() {
        Some("Failed") => Some("Failed"),
        Some("Succeeded") => Some("Succeeded"),
        _ => None,
    }
}

/// The tolerations that the controller gives to every daemon pod.
fn daemon_tolerations(pod: &Value) -> Vec<Value> {
    let mut found: Vec<Value> = [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ]
    .into_iter()
    .map(|(key, effect)| json!({ "effect": effect, "key": key, "operator": "Exists" }))
    .collect();
    if pod["spec"]["hostNetwork"] == true {
        found.push(json!({
            "effect": "NoSchedule",
            "key": "node.kubernetes.io/network-unavailable",
            "operator": "Exists",
        }));
    }
    found
}

/// Replaces pods of older templates, as many at a time as `maxUnavailable` lets go.
fn roll(api: &dyn Api, set: &Value, pods: &[Arc<Value>], hash: &str) -> Result<(), Status> {
    if set["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return Ok(());
    }
    let active: Vec<_> = pods.iter().filter(|pod| pod_set::is_active(pod)).collect();
    let total = i64::try_from(active.len()).unwrap_or(i64::MAX);
    let rolling = &set["spec"]["updateStrategy"]["rollingUpdate"];
    let limit = object::scaled(&rolling["maxUnavailable"], total, true, "1");
    let limit = if rolling["maxUnavailable"].is_null() { 1 } else { limit.max(1) };
    let unready = pods.iter().filter(|pod| !pod_set::is_ready(pod) || object::is_deleting(pod));
    let mut room = limit - i64::try_from(unready.count()).unwrap_or(0);
    for pod in active.iter().filter(|pod| object::label(pod, HASH) != Some(hash)) {
        let serves = pod_set::is_ready(pod);
        if serves && room <= 0 {
            continue;
        }
        pod_set::delete_pod(api, COMPONENT, set, pod)?;
        if serves {
            room -= 1;
        }
    }
    Ok(())
}

fn write_status(
    api: &dyn Api,
    set: &Value,
    wanted: &[&str],
    pods: &[Arc<Value>],
    hash: &str,
) -> Result<Requeue, Status> {
    let min_ready = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    let placed: Vec<_> = pods
        .iter()
        .filter(|pod| pod_set::is_active(pod) && wanted.contains(&node_of(pod)))
        .collect();
    let waits: Vec<_> =
        placed.iter().filter_map(|pod| pod_set::available_in(api, pod, min_ready)).collect();
    let available = waits.iter().filter(|wait| wait.is_zero()).count();
    let updated = placed.iter().filter(|pod| object::label(pod, HASH) == Some(hash)).count();
    let stray = pods
        .iter()
        .filter(|pod| pod_set::is_active(pod) && !wanted.contains(&node_of(pod)))
        .count();
    let mut status = json!({
        "currentNumberScheduled": placed.len(),
        "desiredNumberScheduled": wanted.len(),
        "numberMisscheduled": stray,
        "numberReady": waits.len(),
        "observedGeneration": object::generation(set),
    });
    let fields = [
        ("numberAvailable", available),
        ("numberUnavailable", wanted.len().saturating_sub(available)),
        ("updatedNumberScheduled", updated),
    ];
    for (field, count) in fields.into_iter().filter(|(_, count)| *count > 0) {
        status[field] = json!(count);
    }
    object::put_status(api, MANAGER, set, status)?;
    let next = waits.into_iter().filter(|wait| !wait.is_zero()).min();
    Ok(next.map_or(Requeue::OnChange, Requeue::After))
}
