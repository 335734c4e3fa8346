//! Go's `fmt` for template values: `Print`, `Sprint` spacing and `Sprintf` with every verb, flag and complaint.

use std::fmt::Write as _;

use crate::base::yaml::format_float;

use super::object::Object;
use super::text::{quote, quote_with, to_bytes};
use super::value::{IntKind, ListKind, MAX_DEPTH, Value};

/// What an action prints.
pub(crate) fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Nil | Value::NilInterface => out.push_str("<no value>"),
        Value::Str(text) => out.push_str(text),
        other => write_v(out, other, 0),
    }
}

/// `%v`.
pub(crate) fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write_v(&mut out, value, 0);
    out
}

/// Sprig's `strval`: bytes are text too.
pub(crate) fn strval(value: &Value) -> String {
    match value {
        Value::List(list) if list.kind == ListKind::Bytes => super::text::from_bytes(&list.bytes()),
        // The value's own String method has a pointer receiver, which a copy does not have.
        Value::Object(object) if matches!(**object, Object::KubeVersion(_)) => {
            struct_text(object, 0)
        }
        other => to_string(other),
    }
}

/// `fmt.Sprint`: a space between operands when neither is a string.
pub(crate) fn sprint(values: &[Value]) -> String {
    let mut out = String::new();
    let mut before_is_string = true;
    for (n, value) in values.iter().enumerate() {
        let is_string = matches!(value, Value::Str(_));
        if n > 0 && !is_string && !before_is_string {
            out.push(' ');
        }
        write_v(&mut out, value, 0);
        before_is_string = is_string;
    }
    out
}

/// `fmt.Sprintln`.
pub(crate) fn sprintln(values: &[Value]) -> String {
    let mut out = values.iter().map(to_string).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

fn write_v(out: &mut String, value: &Value, depth: usize) {
    if depth > MAX_DEPTH {
        out.push_str("...");
        return;
    }
    match value {
        Value::Nil | Value::NilInterface => out.push_str("<nil>"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value, kind) => match kind.stringer(*value) {
            Some(text) => out.push_str(&text),
            None => out.push_str(&int_text(*value, *kind)),
        },
        Value::Float(value) => out.push_str(&format_float(*value)),
        Value::Str(text) => out.push_str(text),
        Value::List(list) => {
            out.push('[');
            for (n, item) in list.items.iter().enumerate() {
                if n > 0 {
                    out.push(' ');
                }
                write_v(out, item, depth + 1);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (n, (key, item)) in map.entries.borrow().iter().enumerate() {
                if n > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write_v(out, item, depth + 1);
            }
            out.push(']');
        }
        Value::Object(object) => match object.stringer() {
            Some(text) => out.push_str(&text),
            None => out.push_str(&struct_text(object, depth)),
        },
    }
}

fn struct_text(object: &Object, depth: usize) -> String {
    let mut out = String::new();
    match object {
        Object::Files(files) => {
            out.push_str("map[");
            for (n, (name, data)) in files.iter().enumerate() {
                let space = if n > 0 { " " } else { "" };
                let _ = write!(out, "{space}{name}:");
                write_v(&mut out, &super::object::bytes(data), depth + 1);
            }
            out.push(']');
        }
        _ => {
            out.push_str(if object.kind_name() == "ptr" && depth == 0 { "&{" } else { "{" });
            let mut fields = object.fields();
            // A field that is not exported stands after the first.
            if let Object::KubeVersion(version) = object {
                fields.insert(1, ("normalizedVersion", Value::Str(version.normalized.clone())));
            }
            for (n, (_, value)) in fields.iter().enumerate() {
                if n > 0 {
                    out.push(' ');
                }
                write_v(&mut out, value, depth + 1);
            }
            out.push('}');
        }
    }
    out
}

fn int_text(value: i64, kind: IntKind) -> String {
    if kind == IntKind::Uint64 { value.cast_unsigned().to_string() } else { value.to_string() }
}

#[derive(Clone, Copy, Debug, Default)]
struct Spec {
    width: Option<usize>,
    precision: Option<usize>,
    minus: bool,
    plus: bool,
    /// `%+v`: field names, no signs.
    plus_v: bool,
    sharp: bool,
    space: bool,
    zero: bool,
}

/// Widths and precisions beyond this are refused, as in Go.
const MAX_WIDTH: i64 = 1_000_000;

/// `fmt.Sprintf`.
pub(crate) fn sprintf(format: &str, values: &[Value]) -> String {
    let mut out = String::with_capacity(format.len() + 16);
    let mut state =
        Directives { values, next: 0, reordered: false, chars: format, good_index: true };
    while let Some(at) = state.chars.find('%') {
        out.push_str(&state.chars[..at]);
        state.chars = &state.chars[at + 1..];
        state.directive(&mut out);
    }
    out.push_str(state.chars);
    if !state.reordered && state.next < values.len() {
        out.push_str("%!(EXTRA ");
        for (n, value) in values[state.next..].iter().enumerate() {
            if n > 0 {
                out.push_str(", ");
            }
            if value.is_nil() {
                out.push_str("<nil>");
            } else {
                let _ = write!(out, "{}=", value.type_name());
                write_v(&mut out, value, 0);
            }
        }
        out.push(')');
    }
    out
}

struct Directives<'a> {
    values: &'a [Value],
    next: usize,
    reordered: bool,
    chars: &'a str,
    good_index: bool,
}

impl Directives<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.chars = &self.chars[c.len_utf8()..];
        Some(c)
    }

    fn number(&mut self) -> Option<i64> {
        let n = self.chars.bytes().take_while(u8::is_ascii_digit).count();
        let digits = &self.chars[..n];
        self.chars = &self.chars[n..];
        if n == 0 { None } else { digits.parse().ok().filter(|value| *value <= MAX_WIDTH) }
    }

    /// `[n]`: the next operand by number.
    fn index(&mut self) -> bool {
        if self.peek() != Some('[') {
            return false;
        }
        self.reordered = true;
        match self.chars.find(']') {
            None => {
                self.good_index = false;
                self.chars = &self.chars[1..];
            }
            Some(end) => {
                let index = self.chars[1..end].parse::<usize>().ok();
                self.chars = &self.chars[end + 1..];
                match index.and_then(|index| index.checked_sub(1)) {
                    Some(index) if index < self.values.len() => self.next = index,
                    _ => self.good_index = false,
                }
            }
        }
        true
    }

    /// `*`: a width or precision from an operand.
    fn star(&mut self) -> Option<i64> {
        let value = self.values.get(self.next);
        self.next += usize::from(value.is_some());
        match value {
            Some(Value::Int(value, _)) if value.abs() <= MAX_WIDTH => Some(*value),
            _ => None,
        }
    }

    fn directive(&mut self, out: &mut String) {
        let mut spec = Spec::default();
        self.good_index = true;
        while let Some(flag) = self.peek() {
            match flag {
                '#' => spec.sharp = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                ' ' => spec.space = true,
                _ => break,
            }
            self.take();
        }
        let mut after_index = self.index();
        if self.peek() == Some('*') {
            self.take();
            match self.star() {
                None => out.push_str("%!(BADWIDTH)"),
                Some(width) => {
                    if width < 0 {
                        spec.minus = true;
                    }
                    spec.width = usize::try_from(width.abs()).ok();
                }
            }
            after_index = false;
        } else if let Some(width) = self.number() {
            spec.width = usize::try_from(width).ok();
            if after_index {
                self.good_index = false;
            }
        }
        if self.peek() == Some('.') {
            self.take();
            if after_index {
                self.good_index = false;
            }
            after_index = self.index();
            if self.peek() == Some('*') {
                self.take();
                match self.star() {
                    Some(precision) if precision >= 0 => {
                        spec.precision = usize::try_from(precision).ok();
                    }
                    Some(_) => {}
                    None => out.push_str("%!(BADPREC)"),
                }
                after_index = false;
            } else {
                spec.precision = Some(
                    self.number()
                        .and_then(|precision| usize::try_from(precision).ok())
                        .unwrap_or(0),
                );
            }
        }
        if !after_index {
            self.index();
        }
        let Some(verb) = self.take() else {
            out.push_str("%!(NOVERB)");
            return;
        };
        if verb == '%' {
            out.push('%');
        } else if !self.good_index {
            let _ = write!(out, "%!{verb}(BADINDEX)");
        } else if let Some(value) = self.values.get(self.next) {
            self.next += 1;
            if verb == 'v' && spec.plus {
                (spec.plus, spec.plus_v) = (false, true);
            }
            write_verb(out, value, verb, spec, 0);
        } else {
            let _ = write!(out, "%!{verb}(MISSING)");
        }
    }
}

fn bad_verb(out: &mut String, value: &Value, verb: char) {
    if value.is_nil() {
        let _ = write!(out, "%!{verb}(<nil>)");
    } else {
        let _ = write!(out, "%!{verb}({}=", value.type_name());
        write_v(out, value, 0);
        out.push(')');
    }
}

fn write_verb(out: &mut String, value: &Value, verb: char, spec: Spec, depth: usize) {
    if depth > MAX_DEPTH {
        out.push_str("...");
        return;
    }
    match verb {
        'T' => return pad(out, value.type_name(), Spec { zero: false, ..spec }),
        'p' => return bad_verb(out, value, verb),
        _ => {}
    }
    match value {
        Value::Nil | Value::NilInterface => match verb {
            'v' => pad(out, "<nil>", spec),
            _ if depth > 0 => out.push_str("<nil>"),
            _ => bad_verb(out, value, verb),
        },
        Value::Bool(flag) => match verb {
            't' | 'v' => pad(out, if *flag { "true" } else { "false" }, spec),
            _ => bad_verb(out, value, verb),
        },
        Value::Int(number, kind) => match kind.stringer(*number) {
            Some(text) if matches!(verb, 'v' | 's') => write_string(out, &text, 's', spec),
            Some(text) if verb == 'q' => write_string(out, &text, 'q', spec),
            _ => write_int(out, value, *number, *kind, verb, spec),
        },
        Value::Float(number) => write_float(out, value, *number, verb, spec),
        Value::Str(text) => match verb {
            'v' if spec.sharp => pad(out, &quote(text), spec),
            'v' | 's' | 'q' | 'x' | 'X' => write_string(out, text, verb, spec),
            _ => bad_verb(out, value, verb),
        },
        Value::List(list)
            if list.kind == ListKind::Bytes && matches!(verb, 's' | 'q' | 'x' | 'X') =>
        {
            write_string(out, &super::text::from_bytes(&list.bytes()), verb, spec);
        }
        Value::List(list) => {
            if verb == 'v' && spec.sharp {
                let _ = write!(out, "{}{{", list.kind.type_name());
            } else {
                out.push('[');
            }
            for (n, item) in list.items.iter().enumerate() {
                if n > 0 {
                    out.push_str(if verb == 'v' && spec.sharp { ", " } else { " " });
                }
                write_verb(out, item, verb, spec, depth + 1);
            }
            out.push(if verb == 'v' && spec.sharp { '}' } else { ']' });
        }
        Value::Map(map) => {
            let sharp = verb == 'v' && spec.sharp;
            if sharp {
                let _ = write!(out, "{}{{", map.kind.type_name());
            } else {
                out.push_str("map[");
            }
            for (n, (key, item)) in map.entries.borrow().iter().enumerate() {
                if n > 0 {
                    out.push_str(if sharp { ", " } else { " " });
                }
                write_verb(out, &Value::Str(key.clone()), verb, spec, depth + 1);
                out.push(':');
                write_verb(out, item, verb, spec, depth + 1);
            }
            out.push(if sharp { '}' } else { ']' });
        }
        Value::Object(object) => match (verb, object.stringer()) {
            ('v' | 's' | 'q' | 'x' | 'X', Some(text)) => {
                write_string(out, &text, if verb == 'v' { 's' } else { verb }, spec);
            }
            _ => {
                out.push('{');
                for (n, (name, field)) in object.fields().iter().enumerate() {
                    if n > 0 {
                        out.push(' ');
                    }
                    if spec.plus_v {
                        let _ = write!(out, "{name}:");
                    }
                    write_verb(out, field, verb, spec, depth + 1);
                }
                out.push('}');
            }
        },
    }
}

fn pad(out: &mut String, text: &str, spec: Spec) {
    let length = text.chars().count();
    let missing = spec.width.unwrap_or(0).saturating_sub(length);
    let fill = if spec.zero && !spec.minus { '0' } else { ' ' };
    if !spec.minus {
        out.extend(std::iter::repeat_n(fill, missing));
    }
    out.push_str(text);
    if spec.minus {
        out.extend(std::iter::repeat_n(' ', missing));
    }
}

fn write_string(out: &mut String, text: &str, verb: char, spec: Spec) {
    let cut = |text: &str| match spec.precision {
        Some(precision) => text.chars().take(precision).collect::<String>(),
        None => text.to_owned(),
    };
    match verb {
        'q' => {
            let text = cut(text);
            if spec.sharp && !text.contains(['`', '\u{FEFF}', '\n']) {
                pad(out, &format!("`{text}`"), spec);
            } else {
                pad(out, &quote_with(&text, '"', spec.plus), spec);
            }
        }
        'x' | 'X' => {
            let bytes = to_bytes(text);
            let bytes = &bytes[..spec.precision.unwrap_or(bytes.len()).min(bytes.len())];
            let mut hex = String::new();
            for (n, byte) in bytes.iter().enumerate() {
                if spec.space && n > 0 {
                    hex.push(' ');
                }
                if spec.sharp && (spec.space || n == 0) {
                    hex.push_str(if verb == 'x' { "0x" } else { "0X" });
                }
                let _ =
                    if verb == 'x' { write!(hex, "{byte:02x}") } else { write!(hex, "{byte:02X}") };
            }
            pad(out, &hex, spec);
        }
        _ => pad(out, &cut(text), spec),
    }
}

fn write_int(out: &mut String, value: &Value, number: i64, kind: IntKind, verb: char, spec: Spec) {
    let magnitude =
        if kind == IntKind::Uint64 { number.cast_unsigned() } else { number.unsigned_abs() };
    let negative = number < 0 && kind != IntKind::Uint64;
    let as_char = || u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{FFFD}');
    let (digits, prefix) = match verb {
        'v' | 'd' => (magnitude.to_string(), ""),
        'b' => (format!("{magnitude:b}"), "0b"),
        'o' => (format!("{magnitude:o}"), "0"),
        'O' => (format!("{magnitude:o}"), "0o"),
        'x' => (format!("{magnitude:x}"), "0x"),
        'X' => (format!("{magnitude:X}"), "0X"),
        'c' => return pad(out, &as_char().to_string(), spec),
        'q' => return pad(out, &quote_with(&as_char().to_string(), '\'', spec.plus), spec),
        'U' => {
            let mut text = format!("U+{magnitude:04X}");
            if spec.sharp && super::text::is_print(as_char()) {
                let _ = write!(text, " '{}'", as_char());
            }
            return pad(out, &text, Spec { zero: false, ..spec });
        }
        _ => return bad_verb(out, value, verb),
    };
    if spec.precision == Some(0) && number == 0 {
        return pad(out, "", Spec { zero: false, ..spec });
    }
    let sign = if negative {
        "-"
    } else if spec.plus {
        "+"
    } else if spec.space {
        " "
    } else {
        ""
    };
    let prefix =
        if (spec.sharp && !matches!(verb, 'd' | 'v')) || verb == 'O' { prefix } else { "" };
    let mut width = spec.precision.unwrap_or(0);
    if spec.precision.is_none() && spec.zero && !spec.minus {
        width = spec.width.unwrap_or(0).saturating_sub(sign.len());
    }
    let zeros = "0".repeat(width.saturating_sub(digits.len()).min(1_000_000));
    pad(out, &format!("{sign}{prefix}{zeros}{digits}"), Spec { zero: false, ..spec });
}

fn write_float(out: &mut String, value: &Value, number: f64, verb: char, spec: Spec) {
    let magnitude = number.abs();
    let mut text = match verb {
        'v' | 'g' | 'G' => match spec.precision {
            None => format_float(magnitude),
            Some(precision) => general(magnitude, precision.max(1)),
        },
        'e' | 'E' => exponent(magnitude, spec.precision.unwrap_or(6)),
        'b' => binary(magnitude),
        'x' | 'X' => hexadecimal(magnitude, spec.precision),
        'f' | 'F' => format!("{magnitude:.*}", spec.precision.unwrap_or(6).min(1_000)),
        _ => return bad_verb(out, value, verb),
    };
    if !number.is_finite() {
        text = if number.is_nan() { "NaN" } else { "Inf" }.to_owned();
    }
    if matches!(verb, 'E' | 'G' | 'X') {
        text = text.to_uppercase();
    }
    let sign = if number.is_sign_negative() && !number.is_nan() {
        "-"
    } else if spec.plus || (number.is_infinite() && verb == 'v') {
        "+"
    } else if spec.space {
        " "
    } else {
        ""
    };
    if spec.zero && !spec.minus && number.is_finite() {
        let width = spec.width.unwrap_or(0).saturating_sub(sign.len());
        let zeros = "0".repeat(width.saturating_sub(text.len()));
        out.push_str(sign);
        out.push_str(&zeros);
        out.push_str(&text);
        return;
    }
    pad(out, &format!("{sign}{text}"), Spec { zero: false, ..spec });
}

/// Mantissa as an integer and binary exponent of a float.
fn bits_of(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    match i32::try_from(bits >> 52 & 0x7FF).unwrap_or(0) {
        0 => (fraction, -1074),
        exponent => (fraction | 1 << 52, exponent - 1075),
    }
}

/// `%b`: mantissa, `p`, binary exponent.
fn binary(value: f64) -> String {
    let (mantissa, exponent) = bits_of(value);
    format!("{mantissa}p{exponent:+}")
}

/// `%x`: hexadecimal digits and a binary exponent.
fn hexadecimal(value: f64, precision: Option<usize>) -> String {
    let (mut mantissa, mut exponent) = bits_of(value);
    if mantissa == 0 {
        exponent = 0;
    } else {
        let shift = mantissa.leading_zeros() - 11;
        mantissa <<= shift;
        exponent += 52 - i32::try_from(shift).unwrap_or(0);
    }
    if let Some(precision) = precision.filter(|precision| *precision < 13) {
        let drop = u32::try_from(52 - 4 * precision).unwrap_or(0);
        let (half, rest) = (1u64 << (drop - 1), mantissa & ((1 << drop) - 1));
        mantissa -= rest;
        if rest > half || (rest == half && mantissa >> drop & 1 == 1) {
            mantissa += 1 << drop;
        }
        if mantissa >> 53 == 1 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let digits = format!("{:013x}", mantissa & ((1 << 52) - 1));
    let digits = match precision {
        None => digits.trim_end_matches('0').to_owned(),
        Some(precision) => format!("{digits:0<precision$}")[..precision].to_owned(),
    };
    let point = if digits.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x{}{point}{digits}p{sign}{:02}", mantissa >> 52, exponent.abs())
}

/// `%.Ne`.
fn exponent(value: f64, precision: usize) -> String {
    let text = format!("{value:.*e}", precision.min(1_000));
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// `%.Ng`.
fn general(value: f64, precision: usize) -> String {
    let scientific = format!("{value:.*e}", precision.min(1_000) - 1);
    let Some((digits, power)) = scientific.split_once('e') else { return scientific };
    let power: i32 = power.parse().unwrap_or(0);
    let trim = |text: &str| -> String {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let precision = i32::try_from(precision).unwrap_or(i32::MAX);
    let n_digits = i32::try_from(trim(digits).replace('.', "").len()).unwrap_or(0);
    let limit = if precision > n_digits && n_digits > power { n_digits } else { precision };
    if power < -4 || power >= limit.max(precision.min(21)) {
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(digits), power.unsigned_abs());
    }
    let decimals = usize::try_from(precision - 1 - power).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}
