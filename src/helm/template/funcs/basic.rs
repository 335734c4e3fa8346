//! Defaults, types and choices.

use super::{Fault, Function, Type, Value, any, done, text};
use crate::helm::semver;
use crate::helm::template::eval::Context;
use crate::helm::template::object::Object;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::variadic("default", &[Type::Any], Type::Any, |_, a| {
        Ok(match a.get(1) {
            Some(given) if !given.is_empty() => given.clone(),
            _ => any(a, 0).clone(),
        })
    }),
    Function::new("empty", &[Type::Any], |_, a| Ok(Value::Bool(any(a, 0).is_empty()))),
    Function::variadic("coalesce", &[], Type::Any, |_, a| {
        Ok(a.iter().find(|value| !value.is_empty()).cloned().unwrap_or(Value::Nil))
    }),
    Function::variadic("all", &[], Type::Any, |_, a| {
        Ok(Value::Bool(!a.iter().any(Value::is_empty)))
    }),
    Function::variadic("any", &[], Type::Any, |_, a| {
        Ok(Value::Bool(!a.iter().all(Value::is_empty)))
    }),
    Function::new("ternary", &[Type::Any, Type::Any, Type::Bool], |_, a| {
        Ok(any(a, usize::from(!any(a, 2).is_true())).clone())
    }),
    Function::new("kindOf", &[Type::Any], |_, a| done(any(a, 0).kind_name())),
    Function::new("kindIs", &[Type::Str, Type::Any], |_, a| {
        Ok(Value::Bool(any(a, 1).kind_name() == text(a, 0)))
    }),
    Function::new("typeOf", &[Type::Any], |_, a| done(any(a, 0).type_name())),
    Function::new("typeIs", &[Type::Str, Type::Any], |_, a| {
        Ok(Value::Bool(any(a, 1).type_name() == text(a, 0)))
    }),
    Function::new("typeIsLike", &[Type::Str, Type::Any], |_, a| {
        let found = any(a, 1).type_name();
        let wanted = text(a, 0);
        Ok(Value::Bool(found == wanted || found.strip_prefix('*') == Some(wanted)))
    }),
    Function::new("deepEqual", &[Type::Any, Type::Any], |c, a| {
        Ok(Value::Bool(any(a, 0).deep_equal(any(a, 1), c.work())))
    }),
    Function::new("deepCopy", &[Type::Any], |c, a| deep_copy(c, any(a, 0))),
    Function::new("mustDeepCopy", &[Type::Any], |c, a| deep_copy(c, any(a, 0))),
    Function::new("semver", &[Type::Str], |_, a| {
        semver::Version::parse(text(a, 0))
            .map(|version| Value::object(Object::SemVer(version)))
            .map_err(|error| Fault::new(error.to_string()))
    }),
    Function::new("semverCompare", &[Type::Str, Type::Str], |_, a| {
        let constraint =
            semver::Constraint::parse(text(a, 0)).map_err(|error| Fault::new(error.to_string()))?;
        let version =
            semver::Version::parse(text(a, 1)).map_err(|error| Fault::new(error.to_string()))?;
        Ok(Value::Bool(constraint.matches(&version)))
    }),
];

fn deep_copy(context: &Context<'_>, value: &Value) -> Result<Value, Fault> {
    if value.is_nil() {
        return Err(Fault::new("reflect: call of reflect.Value.Type on zero Value"));
    }
    Ok(value.deep_copy(context.work()))
}
