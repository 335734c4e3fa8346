//! What decoding into Go types does to an object of a built-in kind: wrong types are refused, defaults come.

use serde_json::Value;

use crate::sandbox::builtin::SET_BY_SERVER;
use crate::sandbox::quantity;
use crate::sandbox::schema::{Schema, SchemaType};
use crate::sandbox::ssa::go_text;
use crate::sandbox::trail::Trail;

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
    type_error(schema, value, &Trail::Root, "")
}

/// `owner` is the Go struct that holds the field; maps and lists do not show in the path.
fn type_error(schema: &Schema, value: &Value, path: &Trail<'_>, owner: &str) -> Option<String> {
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
        let field = if path.is_root() {
            "Go value".to_owned()
        } else {
            format!("Go struct field {owner}.{path}")
        };
        return Some(format!(
            "json: cannot unmarshal {found} into {field} of type {}",
            go_type(schema)
        ));
    }
    let narrow = schema.source.get("format").is_some_and(|format| format == "int32");
    let fits = value.as_i64().is_some_and(|number| !narrow || i32::try_from(number).is_ok());
    if schema.kind == SchemaType::Integer && !fits {
        return Some(format!(
            "json: cannot unmarshal number {value} into Go struct field {owner}.{path} of type {}",
            go_type(schema)
        ));
    }
    if let Some(why) = content_error(schema, value) {
        return Some(why);
    }
    match value {
        Value::Object(fields) => {
            let named = schema.source.get("x-go-type").and_then(Value::as_str);
            let own = named.filter(|name| !name.is_empty()).unwrap_or(owner);
            fields.iter().find_map(|(name, value)| {
                let child = schema.field(name)?;
                if schema.properties.contains_key(name) {
                    type_error(child, value, &path.field(name), own)
                } else {
                    type_error(child, value, path, own)
                }
            })
        }
        Value::Array(items) => {
            let child = schema.items.as_ref()?;
            items.iter().find_map(|item| type_error(child, item, path, owner))
        }
        _ => None,
    }
}

/// What the types with a syntax of their own say: quantities, bytes, moments.
fn content_error(schema: &Schema, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    if schema.quantity && quantity::canonical(text).is_none() {
        return Some(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                .to_owned(),
        );
    }
    let format = schema.source.get("format").and_then(Value::as_str).unwrap_or_default();
    let named = schema.source.get("x-go-type").and_then(Value::as_str).unwrap_or_default();
    match format {
        "byte" => base64_error(text),
        "date-time" if named == "MicroTime" && !text.contains('.') => {
            let zone = text.find(['Z', '+']).map_or("", |at| &text[at..]);
            Some(format!(
                "parsing time {text:?} as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse {zone:?} as \".000000\""
            ))
        }
        _ => None,
    }
}

/// The first byte that is no base64, as Go's decoder counts.
fn base64_error(text: &str) -> Option<String> {
    use base64::Engine as _;
    let standard = base64::engine::general_purpose::STANDARD;
    let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let error = standard.decode(&clean).err()?;
    let at = match error {
        base64::DecodeError::InvalidByte(at, _)
        | base64::DecodeError::InvalidLastSymbol(at, _)
        | base64::DecodeError::InvalidLength(at) => at,
        base64::DecodeError::InvalidPadding => clean.len(),
    };
    Some(format!("illegal base64 data at input byte {at}"))
}

/// Why a tree does not fit a Go type into which it is converted, not decoded, as the result of a strategic merge is.
pub(crate) fn restore_error(schema: &Schema, value: &Value) -> Option<String> {
    let found = match value {
        Value::Null => return None,
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    };
    let why = match schema.kind {
        SchemaType::Object if !value.is_object() => {
            let wanted = if schema.properties.is_empty() { "map from" } else { "struct from:" };
            Some(format!("cannot restore {wanted} {found}"))
        }
        SchemaType::Array if !value.is_array() => {
            Some(format!("cannot restore slice from {found}"))
        }
        SchemaType::String if !value.is_string() => {
            Some(format!("cannot convert {} to string", go_text::type_name(value)))
        }
        SchemaType::Boolean if !value.is_boolean() => {
            Some(format!("cannot convert {} to bool", go_text::type_name(value)))
        }
        SchemaType::Integer if !value.is_i64() => {
            Some(format!("cannot convert {} to {}", go_text::type_name(value), go_type(schema)))
        }
        _ => content_error(schema, value),
    };
    if why.is_some() {
        return why;
    }
    match value {
        Value::Object(fields) => {
            fields.iter().find_map(|(name, value)| restore_error(schema.field(name)?, value))
        }
        Value::Array(items) => {
            let child = schema.items.as_ref()?;
            items.iter().find_map(|item| restore_error(child, item))
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
