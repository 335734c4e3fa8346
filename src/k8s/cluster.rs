//! A connection to one cluster, pinned for a whole run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::clock::SharedClock;
use crate::base::net::SharedDialer;
use crate::base::progress::Progress;
use crate::base::secret::Redactor;

/// Who and where the target is, for the first line of the output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetInfo {
    /// The context's name, `in-cluster`, or `sandbox`.
    pub context: String,
    /// The server's URL.
    pub server: String,
    /// `v1.36.3`; empty until the server was asked.
    pub version: String,
    /// The user, with impersonation as `alice (as bob)`.
    pub user: String,
    /// A rehearsal, not a real cluster.
    pub rehearsal: bool,
}

/// What a cluster connection is made of; the host builds one for a real target or a sandbox.
#[derive(Clone)]
pub struct ClusterParts {
    pub client: kube::Client,
    pub clock: SharedClock,
    pub dialer: SharedDialer,
    pub progress: Arc<dyn Progress>,
    pub redactor: Arc<Redactor>,
    pub info: TargetInfo,
    /// The namespace of objects that name none.
    pub namespace: String,
    /// The limit of one request; watches and streams are exempt.
    pub request_timeout: Duration,
    /// Requests under way at once.
    pub in_flight: usize,
}

/// Requests of a run, counted where they are sent.
#[derive(Debug, Default)]
pub struct Requests {
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Requests {
    /// Counts one request.
    pub fn count(&self, write: bool) {
        if write { &self.writes } else { &self.reads }.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads (lists and watches included) and writes so far.
    pub fn total(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }
}

/// A connection to one cluster. Clones share everything.
#[derive(Clone)]
pub struct Cluster {
    parts: ClusterParts,
    requests: Arc<Requests>,
}

impl Cluster {
    /// A connection of these parts; nothing is sent yet.
    pub fn new(parts: ClusterParts) -> Self {
        Self { parts, requests: Arc::default() }
    }

    /// Who and where the target is.
    pub fn info(&self) -> TargetInfo {
        self.parts.info.clone()
    }

    /// The namespace of objects that name none.
    pub fn namespace(&self) -> &str {
        &self.parts.namespace
    }

    /// Reads and writes so far.
    pub fn requests(&self) -> (u64, u64) {
        self.requests.total()
    }
}
