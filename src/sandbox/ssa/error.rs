//! Why an apply is refused, in the API server's words.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::managed::ManagerId;
use super::path::{PathElement, path_text};
use crate::sandbox::api::Status;

/// A field that somebody else owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it.
    pub manager: ManagerId,
    /// What is owned.
    pub path: Vec<PathElement>,
}

/// An apply that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Fields belong to others: 409.
    #[error("{}", Conflicts(.0))]
    Conflicts(Vec<Conflict>),
    /// The request makes no sense: 400.
    #[error("{message}")]
    BadRequest {
        /// The server's words.
        message: String,
    },
    /// The configuration does not fit its type: the API server calls that its own fault, 500.
    #[error("{message}")]
    Internal {
        /// The server's words.
        message: String,
    },
}

impl ApplyError {
    /// The answer to the client.
    pub fn to_status(&self) -> Status {
        let (code, reason, details) = match self {
            Self::Conflicts(conflicts) => (409, "Conflict", causes(conflicts)),
            Self::BadRequest { .. } => (400, "BadRequest", Value::Null),
            Self::Internal { .. } => (500, "", Value::Null),
        };
        Status { code, reason: reason.to_owned(), message: self.to_string(), details }
    }
}

fn causes(conflicts: &[Conflict]) -> Value {
    let causes: Vec<_> = conflicts
        .iter()
        .map(|conflict| {
            json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {}", conflict.manager),
                "field": path_text(&conflict.path),
            })
        })
        .collect();
    json!({ "causes": causes })
}

struct Conflicts<'a>(&'a [Conflict]);

impl fmt::Display for Conflicts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0 {
            let path = path_text(&only.path);
            return write!(
                f,
                "Apply failed with 1 conflict: conflict with {}: {path}",
                only.manager
            );
        }
        let mut by_manager: BTreeMap<String, Vec<&Conflict>> = BTreeMap::new();
        for conflict in self.0 {
            by_manager.entry(conflict.manager.identifier()).or_default().push(conflict);
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut lines = Vec::new();
        for conflicts in by_manager.values() {
            if let Some(first) = conflicts.first() {
                lines.push(format!("conflicts with {}:", first.manager));
            }
            lines.extend(
                conflicts.iter().map(|conflict| format!("- {}", path_text(&conflict.path))),
            );
        }
        f.write_str(&lines.join("\n"))
    }
}
