//! JSON patch (RFC 6902) as the API server's library reads it.
//!
//! It is more lenient than the RFC: an index may be negative and counts from the end, `replace` of a key that is not
//! there adds it, and a missing `value` is null.

use serde_json::{Map, Value};

use super::{DEEPEST, PatchError, depth, wrong_json};

const MOST_OPERATIONS: usize = 10_000;
/// What all copies of a patch may add together, in bytes of JSON.
const MOST_COPIED: usize = 3 * 1024 * 1024;

/// Applies a JSON patch.
///
/// # Errors
/// Patches that are no list of operations or too long; operations that do not apply.
pub fn json_patch(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Array(operations) = patch else {
        return Err(wrong_json("error decoding patch: ", patch, "[]handlers.jsonPatchOp"));
    };
    if let Some(wrong) = operations.iter().find(|operation| !operation.is_object()) {
        return Err(wrong_json("error decoding patch: ", wrong, "handlers.jsonPatchOp"));
    }
    if operations.len() > MOST_OPERATIONS {
        let found = operations.len();
        return Err(PatchError::TooManyOperations { most: MOST_OPERATIONS, found });
    }
    let mut object = object.clone();
    let mut copied = 0;
    for operation in operations {
        run(&mut object, operation, &mut copied).ok_or(PatchError::DoesNotApply)?;
    }
    Ok(object)
}

/// What strict validation objects to: members of operations that mean nothing.
pub fn unknown_members(patch: &Value) -> Vec<String> {
    let operations = patch.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = Vec::new();
    for (at, operation) in operations.iter().enumerate() {
        for name in operation.as_object().into_iter().flat_map(Map::keys) {
            if !["op", "path", "from", "value"].contains(&name.as_str()) {
                out.push(format!("json patch unknown field \"[{at}].{name}\""));
            }
        }
    }
    out
}

/// `None` when the operation does not apply. `copied` counts the bytes of all copies so far.
fn run(object: &mut Value, operation: &Value, copied: &mut usize) -> Option<()> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match text("op")? {
        "add" => add(object, text("path")?, value()),
        "remove" => remove(object, text("path")?).map(|_| ()),
        "replace" => replace(object, text("path")?, value()),
        "move" => {
            let moved = remove(object, text("from")?)?;
            add(object, text("path")?, moved)
        }
        "copy" => {
            let found = get(object, text("from")?)?;
            // A few copies of a value into itself would fill any memory.
            *copied += found.to_string().len();
            if *copied > MOST_COPIED {
                return None;
            }
            add(object, text("path")?, found)
        }
        "test" => test(object, text("path")?, &value()),
        _ => None,
    }
}

/// The container that the last step of a path is taken in, and that step.
fn container<'a>(object: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (_, steps) = path.split_once('/')?;
    let (way, last) = match steps.rsplit_once('/') {
        Some((way, last)) => (Some(way), last),
        None => (None, steps),
    };
    let mut at = object;
    for step in way.into_iter().flat_map(|way| way.split('/')) {
        at = match at {
            Value::Object(fields) => fields.get_mut(&unescaped(step))?,
            Value::Array(items) => {
                let index = index(&unescaped(step), items.len())?;
                items.get_mut(index)?
            }
            _ => return None,
        };
    }
    (at.is_object() || at.is_array()).then(|| (at, unescaped(last)))
}

fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// An index below `length`; negative ones count from the end.
fn index(step: &str, length: usize) -> Option<usize> {
    let index: i64 = step.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index + length } else { index };
    if (0..length).contains(&index) { usize::try_from(index).ok() } else { None }
}

fn add(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        return replace_all(object, value);
    }
    fits(path, &value)?;
    match container(object, path)? {
        (Value::Object(fields), step) => {
            fields.insert(step, value);
        }
        (Value::Array(items), step) => {
            let at = if step == "-" { items.len() } else { index(&step, items.len() + 1)? };
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

/// Refuses a value that would lie too deep: what is walked by recursion must end.
fn fits(path: &str, value: &Value) -> Option<()> {
    let above = path.matches('/').count();
    (above + depth(value) <= DEEPEST).then_some(())
}

fn remove(object: &mut Value, path: &str) -> Option<Value> {
    match container(object, path)? {
        (Value::Object(fields), step) => fields.remove(&step),
        (Value::Array(items), step) => {
            let at = index(&step, items.len())?;
            Some(items.remove(at))
        }
        _ => None,
    }
}

fn replace(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        return replace_all(object, value);
    }
    fits(path, &value)?;
    match container(object, path)? {
        (Value::Object(fields), step) => {
            fields.insert(step, value);
        }
        (Value::Array(items), step) => {
            let at = index(&step, items.len())?;
            *items.get_mut(at)? = value;
        }
        _ => return None,
    }
    Some(())
}

fn replace_all(object: &mut Value, value: Value) -> Option<()> {
    if !(value.is_object() || value.is_array()) {
        return None;
    }
    *object = value;
    Some(())
}

/// The value at a path; a key that is not there reads as null.
fn get(object: &mut Value, path: &str) -> Option<Value> {
    match container(object, path)? {
        (Value::Object(fields), step) => Some(fields.get(&step).cloned().unwrap_or(Value::Null)),
        (Value::Array(items), step) => {
            let at = index(&step, items.len())?;
            items.get(at).cloned()
        }
        _ => None,
    }
}

fn test(object: &mut Value, path: &str, value: &Value) -> Option<()> {
    let found = if path.is_empty() { object.clone() } else { get(object, path)? };
    (found == *value).then_some(())
}
