//! Everything a person or a machine reads. Nothing else prints, and every byte passes the `Redactor`.
//!
//! The host and the domains tell what happens (`Progress` and the methods of `Reporter`); this module keeps the step tree
//! and draws it: `terminal` for people, `json` for machines, `junit` for continuous integration. Reading order:
//! `event` (what can be told), `state` (the tree), then the drawings; `diagnostic`, `table` and `style` draw values.

pub mod diagnostic;
pub mod event;
pub mod json;
pub mod junit;
mod live;
mod output;
pub mod state;
pub mod style;
pub mod summary;
pub mod table;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use crate::base::clock::{SharedClock, SystemClock};
use crate::base::diagnostic::Diagnostic;
use crate::base::object_ref::ObjectRef;
use crate::base::progress::{Change, Progress, Waiting};
use crate::base::secret::Redactor;
use event::{CheckResult, Format, Outcome, TargetLine};
use live::Live;
pub use output::{Captured, Output};
use state::{State, StepId};
use style::Style;

/// How a run is shown.
#[derive(Clone, Debug, Default)]
pub struct ReportOptions {
    pub format: Format,
    /// Colours of standard output and of standard error.
    pub color_out: bool,
    pub color_err: bool,
    /// Whether standard error is a terminal that can redraw lines.
    pub live: bool,
    /// Whether glyphs beyond ASCII can be shown.
    pub unicode: bool,
    /// Names every object, not only the counts.
    pub verbose: bool,
    /// Only errors, checks that are not proved, and the last line.
    pub quiet: bool,
    /// Standard output holds a value alone: everything else goes to standard error.
    pub report_to_stderr: bool,
    /// Leaves durations out, so that two runs print the same.
    pub no_timings: bool,
}

thread_local! {
    /// The step that this thread works for.
    static CURRENT: Cell<Option<StepId>> = const { Cell::new(None) };
}

/// Receives what happens and shows it.
pub struct Reporter {
    options: ReportOptions,
    redactor: Arc<Redactor>,
    output: Output,
    clock: SharedClock,
    live: Live,
    state: Mutex<State>,
}

impl Reporter {
    /// A reporter of this process.
    pub fn new(options: ReportOptions, redactor: Arc<Redactor>, output: Output) -> Arc<Self> {
        let live = Live::new(options.live && options.format == Format::Text, options.color_err);
        Arc::new(Self {
            options,
            redactor,
            output,
            clock: Arc::new(SystemClock::new()),
            live,
            state: Mutex::new(State::default()),
        })
    }

    /// How it shows things.
    pub fn options(&self) -> &ReportOptions {
        &self.options
    }

    /// The style of the report.
    pub fn style(&self) -> Style {
        let color = if self.options.report_to_stderr {
            self.options.color_err
        } else {
            self.options.color_out
        };
        Style { color, unicode: self.options.unicode }
    }

    /// The style of standard error.
    pub fn style_err(&self) -> Style {
        Style { color: self.options.color_err, unicode: self.options.unicode }
    }

    fn is_text(&self) -> bool {
        self.options.format == Format::Text
    }

    /// A line of the report.
    pub fn line(&self, text: &str) {
        let text = self.redactor.mask(text);
        self.live.suspend(|| {
            if self.options.report_to_stderr {
                self.output.err(&text);
            } else {
                self.output.out(&text);
            }
        });
    }

    /// A line to standard error.
    pub fn line_err(&self, text: &str) {
        let text = self.redactor.mask(text);
        self.live.suspend(|| self.output.err(&text));
    }

    /// Data to standard output, whatever the report does.
    pub fn data(&self, text: &str) {
        let text = self.redactor.mask(text);
        self.live.suspend(|| self.output.out(&text));
    }

    /// Text of a file that must not change, such as a completion script: no newline is added, nothing is masked.
    pub fn raw(&self, text: &str) {
        self.output.raw(text);
    }

    fn event(&self, value: &serde_json::Value) {
        if self.options.format == Format::Json {
            // Before it is quoted, so that what a text quotes itself is still known.
            self.data(&json::line(&self.masked(value)));
        }
    }

    fn masked(&self, value: &serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::String(text) => Value::String(self.redactor.mask(text)),
            Value::Array(items) => items.iter().map(|item| self.masked(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, field)| (self.redactor.mask(name), self.masked(field)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// The first line: where the run works.
    pub fn target(&self, target: &TargetLine) {
        self.state.lock().target = Some(target.clone());
        self.event(&json::target(target));
        if self.is_text() && !self.options.quiet {
            self.line(&summary::target_line(target, &self.style()));
        }
    }

    /// A step begins; until it ends, what this thread tells belongs to it.
    pub fn step_started(&self, name: &str) -> StepId {
        let now = self.clock.monotonic();
        let parent = CURRENT.get();
        let (id, path, headings) = {
            let mut state = self.state.lock();
            let headings = state.open_headings(parent);
            let id = state.start(name, parent, now);
            (id, state.path(id), headings)
        };
        CURRENT.set(Some(id));
        self.print_headings(&headings);
        self.event(&json!({"event": "step", "state": "started", "step": path}));
        self.live.step_started(id, &self.redactor.mask(&path));
        id
    }

    /// A step ended.
    pub fn step_ended(&self, id: StepId, outcome: Outcome) {
        let now = self.clock.monotonic();
        let (line, event, parent) = {
            let mut state = self.state.lock();
            state.end(id, outcome, now);
            (
                state.step_line(id, &self.style(), !self.options.no_timings),
                json::step_ended(&state, id),
                state.parent(id),
            )
        };
        CURRENT.set(parent);
        self.live.step_ended(id);
        self.event(&event);
        if self.is_text() && !(self.options.quiet && outcome == Outcome::Done) {
            self.line(&line);
        }
    }

    /// A step is left out.
    pub fn step_skipped(&self, name: &str, reason: &str) {
        let parent = CURRENT.get();
        let (line, path, headings) = {
            let mut state = self.state.lock();
            let headings = state.open_headings(parent);
            let id = state.start(name, parent, Duration::ZERO);
            state.end(id, Outcome::Skipped, Duration::ZERO);
            (state.skipped_line(id, reason, &self.style()), state.path(id), headings)
        };
        self.print_headings(&headings);
        self.event(&json!({"event": "step", "state": "skipped", "step": path, "reason": reason}));
        if self.is_text() && !self.options.quiet {
            self.line(&line);
        }
    }

    fn print_headings(&self, headings: &[(usize, String)]) {
        if !self.is_text() || self.options.quiet {
            return;
        }
        for (depth, name) in headings {
            self.line(&self.style().heading(*depth, name));
        }
    }

    /// The step that this thread works for, to be handed to a branch.
    pub fn current_step(&self) -> Option<StepId> {
        CURRENT.get()
    }

    /// Makes this thread work for a step.
    pub fn work_for(&self, step: Option<StepId>) {
        CURRENT.set(step);
    }

    /// The path of the step that this thread works for.
    pub fn current_path(&self) -> Option<String> {
        let id = CURRENT.get()?;
        Some(self.state.lock().path(id))
    }

    /// The path that a step of this name would get here.
    pub fn path_of(&self, name: &str) -> String {
        match self.current_path() {
            Some(parent) => format!("{parent}/{name}"),
            None => name.to_owned(),
        }
    }

    /// What a script prints.
    pub fn print(&self, text: &str) {
        if self.options.format == Format::Json {
            self.event(&json!({"event": "print", "text": text}));
            return;
        }
        let headings = {
            let mut state = self.state.lock();
            state.open_headings(CURRENT.get())
        };
        self.print_headings(&headings);
        let depth = headings
            .last()
            .map(|(depth, _)| depth + 1)
            .or_else(|| CURRENT.get().map(|id| self.state.lock().depth(id) + 1));
        let indent = "  ".repeat(depth.unwrap_or(0));
        for line in text.lines() {
            self.line(&format!("{indent}{line}"));
        }
    }

    /// A check has a result.
    pub fn check(&self, result: &CheckResult) {
        self.event(&json::check(result));
        self.state.lock().checks.push(result.clone());
        if !self.is_text() {
            return;
        }
        let proved = result.status == event::CheckStatus::Proved;
        if !(self.options.quiet && proved) {
            let depth = CURRENT.get().map_or(0, |id| self.state.lock().depth(id) + 1);
            let headings = self.state.lock().open_headings(CURRENT.get());
            self.print_headings(&headings);
            for line in summary::check_lines(result, &self.style(), self.options.verbose) {
                self.line(&format!("{}{line}", "  ".repeat(depth)));
            }
        }
    }

    /// A line for the summary, such as the address of the gateway.
    pub fn fact(&self, label: &str, value: &str) {
        self.event(&json!({"event": "fact", "label": label, "value": value}));
        self.state.lock().fact(label, value);
    }

    /// An error, drawn with the source that `text_of` knows.
    pub fn error(&self, error: &Diagnostic, text_of: &dyn Fn(&str) -> Option<Arc<str>>) {
        self.event(&json::error(error));
        let mask = |text: &str| self.redactor.mask(text);
        self.line_err(&diagnostic::draw(error, text_of, &mask, &self.style_err()));
    }

    /// A finding that is no error, drawn as one.
    pub fn warning(&self, found: &Diagnostic, text_of: &dyn Fn(&str) -> Option<Arc<str>>) {
        let mask = |text: &str| self.redactor.mask(text);
        self.line_err(&diagnostic::draw_warning(found, text_of, &mask, &self.style_err()));
    }

    /// Takes the redrawn lines away, so that a prompt can stand there.
    pub fn calm(&self) {
        self.live.end();
    }

    /// Real time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The summary at the end of a run.
    pub fn summary(&self, end: &event::RunEnd) {
        self.live.end();
        let mut end = end.clone();
        end.no_timings = self.options.no_timings;
        let state = self.state.lock();
        let elapsed = self.clock.monotonic();
        self.event(&json::summary(&state, &end, elapsed));
        if self.is_text() {
            let lines = summary::lines(&state, &end, elapsed, &self.style(), self.options.quiet);
            drop(state);
            for line in lines {
                self.line(&line);
            }
        }
    }

    /// The JUnit report of the run so far.
    pub fn junit(&self, name: &str, error: Option<&Diagnostic>, allow_unproven: bool) -> String {
        self.redactor.mask(&junit::write(&self.state.lock(), name, error, allow_unproven))
    }

    /// The results of the checks so far.
    pub fn checks(&self) -> Vec<CheckResult> {
        self.state.lock().checks.clone()
    }

    /// Objects created, configured and deleted so far, and those found as wanted.
    pub fn counts(&self) -> state::Counts {
        self.state.lock().total
    }
}

impl Progress for Reporter {
    fn object(&self, object: &ObjectRef, change: Change) {
        self.event(&json!({
            "event": "object", "object": object.to_string(), "change": change.name(),
            "step": self.current_path(),
        }));
        self.state.lock().object(CURRENT.get(), object, change);
        if self.options.verbose && self.is_text() {
            let headings = self.state.lock().open_headings(CURRENT.get());
            self.print_headings(&headings);
            let depth = CURRENT.get().map_or(0, |id| self.state.lock().depth(id) + 1);
            self.line(&self.style().object(depth, object, change));
        }
    }

    fn waiting(&self, waiting: &Waiting) {
        let now = self.clock.monotonic();
        let shown = Waiting {
            what: self.redactor.mask(&waiting.what),
            reason: self.redactor.mask(&waiting.reason),
            since: waiting.since,
        };
        self.live.waiting(&shown, CURRENT.get());
        let due = self.state.lock().wait_is_news(waiting, now);
        if !due {
            return;
        }
        self.event(&json!({
            "event": "waiting", "what": waiting.what, "reason": waiting.reason,
            "seconds": waiting.since.as_secs_f64(),
        }));
        if self.is_text() && !self.live.is_on() && !self.options.quiet {
            self.line_err(&self.style_err().waiting(&shown));
        }
    }

    fn waited(&self, what: &str) {
        self.live.waited(&self.redactor.mask(what));
        self.state.lock().waited(what);
    }

    fn info(&self, text: &str) {
        if self.options.format == Format::Json {
            self.event(&json!({"event": "info", "text": text}));
        } else if !self.options.quiet {
            let depth = CURRENT.get().map_or(0, |id| self.state.lock().depth(id) + 1);
            let headings = self.state.lock().open_headings(CURRENT.get());
            self.print_headings(&headings);
            self.line(&self.style().info(depth, text));
        }
    }

    fn warn(&self, text: &str) {
        self.event(&json!({"event": "warning", "text": text}));
        let new = self.state.lock().warn(text);
        if new && self.is_text() {
            self.line_err(&self.style_err().warning(text));
        }
    }
}
