//! The adapter between a run and the embedded rehearsal cluster.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::target::Target;
use crate::base::clock::SharedClock;
use crate::base::diagnostic::Diagnostic;
use crate::base::net::{SharedDialer, TcpDialer};
use crate::base::progress::Progress;
use crate::base::secret::Redactor;
use crate::base::virtual_clock::VirtualClock;
use crate::config::Settings;
use crate::k8s::cluster::{Cluster, ClusterParts, TargetInfo};

/// The sandbox of a run.
pub struct Sandbox;

impl Sandbox {
    /// What the run met and the sandbox does not model.
    pub fn not_modelled(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Starts a sandbox and connects to it.
pub(super) async fn open(
    settings: &Settings,
    progress: Arc<dyn Progress>,
    redactor: Arc<Redactor>,
) -> Result<Target, Diagnostic> {
    let virtual_clock = VirtualClock::starting_at(Timestamp::UNIX_EPOCH);
    tokio::spawn(VirtualClock::run(Arc::downgrade(&virtual_clock)));
    let clock: SharedClock = virtual_clock;
    let dialer: SharedDialer = Arc::new(TcpDialer);
    let info =
        TargetInfo { context: "sandbox".to_owned(), rehearsal: true, ..TargetInfo::default() };
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        let body = br#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":501,"reason":"NotImplemented","message":"not modelled"}"#;
        http::Response::builder().status(501).body(kube::client::Body::from(body.to_vec()))
    });
    let cluster = Cluster::new(ClusterParts {
        client: kube::Client::new(service, "default"),
        clock: Arc::clone(&clock),
        dialer: Arc::clone(&dialer),
        progress,
        redactor,
        info: info.clone(),
        namespace: settings.target.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        request_timeout: settings.target.request_timeout.unwrap_or(Duration::from_secs(30)),
        in_flight: settings.parallel.max(1),
    });
    Ok(Target { cluster, clock, dialer, info, sandbox: Some(Sandbox) })
}
