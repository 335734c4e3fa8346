//! Expressions and variables over the `cel` crate with Kubernetes' function libraries.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube_cel::KubeCelExt;
use kube_cel::cel::objects::{Key, Map, OptionalValue};
use kube_cel::cel::parser::Parser;
use kube_cel::cel::{Context, ExecutionError, IdedExpr, Value};

use super::{culprit, stack, syntax};

thread_local! {
    /// All functions are registered once per thread; every evaluation is a scope below.
    static FUNCTIONS: Context<'static> = functions();
}

/// The names of types, which `type(x)` is compared with. Here a type is its name.
const TYPES: &[&str] =
    &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];

fn functions() -> Context<'static> {
    let mut context = Context::default().with_all();
    context.add_function("type", |value: Value| Arc::new(type_of(&value).to_owned()));
    for name in TYPES {
        context.add_variable_from_value(*name, Value::String(Arc::new((*name).to_owned())));
    }
    context
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "list",
        Value::Map(_) => "map",
        Value::Int(_) => "int",
        Value::UInt(_) => "uint",
        Value::Float(_) => "double",
        Value::String(_) => "string",
        Value::Bytes(_) => "bytes",
        Value::Bool(_) => "bool",
        Value::Duration(_) => "google.protobuf.Duration",
        Value::Timestamp(_) => "google.protobuf.Timestamp",
        Value::Null => "null_type",
        Value::Function(..) | Value::Opaque(_) => "dyn",
    }
}

/// What an expression can name.
#[derive(Clone, Default)]
pub struct Variables {
    values: BTreeMap<&'static str, Value>,
}

impl Variables {
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds a name; an earlier value of it goes.
    pub fn add(&mut self, name: &'static str, value: Value) {
        self.values.insert(name, value);
    }
}

/// A compiled expression, or why it is none.
pub struct Expression {
    tree: Result<IdedExpr, String>,
    /// Its evaluation needs room.
    is_high: bool,
}

impl Expression {
    /// Compiles; a failure is told by `broken` and by every evaluation.
    pub fn new(source: &str) -> Self {
        let compiled = stack::with_room(stack::is_long(source), || {
            let tree = match syntax::own_tree(source) {
                Err(why) => Err(why),
                Ok(Some(own)) if own.is_needed => Ok(own.tree),
                // Its parser does not go as deep as cel-go's.
                Ok(Some(own)) => Ok(Parser::new().parse(source).unwrap_or(own.tree)),
                Ok(None) => Parser::new()
                    .parse(source)
                    .map_err(|error| error.to_string().replace("\n|", "\n |")),
            };
            let is_high = tree.as_ref().is_ok_and(stack::is_high);
            Self { tree, is_high }
        });
        compiled.unwrap_or_else(|why| Self { tree: Err(why), is_high: false })
    }

    /// Why it does not compile.
    pub fn broken(&self) -> Option<String> {
        self.tree.as_ref().err().cloned()
    }

    /// Whether the expression names a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.tree.as_ref().is_ok_and(|tree| tree.references().has_variable(variable))
    }

    /// Its value, or the error in Go's words.
    pub fn evaluate(&self, variables: &Variables) -> Result<Value, String> {
        let tree = self.tree.as_ref().map_err(Clone::clone)?;
        stack::with_room(self.is_high, || {
            FUNCTIONS.with(|functions| {
                let mut scope = functions.new_inner_scope();
                for (name, value) in &variables.values {
                    scope.add_variable_from_value(*name, value.clone());
                }
                Value::resolve(tree, &scope)
                    .map_err(|error| error_text(&culprit::of(tree, &scope, error)))
            })
        })?
    }

    /// Its value as a condition.
    pub fn is_true(&self, variables: &Variables) -> Result<bool, String> {
        match self.evaluate(variables)? {
            Value::Bool(found) => Ok(found),
            other => Err(format!("cel expression evaluated to {}, not bool", other.type_of())),
        }
    }

    /// Its value as a text.
    pub fn text(&self, variables: &Variables) -> Result<String, String> {
        match self.evaluate(variables)? {
            Value::String(text) => Ok(text.as_ref().clone()),
            other => Err(format!("cel expression evaluated to {}, not string", other.type_of())),
        }
    }
}

/// A value that may be absent, as `optionalOldSelf` gives it.
pub fn optional(value: Option<Value>) -> Value {
    Value::Opaque(Arc::new(value.map_or_else(OptionalValue::none, OptionalValue::of)))
}

/// A JSON value without a schema: keys as they are, whole numbers as integers.
pub fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(found) => Value::Bool(*found),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(float)) => Value::Float(float),
            (None, None) => Value::Null,
        },
        serde_json::Value::String(text) => Value::String(Arc::new(text.clone())),
        serde_json::Value::Array(items) => {
            Value::List(Arc::new(items.iter().map(from_json).collect()))
        }
        serde_json::Value::Object(fields) => {
            map(fields.iter().map(|(name, value)| (name.clone(), from_json(value))))
        }
    }
}

/// A map with text keys.
pub fn map(fields: impl Iterator<Item = (String, Value)>) -> Value {
    let map: HashMap<Key, Value> =
        fields.map(|(name, value)| (Key::String(Arc::new(name)), value)).collect();
    Value::Map(Map { map: Arc::new(map) })
}

/// An error of an evaluation as cel-go words it.
fn error_text(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::IndexOutOfBounds(Value::Int(at)) => format!("index out of bounds: {at}"),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::NoSuchOverload
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedUnaryOperator(..) => "no such overload".to_owned(),
        ExecutionError::FunctionError { function, message } => function_text(function, message),
        other => other.to_string(),
    }
}

/// An error of a function as cel-go and Kubernetes' libraries word it.
fn function_text(function: &str, message: &str) -> String {
    const QUANTITY: &str = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$";
    let to = match function {
        "int" | "uint" | "double" => function,
        "duration" => "google.protobuf.Duration",
        "timestamp" => "google.protobuf.Timestamp",
        "quantity" => {
            return format!("quantities must match the regular expression '{QUANTITY}'");
        }
        _ => {
            let at = message.strip_prefix("start index ").and_then(|rest| rest.split_once(' '));
            return at
                .map_or_else(|| message.to_owned(), |(at, _)| format!("index out of range: {at}"));
        }
    };
    format!("type conversion error from 'string' to '{to}'")
}
