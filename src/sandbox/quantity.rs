//! Quantities of resources: `500m`, `1Gi`, `1e3`.

/// What stands behind a number: a power of ten, or of 1,024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suffix {
    Decimal(i32),
    /// Written with an exponent: `1e3`.
    Exponent(i32),
    Binary(u32),
}

const DECIMAL: &[(&str, i32)] = &[
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: &[(&str, u32)] = &[("Ki", 1), ("Mi", 2), ("Gi", 3), ("Ti", 4), ("Pi", 5), ("Ei", 6)];

/// A quantity in billionths, and how it was written; `None` if it is none or beyond all bounds.
fn parsed(text: &str) -> Option<(i128, Suffix)> {
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && "+-".contains(*c))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    let (sign, digits) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') {
        return None;
    }
    let suffix = if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        Suffix::Decimal(*power)
    } else if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        Suffix::Binary(*power)
    } else {
        Suffix::Exponent(
            suffix
                .strip_prefix(['e', 'E'])?
                .parse()
                .ok()
                .filter(|power| (-24..=24).contains(power))?,
        )
    };
    let mantissa: i128 = if whole.is_empty() && part.is_empty() {
        0
    } else {
        format!("{whole}{part}").parse().ok()?
    };
    let behind = i32::try_from(part.len()).ok()?;
    let billionths = match suffix {
        Suffix::Decimal(power) | Suffix::Exponent(power) => scaled(mantissa, power + 9 - behind)?,
        Suffix::Binary(power) => {
            scaled(mantissa.checked_mul(1024_i128.checked_pow(power)?)?, 9 - behind)?
        }
    };
    Some((sign * billionths, suffix))
}

/// `number` times ten to the power; what is lost below zero is rounded up.
fn scaled(number: i128, power: i32) -> Option<i128> {
    let factor = 10_i128.checked_pow(power.unsigned_abs())?;
    if power >= 0 { number.checked_mul(factor) } else { Some((number + factor - 1) / factor) }
}

/// A quantity in thousandths, rounded up.
pub(crate) fn thousandths(text: &str) -> Option<i128> {
    parsed(text).map(|(billionths, _)| (billionths + 999_999).div_euclid(1_000_000))
}

/// The form in which the API server writes a quantity: the largest suffix of its family without fraction.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let (billionths, suffix) = parsed(text)?;
    if billionths == 0 {
        return Some("0".to_owned());
    }
    const BILLION: i128 = 1_000_000_000;
    if let Suffix::Binary(_) = suffix
        && billionths % BILLION == 0
        && (billionths / BILLION).abs() >= 1024
    {
        let mut number = billionths / BILLION;
        let mut power = 0;
        while number % 1024 == 0 && power < 6 {
            number /= 1024;
            power += 1;
        }
        let name = BINARY.iter().find(|(_, found)| *found == power).map_or("", |(name, _)| name);
        return Some(format!("{number}{name}"));
    }
    let mut number = billionths;
    let mut power = -9;
    while number % 1000 == 0 && power < 18 {
        number /= 1000;
        power += 3;
    }
    if let Suffix::Exponent(_) = suffix {
        let exponent = if power == 0 { String::new() } else { format!("e{power}") };
        return Some(format!("{number}{exponent}"));
    }
    let name = DECIMAL.iter().find(|(_, found)| *found == power).map_or("", |(name, _)| name);
    Some(format!("{number}{name}"))
}

/// The text of a sum of quantities, in the family of one of them.
pub(crate) fn of_thousandths(thousandths: i128, like: &str) -> String {
    let binary = matches!(parsed(like), Some((_, Suffix::Binary(_))));
    let whole = thousandths / 1000;
    let text = if thousandths % 1000 != 0 {
        format!("{thousandths}m")
    } else if binary && whole % 1024 == 0 {
        format!("{}Ki", whole / 1024)
    } else {
        whole.to_string()
    };
    canonical(&text).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_take_the_form_that_the_api_server_writes() {
        for (given, expected) in [
            ("2048Mi", "2Gi"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1500m", "1500m"),
            ("100Mi", "100Mi"),
            ("1024", "1024"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("1000Ki", "1000Ki"),
            ("0.5Gi", "512Mi"),
            ("512", "512"),
            ("-5m", "-5m"),
            ("0", "0"),
            ("0Gi", "0"),
            ("100E", "100E"),
        ] {
            assert_eq!(canonical(given).as_deref(), Some(expected), "{given}");
        }
        for wrong in ["", "abc", "1.2.3", "1KiB", "e3", "1e99"] {
            assert_eq!(canonical(wrong), None, "{wrong}");
        }
    }
}
