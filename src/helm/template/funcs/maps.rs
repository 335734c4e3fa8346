//! Maps. `set`, `unset` and the merges change the map they are given.

use std::rc::Rc;

use super::{Fault, Function, Type, Value, any, map, text};
use crate::helm::template::eval::Context;
use crate::helm::template::print::strval;
use crate::helm::template::value::{Entries, MAX_DEPTH, MapCell, MapKind};
use crate::helm::template::work::{ENTRY, Work};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::variadic("dict", &[], Type::Any, |c, a| {
        let mut entries = Entries::new();
        for pair in a.chunks(2) {
            let key = strval(&pair[0], c.work());
            entries.insert(key.into(), pair.get(1).cloned().unwrap_or(Value::str("")));
        }
        Ok(Value::map(entries))
    }),
    Function::new("get", &[Type::Map, Type::Str], |_, a| {
        Ok(map(a, 0).and_then(|map| map.get(text(a, 1))).unwrap_or_else(|| Value::str("")))
    }),
    Function::new("set", &[Type::Map, Type::Str, Type::Any], |c, a| {
        let Some(map) = map(a, 0) else {
            return Err(Fault::new("assignment to entry in nil map"));
        };
        c.work().take(ENTRY);
        map.entries.borrow_mut().insert(text(a, 1).into(), any(a, 2).clone());
        Ok(plain(any(a, 0)))
    }),
    Function::new("unset", &[Type::Map, Type::Str], |_, a| {
        let Some(map) = map(a, 0) else { return Ok(Value::map(Entries::new())) };
        map.entries.borrow_mut().remove(text(a, 1));
        Ok(plain(any(a, 0)))
    }),
    Function::new("hasKey", &[Type::Map, Type::Str], |_, a| {
        Ok(Value::Bool(map(a, 0).is_some_and(|map| map.entries.borrow().contains_key(text(a, 1)))))
    }),
    Function::variadic("pluck", &[Type::Str], Type::Map, |_, a| {
        let found = (1..a.len()).filter_map(|n| map(a, n)?.get(text(a, 0)));
        Ok(Value::list(found.collect()))
    }),
    Function::variadic("keys", &[], Type::Map, |_, a| {
        let mut keys: Vec<Rc<str>> = Vec::new();
        for n in 0..a.len() {
            keys.extend(
                map(a, n)
                    .iter()
                    .flat_map(|map| map.entries.borrow().keys().cloned().collect::<Vec<_>>()),
            );
        }
        Ok(Value::strings(keys))
    }),
    Function::new("values", &[Type::Map], |_, a| {
        Ok(Value::list(
            map(a, 0).map_or_else(Vec::new, |map| map.entries.borrow().values().cloned().collect()),
        ))
    }),
    Function::variadic("pick", &[Type::Map], Type::Str, |_, a| {
        let mut entries = Entries::new();
        if let Some(map) = map(a, 0) {
            for n in 1..a.len() {
                if let Some(value) = map.get(text(a, n)) {
                    entries.insert(text(a, n).into(), value);
                }
            }
        }
        Ok(Value::map(entries))
    }),
    Function::variadic("omit", &[Type::Map], Type::Str, |_, a| {
        let mut entries = map(a, 0).map_or_else(Entries::new, |map| map.entries.borrow().clone());
        for n in 1..a.len() {
            entries.remove(text(a, n));
        }
        Ok(Value::map(entries))
    }),
    Function::variadic("dig", &[], Type::Any, |_, a| dig(a)),
    Function::variadic("merge", &[Type::Map], Type::Map, |c, a| merge_all(c, a, false)),
    Function::variadic("mustMerge", &[Type::Map], Type::Map, |c, a| merge_all(c, a, false)),
    Function::variadic("mergeOverwrite", &[Type::Map], Type::Map, |c, a| merge_all(c, a, true)),
    Function::variadic("mustMergeOverwrite", &[Type::Map], Type::Map, |c, a| merge_all(c, a, true)),
];

/// The functions return `map[string]interface {}`: a map of another name is the same map under that type.
fn plain(value: &Value) -> Value {
    match value {
        Value::Map(map) if map.kind == MapKind::Values => Value::Map(map.retyped(MapKind::Any)),
        other => other.clone(),
    }
}

fn conversion(value: &Value, wanted: &str) -> Fault {
    Fault::new(match value {
        Value::Nil | Value::NilInterface => {
            format!("interface conversion: interface {{}} is nil, not {wanted}")
        }
        other => {
            format!("interface conversion: interface {{}} is {}, not {wanted}", other.type_name())
        }
    })
}

fn dig(arguments: &[Value]) -> Result<Value, Fault> {
    const MAP: &str = "map[string]interface {}";
    let n = arguments.len();
    if n < 3 {
        return Err(Fault::new("dig needs at least three arguments"));
    }
    let plain_map = |value: &Value| match value {
        Value::Map(map) if map.kind == MapKind::Any => Ok(map.clone()),
        other => Err(conversion(other, MAP)),
    };
    let mut current = plain_map(&arguments[n - 1])?;
    let keys = &arguments[..n - 2];
    for key in keys {
        if !matches!(key, Value::Str(_)) {
            return Err(conversion(key, "string"));
        }
    }
    for (at, key) in keys.iter().enumerate() {
        let Value::Str(key) = key else { continue };
        let Some(step) = current.get(key) else { return Ok(arguments[n - 2].clone()) };
        if at + 1 == keys.len() {
            return Ok(step);
        }
        current = plain_map(&step)?;
    }
    Ok(Value::Nil)
}

fn merge_all(context: &Context<'_>, arguments: &[Value], overwrite: bool) -> Result<Value, Fault> {
    let Some(target) = map(arguments, 0) else {
        // Into a nil map: Go makes one.
        let Value::Map(target) = Value::map(Entries::new()) else { return Ok(Value::Nil) };
        for n in 1..arguments.len() {
            if let Some(source) = map(arguments, n) {
                merge(context.work(), &target, source, overwrite, 0);
            }
        }
        return Ok(Value::Map(target));
    };
    for n in 1..arguments.len() {
        if let Some(source) = map(arguments, n) {
            merge(context.work(), target, source, overwrite, 0);
        }
    }
    Ok(plain(any(arguments, 0)))
}

/// mergo's rules: maps merge, an empty target value is replaced, any other only when overwriting. What is taken over is
/// the source's own object, not a copy.
fn merge(work: &Work, target: &Rc<MapCell>, source: &Rc<MapCell>, overwrite: bool, depth: usize) {
    if Rc::ptr_eq(&target.entries, &source.entries) || depth > MAX_DEPTH {
        return;
    }
    if !work.take(ENTRY * source.entries.borrow().len()) {
        return;
    }
    let pairs: Vec<(Rc<str>, Value)> =
        source.entries.borrow().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    for (key, value) in pairs {
        if value.is_nil() {
            if overwrite {
                target.entries.borrow_mut().insert(key, Value::Nil);
            }
            continue;
        }
        let old = target.get(&key);
        if let (Value::Map(inner), Some(Value::Map(old))) = (&value, &old) {
            merge(work, old, inner, overwrite, depth + 1);
            if !old.entries.borrow().is_empty() {
                continue;
            }
        }
        let replaces = overwrite || old.as_ref().is_none_or(Value::is_empty);
        if replaces {
            target.entries.borrow_mut().insert(key, value);
        }
    }
}
