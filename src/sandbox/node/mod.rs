//! Nodes without machines: a scheduler and a kubelet that bring pods to life as data.
//!
//! `images` says what an image would do when it runs (how long it starts, what it prints),
//! `kubelet` walks each pod through its life with the statuses and events of the real one. Logs, exec and port-forward
//! are answered by `sandbox::data_plane`. `World` holds what a rehearsal may change: images that cannot be pulled, pods that crash.

pub mod images;
pub mod scheduler;
pub mod shell;

mod container;
mod kubelet;
mod pod_status;

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Value, json};

pub use kubelet::{Kubelet, NAME as KUBELET};

/// How an image or a pod misbehaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The image cannot be pulled; the text is the registry's answer.
    Unpullable(String),
    /// The container ends with this exit code soon after it started.
    Crash(i32),
    /// The container runs but its readiness probe fails.
    NeverReady,
}

impl Fault {
    fn to_json(&self) -> Value {
        match self {
            Self::Unpullable(message) if message.is_empty() => json!({"fault": "unpullable"}),
            Self::Unpullable(message) => json!({"fault": "unpullable", "message": message}),
            Self::Crash(code) => json!({"fault": "crash", "exit_code": code}),
            Self::NeverReady => json!({"fault": "unready"}),
        }
    }
}

/// One line of a container's log, with the cluster's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub time: String,
    pub text: String,
}

#[derive(Debug, Default)]
struct State {
    /// By a part of the image's reference.
    images: BTreeMap<String, Fault>,
    /// By namespace and the beginning of the pod's name.
    pods: BTreeMap<(String, String), Fault>,
    /// Nodes whose kubelet answers no more.
    lost_nodes: Vec<String>,
    /// By pod uid and container.
    logs: BTreeMap<(String, String), Vec<LogLine>>,
    /// The logs of the life before.
    previous: BTreeMap<(String, String), Vec<LogLine>>,
}

/// What a rehearsal sets and a running cluster leaves behind outside of the API: faults and logs.
#[derive(Debug, Default)]
pub struct World {
    state: Mutex<State>,
}

/// Lines kept per container; the oldest go first.
const MAX_LOG_LINES: usize = 2_000;

impl World {
    /// Sets how every image whose reference contains `part` behaves; `None` ends the fault.
    pub fn set_image(&self, part: &str, fault: Option<Fault>) {
        let mut state = self.state.lock();
        match fault {
            Some(fault) => drop(state.images.insert(part.to_owned(), fault)),
            None => drop(state.images.remove(part)),
        }
    }

    /// Sets how the pods of a namespace whose names begin with `prefix` behave; `None` ends the fault.
    pub fn set_pod(&self, namespace: &str, prefix: &str, fault: Option<Fault>) {
        let key = (namespace.to_owned(), prefix.to_owned());
        let mut state = self.state.lock();
        match fault {
            Some(fault) => drop(state.pods.insert(key, fault)),
            None => drop(state.pods.remove(&key)),
        }
    }

    /// Lets a node's kubelet vanish or come back.
    pub fn set_node_lost(&self, node: &str, lost: bool) {
        let mut state = self.state.lock();
        state.lost_nodes.retain(|found| found != node);
        if lost {
            state.lost_nodes.push(node.to_owned());
        }
    }

    /// The fault of a container, the pod's own first.
    pub fn fault(&self, namespace: &str, pod: &str, image: &str) -> Option<Fault> {
        let state = self.state.lock();
        let of_pod = state
            .pods
            .iter()
            .find(|((ns, prefix), _)| ns == namespace && pod.starts_with(prefix.as_str()));
        let of_image = || state.images.iter().find(|(part, _)| image.contains(part.as_str()));
        of_pod.map(|(_, fault)| fault).or_else(|| of_image().map(|(_, fault)| fault)).cloned()
    }

    /// Ends all faults, and returns the nodes that were lost.
    pub fn heal(&self) -> Vec<String> {
        let mut state = self.state.lock();
        state.images.clear();
        state.pods.clear();
        std::mem::take(&mut state.lost_nodes)
    }

    /// The faults that are set, one map each.
    pub fn faults(&self) -> Vec<Value> {
        let state = self.state.lock();
        let images = state.images.iter().map(|(part, fault)| {
            let mut shown = fault.to_json();
            shown["of"] = "image".into();
            shown["name"] = part.as_str().into();
            shown
        });
        let pods = state.pods.iter().map(|((namespace, prefix), fault)| {
            let mut shown = fault.to_json();
            shown["of"] = "pod".into();
            shown["namespace"] = namespace.as_str().into();
            shown["name"] = prefix.as_str().into();
            shown
        });
        let nodes = state
            .lost_nodes
            .iter()
            .map(|name| json!({"of": "node", "name": name, "fault": "lost"}));
        images.chain(pods).chain(nodes).collect()
    }

    /// Whether a node answers no more.
    pub fn is_lost(&self, node: &str) -> bool {
        self.state.lock().lost_nodes.iter().any(|found| found == node)
    }

    /// Writes lines to a container's log.
    pub fn log(&self, uid: &str, container: &str, time: &str, lines: &[String]) {
        let mut state = self.state.lock();
        let log = state.logs.entry((uid.to_owned(), container.to_owned())).or_default();
        log.extend(lines.iter().map(|text| LogLine { time: time.to_owned(), text: text.clone() }));
        let excess = log.len().saturating_sub(MAX_LOG_LINES);
        log.drain(..excess);
    }

    /// The log of a container, of its present or its last life.
    pub fn log_of(&self, uid: &str, container: &str, previous: bool) -> Option<Vec<LogLine>> {
        let state = self.state.lock();
        let logs = if previous { &state.previous } else { &state.logs };
        logs.get(&(uid.to_owned(), container.to_owned())).cloned()
    }

    /// A container's life ended: its log becomes the previous one.
    fn turn_log(&self, uid: &str, container: &str) {
        let key = (uid.to_owned(), container.to_owned());
        let mut state = self.state.lock();
        if let Some(log) = state.logs.remove(&key) {
            state.previous.insert(key, log);
        }
    }

    /// Forgets the logs of a pod that is gone.
    fn forget(&self, uid: &str) {
        let mut state = self.state.lock();
        state.logs.retain(|(found, _), _| found != uid);
        state.previous.retain(|(found, _), _| found != uid);
    }
}
