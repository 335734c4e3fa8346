//! YAML, JSON, TOML and base encodings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::{Fault, Function, Type, Value, any, done, text};
use crate::base::yaml;
use crate::helm::template::eval::Context;
use crate::helm::template::json::{self, Style};
use crate::helm::template::text::{from_bytes, to_bytes};
use crate::helm::template::value::Entries;
use crate::helm::template::work::Work;

const HTML: Style = Style { escape_html: true, pretty: false };
const PRETTY: Style = Style { escape_html: true, pretty: true };
const RAW: Style = Style { escape_html: false, pretty: false };

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("toYaml", &[Type::Any], |c, a| done(to_yaml(c, any(a, 0)).unwrap_or_default())),
    Function::new("mustToYaml", &[Type::Any], |c, a| {
        done(
            to_yaml(c, any(a, 0))
                .map_err(|e| Fault::new(format!("error marshaling into JSON: {e}")))?,
        )
    }),
    Function::new("toYamlPretty", &[Type::Any], |c, a| done(to_yaml_pretty(c, any(a, 0)))),
    Function::new("fromYaml", &[Type::Str], |c, a| {
        let text = text(a, 0);
        // Charts read a text once for its name and once more for the rest.
        let mut last = c.engine.last_yaml.borrow_mut();
        if let Some((known, json)) = &*last
            && known == text
        {
            return Ok(Value::from_decoded(json, c.work()));
        }
        *last = None;
        Ok(match parse_yaml(c, text) {
            Ok(json @ Json::Object(_)) => {
                let value = Value::from_decoded(&json, c.work());
                *last = Some((text.to_owned(), json));
                value
            }
            other => from_yaml(c, other),
        })
    }),
    Function::new("fromYamlArray", &[Type::Str], |c, a| Ok(from_yaml_array(c, text(a, 0)))),
    Function::new("toJson", &[Type::Any], |c, a| {
        done(to_json(c, any(a, 0), HTML).unwrap_or_default())
    }),
    Function::new("mustToJson", &[Type::Any], |c, a| {
        done(to_json(c, any(a, 0), HTML).map_err(Fault::new)?)
    }),
    Function::new("toPrettyJson", &[Type::Any], |c, a| {
        done(to_json(c, any(a, 0), PRETTY).unwrap_or_default())
    }),
    Function::new("mustToPrettyJson", &[Type::Any], |c, a| {
        done(to_json(c, any(a, 0), PRETTY).map_err(Fault::new)?)
    }),
    Function::new("toRawJson", &[Type::Any], |c, a| {
        done(to_json(c, any(a, 0), RAW).map_err(Fault::new)?)
    }),
    Function::new("mustToRawJson", &[Type::Any], |c, a| {
        done(to_json(c, any(a, 0), RAW).map_err(Fault::new)?)
    }),
    Function::new("fromJson", &[Type::Str], |c, a| {
        Ok(match parse_json(c, text(a, 0)) {
            Ok(json @ Json::Object(_)) => Value::from_decoded(&json, c.work()),
            Ok(Json::Null) => Value::map(Entries::new()),
            Ok(other) => error_map(&format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                json_kind(&other)
            )),
            Err(error) => error_map(&error),
        })
    }),
    Function::new("fromJsonArray", &[Type::Str], |c, a| {
        Ok(match parse_json(c, text(a, 0)) {
            Ok(json @ Json::Array(_)) => Value::from_decoded(&json, c.work()),
            Ok(Json::Null) => Value::list(Vec::new()),
            Ok(other) => error_list(&format!(
                "json: cannot unmarshal {} into Go value of type []interface {{}}",
                json_kind(&other)
            )),
            Err(error) => error_list(&error),
        })
    }),
    Function::new("mustFromJson", &[Type::Str], |c, a| {
        parse_json(c, text(a, 0))
            .map(|json| Value::from_decoded(&json, c.work()))
            .map_err(Fault::new)
    }),
    Function::new("toToml", &[Type::Any], |c, a| done(to_toml(c, any(a, 0))?)),
    Function::new("mustToToml", &[Type::Any], |c, a| done(to_toml(c, any(a, 0))?)),
    Function::new("fromToml", &[Type::Str], |c, a| {
        if !c.work().made(text(a, 0).len()) {
            return Ok(Value::Nil);
        }
        Ok(match toml::from_str::<toml::Table>(text(a, 0)) {
            Ok(table) => from_toml(toml::Value::Table(table)),
            Err(error) => error_map(&format!("toml: {}", error.message())),
        })
    }),
    Function::new("b64enc", &[Type::Str], |_, a| done(STANDARD.encode(to_bytes(text(a, 0))))),
    Function::new("b64dec", &[Type::Str], |_, a| done(base64_decode(text(a, 0)))),
    Function::new("b32enc", &[Type::Str], |_, a| done(base32_encode(&to_bytes(text(a, 0))))),
    Function::new("b32dec", &[Type::Str], |_, a| done(base32_decode(text(a, 0)))),
];

fn to_yaml(context: &Context<'_>, value: &Value) -> Result<String, String> {
    let json = value.to_json(context.work()).map_err(|error| error.0)?;
    let mut out = yaml::emit(&json);
    if out.ends_with('\n') {
        out.pop();
    }
    Ok(out)
}

/// go-yaml v3's style: sequences are indented inside mappings.
fn to_yaml_pretty(context: &Context<'_>, value: &Value) -> String {
    let Ok(json) = value.to_json(context.work()) else { return String::new() };
    let mut out = yaml::emit_indented(&json);
    if out.ends_with('\n') {
        out.pop();
    }
    out
}

fn to_json(context: &Context<'_>, value: &Value, style: Style) -> Result<String, String> {
    value.to_json(context.work()).map(|json| json::to_string(&json, style)).map_err(|error| error.0)
}

/// Reading takes longer than the text alone tells; what it becomes is paid for after that.
fn parse_yaml(context: &Context<'_>, text: &str) -> Result<Json, yaml::YamlError> {
    if context.work().made(text.len()) { yaml::parse(text) } else { Ok(Json::Null) }
}

fn error_map(message: &str) -> Value {
    Value::map([("Error".into(), Value::str(message))].into())
}

fn error_list(message: &str) -> Value {
    Value::list(vec![Value::str(message)])
}

fn json_kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn from_yaml(context: &Context<'_>, parsed: Result<Json, yaml::YamlError>) -> Value {
    match parsed {
        Ok(json @ Json::Object(_)) => Value::from_decoded(&json, context.work()),
        Ok(Json::Null) => Value::map(Entries::new()),
        Ok(other) => error_map(&format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            json_kind(&other)
        )),
        Err(error) => error_map(&error.go_text()),
    }
}

fn from_yaml_array(context: &Context<'_>, text: &str) -> Value {
    match parse_yaml(context, text) {
        Ok(json @ Json::Array(_)) => Value::from_decoded(&json, context.work()),
        Ok(Json::Null) => Value::list(Vec::new()),
        Ok(other) => error_list(&format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type []interface {{}}",
            json_kind(&other)
        )),
        Err(error) => error_list(&error.go_text()),
    }
}

/// Go's messages for the common mistakes.
fn parse_json(context: &Context<'_>, text: &str) -> Result<Json, String> {
    if !context.work().made(text.len()) {
        return Ok(Json::Null);
    }
    serde_json::from_str(text).map_err(|error| {
        if error.is_eof() {
            return "unexpected end of JSON input".to_owned();
        }
        let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
        let c = line.chars().nth(error.column().saturating_sub(1)).unwrap_or(' ');
        let place = if text.trim_start().starts_with(c) && error.column() <= 1 {
            "looking for beginning of value"
        } else if error.to_string().starts_with("trailing") {
            "after top-level value"
        } else if error.to_string().starts_with("key must be") {
            "looking for beginning of object key string"
        } else if error.to_string().contains("`,` or `}`") {
            "after object key:value pair"
        } else if error.to_string().contains("`,` or `]`") {
            "after array element"
        } else if error.to_string().contains("expected `:`") {
            "after object key"
        } else {
            "looking for beginning of value"
        };
        format!("invalid character '{c}' {place}")
    })
}

fn to_toml(context: &Context<'_>, value: &Value) -> Result<String, Fault> {
    if value.is_nil() {
        return Err(Fault::new("reflect: call of reflect.Value.Type on zero Value"));
    }
    let json = value.to_json(context.work()).map_err(|error| Fault::new(error.0))?;
    let Json::Object(map) = json else { return Ok(toml_inline(&json).unwrap_or_default()) };
    let mut out = String::new();
    write_table(context.work(), &mut out, &map, "", 0);
    Ok(out)
}

/// BurntSushi's layout: plain keys first, then tables, each level indented by two spaces.
fn write_table(
    work: &Work,
    out: &mut String,
    map: &serde_json::Map<String, Json>,
    path: &str,
    depth: usize,
) {
    if !work.made(path.len() * map.len()) {
        return;
    }
    let pad = "  ".repeat(depth);
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    let is_table = |value: &Json| match value {
        Json::Object(_) => true,
        Json::Array(items) => !items.is_empty() && items.iter().all(Json::is_object),
        _ => false,
    };
    for key in keys.iter().filter(|key| !is_table(&map[**key])) {
        if let Some(value) = toml_inline(&map[*key]) {
            out.push_str(&format!("{pad}{} = {value}\n", toml_key(key)));
        }
    }
    for key in keys.iter().filter(|key| is_table(&map[**key])) {
        let name =
            if path.is_empty() { toml_key(key) } else { format!("{path}.{}", toml_key(key)) };
        match &map[*key] {
            Json::Object(table) => {
                if depth == 0 && !out.is_empty() {
                    out.push('\n');
                }
                out.push_str(&format!("{pad}[{name}]\n"));
                write_table(work, out, table, &name, depth + 1);
            }
            Json::Array(items) => {
                if !work.made(name.len() * items.len()) {
                    return;
                }
                for item in items.iter().filter_map(Json::as_object) {
                    if !out.is_empty() {
                        out.push('\n');
                    }
                    out.push_str(&format!("{pad}[[{name}]]\n"));
                    write_table(work, out, item, &name, depth + 1);
                }
            }
            _ => {}
        }
    }
}

fn toml_key(key: &str) -> String {
    let bare = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if bare { key.to_owned() } else { toml_string(key) }
}

fn toml_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0C' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\x7F' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn toml_inline(value: &Json) -> Option<String> {
    Some(match value {
        Json::Null => return None,
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => {
            let text = yaml::format_float(number.as_f64().unwrap_or_default());
            if number.is_f64() && !text.contains(['.', 'e']) {
                format!("{text}.0")
            } else if number.is_f64() {
                text
            } else {
                number.to_string()
            }
        }
        Json::String(text) => toml_string(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(toml_inline).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .filter_map(|(key, value)| {
                    Some(format!("{} = {}", toml_key(key), toml_inline(value)?))
                })
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    })
}

fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::str(text),
        toml::Value::Integer(value) => Value::int64(value),
        toml::Value::Float(value) => Value::Float(value),
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Datetime(moment) => Value::str(moment.to_string()),
        toml::Value::Array(items) => Value::list(items.into_iter().map(from_toml).collect()),
        toml::Value::Table(table) => Value::map(
            table.into_iter().map(|(key, value)| (key.into(), from_toml(value))).collect(),
        ),
    }
}

/// Go's decoder skips line breaks and names the offset of the first wrong byte.
pub(super) fn base64_decode(text: &str) -> String {
    let bytes: Vec<u8> =
        to_bytes(text).iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    match STANDARD.decode(&bytes) {
        Ok(data) => from_bytes(&data),
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _)
                | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                    bytes.len() / 4 * 4
                }
            };
            format!("illegal base64 data at input byte {at}")
        }
    }
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32_encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(5) {
        let mut block = [0u8; 5];
        block[..chunk.len()].copy_from_slice(chunk);
        let value = block.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let n_symbols = (chunk.len() * 8).div_ceil(5);
        for n in 0..8 {
            if n < n_symbols {
                let symbol = usize::try_from(value >> (35 - 5 * n) & 31).unwrap_or(0);
                out.push(char::from(BASE32[symbol]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

fn base32_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let (mut value, mut n_bits) = (0u64, 0);
    let trimmed = text.trim_end_matches('=');
    for (at, byte) in trimmed.bytes().enumerate() {
        if matches!(byte, b'\r' | b'\n') {
            continue;
        }
        let Some(symbol) = BASE32.iter().position(|known| *known == byte) else {
            return format!("illegal base32 data at input byte {at}");
        };
        value = value << 5 | u64::try_from(symbol).unwrap_or(0);
        n_bits += 5;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push(u8::try_from(value >> n_bits & 0xFF).unwrap_or(0));
        }
    }
    if !text.len().is_multiple_of(8) {
        return format!("illegal base32 data at input byte {}", text.len() / 8 * 8);
    }
    from_bytes(&bytes)
}
