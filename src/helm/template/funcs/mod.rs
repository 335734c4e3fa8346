//! The functions of templates: one row each with its Go signature, which decides arguments and errors.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;

use super::error::Fault;
use super::eval::Context;
use super::object::Object;
use super::value::{ListKind, MapCell, MapKind, Value};

mod basic;
mod certs;
mod convert;
mod crypto;
mod flow;
mod lists;
mod maps;
mod math;
mod methods;
mod operators;
mod passwords;
mod paths;
mod regexes;
mod strings;
mod time;
mod words;

pub(super) use methods::method;

/// A Go type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// `interface {}`
    Any,
    /// `reflect.Value`, what Go's own functions take.
    Reflect,
    Bool,
    Str,
    Int,
    Float,
    Uint32,
    Map,
    /// `[]interface {}`
    List,
    Time,
    /// `*semver.Version`
    Version,
    /// `sprig.certificate`
    Certificate,
}

impl Type {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Reflect => "reflect.Value",
            Self::Bool => "bool",
            Self::Str => "string",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Uint32 => "uint32",
            Self::List => "[]interface {}",
            Self::Version => "*semver.Version",
            Self::Certificate => "sprig.certificate",
            Self::Map => "map[string]interface {}",
            Self::Time => "time.Time",
        }
    }

    pub(crate) fn can_be_nil(self) -> bool {
        matches!(self, Self::Any | Self::Reflect | Self::Map | Self::List | Self::Version)
    }

    /// Whether a value is assignable.
    pub(crate) fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any | Self::Reflect, _)
            | (Self::Bool, Value::Bool(_))
            | (Self::Str, Value::Str(_))
            | (Self::Int, Value::Int(_, super::value::IntKind::Int))
            | (Self::Float, Value::Float(_)) => true,
            (Self::Map, Value::Map(map)) => map.kind != MapKind::Str,
            (Self::Uint32, Value::Int(_, super::value::IntKind::Uint32)) => true,
            (Self::List, Value::List(list)) => list.kind == ListKind::Any,
            (Self::Time, Value::Object(object)) => matches!(**object, Object::Time(_)),
            (Self::Version, Value::Object(object)) => matches!(**object, Object::SemVer(_)),
            (Self::Certificate, Value::Object(object)) => {
                matches!(**object, Object::Certificate { .. })
            }
            _ => false,
        }
    }
}

type Run = fn(&mut Context<'_>, &[Value]) -> Result<Value, Fault>;

/// A function with its signature.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) params: &'static [Type],
    /// The type of further arguments.
    pub(crate) variadic: Option<Type>,
    pub(crate) run: Run,
}

impl Function {
    const fn new(name: &'static str, params: &'static [Type], run: Run) -> Self {
        Self { name, params, variadic: None, run }
    }

    const fn variadic(name: &'static str, params: &'static [Type], more: Type, run: Run) -> Self {
        Self { name, params, variadic: Some(more), run }
    }

    /// `and` and `or` evaluate no more arguments than they need.
    pub(crate) fn short_circuits(&self) -> bool {
        matches!(self.name, "and" | "or")
    }
}

const TABLES: &[&[Function]] = &[
    operators::FUNCTIONS,
    flow::FUNCTIONS,
    basic::FUNCTIONS,
    convert::FUNCTIONS,
    strings::FUNCTIONS,
    words::FUNCTIONS,
    lists::FUNCTIONS,
    maps::FUNCTIONS,
    math::FUNCTIONS,
    regexes::FUNCTIONS,
    paths::FUNCTIONS,
    crypto::FUNCTIONS,
    passwords::FUNCTIONS,
    certs::FUNCTIONS,
    time::FUNCTIONS,
];

/// The function of a name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static Function>> = LazyLock::new(|| {
        TABLES.iter().flat_map(|table| table.iter()).map(|row| (row.name, row)).collect()
    });
    BY_NAME.get(name).copied()
}

/// The names of all functions, sorted.
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> =
        TABLES.iter().flat_map(|table| table.iter()).map(|row| row.name).collect();
    names.sort_unstable();
    names
}

// -- arguments, whose types were checked before -------------------------------------------------------

fn text(arguments: &[Value], n: usize) -> &str {
    match arguments.get(n) {
        Some(Value::Str(text)) => text,
        _ => "",
    }
}

fn int(arguments: &[Value], n: usize) -> i64 {
    match arguments.get(n) {
        Some(Value::Int(value, _)) => *value,
        _ => 0,
    }
}

fn map(arguments: &[Value], n: usize) -> Option<&Rc<MapCell>> {
    match arguments.get(n) {
        Some(Value::Map(map)) => Some(map),
        _ => None,
    }
}

fn any(arguments: &[Value], n: usize) -> &Value {
    arguments.get(n).unwrap_or(&Value::Nil)
}

/// The elements of a list, else an error in Go's words.
fn elements<'a>(value: &'a Value, what: &str) -> Result<&'a [Value], Fault> {
    match value {
        Value::List(list) => Ok(&list.items),
        Value::Nil | Value::NilInterface => Err(nil_type()),
        other => Err(Fault::new(format!("{what} {}", other.kind_name()))),
    }
}

/// What Go says when the kind of nil is asked for.
fn nil_type() -> Fault {
    Fault::new("runtime error: invalid memory address or nil pointer dereference")
}

fn done(text: impl Into<Rc<str>>) -> Result<Value, Fault> {
    Ok(Value::str(text))
}
