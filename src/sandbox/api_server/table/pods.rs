//! The row of a pod: its state is put together from phase, conditions and containers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::text::{NONE, age, items, or, text};

pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let state = State::of(pod);
    let restarts = match (&state.last_restart, state.restarts) {
        (Some(moment), 1..) => {
            format!("{} ({} ago)", state.restarts, age(&Value::from(moment.as_str()), now))
        }
        _ => state.restarts.to_string(),
    };
    let address = items(status, "podIPs").first().map_or("", |first| text(first, "ip"));
    let gates = items(spec, "readinessGates");
    let met = gates
        .iter()
        .filter(|gate| {
            condition(status, text(gate, "conditionType")).is_some_and(|found| found == "True")
        })
        .count();
    let gates = if gates.is_empty() { NONE.to_owned() } else { format!("{met}/{}", gates.len()) };
    vec![
        pod["metadata"]["name"].clone(),
        json!(format!("{}/{}", state.ready, state.total)),
        json!(state.reason),
        json!(restarts),
        json!(age(&pod["metadata"]["creationTimestamp"], now)),
        json!(or(address, NONE)),
        json!(or(text(spec, "nodeName"), NONE)),
        json!(or(text(status, "nominatedNodeName"), NONE)),
        json!(gates),
    ]
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a str> {
    items(status, "conditions")
        .iter()
        .find(|condition| condition["type"] == kind)
        .map(|condition| text(condition, "status"))
}

struct State {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<String>,
}

impl State {
    fn of(pod: &Value) -> Self {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let phase = or(text(status, "reason"), text(status, "phase")).to_owned();
        let mut state = Self {
            reason: phase,
            ready: 0,
            total: items(spec, "containers").len(),
            restarts: 0,
            last_restart: None,
        };
        let is_gated = items(status, "conditions").iter().any(|condition| {
            condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated"
        });
        if is_gated {
            state.reason = "SchedulingGated".to_owned();
        }
        let initializing = state.initialize(spec, status);
        if !initializing || condition(status, "Initialized") == Some("True") {
            state.run(status, !initializing);
        }
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            if status["reason"] == "NodeLost" {
                state.reason = "Unknown".to_owned();
            } else if !matches!(text(status, "phase"), "Succeeded" | "Failed") {
                state.reason = "Terminating".to_owned();
            }
        }
        state
    }

    /// Goes through the init containers up to the first that is not done; whether there is one.
    fn initialize(&mut self, spec: &Value, status: &Value) -> bool {
        let declared = items(spec, "initContainers");
        let stays = |name: &str| {
            declared.iter().any(|container| {
                container["name"] == name && container["restartPolicy"] == "Always"
            })
        };
        self.total += declared.iter().filter(|one| one["restartPolicy"] == "Always").count();
        for (index, container) in items(status, "initContainerStatuses").iter().enumerate() {
            self.count_restarts(container);
            let stays = stays(text(container, "name"));
            let terminated = &container["state"]["terminated"];
            if terminated.is_object() && terminated["exitCode"] == 0 {
                continue;
            }
            if stays && container["started"] == true {
                self.ready += usize::from(container["ready"] == true);
                continue;
            }
            let waiting = text(&container["state"]["waiting"], "reason");
            self.reason = if terminated.is_object() {
                format!("Init:{}", ended(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", declared.len())
            };
            return true;
        }
        false
    }

    fn run(&mut self, status: &Value, forget_init: bool) {
        if forget_init {
            // Restarts of init containers count only while they are at work.
            (self.restarts, self.last_restart) = (0, None);
        }
        let mut is_running = false;
        for container in items(status, "containerStatuses").iter().rev() {
            self.count_restarts(container);
            let state = &container["state"];
            let waiting = text(&state["waiting"], "reason");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if state["terminated"].is_object() {
                self.reason = ended(&state["terminated"]);
            } else if container["ready"] == true && state["running"].is_object() {
                is_running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && is_running {
            let is_ready = condition(status, "Ready") == Some("True");
            self.reason = if is_ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn count_restarts(&mut self, container: &Value) {
        self.restarts += container["restartCount"].as_i64().unwrap_or(0);
        let finished = text(&container["lastState"]["terminated"], "finishedAt");
        if self.last_restart.as_deref().is_none_or(|last| last < finished) && !finished.is_empty() {
            self.last_restart = Some(finished.to_owned());
        }
    }
}

/// Why a container ended: its reason, else its signal or exit code.
fn ended(terminated: &Value) -> String {
    let reason = text(terminated, "reason");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match terminated["signal"].as_i64().unwrap_or(0) {
        0 => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        signal => format!("Signal:{signal}"),
    }
}
