//! JSON values for CEL, typed by their schema.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use kube_cel::cel::Value as Cel;
use kube_cel::cel::objects::{Key, Map};
use serde_json::Value;

use crate::sandbox::schema::{Schema, SchemaType};

use super::super::format::go_duration_nanos;
use super::check::escape;
use super::engine;

/// The value as `self`. Of an object's own metadata rules see the name alone.
pub(super) fn to_cel(value: &Value, schema: &Schema, root: bool) -> Cel {
    match value {
        Value::Object(fields) => {
            let mut map = HashMap::with_capacity(fields.len());
            for (name, found) in fields {
                let own_metadata = name == "metadata" && (root || schema.embedded_resource);
                let converted = if own_metadata {
                    names_only(found)
                } else if let Some(child) = schema.field(name) {
                    to_cel(found, child, false)
                } else if schema.embedded_resource
                    && ["apiVersion", "kind"].contains(&name.as_str())
                {
                    engine::from_json(found)
                } else {
                    // Rules cannot see what the schema does not declare.
                    continue;
                };
                map.insert(Key::String(Arc::new(key_of(schema, name))), converted);
            }
            Cel::Map(Map { map: Arc::new(map) })
        }
        Value::Array(items) => Cel::List(Arc::new(
            items
                .iter()
                .map(|item| {
                    schema
                        .items
                        .as_ref()
                        .map_or_else(|| engine::from_json(item), |child| to_cel(item, child, false))
                })
                .collect(),
        )),
        Value::Number(number) if schema.kind == SchemaType::Number => {
            Cel::Float(number.as_f64().unwrap_or_default())
        }
        Value::String(text) if schema.kind == SchemaType::String => text_to_cel(text, schema),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            engine::from_json(value)
        }
    }
}

fn names_only(metadata: &Value) -> Cel {
    let names = ["name", "generateName"].into_iter().filter_map(|name| {
        metadata.get(name).map(|found| (name.to_owned(), engine::from_json(found)))
    });
    engine::map(names)
}

fn text_to_cel(text: &str, schema: &Schema) -> Cel {
    let plain = || Cel::String(Arc::new(text.to_owned()));
    match schema.source.get("format").and_then(Value::as_str) {
        Some("date-time") => {
            chrono::DateTime::parse_from_rfc3339(text).map_or_else(|_| plain(), Cel::Timestamp)
        }
        Some("date") => chrono::DateTime::parse_from_rfc3339(&format!("{text}T00:00:00Z"))
            .map_or_else(|_| plain(), Cel::Timestamp),
        Some("duration") => go_duration_nanos(text)
            .map_or_else(plain, |nanos| Cel::Duration(chrono::Duration::nanoseconds(nanos))),
        Some("byte") => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_or_else(|_| plain(), |bytes| Cel::Bytes(Arc::new(bytes))),
        Some(_) | None => plain(),
    }
}

/// The name of a field in expressions; the keys of maps stay as they are.
pub(super) fn key_of(schema: &Schema, name: &str) -> String {
    if schema.additional.is_some() && !schema.properties.contains_key(name) {
        return name.to_owned();
    }
    escape(name).unwrap_or_else(|| name.to_owned())
}

/// A field of a converted object.
pub(super) fn field(value: &Cel, key: &str) -> Option<Cel> {
    let Cel::Map(map) = value else { return None };
    map.get(&Key::String(Arc::new(key.to_owned()))).cloned()
}

/// An item of a converted list.
pub(super) fn item(value: &Cel, at: usize) -> Option<Cel> {
    let Cel::List(items) = value else { return None };
    items.get(at).cloned()
}
