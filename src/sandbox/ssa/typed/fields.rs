//! The fields that an object mentions: what an applier owns.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::path::PathElement;
use super::super::set::Set;
use super::super::types::{Handler, ListOf, MapOf, Relation, TypeRef};
use super::walk::{as_list, as_map, item_element};

/// Every leaf and every item of a validated value.
pub(in crate::sandbox::ssa) fn field_set(value: &Value, typ: TypeRef<'_>) -> Set {
    let mut set = Set::default();
    walk(value, typ, &mut Vec::new(), &mut set);
    set
}

fn walk(value: &Value, typ: TypeRef<'_>, path: &mut Vec<PathElement>, set: &mut Set) {
    match typ.atom().deduce(Some(value)).handler() {
        Handler::Scalar(_) => set.insert(path),
        Handler::Map(map) if map.atomic => set.insert(path),
        Handler::List(list) if matches!(list.relation, Relation::Atomic) => set.insert(path),
        Handler::Map(map) => walk_map(value, &map, path, set),
        Handler::List(list) => walk_list(value, &list, path, set),
        Handler::None => {}
    }
}

fn walk_map(value: &Value, map: &MapOf<'_>, path: &mut Vec<PathElement>, set: &mut Set) {
    for (name, value) in as_map(Some(value)).into_iter().flatten() {
        path.push(PathElement::field(name));
        walk(value, map.field(name), path, set);
        let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        if empty || !map.declares(name) {
            set.insert(path);
        }
        path.pop();
    }
}

fn walk_list(value: &Value, list: &ListOf<'_>, path: &mut Vec<PathElement>, set: &mut Set) {
    let Some(items) = as_list(Some(value)) else { return };
    let elements: Vec<_> = items.iter().map(|item| item_element(list, item).ok()).collect();
    let mut counts: BTreeMap<&PathElement, usize> = BTreeMap::new();
    for element in elements.iter().flatten() {
        *counts.entry(element).or_default() += 1;
    }
    let duplicates: BTreeSet<&PathElement> =
        counts.iter().filter(|(_, count)| **count > 1).map(|(element, _)| *element).collect();
    for (item, element) in items.iter().zip(&elements) {
        let Some(element) = element else { continue };
        path.push(element.clone());
        // Of an item that is there twice, only its presence can be owned.
        if !duplicates.contains(element) {
            walk(item, list.items, path, set);
        }
        set.insert(path);
        path.pop();
    }
}
