//! Whether applying an object would change anything, told from the live object's `managedFields`.
//!
//! Server-side apply would find out as well, but only as a write request. An apply is a no-op when our manager owns
//! exactly the fields that are applied, and each has the value that is applied. No schema is needed: the owned set itself
//! says how lists are keyed. In doubt the answer is "not the same", and the server decides.

use serde_json::{Map, Value};

/// Fields of `metadata` that nobody owns.
const UNOWNED: &[&str] = &[
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// The set of fields that a manager owns by apply, if it ever applied this version of the object.
pub(super) fn applied_fields<'a>(live: &'a Value, manager: &str) -> Option<&'a Value> {
    let entries = live["metadata"]["managedFields"].as_array()?;
    let entry = entries.iter().find(|entry| {
        entry["manager"] == manager
            && entry["operation"] == "Apply"
            && entry["subresource"].as_str().is_none_or(str::is_empty)
    })?;
    (entry["apiVersion"] == live["apiVersion"]).then(|| &entry["fieldsV1"])
}

/// Whether applying `wanted` as `manager` would leave `live` as it is. `has_status`: the kind has the subresource
/// `status`, so that a status in the manifest counts for nothing.
pub(super) fn is_applied(wanted: &Value, live: &Value, manager: &str, has_status: bool) -> bool {
    if wanted["apiVersion"] != live["apiVersion"] {
        return false;
    }
    let empty = Map::new();
    // The server keeps no entry for a manager that owns nothing: a bare ServiceAccount has none.
    let nothing = Value::Object(empty.clone());
    let owned = applied_fields(live, manager).unwrap_or(&nothing);
    let (Some(wanted), Some(owned)) = (wanted.as_object(), owned.as_object()) else { return false };
    let skip = |name: &str| {
        matches!(name, "apiVersion" | "kind" | "metadata") || (has_status && name == "status")
    };
    if !same_map(wanted, live, owned, &skip) {
        return false;
    }
    let metadata = wanted.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let owned = owned.get("f:metadata").and_then(Value::as_object).unwrap_or(&empty);
    same_map(metadata, &live["metadata"], owned, &|name| UNOWNED.contains(&name))
}

/// A map against the set of its owned fields, both ways.
fn same_map(
    wanted: &Map<String, Value>,
    live: &Value,
    owned: &Map<String, Value>,
    skip: &dyn Fn(&str) -> bool,
) -> bool {
    let no_longer_wanted = owned.keys().any(|key| {
        key.strip_prefix("f:").is_some_and(|name| !skip(name) && !wanted.contains_key(name))
    });
    if no_longer_wanted {
        return false;
    }
    wanted.iter().all(|(name, value)| {
        if skip(name) {
            return true;
        }
        let live = &live[name.as_str()];
        match owned.get(&format!("f:{name}")) {
            Some(owned) => same(name, value, live, owned),
            // A null says nothing; the server keeps no record of it in some kinds.
            None => value.is_null() && live.is_null(),
        }
    })
}

fn same(name: &str, wanted: &Value, live: &Value, owned: &Value) -> bool {
    let Some(owned) = owned.as_object() else { return false };
    let children = owned.keys().any(|key| key != ".");
    match wanted {
        // A leaf of the owned set is owned whole.
        _ if !children => covers(wanted, live),
        Value::Object(wanted) => {
            owned.keys().all(|key| key == "." || key.starts_with("f:"))
                && same_map(wanted, live, owned, &|_| false)
        }
        Value::Array(wanted) => same_list(name, wanted, live, owned),
        _ => false,
    }
}

/// A list whose items are owned one by one: by key (`k:`), as a set (`v:`) or by index (`i:`).
fn same_list(name: &str, wanted: &[Value], live: &Value, owned: &Map<String, Value>) -> bool {
    let Some(live) = live.as_array() else { return false };
    let items: Vec<(&String, &Value)> = owned.iter().filter(|(key, _)| *key != ".").collect();
    if items.len() != wanted.len() {
        return false;
    }
    let mut last = None;
    for item in wanted {
        let matching: Vec<(Option<usize>, &Value)> = items
            .iter()
            .filter_map(|(key, owned)| Some((place(key, item, live)?, *owned)))
            .collect();
        let [(Some(at), owned)] = matching.as_slice() else { return false };
        // Another order of the same items is a change.
        if last.is_some_and(|last| last >= *at) {
            return false;
        }
        last = Some(*at);
        if !same(name, item, &live[*at], owned) {
            return false;
        }
    }
    true
}

/// If the key of an owned item names `item`: where the item is in the live list.
fn place(key: &str, item: &Value, live: &[Value]) -> Option<Option<usize>> {
    if let Some(key) = key.strip_prefix("k:") {
        let key: Map<String, Value> = serde_json::from_str(key).ok()?;
        // The item may leave out a part of the key that has a default, such as a port's protocol.
        let meant = key.iter().all(|(name, value)| item.get(name).is_none_or(|own| own == value))
            && key.keys().any(|name| item.get(name).is_some());
        let is_it = |candidate: &Value| {
            key.iter().all(|(name, value)| candidate.get(name).is_none_or(|own| own == value))
        };
        meant.then(|| live.iter().position(is_it))
    } else if let Some(value) = key.strip_prefix("v:") {
        let value: Value = serde_json::from_str(value).ok()?;
        (value == *item).then(|| live.iter().position(|candidate| *candidate == value))
    } else {
        None
    }
}

/// Whether everything in `wanted` is in `live`. What is owned whole may still have got defaults inside.
fn covers(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            wanted.iter().all(|(name, value)| covers(value, live.get(name).unwrap_or(&Value::Null)))
        }
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len()
                && wanted.iter().zip(live).all(|(wanted, live)| covers(wanted, live))
        }
        (Value::Number(wanted), Value::Number(live)) => {
            wanted == live || wanted.as_f64() == live.as_f64()
        }
        (wanted, Value::Null) => is_empty(wanted),
        (wanted, live) => wanted == live || same_quantity(wanted, live),
    }
}

/// What Go leaves out when it writes an object.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// `1000m` is stored as `1`, and the number 2 as `"2"`.
fn same_quantity(wanted: &Value, live: &Value) -> bool {
    let (Some(wanted), Some(live)) = (quantity(wanted), quantity(live)) else { return false };
    (wanted - live).abs() <= wanted.abs() * 1e-12
}

fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text.as_str(),
        _ => return None,
    };
    let split = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')));
    let (number, suffix) = text.split_at(split.unwrap_or(text.len()));
    let scale = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        _ => return text.parse().ok(),
    };
    Some(number.parse::<f64>().ok()? * scale)
}

/// The value that a field path of the server means: `.spec.ports[port=80,protocol="TCP"].name`; `Null` if there is none.
pub(super) fn field<'a>(object: &'a Value, path: &str) -> &'a Value {
    const NOTHING: &Value = &Value::Null;
    let mut value = object;
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let Some(end) = closing(inside) else { return NOTHING };
            let (selector, after) = (&inside[..end], &inside[end + 1..]);
            rest = after;
            let Some(items) = value.as_array() else { return NOTHING };
            value = match selector.parse::<usize>() {
                Ok(index) => items.get(index).unwrap_or(NOTHING),
                Err(_) => items.iter().find(|item| selects(selector, item)).unwrap_or(NOTHING),
            };
        } else {
            let name = rest.strip_prefix('.').unwrap_or(rest);
            // Keys of labels and annotations contain dots: the longest key that is there wins.
            let Some(fields) = value.as_object() else { return NOTHING };
            let found = fields
                .iter()
                .filter(|(key, _)| {
                    name.strip_prefix(key.as_str())
                        .is_some_and(|after| after.is_empty() || after.starts_with(['.', '[']))
                })
                .max_by_key(|(key, _)| key.len());
            let Some((key, next)) = found else { return NOTHING };
            value = next;
            rest = &name[key.len()..];
        }
    }
    value
}

/// The end of `name="x]",port=1` in `name="x]",port=1].rest`.
fn closing(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ']' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// `name="x",port=80` against an item; `="x"` against a scalar.
fn selects(selector: &str, item: &Value) -> bool {
    let mut rest = selector;
    while let Some((name, value)) = rest.split_once('=') {
        let mut stream = serde_json::Deserializer::from_str(value).into_iter::<Value>();
        let Some(Ok(wanted)) = stream.next() else { return false };
        let end = stream.byte_offset();
        let found = if name.is_empty() { item } else { &item[name] };
        if *found != wanted && !found.is_null() {
            return false;
        }
        rest = value[end..].trim_start_matches(',');
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(spec: Value, owned: Value) -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "a",
                "labels": {"app": "a"},
                "managedFields": [
                    {"manager": "other", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {"f:paused": {}}}},
                    {"manager": "meshscript", "operation": "Update", "apiVersion": "apps/v1", "subresource": "status", "fieldsV1": {}},
                    {"manager": "meshscript", "operation": "Apply", "apiVersion": "apps/v1",
                     "fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": owned}},
                ],
            },
            "spec": spec,
        })
    }

    fn wanted(spec: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"app": "a"}}, "spec": spec})
    }

    #[test]
    fn the_same_object_needs_no_write() {
        let owned = json!({
            "f:replicas": {},
            "f:selector": {},
            "f:args": {"v:\"x\"": {}, "v:\"y\"": {}},
            "f:limits": {"f:cpu": {}},
            "f:containers": {"k:{\"name\":\"c\"}": {
                ".": {}, "f:name": {}, "f:image": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            }},
        });
        let spec = json!({
            "replicas": 2, "selector": {"matchLabels": {"app": "a"}, "defaulted": true}, "args": ["x", "z", "y"],
            "limits": {"cpu": "1"},
            "containers": [{"name": "injected"}, {"name": "c", "image": "i", "more": 1, "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
        });
        let live = live(spec, owned);
        let same = json!({
            "replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "args": ["x", "y"], "limits": {"cpu": "1000m"},
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}],
        });
        let is_applied =
            |spec: &Value| is_applied(&wanted(spec.clone()), &live, "meshscript", true);
        assert!(is_applied(&same));
        let changes: [(&str, Value); 7] = [
            ("/replicas", json!(3)),
            ("/paused", json!(true)),
            ("/selector/matchLabels/app", json!("b")),
            ("/args", json!(["y", "x"])),
            ("/limits/cpu", json!("900m")),
            ("/containers/0/image", json!("j")),
            ("/containers/0/ports/0/name", json!("http")),
        ];
        for (pointer, value) in changes {
            let mut other = same.clone();
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            let parent = other.pointer_mut(parent).expect("is there");
            match parent {
                Value::Array(items) => items[0] = value,
                parent => parent[key] = value,
            }
            assert!(!is_applied(&other), "{pointer}");
        }
        let mut without = same.clone();
        without.as_object_mut().expect("a map").remove("replicas");
        assert!(!is_applied(&without), "a field that is no longer applied");
    }

    #[test]
    fn somebody_elses_object_needs_a_write() {
        let live = live(json!({}), json!({}));
        assert!(!is_applied(&wanted(json!({})), &live, "helm", true));
        assert!(is_applied(&wanted(json!({})), &live, "meshscript", true));
        let mut newer = wanted(json!({}));
        newer["apiVersion"] = json!("apps/v2");
        assert!(!is_applied(&newer, &live, "meshscript", true));
    }

    #[test]
    fn paths_of_conflicts_lead_to_values() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "protocol": "UDP", "name": "b"}], "args": ["x", "y]"]},
        });
        let cases = [
            (".metadata.annotations.a.b/c", json!("x")),
            (".spec.ports[port=81,protocol=\"UDP\"].name", json!("b")),
            (".spec.ports[0].name", json!("a")),
            (".spec.args[=\"y]\"]", json!("y]")),
            (".spec.nope.x", Value::Null),
            (".spec.ports[", Value::Null),
        ];
        for (path, expected) in cases {
            assert_eq!(*field(&object, path), expected, "{path}");
        }
    }
}
