//! Functions of the namespace `sandbox`.

use crate::engine::catalog::Function;

/// The rows.
pub static FUNCTIONS: &[Function] = &[];
