//! Questions to the person at the terminal.

use std::io::BufRead as _;

use rhai::Dynamic;

use super::call::Call;
use super::target;
use crate::base::diagnostic::{Diagnostic, ErrorKind};

/// Asks a question; without a terminal only `--yes` answers it.
pub(super) fn confirm(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let question = call.string("question");
    let settings = &call.host.settings;
    if settings.yes || (target::is_sandbox(settings) && !settings.interactive) {
        return Ok(true.into());
    }
    if !settings.interactive {
        return Err(Diagnostic::new(
            ErrorKind::Usage,
            format!("nobody can be asked to confirm: {question}"),
        )
        .hint("say yes beforehand with `--yes`"));
    }
    call.host.reporter.line_err(&format!("{question}? [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| {
        Diagnostic::new(ErrorKind::Failed, "cannot read the answer").cause(error.to_string())
    })?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes").into())
}
