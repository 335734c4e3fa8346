//! Filling in the defaults of a schema, as structural defaulting does.
//!
//! A `null` counts as absent where the field is not nullable: it takes the default, or goes if there is none.

use serde_json::Value;

use crate::sandbox::schema::Schema;

/// Fills in defaults and removes nulls that are not allowed.
pub fn default(schema: &Schema, value: &mut Value) {
    fill(schema, value);
    drop_nulls(schema, value);
}

/// Fills in defaults alone.
pub fn fill(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, child) in &schema.properties {
                if let Some(default) = &child.default {
                    let missing =
                        fields.get(name).is_none_or(|found| found.is_null() && !child.nullable);
                    if missing {
                        fields.insert(name.clone(), default.clone());
                    }
                }
            }
            for (name, found) in fields.iter_mut() {
                if let Some(child) = schema.properties.get(name) {
                    fill(child, found);
                } else if let Some(child) = &schema.additional {
                    fill_one(child, found);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = &schema.items {
                items.iter_mut().for_each(|item| fill_one(child, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An item or a map's value: its default replaces only a null.
fn fill_one(schema: &Schema, value: &mut Value) {
    if value.is_null()
        && !schema.nullable
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
    fill(schema, value);
}

fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, found| {
                !(found.is_null()
                    && schema.field(name).is_some_and(|child| {
                        !child.nullable && child.default.is_none() && !is_any(child)
                    }))
            });
            for (name, found) in fields.iter_mut() {
                if let Some(child) = schema.field(name) {
                    drop_nulls(child, found);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = &schema.items {
                items.iter_mut().for_each(|item| drop_nulls(child, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Below `additionalProperties: true` nothing is known, so nothing is dropped.
fn is_any(schema: &Schema) -> bool {
    schema.preserve_unknown && schema.nullable
}
