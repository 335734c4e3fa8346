//! Objects of many kinds, and what can be made of them: values of wrong types, fields that are gone, doubled or deep.

use serde_json::{Map, Value, json};

use super::random::Random;

/// The objects of `objects.yaml`.
pub(crate) fn all() -> Vec<Value> {
    include_str!("objects.yaml")
        .split("\n---\n")
        .map(|text| serde_yaml::from_str(text).expect("the objects are YAML"))
        .collect()
}

/// Changes an object in up to four places.
pub(crate) fn change(random: &mut Random, object: &mut Value, all: &[Value]) {
    for _ in 0..random.below(5) {
        let mut paths = Vec::new();
        collect(object, &mut String::new(), &mut paths);
        if paths.is_empty() {
            return;
        }
        let path = &paths[random.below(paths.len())];
        // What an object is, and what it is called, changes seldom: else little of it is looked at.
        let rare = ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"]
            .contains(&path.as_str());
        if rare && !random.chance(8) {
            continue;
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let name = name.replace("~1", "/").replace("~0", "~");
        let value = strange(random, all);
        match object.pointer_mut(parent) {
            Some(Value::Object(fields)) => match random.below(8) {
                0 => drop(fields.remove(&name)),
                1 => {
                    let key = random.pick(&[
                        "",
                        "a",
                        "$patch",
                        "$setElementOrder/ports",
                        "\0",
                        "metadata",
                        "é",
                        "a/b",
                        ".",
                    ]);
                    if let Some(value) = fields.remove(&name) {
                        fields.insert(key.to_owned(), value);
                    }
                }
                2 => {
                    let key = random.pick(&[
                        "$patch",
                        "$retainKeys",
                        "$deleteFromPrimitiveList/x",
                        "extra",
                    ]);
                    fields.insert(key.to_owned(), value);
                }
                _ => drop(fields.insert(name, value)),
            },
            Some(Value::Array(items)) => {
                let at = name.parse().unwrap_or(0).min(items.len().saturating_sub(1));
                match random.below(5) {
                    0 => drop(items.drain(..)),
                    1 if !items.is_empty() => items.push(items[at].clone()),
                    2 if !items.is_empty() => drop(items.remove(at)),
                    _ if !items.is_empty() => items[at] = value,
                    _ => items.push(value),
                }
            }
            _ => {}
        }
    }
}

fn collect(value: &Value, path: &mut String, out: &mut Vec<String>) {
    let mut visit = |name: &str, value: &Value, path: &mut String| {
        let length = path.len();
        path.push('/');
        path.push_str(&name.replace('~', "~0").replace('/', "~1"));
        out.push(path.clone());
        collect(value, path, out);
        path.truncate(length);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| visit(name, value, path)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| visit(&at.to_string(), value, path));
        }
        _ => {}
    }
}

fn strange(random: &mut Random, all: &[Value]) -> Value {
    match random.below(26) {
        0 => Value::Null,
        1 => json!(""),
        2 => json!(-1),
        3 => json!(0),
        4 => json!(i64::MAX),
        5 => json!(i64::MIN),
        6 => json!(u64::MAX),
        7 => json!(1e300),
        8 => json!(0.1),
        9 => json!(true),
        10 => json!([]),
        11 => json!({}),
        12 => json!([[[]]]),
        13 => json!("x".repeat(1 << random.below(14))),
        14 => json!("\u{0}\u{7f}\u{fffd}\u{1f600}"),
        15 => json!("%!s(MISSING)${a}{{ . }}"),
        16 => deep(random.below(130)),
        17 => all[random.below(all.len())].clone(),
        18 => json!([null, null]),
        19 => json!({"": null}),
        20 => json!("2026-13-45T99:99:99Z"),
        21 => json!("999999999999999999999Ei"),
        22 => json!((0..300).map(|at| json!({"name": format!("n{at}")})).collect::<Vec<_>>()),
        23 => json!({"$patch": "delete"}),
        24 => {
            Value::Object((0..300).map(|at| (format!("k{at}"), json!("v"))).collect::<Map<_, _>>())
        }
        _ => json!(random.below(100_000)),
    }
}

/// A value within values.
pub(crate) fn deep(levels: usize) -> Value {
    (0..levels).fold(json!("deep"), |inner, level| {
        if level % 3 == 0 { json!([inner]) } else { json!({"d": inner}) }
    })
}

/// A patch in JSON's own form, out of an object.
pub(crate) fn json_patch(random: &mut Random, object: &Value, all: &[Value]) -> Value {
    let mut paths =
        vec![String::new(), "/".to_owned(), "/-".to_owned(), "/metadata/labels/a~1b".to_owned()];
    collect(object, &mut String::new(), &mut paths);
    let count = if random.chance(5) { 1 << random.below(14) } else { random.below(6) };
    let operations = (0..count).map(|_| {
        let mut operation = json!({
            "op": random.pick(&["add", "remove", "replace", "move", "copy", "test", "none", ""]),
            "path": paths[random.below(paths.len())],
        });
        if random.chance(60) {
            operation["value"] = strange(random, all);
        }
        if random.chance(50) {
            operation["from"] = json!(paths[random.below(paths.len())]);
        }
        operation
    });
    Value::Array(operations.collect())
}

/// Operations that copy a value into itself: it doubles with each of them, or gets as deep.
pub(crate) fn growing_patch(random: &mut Random) -> Value {
    let mut operations =
        vec![json!({"op": "add", "path": "/data", "value": {"a": "x".repeat(1_000)}})];
    if random.chance(50) {
        let count = 20 + random.below(200);
        operations.extend(
            (0..count)
                .map(|at| json!({"op": "copy", "from": "/data", "path": format!("/data/k{at}")})),
        );
    } else {
        let mut way = "/data".to_owned();
        for _ in 0..6 + random.below(10) {
            let path = format!("{way}/a");
            operations.push(json!({"op": "copy", "from": "/data", "path": path}));
            way.push_str(&"/a".repeat(way.len() / 2));
        }
    }
    Value::Array(operations)
}

/// The envelope of protobuf around bytes.
pub(crate) fn protobuf(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut meta = Vec::new();
    put(&mut meta, 1, api_version.as_bytes());
    put(&mut meta, 2, kind.as_bytes());
    let mut out = b"k8s\0".to_vec();
    put(&mut out, 1, &meta);
    put(&mut out, 2, raw);
    out
}

fn put(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 128 {
        out.push((length % 128) as u8 | 128);
        length /= 128;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// An object as CBOR.
pub(crate) fn cbor(value: &Value) -> Vec<u8> {
    let mut out = vec![0xd9, 0xd9, 0xf7];
    write_cbor(value, &mut out);
    out
}

fn write_cbor(value: &Value, out: &mut Vec<u8>) {
    let head = |major: u8, number: usize, out: &mut Vec<u8>| {
        out.push(major << 5 | 26);
        out.extend_from_slice(&(number as u32).to_be_bytes());
    };
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
        Value::Number(number) => {
            out.push(0xfb);
            out.extend_from_slice(&number.as_f64().unwrap_or(0.0).to_be_bytes());
        }
        Value::String(text) => {
            head(3, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Array(items) => {
            head(4, items.len(), out);
            items.iter().for_each(|item| write_cbor(item, out));
        }
        Value::Object(fields) => {
            head(5, fields.len(), out);
            for (name, value) in fields {
                head(3, name.len(), out);
                out.extend_from_slice(name.as_bytes());
                write_cbor(value, out);
            }
        }
    }
}
