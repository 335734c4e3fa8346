//! Functions of the namespace `http`.

use crate::engine::catalog::Function;

/// The rows.
pub static FUNCTIONS: &[Function] = &[];
