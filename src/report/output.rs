//! The two streams of the process, or a text that a test reads.

use std::io::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;

/// What was written, both streams in the order of writing, and standard output alone.
#[derive(Debug, Default)]
pub struct Captured {
    pub all: String,
    pub out: String,
}

/// Where lines go.
#[derive(Clone, Debug)]
pub enum Output {
    /// Standard output and standard error of this process.
    Process,
    /// A text, for tests and for runs inside of a run.
    Text(Arc<Mutex<Captured>>),
}

impl Output {
    /// Writes a line to standard output. A reader that went away ends nothing: the run goes on.
    pub(super) fn out(&self, text: &str) {
        match self {
            Self::Process => {
                let mut out = std::io::stdout().lock();
                let _ = writeln!(out, "{text}").and_then(|()| out.flush());
            }
            Self::Text(captured) => {
                let mut captured = captured.lock();
                captured.all.push_str(text);
                captured.all.push('\n');
                captured.out.push_str(text);
                captured.out.push('\n');
            }
        }
    }

    /// Writes a line to standard error.
    pub(super) fn err(&self, text: &str) {
        match self {
            Self::Process => {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
            Self::Text(captured) => {
                let mut captured = captured.lock();
                captured.all.push_str(text);
                captured.all.push('\n');
            }
        }
    }

    /// Writes bytes to standard output as they are.
    pub(super) fn raw(&self, text: &str) {
        match self {
            Self::Process => {
                let mut out = std::io::stdout().lock();
                let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            }
            Self::Text(captured) => {
                let mut captured = captured.lock();
                captured.all.push_str(text);
                captured.out.push_str(text);
            }
        }
    }
}
