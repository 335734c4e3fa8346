//! `values.schema.json` of a chart and its subcharts.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value as Json};

use crate::helm::chart::Chart;

/// What does not fit, chart by chart; empty when everything does.
pub(crate) fn failures(chart: &Chart, values: &Map<String, Json>) -> String {
    let mut text = String::new();
    if let Some(schema) = &chart.schema {
        let found = check(schema, &Json::Object(plain(values)));
        if !found.is_empty() {
            text.push_str(&format!("{}:\n{found}", chart.name()));
        }
    }
    for subchart in &chart.dependencies {
        if let Some(Json::Object(values)) = values.get(subchart.name()) {
            text.push_str(&failures(subchart, values));
        }
    }
    text
}

/// Whole numbers count as integers.
fn plain(values: &Map<String, Json>) -> Map<String, Json> {
    values.iter().map(|(key, value)| (key.clone(), plain_value(value))).collect()
}

fn plain_value(value: &Json) -> Json {
    match value {
        Json::Object(map) => Json::Object(plain(map)),
        Json::Array(items) => items.iter().map(plain_value).collect(),
        Json::Number(number) => super::whole(number),
        other => other.clone(),
    }
}

fn check(schema: &[u8], values: &Json) -> String {
    let schema: Json = match serde_json::from_slice(schema) {
        Ok(schema) => schema,
        Err(error) => return format!("- values.schema.json is not JSON: {error}\n"),
    };
    let mut schema = schema;
    // The old name of "the newest draft".
    if let Some(draft) = schema.get("$schema").and_then(Json::as_str)
        && draft.trim_end_matches('#') == "http://json-schema.org/schema"
    {
        schema["$schema"] = Json::from("https://json-schema.org/draft/2020-12/schema");
    }
    let validator = match jsonschema::validator_for(&schema) {
        Ok(validator) => validator,
        Err(error) => return format!("- values.schema.json is no schema: {error}\n"),
    };
    validator
        .iter_errors(values)
        .map(|error| format!("- at '{}': {}\n", error.instance_path(), reason(&error)))
        .collect()
}

/// The most common failures in the words of Helm's validator.
fn reason(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let names: Vec<String> = unexpected.iter().map(|name| format!("'{name}'")).collect();
            format!("additional properties {} not allowed", names.join(", "))
        }
        ValidationErrorKind::Required { property } => {
            format!("missing property '{}'", property.as_str().unwrap_or_default())
        }
        _ => error.to_string(),
    }
}
