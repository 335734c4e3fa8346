//! What can be told about a run.

use std::time::Duration;

/// The form of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The first line: where the run works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetLine {
    pub context: String,
    pub server: String,
    pub version: String,
    pub user: String,
    pub rehearsal: bool,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed,
    Skipped,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStatus {
    Proved,
    Failed,
    Warning,
    /// Left out by choice.
    Skipped,
    /// What it needs could not be reached; says nothing about the mesh.
    Unproven,
}

impl CheckStatus {
    /// All, for messages.
    pub const ALL: [Self; 5] =
        [Self::Proved, Self::Failed, Self::Warning, Self::Skipped, Self::Unproven];

    /// The word that scripts write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Failed => "failed",
            Self::Warning => "warning",
            Self::Skipped => "skipped",
            Self::Unproven => "unproven",
        }
    }

    /// The reverse of [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// `gateway.programmed`
    pub id: String,
    /// A true statement when it is proved: `the gateway is programmed`.
    pub title: String,
    pub status: CheckStatus,
    /// What was seen.
    pub evidence: String,
    /// Why it is not proved.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
    pub span: Duration,
}

/// What the report cannot know by itself when a run ends.
#[derive(Clone, Debug, Default)]
pub struct RunEnd {
    /// The exit code.
    pub code: u8,
    /// Requests that read and that wrote.
    pub requests: Option<(u64, u64)>,
    /// How long the run took on the target's clock, when that is not the machine's.
    pub target_time: Option<Duration>,
    /// What the sandbox met and does not model.
    pub not_modelled: Vec<String>,
    /// The command that goes on after a failure.
    pub next: Option<String>,
    /// Unproven checks do not fail the run.
    pub allow_unproven: bool,
    pub no_timings: bool,
}
