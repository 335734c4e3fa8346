//! `test`: every `*_test.rhai` of a folder, each in a fresh sandbox of its own, several at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args as ClapArgs;
use parking_lot::Mutex;

use super::args::{Form, Grants};
use super::start::Start;
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::secret::Redactor;
use crate::config::{Settings, TargetOptions};
use crate::engine::files;
use crate::engine::host::Host;
use crate::engine::session::Session;
use crate::report::event::CheckStatus;
use crate::report::junit::{Case, suites};
use crate::report::{Captured, Output, ReportOptions, Reporter};

/// Sandboxes at once.
const AT_ONCE: usize = 4;

/// Flags of `test`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// The folder, searched with all below
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Write a report beside it: junit=FILE
    #[arg(long, value_name = "FORM=FILE", help_heading = "Output")]
    report: Option<String>,
}

/// The result of one file.
struct Outcome {
    name: String,
    /// What it printed.
    output: String,
    error: Option<String>,
    seconds: f64,
}

/// `meshscript test`
pub(super) fn run(start: &Start, args: Args) -> Result<u8, Diagnostic> {
    let root = start.environment.folder.join(&args.folder);
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    if paths.is_empty() {
        return Err(Diagnostic::new(
            ErrorKind::Usage,
            format!("there is no *_test.rhai below `{}`", args.folder.display()),
        ));
    }
    let settings = start.settings(&Grants::default())?;
    let next = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Option<Outcome>>> = paths.iter().map(|_| Mutex::default()).collect();
    let (reporter, _) = start.reporter(start.options(Form::Text));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(paths.len()) {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let outcome = one(start, &settings, &root, path);
                    let index = paths.iter().position(|known| known == path).unwrap_or_default();
                    let style = reporter.style();
                    let mark = if outcome.error.is_none() {
                        style.green("ok")
                    } else {
                        style.red("FAILED")
                    };
                    reporter.line(&format!("{} ... {mark}", outcome.name));
                    *outcomes[index].lock() = Some(outcome);
                }
            });
        }
    });
    let outcomes: Vec<Outcome> = outcomes.into_iter().filter_map(Mutex::into_inner).collect();
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    for outcome in outcomes.iter().filter(|outcome| outcome.error.is_some()) {
        reporter.line(&format!("\n{}\n{}", outcome.name, outcome.output.trim_end()));
    }
    reporter.line(&format!("\n{} passed, {failed} failed", outcomes.len() - failed));
    if let Some(report) = &args.report {
        let path = report.strip_prefix("junit=").unwrap_or(report);
        let cases = outcomes
            .into_iter()
            .map(|outcome| Case {
                name: outcome.name,
                seconds: outcome.seconds,
                failure: outcome.error,
                error: None,
                skipped: None,
            })
            .collect();
        let xml = suites(&[("meshscript test".to_owned(), cases)]);
        files::write(&start.environment.folder.join(path), xml.as_bytes())
            .map_err(|error| files::io_error("write", path, &error))?;
    }
    Ok(u8::from(failed > 0))
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() && !name.starts_with('.') && name != "target" {
            collect(&path, found);
        } else if name.ends_with("_test.rhai") {
            found.push(path);
        }
    }
}

/// Runs one file in a sandbox of its own.
fn one(start: &Start, settings: &Settings, root: &Path, path: &Path) -> Outcome {
    let captured: Arc<Mutex<Captured>> = Arc::default();
    let redactor = Arc::new(Redactor::default());
    let options =
        ReportOptions { unicode: start.environment.is_utf8(), ..ReportOptions::default() };
    let reporter =
        Reporter::new(options, Arc::clone(&redactor), Output::Text(Arc::clone(&captured)));
    let settings = Settings {
        target: TargetOptions { sandbox: true, ..TargetOptions::default() },
        interactive: false,
        ..settings.clone()
    };
    let session = Session::new(Host::new(settings, Arc::clone(&reporter), redactor));
    let done = session.run(&[path.display().to_string()]);
    let failed: Vec<String> = reporter
        .checks()
        .into_iter()
        .filter(|check| matches!(check.status, CheckStatus::Failed | CheckStatus::Unproven))
        .map(|check| check.id)
        .collect();
    let error = match done {
        Err(error) => {
            reporter.error(&error, &|name| session.text_of(name));
            Some(error.to_string())
        }
        Ok(_) if !failed.is_empty() => Some(format!("not proved: {}", failed.join(", "))),
        Ok(_) => None,
    };
    let seconds = reporter.elapsed().as_secs_f64();
    let output = captured.lock().all.clone();
    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
    Outcome { name, output, error, seconds }
}
