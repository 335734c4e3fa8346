//! `Dynamic` to JSON and back, with the path of what does not fit.

use rhai::Dynamic;
use serde_json::Value;

use crate::base::diagnostic::{Diagnostic, ErrorKind};

/// A script value as JSON; `path` begins the path in the error.
pub fn to_json(value: &Dynamic, path: &str) -> Result<Value, Diagnostic> {
    rhai::serde::from_dynamic(value).map_err(|error| {
        Diagnostic::new(ErrorKind::Argument, format!("`{path}` is not data"))
            .cause(error.to_string())
    })
}

/// JSON as a script value.
pub fn to_dynamic(value: &Value) -> Dynamic {
    rhai::serde::to_dynamic(value).unwrap_or_default()
}
