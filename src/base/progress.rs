//! What a domain tells while it works. Domains get a `Progress`; the host forwards it to `report`.

use std::time::Duration;

use super::object_ref::ObjectRef;

/// What a write did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    Created,
    Configured,
    Unchanged,
    Deleted,
}

impl Change {
    /// The word that kubectl prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        }
    }
}

/// A wait in progress: what is waited for and why it is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What is waited for, such as `deployment istio-system/istiod to be rolled out`.
    pub what: String,
    /// Why not yet: condition, pod, event, last log line; empty while nothing is known.
    pub reason: String,
    /// How long it has been waited, on the target's clock.
    pub since: Duration,
}

/// Receives what happens while a function runs. Calls must return quickly and never fail.
pub trait Progress: Send + Sync {
    /// An object was written, or found to need no write.
    fn object(&self, object: &ObjectRef, change: Change);
    /// A wait goes on; called at the start and on each new reason.
    fn waiting(&self, waiting: &Waiting);
    /// The wait for `what` ended, well or not.
    fn waited(&self, what: &str);
    /// Something worth a line, such as `release istiod revision 2 deployed`.
    fn info(&self, text: &str);
    /// The server or a check warns.
    fn warn(&self, text: &str);
}

/// Hears nothing.
pub struct Silent;

impl Progress for Silent {
    fn object(&self, _: &ObjectRef, _: Change) {}
    fn waiting(&self, _: &Waiting) {}
    fn waited(&self, _: &str) {}
    fn info(&self, _: &str) {}
    fn warn(&self, _: &str) {}
}
