//! Go's own functions: comparison, `index`, `len`, `printf`, escaping.

use super::{Fault, Function, Type, Value, any, done};
use crate::helm::template::eval::Context;
use crate::helm::template::print;
use crate::helm::template::text::to_bytes;
use crate::helm::template::value::{IntKind, ListKind, MapKind};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::variadic("and", &[Type::Reflect], Type::Reflect, first),
    Function::variadic("or", &[Type::Reflect], Type::Reflect, first),
    Function::new("not", &[Type::Reflect], |_, a| Ok(Value::Bool(!any(a, 0).is_true()))),
    Function::variadic("eq", &[Type::Reflect], Type::Reflect, |c, a| {
        Ok(Value::Bool(equal(c, any(a, 0), &a[1..])?))
    }),
    Function::new("ne", &[Type::Reflect, Type::Reflect], |c, a| {
        Ok(Value::Bool(!equal(c, any(a, 0), &a[1..])?))
    }),
    Function::new("lt", &[Type::Reflect, Type::Reflect], |_, a| {
        Ok(Value::Bool(less(any(a, 0), any(a, 1))?))
    }),
    Function::new("le", &[Type::Reflect, Type::Reflect], |c, a| {
        Ok(Value::Bool(less_or_equal(c, a)?))
    }),
    Function::new("gt", &[Type::Reflect, Type::Reflect], |c, a| {
        Ok(Value::Bool(!less_or_equal(c, a)?))
    }),
    Function::new("ge", &[Type::Reflect, Type::Reflect], |_, a| {
        Ok(Value::Bool(!less(any(a, 0), any(a, 1))?))
    }),
    Function::new("len", &[Type::Reflect], |_, a| length(any(a, 0))),
    Function::variadic("index", &[Type::Reflect], Type::Reflect, |_, a| index(a)),
    Function::variadic("call", &[Type::Reflect], Type::Reflect, |c, a| {
        Err(Fault::new(if any(a, 0).is_nil() {
            "call of nil".to_owned()
        } else {
            format!(
                "non-function {} of type {}",
                print::to_string(any(a, 0), c.work()),
                any(a, 0).type_name()
            )
        }))
    }),
    Function::variadic("print", &[], Type::Any, |c, a| done(print::sprint(a, c.work()))),
    Function::variadic("println", &[], Type::Any, |c, a| done(print::sprintln(a, c.work()))),
    Function::variadic("printf", &[Type::Str], Type::Any, |c, a| {
        done(print::sprintf(super::text(a, 0), &a[1..], c.work()))
    }),
    Function::variadic("html", &[], Type::Any, |c, a| done(html(&escaped_text(c, a)))),
    Function::variadic("js", &[], Type::Any, |c, a| done(js(&escaped_text(c, a)))),
    Function::variadic("urlquery", &[], Type::Any, |c, a| done(url_query(&escaped_text(c, a)))),
];

/// The evaluator does the work of `and` and `or`.
fn first(_: &mut Context<'_>, arguments: &[Value]) -> Result<Value, Fault> {
    Ok(any(arguments, 0).clone())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Basic {
    Bool,
    Int,
    Uint,
    Float,
    Str,
    Other,
}

fn basic(value: &Value) -> Basic {
    match value {
        Value::Bool(_) => Basic::Bool,
        Value::Int(_, kind) if kind.is_unsigned() => Basic::Uint,
        Value::Int(..) => Basic::Int,
        Value::Float(_) => Basic::Float,
        Value::Str(_) => Basic::Str,
        _ => Basic::Other,
    }
}

/// Whether a value equals any of others.
fn equal(context: &Context<'_>, value: &Value, others: &[Value]) -> Result<bool, Fault> {
    if others.is_empty() {
        return Err(Fault::new("missing argument for comparison"));
    }
    for other in others {
        let (kind, other_kind) = (basic(value), basic(other));
        let same = match (value, other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Int(a, _), Value::Int(b, _)) => a == b && (kind == other_kind || *a >= 0),
            _ if kind != other_kind => {
                if !value.is_nil() && !other.is_nil() {
                    return Err(incompatible(value, other));
                }
                false
            }
            _ => same_other(context, value, other)?,
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

fn incompatible(a: &Value, b: &Value) -> Fault {
    let (a, b) = (a.type_name(), b.type_name());
    Fault::new(format!("incompatible types for comparison: {a} and {b}"))
}

/// Neither is of a basic kind: only nil compares with everything.
fn same_other(context: &Context<'_>, a: &Value, b: &Value) -> Result<bool, Fault> {
    if a.is_nil() || b.is_nil() {
        return Ok(a.is_nil() == b.is_nil());
    }
    if a.kind_name() != b.kind_name() {
        return Err(Fault::new(format!(
            "non-comparable types {}: {}, {}: {}",
            shown(context, a),
            a.type_name(),
            b.type_name(),
            shown(context, b)
        )));
    }
    match (a, b) {
        (Value::Object(x), Value::Object(y)) if b.kind_name() != "map" => Ok(x == y),
        _ => {
            Err(Fault::new(format!("non-comparable type {}: {}", shown(context, b), b.type_name())))
        }
    }
}

/// `%s`, which complains of numbers.
fn shown(context: &Context<'_>, value: &Value) -> String {
    print::sprintf("%s", std::slice::from_ref(value), context.work())
}

fn less(a: &Value, b: &Value) -> Result<bool, Fault> {
    let bad = || Fault::new("invalid type for comparison");
    let (kind_a, kind_b) = (basic(a), basic(b));
    if kind_a == Basic::Other || kind_b == Basic::Other {
        return Err(bad());
    }
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::Str(a), Value::Str(b)) => Ok(to_bytes(a) < to_bytes(b)),
        (Value::Int(a, _), Value::Int(b, _)) => Ok(a < b),
        (Value::Bool(_), Value::Bool(_)) => Err(bad()),
        _ => Err(incompatible(a, b)),
    }
}

fn less_or_equal(context: &Context<'_>, arguments: &[Value]) -> Result<bool, Fault> {
    let (a, b) = (any(arguments, 0), any(arguments, 1));
    Ok(less(a, b)? || equal(context, a, std::slice::from_ref(b))?)
}

fn length(value: &Value) -> Result<Value, Fault> {
    Ok(Value::len(match value {
        Value::Str(text) => to_bytes(text).len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.borrow().len(),
        Value::Object(object) => match &**object {
            super::Object::Files(files) => files.len(),
            _ => return Err(Fault::new(format!("len of type {}", object.type_name()))),
        },
        Value::Nil | Value::NilInterface => return Err(Fault::new("len of nil pointer")),
        other => return Err(Fault::new(format!("len of type {}", other.type_name()))),
    }))
}

fn position(value: &Value, length: usize) -> Result<usize, Fault> {
    match value {
        Value::Int(at, _) => usize::try_from(*at)
            .ok()
            .filter(|at| *at <= length)
            .ok_or_else(|| Fault::new(format!("index out of range: {at}"))),
        Value::Nil | Value::NilInterface => Err(Fault::new("cannot index slice/array with nil")),
        other => {
            Err(Fault::new(format!("cannot index slice/array with type {}", other.type_name())))
        }
    }
}

fn index(arguments: &[Value]) -> Result<Value, Fault> {
    let mut item = any(arguments, 0).clone();
    if item.is_nil() {
        return Err(Fault::new("index of untyped nil"));
    }
    let beyond = |at: usize, length: usize| {
        let what = "reflect: slice index out of range";
        let _ = (at, length);
        Fault::new(what)
    };
    for key in &arguments[1..] {
        item = match &item {
            Value::Nil | Value::NilInterface => return Err(Fault::new("index of nil pointer")),
            Value::List(list) => {
                let at = position(key, list.items.len())?;
                list.items.get(at).ok_or_else(|| beyond(at, list.items.len()))?.clone()
            }
            Value::Str(text) => {
                let bytes = to_bytes(text);
                let at = position(key, bytes.len())?;
                let byte = bytes
                    .get(at)
                    .ok_or_else(|| Fault::new("reflect: string index out of range"))?;
                Value::Int(i64::from(*byte), IntKind::Uint8)
            }
            Value::Map(map) => match key {
                Value::Str(name) => match map.get(name) {
                    Some(value) => value,
                    None if map.kind == MapKind::Str => Value::str(""),
                    None => Value::Nil,
                },
                Value::Nil | Value::NilInterface => {
                    return Err(Fault::new("value is nil; should be of type string"));
                }
                other => {
                    let found = other.type_name();
                    return Err(Fault::new(format!("value has type {found}; should be string")));
                }
            },
            Value::Object(object) if object.kind_name() == "map" => match key {
                Value::Str(name) => object.field(name).unwrap_or(Value::Nil),
                other => {
                    let found = other.type_name();
                    return Err(Fault::new(format!("value has type {found}; should be string")));
                }
            },
            other => {
                return Err(Fault::new(format!("can't index item of type {}", other.type_name())));
            }
        };
    }
    Ok(item)
}

/// The text that the escapers escape.
fn escaped_text(context: &Context<'_>, arguments: &[Value]) -> String {
    match arguments {
        [Value::Str(text)] => text.to_string(),
        _ => {
            let values: Vec<Value> = arguments
                .iter()
                .map(|value| match value {
                    Value::Nil | Value::NilInterface => Value::str("<no value>"),
                    other => other.clone(),
                })
                .collect();
            print::sprint(&values, context.work())
        }
    }
}

pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{FFFD}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_ascii() || crate::helm::template::text::is_print(c) => out.push(c),
            c => out.push_str(&format!("\\u{:04X}", u32::from(c))),
        }
    }
    out
}

pub(super) fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in to_bytes(text).iter() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(*byte));
            }
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A list's kind survives slicing.
pub(super) fn same_kind(value: &Value, items: Vec<Value>) -> Value {
    let kind = match value {
        Value::List(list) => list.kind,
        _ => ListKind::Any,
    };
    Value::typed_list(items, kind)
}
