//! The `FieldsV1` form of a set, as `managedFields` holds it: `{"f:data":{".":{},"f:a":{}}}`.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::path::PathElement;
use super::set::Set;

/// A `fieldsV1` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsV1Error {
    /// Not an object where one must be.
    #[error("`fieldsV1` holds `{found}` where an object must be")]
    NotAnObject {
        /// What is there.
        found: String,
    },
    /// A key that is no path element.
    #[error("`{key}` is no path element")]
    Element {
        /// The key.
        key: String,
    },
}

/// Writes a set.
pub fn encode(set: &Set) -> Value {
    Value::Object(encode_node(set, false))
}

fn encode_node(set: &Set, own: bool) -> Map<String, Value> {
    let mut out = Map::new();
    if own {
        out.insert(".".to_owned(), Value::Object(Map::new()));
    }
    for member in &set.members {
        let below = match set.children.get(member) {
            Some(child) if !child.is_empty() => encode_node(child, true),
            _ => Map::new(),
        };
        out.insert(element_text(member), Value::Object(below));
    }
    for (element, child) in &set.children {
        if !set.members.contains(element) && !child.is_empty() {
            out.insert(element_text(element), Value::Object(encode_node(child, false)));
        }
    }
    out
}

/// Reads a set.
pub fn decode(fields: &Value) -> Result<Set, FieldsV1Error> {
    Ok(decode_node(fields)?.0)
}

/// The set, and whether the node itself is a member of the set above.
fn decode_node(fields: &Value) -> Result<(Set, bool), FieldsV1Error> {
    let Value::Object(fields) = fields else {
        return Err(FieldsV1Error::NotAnObject { found: fields.to_string() });
    };
    let mut set = Set::default();
    for (key, below) in fields {
        if key == "." {
            continue;
        }
        let element = parse_element(key)?;
        let (child, member) = decode_node(below)?;
        if member {
            set.members.insert(element.clone());
        }
        if !child.is_empty() {
            set.children.insert(element, child);
        }
    }
    let member = fields.is_empty() || fields.contains_key(".");
    Ok((set, member))
}

fn element_text(element: &PathElement) -> String {
    match element {
        PathElement::Field(name) => format!("f:{name}"),
        PathElement::Value(value) => format!("v:{}", json_text(value)),
        PathElement::Index(index) => format!("i:{index}"),
        PathElement::Key(fields) => {
            let mut out = String::from("k:{");
            for (at, (name, value)) in fields.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                let name = Value::String(name.clone());
                // Writing to a `String` cannot fail.
                let _ = write!(out, "{comma}{name}:{}", json_text(value));
            }
            out.push('}');
            out
        }
    }
}

/// JSON as Go's encoder writes it, with the characters of HTML escaped.
pub(super) fn json_text(value: &Value) -> String {
    let plain = value.to_string();
    if !plain.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return plain;
    }
    let mut out = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

fn parse_element(key: &str) -> Result<PathElement, FieldsV1Error> {
    let wrong = || FieldsV1Error::Element { key: key.to_owned() };
    let (kind, text) = key.split_once(':').ok_or_else(wrong)?;
    match kind {
        "f" => Ok(PathElement::field(text)),
        "v" => serde_json::from_str(text).map(PathElement::Value).map_err(|_| wrong()),
        "i" => text.parse().map(PathElement::Index).map_err(|_| wrong()),
        "k" => {
            let fields: Map<String, Value> = serde_json::from_str(text).map_err(|_| wrong())?;
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Ok(PathElement::Key(fields))
        }
        _ => Err(wrong()),
    }
}
