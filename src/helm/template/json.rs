//! JSON as Go's `encoding/json` writes it.

use serde_json::{Number, Value as Json};

/// How to write.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    /// `<`, `>` and `&` as `\u003c` and so on.
    pub(crate) escape_html: bool,
    /// Two spaces per level.
    pub(crate) pretty: bool,
}

/// Writes a value.
pub(crate) fn to_string(json: &Json, style: Style) -> String {
    let mut out = String::new();
    write(&mut out, json, style, 0);
    out
}

fn write(out: &mut String, json: &Json, style: Style, depth: usize) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => out.push_str(&number_text(number)),
        Json::String(text) => write_string(out, text, style.escape_html),
        Json::Array(items) if items.is_empty() => out.push_str("[]"),
        Json::Object(map) if map.is_empty() => out.push_str("{}"),
        Json::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                new_line(out, style, depth + 1);
                write(out, item, style, depth + 1);
            }
            new_line(out, style, depth);
            out.push(']');
        }
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (n, key) in keys.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                new_line(out, style, depth + 1);
                write_string(out, key, style.escape_html);
                out.push_str(if style.pretty { ": " } else { ":" });
                write(out, &map[key], style, depth + 1);
            }
            new_line(out, style, depth);
            out.push('}');
        }
    }
}

fn new_line(out: &mut String, style: Style, depth: usize) {
    if style.pretty {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

/// A float has an exponent below 1e-6 and from 1e21, and no fraction when it is whole.
pub(crate) fn number_text(number: &Number) -> String {
    if let Some(value) = number.as_i64() {
        return value.to_string();
    }
    if let Some(value) = number.as_u64() {
        return value.to_string();
    }
    let value = number.as_f64().unwrap_or_default();
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    if (1e-6..1e21).contains(&value.abs()) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

fn write_string(out: &mut String, text: &str, escape_html: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0C' => out.push_str("\\f"),
            '<' | '>' | '&' if escape_html => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
