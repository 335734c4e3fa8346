//! Request bodies: JSON with duplicate fields told apart, and YAML.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::status;
use crate::sandbox::api::Status;
use crate::sandbox::patch::{DEEPEST, depth};

/// A body as a tree, with what its decoder says of fields given twice (the last one counts).
pub(crate) struct Body {
    pub(crate) value: Value,
    /// `duplicate field "data.a"`; of YAML `line 6: key "a" already set in map`.
    pub(crate) duplicates: Vec<String>,
    /// The text that was read, where its order matters; else empty.
    pub(crate) text: bytes::Bytes,
}

/// Bytes of all names on the way to a field. A real server has no such limit; here paths are written out for each field
/// of an object, and a few long names above many fields would cost gigabytes.
const LONGEST_WAY: usize = 16 * 1024;
/// How many complaints about fields a decoder keeps, as on a real server (`sigs.k8s.io/json`).
pub(crate) const MAX_COMPLAINTS: usize = 100;
/// The longest path that is told of in a complaint.
const LONGEST_PATH: usize = 1024;

impl Body {
    /// The body, unless it has more levels, or longer names above its fields, than can be stored.
    ///
    /// # Errors
    /// The 400 that says so.
    pub(crate) fn storable(self) -> Result<Self, Status> {
        if depth(&self.value) > DEEPEST {
            let why =
                format!("the body has more than {DEEPEST} levels; the sandbox stores no more");
            return Err(status::bad_request(why));
        }
        if longest_way(&self.value) > LONGEST_WAY {
            let why = format!(
                "the names of fields that lie in each other have more than {LONGEST_WAY} bytes; the sandbox stores no more"
            );
            return Err(status::bad_request(why));
        }
        Ok(self)
    }
}

/// Bytes of the names on the longest way to a field.
fn longest_way(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(longest_way).max().unwrap_or(0),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + longest_way(value)).max().unwrap_or(0)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The path of a field of what lies at `path`; where that is long, no more than its beginning.
fn below(path: &str, name: &str) -> String {
    let path = &path[..path.floor_char_boundary(LONGEST_PATH)];
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn item_of(path: &str, at: usize) -> String {
    format!("{}[{at}]", &path[..path.floor_char_boundary(LONGEST_PATH)])
}

/// Reads JSON.
pub(crate) fn parse(text: &[u8]) -> Result<Body, serde_json::Error> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let seed = Tree { path: String::new(), duplicates: &mut duplicates };
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Body { value, duplicates, text: bytes::Bytes::new() })
}

/// Sorts complaints (`unknown field "a.b"`) by where their fields stand in a body.
pub(crate) fn in_order(complaints: &mut [String], body: &[u8]) {
    if complaints.len() < 2 || body.is_empty() {
        return;
    }
    let mut places = Places { count: 0, of: BTreeMap::new() };
    for complaint in complaints.iter() {
        places.of.entry(path_of(complaint).to_owned()).or_default();
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    // The body was read once; what is wrong with it now is nobody's concern.
    let _ = Order { path: String::new(), places: &mut places }.deserialize(&mut deserializer);
    let place = |complaint: &String| {
        let wanted = usize::from(complaint.starts_with("duplicate"));
        places.of.get(path_of(complaint)).and_then(|found| found.get(wanted)).copied()
    };
    complaints.sort_by_cached_key(|complaint| place(complaint).unwrap_or(usize::MAX));
}

/// The path that a complaint names.
fn path_of(complaint: &str) -> &str {
    complaint.split('"').nth(1).unwrap_or_default()
}

/// Where the fields stand that are asked for: their numbers in the order of the body.
struct Places {
    count: usize,
    of: BTreeMap<String, Vec<usize>>,
}

/// Walks the fields of a body in their order.
struct Order<'a> {
    path: String,
    places: &'a mut Places,
}

impl<'de> DeserializeSeed<'de> for Order<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Order<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut at = 0;
        loop {
            let path = item_of(&self.path, at);
            at += 1;
            if items.next_element_seed(Order { path, places: &mut *self.places })?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(name) = entries.next_key::<String>()? {
            let path = below(&self.path, &name);
            self.places.count += 1;
            let count = self.places.count;
            if let Some(places) = self.places.of.get_mut(&path) {
                places.push(count);
            }
            entries.next_value_seed(Order { path, places: &mut *self.places })?;
        }
        Ok(())
    }
}

struct Tree<'a> {
    path: String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        // Go's decoder keeps a whole number an integer, however it is written.
        const LIMIT: f64 = 9_007_199_254_740_992.0;
        if value.fract() == 0.0 && value.abs() < LIMIT {
            #[expect(clippy::cast_possible_truncation, reason = "whole and within the limit")]
            return Ok(Value::Number((value as i64).into()));
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a JSON number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        loop {
            let path = item_of(&self.path, found.len());
            let seed = Tree { path, duplicates: &mut *self.duplicates };
            match items.next_element_seed(seed)? {
                Some(item) => found.push(item),
                None => return Ok(Value::Array(found)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let path = below(&self.path, &name);
            let seed = Tree { path: path.clone(), duplicates: &mut *self.duplicates };
            let value = entries.next_value_seed(seed)?;
            if found.insert(name, value).is_some() && self.duplicates.len() < MAX_COMPLAINTS {
                let complaint = format!("duplicate field \"{path}\"");
                if !self.duplicates.contains(&complaint) {
                    self.duplicates.push(complaint);
                }
            }
        }
        if found.len() > 1_000_000 {
            return Err(A::Error::custom("too many fields"));
        }
        Ok(Value::Object(found))
    }
}
