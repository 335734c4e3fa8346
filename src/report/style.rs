//! Glyphs and colours, and the lines that are made of them.

use yansi::{Color, Paint as _, Style as Ansi};

use super::event::{CheckStatus, Outcome};
use crate::base::duration::human;
use crate::base::object_ref::ObjectRef;
use crate::base::progress::{Change, Waiting};

/// How a stream looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    pub color: bool,
    pub unicode: bool,
}

impl Style {
    fn paint(&self, text: &str, style: Ansi) -> String {
        if self.color { text.paint(style).to_string() } else { text.to_owned() }
    }

    /// Bold.
    pub fn bold(&self, text: &str) -> String {
        self.paint(text, Ansi::new().bold())
    }

    /// Dimmed.
    pub fn dim(&self, text: &str) -> String {
        self.paint(text, Ansi::new().dim())
    }

    /// An error's colour.
    pub fn red(&self, text: &str) -> String {
        self.paint(text, Color::Red.bold())
    }

    /// A warning's colour.
    pub fn yellow(&self, text: &str) -> String {
        self.paint(text, Color::Yellow.bold())
    }

    /// A success's colour.
    pub fn green(&self, text: &str) -> String {
        self.paint(text, Color::Green.bold())
    }

    /// The colour of names and hints.
    pub fn cyan(&self, text: &str) -> String {
        self.paint(text, Color::Cyan.bold())
    }

    fn glyph(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }

    /// The name of a step above what happens in it.
    pub(super) fn heading(&self, depth: usize, name: &str) -> String {
        format!("{}{} {}", "  ".repeat(depth), self.dim(self.glyph("▸", ">")), self.bold(name))
    }

    /// A step that ended.
    pub(super) fn step(&self, depth: usize, name: &str, outcome: Outcome, notes: &str) -> String {
        let mark = match outcome {
            Outcome::Done => self.green(self.glyph("✓", "+")),
            Outcome::Failed => self.red(self.glyph("✗", "x")),
            Outcome::Skipped => self.dim(self.glyph("–", "-")),
        };
        let word = match outcome {
            Outcome::Done => "",
            Outcome::Failed => " failed",
            Outcome::Skipped => " skipped",
        };
        let indent = "  ".repeat(depth);
        if notes.is_empty() {
            return format!("{indent}{mark} {name}{word}");
        }
        format!("{indent}{mark} {name}{word} {}", self.dim(&format!("({notes})")))
    }

    /// The mark of a check's result.
    pub(super) fn check_mark(&self, status: CheckStatus) -> String {
        match status {
            CheckStatus::Proved => self.green(self.glyph("√", "+")),
            CheckStatus::Failed => self.red(self.glyph("×", "x")),
            CheckStatus::Warning => self.yellow(self.glyph("‼", "!")),
            CheckStatus::Skipped => self.dim(self.glyph("–", "-")),
            CheckStatus::Unproven => self.yellow("?"),
        }
    }

    /// An object that was written or looked at.
    pub(super) fn object(&self, depth: usize, object: &ObjectRef, change: Change) -> String {
        format!("{}{} {object}", "  ".repeat(depth), self.dim(change.name()))
    }

    /// A line of a function or a script about what it does.
    pub(super) fn info(&self, depth: usize, text: &str) -> String {
        format!("{}{}", "  ".repeat(depth), self.dim(text))
    }

    /// A warning.
    pub(super) fn warning(&self, text: &str) -> String {
        format!("{} {text}", self.yellow("warning:"))
    }

    /// A wait that goes on.
    pub(super) fn waiting(&self, waiting: &Waiting) -> String {
        let reason = if waiting.reason.is_empty() {
            String::new()
        } else {
            format!(" {} {}", self.glyph("—", "-"), cut(&waiting.reason))
        };
        format!("waiting {} for {}{reason}", human(waiting.since), waiting.what)
    }
}

/// A reason as one line of a log that stays readable; an error says the whole.
fn cut(reason: &str) -> String {
    const LONGEST: usize = 220;
    if reason.chars().count() <= LONGEST {
        return reason.to_owned();
    }
    format!("{}…", reason.chars().take(LONGEST - 1).collect::<String>())
}
