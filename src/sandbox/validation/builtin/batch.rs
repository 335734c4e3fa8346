//! Jobs and CronJobs.

use serde_json::{Value, json};

use crate::sandbox::validation::{metadata, selector};

use super::check::{Check, is_empty, join, list, same, text};
use super::pod;

pub(super) fn job(object: &Value, check: &mut Check) {
    job_spec(&object["spec"], "spec", check);
    selects_its_pods(&object["spec"], check);
}

fn job_spec(spec: &Value, path: &str, check: &mut Check) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        check.not_negative(spec, field, path);
    }
    check.one_of(spec, "completionMode", path, &["NonIndexed", "Indexed"]);
    let template = &spec["template"];
    let below = join(path, "template");
    metadata::labels(&template["metadata"]["labels"], &join(&below, "labels"), &mut check.causes);
    pod::spec(&template["spec"], &join(&below, "spec"), check);
    let policy = template["spec"]["restartPolicy"].as_str().unwrap_or("Always");
    if policy == "Always" {
        let path = join(&below, "spec.restartPolicy");
        check.required(&path, "valid values: \"OnFailure\", \"Never\"");
    }
    if !spec["selector"].is_null() {
        selector::validate(&spec["selector"], &join(path, "selector"), &mut check.causes);
    }
}

/// A Job that has begun is done as it was asked for.
pub(super) fn update_job(object: &Value, before: &Value, check: &mut Check) {
    let (new, old) = (&object["spec"], &before["spec"]);
    // Upstream looks at the numbers of a changed Job twice.
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        check.not_negative(new, field, "spec");
    }
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex"] {
        check.immutable(&new[field], &old[field], &format!("spec.{field}"));
    }
    if new["completionMode"] != "Indexed" {
        check.immutable(&new["completions"], &old["completions"], "spec.completions");
    }
    if !same(&new["selector"], &old["selector"]) {
        check.immutable(&new["selector"], &old["selector"], "spec.selector");
    }
    // Upstream looks at selector and template of a changed Job twice.
    selects_its_pods(new, check);
    generated_selector(object, check);
    template(object, before, check);
}

/// The selector that the server makes holds the Job's uid; one that was changed need not.
fn generated_selector(job: &Value, check: &mut Check) {
    let (spec, metadata) = (&job["spec"], &job["metadata"]);
    if spec["manualSelector"] == true || spec["selector"].is_null() {
        return;
    }
    let (uid, name) = (&metadata["uid"], &metadata["name"]);
    let expected = json!({
        "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name,
        "controller-uid": uid, "job-name": name,
    });
    if !selector::matches(&spec["selector"], &expected) {
        check.invalid("spec.selector", &spec["selector"], "`selector` not auto-generated");
    }
}

fn selects_its_pods(spec: &Value, check: &mut Check) {
    let labels = &spec["template"]["metadata"]["labels"];
    if !spec["selector"].is_null() && !selector::matches(&spec["selector"], labels) {
        let detail = "`selector` does not match template `labels`";
        check.invalid("spec.template.metadata.labels", labels, detail);
    }
}

/// The template stays as it is. Of a Job that is suspended and has no pods, those that come may be placed elsewhere and get
/// other resources.
fn template(job: &Value, old: &Value, check: &mut Check) {
    let (new, old_template) = (&job["spec"]["template"], &old["spec"]["template"]);
    let status = &old["status"];
    let is_suspended =
        |condition: &Value| condition["type"] == "Suspended" && condition["status"] == "True";
    let never_began =
        status["startTime"].is_null() || list(&status["conditions"]).iter().any(is_suspended);
    let no_pods = status["active"].as_i64().unwrap_or(0) == 0;
    if old["spec"]["suspend"] != true || !never_began || !no_pods {
        check.immutable(new, old_template, "spec.template");
        return;
    }
    let mut allowed = old_template["spec"].clone();
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        copy(&new["spec"], &mut allowed, field);
    }
    let mut affinity = allowed["affinity"].clone();
    if affinity.is_null() {
        affinity = json!({});
    }
    copy(&new["spec"]["affinity"], &mut affinity, "nodeAffinity");
    let given_up = new["spec"]["affinity"].is_null() && is_empty(&affinity);
    allowed["affinity"] = if given_up { Value::Null } else { affinity };
    if allowed["affinity"].is_null()
        && let Some(fields) = allowed.as_object_mut()
    {
        fields.remove("affinity");
    }
    for kind in ["containers", "initContainers"] {
        let given = list(&new["spec"][kind]);
        let kept = allowed.get_mut(kind).and_then(Value::as_array_mut);
        let Some(kept) = kept.filter(|kept| kept.len() == given.len()) else { continue };
        for (kept, given) in kept.iter_mut().zip(given) {
            if kept["name"] == given["name"] {
                copy(given, kept, "resources");
            }
        }
    }
    check.immutable(&new["spec"], &allowed, "spec.template.spec");
}

/// Gives an object the field of another, or takes it away.
fn copy(from: &Value, to: &mut Value, field: &str) {
    let Some(fields) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => drop(fields.insert(field.to_owned(), value.clone())),
        None => drop(fields.remove(field)),
    }
}

pub(super) fn cron_job(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    job_spec(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", check);
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"]
    {
        check.not_negative(spec, field, "spec");
    }
    check.one_of(spec, "concurrencyPolicy", "spec", &["Allow", "Forbid", "Replace"]);
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        check.required("spec.schedule", "");
    } else if let Some(why) = schedule_error(schedule) {
        check.invalid("spec.schedule", &schedule.into(), why);
    }
    if schedule.contains("TZ") && schedule.contains('=') {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        check.invalid("spec.schedule", &schedule.into(), detail);
    }
}

/// The name of a CronJob leaves room for the eleven characters that its Jobs have more.
pub(super) fn new_cron_job(object: &Value, check: &mut Check) {
    let name = &object["metadata"]["name"];
    if text(&object["metadata"], "name").len() > 52 {
        check.invalid("metadata.name", name, "must be no more than 52 characters");
    }
}

/// Why a schedule is none. Names of months and days, ranges, steps and lists are read as cron does.
fn schedule_error(schedule: &str) -> Option<String> {
    const BOUNDS: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
    const NAMED: [&str; 7] =
        ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    if schedule.starts_with('@') {
        let known = NAMED.contains(&schedule) || schedule.starts_with("@every ");
        return (!known).then(|| format!("unrecognized descriptor: {schedule}"));
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != BOUNDS.len() {
        let found = fields.len();
        return Some(format!("expected exactly 5 fields, found {found}: [{}]", fields.join(" ")));
    }
    fields
        .iter()
        .zip(BOUNDS)
        .find_map(|(field, bounds)| field.split(',').find_map(|part| range_error(part, bounds)))
}

fn range_error(part: &str, (min, max): (u32, u32)) -> Option<String> {
    let (range, step) =
        part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    let number = |text: &str| -> Result<u32, String> {
        if text.chars().all(|c| c.is_ascii_alphabetic()) && text.len() == 3 {
            return Ok(min);
        }
        text.parse().map_err(|_| {
            format!(
                "failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax"
            )
        })
    };
    if let Some(step) = step {
        match number(step) {
            Err(why) => return Some(why),
            Ok(0) => return Some(format!("step of range should be a positive number: {part}")),
            Ok(_) => {}
        }
    }
    if ["*", "?"].contains(&range) {
        return None;
    }
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let (low, high) = match (number(low), number(high)) {
        (Ok(low), Ok(high)) => (low, high),
        (Err(why), _) | (_, Err(why)) => return Some(why),
    };
    // Sunday is 0 alone.
    if low < min {
        Some(format!("beginning of range ({low}) below minimum ({min}): {part}"))
    } else if high > max {
        Some(format!("end of range ({high}) above maximum ({max}): {part}"))
    } else if low > high {
        Some(format!("beginning of range ({low}) beyond end of range ({high}): {part}"))
    } else {
        None
    }
}
