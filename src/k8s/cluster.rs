//! A connection to one cluster, pinned for a whole run.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::discovery::Discovery;
use super::error::Error;
use super::request::Request;
use super::snapshot::Snapshots;
use super::watch::Watches;
use crate::base::clock::SharedClock;
use crate::base::net::SharedDialer;
use crate::base::progress::Progress;
use crate::base::secret::Redactor;

/// The field manager of everything that scripts write themselves.
pub const FIELD_MANAGER: &str = "meshscript";

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
pub struct Cluster(Arc<Inner>);

struct Inner {
    parts: ClusterParts,
    info: Mutex<TargetInfo>,
    requests: Requests,
    permits: Semaphore,
    discovery: Discovery,
    watches: Watches,
    snapshots: Snapshots,
    /// Warnings of the server that were told already.
    warned: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("info", &*self.0.info.lock()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// A connection of these parts; nothing is sent yet.
    pub fn new(parts: ClusterParts) -> Self {
        Self(Arc::new(Inner {
            info: Mutex::new(parts.info.clone()),
            permits: Semaphore::new(parts.in_flight.max(1)),
            requests: Requests::default(),
            discovery: Discovery::default(),
            watches: Watches::default(),
            snapshots: Snapshots::default(),
            warned: Mutex::default(),
            parts,
        }))
    }

    /// Asks the server for its version: the first request of a run, tried once, so that an unreachable server is
    /// told at once.
    ///
    /// # Errors
    /// `Unreachable`, or a refusal of the credentials (401, 403).
    pub async fn reach(&self) -> Result<TargetInfo, Error> {
        let request = Request::get("/version", "ask for the server's version").once();
        let version = self.send(&request).await?.value;
        let mut info = self.0.info.lock();
        version["gitVersion"].as_str().unwrap_or_default().clone_into(&mut info.version);
        Ok(info.clone())
    }

    /// Who and where the target is.
    pub fn info(&self) -> TargetInfo {
        self.0.info.lock().clone()
    }

    /// The namespace of objects that name none.
    pub fn namespace(&self) -> &str {
        &self.0.parts.namespace
    }

    /// The client itself; requests sent on it directly are neither counted nor repeated.
    pub fn client(&self) -> &kube::Client {
        &self.0.parts.client
    }

    /// The clock of the target.
    pub fn clock(&self) -> &SharedClock {
        &self.0.parts.clock
    }

    /// Opens connections to addresses of the target's world.
    pub fn dialer(&self) -> &SharedDialer {
        &self.0.parts.dialer
    }

    /// Hears what happens.
    pub fn progress(&self) -> &Arc<dyn Progress> {
        &self.0.parts.progress
    }

    /// Keeps secrets out of the output.
    pub fn redactor(&self) -> &Arc<Redactor> {
        &self.0.parts.redactor
    }

    /// The limit of one request.
    pub fn request_timeout(&self) -> Duration {
        self.0.parts.request_timeout
    }

    /// Requests under way at once.
    pub fn in_flight(&self) -> usize {
        self.0.parts.in_flight.max(1)
    }

    /// Reads and writes so far.
    pub fn requests(&self) -> (u64, u64) {
        self.0.requests.total()
    }

    pub(super) fn counter(&self) -> &Requests {
        &self.0.requests
    }

    pub(super) fn permits(&self) -> &Semaphore {
        &self.0.permits
    }

    pub(super) fn discovery(&self) -> &Discovery {
        &self.0.discovery
    }

    pub(super) fn watches(&self) -> &Watches {
        &self.0.watches
    }

    pub(super) fn snapshots(&self) -> &Snapshots {
        &self.0.snapshots
    }

    /// Tells a warning of the server, each text once in a run.
    pub(super) fn warn(&self, text: &str) {
        if self.0.warned.lock().insert(text.to_owned()) {
            self.progress().warn(text);
        }
    }
}
