//! Lists. None of these changes the list it is given.

use super::operators::same_kind;
use super::{Fault, Function, ListKind, Type, Value, any, done, elements, int, nil_type, text};
use crate::helm::template::eval::Context;
use crate::helm::template::print::strval;
use crate::helm::template::work::PART;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::variadic("list", &[], Type::Any, |_, a| Ok(Value::list(a.to_vec()))),
    Function::variadic("tuple", &[], Type::Any, |_, a| Ok(Value::list(a.to_vec()))),
    Function::new("first", &[Type::Any], |_, a| first(a)),
    Function::new("mustFirst", &[Type::Any], |_, a| first(a)),
    Function::new("last", &[Type::Any], |_, a| last(a)),
    Function::new("mustLast", &[Type::Any], |_, a| last(a)),
    Function::new("rest", &[Type::Any], |_, a| rest(a)),
    Function::new("mustRest", &[Type::Any], |_, a| rest(a)),
    Function::new("initial", &[Type::Any], |_, a| initial(a)),
    Function::new("mustInitial", &[Type::Any], |_, a| initial(a)),
    Function::new("append", &[Type::Any, Type::Any], |_, a| append(a)),
    Function::new("mustAppend", &[Type::Any, Type::Any], |_, a| append(a)),
    Function::new("push", &[Type::Any, Type::Any], |_, a| append(a)),
    Function::new("mustPush", &[Type::Any, Type::Any], |_, a| append(a)),
    Function::new("prepend", &[Type::Any, Type::Any], |_, a| prepend(a)),
    Function::new("mustPrepend", &[Type::Any, Type::Any], |_, a| prepend(a)),
    Function::variadic("concat", &[], Type::Any, |_, a| {
        let mut items = Vec::new();
        for value in a {
            match value {
                Value::List(list) => items.extend(list.items.iter().cloned()),
                Value::Nil | Value::NilInterface => return Err(nil_type()),
                other => {
                    let kind = other.kind_name();
                    return Err(Fault::new(format!("Cannot concat type {kind} as list")));
                }
            }
        }
        Ok(Value::list(items))
    }),
    Function::new("reverse", &[Type::Any], |_, a| reverse(a)),
    Function::new("mustReverse", &[Type::Any], |_, a| reverse(a)),
    Function::new("uniq", &[Type::Any], |c, a| uniq(c, a)),
    Function::new("mustUniq", &[Type::Any], |c, a| uniq(c, a)),
    Function::new("compact", &[Type::Any], |_, a| compact(a)),
    Function::new("mustCompact", &[Type::Any], |_, a| compact(a)),
    Function::variadic("without", &[Type::Any], Type::Any, |c, a| without(c, a)),
    Function::variadic("mustWithout", &[Type::Any], Type::Any, |c, a| without(c, a)),
    Function::new("has", &[Type::Any, Type::Any], |c, a| has(c, a)),
    Function::new("mustHas", &[Type::Any, Type::Any], |c, a| has(c, a)),
    Function::variadic("slice", &[Type::Any], Type::Any, |_, a| slice(a)),
    Function::variadic("mustSlice", &[Type::Any], Type::Any, |_, a| slice(a)),
    Function::new("chunk", &[Type::Int, Type::Any], |c, a| chunk(c, a)),
    Function::new("mustChunk", &[Type::Int, Type::Any], |c, a| chunk(c, a)),
    Function::new("join", &[Type::Str, Type::Any], |c, a| {
        let items = string_list(c, any(a, 1));
        if !c.work().made(items.len().saturating_mul(text(a, 0).len())) {
            return done("");
        }
        done(items.join(text(a, 0)))
    }),
    Function::new("sortAlpha", &[Type::Any], |c, a| {
        Ok(match any(a, 0) {
            Value::List(_) => {
                let mut items = string_list(c, any(a, 0));
                items.sort();
                Value::strings(items)
            }
            other => Value::strings([strval(other, c.work())]),
        })
    }),
    Function::new("toStrings", &[Type::Any], |c, a| Ok(Value::strings(string_list(c, any(a, 0))))),
    Function::new("until", &[Type::Int], |c, a| {
        let count = int(a, 0);
        Ok(ints(until_step(c, 0, count, if count < 0 { -1 } else { 1 })?))
    }),
    Function::new("untilStep", &[Type::Int, Type::Int, Type::Int], |c, a| {
        Ok(ints(until_step(c, int(a, 0), int(a, 1), int(a, 2))?))
    }),
    Function::variadic("seq", &[], Type::Int, |c, a| seq(c, a)),
];

/// Ranges beyond this many numbers are refused: Go would use up its memory.
const MAX_RANGE: i64 = 10_000_000;

fn first(a: &[Value]) -> Result<Value, Fault> {
    let items = elements(any(a, 0), "Cannot find first on type")?;
    Ok(items.first().cloned().unwrap_or(Value::Nil))
}

fn last(a: &[Value]) -> Result<Value, Fault> {
    let items = elements(any(a, 0), "Cannot find last on type")?;
    Ok(items.last().cloned().unwrap_or(Value::Nil))
}

fn rest(a: &[Value]) -> Result<Value, Fault> {
    let items = elements(any(a, 0), "Cannot find rest on type")?;
    Ok(Value::list(items.iter().skip(1).cloned().collect()))
}

fn initial(a: &[Value]) -> Result<Value, Fault> {
    let items = elements(any(a, 0), "Cannot find initial on type")?;
    Ok(Value::list(items[..items.len().saturating_sub(1)].to_vec()))
}

fn append(a: &[Value]) -> Result<Value, Fault> {
    let mut items = elements(any(a, 0), "Cannot push on type")?.to_vec();
    items.push(any(a, 1).clone());
    Ok(Value::list(items))
}

fn prepend(a: &[Value]) -> Result<Value, Fault> {
    let mut items = vec![any(a, 1).clone()];
    items.extend_from_slice(elements(any(a, 0), "Cannot prepend on type")?);
    Ok(Value::list(items))
}

fn reverse(a: &[Value]) -> Result<Value, Fault> {
    let items = elements(any(a, 0), "Cannot find reverse on type")?;
    Ok(Value::list(items.iter().rev().cloned().collect()))
}

fn uniq(context: &Context<'_>, a: &[Value]) -> Result<Value, Fault> {
    let mut found: Vec<Value> = Vec::new();
    for item in elements(any(a, 0), "Cannot find uniq on type")? {
        if !found.iter().any(|known| item.deep_equal(known, context.work())) {
            found.push(item.clone());
        }
    }
    Ok(Value::list(found))
}

fn compact(a: &[Value]) -> Result<Value, Fault> {
    let items = elements(any(a, 0), "Cannot compact on type")?;
    Ok(Value::list(items.iter().filter(|item| !item.is_empty()).cloned().collect()))
}

fn without(context: &Context<'_>, a: &[Value]) -> Result<Value, Fault> {
    let items = elements(any(a, 0), "Cannot find without on type")?;
    let omitted = |item: &Value| a[1..].iter().any(|omit| item.deep_equal(omit, context.work()));
    let kept = items.iter().filter(|item| !omitted(item));
    Ok(Value::list(kept.cloned().collect()))
}

fn has(context: &Context<'_>, a: &[Value]) -> Result<Value, Fault> {
    if any(a, 1).is_nil() {
        return Ok(Value::Bool(false));
    }
    let items = elements(any(a, 1), "Cannot find has on type")?;
    Ok(Value::Bool(items.iter().any(|item| any(a, 0).deep_equal(item, context.work()))))
}

fn slice(a: &[Value]) -> Result<Value, Fault> {
    let items = elements(any(a, 0), "list should be type of slice or array but")?;
    if items.is_empty() {
        return Ok(Value::Nil);
    }
    let start = a.get(1).map_or(0, super::math::to_int);
    let end = a.get(2).map_or(i64::try_from(items.len()).unwrap_or(i64::MAX), super::math::to_int);
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    match range.and_then(|(start, end)| items.get(start..end)) {
        Some(part) => Ok(same_kind(any(a, 0), part.to_vec())),
        None => Err(Fault::new("reflect.Value.Slice: slice index out of bounds")),
    }
}

fn chunk(context: &Context<'_>, a: &[Value]) -> Result<Value, Fault> {
    let items = elements(any(a, 1), "Cannot chunk type")?;
    let size = usize::try_from(int(a, 0)).ok().filter(|size| *size > 0);
    let Some(size) = size else {
        return Err(Fault::new("runtime error: makeslice: len out of range"));
    };
    if !context.work().take(PART * items.len()) {
        return Ok(Value::Nil);
    }
    let chunks = items.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect();
    Ok(Value::typed_list(chunks, ListKind::Lists))
}

/// Sprig's `strslice`: nothing is left out but nil.
pub(super) fn string_list(context: &Context<'_>, value: &Value) -> Vec<String> {
    let work = context.work();
    match value {
        Value::List(list) if !work.take(PART * list.items.len()) => Vec::new(),
        Value::List(list) => {
            let given = list.items.iter().filter(|item| !item.is_nil());
            given.map(|item| strval(item, work)).collect()
        }
        Value::Nil | Value::NilInterface => Vec::new(),
        other => vec![strval(other, work)],
    }
}

fn until_step(context: &Context<'_>, start: i64, stop: i64, step: i64) -> Result<Vec<i64>, Fault> {
    let mut numbers = Vec::new();
    if (stop < start && step >= 0) || (stop >= start && step <= 0) {
        return Ok(numbers);
    }
    let count = (stop.saturating_sub(start) / step).abs();
    if count > MAX_RANGE {
        return Err(Fault::new(format!("more than {MAX_RANGE} numbers")));
    }
    if !context.work().take(usize::try_from(count).unwrap_or(0)) {
        return Ok(numbers);
    }
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        numbers.push(at);
        match at.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(numbers)
}

fn ints(numbers: Vec<i64>) -> Value {
    Value::typed_list(numbers.into_iter().map(Value::int).collect(), ListKind::Int)
}

fn seq(context: &Context<'_>, a: &[Value]) -> Result<Value, Fault> {
    let numbers: Vec<i64> = (0..a.len()).map(|n| int(a, n)).collect();
    let (start, step, end) = match numbers[..] {
        [end] => (1, if end < 1 { -1 } else { 1 }, end),
        [start, end] => (start, if end < start { -1 } else { 1 }, end),
        [start, step, end] => {
            if end < start && step > 0 {
                return done("");
            }
            (start, step, end)
        }
        _ => return done(""),
    };
    let towards = if end < start { -1 } else { 1 };
    let found = until_step(context, start, end.saturating_add(towards), step)?;
    done(found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}
