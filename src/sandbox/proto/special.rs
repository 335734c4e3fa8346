//! Messages whose JSON is no object of their fields: times, quantities, JSON within JSON.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::wire::{Field, Reader};
use super::{MAGIC, META, Messages, ProtoError, decode_at, decode_message, lossy};

const APIEXTENSIONS: &str = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.";

/// The value of a special message; `None` for all others.
pub(super) fn decode(
    catalogue: &Messages,
    name: &str,
    bytes: &[u8],
    depth: usize,
) -> Option<Result<Value, ProtoError>> {
    if let Some(kind) = name.strip_prefix(META).and_then(|rest| rest.strip_prefix('.')) {
        return match kind {
            "Time" => Some(time(bytes, 0)),
            "MicroTime" => Some(time(bytes, 6)),
            "Duration" => Some(duration(bytes)),
            "FieldsV1" => Some(json(bytes, depth)),
            _ => None,
        };
    }
    match name {
        "k8s.io.apimachinery.pkg.api.resource.Quantity" => Some(text(bytes)),
        "k8s.io.apimachinery.pkg.util.intstr.IntOrString" => Some(int_or_string(bytes)),
        "k8s.io.apimachinery.pkg.runtime.RawExtension" => Some(json(bytes, depth)),
        _ => {
            let (_, kind) = name.strip_prefix(APIEXTENSIONS)?.split_once('.')?;
            match kind {
                "JSON" => Some(json(bytes, depth)),
                "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray" => {
                    Some(one_or_many(catalogue, name, bytes, depth))
                }
                "JSONSchemaPropsOrBool" => Some(schema_or_bool(catalogue, name, bytes, depth)),
                _ => None,
            }
        }
    }
}

/// Seconds and nanoseconds; nothing at all is no time.
fn time(bytes: &[u8], digits: usize) -> Result<Value, ProtoError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, Field::Varint(value)) => seconds = signed(value),
            (2, Field::Varint(value)) => nanos = signed(value),
            _ => {}
        }
    }
    let nanos = if digits == 0 { 0 } else { i32::try_from(nanos).unwrap_or_default() };
    let time = Timestamp::new(seconds, nanos).map_err(|_| ProtoError::Damaged { at: 0 })?;
    Ok(Value::from(if digits == 0 { time.to_string() } else { format!("{time:.6}") }))
}

#[expect(clippy::cast_possible_wrap, reason = "protobuf writes negative numbers as their bits")]
fn signed(value: u64) -> i64 {
    value as i64
}

/// Go's text of a span: `1h2m3.5s`.
fn duration(bytes: &[u8]) -> Result<Value, ProtoError> {
    let mut nanos = 0;
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if let (1, Field::Varint(value)) = (number, field) {
            nanos = signed(value);
        }
    }
    let span = SignedDuration::from_nanos(nanos);
    let sign = if span.is_negative() { "-" } else { "" };
    let span = span.unsigned_abs();
    let whole = span.as_secs();
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    let fraction = |value: u64, part: u32, digits: usize| {
        let text = format!("{value}.{part:0digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let small = span.subsec_nanos();
    let text = match (hours, minutes, whole) {
        (0, 0, 0) if small == 0 => "0s".to_owned(),
        (0, 0, 0) if small < 1_000 => format!("{small}ns"),
        (0, 0, 0) if small < 1_000_000 => {
            format!("{}µs", fraction(u64::from(small / 1_000), small % 1_000, 3))
        }
        (0, 0, 0) => format!("{}ms", fraction(u64::from(small / 1_000_000), small % 1_000_000, 6)),
        (0, 0, _) => format!("{}s", fraction(seconds, small, 9)),
        (0, _, _) => format!("{minutes}m{}s", fraction(seconds, small, 9)),
        _ => format!("{hours}h{minutes}m{}s", fraction(seconds, small, 9)),
    };
    Ok(Value::from(format!("{sign}{text}")))
}

/// The first field as bytes.
fn first(bytes: &[u8]) -> Result<&[u8], ProtoError> {
    let mut found: &[u8] = &[];
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        if let (1, Field::Bytes(bytes)) = (number, field) {
            found = bytes;
        }
    }
    Ok(found)
}

fn text(bytes: &[u8]) -> Result<Value, ProtoError> {
    let text = lossy(first(bytes)?);
    // A quantity that was never set is zero.
    Ok(Value::from(if text.is_empty() { "0".to_owned() } else { text }))
}

/// JSON as text, or an object in an envelope of its own.
fn json(bytes: &[u8], depth: usize) -> Result<Value, ProtoError> {
    let raw = first(bytes)?;
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    if raw.starts_with(MAGIC) {
        return decode_at(raw, depth + 1);
    }
    serde_json::from_slice(raw).map_err(|error| ProtoError::Json { message: error.to_string() })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtoError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((at, field)) = reader.next()? {
        match (at, field) {
            (1, Field::Varint(value)) => is_text = value == 1,
            (2, Field::Varint(value)) => number = signed(value),
            (3, Field::Bytes(bytes)) => text = lossy(bytes),
            _ => {}
        }
    }
    Ok(if is_text { Value::from(text) } else { Value::from(number) })
}

fn schema_name(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((package, _)) => format!("{package}.JSONSchemaProps"),
        None => String::new(),
    }
}

/// A schema in field 1, or a list of schemas or of texts in field 2.
fn one_or_many(
    catalogue: &Messages,
    name: &str,
    bytes: &[u8],
    depth: usize,
) -> Result<Value, ProtoError> {
    let schema = schema_name(name);
    let mut items = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => {
                return decode_message(catalogue, &schema, bytes, depth + 1);
            }
            (2, Field::Bytes(bytes)) if name.ends_with("StringArray") => {
                items.push(Value::from(lossy(bytes)));
            }
            (2, Field::Bytes(bytes)) => {
                items.push(decode_message(catalogue, &schema, bytes, depth + 1)?);
            }
            _ => {}
        }
    }
    Ok(Value::Array(items))
}

fn schema_or_bool(
    catalogue: &Messages,
    name: &str,
    bytes: &[u8],
    depth: usize,
) -> Result<Value, ProtoError> {
    let mut allows = false;
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, Field::Varint(value)) => allows = value != 0,
            (2, Field::Bytes(bytes)) => {
                return decode_message(catalogue, &schema_name(name), bytes, depth + 1);
            }
            _ => {}
        }
    }
    Ok(Value::Bool(allows))
}
