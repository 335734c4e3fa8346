//! Go's `strconv` for number literals.

/// `ParseInt` and `ParseUint` with base 0: prefixes, octal by a leading zero, underscores between digits.
pub(crate) fn parse_int(text: &str) -> (Option<i64>, Option<u64>) {
    let (negative, signed, body) = match text.as_bytes().first() {
        Some(b'-') => (true, true, &text[1..]),
        Some(b'+') => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    if !underscores_ok(body) {
        return (None, None);
    }
    let plain = body.replace('_', "");
    let (radix, digits) = match plain.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &plain[2..]),
        [b'0', b'o' | b'O', ..] => (8, &plain[2..]),
        [b'0', b'b' | b'B', ..] => (2, &plain[2..]),
        [b'0', _, ..] => (8, &plain[1..]),
        _ => (10, plain.as_str()),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return (None, None);
    }
    let Ok(magnitude) = u64::from_str_radix(digits, radix) else { return (None, None) };
    if negative {
        return (0i64.checked_sub_unsigned(magnitude), None);
    }
    (i64::try_from(magnitude).ok(), (!signed).then_some(magnitude))
}

/// Underscores stand only between digits, or between a prefix and a digit.
fn underscores_ok(body: &str) -> bool {
    if !body.contains('_') {
        return true;
    }
    let bytes = body.as_bytes();
    let mut rest = bytes;
    let mut before_is_digit = false;
    if let [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', tail @ ..] = bytes {
        rest = tail;
        before_is_digit = true;
    }
    let mut last = if before_is_digit { b'0' } else { b' ' };
    for byte in rest {
        let ok = match (*byte, last) {
            (b'_', last) => last.is_ascii_hexdigit(),
            (byte, b'_') => byte.is_ascii_hexdigit(),
            _ => true,
        };
        if !ok {
            return false;
        }
        last = *byte;
    }
    last != b'_'
}

/// `ParseFloat`: decimal, with exponent, or hexadecimal with a binary exponent.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !underscores_ok(body) {
        return None;
    }
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let value = parse_hex_float(hex)?;
        return Some(if plain.starts_with('-') { -value } else { value });
    }
    let valid = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().any(|byte| byte.is_ascii_digit());
    if !valid {
        return None;
    }
    plain.parse::<f64>().ok().filter(|value| value.is_finite())
}

fn parse_hex_float(hex: &str) -> Option<f64> {
    let at = hex.find(['p', 'P'])?;
    let exponent: i32 = hex[at + 1..].parse().ok()?;
    let (whole, fraction) = hex[..at].split_once('.').unwrap_or((&hex[..at], ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut mantissa = 0f64;
    for digit in whole.chars().chain(fraction.chars()) {
        mantissa = mantissa * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?.checked_mul(4)?)?;
    let value = mantissa * 2f64.powi(shift);
    value.is_finite().then_some(value)
}
