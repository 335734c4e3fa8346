//! A failure as a person reads it: what, where, why, what next.
//!
//! Domains fail with typed errors of their own; `engine::error` turns those into a `Diagnostic` and adds
//! the hints; `report::diagnostic` draws it. The kind decides the exit code and what a script can match.

use std::fmt;
use std::path::PathBuf;

/// Why something failed, as scripts see it in `error.kind` and the shell in the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Wrong use of the command line.
    Usage,
    /// The script does not compile or calls what does not exist.
    Script,
    /// A function got an argument or option that it does not take.
    Argument,
    /// A file, chart, manifest or value has wrong content.
    Invalid,
    /// An object, file, chart or name does not exist.
    NotFound,
    /// An object exists already.
    AlreadyExists,
    /// A field belongs to another manager, or an object changed meanwhile.
    Conflict,
    /// The API server refused the caller (401, 403).
    Forbidden,
    /// Admission (webhook, policy, quota) refused the object.
    Denied,
    /// The target cannot be reached.
    Unreachable,
    /// The time given ran out.
    Timeout,
    /// What was waited for cannot come true any more.
    Terminal,
    /// Somebody else holds the lock.
    Locked,
    /// A check of `verify` failed.
    Verification,
    /// The sandbox does not model this.
    NotModelled,
    /// The user interrupted the run.
    Interrupted,
    /// The script failed by `fail` or `throw`.
    Failed,
    /// A defect of meshscript.
    Bug,
}

impl ErrorKind {
    /// All kinds, for docs and tests over the table.
    pub const ALL: [Self; 18] = [
        Self::Usage,
        Self::Script,
        Self::Argument,
        Self::Invalid,
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::Forbidden,
        Self::Denied,
        Self::Unreachable,
        Self::Timeout,
        Self::Terminal,
        Self::Locked,
        Self::Verification,
        Self::NotModelled,
        Self::Interrupted,
        Self::Failed,
        Self::Bug,
    ];

    /// The name that scripts compare with: `error.kind == "NotFound"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "Usage",
            Self::Script => "Script",
            Self::Argument => "Argument",
            Self::Invalid => "Invalid",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Forbidden => "Forbidden",
            Self::Denied => "Denied",
            Self::Unreachable => "Unreachable",
            Self::Timeout => "Timeout",
            Self::Terminal => "Terminal",
            Self::Locked => "Locked",
            Self::Verification => "Verification",
            Self::NotModelled => "NotModelled",
            Self::Interrupted => "Interrupted",
            Self::Failed => "Failed",
            Self::Bug => "Bug",
        }
    }

    /// The kind of a name, the reverse of [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The exit code of a run that ends with this kind (design section 3).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::Script => 2,
            Self::Verification => 3,
            Self::Unreachable | Self::Forbidden => 4,
            Self::Locked => 5,
            Self::Conflict => 6,
            Self::Timeout => 124,
            Self::Interrupted => 130,
            Self::Argument
            | Self::Invalid
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Denied
            | Self::Terminal
            | Self::NotModelled
            | Self::Failed
            | Self::Bug => 1,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A place in a file: 1-based line and column, column 0 when only the line is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file as the user named it, or `<input>` for text without a file.
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
}

/// One call on the way to the failure, innermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function that was called.
    pub function: String,
    /// Where it was called.
    pub at: Position,
}

/// A failure: message (lower case, no period, names in backticks), place, causes, ways out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub kind: ErrorKind,
    pub message: String,
    pub at: Option<Position>,
    pub trace: Vec<Frame>,
    /// Why, outermost first: the server's words, the underlying error.
    pub causes: Vec<String>,
    /// What the reader can do now.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// A diagnostic with neither place, cause nor hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            at: None,
            trace: Vec::new(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Adds a cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Sets the place, keeping one that is already known: the innermost place is the best one.
    #[must_use]
    pub fn at(mut self, at: Position) -> Self {
        self.at.get_or_insert(at);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
