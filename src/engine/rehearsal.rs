//! The adapter between a run and the embedded rehearsal cluster.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::target::Target;
use crate::base::clock::SharedClock;
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::progress::Progress;
use crate::base::secret::Redactor;
use crate::config::{Settings, TargetOptions};
use crate::k8s::cluster::{Cluster, ClusterParts, TargetInfo};
use crate::sandbox;

/// The limit of one request unless `--request-timeout` says otherwise, on the sandbox's clock.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The sandbox of a run; the functions of the namespace `sandbox` reach through it.
pub struct Sandbox(sandbox::Cluster);

/// A client that acts as the user and groups that `--as` and `--as-group` name.
fn acting(client: kube::Client, options: &TargetOptions) -> kube::Client {
    let values = |name: &'static str, values: &[String]| {
        let valid = values.iter().filter_map(|value| HeaderValue::from_str(value).ok());
        valid.map(|value| (HeaderName::from_static(name), value)).collect::<Vec<_>>()
    };
    let mut headers = values("impersonate-user", options.as_user.as_slice());
    headers.extend(values("impersonate-group", &options.as_groups));
    if headers.is_empty() {
        return client;
    }
    let service = tower::service_fn(move |mut request: http::Request<kube::client::Body>| {
        for (name, value) in &headers {
            request.headers_mut().append(name.clone(), value.clone());
        }
        let client = client.clone();
        async move { client.send(request).await }
    });
    kube::Client::new(service, "default")
}

impl Deref for Sandbox {
    type Target = sandbox::Cluster;

    fn deref(&self) -> &sandbox::Cluster {
        &self.0
    }
}

/// Starts a sandbox and connects to it.
pub(super) async fn open(
    settings: &Settings,
    progress: Arc<dyn Progress>,
    redactor: Arc<Redactor>,
) -> Result<Target, Diagnostic> {
    let sandbox = sandbox::Cluster::start(&sandbox::Options::default()).map_err(|error| {
        Diagnostic::new(ErrorKind::Bug, error.to_string())
            .hint("this is a defect of meshscript: please report it")
    })?;
    let clock: SharedClock = sandbox.clock();
    let dialer = sandbox.dialer();
    let mut info = TargetInfo {
        context: "sandbox".to_owned(),
        user: settings.target.as_user.clone().unwrap_or_default(),
        rehearsal: true,
        ..TargetInfo::default()
    };
    let cluster = Cluster::new(ClusterParts {
        client: acting(sandbox.client(), &settings.target),
        clock: Arc::clone(&clock),
        dialer: Arc::clone(&dialer),
        progress,
        redactor,
        info: info.clone(),
        namespace: settings.target.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        request_timeout: settings.target.request_timeout.unwrap_or(REQUEST_TIMEOUT),
        in_flight: settings.parallel.max(1),
    });
    info.version = cluster.reach().await?.version;
    Ok(Target { cluster, clock, dialer, info, sandbox: Some(Sandbox(sandbox)) })
}
