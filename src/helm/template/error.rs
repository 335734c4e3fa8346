//! How a template fails, with Go's texts and Helm's way to present them.

use std::fmt;

use super::parse::ParseError;
use super::text::quote;
use super::work::Work;

/// Marks around the message of `fail` and `required`, which Helm shows without the trace.
const START: &str = "HELM_ERR_START";
const END: &str = "HELM_ERR_END";

/// A rendering that failed. `Display` is what `helm template` prints after `Error: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A template does not parse.
    #[error("parse error at ({place}): {message}")]
    Parse { place: String, message: String },
    /// `fail` or `required` ended the rendering, or another function did so in words of its own.
    #[error("execution error at ({place}): {message}")]
    Refused { place: String, message: String },
    /// A template failed while it ran.
    #[error("{text}")]
    Execution { place: String, text: String },
    /// The rendering was ended before it ended by itself.
    #[error("{text}")]
    Endless { place: String, text: String },
    /// The machine gave no thread to render in.
    #[error("no thread to render in: {0}")]
    Thread(String),
}

impl TemplateError {
    /// `chart/templates/file.yaml:line` with `:column` where known.
    pub fn place(&self) -> &str {
        match self {
            Self::Parse { place, .. }
            | Self::Refused { place, .. }
            | Self::Execution { place, .. }
            | Self::Endless { place, .. } => place,
            Self::Thread(_) => "",
        }
    }

    pub(crate) fn from_parse(file: &str, error: &ParseError) -> Self {
        let parts: Vec<&str> = error.0.split(": ").collect();
        Self::Parse {
            place: (*parts.get(1).unwrap_or(&file)).to_owned(),
            message: (*parts.last().unwrap_or(&"")).to_owned(),
        }
    }

    pub(crate) fn from_exec(error: &ExecError, work: &Work) -> Self {
        match Self::told(error) {
            Self::Execution { place, text } if work.is_spent() => Self::Endless { place, text },
            told => told,
        }
    }

    /// In Helm's way.
    fn told(error: &ExecError) -> Self {
        let text = error.to_string();
        let place = error.place.clone();
        if let Some(from) = text.find(START)
            && let Some(to) = text.rfind(END)
            && from + START.len() <= to
        {
            return Self::Refused { place, message: text[from + START.len()..to].to_owned() };
        }
        let mut trace = String::new();
        let mut last = String::new();
        let mut current = error;
        loop {
            let level = current.level();
            if level != last {
                trace.push_str(&level);
                last = level;
            }
            match &current.cause {
                None => break,
                Some(Cause::Exec(inner)) => current = inner,
                Some(Cause::Plain(inner)) if inner.starts_with("template: no template ") => {
                    trace.push_str(&format!("{inner}\n"));
                    break;
                }
                // A cause in a function's own words: Helm shows the error in one line.
                Some(Cause::Plain(_)) => return Self::Execution { place, text },
            }
        }
        Self::Execution { place, text: trace.trim().to_owned() }
    }
}

/// Wraps the message of `fail` and `required`.
pub(crate) fn refusal(message: &str) -> String {
    format!("{START}{message}{END}")
}

/// An error of execution: where, in which template, at which node.
#[derive(Clone, Debug)]
pub(crate) struct ExecError {
    /// `file:line:column`.
    pub(crate) place: String,
    pub(crate) template: String,
    pub(crate) node: String,
    /// Without the text of the cause.
    pub(crate) message: String,
    pub(crate) cause: Option<Cause>,
}

#[derive(Clone, Debug)]
pub(crate) enum Cause {
    Exec(Box<ExecError>),
    Plain(String),
}

impl ExecError {
    fn level(&self) -> String {
        let mut message = self.message.clone();
        match &self.cause {
            Some(Cause::Plain(inner)) => message.push_str(inner),
            Some(Cause::Exec(_)) => {
                message.truncate(message.trim_end().len());
            }
            None => {}
        }
        if let Some(cut) = message.find(" template:") {
            message.truncate(cut);
        }
        let Self { place, template, node, .. } = self;
        let template = quote(template);
        format!("{place}\n  executing {template} at <{node}>:\n    {message}\n")
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut current = self;
        loop {
            let Self { place, template, node, message, cause } = current;
            let template = quote(template);
            write!(f, "template: {place}: executing {template} at <{node}>: {message}")?;
            match cause {
                None => return Ok(()),
                Some(Cause::Plain(text)) => return f.write_str(text),
                Some(Cause::Exec(inner)) => current = inner,
            }
        }
    }
}

/// How a function fails.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Plain(String),
    Exec(Box<ExecError>),
}

impl Fault {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::Plain(text.into())
    }
}
