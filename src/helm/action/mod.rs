//! What is done with releases: converge (install or upgrade), rollback, uninstall, test, diff.
//!
//! A second converge with the same chart and values writes nothing. A revision that a killed run left pending is taken over
//! once its heartbeat stands still. Objects are applied by server-side apply as field manager `helm`, never by force.
//! What is stored, and which objects are left when something goes wrong, is what Helm leaves: the suite of releases of
//! `tests/cluster` holds both side by side. Three differences are meant: a killed run is taken over instead of locking the release;
//! a rollback whose hook fails ends as `failed`, where Helm leaves it `pending-rollback`; and objects of other releases
//! survive an uninstall.
//!
//! Reading order: `plan` (what it would become), `converge`, `hooks`, `objects` (ownership, apply, wait), `holder` (who works on a revision), then the rest.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::release::Release;
use super::render::RenderError;
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::progress::Change;
use crate::k8s::error::Error;

mod converge;
mod diff;
mod holder;
mod hooks;
mod objects;
mod plan;
mod rollback;
mod uninstall;

pub use converge::converge;
pub use diff::{Difference, diff};
pub use hooks::{TestOptions, TestRun, test};
pub use plan::{Plan, capabilities, plan, preview, random};
pub use rollback::{RollbackOptions, rollback};
pub use uninstall::{UninstallOptions, uninstall};

const MANAGER: &str = "helm";
/// Revisions that are kept.
pub const MAX_HISTORY: usize = 10;

/// An action that failed.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Cluster(#[from] Error),
    #[error(
        "release name `{0}` is invalid: lower-case letters, digits, `-` and `.`, at most 53 characters"
    )]
    InvalidName(String),
    #[error("release `{name}` does not exist in namespace `{namespace}`")]
    NotFound { name: String, namespace: String },
    #[error("release `{name}` has no revision {revision}")]
    NoRevision { name: String, revision: i64 },
    #[error("another operation (install/upgrade/rollback) is in progress on release `{name}`")]
    InProgress { name: String },
    #[error("{object} exists and cannot be imported into release `{name}`: {reason}")]
    NotOurs { object: String, name: String, reason: String },
    #[error("hook `{hook}` of event `{event}` failed: {source}")]
    Hook { hook: String, event: String, log: String, source: Box<Error> },
    #[error("release `{name}` revision {revision} failed: {source}")]
    Failed { name: String, revision: i64, source: Box<Self> },
    #[error("release `{name}` failed and {outcome}: {source}")]
    Undone { name: String, outcome: String, source: Box<Self> },
    #[error("release `{name}` failed, and undoing it failed too: {undoing}")]
    NotUndone { name: String, undoing: Box<Self>, source: Box<Self> },
    #[error("release `{name}` has no deployed revision")]
    NoDeployed { name: String },
    #[error("label `{0}` is one of Helm's own")]
    SystemLabel(String),
}

impl ActionError {
    /// What it is about, for the exit code.
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Render(_) | Self::InvalidName(_) => ErrorKind::Invalid,
            Self::Cluster(_)
            | Self::Hook { .. }
            | Self::Failed { .. }
            | Self::Undone { .. }
            | Self::NotUndone { .. }
            | Self::NoDeployed { .. } => ErrorKind::Failed,
            Self::SystemLabel(_) => ErrorKind::Argument,
            Self::NotFound { .. } | Self::NoRevision { .. } => ErrorKind::NotFound,
            Self::InProgress { .. } => ErrorKind::Locked,
            Self::NotOurs { .. } => ErrorKind::Conflict,
        }
    }
}

impl From<ActionError> for Diagnostic {
    fn from(error: ActionError) -> Self {
        let message = error.to_string();
        match error {
            ActionError::Cluster(inner) => inner.into(),
            ActionError::Render(inner) => inner.into(),
            ActionError::NotOurs { .. } => Self::new(ErrorKind::Conflict, message)
                .hint("delete the object, or take it over with the option `take_ownership: true`"),
            ActionError::InProgress { .. } => Self::new(ErrorKind::Locked, message)
                .hint("wait for the other run to end, then run this one again"),
            ActionError::Failed { name, revision, source } => {
                let inner: Self = (*source).into();
                inner.cause(format!("release `{name}` revision {revision} is now `failed`"))
            }
            ActionError::Hook { hook, event, log, source } => {
                let inner: Self = (*source).into();
                let told = inner.cause(format!("hook `{hook}` of event `{event}` failed"));
                log.lines().fold(told, |told, line| told.cause(format!("log: {line}")))
            }
            ActionError::Undone { name, outcome, source } => {
                let inner: Self = (*source).into();
                inner.cause(format!("release `{name}` {outcome}, as `rollback_on_failure` asks"))
            }
            ActionError::NotUndone { name, undoing, source } => {
                let inner: Self = (*source).into();
                inner
                    .cause(format!("undoing it failed too: {undoing}"))
                    .hint(format!("`helm::history(\"{name}\")` shows what is left"))
            }
            error => Self::new(error.kind(), message),
        }
    }
}

/// What becomes of the objects in `crds/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crds {
    /// They are created on the first install, as Helm does.
    #[default]
    Install,
    /// They are applied on every change.
    Upgrade,
    Skip,
}

/// Which values an upgrade begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// Those given, over the chart's: what is not given any more is gone.
    #[default]
    Reset,
    /// Those given; without any, those of the last revision. What `helm upgrade` does.
    WhenNoneGiven,
    /// Those given over the last revision's, over the defaults of the last revision's chart.
    Values,
    /// Those given over the last revision's, over the defaults of the new chart.
    ResetThenReuse,
}

/// How to converge.
#[derive(Clone, Debug)]
pub struct ConvergeOptions {
    pub namespace: String,
    pub values: Map<String, Json>,
    pub reuse: Reuse,
    pub create_namespace: bool,
    pub wait: bool,
    /// Waits for Jobs to be complete, too.
    pub wait_for_jobs: bool,
    pub timeout: Duration,
    pub crds: Crds,
    /// Leaves a release alone that is as wanted.
    pub skip_unchanged: bool,
    pub take_ownership: bool,
    pub skip_schema_validation: bool,
    /// A first install that fails is uninstalled, an upgrade that fails is rolled back; waits as with `wait`.
    pub rollback_on_failure: bool,
    /// An upgrade that fails deletes the objects that it created.
    pub cleanup_on_failure: bool,
    pub no_hooks: bool,
    /// Instead of `Install complete` and the like; empty for those.
    pub description: String,
    /// Labels of the release's Secret; an empty value removes a label.
    pub labels: Map<String, Json>,
    /// Revisions that are kept; 0 for all.
    pub history_max: usize,
}

impl ConvergeOptions {
    /// Helm's own defaults.
    pub fn new(namespace: &str, timeout: Duration) -> Self {
        Self {
            namespace: namespace.to_owned(),
            values: Map::new(),
            reuse: Reuse::Reset,
            create_namespace: false,
            wait: false,
            wait_for_jobs: false,
            timeout,
            crds: Crds::Install,
            skip_unchanged: false,
            take_ownership: false,
            skip_schema_validation: false,
            rollback_on_failure: false,
            cleanup_on_failure: false,
            no_hooks: false,
            description: String::new(),
            labels: Map::new(),
            history_max: MAX_HISTORY,
        }
    }

    fn waits(&self) -> bool {
        self.wait || self.wait_for_jobs || self.rollback_on_failure
    }
}

/// What a converge did.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub release: Release,
    /// `Created`, `Configured` or `Unchanged`.
    pub change: Change,
}

fn check_name(name: &str) -> Result<(), ActionError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = !name.is_empty()
        && name.len() <= 53
        && name.chars().all(allowed)
        && name.starts_with(edge)
        && name.ends_with(edge);
    if valid { Ok(()) } else { Err(ActionError::InvalidName(name.to_owned())) }
}
