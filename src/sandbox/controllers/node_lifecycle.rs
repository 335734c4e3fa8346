//! Nodes whose kubelet posts no more: conditions, taints and evictions as the node lifecycle and taint eviction
//! controllers of kube-controller-manager 1.36 write them.
//!
//! Nothing here polls: whoever lets a node vanish or return wakes this controller. Defaults are those of the real one:
//! 50 s without a heartbeat, evictions by the pods' own `tolerationSeconds`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::kinds::{NODES, PODS};
use super::object;
use crate::base::clock::Clock as _;
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::node::World;

/// Its name, to be woken by.
pub const NAME: &str = "node-controller";

/// `--node-monitor-grace-period`
const GRACE: Duration = Duration::from_secs(50);
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const MANAGER: &str = super::MANAGER;

/// What a kubelet posts of a node that is well.
const WELL: &[(&str, &str, &str, &str)] = &[
    (
        "MemoryPressure",
        "False",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
];

/// The conditions of a node that is well, since `now`.
pub fn well(now: &str) -> Vec<Value> {
    let conditions = WELL.iter().map(|(kind, status, reason, message)| {
        json!({
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
            "message": message,
            "reason": reason,
            "status": status,
            "type": kind,
        })
    });
    conditions.collect()
}

/// The node lifecycle controller.
pub struct NodeLifecycle {
    world: Arc<World>,
    /// When each lost node posted last.
    lost_since: BTreeMap<String, Duration>,
}

impl NodeLifecycle {
    /// Looks at the nodes of `world`.
    pub fn new(world: Arc<World>) -> Self {
        Self { world, lost_since: BTreeMap::new() }
    }
}

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        NAME
    }

    fn keys(&self, _: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            // Whether pods are evicted from lost nodes depends on the others.
            "nodes" => {
                let mut keys = vec![object::key(&change.object)];
                keys.extend(self.lost_since.keys().map(|name| (String::new(), name.clone())));
                keys
            }
            // A pod that was bound to a lost node before it could be tainted is to be judged, too.
            "pods" => {
                let node = change.object["spec"]["nodeName"].as_str().unwrap_or_default();
                let lost = self.lost_since.contains_key(node);
                lost.then(|| (String::new(), node.to_owned())).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, _: &str, name: &str) -> Result<Requeue, Status> {
        let Some(node) = api.get(&NODES, "", name) else {
            self.lost_since.remove(name);
            return Ok(Requeue::OnChange);
        };
        let now = api.clock().monotonic();
        if !self.world.is_lost(name) {
            self.lost_since.remove(name);
            return returned(api, &node).map(|()| Requeue::OnChange);
        }
        let since = *self.lost_since.entry(name.to_owned()).or_insert(now);
        let silent = now.saturating_sub(since);
        if silent < GRACE {
            return Ok(Requeue::After(GRACE - silent));
        }
        if !is_unknown(&node) {
            mark_unknown(api, &node)?;
            return Ok(Requeue::After(Duration::from_millis(1)));
        }
        if taint(api, &node)? {
            return Ok(Requeue::After(Duration::from_millis(1)));
        }
        let mut next: Option<Duration> = None;
        for pod in pods_on(api, name) {
            if let Some(left) = evict(api, &node, &pod)? {
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        Ok(next.map_or(Requeue::OnChange, Requeue::After))
    }
}

fn pods_on(api: &dyn Api, node: &str) -> Vec<Arc<Value>> {
    let mut pods = api.list(&PODS, "");
    pods.retain(|pod| pod["spec"]["nodeName"] == node);
    pods
}

fn is_unknown(node: &Value) -> bool {
    object::condition(node, "Ready").is_some_and(|ready| ready["status"] == "Unknown")
}

fn is_tainted(node: &Value) -> bool {
    object::items(&node["spec"], "taints").iter().any(|taint| taint["key"] == UNREACHABLE)
}

fn mark_unknown(api: &dyn Api, node: &Arc<Value>) -> Result<(), Status> {
    let now = object::now(api);
    let mut status = node["status"].clone();
    if let Some(conditions) = status["conditions"].as_array_mut() {
        for condition in conditions {
            condition["lastTransitionTime"] = json!(now);
            condition["message"] = json!("Kubelet stopped posting node status.");
            condition["reason"] = json!("NodeStatusUnknown");
            condition["status"] = json!("Unknown");
        }
    }
    object::put_status(api, MANAGER, node, status)?;
    let name = object::name(node);
    let message = format!("Node {name} status is now: NodeNotReady");
    api.event(NAME, node, "Normal", "NodeNotReady", &message);
    for pod in pods_on(api, name) {
        mark_pod_unready(api, &pod)?;
    }
    Ok(())
}

fn mark_pod_unready(api: &dyn Api, pod: &Arc<Value>) -> Result<(), Status> {
    if !object::is_true(pod, "Ready") {
        return Ok(());
    }
    let mut status = pod["status"].clone();
    if let Some(conditions) = status["conditions"].as_array_mut() {
        for condition in conditions.iter_mut().filter(|condition| condition["type"] == "Ready") {
            condition["lastTransitionTime"] = json!(object::now(api));
            condition["status"] = json!("False");
        }
    }
    object::put_status(api, MANAGER, pod, status)?;
    api.event(NAME, pod, "Warning", "NodeNotReady", "Node is not ready");
    Ok(())
}

/// Taints a lost node, and says whether that changed anything. While no other node is ready nobody is evicted: it may be
/// the control plane that is cut off (a full disruption, in the words of the real controller).
fn taint(api: &dyn Api, node: &Value) -> Result<bool, Status> {
    let evicts = api
        .list(&NODES, "")
        .iter()
        .any(|other| object::name(other) != object::name(node) && object::is_true(other, "Ready"));
    let now = object::now(api);
    let before = object::items(&node["spec"], "taints");
    let mut taints = before.to_vec();
    for (effect, wanted) in [("NoSchedule", true), ("NoExecute", evicts)] {
        let own = |taint: &Value| taint["key"] == UNREACHABLE && taint["effect"] == effect;
        if !wanted {
            taints.retain(|taint| !own(taint));
        } else if !taints.iter().any(own) {
            taints.push(json!({ "effect": effect, "key": UNREACHABLE, "timeAdded": now }));
        }
    }
    if taints == before {
        return Ok(false);
    }
    set_taints(api, node, taints).map(|()| true)
}

fn set_taints(api: &dyn Api, node: &Value, taints: Vec<Value>) -> Result<(), Status> {
    let taints = if taints.is_empty() { Value::Null } else { taints.into() };
    let patch = json!({ "spec": { "taints": taints } });
    api.merge_patch(MANAGER, &NODES, "", object::name(node), "", patch).map(drop)
}

/// Deletes a pod that may not stay on a node that is unreachable; how long it may, if that has an end.
fn evict(api: &dyn Api, node: &Value, pod: &Arc<Value>) -> Result<Option<Duration>, Status> {
    if object::is_deleting(pod) {
        return Ok(None);
    }
    let taint = object::items(&node["spec"], "taints")
        .iter()
        .find(|taint| taint["key"] == UNREACHABLE && taint["effect"] == "NoExecute");
    let Some(taint) = taint else { return Ok(None) };
    let spans: Vec<Option<u64>> = object::items(&pod["spec"], "tolerations")
        .iter()
        .filter(|toleration| tolerates(toleration))
        .map(|toleration| toleration["tolerationSeconds"].as_u64())
        .collect();
    // The shortest span of those that tolerate counts; one without a span does not end.
    let stays = match spans.iter().flatten().min() {
        Some(seconds) => Duration::from_secs(*seconds),
        None if !spans.is_empty() => return Ok(None),
        None => Duration::ZERO,
    };
    let left = stays.saturating_sub(object::age(api, &taint["timeAdded"]));
    if !left.is_zero() {
        return Ok(Some(left));
    }
    let (namespace, name) = object::key(pod);
    let message = format!("Marking for deletion Pod {namespace}/{name}");
    api.event("taint-eviction-controller", pod, "Normal", "TaintManagerEviction", &message);
    match api.delete(&PODS, &namespace, &name, "Background") {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(None),
    }
}

fn tolerates(toleration: &Value) -> bool {
    let effect = toleration["effect"].as_str().unwrap_or_default();
    let key = toleration["key"].as_str().unwrap_or_default();
    let exists = toleration["operator"] == "Exists";
    let value = toleration["value"].as_str().unwrap_or_default();
    (effect.is_empty() || effect == "NoExecute")
        && ((key.is_empty() && exists) || (key == UNREACHABLE && (exists || value.is_empty())))
}

/// A node that posts again: its conditions and the end of its taints.
fn returned(api: &dyn Api, node: &Arc<Value>) -> Result<(), Status> {
    if is_unknown(node) {
        let mut status = node["status"].clone();
        status["conditions"] = well(&object::now(api)).into();
        object::put_status(api, "kubelet", node, status)?;
        let message = format!("Node {} status is now: NodeReady", object::name(node));
        api.event("kubelet", node, "Normal", "NodeReady", &message);
    }
    if is_tainted(node) {
        let mut taints = object::items(&node["spec"], "taints").to_vec();
        taints.retain(|taint| taint["key"] != UNREACHABLE);
        set_taints(api, node, taints)?;
    }
    Ok(())
}
