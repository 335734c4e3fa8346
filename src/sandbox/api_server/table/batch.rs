//! The rows of jobs, cron jobs and autoscalers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::text::{NONE, age, containers, duration, items, or, plain, selector, text};

pub(super) fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let has = |kind: &str| {
        items(status, "conditions")
            .iter()
            .any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    let state = if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if !object["metadata"]["deletionTimestamp"].is_null() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let succeeded = status["succeeded"].as_i64().unwrap_or(0);
    let completions = match (spec["completions"].as_i64(), spec["parallelism"].as_i64()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, Some(side_by_side @ 2..)) => format!("{succeeded}/1 of {side_by_side}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let moment = |field: &str| text(status, field).parse::<Timestamp>().ok();
    let took = match (moment("startTime"), moment("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => duration(end.unwrap_or(now).as_second() - start.as_second()),
    };
    let (names, images) = containers(&spec["template"]["spec"]);
    vec![
        object["metadata"]["name"].clone(),
        json!(state),
        json!(completions),
        json!(took),
        json!(age(&object["metadata"]["creationTimestamp"], now)),
        json!(names),
        json!(images),
        json!(selector(&spec["selector"])),
    ]
}

pub(super) fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let suspend = match spec["suspend"].as_bool() {
        None => "<unset>",
        Some(true) => "True",
        Some(false) => "False",
    };
    let last = &status["lastScheduleTime"];
    let template = &spec["jobTemplate"]["spec"];
    let (names, images) = containers(&template["template"]["spec"]);
    vec![
        object["metadata"]["name"].clone(),
        spec["schedule"].clone(),
        json!(or(text(spec, "timeZone"), NONE)),
        json!(suspend),
        json!(items(status, "active").len()),
        json!(if last.is_null() { NONE.to_owned() } else { age(last, now) }),
        json!(age(&object["metadata"]["creationTimestamp"], now)),
        json!(names),
        json!(images),
        json!(selector(&template["selector"])),
    ]
}

pub(super) fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let reference = &spec["scaleTargetRef"];
    let minimum = spec["minReplicas"].as_i64();
    vec![
        object["metadata"]["name"].clone(),
        json!(format!("{}/{}", text(reference, "kind"), text(reference, "name"))),
        json!(targets(object)),
        json!(minimum.map_or_else(|| "<unset>".to_owned(), |number| number.to_string())),
        spec["maxReplicas"].clone(),
        json!(status["currentReplicas"].as_i64().unwrap_or(0)),
        json!(age(&object["metadata"]["creationTimestamp"], now)),
    ]
}

/// What an autoscaler measures and what it aims at: `cpu: 5%/80%`, two of them at most.
fn targets(object: &Value) -> String {
    const SHOWN: usize = 2;
    let (spec, status) = (&object["spec"], &object["status"]);
    let specs = items(spec, "metrics");
    if specs.is_empty() {
        let Some(wanted) = spec["targetCPUUtilizationPercentage"].as_i64() else {
            return NONE.to_owned();
        };
        let now = status["currentCPUUtilizationPercentage"].as_i64();
        let now = now.map_or_else(|| "<unknown>".to_owned(), |percent| format!("{percent}%"));
        return format!("cpu: {now}/{wanted}%");
    }
    let current = items(status, "currentMetrics");
    let mut list: Vec<String> = Vec::new();
    for (index, metric) in specs.iter().enumerate() {
        let (field, prefix) = match text(metric, "type") {
            "Resource" => ("resource", true),
            "ContainerResource" => ("containerResource", true),
            "Pods" => ("pods", false),
            "Object" => ("object", false),
            _ => ("external", false),
        };
        let target = &metric[field]["target"];
        let seen = current.get(index).map_or(&Value::Null, |found| &found[field]["current"]);
        let (seen, wanted) = match target["averageUtilization"].as_i64() {
            Some(wanted) => (
                seen["averageUtilization"].as_i64().map(|percent| format!("{percent}%")),
                format!("{wanted}%"),
            ),
            None => {
                let of = |value: &Value| {
                    let average = plain(&value["averageValue"]);
                    if average.is_empty() { plain(&value["value"]) } else { average }
                };
                (Some(of(seen)).filter(|text| !text.is_empty()), of(target))
            }
        };
        let seen = seen.unwrap_or_else(|| "<unknown>".to_owned());
        let name = text(&metric[field], "name");
        list.push(if prefix {
            format!("{name}: {seen}/{wanted}")
        } else {
            format!("{seen}/{wanted}")
        });
    }
    let more = list.len().saturating_sub(SHOWN);
    let shown = list[..list.len().min(SHOWN)].join(", ");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}
