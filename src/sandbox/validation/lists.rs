//! Lists that are sets or maps hold each key once.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::sandbox::schema::{ListType, Schema};

use super::Cause;

/// A `Duplicate value` for each item whose key was there before.
pub(super) fn validate(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    match value {
        Value::Object(fields) => {
            for (name, found) in fields {
                if let Some(child) = schema.field(name) {
                    let below =
                        if path.is_empty() { name.clone() } else { child_path(schema, path, name) };
                    validate(child, found, &below, causes);
                }
            }
        }
        Value::Array(items) => {
            match &schema.list_type {
                ListType::Set => duplicates(items, Clone::clone, path, causes),
                ListType::Map(keys) => duplicates(items, |item| key_of(item, keys), path, causes),
                ListType::Atomic => {}
            }
            if let Some(child) = &schema.items {
                for (at, item) in items.iter().enumerate() {
                    validate(child, item, &format!("{path}[{at}]"), causes);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A declared field is `a.b`, a key of a map `a[b]`.
fn child_path(schema: &Schema, path: &str, name: &str) -> String {
    if schema.properties.contains_key(name) {
        format!("{path}.{name}")
    } else {
        format!("{path}[{name}]")
    }
}

fn duplicates(items: &[Value], key: impl Fn(&Value) -> Value, path: &str, causes: &mut Vec<Cause>) {
    let mut seen = HashSet::with_capacity(items.len());
    let mut told = HashSet::new();
    for (at, item) in items.iter().enumerate() {
        let key = key(item);
        let text = key.to_string();
        if !seen.insert(text.clone()) && told.insert(text) {
            causes.push(Cause::duplicate(&format!("{path}[{at}]"), &key));
        }
    }
}

/// The key fields of an item, those that it has.
pub(super) fn key_of(item: &Value, keys: &[String]) -> Value {
    let mut found: Map<String, Value> = Map::new();
    let mut keys: Vec<&String> = keys.iter().collect();
    keys.sort();
    for key in keys {
        if let Some(value) = item.get(key) {
            found.insert(key.clone(), value.clone());
        }
    }
    Value::Object(found)
}
