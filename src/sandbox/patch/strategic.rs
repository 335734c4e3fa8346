//! Strategic merge patch: a merge patch whose lists merge as the schema says, steered by directives in the patch.
//!
//! `$patch: replace|delete` in a map or an item, `$retainKeys` beside union members, `$deleteFromPrimitiveList/NAME`
//! and `$setElementOrder/NAME` beside a list. A list merges by `patch_merge_key` when its `patch_strategy` says `merge`,
//! and is replaced otherwise. Built-in kinds only; the API server refuses the media type for custom ones.

use serde_json::{Map, Value};

use super::{PatchError, go_type, wrong_json};
use crate::sandbox::schema::Schema;
use crate::sandbox::ssa::go_text::plain;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList";
const ORDER_PREFIX: &str = "$setElementOrder";

type Fields = Map<String, Value>;

/// Applies a strategic merge patch.
///
/// # Errors
/// Patches that are no object, directives that make no sense, lists that cannot be merged.
pub fn strategic_merge_patch(
    object: &Value,
    patch: &Value,
    schema: &Schema,
) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else {
        return Err(wrong_json("", patch, "map[string]interface {}"));
    };
    let original = object.as_object().cloned().unwrap_or_default();
    merge_map(original, patch.clone(), Some(schema)).map(Value::Object)
}

fn bad(message: &str) -> PatchError {
    PatchError::BadRequest { message: message.to_owned() }
}

fn internal(message: String) -> PatchError {
    PatchError::Internal { message }
}

fn bad_retain_keys() -> PatchError {
    bad("invalid patch format of retainKeys")
}

fn no_merge_key(item: &Fields, key: &str) -> PatchError {
    let item = plain(&Value::Object(item.clone()));
    internal(format!("map: {item} does not contain declared merge key: {key}"))
}

fn wrong_type(wanted: &str, found: &Value) -> PatchError {
    internal(format!("expected a {wanted}, but received a {}", go_type(found)))
}

/// How a field's value merges.
struct FieldMeta<'a> {
    /// The schema of the field, of the items if it is a list.
    below: Option<&'a Schema>,
    strategy: &'a str,
    merge_key: &'a str,
}

fn field_meta<'a>(schema: Option<&'a Schema>, name: &str, list: bool) -> FieldMeta<'a> {
    let field = schema.and_then(|schema| schema.field(name)).map(AsRef::as_ref);
    let strategies = field.and_then(|field: &Schema| field.patch_strategy.as_deref());
    let strategy = strategies
        .unwrap_or_default()
        .split(',')
        .find(|strategy| *strategy != "retainKeys")
        .unwrap_or_default();
    let merge_key = field.and_then(|field| field.patch_merge_key.as_deref()).unwrap_or_default();
    let below = if list { field.and_then(|field| field.items.as_deref()) } else { field };
    FieldMeta { below, strategy, merge_key }
}

fn merge_map(
    mut original: Fields,
    mut patch: Fields,
    schema: Option<&Schema>,
) -> Result<Fields, PatchError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Fields::new()),
            _ => Err(unknown_directive(&directive, patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(&mut original, &mut patch, schema)?;
    for (key, value) in patch {
        let deleted_from = if key.starts_with(DELETE_PREFIX) {
            Some(named_list(&key, DELETE_PREFIX, "invalid patch format of primitive list")?)
        } else {
            None
        };
        let deletes = deleted_from.is_some();
        let key = deleted_from.unwrap_or(key);
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        match (original.remove(&key), value) {
            (None, value) => {
                if !deletes && let Some(value) = added(value) {
                    original.insert(key, value);
                }
            }
            (Some(Value::Object(before)), Value::Object(patch)) => {
                let meta = field_meta(schema, &key, false);
                let merged = if meta.strategy == "replace" {
                    patch
                } else {
                    merge_map(before, patch, meta.below)?
                };
                original.insert(key, Value::Object(merged));
            }
            (Some(Value::Array(before)), Value::Array(patch)) => {
                let meta = field_meta(schema, &key, true);
                let merged = merge_list(before, patch, &meta, deletes)?;
                original.insert(key, Value::Array(merged));
            }
            (Some(before), _) if deletes => {
                original.insert(key, before);
            }
            (Some(_), value) => {
                if let Some(value) = added(value) {
                    original.insert(key, value);
                }
            }
        }
    }
    Ok(original)
}

fn unknown_directive(directive: &Value, mut patch: Fields) -> PatchError {
    patch.insert(DIRECTIVE.to_owned(), directive.clone());
    let map = plain(&Value::Object(patch));
    internal(format!("unknown patch type: {} in map: {map}", plain(directive)))
}

/// The name of the list that a directive such as `$setElementOrder/ports` is about.
fn named_list(key: &str, prefix: &str, wrong: &str) -> Result<String, PatchError> {
    match key.split_once('/') {
        Some((found, name)) if found == prefix => Ok(name.to_owned()),
        _ => Err(bad(wrong)),
    }
}

/// A value of the patch where the object has none to merge with: nulls and directives mean nothing in it.
fn added(mut value: Value) -> Option<Value> {
    drop_nulls(&mut value);
    without_directives(value)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The value without directives; `None` if it is itself one.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) => {
            if fields.contains_key(DIRECTIVE) {
                return None;
            }
            let kept = fields
                .into_iter()
                .filter_map(|(name, value)| Some((name, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => {
            Some(Value::Array(items.into_iter().filter_map(without_directives).collect()))
        }
        scalar => Some(scalar),
    }
}

/// `$retainKeys`: what is not in the list goes, and the patch may set nothing else.
fn retain_keys(original: &mut Fields, patch: &mut Fields) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(bad_retain_keys()) };
    let kept = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    let unlisted = patch.iter().any(|(name, value)| {
        !value.is_null()
            && !name.starts_with(DELETE_PREFIX)
            && !name.starts_with(ORDER_PREFIX)
            && !kept(name)
    });
    if unlisted {
        return Err(bad_retain_keys());
    }
    original.retain(|name, _| kept(name));
    Ok(())
}

/// Merges the lists for which the patch names an order, and takes both out of the patch.
fn merge_ordered_lists(
    original: &mut Fields,
    patch: &mut Fields,
    schema: Option<&Schema>,
) -> Result<(), PatchError> {
    let directives: Vec<String> =
        patch.keys().filter(|key| key.starts_with(ORDER_PREFIX)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else { continue };
        let Value::Array(order) = order else {
            return Err(wrong_type("[]interface {}", &order));
        };
        let name =
            named_list(&directive, ORDER_PREFIX, "invalid patch format of setElementOrder list")?;
        let before = list_of(original.get(&name))?;
        let patched = list_of(patch.get(&name))?;
        let meta = field_meta(schema, &name, true);
        check_order(patched.as_deref().unwrap_or_default(), &order, meta.merge_key)?;
        let server_order = before.clone().unwrap_or_default();
        let merged = match (before, patched) {
            (Some(before), None) => before,
            (None, Some(patched)) => match without_directives(Value::Array(patched)) {
                Some(Value::Array(items)) => items,
                _ => continue,
            },
            (Some(before), Some(patched)) => merge_list(before, patched, &meta, false)?,
            (None, None) => continue,
        };
        let (patch_items, server_items) = partition(merged, &order, meta.merge_key)?;
        let all = interleaved(patch_items, server_items, &order, &server_order, meta.merge_key)?;
        original.insert(name.clone(), Value::Array(all));
        patch.remove(&name);
    }
    Ok(())
}

fn list_of(value: Option<&Value>) -> Result<Option<Vec<Value>>, PatchError> {
    match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(other) => Err(wrong_type("[]interface {}", other)),
    }
}

/// The items of the patch must come in the named order, and be in it.
fn check_order(patch: &[Value], order: &[Value], merge_key: &str) -> Result<(), PatchError> {
    if order.is_empty() || patch.is_empty() {
        return Ok(());
    }
    let items: Vec<&Value> =
        patch.iter().filter(|item| merge_key.is_empty() || item.get(DIRECTIVE).is_none()).collect();
    let mut at = 0;
    let mut wanted = order.iter();
    while let Some(item) = items.get(at) {
        let Some(next) = wanted.next() else {
            return Err(internal(format!(
                "The order in patch list:\n{}\n doesn't match {ORDER_PREFIX} list:\n{}\n",
                plain(&Value::Array(patch.to_vec())),
                plain(&Value::Array(order.to_vec()))
            )));
        };
        if key_of(item, merge_key)? == key_of(next, merge_key)? {
            at += 1;
        }
    }
    Ok(())
}

/// What identifies an item: the value of its merge key, the item itself without one.
fn key_of<'a>(item: &'a Value, merge_key: &str) -> Result<&'a Value, PatchError> {
    if merge_key.is_empty() {
        return Ok(item);
    }
    let Value::Object(fields) = item else {
        return Err(wrong_type("map[string]interface {}", item));
    };
    fields.get(merge_key).ok_or_else(|| no_merge_key(fields, merge_key))
}

fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    meta: &FieldMeta<'_>,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    if meta.strategy != "merge" && !deletes {
        return Ok(patch);
    }
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    if !are_maps(&original, &patch)? {
        if deletes {
            return Ok(original.into_iter().filter(|item| !patch.contains(item)).collect());
        }
        let server_order = original.clone();
        let mut both = original;
        both.extend(patch.iter().cloned());
        let (patch_items, server_items) = partition(unique(both), &patch, "")?;
        return interleaved(patch_items, server_items, &patch, &server_order, "");
    }
    if meta.merge_key.is_empty() {
        return Err(internal("cannot merge lists without merge key for struct".to_owned()));
    }
    let (server_order, patch) = special_items(original, patch, meta.merge_key)?;
    let mut merged = server_order.clone();
    for item in &patch {
        let Value::Object(item_fields) = item else { continue };
        let key = key_of(item, meta.merge_key)?;
        match position(&merged, meta.merge_key, key)? {
            Some(at) => {
                if let Some(Value::Object(before)) = merged.get_mut(at).map(Value::take) {
                    let below = merge_map(before, item_fields.clone(), meta.below)?;
                    if let Some(place) = merged.get_mut(at) {
                        *place = Value::Object(below);
                    }
                }
            }
            None => merged.push(item.clone()),
        }
    }
    let (patch_items, server_items) = partition(merged, &patch, meta.merge_key)?;
    interleaved(patch_items, server_items, &patch, &server_order, meta.merge_key)
}

/// Whether the items are maps; all must be of one type.
fn are_maps(original: &[Value], patch: &[Value]) -> Result<bool, PatchError> {
    let mut first: Option<&Value> = None;
    for item in original.iter().chain(patch) {
        if item.is_array() && first.is_none() {
            return Err(PatchError::DoesNotApply);
        }
        let Some(first) = first else {
            first = Some(item);
            continue;
        };
        if go_type(first) != go_type(item) {
            let lists =
                [original, patch].map(|items| plain(&Value::Array(items.to_vec()))).join(" ");
            return Err(internal(format!("list element types are not identical: [{lists}]")));
        }
    }
    Ok(first.is_some_and(Value::is_object))
}

/// Carries out the items with directives, and returns the object's and the patch's other items.
fn special_items(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut replaces = false;
    for item in patch {
        let Some(directive) = item.get(DIRECTIVE).cloned() else {
            rest.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let key = key_of(&item, merge_key)?.clone();
                while let Some(at) = position(&original, merge_key, &key)? {
                    original.remove(at);
                }
            }
            Some("replace") => replaces = true,
            Some("merge") => {
                return Err(internal(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            _ => {
                let fields = item.as_object().cloned().unwrap_or_default();
                return Err(unknown_directive(&directive, fields));
            }
        }
    }
    if replaces { Ok((rest, Vec::new())) } else { Ok((original, rest)) }
}

fn position(items: &[Value], merge_key: &str, key: &Value) -> Result<Option<usize>, PatchError> {
    for (at, item) in items.iter().enumerate() {
        let Value::Object(fields) = item else {
            return Err(internal(format!("value for key {at} is not a map")));
        };
        if fields.get(merge_key) == Some(key) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Takes out repeated scalars; the last item moves to where a repetition was.
fn unique(mut items: Vec<Value>) -> Vec<Value> {
    let mut first = 0;
    while first < items.len() {
        let mut other = first + 1;
        while other < items.len() {
            if items[first] == items[other] {
                items.swap_remove(other);
            } else {
                other += 1;
            }
        }
        first += 1;
    }
    items
}

/// Items that the list of the patch names, and the others.
fn partition(
    items: Vec<Value>,
    by: &[Value],
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for item in items {
        let key = key_of(&item, merge_key)?;
        let found = if merge_key.is_empty() {
            by.contains(key)
        } else {
            position(by, merge_key, key)?.is_some()
        };
        if found { named.push(item) } else { others.push(item) }
    }
    Ok((named, others))
}

/// One list of both: the patch's items in the patch's order, the others in the object's, merged by the object's.
fn interleaved(
    patch: Vec<Value>,
    server: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: &str,
) -> Result<Vec<Value>, PatchError> {
    let patch = sorted(patch, patch_order, merge_key)?;
    let server = sorted(server, server_order, merge_key)?;
    let mut out = Vec::with_capacity(patch.len() + server.len());
    let (mut left, mut right) = (server.into_iter().peekable(), patch.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let server_first =
            match (place(server_order, a, merge_key), place(server_order, b, merge_key)) {
                (Some(a), Some(b)) => a < b,
                _ => false,
            };
        out.extend(if server_first { left.next() } else { right.next() });
    }
    out.extend(left);
    out.extend(right);
    Ok(out)
}

fn place(order: &[Value], item: &Value, merge_key: &str) -> Option<usize> {
    if merge_key.is_empty() {
        return order.iter().position(|other| other == item);
    }
    order.iter().position(|other| other.get(merge_key) == item.get(merge_key))
}

/// Sorts by a list of order. An item that is not in it counts as smaller than whatever it is compared with, as in the
/// API server, so this is an insertion sort by hand.
fn sorted(items: Vec<Value>, order: &[Value], merge_key: &str) -> Result<Vec<Value>, PatchError> {
    for item in items.iter().chain(order) {
        key_of(item, merge_key)?;
    }
    let mut ranked: Vec<(Option<usize>, Value)> =
        items.into_iter().map(|item| (place(order, &item, merge_key), item)).collect();
    for end in 1..ranked.len() {
        let mut at = end;
        while at > 0 {
            let less = match (ranked[at].0, ranked[at - 1].0) {
                (Some(a), Some(b)) => a < b,
                _ => true,
            };
            if !less {
                break;
            }
            ranked.swap(at, at - 1);
            at -= 1;
        }
    }
    Ok(ranked.into_iter().map(|(_, item)| item).collect())
}
