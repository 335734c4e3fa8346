//! The interactive session.

use std::path::PathBuf;

use crate::base::diagnostic::Diagnostic;
use crate::engine::session::Session;

/// Runs a session until the user leaves it.
pub fn run(session: Session, _: Option<PathBuf>) -> Result<u8, Diagnostic> {
    drop(session);
    Ok(0)
}
