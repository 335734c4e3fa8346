//! The verbs of Go's `fmt.Sprintf`: what each makes of each type, with every flag.

use std::fmt::Write as _;

use crate::base::yaml::format_float;

use super::object::Object;
use super::print::Out;
use super::text::{quote_with, to_bytes};
use super::value::{IntKind, ListKind, MAX_DEPTH, Value};

/// Width, precision and flags of a directive.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spec {
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
    pub(super) minus: bool,
    pub(super) plus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    /// `%+v`: field names, no signs.
    pub(super) plus_v: bool,
    /// `%#v`: Go syntax.
    pub(super) sharp_v: bool,
    /// Inside of a complaint types do not print themselves.
    complaining: bool,
}

/// A value for a verb that its type does not know: a complaint, with the value as `%v` and the same flags.
fn bad_verb(out: &mut Out<'_>, value: &Value, verb: char, spec: Spec) {
    if value.is_nil() {
        let _ = write!(out, "%!{verb}(<nil>)");
        return;
    }
    let _ = write!(out, "%!{verb}({}=", value.type_name());
    write_verb(out, value, 'v', Spec { complaining: true, ..spec }, 0);
    out.push(')');
}

/// What a type's own `String` method says, where the verb asks for it.
fn stringer(value: &Value, verb: char, spec: Spec) -> Option<String> {
    if spec.complaining || spec.sharp_v || !matches!(verb, 'v' | 's' | 'q' | 'x' | 'X') {
        return None;
    }
    match value {
        Value::Int(number, kind) => kind.stringer(*number),
        Value::Object(object) => object.stringer(),
        _ => None,
    }
}

pub(super) fn write_verb(out: &mut Out<'_>, value: &Value, verb: char, spec: Spec, depth: usize) {
    if depth > MAX_DEPTH {
        out.push_str("...");
        return;
    }
    if depth == 0 && verb == 'p' {
        return bad_verb(out, value, verb, spec);
    }
    if depth == 0 && verb == 'T' {
        return match value {
            Value::Nil | Value::NilInterface => pad(out, "<nil>", spec),
            other => write_string(out, other.type_name(), 's', spec),
        };
    }
    if let Some(text) = stringer(value, verb, spec) {
        return write_string(out, &text, verb, spec);
    }
    match value {
        Value::Nil | Value::NilInterface if depth > 0 && spec.sharp_v => {
            out.push_str("interface {}(nil)");
        }
        Value::Nil | Value::NilInterface if depth > 0 => out.push_str("<nil>"),
        Value::Nil | Value::NilInterface if verb == 'v' => pad(out, "<nil>", spec),
        Value::Nil | Value::NilInterface => bad_verb(out, value, verb, spec),
        Value::Bool(flag) => match verb {
            't' | 'v' => pad(out, if *flag { "true" } else { "false" }, spec),
            _ => bad_verb(out, value, verb, spec),
        },
        Value::Int(number, kind) => write_int(out, value, *number, *kind, verb, spec),
        Value::Float(number) => write_float(out, value, *number, verb, spec),
        Value::Str(text) => match verb {
            'v' if spec.sharp_v => write_string(out, text, 'q', spec),
            'v' | 's' | 'q' | 'x' | 'X' => write_string(out, text, verb, spec),
            _ => bad_verb(out, value, verb, spec),
        },
        Value::List(list)
            if list.kind == ListKind::Bytes && matches!(verb, 's' | 'q' | 'x' | 'X') =>
        {
            write_string(out, &super::text::from_bytes(&list.bytes()), verb, spec);
        }
        Value::List(list) => {
            let (open, between, close) = if spec.sharp_v {
                out.push_str(list.kind.type_name());
                ('{', ", ", '}')
            } else {
                ('[', " ", ']')
            };
            out.push(open);
            for (n, item) in list.items.iter().enumerate() {
                if !out.element() {
                    return;
                }
                if n > 0 {
                    out.push_str(between);
                }
                write_verb(out, item, verb, spec, depth + 1);
            }
            out.push(close);
        }
        Value::Map(map) => {
            let (between, close) = if spec.sharp_v {
                out.push_str(map.kind.type_name());
                out.push('{');
                (", ", '}')
            } else {
                out.push_str("map[");
                (" ", ']')
            };
            for (n, (key, item)) in map.entries.borrow().iter().enumerate() {
                if !out.element() {
                    return;
                }
                if n > 0 {
                    out.push_str(between);
                }
                write_verb(out, &Value::Str(key.clone()), verb, spec, depth + 1);
                out.push(':');
                write_verb(out, item, verb, spec, depth + 1);
            }
            out.push(close);
        }
        Value::Object(object) => write_object(out, object, verb, spec, depth),
    }
}

fn write_object(out: &mut Out<'_>, object: &Object, verb: char, spec: Spec, depth: usize) {
    out.push('{');
    for (n, (name, field)) in object.fields().iter().enumerate() {
        if n > 0 {
            out.push_str(if spec.sharp_v { ", " } else { " " });
        }
        if spec.plus_v || spec.sharp_v {
            let _ = write!(out, "{name}:");
        }
        write_verb(out, field, verb, spec, depth + 1);
    }
    out.push('}');
}

fn pad(out: &mut Out<'_>, text: &str, spec: Spec) {
    let length = text.chars().count();
    let missing = spec.width.unwrap_or(0).saturating_sub(length);
    let fill = if spec.zero && !spec.minus { '0' } else { ' ' };
    if !spec.minus {
        out.fill(fill, missing);
    }
    out.push_str(text);
    if spec.minus {
        out.fill(' ', missing);
    }
}

fn write_string(out: &mut Out<'_>, text: &str, verb: char, spec: Spec) {
    let cut = |text: &str| match spec.precision {
        Some(precision) => text.chars().take(precision).collect::<String>(),
        None => text.to_owned(),
    };
    match verb {
        'q' => {
            let text = cut(text);
            if spec.sharp && can_backquote(&text) {
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

/// Go's `strconv.CanBackquote`.
fn can_backquote(text: &str) -> bool {
    let allowed =
        |c: char| c == '\t' || !(c.is_control() && c < '\u{80}' || matches!(c, '`' | '\u{FEFF}'));
    text.chars().all(|c| allowed(c) && super::text::stray_byte(c).is_none())
}

/// Longer runs of zeros before a number are not written.
const MAX_ZEROS: usize = 1_000_000;

fn write_int(out: &mut Out<'_>, value: &Value, number: i64, kind: IntKind, verb: char, spec: Spec) {
    let signed = !kind.is_unsigned();
    let magnitude = if signed { number.unsigned_abs() } else { number.cast_unsigned() };
    let character = u32::try_from(number).ok().and_then(char::from_u32);
    let as_char = || character.unwrap_or(char::REPLACEMENT_CHARACTER);
    let go_syntax = verb == 'v' && spec.sharp_v && !signed;
    let digits = match verb {
        'v' if go_syntax => format!("{magnitude:x}"),
        'v' | 'd' => magnitude.to_string(),
        'b' => format!("{magnitude:b}"),
        'o' | 'O' => format!("{magnitude:o}"),
        'x' => format!("{magnitude:x}"),
        'X' => format!("{magnitude:X}"),
        'c' => return pad(out, &as_char().to_string(), spec),
        'q' => return pad(out, &quote_with(&as_char().to_string(), '\'', spec.plus), spec),
        'U' => {
            let width = spec.precision.unwrap_or(0).clamp(4, MAX_ZEROS);
            let mut text = format!("U+{:0width$X}", number.cast_unsigned());
            if let Some(c) = character.filter(|c| spec.sharp && super::text::is_print(*c)) {
                let _ = write!(text, " '{c}'");
            }
            return pad(out, &text, Spec { zero: false, ..spec });
        }
        _ => return bad_verb(out, value, verb, spec),
    };
    let spaced = Spec { zero: false, ..spec };
    if spec.precision == Some(0) && number == 0 {
        return pad(out, "", spaced);
    }
    let sign = if signed && number < 0 {
        "-"
    } else if spec.plus {
        "+"
    } else if spec.space {
        " "
    } else {
        ""
    };
    let mut width = spec.precision.unwrap_or(0);
    if spec.precision.is_none() && spec.zero && !spec.minus {
        width = spec.width.unwrap_or(0).saturating_sub(sign.len());
    }
    let zeros = "0".repeat(width.saturating_sub(digits.len()).min(MAX_ZEROS));
    let prefix = match verb {
        'O' if spec.sharp && !zeros.starts_with('0') && !digits.starts_with('0') => "0o0",
        'O' => "0o",
        'v' if go_syntax => "0x",
        'b' if spec.sharp => "0b",
        'o' if spec.sharp && !zeros.starts_with('0') && !digits.starts_with('0') => "0",
        'x' if spec.sharp => "0x",
        'X' if spec.sharp => "0X",
        _ => "",
    };
    pad(out, &format!("{sign}{prefix}{zeros}{digits}"), spaced);
}

fn write_float(out: &mut Out<'_>, value: &Value, number: f64, verb: char, spec: Spec) {
    let magnitude = number.abs();
    let precision = spec.precision;
    let mut text = match verb {
        _ if number.is_nan() => "NaN".to_owned(),
        _ if number.is_infinite() => "Inf".to_owned(),
        'v' | 'g' | 'G' => match precision {
            None => format_float(magnitude),
            Some(precision) => general(magnitude, precision.max(1)),
        },
        'e' | 'E' => exponent(magnitude, precision.unwrap_or(6)),
        'b' => binary(magnitude),
        'x' | 'X' => hexadecimal(magnitude, precision),
        'f' | 'F' => format!("{magnitude:.*}", precision.unwrap_or(6).min(MAX_DIGITS)),
        _ => return bad_verb(out, value, verb, spec),
    };
    if matches!(verb, 'E' | 'G' | 'X') && number.is_finite() {
        text = text.to_uppercase();
    }
    let negative = number.is_sign_negative() && !number.is_nan();
    let sign = if negative {
        '-'
    } else if spec.space && !spec.plus {
        ' '
    } else {
        '+'
    };
    if !number.is_finite() {
        let spaced = Spec { zero: false, ..spec };
        let bare = number.is_nan() && !spec.space && !spec.plus;
        let sign = if bare { String::new() } else { sign.to_string() };
        return pad(out, &format!("{sign}{text}"), spaced);
    }
    if spec.sharp && verb != 'b' {
        text = with_point(&text, verb, precision);
    }
    if !spec.plus && sign == '+' {
        return pad(out, &text, spec);
    }
    let width = spec.width.unwrap_or(0);
    if spec.zero && !spec.minus && width > text.len() + 1 {
        // The sign stands before the zeros.
        out.push(sign);
        return pad(out, &text, Spec { width: Some(width - 1), ..spec });
    }
    pad(out, &format!("{sign}{text}"), spec);
}

/// What `#` does to a float: a point always, and for some verbs the zeros that make the digits complete.
fn with_point(text: &str, verb: char, precision: Option<usize>) -> String {
    let is_hex = matches!(verb, 'x' | 'X');
    let end = text
        .find(|c| matches!(c, 'p' | 'P') || (!is_hex && matches!(c, 'e' | 'E')))
        .unwrap_or(text.len());
    let (digits, tail) = text.split_at(end);
    let mut missing = match verb {
        'v' | 'g' | 'G' | 'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let significant = digits.chars().filter(|c| *c != '.').skip_while(|c| *c == '0').count();
    missing = missing.saturating_sub(significant);
    let mut out = digits.to_owned();
    if !digits.contains('.') {
        // A single zero counts as a digit.
        missing = missing.saturating_sub(usize::from(digits == "0"));
        out.push('.');
    }
    out.extend(std::iter::repeat_n('0', missing.min(MAX_DIGITS)));
    out + tail
}

/// Digits of a float beyond this are not written.
const MAX_DIGITS: usize = 1_000;

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
    let text = format!("{value:.*e}", precision.min(MAX_DIGITS));
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// `%.Ng`.
fn general(value: f64, precision: usize) -> String {
    let scientific = format!("{value:.*e}", precision.min(MAX_DIGITS) - 1);
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
