//! Cases of the kind `script`: `main.rhai` runs in process in a fresh sandbox; what it prints must be `expect.txt`.
//!
//! The workspace of a case is its folder `workspace/` if there is one, copied to a temporary place; `flags` (one per line,
//! `set NAME=VALUE`, `only STEP`, `skip STEP`, `from STEP`, `verbose`) changes how it runs.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use meshscript::base::secret::Redactor;
use meshscript::config::{Environment, Settings, TargetOptions};
use meshscript::engine::host::Host;
use meshscript::engine::session::Session;
use meshscript::report::event::RunEnd;
use meshscript::report::{Captured, Output, ReportOptions, Reporter};
use parking_lot::Mutex;

use crate::harness;

pub(crate) fn trials() -> Vec<Trial> {
    harness::each("script", None, run)
}

fn run(case: &Path) -> Result<(), Failed> {
    let workspace = tempfile::tempdir()?;
    copy(case, workspace.path())?;
    let mut settings = settings(workspace.path());
    let mut options = ReportOptions { unicode: true, no_timings: true, ..ReportOptions::default() };
    for line in fs::read_to_string(case.join("flags")).unwrap_or_default().lines() {
        let (flag, value) = line.split_once(' ').unwrap_or((line, ""));
        match flag {
            "set" => {
                let (name, value) = value.split_once('=').ok_or("set NAME=VALUE")?;
                settings.set.push((name.to_owned(), value.to_owned()));
            }
            "only" => settings.steps.only.push(value.to_owned()),
            "skip" => settings.steps.skip.push(value.to_owned()),
            "from" => settings.steps.from = Some(value.to_owned()),
            "verbose" => options.verbose = true,
            other => return Err(format!("unknown flag `{other}`").into()),
        }
    }
    harness::expect(&case.join("expect.txt"), &transcript(settings, options, "main.rhai"))
}

/// Settings of a run in a sandbox, with nothing of this machine in them.
pub(crate) fn settings(workspace: &Path) -> Settings {
    Settings {
        environment: Environment::empty(workspace.to_owned()),
        target: TargetOptions { sandbox: true, ..TargetOptions::default() },
        workspace: workspace.to_owned(),
        parallel: 8,
        ..Settings::default()
    }
}

/// A session whose output is captured.
pub(crate) fn session(
    settings: Settings,
    options: ReportOptions,
) -> (Session, Arc<Mutex<Captured>>) {
    let captured: Arc<Mutex<Captured>> = Arc::default();
    let redactor = Arc::new(Redactor::default());
    let reporter =
        Reporter::new(options, Arc::clone(&redactor), Output::Text(Arc::clone(&captured)));
    (Session::new(Host::new(settings, reporter, redactor)), captured)
}

/// Everything that a run prints, and how it ended.
fn transcript(settings: Settings, options: ReportOptions, script: &str) -> String {
    let (session, captured) = session(settings, options);
    let done = session.run(&[script.to_owned()]);
    let reporter = &session.host.reporter;
    let code = match &done {
        Ok(_) => 0,
        Err(error) => {
            reporter.error(error, &|name| session.text_of(name));
            session.host.exit_code(error)
        }
    };
    if let Ok(value) = &done {
        let shown = session.shown(value);
        if !shown.is_empty() {
            reporter.data(&format!("=> {shown}"));
        }
    }
    if session.host.opened().is_some() {
        reporter.summary(&RunEnd { code, ..RunEnd::default() });
    }
    let text = captured.lock().all.clone();
    format!("{text}exit {code}\n")
}

/// Copies the files of a case, without what is expected of it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Failed> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let target = to.join(name);
        if path.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&path, &target)?;
        } else if !name.to_string_lossy().starts_with("expect.txt") {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
