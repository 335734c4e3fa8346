//! Nodes without machines: a scheduler and a kubelet that bring pods to life as data.
//!
//! `images` says what an image would do when it runs (how long it starts, what it prints), `shell` runs commands,
//! `files` and `volumes` are what they find, `kubelet` walks each pod through its life with the statuses and events of the real one. Logs, exec and port-forward
//! are answered by `sandbox::data_plane`. `World` holds what a rehearsal may change: images that cannot be pulled, pods that crash.

pub mod files;
pub mod images;
pub mod scheduler;
pub mod shell;
pub mod volumes;

mod container;
mod kubelet;
mod output;
mod pod_status;
mod process;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde_json::{Value, json};

use self::files::{SharedTree, Tree};
pub use self::kubelet::{Kubelet, NAME as KUBELET};
use self::output::Outputs;
pub use self::output::{Attached, Log, LogLine};

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

#[derive(Debug, Default)]
struct State {
    /// By a part of the image's reference.
    images: BTreeMap<String, Fault>,
    /// By namespace and the beginning of the pod's name.
    pods: BTreeMap<(String, String), Fault>,
    /// Nodes whose kubelet answers no more.
    lost_nodes: Vec<String>,
    /// What containers wrote to, by pod uid and place.
    trees: BTreeMap<(String, String), SharedTree>,
}

/// Lets the kubelet look at a pod: namespace and name.
type Wake = Box<dyn Fn(&str, &str) + Send + Sync>;

/// What a rehearsal sets and a running cluster leaves behind outside of the API: faults, logs, files.
#[derive(Default)]
pub struct World {
    state: Mutex<State>,
    outputs: Outputs,
    wake: OnceLock<Wake>,
}

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
        self.outputs.lines(uid, container, time, lines);
    }

    /// The log of a container, of its present or its last life.
    pub fn log_of(&self, uid: &str, container: &str, previous: bool) -> Option<Vec<LogLine>> {
        self.outputs.log(uid, container, previous).map(|log| log.lines)
    }

    /// What containers print and are told.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// Says once how the kubelet is made to look at a pod.
    pub fn on_input(&self, wake: Wake) {
        // A second world has a kubelet of its own.
        let _ = self.wake.set(wake);
    }

    /// Something for a pod's processes has come.
    pub fn wake(&self, namespace: &str, pod: &str) {
        if let Some(wake) = self.wake.get() {
            wake(namespace, pod);
        }
    }

    /// The tree of a place in a pod, made when it is first asked for.
    pub(crate) fn tree(&self, uid: &str, place: &str, make: impl FnOnce() -> Tree) -> SharedTree {
        let key = (uid.to_owned(), place.to_owned());
        let mut state = self.state.lock();
        state.trees.entry(key).or_insert_with(|| Arc::new(Mutex::new(make()))).clone()
    }

    /// A container's life ended: its log becomes the previous one, what it wrote is gone.
    fn turn(&self, uid: &str, container: &str) {
        self.state.lock().trees.remove(&(uid.to_owned(), format!("container {container}")));
        self.outputs.turn(uid, container);
    }

    /// Forgets the logs and files of a pod that is gone.
    fn forget(&self, uid: &str) {
        self.state.lock().trees.retain(|(found, _), _| found != uid);
        self.outputs.forget(uid);
    }
}
