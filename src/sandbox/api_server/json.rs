//! Request bodies: JSON with duplicate fields told apart, and YAML.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A body as a tree, with the paths of fields given twice (the last one counts).
pub(crate) struct Body {
    pub(crate) value: Value,
    pub(crate) duplicates: Vec<String>,
    /// The text that was read, where its order matters; else empty.
    pub(crate) text: bytes::Bytes,
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
    let mut order = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    // The body was read once; what is wrong with it now is nobody's concern.
    let _ = Order { path: String::new(), order: &mut order }.deserialize(&mut deserializer);
    let place = |complaint: &String| {
        let path = complaint.split('"').nth(1).unwrap_or_default();
        let wanted = if complaint.starts_with("duplicate") { 2 } else { 1 };
        let mut places = order.iter().enumerate().filter(|(_, found)| *found == path);
        places.nth(wanted - 1).map_or(usize::MAX, |(at, _)| at)
    };
    complaints.sort_by_cached_key(place);
}

/// Collects the paths of fields in their order.
struct Order<'a> {
    path: String,
    order: &'a mut Vec<String>,
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
            let path = format!("{}[{at}]", self.path);
            at += 1;
            if items.next_element_seed(Order { path, order: &mut *self.order })?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(name) = entries.next_key::<String>()? {
            let path = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
            self.order.push(path.clone());
            entries.next_value_seed(Order { path, order: &mut *self.order })?;
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
            let path = format!("{}[{}]", self.path, found.len());
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
            let path =
                if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            let seed = Tree { path: path.clone(), duplicates: &mut *self.duplicates };
            let value = entries.next_value_seed(seed)?;
            if found.insert(name, value).is_some() && !self.duplicates.contains(&path) {
                self.duplicates.push(path);
            }
        }
        if found.len() > 1_000_000 {
            return Err(A::Error::custom("too many fields"));
        }
        Ok(Value::Object(found))
    }
}
