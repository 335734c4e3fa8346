//! Methods of values: `.Files.Get`, `.Capabilities.APIVersions.Has`, `.Values.YAML` and so on. The receiver is the first
//! argument.

use std::cmp::Ordering;
use std::rc::Rc;

use base64::Engine as _;
use jiff::{Span, Zoned};
use serde_json::{Map, Value as Json};

use super::{Fault, Function, ListKind, MapKind, Type, Value, any, done, text};
use crate::base::yaml;
use crate::helm::glob::Glob;
use crate::helm::template::dates::Time;
use crate::helm::template::eval::Context;
use crate::helm::template::object::{FileMap, Object, bytes};
use crate::helm::template::text::from_bytes;
use crate::helm::template::value::{Entries, IntKind};
use crate::helm::template::work::{ITEM, PART};

/// The method of a value by its name.
pub(crate) fn method(value: &Value, name: &str) -> Option<&'static Function> {
    let table = match value {
        Value::Map(map) if map.kind == MapKind::Values => VALUES,
        Value::List(list) if list.kind == ListKind::Versions => VERSIONS,
        Value::Object(object) => match &**object {
            Object::Files(_) => FILES,
            Object::KubeVersion(_) => KUBE_VERSION,
            Object::SemVer(_) => SEMVER,
            Object::Time(_) => TIME,
            _ => return None,
        },
        _ => return None,
    };
    table.iter().find(|method| method.name == name)
}

const FILES: &[Function] = &[
    Function::new("Get", &[Type::Str], |_, a| {
        done(files(a).get(text(a, 1)).map_or_else(String::new, |data| from_bytes(data)))
    }),
    Function::new("GetBytes", &[Type::Str], |c, a| {
        let files = files(a);
        let data = files.get(text(a, 1)).map_or(&[][..], |data| data);
        Ok(bytes(if c.work().take(ITEM * data.len()) { data } else { &[] }))
    }),
    Function::new("Glob", &[Type::Str], |_, a| {
        let glob = Glob::new(text(a, 1)).unwrap_or_else(Glob::everything);
        let found: FileMap = files(a)
            .iter()
            .filter(|(name, _)| glob.matches(name))
            .map(|(name, data)| (name.clone(), data.clone()))
            .collect();
        Ok(Value::object(Object::Files(found)))
    }),
    Function::new("AsConfig", &[], |c, a| done(as_yaml(c, a, from_bytes))),
    Function::new("AsSecrets", &[], |c, a| {
        done(as_yaml(c, a, |data| base64::engine::general_purpose::STANDARD.encode(data)))
    }),
    Function::new("Lines", &[Type::Str], |c, a| {
        let mut files = files(a);
        let Some(data) = files.remove(text(a, 1)).filter(|data| !data.is_empty()) else {
            return Ok(Value::strings(Vec::<String>::new()));
        };
        let source = from_bytes(&data);
        let source = source.strip_suffix('\n').unwrap_or(&source);
        if !c.work().take(PART * source.matches('\n').count()) {
            return Ok(Value::Nil);
        }
        Ok(Value::strings(source.split('\n')))
    }),
];

/// The receiver; methods are only called on their own type.
fn files(a: &[Value]) -> FileMap {
    match any(a, 0) {
        Value::Object(object) => match &**object {
            Object::Files(files) => files.clone(),
            _ => FileMap::new(),
        },
        _ => FileMap::new(),
    }
}

fn as_yaml(context: &Context<'_>, a: &[Value], encode: fn(&[u8]) -> String) -> String {
    if !context.work().made(files(a).values().map(|data| data.len()).sum()) {
        return String::new();
    }
    let map: Map<String, Json> = files(a)
        .iter()
        .map(|(name, data)| (super::paths::base(name).to_owned(), Json::from(encode(data))))
        .collect();
    let mut out = yaml::emit(&Json::Object(map));
    if out.ends_with('\n') {
        out.pop();
    }
    out
}

const VALUES: &[Function] = &[
    Function::new("AsMap", &[], |_, a| match any(a, 0) {
        Value::Map(map) if !map.entries.borrow().is_empty() => {
            Ok(Value::Map(map.retyped(MapKind::Any)))
        }
        _ => Ok(Value::map(Entries::new())),
    }),
    Function::new("YAML", &[], |c, a| {
        done(yaml::emit(&any(a, 0).to_json(c.work()).map_err(|error| Fault::new(error.0))?))
    }),
    Function::new("Table", &[Type::Str], |_, a| {
        let mut table = any(a, 0).clone();
        for name in text(a, 1).split('.') {
            table = match &table {
                Value::Map(map) => map.get(name),
                _ => None,
            }
            .filter(|value| matches!(value, Value::Map(_)))
            .ok_or_else(|| {
                Fault::new(format!("{} is not a table", crate::helm::template::text::quote(name)))
            })?;
        }
        Ok(table)
    }),
    Function::new("PathValue", &[Type::Str], |_, a| {
        if text(a, 1).is_empty() {
            return Err(Fault::new("YAML path cannot be empty"));
        }
        let mut value = Some(any(a, 0).clone());
        let mut last = "";
        for name in text(a, 1).split('.') {
            last = name;
            value = match &value {
                Some(Value::Map(map)) => map.get(name),
                _ => None,
            };
        }
        // A table is no value.
        value.filter(|value| !matches!(value, Value::Map(_))).ok_or_else(|| {
            Fault::new(format!("{} is not a value", crate::helm::template::text::quote(last)))
        })
    }),
];

const VERSIONS: &[Function] = &[Function::new("Has", &[Type::Str], |_, a| {
    let wanted = text(a, 1);
    Ok(Value::Bool(match any(a, 0) {
        Value::List(list) => {
            list.items.iter().any(|item| matches!(item, Value::Str(text) if **text == *wanted))
        }
        _ => false,
    }))
})];

const KUBE_VERSION: &[Function] = &[
    Function::new("GitVersion", &[], |_, a| match any(a, 0) {
        Value::Object(object) => Ok(object.field("Version").unwrap_or(Value::Nil)),
        _ => Ok(Value::Nil),
    }),
    Function::new("String", &[], |_, a| done(stringer(a))),
];

const SEMVER: &[Function] = &[
    Function::new("Major", &[], |_, a| number(a, |version| version.major)),
    Function::new("Minor", &[], |_, a| number(a, |version| version.minor)),
    Function::new("Patch", &[], |_, a| number(a, |version| version.patch)),
    Function::new("Prerelease", &[], |_, a| part(a, |version| version.prerelease.clone())),
    Function::new("Metadata", &[], |_, a| part(a, |version| version.metadata.clone())),
    Function::new("Compare", &[Type::Version], |_, a| {
        Ok(Value::int(match order(a) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }))
    }),
    Function::new("Equal", &[Type::Version], |_, a| Ok(Value::Bool(order(a).is_eq()))),
    Function::new("LessThan", &[Type::Version], |_, a| Ok(Value::Bool(order(a).is_lt()))),
    Function::new("LessThanEqual", &[Type::Version], |_, a| Ok(Value::Bool(order(a).is_le()))),
    Function::new("GreaterThan", &[Type::Version], |_, a| Ok(Value::Bool(order(a).is_gt()))),
    Function::new("GreaterThanEqual", &[Type::Version], |_, a| Ok(Value::Bool(order(a).is_ge()))),
    Function::new("IncMajor", &[], |_, a| next(a, |v| (v.major + 1, 0, 0))),
    Function::new("IncMinor", &[], |_, a| next(a, |v| (v.major, v.minor + 1, 0))),
    // A pre-release becomes the release that it precedes.
    Function::new("IncPatch", &[], |_, a| {
        next(a, |v| (v.major, v.minor, v.patch + u64::from(v.prerelease.is_empty())))
    }),
    Function::new("Original", &[], |_, a| part(a, |version| version.original.clone())),
    Function::new("String", &[], |_, a| done(stringer(a))),
];

fn stringer(a: &[Value]) -> String {
    match any(a, 0) {
        Value::Object(object) => object.stringer().unwrap_or_default(),
        _ => String::new(),
    }
}

fn version(a: &[Value]) -> Option<&crate::helm::semver::Version> {
    match any(a, 0) {
        Value::Object(object) => match &**object {
            Object::SemVer(version) => Some(version),
            _ => None,
        },
        _ => None,
    }
}

/// The receiver against the argument.
fn order(a: &[Value]) -> Ordering {
    match (version(a), version(a.get(1..).unwrap_or_default())) {
        (Some(one), Some(other)) => one.precedence(other),
        _ => Ordering::Equal,
    }
}

fn next(
    a: &[Value],
    bump: fn(&crate::helm::semver::Version) -> (u64, u64, u64),
) -> Result<Value, Fault> {
    let Some(now) = version(a) else { return Ok(Value::Nil) };
    let (major, minor, patch) = bump(now);
    let v = if now.original.starts_with('v') { "v" } else { "" };
    let text = format!("{v}{major}.{minor}.{patch}");
    crate::helm::semver::Version::parse(&text)
        .map(|version| Value::object(Object::SemVer(version)))
        .map_err(|error| Fault::new(error.to_string()))
}

fn number(a: &[Value], read: fn(&crate::helm::semver::Version) -> u64) -> Result<Value, Fault> {
    let found = version(a).map_or(0, read);
    let kind = crate::helm::template::value::IntKind::Uint64;
    Ok(Value::Int(found.cast_signed(), kind))
}

fn part(a: &[Value], read: fn(&crate::helm::semver::Version) -> Rc<str>) -> Result<Value, Fault> {
    Ok(version(a).map_or_else(|| Value::str(""), |version| Value::Str(read(version))))
}

/// The receiver as a moment.
fn moment(a: &[Value]) -> Zoned {
    match any(a, 0) {
        Value::Object(object) => match &**object {
            Object::Time(time) => time.0.clone(),
            _ => Zoned::default(),
        },
        _ => Zoned::default(),
    }
}

const TIME: &[Function] = &[
    Function::new("Format", &[Type::Str], |_, a| match any(a, 0) {
        Value::Object(object) => match &**object {
            Object::Time(time) => done(time.format(text(a, 1))),
            _ => done(""),
        },
        _ => done(""),
    }),
    Function::new("Unix", &[], |_, a| Ok(Value::int64(moment(a).timestamp().as_second()))),
    Function::new("UnixMilli", &[], |_, a| {
        Ok(Value::int64(moment(a).timestamp().as_millisecond()))
    }),
    Function::new("UnixMicro", &[], |_, a| {
        Ok(Value::int64(moment(a).timestamp().as_microsecond()))
    }),
    Function::new("UnixNano", &[], |_, a| {
        let nanos = moment(a).timestamp().as_nanosecond();
        Ok(Value::int64(i64::try_from(nanos).unwrap_or(i64::MAX)))
    }),
    Function::new("Year", &[], |_, a| Ok(Value::int(moment(a).year().into()))),
    Function::new("Month", &[], |_, a| Ok(Value::Int(moment(a).month().into(), IntKind::Month))),
    Function::new("Weekday", &[], |_, a| {
        let day = moment(a).weekday().to_sunday_zero_offset();
        Ok(Value::Int(day.into(), IntKind::Weekday))
    }),
    Function::new("Day", &[], |_, a| Ok(Value::int(moment(a).day().into()))),
    Function::new("YearDay", &[], |_, a| Ok(Value::int(moment(a).day_of_year().into()))),
    Function::new("Hour", &[], |_, a| Ok(Value::int(moment(a).hour().into()))),
    Function::new("Minute", &[], |_, a| Ok(Value::int(moment(a).minute().into()))),
    Function::new("Second", &[], |_, a| Ok(Value::int(moment(a).second().into()))),
    Function::new("Nanosecond", &[], |_, a| Ok(Value::int(moment(a).subsec_nanosecond().into()))),
    Function::new("UTC", &[], |_, a| {
        Ok(Value::object(Object::Time(Time::utc(moment(a).timestamp()))))
    }),
    Function::new("IsZero", &[], |_, a| {
        Ok(Value::Bool(moment(a).timestamp().as_second() == -62_135_596_800))
    }),
    Function::new("Before", &[Type::Time], |_, a| Ok(Value::Bool(moment(a) < moment(&a[1..])))),
    Function::new("After", &[Type::Time], |_, a| Ok(Value::Bool(moment(a) > moment(&a[1..])))),
    Function::new("Equal", &[Type::Time], |_, a| {
        Ok(Value::Bool(moment(a).timestamp() == moment(&a[1..]).timestamp()))
    }),
    Function::new("AddDate", &[Type::Int, Type::Int, Type::Int], |_, a| {
        let count = |n| super::int(a, n);
        // Go counts days on: the 31st of a short month is the 1st of the next.
        let months = count(1).saturating_mul(12).saturating_add(count(2));
        let now = moment(a);
        let first = now.with().day(1).build().ok();
        let days = count(3).saturating_add(i64::from(now.day()) - 1);
        let moved = first
            .and_then(|first| first.checked_add(Span::new().try_months(months).ok()?).ok())
            .and_then(|month| month.checked_add(Span::new().try_days(days).ok()?).ok());
        moved
            .map(|moved| Value::object(Object::Time(Time(moved))))
            .ok_or_else(|| Fault::new("time: out of range"))
    }),
    Function::new("String", &[], |_, a| done(stringer(a))),
];
