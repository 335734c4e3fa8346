//! What the walks share: the names of list items, equality, readings of null.

use serde_json::{Map, Value};

use super::super::path::PathElement;
use super::super::types::{ListOf, Relation, TypeRef};
use crate::sandbox::schema::Schema;

/// The path element of an item of a set or a list map.
pub(super) fn item_element(list: &ListOf<'_>, item: &Value) -> Result<PathElement, String> {
    match list.relation {
        Relation::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        Relation::Set => set_element(item),
        Relation::Map(keys) => key_element(keys.iter().map(String::as_str), list.items, item),
        Relation::MapBy(key) => key_element(std::iter::once(key), list.items, item),
    }
}

fn set_element(item: &Value) -> Result<PathElement, String> {
    match item {
        Value::Object(_) => {
            Err("associative list without keys has an element that's a map type".to_owned())
        }
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => {
            Err("associative list without keys has an element that's an explicit null".to_owned())
        }
        scalar => Ok(PathElement::Value(scalar.clone())),
    }
}

fn key_element<'k>(
    keys: impl Iterator<Item = &'k str> + Clone,
    items: TypeRef<'_>,
    item: &Value,
) -> Result<PathElement, String> {
    let fields = match item {
        Value::Object(fields) => fields,
        Value::Null => {
            return Err("associative list with keys may not have a null element".to_owned());
        }
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut found = Vec::with_capacity(1);
    for key in keys.clone() {
        if let Some(value) = fields.get(key).or_else(|| default_of(items, key)) {
            found.push((key.to_owned(), value.clone()));
        }
    }
    if found.is_empty() {
        let keys: Vec<_> = keys.map(super::super::go_text::quoted).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default \
             values for any key fields)",
            keys.join(" ")
        ));
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(PathElement::Key(found))
}

fn default_of<'a>(items: TypeRef<'a>, key: &str) -> Option<&'a Value> {
    match items {
        TypeRef::Schema { schema, .. } => {
            let field: &'a Schema = schema.properties.get(key)?;
            field.default.as_ref()
        }
        TypeRef::Deduced | TypeRef::Untyped | TypeRef::Nothing => None,
    }
}

/// A value as a list: null is an empty one, anything else is none.
pub(super) fn as_list(value: Option<&Value>) -> Option<&[Value]> {
    match value {
        Some(Value::Array(items)) => Some(items),
        _ => None,
    }
}

/// A value as a map: null is an empty one, anything else is none.
pub(super) fn as_map(value: Option<&Value>) -> Option<&Map<String, Value>> {
    match value {
        Some(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

/// The keys of either map, each once.
pub(super) fn keys_of<'a>(
    left: Option<&'a Map<String, Value>>,
    right: Option<&'a Map<String, Value>>,
) -> impl Iterator<Item = &'a String> {
    let only_right = right
        .into_iter()
        .flat_map(Map::keys)
        .filter(move |key| left.is_none_or(|left| !left.contains_key(*key)));
    left.into_iter().flat_map(Map::keys).chain(only_right)
}

/// Equality of values, where 1 and 1.0 are the same number.
pub(in crate::sandbox::ssa) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}
