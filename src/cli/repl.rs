//! `repl`: the interactive session.

use clap::Args as ClapArgs;

use super::args::{Form, Grants, Params, Target};
use super::start::Start;
use crate::base::diagnostic::Diagnostic;
use crate::engine::session::Session;
use crate::engine::target::is_sandbox;
use crate::repl;
use crate::report::ReportOptions;

/// Flags of `repl`.
#[derive(ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    params: Params,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    grants: Grants,
    /// Allow writes from the start; on a real cluster a session is read-only until `:arm` otherwise
    #[arg(long)]
    arm: bool,
}

/// `meshscript repl`
pub(super) fn run(start: &Start, args: Args) -> Result<u8, Diagnostic> {
    let mut settings = start.settings(&args.grants)?;
    start.with_target(&mut settings, &args.target);
    start.with_params(&mut settings, &args.params)?;
    settings.read_only = !args.arm && !is_sandbox(&settings);
    // The prompt is drawn by the line editor: redrawn lines of waits would fight with it over the last line only while a
    // call runs, when no prompt is there.
    let options = ReportOptions { ..start.options(Form::Text) };
    let history = start.environment.state_folder().map(|folder| folder.join("history"));
    let session: Session = start.session(settings, options);
    repl::run(session, history)
}
