//! Dropping fields that a schema does not declare, and naming them.

use serde_json::Value;

use crate::sandbox::schema::{Schema, SchemaType};
use crate::sandbox::trail::Trail;

use super::cause::quoted;
use super::structural::OBJECT_META;

/// Removes undeclared fields and gives their paths in the API server's order: sorted, with those in the metadata of
/// embedded resources last.
pub fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut found = Found::default();
    found.walk(schema, value, &Trail::Root);
    found.fields.sort();
    found.embedded.sort();
    found.fields.append(&mut found.embedded);
    found.fields
}

/// The paths of undeclared fields, for what is not to be changed.
pub fn unknown_fields(schema: &Schema, value: &Value) -> Vec<String> {
    prune(schema, &mut value.clone())
}

/// `unknown field "spec.foo"`, as a warning says it.
pub fn unknown_field(path: &str) -> String {
    format!("unknown field {}", quoted(path))
}

/// `strict decoding error: unknown field "a", unknown field "b"`; `None` without any. `more` are the decoder's own
/// (`duplicate field "spec.foo"`), which come first.
pub fn strict_error(more: &[String], paths: &[String]) -> Option<String> {
    let texts: Vec<String> =
        more.iter().cloned().chain(paths.iter().map(|path| unknown_field(path))).collect();
    (!texts.is_empty()).then(|| format!("strict decoding error: {}", texts.join(", ")))
}

/// The message of the 400 that refuses a body: `Widget in version "v1" cannot be handled as a Widget: WHY`.
pub fn not_handled(kind: &str, version: &str, why: &str) -> String {
    format!("{kind} in version {} cannot be handled as a {kind}: {why}", quoted(version))
}

#[derive(Default)]
struct Found {
    fields: Vec<String>,
    embedded: Vec<String>,
}

impl Found {
    fn walk(&mut self, schema: &Schema, value: &mut Value, path: &Trail<'_>) {
        match value {
            Value::Object(fields) => {
                let mut unknown = Vec::new();
                for (name, child) in fields.iter_mut() {
                    if schema.embedded_resource
                        && ["apiVersion", "kind", "metadata"].contains(&name.as_str())
                    {
                        if name == "metadata" {
                            self.metadata(child, &path.field(name));
                        }
                    } else if let Some(field) = schema.field(name) {
                        self.walk(field, child, &path.field(name));
                    } else if !keeps_unknown(schema) {
                        unknown.push(name.clone());
                    }
                }
                for name in unknown {
                    fields.remove(&name);
                    self.fields.push(path.field(&name).to_string());
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &schema.items {
                    for (at, item) in items.iter_mut().enumerate() {
                        self.walk(schema, item, &path.item(at));
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn metadata(&mut self, value: &mut Value, path: &Trail<'_>) {
        let mut inner = Self::default();
        inner.walk(&OBJECT_META, value, path);
        self.embedded.append(&mut inner.fields);
    }
}

fn keeps_unknown(schema: &Schema) -> bool {
    schema.preserve_unknown || (schema.kind == SchemaType::Any && schema.properties.is_empty())
}
