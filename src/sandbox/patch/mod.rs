//! JSON patch, JSON merge patch and strategic merge patch: pure functions of an object and a patch.
//!
//! What a patch may do, and what the answer says when it may not, follows kube-apiserver 1.36.3 with its libraries
//! (json-patch v4, apimachinery's strategicpatch), their liberties included. The caller decodes, defaults and validates
//! what comes out, and records its owner with `ssa::update`. Apply patches are `ssa::apply`.

mod json;
mod merge;
mod strategic;

use serde_json::{Value, json};

use super::api::Status;
use super::ssa::go_text;

pub use json::{json_patch, unknown_members};
pub use merge::merge_patch;
pub use strategic::strategic_merge_patch;

/// How many levels an object may have. A real server takes 10,000; here trees are walked by recursion, and what a client
/// wrote must be readable again: JSON is read to 128 levels, and an object's `managedFields` lie a few deeper than itself.
pub(crate) const DEEPEST: usize = 100;

/// How many levels a value has; 0 for one that holds no other.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// A patch that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch cannot be read: 400.
    #[error("{message}")]
    BadRequest {
        /// The server's words.
        message: String,
    },
    /// The patch does not fit the object, a failed `test` for instance: 422. The server does not tell more.
    #[error("the server rejected our request due to an error in our request")]
    DoesNotApply,
    /// Too many operations: 413.
    #[error(
        "Request entity too large: The allowed maximum operations in a JSON patch is {most}, got {found}"
    )]
    TooManyOperations {
        /// How many there may be.
        most: usize,
        /// How many there are.
        found: usize,
    },
    /// The strategic merge failed in a way that the API server calls its own fault: 500.
    #[error("{message}")]
    Internal {
        /// The server's words.
        message: String,
    },
}

impl PatchError {
    /// The answer to the client.
    pub fn to_status(&self) -> Status {
        let (code, reason, details) = match self {
            Self::BadRequest { .. } => (400, "BadRequest", Value::Null),
            Self::DoesNotApply => (422, "Invalid", json!({})),
            Self::TooManyOperations { .. } => (413, "RequestEntityTooLarge", Value::Null),
            Self::Internal { .. } => (500, "", Value::Null),
        };
        Status { code, reason: reason.to_owned(), message: self.to_string(), details }
    }
}

/// The complaint of Go's JSON decoder about a value of the wrong type.
fn wrong_json(prefix: &str, value: &Value, wanted: &str) -> PatchError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let message = format!("{prefix}json: cannot unmarshal {found} into Go value of type {wanted}");
    PatchError::BadRequest { message }
}

/// The Go type of a decoded value, as complaints name it; nothing has none.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        other => go_text::type_name(other),
    }
}
