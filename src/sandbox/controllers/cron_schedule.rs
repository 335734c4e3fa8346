//! When a schedule of cron is due: five fields or a name, as github.com/robfig/cron v3 reads them for Kubernetes.
//!
//! Schedules were validated when they were written: what cannot be read here is never due.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{ToSpan as _, Zoned};

/// A schedule that names no moment within this many years never comes (`0 0 30 2 *`).
const YEARS: i16 = 5;

const MONTHS: &[&str] =
    &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The moments of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Schedule {
    Fields(Fields),
    /// `@every 90m`: from one moment to the next.
    Every(Duration),
}

/// One bit for each value that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether both kinds of days are restricted: one of them is enough then.
    either_day: bool,
}

impl Schedule {
    /// Reads a schedule.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(span) = text.strip_prefix("@every ") {
            let span = crate::base::duration::parse(span).ok()?;
            return Some(Self::Every(Duration::from_secs(span.as_secs().max(1))));
        }
        let plain = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let parts: Vec<&str> = plain.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = parts[..] else { return None };
        let is_star = |part: &str| part.split(',').any(|one| one == "*" || one == "?");
        Some(Self::Fields(Fields {
            minutes: bits(minutes, (0, 59), &[])?,
            hours: bits(hours, (0, 23), &[])?,
            days: bits(days, (1, 31), &[])?,
            months: bits(months, (1, 12), MONTHS)?,
            weekdays: bits(weekdays, (0, 6), WEEKDAYS)?,
            either_day: !is_star(days) && !is_star(weekdays),
        }))
    }

    /// How many moments of a regular schedule lie between, and the one before the last of them.
    pub(super) fn passed_over(&self, from: &Zoned, to: &Zoned) -> Option<(usize, Zoned)> {
        let Self::Every(span) = self else { return None };
        let between = Duration::try_from(to.duration_since(from)).ok()?;
        let passed = u32::try_from(between.as_secs() / span.as_secs()).ok()?.checked_sub(1)?;
        let at = from.checked_add(span.checked_mul(passed)?).ok()?;
        Some((usize::try_from(passed).ok()?, at))
    }

    /// The first moment after `time`, in its time zone.
    pub(super) fn after(&self, time: &Zoned) -> Option<Zoned> {
        match self {
            Self::Every(span) => {
                let next = time.checked_add(*span).ok()?;
                next.with().subsec_nanosecond(0).build().ok()
            }
            Self::Fields(fields) => fields.after(time),
        }
    }
}

impl Fields {
    fn after(&self, time: &Zoned) -> Option<Zoned> {
        let start = time.datetime();
        let last = start.year().saturating_add(YEARS);
        let minute = start.with().second(0).subsec_nanosecond(0).build().ok()?;
        let mut at = minute.checked_add(1.minute()).ok()?;
        while at.year() <= last {
            if !has(self.months, at.month()) {
                at = at.date().first_of_month().to_datetime(jiff::civil::Time::midnight());
                at = at.checked_add(1.month()).ok()?;
            } else if !self.has_day(at) {
                at = at.date().tomorrow().ok()?.to_datetime(jiff::civil::Time::midnight());
            } else if !has(self.hours, at.hour()) {
                at = at.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?;
            } else if !has(self.minutes, at.minute()) {
                at = at.checked_add(1.minute()).ok()?;
            } else {
                let found = at.to_zoned(time.time_zone().clone()).ok()?;
                // An hour that a clock skips is told as the one after it; it may be past already.
                if found > *time {
                    return Some(found);
                }
                at = at.checked_add(1.minute()).ok()?;
            }
        }
        None
    }

    fn has_day(&self, at: DateTime) -> bool {
        let day = has(self.days, at.day());
        let weekday = has(self.weekdays, at.weekday().to_sunday_zero_offset());
        if self.either_day { day || weekday } else { day && weekday }
    }
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits & (1 << value) != 0)
}

/// The values of a field: lists of `*`, numbers, names and ranges, each with a step.
fn bits(field: &str, (least, most): (u32, u32), names: &[&str]) -> Option<u64> {
    let value = |text: &str| -> Option<u32> {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let number = match named {
            Some(at) => u32::try_from(at).ok()? + least,
            None => text.parse().ok()?,
        };
        (least..=most).contains(&number).then_some(number)
    };
    let mut found = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<usize>().ok().filter(|s| *s > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (least, most),
            Some((from, to)) => (value(from)?, value(to)?),
            // `5/15` goes on to the end.
            None => (value(range)?, if step.is_some() { most } else { value(range)? }),
        };
        for number in (from..=to).step_by(step.unwrap_or(1)) {
            found |= 1 << number;
        }
    }
    Some(found)
}
