//! Commands in containers, over a WebSocket to the API server.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::cluster::Cluster;
use super::error::Error;
use super::pods;
use super::request::innermost;
use crate::base::clock;

/// The most that is kept of each stream; the command is ended when it writes more.
const MAX_BYTES: u64 = 10 << 20;

/// How to run a command.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    /// Empty: as for logs.
    pub container: String,
    pub stdin: Option<String>,
    pub timeout: Duration,
}

impl Default for ExecOptions {
    fn default() -> Self {
        Self { container: String::new(), stdin: None, timeout: Duration::from_secs(60) }
    }
}

/// What a command left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub code: i64,
}

/// Runs a command in a container of a pod, named as `POD`, `deploy/NAME`, ….
///
/// # Errors
/// `NotFound` for the pod, refusals of the server, `Timeout`. A command that ends with another code than 0 is none.
pub async fn exec(
    cluster: &Cluster,
    target: &str,
    namespace: Option<&str>,
    command: &[String],
    options: &ExecOptions,
) -> Result<Output, Error> {
    let pod = pods::pick(cluster, target, namespace).await?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let container = if options.container.is_empty() {
        pods::default_container(&pod)
    } else {
        options.container.clone()
    };
    let peer = format!("{namespace}/{name}");
    let what = format!("the command in `{peer}` has not ended");
    let work = run(cluster, &namespace, &name, &container, command, options);
    clock::timeout(cluster.clock().as_ref(), options.timeout, work).await.unwrap_or_else(|_| {
        Err(Error::Timeout { what, reason: String::new(), limit: options.timeout })
    })
}

async fn run(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    container: &str,
    command: &[String],
    options: &ExecOptions,
) -> Result<Output, Error> {
    let peer = format!("{namespace}/{name}");
    let api: Api<Pod> = Api::namespaced(cluster.client().clone(), namespace);
    let parameters = AttachParams::default()
        .container(container)
        .stdin(options.stdin.is_some())
        .stdout(true)
        .stderr(true);
    cluster.counter().count(false);
    let mut process = api
        .exec(name, command, &parameters)
        .await
        .map_err(|error| from_kube(error, format!("run a command in `{peer}`"), &peer))?;
    let status = process.take_status();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let stdin = process.stdin();
    let write = async {
        if let (Some(mut stdin), Some(text)) = (stdin, &options.stdin) {
            // A command that does not read to the end is no failure.
            let _ = stdin.write_all(text.as_bytes()).await;
            let _ = stdin.shutdown().await;
        }
    };
    let (stdout, stderr, ()) = tokio::join!(read_all(stdout), read_all(stderr), write);
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    let Some(status) = status else {
        return Err(Error::Stream {
            peer,
            reason: "it ended without telling how the command ended".to_owned(),
        });
    };
    let code = if status.status.as_deref() == Some("Success") {
        0
    } else {
        let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
        let code = causes
            .iter()
            .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
            .and_then(|cause| cause.message.as_ref()?.parse().ok());
        match code {
            Some(code) => code,
            None => {
                let reason = status.message.unwrap_or_default();
                return Err(Error::Stream { peer, reason });
            }
        }
    };
    Ok(Output { stdout, stderr, code })
}

async fn read_all(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What came before a broken stream still counts; the status tells of the break.
        let _ = stream.take(MAX_BYTES).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A failure of kube's own streams in our terms.
pub(super) fn from_kube(error: kube::Error, action: String, peer: &str) -> Error {
    match error {
        kube::Error::Api(status) => Error::Refused { action, status },
        error => Error::Stream { peer: peer.to_owned(), reason: innermost(&error) },
    }
}
