//! CronJob → a Job for each moment of its schedule, as the CronJob controller of Kubernetes 1.36 makes them.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::{Value, json};

use super::cron_schedule::Schedule;
use super::kinds::{CRON_JOBS, JOBS};
use super::{MANAGER, object};
use crate::base::clock::Clock as _;
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};

const COMPONENT: &str = "cronjob-controller";
/// After as many missed moments the real controller says that the clock may be wrong.
const TOO_MANY: usize = 100;

/// The CronJob controller.
pub(super) struct CronJobs;

impl Controller for CronJobs {
    fn name(&self) -> &'static str {
        COMPONENT
    }

    fn keys(&self, _: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "cronjobs" => vec![object::key(&change.object)],
            "jobs" => object::controller_key(&change.object, "CronJob").into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(cron) = api.get(&CRON_JOBS, namespace, name) else { return Ok(Requeue::OnChange) };
        let jobs: Vec<Arc<Value>> = api
            .list(&JOBS, namespace)
            .into_iter()
            .filter(|job| object::is_controlled_by(job, &cron))
            .collect();
        clean_up(api, &cron, &jobs)?;
        let mut status = followed(api, &cron, &jobs);
        let requeue = if object::is_deleting(&cron) || cron["spec"]["suspend"] == true {
            Requeue::OnChange
        } else {
            start(api, &cron, &jobs, &mut status)?
        };
        object::put_status(api, MANAGER, &cron, status)?;
        Ok(requeue)
    }
}

/// `Complete` or `Failed`, of a Job that is one of both.
fn outcome(job: &Value) -> Option<&'static str> {
    ["Complete", "Failed"].into_iter().find(|kind| object::is_true(job, kind))
}

/// Deletes the oldest finished Jobs beyond what the limits keep.
fn clean_up(api: &dyn Api, cron: &Value, jobs: &[Arc<Value>]) -> Result<(), Status> {
    for (kind, field, default) in
        [("Complete", "successfulJobsHistoryLimit", 3), ("Failed", "failedJobsHistoryLimit", 1)]
    {
        let limit = cron["spec"][field].as_u64().unwrap_or(default);
        let keep = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut finished: Vec<&Arc<Value>> = jobs
            .iter()
            .filter(|job| outcome(job) == Some(kind) && !object::is_deleting(job))
            .collect();
        finished.sort_by_key(|job| (job["status"]["startTime"].as_str(), object::name(job)));
        let excess = finished.len().saturating_sub(keep);
        for job in &finished[..excess] {
            delete(api, cron, job)?;
        }
    }
    Ok(())
}

fn delete(api: &dyn Api, cron: &Value, job: &Value) -> Result<(), Status> {
    let (namespace, name) = object::key(job);
    match api.delete(&JOBS, &namespace, &name, "Background") {
        Err(status) if status.code != 404 => return Err(status),
        _ => {}
    }
    let message = format!("Deleted job {name}");
    api.event(COMPONENT, cron, "Normal", "SuccessfulDelete", &message);
    Ok(())
}

/// The status without the Jobs that have ended since it was written.
fn followed(api: &dyn Api, cron: &Value, jobs: &[Arc<Value>]) -> Value {
    let mut status = cron["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    let mut active = object::items(&status, "active").to_vec();
    active.retain(|reference| {
        let Some(job) = jobs.iter().find(|job| job["metadata"]["uid"] == reference["uid"]) else {
            let name = reference["name"].as_str().unwrap_or_default();
            let message = format!("Active job went missing: {name}");
            api.event(COMPONENT, cron, "Normal", "MissingJob", &message);
            return false;
        };
        let Some(outcome) = outcome(job) else { return true };
        let message = format!("Saw completed job: {}, condition: {outcome}", object::name(job));
        api.event(COMPONENT, cron, "Normal", "SawCompletedJob", &message);
        let ended = &job["status"]["completionTime"];
        if outcome == "Complete" && ended.as_str() > status["lastSuccessfulTime"].as_str() {
            status["lastSuccessfulTime"] = ended.clone();
        }
        false
    });
    set_active(&mut status, active);
    status
}

fn set_active(status: &mut Value, active: Vec<Value>) {
    if active.is_empty() {
        if let Some(fields) = status.as_object_mut() {
            fields.remove("active");
        }
    } else {
        status["active"] = active.into();
    }
}

/// The moments that have passed since `from`, the last of them, and the next one.
fn moments(schedule: &Schedule, from: Zoned, now: &Zoned) -> (usize, Option<Zoned>, Option<Zoned>) {
    let (mut count, mut last) = (0, None);
    // A jump of the clock may pass over millions of moments of seconds: only the last of them is looked at.
    let from = match schedule.passed_over(&from, now) {
        Some((passed, at)) => {
            count = passed;
            at
        }
        None => from,
    };
    let mut next = schedule.after(&from);
    while let Some(due) = next.clone().filter(|due| due <= now) {
        count += 1;
        next = schedule.after(&due);
        last = Some(due);
    }
    (count, last, next)
}

/// Makes the Job that is due, if one is, and says when to look again.
fn start(
    api: &dyn Api,
    cron: &Arc<Value>,
    jobs: &[Arc<Value>],
    status: &mut Value,
) -> Result<Requeue, Status> {
    let spec = &cron["spec"];
    let warn = |reason: &str, message: &str| api.event(COMPONENT, cron, "Warning", reason, message);
    let zone = match spec["timeZone"].as_str() {
        None => TimeZone::UTC,
        Some(name) => match TimeZone::get(name) {
            Ok(zone) => zone,
            Err(_) => {
                warn("UnknownTimeZone", &format!("invalid timeZone: {name:?}"));
                return Ok(Requeue::OnChange);
            }
        },
    };
    let schedule = Schedule::parse(spec["schedule"].as_str().unwrap_or_default());
    let Some(schedule) = schedule else { return Ok(Requeue::OnChange) };
    let time = api.clock().now();
    let now = time.to_zoned(zone.clone());
    let since = [&status["lastScheduleTime"], &cron["metadata"]["creationTimestamp"]]
        .into_iter()
        .find_map(object::time_of)
        .unwrap_or(time);
    let deadline = spec["startingDeadlineSeconds"].as_i64();
    let since = match deadline.and_then(|s| Timestamp::from_second(time.as_second() - s).ok()) {
        Some(earliest) => since.max(earliest),
        None => since,
    };
    let (missed, due, next) = moments(&schedule, since.to_zoned(zone), &now);
    let again = match next {
        Some(next) => {
            let span = Duration::try_from(next.timestamp().duration_since(time));
            Requeue::After(span.unwrap_or_default().max(Duration::from_millis(1)))
        }
        None => Requeue::OnChange,
    };
    let Some(due) = due else { return Ok(again) };
    if missed > TOO_MANY {
        let text = format!(
            "too many missed start times: {missed}. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        );
        warn("TooManyMissedTimes", &text);
    }
    let name = format!("{}-{}", object::name(cron), due.timestamp().as_second() / 60);
    let mut active = object::items(status, "active").to_vec();
    if active.iter().any(|reference| reference["name"] == name.as_str()) {
        return Ok(again);
    }
    match spec["concurrencyPolicy"].as_str() {
        Some("Forbid") if !active.is_empty() => {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            api.event(COMPONENT, cron, "Normal", "JobAlreadyActive", text);
            return Ok(again);
        }
        Some("Replace") => {
            for reference in active.drain(..) {
                if let Some(job) =
                    jobs.iter().find(|job| job["metadata"]["uid"] == reference["uid"])
                {
                    delete(api, cron, job)?;
                }
            }
        }
        _ => {}
    }
    match api.create(MANAGER, job(cron, &name, &due)) {
        Ok(job) => {
            api.event(
                COMPONENT,
                cron,
                "Normal",
                "SuccessfulCreate",
                &format!("Created job {name}"),
            );
            active.push(json!({
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": name,
                "namespace": object::namespace(&job),
                "resourceVersion": job["metadata"]["resourceVersion"],
                "uid": job["metadata"]["uid"],
            }));
        }
        // A Job of that name was made before its place in the status was written.
        Err(refused) if refused.reason == "AlreadyExists" => {}
        Err(refused) => {
            let text = format!("Error creating job: {}", refused.message);
            warn("FailedCreate", &text);
            return Err(refused);
        }
    }
    set_active(status, active);
    status["lastScheduleTime"] = json!(object::time_text(due.timestamp()));
    Ok(again)
}

/// The Job of a moment.
fn job(cron: &Value, name: &str, due: &Zoned) -> Value {
    let template = &cron["spec"]["jobTemplate"];
    let mut annotations = template["metadata"]["annotations"].clone();
    annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] =
        json!(due.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().replace("+00:00", "Z"));
    let mut metadata = json!({
        "name": name,
        "namespace": object::namespace(cron),
        "annotations": annotations,
        "ownerReferences": [object::controller_reference(cron)],
    });
    if template["metadata"]["labels"].is_object() {
        metadata["labels"] = template["metadata"]["labels"].clone();
    }
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"],
    })
}
