//! JSON merge patch (RFC 7386).

use serde_json::{Map, Value};

use super::{PatchError, wrong_json};

/// Applies a merge patch.
///
/// # Errors
/// A patch that is no object.
pub fn merge_patch(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    match patch {
        Value::Object(patch) => {
            let mut object = object.clone();
            if let Value::Object(fields) = &mut object {
                merge(fields, patch);
            }
            Ok(object)
        }
        Value::Null => Err(PatchError::BadRequest { message: "Invalid JSON Patch".to_owned() }),
        other => Err(wrong_json("error decoding patch: ", other, "map[string]interface {}")),
    }
}

fn merge(fields: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match (fields.get_mut(name), value) {
            (_, Value::Null) => {
                fields.remove(name);
            }
            (Some(Value::Object(fields)), Value::Object(patch)) => merge(fields, patch),
            _ => {
                fields.insert(name.clone(), without_nulls(value));
            }
        }
    }
}

/// A new value: nulls in its objects delete nothing and go. Those that are items of lists stay.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.clone(), without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        scalar => scalar.clone(),
    }
}
