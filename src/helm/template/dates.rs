//! Go's `time`: moments, durations, layouts.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// A moment in a time zone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Time(pub(crate) Zoned);

impl Time {
    pub(crate) fn from_seconds(seconds: i64) -> Self {
        let moment = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        Self(moment.to_zoned(TimeZone::UTC))
    }

    pub(crate) fn utc(moment: Timestamp) -> Self {
        Self(moment.to_zoned(TimeZone::UTC))
    }

    pub(crate) fn rfc3339(&self) -> String {
        let nanos = self.0.subsec_nanosecond();
        let mut text = self.0.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        if nanos > 0 {
            text.push_str(format!(".{nanos:09}").trim_end_matches('0'));
        }
        text.push_str(&self.offset("Z", ":"));
        text
    }

    fn offset(&self, zero: &str, separator: &str) -> String {
        let seconds = self.0.offset().seconds();
        if seconds == 0 && !zero.is_empty() {
            return zero.to_owned();
        }
        let sign = if seconds < 0 { '-' } else { '+' };
        let minutes = seconds.unsigned_abs() / 60;
        format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
    }

    /// Go's `Format`: the layout is how the moment 2006-01-02 15:04:05 -0700 MST is written.
    pub(crate) fn format(&self, layout: &str) -> String {
        let mut out = String::new();
        let mut rest = layout;
        while !rest.is_empty() {
            match LAYOUT.iter().find(|(word, _)| rest.starts_with(word)) {
                Some((word, part)) if !cuts_a_word(rest, word) => {
                    out.push_str(&self.part(part));
                    rest = &rest[word.len()..];
                }
                _ => {
                    let fraction = fraction_len(rest, out.is_empty());
                    if fraction > 0 {
                        out.push_str(&self.fraction(&rest[..fraction]));
                        rest = &rest[fraction..];
                        continue;
                    }
                    let c = rest.chars().next().unwrap_or(' ');
                    out.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        out
    }

    fn part(&self, part: &str) -> String {
        match part {
            "Z07:00" => self.offset("Z", ":"),
            "Z0700" => self.offset("Z", ""),
            "-07:00" => self.offset("", ":"),
            "-0700" => self.offset("", ""),
            "-07" => self.offset("", "").chars().take(3).collect(),
            "1" => self.0.month().to_string(),
            "2" => self.0.day().to_string(),
            "_2" => format!("{:2}", self.0.day()),
            "002" => format!("{:03}", self.0.day_of_year()),
            "3" => self.hour12().to_string(),
            "03" => format!("{:02}", self.hour12()),
            "4" => self.0.minute().to_string(),
            "5" => self.0.second().to_string(),
            "PM" => if self.0.hour() >= 12 { "PM" } else { "AM" }.to_owned(),
            "pm" => if self.0.hour() >= 12 { "pm" } else { "am" }.to_owned(),
            "MST" => match self.0.time_zone().to_offset_info(self.0.timestamp()).abbreviation() {
                "Etc/Unknown" => "UTC".to_owned(),
                name => name.to_owned(),
            },
            format => self.0.strftime(format).to_string(),
        }
    }

    fn hour12(&self) -> i8 {
        match self.0.hour() % 12 {
            0 => 12,
            hour => hour,
        }
    }

    /// `.000` keeps zeros, `.999` drops them.
    fn fraction(&self, layout: &str) -> String {
        let n = layout.len() - 1;
        let digits = format!("{:09}", self.0.subsec_nanosecond());
        let digits = &digits[..n.min(9)];
        if layout.ends_with('0') {
            return format!("{}{digits}", &layout[..1]);
        }
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() { String::new() } else { format!("{}{digits}", &layout[..1]) }
    }
}

/// `Jan` does not stand for a month inside a word such as `Janet`; Go asks the same of it and of `Mon`.
pub(super) fn cuts_a_word(rest: &str, word: &str) -> bool {
    matches!(word, "Jan" | "Mon") && rest[3..].starts_with(|c: char| c.is_ascii_lowercase())
}

pub(super) fn fraction_len(rest: &str, first: bool) -> usize {
    let bytes = rest.as_bytes();
    if first || !matches!(bytes, [b'.' | b',', b'0' | b'9', ..]) {
        return 0;
    }
    let n = bytes[1..].iter().take_while(|byte| **byte == bytes[1]).count();
    if bytes.get(n + 1).is_some_and(u8::is_ascii_digit) { 0 } else { n + 1 }
}

/// Pieces of a layout, longest first where one begins another.
pub(super) const LAYOUT: &[(&str, &str)] = &[
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "MST"),
    ("01", "%m"),
    ("002", "002"),
    ("02", "%d"),
    ("03", "03"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("1", "1"),
    ("2006", "%Y"),
    ("2", "2"),
    ("__2", "%j"),
    ("_2006", "_%Y"),
    ("_2", "_2"),
    ("3", "3"),
    ("4", "4"),
    ("5", "5"),
    ("PM", "PM"),
    ("pm", "pm"),
    ("-07:00", "-07:00"),
    ("-0700", "-0700"),
    ("-07", "-07"),
    ("Z07:00", "Z07:00"),
    ("Z0700", "Z0700"),
];

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

const SECOND: i64 = 1_000_000_000;

/// Go's `Duration.String`.
pub(crate) fn duration_text(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let whole = value / unit;
        let rest = value % unit;
        if rest == 0 {
            return whole.to_string();
        }
        let width = unit.to_string().len() - 1;
        let digits = format!("{rest:0width$}");
        format!("{whole}.{}", digits.trim_end_matches('0'))
    };
    let text = match magnitude {
        ..1_000 => format!("{magnitude}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(magnitude, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(magnitude, 1_000_000)),
        _ => {
            let minutes = magnitude / 60_000_000_000;
            let seconds = fraction(magnitude % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// Go's `ParseDuration`, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let n = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let value: f64 = rest[..n].parse().ok()?;
        rest = &rest[n..];
        let n = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        #[expect(clippy::cast_precision_loss, reason = "a constant that is exact")]
        let unit = match &rest[..n] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => SECOND as f64,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        rest = &rest[n..];
        total += value * unit;
    }
    if total > 9.223_372_036_854_775e18 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    let nanos = total as i64;
    Some(if negative { -nanos } else { nanos })
}
