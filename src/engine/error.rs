//! Between script errors and diagnostics; the one place where hints are added to domain errors.

use rhai::{Dynamic, EvalAltResult};

use crate::base::diagnostic::{Diagnostic, ErrorKind};

/// The result of a script closure with a diagnostic for its error.
pub fn from_script(result: Result<Dynamic, Box<EvalAltResult>>) -> Result<Dynamic, Diagnostic> {
    result.map_err(|error| Diagnostic::new(ErrorKind::Failed, error.to_string()))
}
