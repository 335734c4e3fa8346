//! What rustyline asks while a line is typed.

use std::borrow::Cow;

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::complete::{Names, candidates, hint};
use crate::engine::interactive::{Input, Interactive, complete};
use crate::report::style::Style;

/// Completion, hints and the end of multi-line input, for one line.
pub(super) struct Assistant {
    names: Names,
    /// An engine of its own: the session's may be busy.
    parser: rhai::Engine,
    style: Style,
}

impl Assistant {
    pub(super) fn new(interactive: &Interactive, style: Style) -> Self {
        let mut parser = rhai::Engine::new_raw();
        crate::engine::session::limit(&mut parser);
        Self { names: Names::of(interactive), parser, style }
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(candidates(&self.names, line, pos))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<String> {
        if pos < line.len() { None } else { hint(&self.names, line) }
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(self.style.dim(hint))
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Owned(self.style.cyan(prompt))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        if text.trim_start().starts_with(':') || complete(&self.parser, text) == Input::Complete {
            return Ok(ValidationResult::Valid(None));
        }
        Ok(ValidationResult::Incomplete)
    }
}

impl Helper for Assistant {}
