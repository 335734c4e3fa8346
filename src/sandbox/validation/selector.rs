//! Label selectors: whether labels match, and their syntax.

use serde_json::{Map, Value};

use super::Cause;
use super::{metadata, names};

/// Whether labels (`Null` for none) match a `LabelSelector`. An absent selector matches nothing, an empty one all.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let none = Map::new();
    let labels = labels.as_object().unwrap_or(&none);
    let equal = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector["matchExpressions"].as_array().into_iter().flatten().all(|requirement| {
            let found = requirement["key"].as_str().and_then(|key| labels.get(key));
            let listed = || {
                requirement["values"]
                    .as_array()
                    .is_some_and(|values| found.is_some_and(|found| values.contains(found)))
            };
            match requirement["operator"].as_str() {
                Some("In") => listed(),
                Some("NotIn") => !listed(),
                Some("Exists") => found.is_some(),
                Some("DoesNotExist") => found.is_none(),
                Some(_) | None => false,
            }
        })
}

/// Whether a selector selects everything.
pub fn is_empty(selector: &Value) -> bool {
    let empty = |field: &str| match &selector[field] {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        other => other.is_null(),
    };
    empty("matchLabels") && empty("matchExpressions")
}

/// The syntax of a selector.
pub fn validate(selector: &Value, path: &str, causes: &mut Vec<Cause>) {
    metadata::labels(&selector["matchLabels"], &format!("{path}.matchLabels"), causes);
    for (at, requirement) in
        selector["matchExpressions"].as_array().into_iter().flatten().enumerate()
    {
        let path = format!("{path}.matchExpressions[{at}]");
        let empty = requirement["values"].as_array().is_none_or(Vec::is_empty);
        match requirement["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" if empty => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(Cause::required(&format!("{path}.values"), detail));
            }
            "Exists" | "DoesNotExist" if !empty => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(Cause::forbidden(&format!("{path}.values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let detail = "not a valid selector operator";
                let operator = &requirement["operator"];
                let operator =
                    if operator.is_null() { &Value::String(String::new()) } else { operator };
                causes.push(Cause::invalid(&format!("{path}.operator"), operator, detail));
            }
        }
        let key = requirement["key"].as_str().unwrap_or_default();
        for why in names::qualified_name(key) {
            causes.push(Cause::invalid(&format!("{path}.key"), &key.into(), why));
        }
        for (at, value) in requirement["values"].as_array().into_iter().flatten().enumerate() {
            for why in names::label_value(value.as_str().unwrap_or_default()) {
                causes.push(Cause::invalid(&format!("{path}.values[{at}]"), value, why));
            }
        }
    }
}
