//! Go's `time.Parse`: a text read by a layout, with Go's complaints.

use jiff::civil::{Date, DateTime, Time as Clock};
use jiff::tz::{Offset, TimeZone};

use super::dates::{LAYOUT, Time, cuts_a_word, fraction_len};
use super::text::quote;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// What has been read so far.
#[derive(Default)]
struct Parts {
    year: i16,
    month: i8,
    day: i8,
    day_of_year: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    afternoon: Option<bool>,
    offset: Option<i32>,
}

/// Why a piece could not be read.
enum Defect {
    /// The text is of another form.
    Form,
    /// A number is too big.
    Range(&'static str),
}

/// Reads a moment; without a zone it is in UTC.
pub(crate) fn parse_time(layout: &str, text: &str) -> Result<Time, String> {
    let cannot = |value: &str, element: &str| {
        let [whole, by, value, element] = [text, layout, value, element].map(quote);
        format!("parsing time {whole} as {by}: cannot parse {value} as {element}")
    };
    let out_of = |what: &str| format!("parsing time {}: {what} out of range", quote(text));
    let mut parts = Parts { year: 0, month: 1, day: 1, ..Parts::default() };
    let (mut form, mut rest) = (layout, text);
    loop {
        let (prefix, element, after) = next_element(form);
        let Some(unread) = skip(rest, prefix) else { return Err(cannot(rest, prefix)) };
        rest = unread;
        let Some(element) = element else {
            if rest.is_empty() {
                break;
            }
            return Err(format!("parsing time {}: extra text: {}", quote(text), quote(rest)));
        };
        form = after;
        rest = match parts.read(element, rest) {
            Ok(rest) => rest,
            Err(Defect::Form) => return Err(cannot(rest, element)),
            Err(Defect::Range(what)) => return Err(out_of(what)),
        };
        // A fraction of a second may follow the seconds even where the layout has none.
        if matches!(element, "5" | "05") && fraction_len(form, false) == 0 {
            rest = parts.fraction(rest);
        }
    }
    parts.finish().map_err(out_of)
}

/// The text before the next element of a layout, the element, what follows.
fn next_element(form: &str) -> (&str, Option<&str>, &str) {
    for (at, _) in form.char_indices() {
        let tail = &form[at..];
        if let Some((word, _)) = LAYOUT.iter().find(|(word, _)| tail.starts_with(word))
            && !cuts_a_word(tail, word)
        {
            return (&form[..at], Some(&tail[..word.len()]), &tail[word.len()..]);
        }
        let n = fraction_len(tail, at == 0);
        if n > 0 {
            return (&form[..at], Some(&tail[..n]), &tail[n..]);
        }
    }
    (form, None, "")
}

/// Takes a literal; a space of the layout stands for any number of them.
fn skip<'a>(mut text: &'a str, prefix: &str) -> Option<&'a str> {
    let mut chars = prefix.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ' ' {
            if !text.is_empty() && !text.starts_with(' ') {
                return None;
            }
            while chars.next_if_eq(&' ').is_some() {}
            text = text.trim_start_matches(' ');
        } else {
            text = text.strip_prefix(c)?;
        }
    }
    Some(text)
}

/// Up to two digits; two when `fixed`.
fn number(text: &str, fixed: bool) -> Result<(i8, &str), Defect> {
    let n = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    if n == 0 || (fixed && n < 2) {
        return Err(Defect::Form);
    }
    Ok((text[..n].parse().map_err(|_| Defect::Form)?, &text[n..]))
}

fn digits(text: &str, n: usize) -> Result<(i16, &str), Defect> {
    match text.get(..n) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok((digits.parse().map_err(|_| Defect::Form)?, &text[n..]))
        }
        _ => Err(Defect::Form),
    }
}

/// A name by its first letters, of any case.
fn name<'a>(text: &'a str, names: &[&str], length: usize) -> Result<(i8, &'a str), Defect> {
    for (at, name) in names.iter().enumerate() {
        let name = if length == 0 { name } else { &name[..length] };
        if text.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return Ok((i8::try_from(at).unwrap_or(0), &text[name.len()..]));
        }
    }
    Err(Defect::Form)
}

impl Parts {
    fn read<'a>(&mut self, element: &str, text: &'a str) -> Result<&'a str, Defect> {
        let within = |value: i8, low: i8, high: i8, what| {
            if (low..=high).contains(&value) { Ok(value) } else { Err(Defect::Range(what)) }
        };
        let rest;
        match element {
            "2006" => (self.year, rest) = digits(text, 4)?,
            "06" => {
                let (year, tail) = digits(text, 2)?;
                self.year = if year >= 69 { year + 1900 } else { year + 2000 };
                rest = tail;
            }
            "1" | "01" => {
                let (month, tail) = number(text, element == "01")?;
                self.month = within(month, 1, 12, "month")?;
                rest = tail;
            }
            "January" | "Jan" => {
                let (month, tail) = name(text, &MONTHS, if element == "Jan" { 3 } else { 0 })?;
                self.month = month + 1;
                rest = tail;
            }
            "Monday" | "Mon" => {
                (_, rest) = name(text, &DAYS, if element == "Mon" { 3 } else { 0 })?;
            }
            "2" | "_2" | "02" => {
                let text =
                    if element == "_2" { text.strip_prefix(' ').unwrap_or(text) } else { text };
                (self.day, rest) = number(text, element == "02")?;
            }
            "002" | "__2" => {
                let (day, tail) = digits(text, 3)?;
                self.day_of_year = Some(day);
                rest = tail;
            }
            "15" => {
                let (hour, tail) = number(text, false)?;
                self.hour = within(hour, 0, 23, "hour")?;
                rest = tail;
            }
            "3" | "03" => {
                let (hour, tail) = number(text, element == "03")?;
                self.hour = within(hour, 0, 12, "hour")?;
                rest = tail;
            }
            "4" | "04" => {
                let (minute, tail) = number(text, element == "04")?;
                self.minute = within(minute, 0, 59, "minute")?;
                rest = tail;
            }
            "5" | "05" => {
                let (second, tail) = number(text, element == "05")?;
                self.second = within(second, 0, 59, "second")?;
                rest = tail;
            }
            "PM" | "pm" => {
                let half = text.get(..2).unwrap_or_default();
                let small = element == "pm";
                self.afternoon = match (half, small) {
                    ("PM", false) | ("pm", true) => Some(true),
                    ("AM", false) | ("am", true) => Some(false),
                    _ => return Err(Defect::Form),
                };
                rest = &text[2..];
            }
            "MST" => {
                let n = text.bytes().take_while(u8::is_ascii_uppercase).count();
                if !(3..=5).contains(&n) {
                    return Err(Defect::Form);
                }
                rest = &text[n..];
            }
            "Z07:00" | "Z0700" if text.starts_with('Z') => {
                self.offset = Some(0);
                rest = &text[1..];
            }
            "Z07:00" | "-07:00" => rest = self.zone(text, true, true)?,
            "Z0700" | "-0700" => rest = self.zone(text, false, true)?,
            "-07" => rest = self.zone(text, false, false)?,
            fraction if fraction.starts_with(['.', ',']) => {
                let optional = fraction.ends_with('9');
                rest = self.fraction(text);
                if !optional && text.len() - rest.len() != fraction.len() {
                    return Err(Defect::Form);
                }
            }
            _ => return Err(Defect::Form),
        }
        Ok(rest)
    }

    fn zone<'a>(&mut self, text: &'a str, colon: bool, minutes: bool) -> Result<&'a str, Defect> {
        let sign = match text.chars().next() {
            Some('+') => 1,
            Some('-') => -1,
            _ => return Err(Defect::Form),
        };
        let (hours, mut rest) = digits(&text[1..], 2)?;
        let mut seconds = i32::from(hours) * 3600;
        if minutes {
            if colon {
                rest = rest.strip_prefix(':').ok_or(Defect::Form)?;
            }
            let (minutes, tail) = digits(rest, 2)?;
            seconds += i32::from(minutes) * 60;
            rest = tail;
        }
        if hours > 24 {
            return Err(Defect::Range("time zone offset hour"));
        }
        self.offset = Some(sign * seconds);
        Ok(rest)
    }

    /// Takes `.123`, if it is there.
    fn fraction<'a>(&mut self, text: &'a str) -> &'a str {
        let Some(tail) = text.strip_prefix(['.', ',']) else { return text };
        let n = tail.bytes().take_while(u8::is_ascii_digit).count();
        if n == 0 {
            return text;
        }
        let shown = format!("{:0<9}", &tail[..n.min(9)]);
        self.nanosecond = shown.parse().unwrap_or(0);
        &tail[n..]
    }

    fn finish(mut self) -> Result<Time, &'static str> {
        match self.afternoon {
            Some(true) if self.hour < 12 => self.hour += 12,
            Some(false) if self.hour == 12 => self.hour = 0,
            _ => {}
        }
        let date = match self.day_of_year {
            Some(day) => Date::new(self.year, 1, 1)
                .and_then(|first| first.with().day_of_year(day).build())
                .map_err(|_| "day-of-year")?,
            None => Date::new(self.year, self.month, self.day).map_err(|_| "day")?,
        };
        let clock = Clock::new(self.hour, self.minute, self.second, self.nanosecond)
            .map_err(|_| "second")?;
        let zone = match self.offset {
            None | Some(0) => TimeZone::UTC,
            Some(seconds) => {
                TimeZone::fixed(Offset::from_seconds(seconds).map_err(|_| "time zone offset hour")?)
            }
        };
        DateTime::from_parts(date, clock).to_zoned(zone).map(Time).map_err(|_| "year")
    }
}
