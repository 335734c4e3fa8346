//! `include`, `tpl`, `required`, `fail`, `lookup`: what Helm binds to the rendering itself.

use std::rc::Rc;

use super::{Fault, Function, Type, Value, any, done, text};
use crate::helm::template::error::refusal;
use crate::helm::template::eval::{self, Context, Templates};
use crate::helm::template::text::quote;
use crate::helm::template::{parse, without_no_value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("include", &[Type::Str, Type::Any], include),
    Function::new("tpl", &[Type::Str, Type::Any], tpl),
    Function::new("required", &[Type::Str, Type::Any], |_, a| match any(a, 1) {
        Value::Nil | Value::NilInterface => Err(Fault::new(refusal(text(a, 0)))),
        Value::Str(value) if value.is_empty() => Err(Fault::new(refusal(text(a, 0)))),
        value => Ok(value.clone()),
    }),
    Function::new("fail", &[Type::Str], |_, a| Err(Fault::new(refusal(text(a, 0))))),
    Function::new("lookup", &[Type::Str, Type::Str, Type::Str, Type::Str], lookup),
    Function::new("getHostByName", &[Type::Str], |_, _| done("")),
];

/// A template may include itself this often.
const MAX_INCLUDES: usize = 1_000;

fn include(context: &mut Context<'_>, arguments: &[Value]) -> Result<Value, Fault> {
    let name = text(arguments, 0);
    let included = &context.engine.included;
    let n = included.borrow().get(name).copied().unwrap_or(0);
    if n > MAX_INCLUDES {
        return Err(Fault::new(format!(
            "rendering template has a nested reference name: {name}: unable to execute template"
        )));
    }
    let Some(tree) = context.templates.find(name) else {
        let name = quote(name);
        return Err(Fault::new(format!(
            "template: no template {name} associated with template \"gotpl\""
        )));
    };
    included.borrow_mut().insert(tree.name.clone(), n + 1);
    let done = eval::execute(context.engine, context.templates, &tree, any(arguments, 1).clone());
    included.borrow_mut().insert(tree.name.clone(), n);
    done.map(Value::str).map_err(Fault::Exec)
}

fn tpl(context: &mut Context<'_>, arguments: &[Value]) -> Result<Value, Fault> {
    let source = text(arguments, 0);
    if !context.work().take(source.len()) {
        return done("");
    }
    let trees = parse::parse("gotpl", source).map_err(|error| {
        Fault::new(format!("cannot parse template {}: {}", quote(source), error.0))
    })?;
    let mut templates = Templates::within(Rc::clone(context.templates));
    let mut main = None;
    for tree in trees {
        if *tree.name == *"gotpl" {
            main = Some(tree);
        } else {
            templates.add(tree);
        }
    }
    let Some(tree) = main else { return done("") };
    let templates = Rc::new(templates);
    let rendered = eval::execute(context.engine, &templates, &tree, any(arguments, 1).clone())
        .map_err(|error| {
            if context.work().is_spent() {
                return Fault::Exec(error);
            }
            let source = quote(source);
            Fault::new(format!("error during tpl function execution for {source}: {error}"))
        })?;
    done(without_no_value(rendered))
}

fn lookup(context: &mut Context<'_>, arguments: &[Value]) -> Result<Value, Fault> {
    let Some(lookup) = context.engine.environment.lookup else {
        return Ok(Value::map(Default::default()));
    };
    let [version, kind, namespace, name] = [0, 1, 2, 3].map(|n| text(arguments, n));
    match lookup(version, kind, namespace, name) {
        Ok(found) if found.is_null() => Ok(Value::map(Default::default())),
        // The API's objects hold integers as int64.
        Ok(found) => Ok(Value::from_json(&found)),
        Err(text) => Err(Fault::new(text)),
    }
}
