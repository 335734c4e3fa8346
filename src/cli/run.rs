//! `run` and `verify`: scripts on the target, with the report around them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::args::{Form, Grants, Params, Target};
use super::start::{PARALLEL, Start, listen};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::duration;
use crate::config::StepFilter;
use crate::engine::files;
use crate::engine::session::Session;
use crate::report::event::{CheckStatus, RunEnd};

/// Flags of `run`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// Scripts, run one after the other on the same target; built-in ones are scripts/*.rhai
    #[arg(required = true, value_name = "SCRIPT")]
    scripts: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Flags of `verify`.
#[derive(ClapArgs)]
pub(super) struct VerifyArgs {
    /// Add the active negative tests
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    common: Common,
}

/// Flags of both.
#[derive(ClapArgs, Clone)]
pub(super) struct Common {
    #[command(flatten)]
    params: Params,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    grants: Grants,
    /// Do only this step; can be repeated
    #[arg(long, value_name = "STEP", help_heading = "Steps")]
    only: Vec<String>,
    /// Leave out this step; can be repeated
    #[arg(long, value_name = "STEP", help_heading = "Steps")]
    skip: Vec<String>,
    /// Leave out all steps before this one
    #[arg(long, value_name = "STEP", help_heading = "Steps")]
    from: Option<String>,
    /// Requests and branches at once
    #[arg(long, value_name = "N", default_value_t = PARALLEL)]
    parallel: usize,
    /// The limit of the whole run, such as 30m
    #[arg(long, value_name = "SPAN", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Let the run pass although checks are unproven
    #[arg(long)]
    allow_unproven: bool,
    /// Answer yes to every question
    #[arg(short, long)]
    yes: bool,
    /// The form of the report
    #[arg(short, long, value_enum, default_value_t, help_heading = "Output")]
    output: Form,
    /// Write a report beside it: junit=FILE; can be repeated
    #[arg(long, value_name = "FORM=FILE", value_parser = junit, help_heading = "Output")]
    report: Vec<PathBuf>,
}

fn junit(text: &str) -> Result<PathBuf, String> {
    text.strip_prefix("junit=")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .ok_or_else(|| "write it as junit=FILE".to_owned())
}

/// `meshscript run`
pub(super) fn run(start: &Start, args: Args) -> Result<u8, Diagnostic> {
    execute(start, &args.scripts, args.common)
}

/// `meshscript verify`
pub(super) fn verify(start: &Start, args: VerifyArgs) -> Result<u8, Diagnostic> {
    let mut common = args.common;
    if args.deep {
        common.params.set.push(("deep".to_owned(), "true".to_owned()));
    }
    execute(start, &["scripts/verify.rhai".to_owned()], common)
}

fn execute(start: &Start, scripts: &[String], common: Common) -> Result<u8, Diagnostic> {
    let mut settings = start.settings(&common.grants)?;
    start.with_target(&mut settings, &common.target);
    start.with_params(&mut settings, &common.params)?;
    settings.steps = StepFilter {
        only: common.only.clone(),
        skip: common.skip.clone(),
        from: common.from.clone(),
    };
    settings.parallel = common.parallel.max(1);
    settings.timeout = common.timeout;
    settings.allow_unproven = common.allow_unproven;
    settings.yes = common.yes;
    let session = start.session(settings, start.options(common.output));
    listen(&session.host)?;
    let done = session.run(scripts);
    let error = done.err();
    let code = conclude(start, &session, error.as_ref());
    for path in &common.report {
        let xml =
            session.host.reporter.junit(&scripts.join(" "), error.as_ref(), common.allow_unproven);
        let shown = path.display().to_string();
        files::write(&start.environment.folder.join(path), xml.as_bytes())
            .map_err(|error| files::io_error("write", &shown, &error))?;
    }
    Ok(code)
}

/// Tells the error and the summary, and gives the exit code.
fn conclude(start: &Start, session: &Session, error: Option<&Diagnostic>) -> u8 {
    let host = &session.host;
    let reporter = &host.reporter;
    if let Some(error) = error {
        reporter.error(error, &|name| session.text_of(name));
    }
    let checks = reporter.checks();
    let any = |status| checks.iter().any(|check| check.status == status);
    let unproven = any(CheckStatus::Unproven) && !host.settings.allow_unproven;
    let code = match error {
        Some(error) => host.exit_code(error),
        None if any(CheckStatus::Failed) || unproven => ErrorKind::Verification.exit_code(),
        None => 0,
    };
    let Some(target) = host.opened() else {
        // Nothing was begun: the error says it all.
        return code;
    };
    let next = error
        .filter(|error| error.kind != ErrorKind::Usage)
        .and_then(|_| host.run.failed_step())
        .map(|step| {
            // The next rehearsal begins with an empty cluster: what came before the step is gone.
            let from = (!target.info.rehearsal).then_some(step.as_str());
            resume(&start.environment.arguments, from)
        });
    reporter.summary(&RunEnd {
        code,
        requests: Some(target.cluster.requests()),
        target_time: target.info.rehearsal.then(|| target.clock.monotonic()),
        not_modelled: target.not_modelled(),
        next,
        allow_unproven: host.settings.allow_unproven,
        no_timings: false,
    });
    code
}

/// The command that goes on from a step, the same one with `--from`, or without a step begins anew.
fn resume(arguments: &[String], step: Option<&str>) -> String {
    let mut words = Vec::new();
    let mut skip_next = false;
    for (index, argument) in arguments.iter().enumerate() {
        if std::mem::take(&mut skip_next) || argument.starts_with("--from=") {
            continue;
        }
        if argument == "--from" {
            skip_next = true;
            continue;
        }
        words.push(if index == 0 { "meshscript".to_owned() } else { quoted(argument) });
    }
    if let Some(step) = step {
        words.push("--from".to_owned());
        words.push(quoted(step));
    }
    words.join(" ")
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
