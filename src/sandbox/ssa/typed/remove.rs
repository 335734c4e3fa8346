//! Takes fields and items out of an object.

use serde_json::{Map, Value};

use super::super::path::PathElement;
use super::super::set::Set;
use super::super::types::{Handler, ListOf, MapOf, Relation, TypeRef};
use super::walk::item_element;

/// The value without the members of the set. Containers that lose all they hold become null, as in the API server.
pub(in crate::sandbox::ssa) fn remove(value: &Value, set: &Set, typ: TypeRef<'_>) -> Value {
    match typ.atom().deduce(Some(value)).handler() {
        Handler::Scalar(_) => value.clone(),
        Handler::List(list) => remove_items(value, set, &list),
        Handler::Map(map) => remove_fields(value, set, &map),
        Handler::None => Value::Null,
    }
}

fn remove_items(value: &Value, set: &Set, list: &ListOf<'_>) -> Value {
    let Value::Array(items) = value else { return Value::Null };
    if matches!(list.relation, Relation::Atomic) {
        return Value::Null;
    }
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        let Ok(element) = item_element(list, item) else {
            out.push(item.clone());
            continue;
        };
        if set.members.contains(&element) {
            continue;
        }
        match set.children.get(&element) {
            Some(below) if !below.is_empty() => out.push(remove(item, below, list.items)),
            _ => out.push(item.clone()),
        }
    }
    if out.is_empty() { Value::Null } else { Value::Array(out) }
}

fn remove_fields(value: &Value, set: &Set, map: &MapOf<'_>) -> Value {
    let Value::Object(fields) = value else { return Value::Null };
    if map.atomic {
        return Value::Null;
    }
    let mut out = Map::new();
    for (name, value) in fields {
        let element = PathElement::field(name);
        if set.members.contains(&element) {
            continue;
        }
        let kept = match set.children.get(&element) {
            Some(below) if !below.is_empty() => remove(value, below, map.field(name)),
            _ => value.clone(),
        };
        out.insert(name.clone(), kept);
    }
    if out.is_empty() { Value::Null } else { Value::Object(out) }
}
