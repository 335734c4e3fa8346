//! `completion`: the script that completes commands and flags in a shell.

use clap::Args as ClapArgs;
use clap_complete::Shell;

use super::args::Form;
use super::start::Start;
use crate::base::diagnostic::Diagnostic;

/// Flags of `completion`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// `meshscript completion`
pub(super) fn run(start: &Start, args: &Args) -> Result<u8, Diagnostic> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "meshscript", &mut script);
    let (reporter, _) = start.reporter(start.options(Form::Text));
    reporter.raw(&String::from_utf8_lossy(&script));
    Ok(0)
}
