//! `eval`: one expression, whose value alone goes to standard output.

use clap::{Args as ClapArgs, ValueEnum};
use rhai::Dynamic;

use super::args::{Form, Grants, Params, Target};
use super::start::{Start, listen};
use crate::base::diagnostic::Diagnostic;
use crate::base::yaml;
use crate::engine::convert::to_json;
use crate::engine::session::Session;
use crate::engine::target::is_sandbox;
use crate::engine::text;
use crate::report::ReportOptions;
use crate::report::event::TargetLine;
use crate::report::summary::rehearsal_line;

/// Flags of `eval`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// The expression, such as 'k8s::get("deploy", "istiod").status'
    #[arg(value_name = "EXPR")]
    expression: String,
    #[command(flatten)]
    params: Params,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    grants: Grants,
    /// The form of the value [default: a string raw, anything else YAML]
    #[arg(short, long, value_enum, help_heading = "Output")]
    output: Option<ValueForm>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ValueForm {
    Yaml,
    Json,
    Raw,
}

/// `meshscript eval`
pub(super) fn run(start: &Start, args: Args) -> Result<u8, Diagnostic> {
    let mut settings = start.settings(&args.grants)?;
    start.with_target(&mut settings, &args.target);
    start.with_params(&mut settings, &args.params)?;
    let options = ReportOptions { report_to_stderr: true, ..start.options(Form::Text) };
    let session = start.session(settings, options);
    listen(&session.host)?;
    let reporter = &session.host.reporter;
    if is_sandbox(&session.host.settings) {
        // Said before anything is started: most expressions need no cluster at all.
        reporter.target(&TargetLine { rehearsal: true, ..TargetLine::default() });
    }
    let code = evaluate(&session, &args);
    if is_sandbox(&session.host.settings) && !start.global.quiet {
        reporter.line(&rehearsal_line(&reporter.style()));
    }
    Ok(code)
}

fn evaluate(session: &Session, args: &Args) -> u8 {
    let reporter = &session.host.reporter;
    match session.eval(&args.expression).and_then(|value| print(&value, args.output)) {
        Ok(text) => {
            if !text.is_empty() {
                reporter.data(text.strip_suffix('\n').unwrap_or(&text));
            }
            0
        }
        Err(error) => {
            reporter.error(&error, &|name| session.text_of(name));
            session.host.exit_code(&error)
        }
    }
}

fn print(value: &Dynamic, form: Option<ValueForm>) -> Result<String, Diagnostic> {
    let json = || to_json(&text::masked(value), "value");
    Ok(match form {
        None if value.is_unit() => String::new(),
        None if value.is_string() => value.to_string(),
        None | Some(ValueForm::Yaml) => yaml::emit(&json()?),
        Some(ValueForm::Json) => format!("{:#}", json()?),
        Some(ValueForm::Raw) => text::plain(Some(value)),
    })
}
