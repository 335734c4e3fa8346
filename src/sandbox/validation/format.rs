//! The string formats that the API server checks; others are taken as they are.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine;
use regex::Regex;

/// Whether a text has the format; `None` for formats that nobody checks.
pub(super) fn has_format(format: &str, text: &str) -> Option<bool> {
    // Format names are compared without dashes, as upstream's registry does.
    Some(match format.replace('-', "").as_str() {
        "datetime" => is_date_time(text),
        "date" => text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10,
        "duration" => is_duration(text),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => MAC.is_match(text),
        "uuid" => UUID.is_match(text),
        "uuid3" => UUID.is_match(text) && version_digit(text) == Some('3'),
        "uuid4" => UUID.is_match(text) && version_digit(text) == Some('4'),
        "uuid5" => UUID.is_match(text) && version_digit(text) == Some('5'),
        "hostname" => is_hostname(text),
        "email" => EMAIL.is_match(text),
        "uri" => is_request_uri(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "password" => true,
        "k8sshortname" => text.len() <= 63 && super::names::is_dns1123_label(text),
        "k8slongname" => text.len() <= 253 && super::names::is_dns1123_subdomain(text),
        _ => return None,
    })
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of formats are constants that compile")
}

static MAC: LazyLock<Regex> =
    LazyLock::new(|| pattern("^([0-9A-Fa-f]{2}[:-]){5}([0-9A-Fa-f]{2})$"));
static UUID: LazyLock<Regex> = LazyLock::new(|| {
    pattern("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$")
});
static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"^([^@<>\s]+|"[^"]+"|[^<>]*<[^@<>\s]+)@[^@<>\s]+>?$"#));
static HEX_COLOR: LazyLock<Regex> =
    LazyLock::new(|| pattern("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"));

fn version_digit(text: &str) -> Option<char> {
    text.replace('-', "").chars().nth(12)
}

fn is_date_time(text: &str) -> bool {
    // Upstream takes RFC 3339 with a `T`, and an offset that has its colon.
    text.as_bytes().get(10).is_some_and(|byte| matches!(byte, b'T' | b't'))
        && text.parse::<jiff::Timestamp>().is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    (address.parse::<Ipv4Addr>().is_ok() && bits <= 32)
        || (address.parse::<Ipv6Addr>().is_ok() && bits <= 128)
}

fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    !text.is_empty()
        && text.len() <= 255
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        })
}

fn is_request_uri(text: &str) -> bool {
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let mut letters = scheme.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && !rest.is_empty()
        && !text.chars().any(|c| c.is_control() || c == ' ')
}

/// Go's durations, and a number with a unit spelled out.
pub(super) fn is_duration(text: &str) -> bool {
    go_duration_nanos(text).is_some() || LONG_DURATION.is_match(text)
}

static LONG_DURATION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^\s*\d+\s*(nanoseconds?|ns|nano|microseconds?|us|µs|micro|milliseconds?|ms|milli|seconds?|secs?|s|minutes?|min|m|hours?|hrs?|hr|h|days?|d|weeks?|wk|w)\s*$",
    )
});

/// The length of a Go duration such as `1h30m` or `-1.5s`.
pub(super) fn go_duration_nanos(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let (unit, length) = [
            ("ns", 1f64),
            ("us", 1e3),
            ("µs", 1e3),
            ("μs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 6e10),
            ("h", 3.6e12),
        ]
        .into_iter()
        .find(|(unit, _)| rest.starts_with(unit) && !(*unit == "m" && rest.starts_with("ms")))?;
        total += number * length;
        rest = &rest[unit.len()..];
    }
    (total < 9.2e18).then_some(if negative { -(total as i64) } else { total as i64 })
}
