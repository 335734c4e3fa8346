//! The status that a kubelet writes for a pod.

use serde_json::{Value, json};

use super::container::Container;
use crate::sandbox::controllers::object;

/// What the conditions of a pod depend on.
pub(super) struct Progress<'a> {
    pub(super) sandbox_ready: bool,
    pub(super) inits: &'a [Container],
    pub(super) containers: &'a [Container],
    pub(super) ephemeral: &'a [Container],
    pub(super) pod_ip: Option<&'a str>,
    pub(super) host_ip: &'a str,
}

/// The whole status; what other components wrote into it stays.
pub(super) fn status(pod: &Value, progress: &Progress<'_>, now: &str) -> Value {
    let mut status = pod["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    let generation = object::generation(pod);
    let phase = phase(progress);
    let done = phase == "Succeeded";
    let unready: Vec<&str> = progress
        .containers
        .iter()
        .filter(|container| !container.ready)
        .map(|container| container.name.as_str())
        .collect();
    let initialised =
        progress.inits.iter().all(|init| init.exit_code() == Some(0) || init.is_running());
    let incomplete: Vec<&str> = progress
        .inits
        .iter()
        .filter(|init| init.exit_code() != Some(0) && !init.is_running())
        .map(|init| init.name.as_str())
        .collect();
    let mut conditions = object::items(&pod["status"], "conditions").to_vec();
    let mut put = |kind: &str, holds: bool, reason: &str, message: String| {
        put_condition(&mut conditions, kind, holds, (reason, message), generation, now);
    };
    put("PodReadyToStartContainers", progress.sandbox_ready && !done, "", String::new());
    if initialised {
        let reason = if done { "PodCompleted" } else { "" };
        put("Initialized", true, reason, String::new());
    } else {
        let text = format!("containers with incomplete status: [{}]", incomplete.join(" "));
        put("Initialized", false, "ContainersNotInitialized", text);
    }
    for kind in ["Ready", "ContainersReady"] {
        if unready.is_empty() {
            put(kind, true, "", String::new());
        } else if done {
            put(kind, false, "PodCompleted", String::new());
        } else {
            let text = format!("containers with unready status: [{}]", unready.join(" "));
            put(kind, false, "ContainersNotReady", text);
        }
    }
    status["conditions"] = Value::Array(conditions);
    status["containerStatuses"] = progress.containers.iter().map(Container::status).collect();
    if !progress.inits.is_empty() {
        status["initContainerStatuses"] = progress.inits.iter().map(Container::status).collect();
    }
    if !progress.ephemeral.is_empty() {
        let statuses = progress.ephemeral.iter().map(Container::ephemeral_status);
        status["ephemeralContainerStatuses"] = statuses.collect();
    }
    status["hostIP"] = json!(progress.host_ip);
    status["hostIPs"] = json!([{ "ip": progress.host_ip }]);
    status["observedGeneration"] = json!(generation);
    status["phase"] = json!(phase);
    if let Some(ip) = progress.pod_ip {
        status["podIP"] = json!(ip);
        status["podIPs"] = json!([{ "ip": ip }]);
    }
    if status["qosClass"].is_null() {
        status["qosClass"] = json!(qos_class(pod));
    }
    if status["startTime"].is_null() {
        status["startTime"] = json!(now);
    }
    status
}

fn phase(progress: &Progress<'_>) -> &'static str {
    let codes: Vec<_> = progress.containers.iter().map(Container::exit_code).collect();
    if progress.inits.iter().any(|init| init.exit_code().is_some_and(|code| code != 0)) {
        return "Failed";
    }
    if codes.iter().all(|code| *code == Some(0)) && !codes.is_empty() {
        return "Succeeded";
    }
    if !codes.is_empty() && codes.iter().all(Option::is_some) {
        return "Failed";
    }
    let seen = |container: &Container| {
        container.is_running()
            || container.exit_code().is_some()
            || !container.status()["containerID"].is_null()
    };
    if progress.containers.iter().all(seen) { "Running" } else { "Pending" }
}

fn put_condition(
    list: &mut Vec<Value>,
    kind: &str,
    holds: bool,
    (reason, message): (&str, String),
    generation: i64,
    now: &str,
) {
    let text = if holds { "True" } else { "False" };
    let at = list.iter().position(|found| found["type"] == kind);
    let since = at
        .filter(|at| list[*at]["status"] == text)
        .map_or_else(|| json!(now), |at| list[at]["lastTransitionTime"].clone());
    let mut entry = json!({
        "lastProbeTime": null,
        "lastTransitionTime": since,
        "observedGeneration": generation,
        "status": text,
        "type": kind,
    });
    if !reason.is_empty() {
        entry["reason"] = json!(reason);
    }
    if !message.is_empty() {
        entry["message"] = json!(message);
    }
    match at {
        Some(at) => list[at] = entry,
        // PodScheduled, which the scheduler wrote, stays the last one.
        None => {
            let before = list.iter().position(|found| found["type"] == "PodScheduled");
            list.insert(before.unwrap_or(list.len()), entry);
        }
    }
}

/// The quality of service that requests and limits make.
fn qos_class(pod: &Value) -> &'static str {
    let containers = object::items(&pod["spec"], "containers");
    let resources = |field: &str, name: &str| {
        containers.iter().filter(|container| !container["resources"][field][name].is_null()).count()
    };
    let guaranteed = ["cpu", "memory"].iter().all(|name| {
        containers.iter().all(|container| {
            let limit = &container["resources"]["limits"][*name];
            let request = &container["resources"]["requests"][*name];
            !limit.is_null() && (request.is_null() || request == limit)
        })
    });
    if guaranteed && !containers.is_empty() {
        return "Guaranteed";
    }
    let any = ["requests", "limits"]
        .iter()
        .any(|field| resources(field, "cpu") + resources(field, "memory") > 0);
    if any { "Burstable" } else { "BestEffort" }
}
