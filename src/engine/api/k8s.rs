//! Functions of the namespace `k8s`.

use crate::engine::catalog::Function;

/// The rows.
pub static FUNCTIONS: &[Function] = &[];
