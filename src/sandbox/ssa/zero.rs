//! The form that objects of built-in kinds have after a pass through their Go types.
//!
//! The API server decodes built-in kinds into structs and writes structs out again: optional nulls and empty lists and
//! maps go, structs that are no pointers appear as `{}` (`status.loadBalancer`, `strategy`, `resources`). Field
//! ownership depends on it: an object compared with such a struct does not "add" it. OpenAPI says which fields those
//! are by `default: {}`, and which have no `omitempty` by `required`.

use serde_json::{Map, Value};

use crate::sandbox::schema::{Schema, SchemaType};

/// How much of the Go form is written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zeroes {
    /// Structs, as clients see them.
    Structs,
    /// Required scalars, lists and pointers as well, as comparisons see them.
    All,
}

/// Brings an object of a built-in kind into its Go form.
pub(super) fn go_form(value: &mut Value, schema: &Schema, zeroes: Zeroes) {
    match value {
        Value::Object(fields) => go_fields(fields, schema, zeroes),
        Value::Array(items) => {
            if let Some(schema) = schema.items.as_deref() {
                for item in items {
                    go_form(item, schema, zeroes);
                }
            }
        }
        _ => {}
    }
}

fn go_fields(fields: &mut Map<String, Value>, schema: &Schema, zeroes: Zeroes) {
    if schema.preserve_unknown && schema.properties.is_empty() {
        return;
    }
    fields.retain(|name, value| match schema.properties.get(name) {
        Some(field) => schema.required.contains(name) || !is_omitted(value, field),
        None => true,
    });
    for (name, value) in fields.iter_mut() {
        if let Some(field) = schema.field(name) {
            go_form(value, field, zeroes);
        }
    }
    for (name, field) in &schema.properties {
        if fields.get(name).is_some_and(|value| !value.is_null()) {
            continue;
        }
        if is_struct(field) {
            let mut zero = Value::Object(Map::new());
            go_form(&mut zero, field, zeroes);
            fields.insert(name.clone(), zero);
        } else if zeroes == Zeroes::All && schema.required.contains(name) {
            fields.insert(name.clone(), field.default.clone().unwrap_or(Value::Null));
        }
    }
}

/// Whether Go leaves an optional field with this value out. Maps and slices are never pointers, so empty ones go;
/// structs and scalars may be pointers, so what is given stays.
fn is_omitted(value: &Value, field: &Schema) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty() && field.kind == SchemaType::Array,
        Value::Object(entries) => {
            entries.is_empty()
                && field.kind == SchemaType::Object
                && field.properties.is_empty()
                && field.additional.is_some()
        }
        _ => false,
    }
}

/// A struct that is no pointer.
fn is_struct(field: &Schema) -> bool {
    field.kind == SchemaType::Object
        && field.default.as_ref().and_then(Value::as_object).is_some_and(Map::is_empty)
}
