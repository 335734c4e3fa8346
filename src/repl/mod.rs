//! The interactive session: reads lines, runs them, shows values. Reading order: this loop, `commands` (what begins with a
//! colon), `complete` (what TAB and the dim hints know), `editor` (both for rustyline).

mod commands;
mod complete;
mod editor;

use std::path::PathBuf;
use std::sync::Arc;

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{ColorMode, CompletionType, Config, Editor};
use tokio::signal::unix::{SignalKind, signal};

use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::engine::cancel::Cause;
use crate::engine::host::Host;
use crate::engine::interactive::{Interactive, is_interruption};
use crate::engine::session::Session;
use crate::engine::target::is_sandbox;
use commands::Next;
use editor::Assistant;

/// Runs a session until the user leaves it; `history` is the file of the lines typed.
///
/// # Errors
/// What keeps it from starting: the terminal, the target.
pub fn run(session: Session, history: Option<PathBuf>) -> Result<u8, Diagnostic> {
    let host = Arc::clone(&session.host);
    session.connect()?;
    listen(&host)?;
    let style = host.reporter.style();
    let mut editor = editor(style.color)?;
    if let Some(path) = &history {
        if let Some(folder) = path.parent() {
            // Without a folder for it the history lasts as long as the session.
            let _ = std::fs::create_dir_all(folder);
        }
        let _ = editor.load_history(path);
    }
    let mut interactive = Interactive::new(session);
    host.reporter.line_err(":help lists what can be typed; Ctrl-D leaves");
    loop {
        editor.set_helper(Some(Assistant::new(&interactive, style)));
        match editor.readline(&prompt(&host)) {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                let next = if let Some(command) = commands::of(line.trim()) {
                    commands::run(&mut interactive, &command)
                } else {
                    evaluate(&mut interactive, &continued(&line));
                    Next::Stay
                };
                // Kept after it ran: what turned out to be a secret is not kept.
                let _ = editor.add_history_entry(host.redactor.mask(&line));
                if let Some(path) = &history {
                    let _ = editor.append_history(path);
                }
                if next == Next::Leave {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => {
                return Err(Diagnostic::new(ErrorKind::Failed, "cannot read from the terminal")
                    .cause(error.to_string()));
            }
        }
    }
    Ok(0)
}

/// A line that begins with a dot goes on from the last value.
fn continued(line: &str) -> String {
    if line.starts_with('.') && !line.starts_with("..") {
        format!("last{line}")
    } else {
        line.to_owned()
    }
}

/// Runs a line and shows its value or its error; the session goes on either way.
fn evaluate(interactive: &mut Interactive, line: &str) {
    let done = interactive.run(line);
    let host = Arc::clone(&interactive.session.host);
    host.reporter.calm();
    match done {
        Ok(value) => {
            let text = commands::shown(&value);
            if !text.is_empty() {
                host.reporter.data(&text);
            }
        }
        Err(error) => {
            if is_interruption(&error) {
                host.reporter.line_err("interrupted; the session goes on");
            } else {
                host.reporter.error(&error, &|name| interactive.session.text_of(name));
            }
        }
    }
    host.cancel.reset();
}

fn prompt(host: &Host) -> String {
    let name = match host.opened() {
        Some(target) if !target.info.rehearsal => target.info.context.clone(),
        _ if is_sandbox(&host.settings) => "sandbox".to_owned(),
        _ => "target".to_owned(),
    };
    let mode = if host.run.is_read_only() { " (read-only)" } else { "" };
    format!("{name}{mode}> ")
}

fn editor(color: bool) -> Result<Editor<Assistant, DefaultHistory>, Diagnostic> {
    let wrong = |error: ReadlineError| {
        Diagnostic::new(ErrorKind::Failed, "cannot use the terminal").cause(error.to_string())
    };
    let config = Config::builder()
        .max_history_size(5_000)
        .map_err(wrong)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .color_mode(if color { ColorMode::Enabled } else { ColorMode::Disabled })
        .bracketed_paste(true)
        .build();
    Editor::with_config(config).map_err(wrong)
}

/// Lets Ctrl-C end the call that runs, not the session.
fn listen(host: &Arc<Host>) -> Result<(), Diagnostic> {
    let cancel = Arc::clone(&host.cancel);
    host.spawn(async move {
        // One listener for all: a key that is pressed while the one before is dealt with is not lost.
        let Ok(mut interrupts) = signal(SignalKind::interrupt()) else { return };
        while interrupts.recv().await.is_some() {
            cancel.cancel(Cause::Interrupted);
        }
    })
}
