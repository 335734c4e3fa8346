//! `check`: mistakes that can be found without running a script.

use clap::Args as ClapArgs;
use serde_json::json;

use super::args::{Form, Grants};
use super::start::Start;
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::engine::check::{Severity, check};
use crate::engine::session::on_big_stack;
use crate::report::json::error as error_json;

/// Flags of `check`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// Scripts; what they import is checked as well
    #[arg(required = true, value_name = "SCRIPT")]
    scripts: Vec<String>,
    /// The form of the findings
    #[arg(short, long, value_enum, default_value_t, help_heading = "Output")]
    output: Form,
}

/// `meshscript check`
pub(super) fn run(start: &Start, args: Args) -> Result<u8, Diagnostic> {
    let settings = start.settings(&Grants::default())?;
    let session = start.session(settings, start.options(Form::Text));
    let reporter = &session.host.reporter;
    let findings = on_big_stack(|| {
        let scripts = args
            .scripts
            .iter()
            .map(|name| session.host.find_script(name))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(check(&session, &scripts))
    })?;
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    for finding in &findings {
        let is_error = finding.severity == Severity::Error;
        if args.output == Form::Json {
            let mut value = error_json(&finding.diagnostic);
            value["event"] = if is_error { "error" } else { "warning" }.into();
            reporter.data(&value.to_string());
        } else if is_error {
            reporter.error(&finding.diagnostic, &|name| session.text_of(name));
        } else {
            reporter.warning(&finding.diagnostic, &|name| session.text_of(name));
        }
    }
    if args.output == Form::Json {
        reporter
            .data(&json!({"event": "summary", "errors": errors, "warnings": warnings}).to_string());
    } else if !start.global.quiet {
        reporter.line(&format!(
            "{} checked: {}, {}",
            args.scripts.join(", "),
            counted(errors, "error"),
            counted(warnings, "warning")
        ));
    }
    Ok(if errors == 0 { 0 } else { ErrorKind::Script.exit_code() })
}

fn counted(count: usize, word: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {word}{plural}")
}
