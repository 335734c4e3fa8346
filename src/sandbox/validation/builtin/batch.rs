//! Jobs and CronJobs.

use serde_json::Value;

use crate::sandbox::validation::{metadata, selector};

use super::check::{Check, join, same, text};
use super::pod;

pub(super) fn job(object: &Value, check: &mut Check) {
    job_spec(&object["spec"], "spec", check);
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
pub(super) fn update_job(object: &Value, old: &Value, check: &mut Check) {
    let (new, old) = (&object["spec"], &old["spec"]);
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
    if old["suspend"] != true {
        check.immutable(&new["template"], &old["template"], "spec.template");
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
