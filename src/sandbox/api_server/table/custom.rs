//! The columns of custom resources: what their definition asks for, else name and age.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::text::age;
use crate::base::jsonpath::{Found, JsonPath, plain};
use crate::sandbox::api_server::crd::CustomVersion;

pub(super) fn columns(custom: &CustomVersion) -> Vec<Value> {
    let mut columns = vec![json!({
        "name": "Name", "type": "string", "format": "name", "description": super::NAME, "priority": 0,
    })];
    let asked = custom.printer_columns();
    for column in &asked {
        let path = column["jsonPath"].as_str().unwrap_or_default();
        let implied = format!("Custom resource definition column (in JSONPath format): {path}");
        let description = column["description"].as_str().filter(|text| !text.is_empty());
        columns.push(json!({
            "name": column["name"], "type": column["type"],
            "description": description.unwrap_or(&implied),
            "format": column["format"].as_str().unwrap_or_default(),
            "priority": column["priority"].as_i64().unwrap_or(0),
        }));
    }
    if asked.is_empty() {
        columns.push(json!({
            "name": "Age", "type": "date", "format": "", "description": super::AGE, "priority": 0,
        }));
    }
    columns
}

pub(super) fn cells(custom: &CustomVersion, object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![object["metadata"]["name"].clone()];
    let asked = custom.printer_columns();
    for column in &asked {
        let path = column["jsonPath"].as_str().unwrap_or_default();
        let found = JsonPath::parse(path).map(|path| path.find(object));
        let value = match found {
            Ok(Found::One(value)) => value,
            Ok(Found::Many(values)) => values.into_iter().next(),
            Ok(Found::Text(_)) | Err(_) => None,
        };
        cells.push(cell(value, column["type"].as_str().unwrap_or_default(), now));
    }
    if asked.is_empty() {
        cells.push(json!(age(&object["metadata"]["creationTimestamp"], now)));
    }
    cells
}

fn cell(value: Option<Value>, kind: &str, now: Timestamp) -> Value {
    let Some(value) = value else { return Value::Null };
    match kind {
        "string" => json!(plain(&value)),
        "integer" => value.as_i64().map_or(Value::Null, Value::from),
        "number" => value.as_f64().map_or(Value::Null, Value::from),
        "boolean" => value.as_bool().map_or(Value::Null, Value::from),
        "date" => match value.as_str().map(str::parse::<Timestamp>) {
            Some(Ok(_)) => json!(age(&value, now)),
            Some(Err(_)) => value,
            None => Value::Null,
        },
        _ => Value::Null,
    }
}
