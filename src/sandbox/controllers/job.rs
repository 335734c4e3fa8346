//! Job → pods that end, up to completions or the back-off limit.

use serde_json::{Value, json};

use super::kinds::JOBS;
use super::{MANAGER, object, pod_set};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};

const COMPONENT: &str = "job-controller";

/// The job controller.
pub(super) struct Jobs;

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        COMPONENT
    }

    fn keys(&self, _api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "jobs" => vec![object::key(&change.object)],
            "pods" => object::controller_key(&change.object, "Job").into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(job) = api.get(&JOBS, namespace, name) else { return Ok(Requeue::OnChange) };
        if object::is_deleting(&job) || is_finished(&job) {
            return expire(api, &job);
        }
        let pods = pod_set::owned_pods(api, &job);
        let count = |phase: &str| pods.iter().filter(|pod| pod["status"]["phase"] == phase).count();
        let (succeeded, failed) = (count("Succeeded"), count("Failed"));
        let active: Vec<_> = pods.iter().filter(|pod| pod_set::is_active(pod)).collect();
        let completions = number(&job, "completions", 1);
        let limit = number(&job, "backoffLimit", 6);
        let verdict = if succeeded >= completions {
            Some(object::Condition::new(
                "Complete",
                true,
                "CompletionsReached",
                "Reached expected number of succeeded pods",
            ))
        } else if failed > limit {
            Some(object::Condition::new(
                "Failed",
                true,
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
            ))
        } else {
            None
        };
        let mut running = active.len();
        if verdict.is_none() && job["spec"]["suspend"] != true {
            let missing = completions.saturating_sub(succeeded);
            let wanted = number(&job, "parallelism", 1).min(missing);
            while running < wanted {
                let pod = pod_set::pod_of(&job, &job["spec"]["template"], &[]);
                pod_set::create_pod(api, COMPONENT, &job, pod)?;
                running += 1;
            }
        }
        write_status(api, &job, &pods, (running, succeeded, failed), verdict)?;
        Ok(Requeue::OnChange)
    }
}

fn number(job: &Value, field: &str, default: usize) -> usize {
    job["spec"][field].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
}

fn is_finished(job: &Value) -> bool {
    object::is_true(job, "Complete") || object::is_true(job, "Failed")
}

/// `ttlSecondsAfterFinished`
fn expire(api: &dyn Api, job: &Value) -> Result<Requeue, Status> {
    let ttl = job["spec"]["ttlSecondsAfterFinished"].as_u64();
    let ended = ["Complete", "Failed"].iter().find_map(|kind| object::condition(job, kind));
    let (Some(ttl), Some(ended)) = (ttl, ended) else { return Ok(Requeue::OnChange) };
    let ttl = std::time::Duration::from_secs(ttl);
    let age = object::age(api, &ended["lastTransitionTime"]);
    if age < ttl {
        return Ok(Requeue::After(ttl - age));
    }
    let (namespace, name) = object::key(job);
    api.delete(&JOBS, &namespace, &name, "Foreground")?;
    Ok(Requeue::OnChange)
}

fn write_status(
    api: &dyn Api,
    job: &Value,
    pods: &[std::sync::Arc<Value>],
    (active, succeeded, failed): (usize, usize, usize),
    verdict: Option<object::Condition>,
) -> Result<(), Status> {
    let now = object::now(api);
    let mut status = json!({
        "startTime": job["status"].get("startTime").cloned().unwrap_or_else(|| json!(now)),
        "uncountedTerminatedPods": {},
        "terminating": pods.iter().filter(|pod| object::is_deleting(pod)).count(),
        "ready": pods.iter().filter(|p| pod_set::is_active(p) && pod_set::is_ready(p)).count(),
    });
    for (field, count) in [("active", active), ("succeeded", succeeded), ("failed", failed)] {
        if count > 0 {
            status[field] = json!(count);
        }
    }
    if let Some(verdict) = verdict {
        let complete = verdict.kind == "Complete";
        let mut conditions = Vec::new();
        let early = if complete { "SuccessCriteriaMet" } else { "FailureTarget" };
        for kind in [early, verdict.kind] {
            conditions.push(json!({
                "lastProbeTime": now,
                "lastTransitionTime": now,
                "message": verdict.message,
                "reason": verdict.reason,
                "status": "True",
                "type": kind,
            }));
        }
        status["conditions"] = Value::Array(conditions);
        status["ready"] = json!(0);
        if complete {
            status["completionTime"] = json!(now);
            api.event(COMPONENT, job, "Normal", "Completed", "Job completed");
        } else {
            api.event(COMPONENT, job, "Warning", &verdict.reason, &verdict.message);
        }
    }
    object::put_status(api, MANAGER, job, status)
}
