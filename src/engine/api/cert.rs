//! Functions of the namespace `cert`.

use crate::engine::catalog::Function;

/// The rows.
pub static FUNCTIONS: &[Function] = &[];
