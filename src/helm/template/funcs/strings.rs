//! Text: cutting, joining, quoting, indenting.

use super::{Fault, Function, Type, Value, any, done, int, text};
use crate::helm::template::eval::Context;
use crate::helm::template::print::{strval, to_string};
use crate::helm::template::text::{from_bytes, quote, to_bytes};
use crate::helm::template::value::{Entries, MapKind};
use crate::helm::template::work::{ENTRY, PART};

/// A text longer than this is refused where a count asks for it.
const MAX_REPEAT: usize = 64 << 20;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("trim", &[Type::Str], |_, a| done(text(a, 0).trim())),
    Function::new("trimAll", &[Type::Str, Type::Str], |c, a| done(trim_all(c, a))),
    Function::new("trimall", &[Type::Str, Type::Str], |c, a| done(trim_all(c, a))),
    Function::new("trimSuffix", &[Type::Str, Type::Str], |_, a| {
        done(text(a, 1).strip_suffix(text(a, 0)).unwrap_or(text(a, 1)))
    }),
    Function::new("trimPrefix", &[Type::Str, Type::Str], |_, a| {
        done(text(a, 1).strip_prefix(text(a, 0)).unwrap_or(text(a, 1)))
    }),
    Function::new("upper", &[Type::Str], |_, a| done(text(a, 0).to_uppercase())),
    Function::new("lower", &[Type::Str], |_, a| done(text(a, 0).to_lowercase())),
    Function::new("nospace", &[Type::Str], |_, a| {
        done(text(a, 0).chars().filter(|c| !c.is_whitespace()).collect::<String>())
    }),
    Function::new("repeat", &[Type::Int, Type::Str], |_, a| {
        let Ok(count) = usize::try_from(int(a, 0)) else {
            return Err(Fault::new("strings: negative Repeat count"));
        };
        if count.saturating_mul(text(a, 1).len()) > MAX_REPEAT {
            return Err(Fault::new(format!("repeated text exceeds {MAX_REPEAT} bytes")));
        }
        done(text(a, 1).repeat(count))
    }),
    Function::new("substr", &[Type::Int, Type::Int, Type::Str], |_, a| substr(a)),
    Function::new("trunc", &[Type::Int, Type::Str], |_, a| done(trunc(int(a, 0), text(a, 1)))),
    Function::new("contains", &[Type::Str, Type::Str], |_, a| {
        Ok(Value::Bool(text(a, 1).contains(text(a, 0))))
    }),
    Function::new("hasPrefix", &[Type::Str, Type::Str], |_, a| {
        Ok(Value::Bool(text(a, 1).starts_with(text(a, 0))))
    }),
    Function::new("hasSuffix", &[Type::Str, Type::Str], |_, a| {
        Ok(Value::Bool(text(a, 1).ends_with(text(a, 0))))
    }),
    Function::variadic("quote", &[], Type::Any, |c, a| {
        let given = a.iter().filter(|value| !value.is_nil());
        let quoted = given.map(|value| quote(&strval(value, c.work())));
        done(quoted.collect::<Vec<_>>().join(" "))
    }),
    Function::variadic("squote", &[], Type::Any, |c, a| {
        let given = a.iter().filter(|value| !value.is_nil());
        let quoted = given.map(|value| format!("'{}'", to_string(value, c.work())));
        done(quoted.collect::<Vec<_>>().join(" "))
    }),
    Function::variadic("cat", &[], Type::Any, |c, a| {
        let given = a.iter().filter(|value| !value.is_nil());
        let words = given.map(|value| to_string(value, c.work()));
        done(words.collect::<Vec<_>>().join(" "))
    }),
    Function::new("indent", &[Type::Int, Type::Str], |_, a| done(indent(a)?)),
    Function::new("nindent", &[Type::Int, Type::Str], |_, a| done(format!("\n{}", indent(a)?))),
    Function::new("replace", &[Type::Str, Type::Str, Type::Str], |c, a| {
        let (old, new, source) = (text(a, 0), text(a, 1), text(a, 2));
        let n_found = || source.matches(old).count();
        if new.len() > old.len() && !c.work().made(n_found().saturating_mul(new.len())) {
            return done("");
        }
        done(source.replace(old, new))
    }),
    Function::new("plural", &[Type::Str, Type::Str, Type::Int], |_, a| {
        done(text(a, usize::from(int(a, 2) != 1)))
    }),
    Function::new("toString", &[Type::Any], |c, a| done(strval(any(a, 0), c.work()))),
    Function::new("split", &[Type::Str, Type::Str], |c, a| {
        Ok(numbered(c, split(c, text(a, 0), text(a, 1), -1)))
    }),
    Function::new("splitn", &[Type::Str, Type::Int, Type::Str], |c, a| {
        Ok(numbered(c, split(c, text(a, 0), text(a, 2), int(a, 1))))
    }),
    Function::new("splitList", &[Type::Str, Type::Str], |c, a| {
        Ok(Value::strings(split(c, text(a, 0), text(a, 1), -1)))
    }),
    Function::new("hello", &[], |_, _| done("Hello!")),
];

fn trim_all(context: &Context<'_>, a: &[Value]) -> String {
    let cut = text(a, 0);
    if !context.work().read(cut.len().saturating_mul(text(a, 1).len())) {
        return String::new();
    }
    text(a, 1).trim_matches(|c| cut.contains(c)).to_owned()
}

fn trunc(count: i64, source: &str) -> String {
    let bytes = to_bytes(source);
    let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let at = |at: i64| usize::try_from(at).unwrap_or(0);
    if count < 0 && length + count > 0 {
        return from_bytes(&bytes[at(length + count)..]);
    }
    if count >= 0 && length > count {
        return from_bytes(&bytes[..at(count)]);
    }
    source.to_owned()
}

fn substr(a: &[Value]) -> Result<Value, Fault> {
    let (start, end) = (int(a, 0), int(a, 1));
    let bytes = to_bytes(text(a, 2));
    let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let (from, to) = if start < 0 {
        (0, end)
    } else if end < 0 || end > length {
        (start, length)
    } else {
        (start, end)
    };
    let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    match range.and_then(|(from, to)| bytes.get(from..to)) {
        Some(part) => done(from_bytes(part)),
        None if to < 0 || to > length => Err(Fault::new(if start < 0 {
            format!("runtime error: slice bounds out of range [:{to}]")
        } else {
            format!("runtime error: slice bounds out of range [:{to}] with length {length}")
        })),
        None => Err(Fault::new(format!("runtime error: slice bounds out of range [{from}:{to}]"))),
    }
}

fn indent(a: &[Value]) -> Result<String, Fault> {
    let Ok(spaces) = usize::try_from(int(a, 0)) else {
        return Err(Fault::new("strings: negative Repeat count"));
    };
    let source = text(a, 1);
    let n_lines = source.bytes().filter(|byte| *byte == b'\n').count() + 1;
    if spaces.saturating_mul(n_lines) > MAX_REPEAT {
        return Err(Fault::new(format!("indented text exceeds {MAX_REPEAT} bytes")));
    }
    let pad = " ".repeat(spaces);
    let mut out = String::with_capacity(source.len() + n_lines * spaces);
    for (n, line) in source.split('\n').enumerate() {
        if n > 0 {
            out.push('\n');
        }
        out.push_str(&pad);
        out.push_str(line);
    }
    Ok(out)
}

/// Go's `SplitN`; an empty separator splits after each character.
fn split(context: &Context<'_>, separator: &str, source: &str, count: i64) -> Vec<String> {
    if count == 0 || !context.work().take(PART * source.matches(separator).count()) {
        return Vec::new();
    }
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    if separator.is_empty() {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(c) = rest.chars().next() {
            if parts.len() + 1 == limit {
                parts.push(rest.to_owned());
                break;
            }
            parts.push(c.to_string());
            rest = &rest[c.len_utf8()..];
        }
        return parts;
    }
    source.splitn(limit, separator).map(str::to_owned).collect()
}

fn numbered(context: &Context<'_>, parts: Vec<String>) -> Value {
    if !context.work().take(ENTRY * parts.len()) {
        return Value::Nil;
    }
    let entries: Entries = parts
        .into_iter()
        .enumerate()
        .map(|(n, part)| (format!("_{n}").into(), Value::str(part)))
        .collect();
    Value::typed_map(entries, MapKind::Str)
}
