//! Which error an evaluation failed with, where several parts of it fail.
//!
//! cel-go tells the error of the left side where both sides of `||` or `&&` fail, and that of an argument where a function
//! is asked about what is not there. The crate `cel` tells the right side's, and of some functions only that an argument
//! is missing. An expression that failed is therefore walked once more, part by part.

use kube_cel::cel::common::ast::{Expr, IdedExpr, operators};
use kube_cel::cel::{Context, ExecutionError, Value};

use super::syntax::children;

/// The error that cel-go would tell of an expression that failed with `error`.
pub(super) fn of(
    expression: &IdedExpr,
    context: &Context<'_>,
    error: ExecutionError,
) -> ExecutionError {
    first(expression, context).unwrap_or(error)
}

/// The first error within an expression; `None` where it has a value.
fn first(expression: &IdedExpr, context: &Context<'_>) -> Option<ExecutionError> {
    let own = Value::resolve(expression, context).err()?;
    let parts: Vec<&IdedExpr> = match &expression.expr {
        Expr::Call(call) if call.func_name == operators::CONDITIONAL => {
            let [condition, yes, no] = call.args.as_slice() else { return Some(own) };
            match Value::resolve(condition, context) {
                Ok(Value::Bool(true)) => vec![yes],
                Ok(_) => vec![no],
                Err(_) => vec![condition],
            }
        }
        Expr::Comprehension(comprehension) => vec![&comprehension.iter_range],
        other => children(other),
    };
    Some(
        parts
            .into_iter()
            .find_map(|part| first(part, context))
            .unwrap_or_else(|| shown(expression, context, own)),
    )
}

/// The error of a function with the argument that cel-go shows.
fn shown(expression: &IdedExpr, context: &Context<'_>, error: ExecutionError) -> ExecutionError {
    let Expr::Call(call) = &expression.expr else { return error };
    let ("url", [argument]) = (call.func_name.as_str(), call.args.as_slice()) else { return error };
    let Ok(Value::String(text)) = Value::resolve(argument, context) else { return error };
    let why = "invalid URI for request";
    let what = format!("URL parse error during conversion from string: parse {text:?}: {why}");
    ExecutionError::function_error("url", what)
}
