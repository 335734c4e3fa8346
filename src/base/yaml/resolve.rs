//! What a plain scalar means: YAML 1.1 as go-yaml v2 reads it.

use serde_json::{Number, Value};

/// A scalar with its type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// A date or time; it stays the text that it is, but needs quotes to be a string.
    Timestamp(&'a str),
    Str(&'a str),
}

/// Resolves the text of a plain scalar.
pub(super) fn resolve(text: &str) -> Scalar<'_> {
    let Some(first) = text.bytes().next() else { return Scalar::Null };
    match first {
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => word(text),
        b'.' => special_float(text).unwrap_or_else(|| match is_float(text) {
            true => float(text).unwrap_or(Scalar::Str(text)),
            false => Scalar::Str(text),
        }),
        b'0'..=b'9' | b'+' | b'-' => number(text),
        _ => Scalar::Str(text),
    }
}

fn word(text: &str) -> Scalar<'_> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        _ => Scalar::Str(text),
    }
}

fn special_float(text: &str) -> Option<Scalar<'_>> {
    Some(Scalar::Float(match text {
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => f64::INFINITY,
        "-.inf" | "-.Inf" | "-.INF" => f64::NEG_INFINITY,
        _ => return None,
    }))
}

fn number(text: &str) -> Scalar<'_> {
    if let Some(special) = special_float(text) {
        return special;
    }
    if is_timestamp(text) {
        return Scalar::Timestamp(text);
    }
    let without_underscores;
    let plain = if text.contains('_') {
        without_underscores = text.replace('_', "");
        &without_underscores
    } else {
        text
    };
    if let Some(int) = integer(plain) {
        return int;
    }
    if is_float(plain)
        && let Ok(value) = plain.parse::<f64>()
        && value.is_finite()
    {
        return Scalar::Float(value);
    }
    Scalar::Str(text)
}

fn float(text: &str) -> Option<Scalar<'_>> {
    text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Scalar::Float)
}

/// Go's `ParseInt(text, 0, 64)`, then `ParseUint`: prefixes `0x`, `0o`, `0b`, and `0` for octal.
fn integer(text: &str) -> Option<Scalar<'static>> {
    let (negative, signed, digits) = match text.as_bytes() {
        [b'-', ..] => (true, true, &text[1..]),
        [b'+', ..] => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', _, ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', _, ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| char::from(digit).is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0i64.checked_sub_unsigned(magnitude).map(Scalar::Int);
    }
    match i64::try_from(magnitude) {
        Ok(value) => Some(Scalar::Int(value)),
        Err(_) if !signed => Some(Scalar::Uint(magnitude)),
        Err(_) => None,
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let mut rest = text.as_bytes();
    if let [b'+' | b'-', tail @ ..] = rest {
        rest = tail;
    }
    let before = take_digits(&mut rest);
    if let [b'.', tail @ ..] = rest {
        rest = tail;
        let after = take_digits(&mut rest);
        if before == 0 && after == 0 {
            return false;
        }
    } else if before == 0 {
        return false;
    }
    if let [b'e' | b'E', tail @ ..] = rest {
        rest = tail;
        if let [b'+' | b'-', tail @ ..] = rest {
            rest = tail;
        }
        if take_digits(&mut rest) == 0 {
            return false;
        }
    }
    rest.is_empty()
}

fn take_digits(rest: &mut &[u8]) -> usize {
    let n = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    *rest = &rest[n..];
    n
}

/// A number of one or two digits, at most `max`.
fn take_small(rest: &mut &[u8], max: u32) -> Option<u32> {
    let n = rest.iter().take(2).take_while(|byte| byte.is_ascii_digit()).count();
    let value =
        rest.get(..n)?.iter().fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    *rest = &rest[n..];
    (n > 0 && value <= max).then_some(value)
}

fn take_byte(rest: &mut &[u8], byte: u8) -> Option<()> {
    let tail = rest.strip_prefix(&[byte])?;
    *rest = tail;
    Some(())
}

/// The date and time forms that go-yaml knows.
pub(super) fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && parse_timestamp(bytes).is_some()
}

fn parse_timestamp(bytes: &[u8]) -> Option<()> {
    let year = bytes[..4].iter().fold(0u32, |year, digit| year * 10 + u32::from(digit - b'0'));
    let mut rest = &bytes[5..];
    let month = take_small(&mut rest, 12).filter(|month| *month > 0)?;
    take_byte(&mut rest, b'-')?;
    let day = take_small(&mut rest, 31)?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let n_days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day == 0 || day > n_days {
        return None;
    }
    let separator = match rest {
        [] => return Some(()),
        [separator @ (b'T' | b't' | b' '), tail @ ..] => {
            rest = tail;
            *separator
        }
        _ => return None,
    };
    take_small(&mut rest, 23)?;
    take_byte(&mut rest, b':')?;
    take_small(&mut rest, 59)?;
    take_byte(&mut rest, b':')?;
    take_small(&mut rest, 59)?;
    if let [b'.' | b',', digit, ..] = rest
        && digit.is_ascii_digit()
    {
        rest = &rest[1..];
        take_digits(&mut rest);
    }
    match (separator, rest) {
        (b' ', []) | (b'T' | b't', b"Z") => Some(()),
        (b'T' | b't', [b'+' | b'-', h1, h2, b':', m1, m2]) => {
            let two = |a: &u8, b: &u8| {
                (a.is_ascii_digit() && b.is_ascii_digit()).then(|| (a - b'0') * 10 + (b - b'0'))
            };
            (two(h1, h2)? <= 24 && two(m1, m2)? < 60).then_some(())
        }
        _ => None,
    }
}

impl Scalar<'_> {
    /// As JSON after a round trip through its text: a float without fraction is an integer. `None` for what JSON
    /// cannot say (NaN, infinity).
    pub(super) fn to_json(&self) -> Option<Value> {
        Some(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::from(*value),
            Self::Uint(value) => Value::from(*value),
            Self::Float(value) => float_to_json(*value)?,
            Self::Str(text) | Self::Timestamp(text) => Value::from(*text),
        })
    }

    /// The string that `sigs.k8s.io/yaml` makes of a mapping key; `None` for null.
    pub(super) fn to_key(&self) -> Option<String> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Uint(value) => value.to_string(),
            Self::Float(value) if value.is_nan() => ".nan".to_owned(),
            Self::Float(value) if value.is_infinite() => {
                if *value > 0.0 { ".inf" } else { "-.inf" }.to_owned()
            }
            Self::Float(value) => super::format_float(*value),
            Self::Str(text) | Self::Timestamp(text) => (*text).to_owned(),
        })
    }

    /// The short tag, for messages.
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool(_) => "!!bool",
            Self::Int(_) | Self::Uint(_) => "!!int",
            Self::Float(_) => "!!float",
            Self::Timestamp(_) => "!!timestamp",
            Self::Str(_) => "!!str",
        }
    }
}

/// A float as JSON reads it back: without fraction and below 1e21 it is written as an integer.
fn float_to_json(value: f64) -> Option<Value> {
    if !value.is_finite() {
        return None;
    }
    if value.fract() == 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        #[expect(clippy::cast_sign_loss, reason = "the range is checked")]
        if (-9.223_372_036_854_775e18..9.223_372_036_854_775e18).contains(&value) {
            return Some(Value::from(value as i64));
        } else if (0.0..1.844_674_407_370_955e19).contains(&value) {
            return Some(Value::from(value as u64));
        }
    }
    Number::from_f64(value).map(Value::Number)
}
