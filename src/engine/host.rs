//! What all functions of a run share: the target, the clock, the files granted, the reporter; the only `block_on`.

use crate::base::diagnostic::Diagnostic;

/// The host of one run.
pub struct Host {
    runtime: tokio::runtime::Runtime,
}

impl Host {
    /// Runs async work to its end or until the run is cancelled.
    #[expect(clippy::disallowed_methods, reason = "the only door from scripts to async code")]
    pub fn block_on<T, E: Into<Diagnostic>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Diagnostic> {
        self.runtime.block_on(work).map_err(Into::into)
    }
}
