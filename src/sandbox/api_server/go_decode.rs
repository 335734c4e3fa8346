//! What decoding into Go types does to an object of a built-in kind: wrong types are refused, defaults come.

use serde_json::Value;

use crate::sandbox::builtin::SET_BY_SERVER;
use crate::sandbox::schema::{Schema, SchemaType};

/// `a.b`
fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// Sets what is absent and has a default that the server sets.
pub(crate) fn set_defaults(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, child) in &schema.properties {
                if !fields.contains_key(name)
                    && let Some(default) = set_by_server(child)
                {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields {
                if let Some(child) = schema.field(name)
                    && matches!(value, Value::Object(_) | Value::Array(_))
                {
                    set_defaults(child, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = &schema.items {
                for item in items {
                    set_defaults(child, item);
                }
            }
        }
        _ => {}
    }
}

fn set_by_server(schema: &Schema) -> Option<&Value> {
    if let Some(default) = schema.source.get(SET_BY_SERVER) {
        return Some(default);
    }
    let default = schema.default.as_ref()?;
    let zero = match default {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    };
    (!zero).then_some(default)
}

/// Why a value does not decode into its Go type; `None` if it does.
///
/// Returns the text of `encoding/json`: `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas
/// of type int32`.
pub(crate) fn go_type_error(schema: &Schema, value: &Value) -> Option<String> {
    type_error(schema, value, "", &Owner::default())
}

#[derive(Default)]
struct Owner {
    /// The Go struct that holds the field.
    name: String,
}

fn type_error(schema: &Schema, value: &Value, path: &str, owner: &Owner) -> Option<String> {
    let found = match value {
        Value::Null => return None,
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = match schema.kind {
        SchemaType::Any => true,
        SchemaType::Object => value.is_object(),
        SchemaType::Array => value.is_array(),
        SchemaType::String => {
            value.is_string()
                || schema.source.get("format").is_some_and(|format| format == "date-time")
        }
        SchemaType::Integer => value.is_number(),
        SchemaType::Number => value.is_number(),
        SchemaType::Boolean => value.is_boolean(),
        SchemaType::IntOrString => value.is_string() || value.is_number(),
    };
    if !fits {
        let field = if path.is_empty() {
            "Go value".to_owned()
        } else {
            format!("Go struct field {}.{path}", owner.name)
        };
        return Some(format!(
            "json: cannot unmarshal {found} into {field} of type {}",
            go_type(schema)
        ));
    }
    if schema.kind == SchemaType::Integer && value.as_i64().is_none() {
        return Some(format!(
            "json: cannot unmarshal number {value} into Go struct field {}.{path} of type {}",
            owner.name,
            go_type(schema)
        ));
    }
    match value {
        Value::Object(fields) => {
            let own = Owner {
                name: schema
                    .source
                    .get("x-go-type")
                    .and_then(Value::as_str)
                    .filter(|name| !name.is_empty())
                    .unwrap_or(&owner.name)
                    .to_owned(),
            };
            fields.iter().find_map(|(name, value)| {
                let child = schema.field(name)?;
                let path = if schema.properties.contains_key(name) {
                    join(path, name)
                } else {
                    path.to_owned()
                };
                type_error(child, value, &path, &own)
            })
        }
        Value::Array(items) => {
            let child = schema.items.as_ref()?;
            items.iter().find_map(|item| type_error(child, item, path, owner))
        }
        _ => None,
    }
}

fn go_type(schema: &Schema) -> String {
    let named = schema.source.get("x-go-type").and_then(Value::as_str).unwrap_or_default();
    match schema.kind {
        SchemaType::Object if !named.is_empty() => format!("v1.{named}"),
        SchemaType::Object => {
            let of = schema.additional.as_deref().map_or_else(String::new, go_type);
            format!("map[string]{of}")
        }
        SchemaType::Array => {
            format!("[]{}", schema.items.as_deref().map_or_else(String::new, go_type))
        }
        SchemaType::Integer => schema
            .source
            .get("format")
            .and_then(Value::as_str)
            .filter(|format| matches!(*format, "int32" | "int64"))
            .unwrap_or("int64")
            .to_owned(),
        SchemaType::Number => "float64".to_owned(),
        SchemaType::Boolean => "bool".to_owned(),
        SchemaType::String | SchemaType::IntOrString | SchemaType::Any => "string".to_owned(),
    }
}
