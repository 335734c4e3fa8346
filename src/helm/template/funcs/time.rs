//! Dates and durations.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Fault, Function, Type, Value, any, done, text};
use crate::helm::template::dates::{Time, duration_text, parse_duration};
use crate::helm::template::eval::Context;
use crate::helm::template::moments::parse_time;
use crate::helm::template::number::parse_float;
use crate::helm::template::object::Object;
use crate::helm::template::value::IntKind;

const SECOND: i64 = 1_000_000_000;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("now", &[], |c, _| Ok(Value::object(Object::Time(now(c))))),
    Function::new("date", &[Type::Str, Type::Any], |c, a| {
        done(moment(c, any(a, 1)).format(text(a, 0)))
    }),
    Function::new("dateInZone", DATE_IN_ZONE, date_in_zone),
    Function::new("date_in_zone", DATE_IN_ZONE, date_in_zone),
    Function::new("htmlDate", &[Type::Any], |c, a| done(moment(c, any(a, 0)).format("2006-01-02"))),
    Function::new("htmlDateInZone", &[Type::Any, Type::Str], |c, a| {
        done(in_zone(moment(c, any(a, 0)), text(a, 1)).format("2006-01-02"))
    }),
    Function::new("dateModify", &[Type::Str, Type::Time], |_, a| {
        Ok(modified(a).unwrap_or(any(a, 1).clone()))
    }),
    Function::new("date_modify", &[Type::Str, Type::Time], |_, a| {
        Ok(modified(a).unwrap_or(any(a, 1).clone()))
    }),
    Function::new("mustDateModify", &[Type::Str, Type::Time], must_modify),
    Function::new("must_date_modify", &[Type::Str, Type::Time], must_modify),
    Function::new("ago", &[Type::Any], |c, a| {
        let since = seconds(&now(c)).saturating_sub(seconds(&moment(c, any(a, 0))));
        done(duration_text(since.saturating_mul(SECOND)))
    }),
    Function::new("duration", &[Type::Any], |_, a| {
        let seconds = match any(a, 0) {
            Value::Str(text) => text.parse().unwrap_or(0),
            Value::Int(value, IntKind::Int64) => *value,
            _ => 0i64,
        };
        done(duration_text(seconds.saturating_mul(SECOND)))
    }),
    Function::new("durationRound", &[Type::Any], |c, a| {
        let nanos = match any(a, 0) {
            Value::Str(text) => parse_duration(text).unwrap_or(0),
            Value::Int(value, IntKind::Int64) => *value,
            Value::Object(object) => match &**object {
                Object::Time(time) => {
                    seconds(&now(c)).saturating_sub(seconds(time)).saturating_mul(SECOND)
                }
                _ => 0,
            },
            _ => 0,
        };
        done(rounded(nanos.unsigned_abs()))
    }),
    Function::new("unixEpoch", &[Type::Time], |_, a| {
        done(time_of(any(a, 0)).map_or(0, |time| seconds(&time)).to_string())
    }),
    Function::new("toDate", &[Type::Str, Type::Str], |_, a| {
        Ok(Value::object(Object::Time(parse(a).unwrap_or_else(|_| zero()))))
    }),
    Function::new("mustToDate", &[Type::Str, Type::Str], |_, a| {
        parse(a).map(|time| Value::object(Object::Time(time))).map_err(Fault::new)
    }),
    Function::new("mustToDuration", &[Type::Any], |_, a| {
        as_duration(any(a, 0)).map(|nanos| Value::Int(nanos, IntKind::Duration)).map_err(Fault::new)
    }),
    Function::new("durationSeconds", &[Type::Any], |_, a| Ok(Value::Float(in_unit(a, 1e9)))),
    Function::new("durationMilliseconds", &[Type::Any], |_, a| {
        Ok(Value::int64(as_duration(any(a, 0)).unwrap_or(0) / 1_000_000))
    }),
    Function::new("durationMicroseconds", &[Type::Any], |_, a| {
        Ok(Value::int64(as_duration(any(a, 0)).unwrap_or(0) / 1_000))
    }),
    Function::new("durationNanoseconds", &[Type::Any], |_, a| {
        Ok(Value::int64(as_duration(any(a, 0)).unwrap_or(0)))
    }),
    Function::new("durationMinutes", &[Type::Any], |_, a| Ok(Value::Float(in_unit(a, 60e9)))),
    Function::new("durationHours", &[Type::Any], |_, a| Ok(Value::Float(in_unit(a, 3600e9)))),
    Function::new("durationDays", &[Type::Any], |_, a| Ok(Value::Float(in_unit(a, 3600e9) / 24.0))),
    Function::new("durationWeeks", &[Type::Any], |_, a| {
        Ok(Value::Float(in_unit(a, 3600e9) / 24.0 / 7.0))
    }),
    Function::new("durationRoundTo", &[Type::Any, Type::Any], |_, a| {
        Ok(to_multiple(a, |nanos, unit| {
            let rest = nanos % unit;
            let down = nanos - rest;
            if rest.abs() * 2 >= unit { down + unit * nanos.signum() } else { down }
        }))
    }),
    Function::new("durationTruncateTo", &[Type::Any, Type::Any], |_, a| {
        Ok(to_multiple(a, |nanos, unit| nanos - nanos % unit))
    }),
];

const DATE_IN_ZONE: &[Type] = &[Type::Str, Type::Any, Type::Str];

fn zero() -> Time {
    Time::from_seconds(-62_135_596_800)
}

fn now(context: &Context<'_>) -> Time {
    Time::utc(context.engine.environment.now.unwrap_or(Timestamp::UNIX_EPOCH))
}

fn seconds(time: &Time) -> i64 {
    time.0.timestamp().as_second()
}

fn time_of(value: &Value) -> Option<Time> {
    match value {
        Value::Object(object) => match &**object {
            Object::Time(time) => Some(time.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// A time, or seconds since 1970; anything else is now.
fn moment(context: &Context<'_>, value: &Value) -> Time {
    match value {
        Value::Int(value, IntKind::Int | IntKind::Int64) => Time::from_seconds(*value),
        other => time_of(other).unwrap_or_else(|| now(context)),
    }
}

fn in_zone(time: Time, zone: &str) -> Time {
    let zone = match zone {
        "" | "UTC" | "Local" => TimeZone::UTC,
        name => TimeZone::get(name).unwrap_or(TimeZone::UTC),
    };
    Time(time.0.with_time_zone(zone))
}

fn date_in_zone(context: &mut Context<'_>, a: &[Value]) -> Result<Value, Fault> {
    done(in_zone(moment(context, any(a, 1)), text(a, 2)).format(text(a, 0)))
}

fn modified(a: &[Value]) -> Option<Value> {
    let nanos = parse_duration(text(a, 0))?;
    let time = time_of(any(a, 1))?;
    let span = jiff::SignedDuration::from_nanos(nanos);
    let moved = time.0.checked_add(span).ok()?;
    Some(Value::object(Object::Time(Time(moved))))
}

fn must_modify(_: &mut Context<'_>, a: &[Value]) -> Result<Value, Fault> {
    modified(a).ok_or_else(|| {
        let text = crate::helm::template::text::quote(text(a, 0));
        Fault::new(format!("time: invalid duration {text}"))
    })
}

/// The biggest unit only: `3mo`, `2d`.
fn rounded(nanos: u64) -> String {
    const HOUR: u64 = 3_600_000_000_000;
    let units: [(u64, &str); 6] = [
        (HOUR * 24 * 365, "y"),
        (HOUR * 24 * 30, "mo"),
        (HOUR * 24, "d"),
        (HOUR, "h"),
        (HOUR / 60, "m"),
        (HOUR / 3600, "s"),
    ];
    match units.iter().find(|(unit, _)| nanos > *unit) {
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None => "0s".to_owned(),
    }
}

/// `(layout, text)`.
fn parse(a: &[Value]) -> Result<Time, String> {
    parse_time(text(a, 0), text(a, 1))
}

fn as_duration(value: &Value) -> Result<i64, String> {
    let from_seconds = |seconds: f64| {
        if !seconds.is_finite() {
            return Err(format!("invalid duration seconds: {seconds}"));
        }
        let nanos = seconds * 1e9;
        if nanos.abs() > 9.223_372_036_854_775e18 {
            let seconds = crate::base::yaml::format_float(seconds);
            return Err(format!("duration seconds overflow: {seconds}"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        Ok(nanos as i64)
    };
    match value {
        Value::Int(value, IntKind::Duration) => Ok(*value),
        Value::Int(value, _) => {
            value.checked_mul(SECOND).ok_or_else(|| format!("duration seconds overflow: {value}"))
        }
        Value::Float(value) => from_seconds(*value),
        Value::Str(text) => {
            let trimmed = text.trim();
            if trimmed.is_empty() {
                return Err("empty duration".to_owned());
            }
            match (parse_duration(trimmed), parse_float(trimmed)) {
                (Some(nanos), _) => Ok(nanos),
                (None, Some(seconds)) => from_seconds(seconds),
                (None, None) => {
                    let text = crate::helm::template::text::quote(text);
                    Err(format!("could not parse duration {text}"))
                }
            }
        }
        Value::Nil | Value::NilInterface => Err("invalid duration".to_owned()),
        other => Err(format!("unsupported duration type {}", other.type_name())),
    }
}

#[expect(clippy::cast_precision_loss, reason = "Go converts the same way")]
fn in_unit(a: &[Value], unit: f64) -> f64 {
    as_duration(any(a, 0)).unwrap_or(0) as f64 / unit
}

fn to_multiple(a: &[Value], round: fn(i64, i64) -> i64) -> Value {
    let nanos = as_duration(any(a, 0)).unwrap_or(0);
    let unit = as_duration(any(a, 1)).unwrap_or(0);
    let nanos = if unit > 0 { round(nanos, unit) } else { nanos };
    Value::Int(nanos, IntKind::Duration)
}
