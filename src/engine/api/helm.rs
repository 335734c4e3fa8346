//! Functions of the namespace `helm`.

use crate::engine::catalog::Function;

/// The rows.
pub static FUNCTIONS: &[Function] = &[];
