//! The scheduler and all kubelets as one controller: each pod is a small state machine on the cluster's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::container::{Container, Surroundings};
use super::pod_status::{self, Progress};
use super::{World, scheduler};
use crate::base::clock::Clock as _;
use crate::sandbox::api::{Api, Changed, Controller, EventType, Requeue, Status};
use crate::sandbox::controllers::kinds::{CLAIMS, CONFIG_MAPS, NODES, PODS, SECRETS};
use crate::sandbox::controllers::{object, volumes};
use crate::sandbox::mesh::presence;

/// Its name, to be woken by; also its field manager.
pub const NAME: &str = "kubelet";
const MANAGER: &str = NAME;

/// How far a pod came before its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Its volumes and its network are tried at `at`.
    Sandbox {
        at: Duration,
        tries: u32,
    },
    Containers,
    Ending {
        at: Duration,
    },
}

#[derive(Debug)]
struct Pod {
    uid: String,
    stage: Stage,
    ip: Option<String>,
    inits: Vec<Container>,
    containers: Vec<Container>,
    /// For somebody who looks into the pod; they come while it runs.
    ephemeral: Vec<Container>,
}

/// The kubelets of all nodes.
pub struct Kubelet {
    world: Arc<World>,
    pods: BTreeMap<(String, String), Pod>,
    /// Images by node.
    images: BTreeSet<(String, String)>,
    /// The last address given in each node's range.
    last_address: BTreeMap<String, u32>,
}

impl Kubelet {
    /// Kubelets that behave as `world` says.
    pub fn new(world: Arc<World>) -> Self {
        Self {
            world,
            pods: BTreeMap::new(),
            images: BTreeSet::new(),
            last_address: BTreeMap::new(),
        }
    }
}

impl Controller for Kubelet {
    fn name(&self) -> &'static str {
        MANAGER
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let unready = || {
            api.list(&PODS, "")
                .iter()
                .filter(|pod| !object::is_true(pod, "Ready"))
                .map(|pod| object::key(pod))
                .collect::<Vec<_>>()
        };
        match change.resource.plural.as_str() {
            "pods" => {
                let mut keys = vec![object::key(&change.object)];
                // What waits for istiod, or for room on a node, looks again.
                if object::label(&change.object, "app") == Some("istiod") {
                    keys.extend(unready());
                }
                if change.event == EventType::Deleted {
                    keys.extend(unready());
                }
                keys
            }
            "nodes" => unready(),
            "persistentvolumeclaims" => {
                let (namespace, name) = object::key(&change.object);
                let waits = |pod: &Value| {
                    pod["spec"]["nodeName"].is_null()
                        && volumes::claims_of(pod).any(|it| it == name)
                };
                let pods = api.list(&PODS, &namespace).into_iter().filter(|pod| waits(pod));
                pods.map(|pod| object::key(&pod)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(pod) = api.get(&PODS, namespace, name) else {
            if let Some(gone) = self.pods.remove(&key) {
                self.world.forget(&gone.uid);
            }
            return Ok(Requeue::OnChange);
        };
        let Some(node) = pod["spec"]["nodeName"].as_str() else {
            return schedule(api, &pod);
        };
        if self.world.is_lost(node) {
            return Ok(Requeue::OnChange);
        }
        let now = api.clock().monotonic();
        let known = self.pods.get(&key).is_some_and(|known| known.uid == object::uid(&pod));
        if !known {
            if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
                return end_at_once(api, &pod);
            }
            let state = Pod::adopted(&pod, now).unwrap_or_else(|| Pod::new(&pod, now));
            for container in state.containers.iter().filter(|container| container.is_running()) {
                self.images.insert((node.to_owned(), container.image().to_owned()));
            }
            self.pods.insert(key.clone(), state);
        }
        let Some(mut state) = self.pods.remove(&key) else { return Ok(Requeue::OnChange) };
        let outcome = self.drive(api, &pod, node, &mut state, now);
        self.world.outputs().touch();
        if !matches!(outcome, Ok(None)) {
            self.pods.insert(key, state);
        }
        Ok(match outcome? {
            Some(Some(due)) => {
                Requeue::After(due.saturating_sub(now).max(Duration::from_millis(1)))
            }
            _ => Requeue::OnChange,
        })
    }
}

impl Pod {
    fn new(pod: &Value, now: Duration) -> Self {
        let containers =
            |field: &str| object::items(&pod["spec"], field).iter().map(Container::new).collect();
        Self {
            uid: object::uid(pod).to_owned(),
            stage: Stage::Sandbox { at: now, tries: 0 },
            ip: None,
            inits: containers("initContainers"),
            containers: containers("containers"),
            ephemeral: Vec::new(),
        }
    }

    /// A pod whose status says that a kubelet has started it, as after a restart of that kubelet.
    fn adopted(pod: &Value, now: Duration) -> Option<Self> {
        let ip = pod["status"]["podIP"].as_str()?;
        let containers = |specs: &str, statuses: &str| -> Option<Vec<Container>> {
            let statuses = object::items(&pod["status"], statuses);
            let found = object::items(&pod["spec"], specs).iter().map(|spec| {
                let status = statuses.iter().find(|status| status["name"] == spec["name"])?;
                Some(Container::adopted(spec, status, now))
            });
            found.collect()
        };
        Some(Self {
            uid: object::uid(pod).to_owned(),
            stage: Stage::Containers,
            ip: Some(ip.to_owned()),
            inits: containers("initContainers", "initContainerStatuses")?,
            containers: containers("containers", "containerStatuses")?,
            ephemeral: containers("ephemeralContainers", "ephemeralContainerStatuses")
                .unwrap_or_default(),
        })
    }

    fn due(&self) -> Option<Duration> {
        match self.stage {
            Stage::Sandbox { at, .. } | Stage::Ending { at } => Some(at),
            Stage::Containers => {
                let all = self.inits.iter().chain(&self.containers).chain(&self.ephemeral);
                all.filter_map(Container::due).min()
            }
        }
    }
}

fn schedule(api: &dyn Api, pod: &Value) -> Result<Requeue, Status> {
    if object::is_deleting(pod) {
        let (namespace, name) = object::key(pod);
        return api.delete_now(&PODS, &namespace, &name).map(|()| Requeue::OnChange);
    }
    if !object::items(&pod["spec"], "schedulingGates").is_empty() {
        return Ok(Requeue::OnChange);
    }
    let (namespace, name) = object::key(pod);
    match scheduler::choose(api, pod) {
        Ok(node) => {
            let delayed = scheduler::delayed_claims(api, pod);
            if !delayed.is_empty() {
                // The pod is bound once its claims are, each of which brings it here again.
                return select_node(api, &delayed, &node);
            }
            let bound = api.bind(&namespace, &name, &node)?;
            let message = format!("Successfully assigned {namespace}/{name} to {node}");
            api.event("default-scheduler", pod, "Normal", "Scheduled", &message);
            if object::condition(&bound, "PodScheduled").is_none() {
                write_scheduled(api, &bound, None)?;
            }
        }
        Err(why) => {
            let old = object::condition(pod, "PodScheduled");
            if old.is_none_or(|old| old["message"] != why.as_str()) {
                api.event("default-scheduler", pod, "Warning", "FailedScheduling", &why);
                write_scheduled(api, pod, Some(&why))?;
            }
        }
    }
    Ok(Requeue::OnChange)
}

/// Tells the binder that the first consumer of these claims has a node.
fn select_node(api: &dyn Api, claims: &[Arc<Value>], node: &str) -> Result<Requeue, Status> {
    for claim in claims {
        if object::annotation(claim, volumes::SELECTED_NODE) == Some(node) {
            continue;
        }
        let (namespace, name) = object::key(claim);
        let patch = json!({"metadata": {"annotations": {volumes::SELECTED_NODE: node}}});
        api.merge_patch("kube-scheduler", &CLAIMS, &namespace, &name, "", patch)?;
    }
    Ok(Requeue::OnChange)
}

fn write_scheduled(api: &dyn Api, pod: &Value, why_not: Option<&str>) -> Result<(), Status> {
    let mut condition = json!({
        "lastProbeTime": null,
        "lastTransitionTime": object::now(api),
        "observedGeneration": object::generation(pod),
        "status": if why_not.is_some() { "False" } else { "True" },
        "type": "PodScheduled",
    });
    if let Some(why) = why_not {
        condition["reason"] = json!("Unschedulable");
        condition["message"] = json!(why);
    }
    let mut status = pod["status"].clone();
    status["conditions"] = json!([condition]);
    if status["phase"].is_null() {
        status["phase"] = json!("Pending");
    }
    object::put_status(api, "kube-scheduler", pod, status)
}

fn end_at_once(api: &dyn Api, pod: &Value) -> Result<Requeue, Status> {
    if object::is_deleting(pod) {
        let (namespace, name) = object::key(pod);
        api.delete_now(&PODS, &namespace, &name)?;
    }
    Ok(Requeue::OnChange)
}

impl Kubelet {
    /// Brings a pod to `now`. `None`: the pod is gone. `Some(due)`: when it is due again.
    fn drive(
        &mut self,
        api: &dyn Api,
        pod: &Arc<Value>,
        node: &str,
        state: &mut Pod,
        now: Duration,
    ) -> Result<Option<Option<Duration>>, Status> {
        if object::is_deleting(pod) {
            return self.end(api, pod, state, now);
        }
        if let Stage::Sandbox { at, tries } = state.stage
            && at <= now
        {
            match self.obstacle(api, pod, node) {
                Some((reason, message)) => {
                    if tries < 6 {
                        api.event("kubelet", pod, "Warning", reason, &message);
                    }
                    let wait = Duration::from_secs(1 << tries.min(4));
                    state.stage = Stage::Sandbox { at: now + wait, tries: tries + 1 };
                }
                None => {
                    state.ip = Some(self.address(api, pod, node));
                    state.stage = Stage::Containers;
                }
            }
        }
        if state.stage == Stage::Containers {
            self.step_containers(api, pod, node, state, now);
        }
        self.write(api, pod, node, state)?;
        Ok(Some(state.due()))
    }

    fn step_containers(
        &mut self,
        api: &dyn Api,
        pod: &Value,
        node: &str,
        state: &mut Pod,
        now: Duration,
    ) {
        let restart = pod["spec"]["restartPolicy"].as_str().unwrap_or("Always");
        let istiod = presence::istiod(api).is_some();
        let mut pod_now = pod.clone();
        pod_now["status"]["podIP"] = json!(state.ip);
        let mut step = |container: &mut Container, spec: &Value, restart: &str| {
            let image_there =
                self.images.contains(&(node.to_owned(), container.image().to_owned()));
            if istiod || !container.program().needs_istiod() {
                container.wake(now);
            }
            container.step(&Surroundings {
                api,
                world: &self.world,
                pod: &pod_now,
                spec,
                now,
                istiod,
                restart,
                image_there,
            });
            if container.is_running() {
                self.images.insert((node.to_owned(), container.image().to_owned()));
            }
        };
        let ephemeral = object::items(&pod["spec"], "ephemeralContainers");
        state.ephemeral.extend(ephemeral.iter().skip(state.ephemeral.len()).map(Container::new));
        for (container, spec) in state.ephemeral.iter_mut().zip(ephemeral) {
            step(container, spec, "Never");
        }
        let inits = object::items(&pod["spec"], "initContainers");
        for (container, spec) in state.inits.iter_mut().zip(inits) {
            let sidecar = spec["restartPolicy"] == "Always";
            let policy = match restart {
                _ if sidecar => "Always",
                "Never" => "Never",
                _ => "OnFailure",
            };
            step(container, spec, policy);
            let passed = container.exit_code() == Some(0) || (sidecar && container.is_running());
            if !passed {
                return;
            }
        }
        let specs = object::items(&pod["spec"], "containers");
        for (container, spec) in state.containers.iter_mut().zip(specs) {
            step(container, spec, restart);
        }
    }

    fn write(&self, api: &dyn Api, pod: &Value, node: &str, state: &Pod) -> Result<(), Status> {
        let host = host_ip(api, node);
        let progress = Progress {
            sandbox_ready: state.stage == Stage::Containers,
            inits: &state.inits,
            containers: &state.containers,
            ephemeral: &state.ephemeral,
            pod_ip: state.ip.as_deref(),
            host_ip: &host,
        };
        let status = pod_status::status(pod, &progress, &object::now(api));
        match object::put_status(api, MANAGER, pod, status) {
            // Somebody changed the pod meanwhile: that change leads here again.
            Err(status) if status.reason == "Conflict" || status.code == 404 => Ok(()),
            other => other,
        }
    }

    /// What keeps the sandbox of a pod from being made: a volume's source, or its network.
    fn obstacle(&self, api: &dyn Api, pod: &Value, node: &str) -> Option<(&'static str, String)> {
        let namespace = object::namespace(pod);
        for volume in object::items(&pod["spec"], "volumes") {
            let name = object_name(volume);
            let sources =
                std::iter::once(volume).chain(object::items(&volume["projected"], "sources"));
            for source in sources {
                let kinds = [
                    ("configMap", "name", "configmap", &*CONFIG_MAPS),
                    ("secret", "secretName", "secret", &*SECRETS),
                ];
                for (field, name_field, word, resource) in kinds {
                    let reference = &source[field];
                    let wanted =
                        reference[name_field].as_str().or_else(|| reference["name"].as_str());
                    let Some(wanted) = wanted else { continue };
                    let there = api.get(resource, namespace, wanted).is_some();
                    if !there && reference["optional"] != true {
                        let message = format!(
                            "MountVolume.SetUp failed for volume \"{name}\" : {word} \"{wanted}\" not found"
                        );
                        return Some(("FailedMount", message));
                    }
                }
            }
        }
        presence::sandbox_obstacle(api, pod, node).map(|why| {
            let id = object::uid(pod).replace('-', "");
            let message = format!(
                "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \
                 \"{id}{id}\": plugin type=\"istio-cni\" name=\"istio-cni\" failed (add): {why}"
            );
            ("FailedCreatePodSandBox", message)
        })
    }

    fn address(&mut self, api: &dyn Api, pod: &Value, node: &str) -> String {
        if pod["spec"]["hostNetwork"] == true {
            return host_ip(api, node);
        }
        if let Some(ip) = pod["status"]["podIP"].as_str() {
            return ip.to_owned();
        }
        let range = api
            .get(&NODES, "", node)
            .and_then(|node| node["spec"]["podCIDR"].as_str().map(str::to_owned))
            .unwrap_or_else(|| "10.244.0.0/24".to_owned());
        let base = range.split('/').next().unwrap_or("10.244.0.0");
        let prefix = base.rsplit_once('.').map_or("10.244.0", |(prefix, _)| prefix);
        let used: BTreeSet<String> = api
            .list(&PODS, "")
            .iter()
            .filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned))
            .collect();
        let last = self.last_address.entry(node.to_owned()).or_insert(1);
        loop {
            *last += 1;
            // A /24 holds 110 pods; past its end the next block is used, as a larger cluster would have.
            let address = match prefix.rsplit_once('.') {
                Some((rest, third)) if *last > 254 => {
                    let third: u32 = third.parse().unwrap_or(0);
                    format!("{rest}.{}.{}", (third + 8 * (*last / 255)) % 256, *last % 255 + 1)
                }
                _ => format!("{prefix}.{last}"),
            };
            if !used.contains(&address) {
                return address;
            }
        }
    }

    fn end(
        &mut self,
        api: &dyn Api,
        pod: &Value,
        state: &mut Pod,
        now: Duration,
    ) -> Result<Option<Option<Duration>>, Status> {
        if let Stage::Ending { at } = state.stage {
            if at > now {
                return Ok(Some(Some(at)));
            }
            self.world.forget(&state.uid);
            let (namespace, name) = object::key(pod);
            return match api.delete_now(&PODS, &namespace, &name) {
                Err(status) if status.code != 404 => Err(status),
                _ => Ok(None),
            };
        }
        let running: Vec<_> = state.containers.iter().filter(|found| found.is_running()).collect();
        let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(30);
        let mut span = Duration::ZERO;
        for container in running {
            let message = format!("Stopping container {}", container.name);
            api.event("kubelet", pod, "Normal", "Killing", &message);
            span = span.max(container.program().shutdown());
        }
        state.stage = Stage::Ending { at: now + span.min(Duration::from_secs(grace)) };
        self.end(api, pod, state, now)
    }
}

fn object_name(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

fn host_ip(api: &dyn Api, node: &str) -> String {
    let Some(node) = api.get(&NODES, "", node) else { return String::new() };
    object::items(&node["status"], "addresses")
        .iter()
        .find(|address| address["type"] == "InternalIP")
        .and_then(|address| address["address"].as_str())
        .unwrap_or_default()
        .to_owned()
}
