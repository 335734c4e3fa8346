//! The form that objects of built-in kinds have after a pass through their Go types.
//!
//! The API server decodes built-in kinds into structs and writes structs out again: what `omitempty` covers goes when it is
//! zero, what it does not cover appears when it is absent (`status.loadBalancer: {}`, `lastProbeTime: null`), quantities
//! take their canonical form. Field ownership depends on it: an object compared with such a struct does not "add" it.

use serde_json::{Map, Value};

use super::quantity;
use super::schema::{Schema, SchemaType, Unset};

/// Brings an object of a built-in kind into its Go form.
pub(crate) fn go_form(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(fields) => go_fields(fields, schema),
        Value::Array(items) => {
            if let Some(schema) = schema.items.as_deref() {
                for item in items {
                    go_form(item, schema);
                }
            }
        }
        Value::String(text) if schema.quantity => {
            if let Some(canonical) = quantity::canonical(text) {
                *text = canonical;
            }
        }
        Value::Number(number) if schema.quantity => {
            let text = number.to_string();
            *value = Value::String(quantity::canonical(&text).unwrap_or(text));
        }
        _ => {}
    }
}

fn go_fields(fields: &mut Map<String, Value>, schema: &Schema) {
    if schema.preserve_unknown && schema.properties.is_empty() {
        return;
    }
    fields.retain(|name, value| match schema.properties.get(name) {
        Some(field) => !is_omitted(value, field),
        None => true,
    });
    for (name, value) in fields.iter_mut() {
        if let Some(field) = schema.field(name) {
            if value.is_null() && field.kind == SchemaType::String && field.unset == Unset::Kept {
                // A null in a map of texts is the empty text.
                *value = Value::String(String::new());
            }
            go_form(value, field);
        }
    }
    for (name, field) in &schema.properties {
        let Unset::Written(zero) = &field.unset else { continue };
        if fields.get(name).is_some_and(|value| !value.is_null()) {
            continue;
        }
        let mut zero = zero.clone();
        go_form(&mut zero, field);
        fields.insert(name.clone(), zero);
    }
}

/// What the storage makes of an object's lists: its protobuf knows no difference between an empty one and none. Only the
/// object's own fields are looked at (`rules` of a Role, `endpoints` of an EndpointSlice).
pub(crate) fn without_empty_lists(object: &mut Value, schema: &Schema) {
    let Some(fields) = object.as_object_mut() else { return };
    for (name, value) in fields {
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        if is_empty
            && schema
                .properties
                .get(name)
                .is_some_and(|field| matches!(&field.unset, Unset::Written(zero) if zero.is_null()))
        {
            *value = Value::Null;
        }
    }
}

/// Whether Go leaves a field with this value out. Maps and slices are never pointers, so empty ones go.
fn is_omitted(value: &Value, field: &Schema) -> bool {
    match value {
        _ if matches!(field.unset, Unset::Written(_)) => false,
        Value::Null => true,
        Value::Array(items) => items.is_empty() && field.kind == SchemaType::Array,
        Value::Object(entries) => {
            entries.is_empty()
                && field.kind == SchemaType::Object
                && field.properties.is_empty()
                && field.additional.is_some()
        }
        _ if field.unset == Unset::Kept => false,
        Value::String(text) => text.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}
