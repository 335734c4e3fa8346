//! What the schema of a CustomResourceDefinition may not say: the rules of structural schemas, of list types and of
//! defaults; `schema_cel` has those of CEL rules.

use serde_json::Value;

use crate::sandbox::validation::Cause;

use super::check::{Check, join, list, text};
use super::schema_cel;

/// Checks one node of a schema; its children are the caller's.
pub(super) fn node(schema: &Value, path: &str, root: bool, check: &mut Check) {
    if schema["$ref"].is_string() {
        check.forbidden(&join(path, "$ref"), "$ref is not supported");
    }
    if schema["uniqueItems"] == true {
        let detail =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        check.forbidden(&join(path, "uniqueItems"), detail);
    }
    if schema["properties"].is_object() && schema["additionalProperties"].is_object() {
        let detail = "additionalProperties and properties are mutual exclusive";
        check.forbidden(&join(path, "additionalProperties"), detail);
    }
    if root {
        let metadata = schema["properties"]["metadata"]["properties"].as_object();
        let other = |name: &&String| !["name", "generateName"].contains(&name.as_str());
        if metadata.into_iter().flat_map(|fields| fields.keys()).any(|name| other(&name)) {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            check.forbidden(&join(path, "properties[metadata]"), detail);
        }
    }
    for field in ["anyOf", "oneOf", "allOf"] {
        for (at, child) in list(&schema[field]).iter().enumerate() {
            value_validation(child, &format!("{path}.{field}[{at}]"), check);
        }
    }
    if schema["not"].is_object() {
        value_validation(&schema["not"], &join(path, "not"), check);
    }
    list_type(schema, path, check);
}

/// Checks the defaults and the CEL rules of a whole schema; asked only of a structural one.
pub(super) fn contents(schema: &Value, path: &str, check: &mut Check) {
    let before = check.causes.len();
    defaults(schema, path, check);
    let compile = check.causes.len() == before;
    schema_cel::rules(schema, path, compile, check);
}

fn defaults(schema: &Value, path: &str, check: &mut Check) {
    default(schema, path, check);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        defaults(child, &format!("{path}.properties[{name}]"), check);
    }
    for field in ["items", "additionalProperties"] {
        if schema[field].is_object() {
            defaults(&schema[field], &join(path, field), check);
        }
    }
}

/// Inside of logical junctors only values are validated.
fn value_validation(schema: &Value, path: &str, check: &mut Check) {
    for field in ["type", "description", "default", "title"] {
        let junctor_type = field == "type" && schema["x-kubernetes-int-or-string"] == true;
        let of_int_or_string = field == "type"
            && ["integer", "string"].contains(&text(schema, "type"))
            && schema.as_object().is_some_and(|fields| fields.len() == 1);
        if !schema[field].is_null() && !junctor_type && !of_int_or_string {
            check.forbidden(&join(path, field), "must be empty to be structural");
        }
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        value_validation(child, &format!("{path}.properties[{name}]"), check);
    }
    if schema["items"].is_object() {
        value_validation(&schema["items"], &join(path, "items"), check);
    }
}

fn list_type(schema: &Value, path: &str, check: &mut Check) {
    let Some(kind) = schema["x-kubernetes-list-type"].as_str() else { return };
    if schema["type"] != "array" {
        let detail = "must be array if x-kubernetes-list-type is specified";
        check.invalid(&join(path, "type"), &text(schema, "type").into(), detail);
    }
    let items = &schema["items"];
    if kind == "set" && items["type"] == "object" && items["x-kubernetes-map-type"] != "atomic" {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let path = join(path, "items.x-kubernetes-map-type");
        check.invalid(&path, &items["x-kubernetes-map-type"], detail);
    }
    if kind == "map" {
        for key in list(&schema["x-kubernetes-list-map-keys"]).iter().filter_map(Value::as_str) {
            let required = list(&items["required"]).iter().any(|name| name == key);
            let property = &items["properties"][key];
            if property.is_object() && !required && property["default"].is_null() {
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                let path = format!("{path}.items.properties[{key}].default");
                check.required(&path, detail);
            }
        }
    }
}

/// A default has the type of its field.
fn default(schema: &Value, path: &str, check: &mut Check) {
    let default = &schema["default"];
    let found = match default {
        Value::Null => return,
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted = text(schema, "type");
    if !wanted.is_empty() && wanted != found && !(wanted == "number" && found == "integer") {
        let detail = format!(" in body must be of type {wanted}: \"{found}\"");
        let path = join(path, "default");
        check.causes.push(Cause::type_invalid(&path, &format!("\"{found}\""), detail));
    }
}

/// Whether a path like `.spec.a` leads to a field of the schema.
pub(super) fn refers(schema: &Value, path: &str) -> bool {
    let mut found = schema;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let name = part.split('[').next().unwrap_or_default();
        let next = &found["properties"][name];
        if !next.is_object() {
            return found["additionalProperties"].is_object()
                || found["x-kubernetes-preserve-unknown-fields"] == true;
        }
        found = next;
    }
    true
}

/// The paths of a `scale` subresource.
pub(super) fn scale(scale: &Value, path: &str, check: &mut Check) {
    if !scale.is_object() {
        return;
    }
    for (field, below) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let path = join(path, field);
        let found = text(scale, field);
        if found.is_empty() {
            check.required(&path, "");
        } else if !found.starts_with('.') {
            let detail = "must be a simple json path starting with .";
            check.invalid(&path, &found.into(), detail);
        } else if !found.starts_with(&format!("{below}.")) {
            let detail = format!("should be a json path under {below}");
            check.invalid(&path, &found.into(), detail);
        }
    }
}
