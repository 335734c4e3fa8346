//! `version`.

use clap::Args as ClapArgs;
use serde_json::json;

use super::args::Form;
use super::start::Start;
use crate::base::diagnostic::Diagnostic;

/// The version of Rhai that scripts are written in; the manifest pins it.
const RHAI: &str = "1.27.0";

/// Flags of `version`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t, help_heading = "Output")]
    output: Form,
}

/// `meshscript version`
pub(super) fn run(start: &Start, args: &Args) -> Result<u8, Diagnostic> {
    let version = env!("CARGO_PKG_VERSION");
    start.print(&match args.output {
        Form::Text => format!("meshscript {version} (Rhai {RHAI})"),
        Form::Json => json!({"version": version, "rhai": RHAI}).to_string(),
    });
    Ok(0)
}
