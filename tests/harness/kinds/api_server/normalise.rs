//! What differs from run to run becomes its name.

use std::sync::LazyLock;

use base64::Engine as _;
use regex::Regex;
use serde_json::Value;

/// Replaces moments, versions, uids, addresses and the like, in place.
pub(super) fn normalise(value: &mut Value, field: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(causes)) = fields.get_mut("causes") {
                // The order of causes is not stable in the API server either.
                causes.sort_by_key(ToString::to_string);
            }
            without_other_groups(fields);
            if fields
                .get("groupVersion")
                .and_then(Value::as_str)
                .is_some_and(|of| of.contains(".example.com"))
            {
                // The hash of a group whose name is another one in each run.
                for resource in
                    fields.get_mut("resources").and_then(Value::as_array_mut).into_iter().flatten()
                {
                    if !resource["storageVersionHash"].is_null() {
                        resource["storageVersionHash"] = "HASH".into();
                    }
                }
            }
            if fields.get("kind").and_then(Value::as_str) == Some("Status") {
                fields.remove("metadata");
            }
            if let Some(prefix) =
                fields.get("generateName").and_then(Value::as_str).map(str::to_owned)
                && let Some(Value::String(name)) = fields.get_mut("name")
                && name.starts_with(&prefix)
            {
                *name = format!("{prefix}SUFFIX");
            }
            if field == "managedFields" {
                fields.remove("time");
            }
            // Each server has its own administrator.
            if let Some(Value::Object(extra)) = fields.get_mut("extra") {
                extra.remove("authentication.kubernetes.io/credential-id");
            }
            for (name, child) in fields.iter_mut() {
                normalise(
                    child,
                    if field == "managedFields" && name == "manager" { "" } else { name },
                );
            }
            if let Some(Value::Object(details)) = fields.get("details")
                && let Some(Value::Array(causes)) = details.get("causes")
                && causes.len() > 1
            {
                fields.remove("message");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| normalise(item, field)),
        Value::String(found) => {
            if found.is_empty() {
                return;
            }
            *found = match field {
                "uid"
                | "resourceVersion"
                | "creationTimestamp"
                | "time"
                | "lastTransitionTime"
                | "deletionTimestamp"
                | "continue"
                | "token"
                | "expirationTimestamp"
                | "serverAddress"
                | "firstTimestamp"
                | "lastTimestamp"
                | "lastUpdateTime"
                | "lastProbeTime"
                | "lastPhaseTransitionTime" => field.to_uppercase(),
                "certificate" => certificate(found).unwrap_or_else(|| text(found)),
                "cells" if found.parse::<jiff::Timestamp>().is_ok() => "TIME".to_owned(),
                "cells" if AGE.is_match(found) => "AGE".to_owned(),
                _ => text(found),
            };
        }
        Value::Number(_) if matches!(field, "nodePort" | "healthCheckNodePort") => {
            *value = field.to_uppercase().into();
        }
        _ => {}
    }
}

/// What a certificate says, without its moments and numbers.
fn certificate(text: &str) -> Option<String> {
    let pem = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    let (_, part) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
    let found = part.parse_x509().ok()?;
    let span = found.validity().not_after.timestamp() - found.validity().not_before.timestamp();
    let usage = found.key_usage().ok()?.map(|usage| usage.value.to_string());
    let extended = found.extended_key_usage().ok()?.map(|usage| {
        let usage = usage.value;
        format!("client {}, server {}", usage.client_auth, usage.server_auth)
    });
    let names = found.subject_alternative_name().ok()?.map(|names| names.value);
    Some(format!(
        "certificate of {}, CA {}, {span} s, {usage:?}, {extended:?}, {names:?}",
        found.subject(),
        found.is_ca(),
    ))
}

/// Takes the groups of CRDs out of the lists of groups: other cases make theirs meanwhile.
fn without_other_groups(fields: &mut serde_json::Map<String, Value>) {
    let is_other = |item: &Value| {
        let name = item["name"].as_str().or(item["metadata"]["name"].as_str()).or(item.as_str());
        name.is_some_and(|name| name.contains(".example.com"))
    };
    let list = match fields.get("kind").and_then(Value::as_str) {
        Some("APIGroupList") => "groups",
        Some("APIGroupDiscoveryList") => "items",
        None => "paths",
        Some(_) => return,
    };
    if let Some(Value::Array(items)) = fields.get_mut(list) {
        items.retain(|item| !is_other(item));
    }
}

static AGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(\d+[smhdy])+$|^<invalid>$").expect("a pattern"));

static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let masks = [
        ("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID"),
        (r"(?i)(resource ?version[^0-9a-z]{0,4})\d+", "${1}VERSION"),
        (r"(in record|in the precondition) \(\d+\)", "$1 (VERSION)"),
        (r"\b20\d\d-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"current: \d+", "current: VERSION"),
        // The suffix of a generated name is random.
        (r"\b(Bad_|gen-|l{58})[a-z0-9]{5}\b", "${1}SUFFIX"),
        (r"\(\d+\)$", "(VERSION)"),
        (r"^10\.96\.\d+\.\d+$", "CLUSTER-IP"),
        // A patch that does not decode is answered with the whole object, moments and versions in it.
        (r#"Invalid value: "\{.*\}": "#, "Invalid value: OBJECT: "),
        ("(?s)-----BEGIN CERTIFICATE-----.*", "CERTIFICATES"),
        (r"kube-api-access-[a-z0-9]{5}", "kube-api-access-SUFFIX"),
    ];
    masks
        .into_iter()
        .map(|(pattern, mask)| (Regex::new(pattern).expect("a pattern"), mask))
        .collect()
});

/// A text with uids and versions named.
pub(super) fn text(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, mask) in MASKS.iter() {
        text = pattern.replace_all(&text, *mask).into_owned();
    }
    text
}
