//! Events: what components said about objects.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::error::Error;
use super::read::{ListOptions, Scope, list};

/// Whose events.
#[derive(Clone, Debug, Default)]
pub struct EventOptions {
    pub scope: Scope,
    /// The kind of the object, by any name; empty for all.
    pub kind: String,
    /// The name of the object; empty for all.
    pub name: String,
    /// Warnings only.
    pub warnings: bool,
}

/// Events, oldest first: time, type, reason, object, message, count and source of each.
///
/// # Errors
/// `UnknownKind`, and those of a request.
pub async fn events(cluster: &Cluster, options: &EventOptions) -> Result<Vec<Value>, Error> {
    let mut fields = Vec::new();
    if !options.kind.is_empty() {
        fields.push(format!("involvedObject.kind={}", cluster.resolve(&options.kind).await?.kind));
    }
    if !options.name.is_empty() {
        fields.push(format!("involvedObject.name={}", options.name));
    }
    if options.warnings {
        fields.push("type=Warning".to_owned());
    }
    let selected = ListOptions {
        scope: options.scope.clone(),
        labels: String::new(),
        fields: fields.join(","),
    };
    let mut events: Vec<Value> =
        list(cluster, "v1/Event", &selected).await?.iter().map(summary).collect();
    events.sort_by(|a, b| a["time"].as_str().cmp(&b["time"].as_str()));
    Ok(events)
}

fn summary(event: &Value) -> Value {
    let about = &event["involvedObject"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let component = match event["reportingComponent"].as_str() {
        Some("") | None => text(&event["source"]["component"]),
        Some(component) => component.to_owned(),
    };
    let count = event["series"]["count"].as_i64().or(event["count"].as_i64()).unwrap_or(1);
    json!({
        "time": time(event),
        "type": text(&event["type"]),
        "reason": text(&event["reason"]),
        "kind": text(&about["kind"]),
        "name": text(&about["name"]),
        "namespace": text(&event["metadata"]["namespace"]),
        "message": text(&event["message"]).trim(),
        "count": count,
        "component": component,
    })
}

/// When an event happened last, in RFC 3339, which sorts by time.
pub(super) fn time(event: &Value) -> String {
    let series = &event["series"]["lastObservedTime"];
    let created = &event["metadata"]["creationTimestamp"];
    [series, &event["lastTimestamp"], &event["eventTime"], created]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
