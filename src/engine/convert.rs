//! `Dynamic` to JSON and back, with the path of what does not fit.
//!
//! Rhai's own serde bridge writes what it does not know as the name of its Rust type; a manifest must never hold that, so
//! the conversion is checked value by value.

use rhai::{Array, Dynamic, FnPtr, Map};
use serde_json::{Number, Value};

use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::secret::Secret;

/// What becomes of a secret inside of data.
#[derive(Clone, Copy)]
enum Secrets<'a> {
    Refuse,
    /// Revealed, for the wire; each one is told to the listener.
    Reveal(&'a dyn Fn(&Secret)),
}

/// A script value as JSON; `path` begins the path in the error. A secret inside is refused.
pub fn to_json(value: &Dynamic, path: &str) -> Result<Value, Diagnostic> {
    convert(value, path, Secrets::Refuse)
}

/// As `to_json`, for data that goes to the API server: a secret inside becomes its text, and `learn` is told of it.
pub fn to_json_revealing(
    value: &Dynamic,
    path: &str,
    learn: &dyn Fn(&Secret),
) -> Result<Value, Diagnostic> {
    convert(value, path, Secrets::Reveal(learn))
}

fn convert(value: &Dynamic, path: &str, secrets: Secrets<'_>) -> Result<Value, Diagnostic> {
    let refuse = |what: &str| {
        Err(Diagnostic::new(ErrorKind::Argument, format!("`{path}`: {what} cannot be in data")))
    };
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = value.as_bool() {
        return Ok(Value::Bool(flag));
    }
    if let Ok(int) = value.as_int() {
        return Ok(Value::Number(int.into()));
    }
    if let Ok(float) = value.as_float() {
        return Number::from_f64(float)
            .map(Value::Number)
            .map_or_else(|| refuse("a number that is not finite"), Ok);
    }
    if value.is_string() {
        let text = value.clone().into_immutable_string().unwrap_or_default();
        return Ok(Value::String(text.to_string()));
    }
    if let Ok(letter) = value.as_char() {
        return Ok(Value::String(letter.to_string()));
    }
    if let Some(items) = value.read_lock::<Array>() {
        return items
            .iter()
            .enumerate()
            .map(|(index, item)| convert(item, &format!("{path}[{index}]"), secrets))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array);
    }
    if let Some(entries) = value.read_lock::<Map>() {
        return entries
            .iter()
            .map(|(key, entry)| {
                let path = if key.contains('.') {
                    format!("{path}[\"{key}\"]")
                } else {
                    format!("{path}.{key}")
                };
                Ok((key.to_string(), convert(entry, &path, secrets)?))
            })
            .collect::<Result<serde_json::Map<_, _>, Diagnostic>>()
            .map(Value::Object);
    }
    if let Some(secret) = value.read_lock::<Secret>() {
        return match secrets {
            Secrets::Refuse => refuse("a secret"),
            Secrets::Reveal(learn) => {
                learn(&secret);
                Ok(Value::String(secret.reveal().to_owned()))
            }
        };
    }
    if value.read_lock::<FnPtr>().is_some() {
        return refuse("a closure");
    }
    refuse(&format!("a value of type {}", type_word(value.type_name())))
}

/// JSON as a script value. Integers above what a script can hold become floats.
pub fn to_dynamic(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => number
            .as_i64()
            .map(Dynamic::from_int)
            .or_else(|| number.as_f64().map(Dynamic::from_float))
            .unwrap_or_default(),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(to_dynamic).collect::<Array>().into(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, entry)| (key.as_str().into(), to_dynamic(entry)))
            .collect::<Map>()
            .into(),
    }
}

/// The word of our docs for a type name of Rhai or Rust.
pub fn type_word(name: &str) -> &str {
    match name {
        "i64" | "INT" => "int",
        "f64" | "FLOAT" => "float",
        "&str" | "str" | "ImmutableString" | "String" | "alloc::string::String" => "string",
        "Map" | "rhai::Map" => "map",
        "Array" | "rhai::Array" => "array",
        "Fn" | "FnPtr" | "rhai::types::fn_ptr::FnPtr" => "closure",
        "Dynamic" => "any",
        "range" | "core::ops::range::Range<i64>" => "range",
        "range=" | "core::ops::range::RangeInclusive<i64>" => "range",
        "timestamp" | "std::time::Instant" => "timestamp",
        name if name.ends_with("::Secret") => "secret",
        name => name,
    }
}

/// The word for the type of a value.
pub fn type_of(value: &Dynamic) -> &'static str {
    if value.is_unit() {
        "()"
    } else if value.is_string() {
        "string"
    } else if value.is_int() {
        "int"
    } else if value.is_float() {
        "float"
    } else if value.is_bool() {
        "bool"
    } else if value.is_char() {
        "char"
    } else if value.is_array() {
        "array"
    } else if value.is_map() {
        "map"
    } else if value.is_fnptr() {
        "closure"
    } else if value.read_lock::<Secret>().is_some() {
        "secret"
    } else {
        "another type"
    }
}
