//! Merges an applied configuration into an object. Nothing is removed here; `remove` does that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::super::path::PathElement;
use super::super::types::{Handler, ListOf, MapOf, Relation, TypeRef};
use super::TypeErrors;
use super::validate::scalar_fits;
use super::walk::{as_list, as_map, item_element, keys_of};

/// The object with every value of the configuration in it. Lists keep the object's order where the configuration says
/// nothing else.
pub(in crate::sandbox::ssa) fn merge(
    live: &Value,
    applied: &Value,
    typ: TypeRef<'_>,
) -> Result<Value, TypeErrors> {
    let mut errors = TypeErrors::default();
    let out = merge_values(Some(live), Some(applied), typ, &mut errors);
    errors.into_result(out.unwrap_or(Value::Null))
}

fn merge_values(
    live: Option<&Value>,
    applied: Option<&Value>,
    typ: TypeRef<'_>,
    errors: &mut TypeErrors,
) -> Option<Value> {
    let atom = typ.atom();
    let handler = if applied.is_none() {
        atom.deduce(live).handler()
    } else {
        // When the kinds differ, the applied one decides.
        atom.deduce(applied).handler()
    };
    match handler {
        Handler::Scalar(scalar) => {
            if let (Err(left), Err(right)) =
                (scalar_fits(scalar, live), scalar_fits(scalar, applied))
            {
                errors.extend(TypeErrors::one(format!("lhs: {left}")));
                errors.extend(TypeErrors::one(format!("rhs: {right}")));
                return None;
            }
            applied.or(live).cloned()
        }
        Handler::Map(map) => {
            let (left, right) = (as_map(live), as_map(applied));
            if map.atomic || (left.is_none_or(Map::is_empty) && right.is_none_or(Map::is_empty)) {
                return applied.or(live).cloned();
            }
            merge_maps(left, right, &map, errors)
        }
        Handler::List(list) => {
            let left = as_list(live).unwrap_or_default();
            let right = as_list(applied).unwrap_or_default();
            if matches!(list.relation, Relation::Atomic) || (left.is_empty() && right.is_empty()) {
                return applied.or(live).cloned();
            }
            merge_lists(left, right, &list, errors)
        }
        Handler::None => {
            errors.extend(TypeErrors::one("schema error: invalid atom: inlined".to_owned()));
            None
        }
    }
}

fn merge_maps(
    live: Option<&Map<String, Value>>,
    applied: Option<&Map<String, Value>>,
    map: &MapOf<'_>,
    errors: &mut TypeErrors,
) -> Option<Value> {
    let mut out = Map::new();
    for name in keys_of(live, applied) {
        let mut below = TypeErrors::default();
        let merged = merge_values(
            live.and_then(|live| live.get(name)),
            applied.and_then(|applied| applied.get(name)),
            map.field(name),
            &mut below,
        );
        errors.extend(below.below(&PathElement::field(name)));
        if let Some(merged) = merged {
            out.insert(name.clone(), merged);
        }
    }
    (!out.is_empty()).then_some(Value::Object(out))
}

/// The items of one side by path element; of an item that is there twice the value counts as null.
struct Indexed<'a> {
    order: Vec<PathElement>,
    items: BTreeMap<PathElement, &'a Value>,
}

fn index<'a>(
    items: &'a [Value],
    list: &ListOf<'_>,
    duplicates: bool,
    errors: &mut TypeErrors,
) -> Indexed<'a> {
    let mut out = Indexed { order: Vec::with_capacity(items.len()), items: BTreeMap::new() };
    for (at, item) in items.iter().enumerate() {
        match item_element(list, item) {
            Err(message) => errors.extend(TypeErrors::one(format!("element {at}: {message}"))),
            Ok(element) => {
                if out.items.contains_key(&element) {
                    if !duplicates {
                        errors.extend(TypeErrors::one(format!(
                            "duplicate entries for key {element}"
                        )));
                        continue;
                    }
                    out.items.insert(element.clone(), &Value::Null);
                } else {
                    out.items.insert(element.clone(), item);
                }
                out.order.push(element);
            }
        }
    }
    out
}

/// Interleaves two lists: items of both sides come in the applied order, items of the object alone keep their place
/// relative to them.
fn merge_lists(
    live: &[Value],
    applied: &[Value],
    list: &ListOf<'_>,
    errors: &mut TypeErrors,
) -> Option<Value> {
    let mut wrong = TypeErrors::default();
    let right = index(applied, list, false, &mut wrong);
    let left = index(live, list, true, &mut wrong);
    if !wrong.is_empty() {
        errors.extend(wrong);
        return None;
    }
    let mut shared: VecDeque<&PathElement> =
        right.order.iter().filter(|element| left.items.contains_key(*element)).collect();
    let mut next_shared = shared.pop_front();
    let mut done: BTreeSet<&PathElement> = BTreeSet::new();
    let mut out = Vec::with_capacity(live.len().max(applied.len()));
    let mut take = |element: &PathElement, live: Option<&Value>, applied: Option<&Value>| {
        let mut below = TypeErrors::default();
        out.extend(merge_values(live, applied, list.items, &mut below));
        errors.extend(below.below(element));
    };
    let (mut l, mut r) = (0, 0);
    while l < left.order.len() || r < right.order.len() {
        if let (Some(at_left), Some(at_right)) = (left.order.get(l), right.order.get(r)) {
            if at_left == at_right {
                done.insert(at_left);
                let live = left.items.get(at_left).copied();
                take(at_left, live, right.items.get(at_left).copied());
                l += 1;
                r += 1;
                next_shared = shared.pop_front();
                continue;
            }
            let awaited = next_shared.is_some_and(|next| next != at_left);
            if right.items.contains_key(at_left) && awaited {
                // Shared, but its turn by the applied order has not come or is over.
                l += 1;
                continue;
            }
        }
        if let Some(element) = left.order.get(l) {
            if !right.items.contains_key(element) {
                take(element, live.get(l), None);
                l += 1;
                continue;
            }
            if done.contains(element) {
                l += 1;
            }
        }
        if let Some(element) = right.order.get(r) {
            done.insert(element);
            take(element, left.items.get(element).copied(), right.items.get(element).copied());
            r += 1;
            if next_shared == Some(element) {
                next_shared = shared.pop_front();
            }
        }
    }
    (!out.is_empty()).then_some(Value::Array(out))
}
