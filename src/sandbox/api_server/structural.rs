//! What a schema does to an object before it is checked: unknown fields go, nulls go, defaults come.

use serde_json::{Map, Value};

use crate::sandbox::builtin::SET_BY_SERVER;
use crate::sandbox::schema::{Schema, SchemaType};

/// Removes fields that the schema does not know and returns their paths, in the form of a strict decoder
/// (`spec.ports[0].bogus`).
pub(crate) fn prune(schema: &Schema, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    prune_value(schema, object, "", &mut unknown);
    unknown
}

fn prune_value(schema: &Schema, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => prune_fields(schema, fields, path, unknown),
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for (index, item) in items.iter_mut().enumerate() {
                prune_value(schema, item, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn prune_fields(
    schema: &Schema,
    fields: &mut Map<String, Value>,
    path: &str,
    unknown: &mut Vec<String>,
) {
    if schema.kind == SchemaType::Any && schema.properties.is_empty() && schema.preserve_unknown {
        return;
    }
    let of_resource = |name: &str| matches!(name, "apiVersion" | "kind" | "metadata");
    fields.retain(|name, _| {
        let known = schema.field(name).is_some()
            || schema.preserve_unknown
            || (schema.embedded_resource && of_resource(name));
        if !known {
            unknown.push(join(path, name));
        }
        known
    });
    for (name, value) in fields {
        if let Some(child) = schema.field(name)
            && matches!(value, Value::Object(_) | Value::Array(_))
        {
            prune_value(child, value, &join(path, name), unknown);
        }
    }
}

/// `a.b`
pub(crate) fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// Removes null fields, as decoding into Go structs does.
pub(crate) fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if schema.preserve_unknown && schema.properties.is_empty() {
                return;
            }
            fields.retain(|name, value| {
                !value.is_null() || !schema.properties.contains_key(name)
            });
            for (name, value) in fields {
                if let Some(child) = schema.field(name) {
                    if value.is_null() && child.kind == SchemaType::String {
                        // A null in a map of texts is the empty text.
                        *value = Value::String(String::new());
                    }
                    drop_nulls(child, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = &schema.items {
                for item in items {
                    drop_nulls(child, item);
                }
            }
        }
        _ => {}
    }
}

/// Sets what is absent and has a default. `custom` kinds take every default, built-in ones only those that the server
/// sets.
pub(crate) fn set_defaults(schema: &Schema, value: &mut Value, custom: bool) {
    match value {
        Value::Object(fields) => {
            for (name, child) in &schema.properties {
                let absent = match fields.get(name) {
                    None => true,
                    Some(Value::Null) => !child.nullable,
                    Some(_) => false,
                };
                if absent
                    && let Some(default) = &child.default
                    && (custom || is_set_by_server(child, default))
                {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields {
                if let Some(child) = schema.field(name)
                    && matches!(value, Value::Object(_) | Value::Array(_))
                {
                    set_defaults(child, value, custom);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = &schema.items {
                for item in items {
                    if item.is_null()
                        && !child.nullable
                        && let Some(default) = &child.default
                    {
                        *item = default.clone();
                    }
                    set_defaults(child, item, custom);
                }
            }
        }
        _ => {}
    }
}

fn is_set_by_server(schema: &Schema, default: &Value) -> bool {
    let zero = match default {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    };
    !zero || schema.source.get(SET_BY_SERVER).is_some()
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
            value.is_string() || schema.source.get("format").is_some_and(|format| format == "date-time")
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
