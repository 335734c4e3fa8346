//! The adapter between a run and the embedded rehearsal cluster.

use std::sync::Arc;

use super::target::Target;
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::progress::Progress;
use crate::base::secret::Redactor;
use crate::config::Settings;

/// The sandbox of a run.
pub struct Sandbox;

impl Sandbox {
    /// What the run met and the sandbox does not model.
    pub fn not_modelled(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Starts a sandbox and connects to it.
pub(super) async fn open(
    _: &Settings,
    _: Arc<dyn Progress>,
    _: Arc<Redactor>,
) -> Result<Target, Diagnostic> {
    Err(Diagnostic::new(ErrorKind::NotModelled, "the sandbox is not part of this build"))
}
