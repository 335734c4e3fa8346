//! Whether a value fits its type. The messages are the API server's, Go syntax included.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::go_text;
use super::super::path::PathElement;
use super::super::types::{Handler, ListOf, MapOf, Relation, Scalar, TypeRef};
use super::TypeErrors;
use super::walk::item_element;

/// Whether sets and list maps may hold an item twice. Stored objects may; applied ones may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox::ssa) enum Duplicates {
    Allowed,
    Refused,
}

/// Checks a value against its type.
pub(in crate::sandbox::ssa) fn validate(
    value: &Value,
    typ: TypeRef<'_>,
    duplicates: Duplicates,
) -> Result<(), TypeErrors> {
    walk(value, typ, duplicates).into_result(())
}

fn walk(value: &Value, typ: TypeRef<'_>, duplicates: Duplicates) -> TypeErrors {
    match typ.atom().deduce(Some(value)).handler() {
        Handler::Map(map) => match value {
            Value::Null => TypeErrors::default(),
            Value::Object(fields) => walk_map(fields, &map, duplicates),
            other => TypeErrors::one(format!("expected map, got &{{{}}}", go_text::plain(other))),
        },
        Handler::List(list) => match value {
            Value::Null => TypeErrors::default(),
            Value::Array(items) => walk_list(items, &list, duplicates),
            other => TypeErrors::one(format!("expected list, got &{{{}}}", go_text::plain(other))),
        },
        Handler::Scalar(scalar) => match scalar_error(scalar, value) {
            Some(message) => TypeErrors::one(message),
            None => TypeErrors::default(),
        },
        Handler::None => TypeErrors::one("schema error: invalid atom: inlined".to_owned()),
    }
}

fn walk_map(fields: &Map<String, Value>, map: &MapOf<'_>, duplicates: Duplicates) -> TypeErrors {
    let mut errors = TypeErrors::default();
    for (name, value) in fields {
        let typ = map.field(name);
        let element = PathElement::field(name);
        if matches!(typ, TypeRef::Nothing) {
            errors
                .extend(TypeErrors::one("field not declared in schema".to_owned()).below(&element));
            // The API server looks no further in this object either.
            return errors;
        }
        errors.extend(walk(value, typ, duplicates).below(&element));
    }
    errors
}

fn walk_list(items: &[Value], list: &ListOf<'_>, duplicates: Duplicates) -> TypeErrors {
    let mut errors = TypeErrors::default();
    let mut seen = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let element = if matches!(list.relation, Relation::Atomic) {
            PathElement::Index(i64::try_from(at).unwrap_or(i64::MAX))
        } else {
            match item_element(list, item) {
                Ok(element) => {
                    if !seen.insert(element.clone()) && duplicates == Duplicates::Refused {
                        errors.extend(TypeErrors::one(format!(
                            "duplicate entries for key {element}"
                        )));
                    }
                    element
                }
                Err(message) => {
                    // Without its key nothing below the item can be named.
                    errors.extend(TypeErrors::one(format!("element {at}: {message}")));
                    return errors;
                }
            }
        };
        errors.extend(walk(item, list.items, duplicates).below(&element));
    }
    errors
}

fn scalar_error(scalar: Scalar, value: &Value) -> Option<String> {
    let shown = || format!("&value.valueUnstructured{{Value:{}}}", go_text::source(value));
    let plain = || format!("&{{{}}}", go_text::plain(value));
    match (scalar, value) {
        (_, Value::Null)
        | (Scalar::Numeric, Value::Number(_))
        | (Scalar::Text, Value::String(_))
        | (Scalar::Boolean, Value::Bool(_))
        | (Scalar::Any, Value::Number(_) | Value::String(_) | Value::Bool(_)) => None,
        (Scalar::Numeric, other) => {
            Some(format!("expected numeric (int or float), got {}", go_text::type_name(other)))
        }
        (Scalar::Text, _) => Some(format!("expected string, got {}", shown())),
        (Scalar::Boolean, _) => Some(format!("expected boolean, got {}", plain())),
        (Scalar::Any, _) => Some(format!("expected any scalar, got {}", plain())),
    }
}

/// Whether a scalar of either side is acceptable; absent and null are.
pub(super) fn scalar_fits(scalar: Scalar, value: Option<&Value>) -> Result<(), String> {
    value.and_then(|value| scalar_error(scalar, value)).map_or(Ok(()), Err)
}
