//! Logs of containers: of a pod, or of one pod of a workload.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::Value;

use super::cluster::Cluster;
use super::error::Error;
use super::pods;
use super::request::Request;
use super::resource::Resource;

/// The most that one call returns; what came first is dropped.
const MAX_BYTES: usize = 10 << 20;

/// Which part of a log.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Empty: the pod's only container, or the one that its default annotation names, or the first.
    pub container: String,
    /// The last lines only.
    pub tail: Option<i64>,
    /// What was written since then only.
    pub since: Option<Duration>,
    /// The log of the container's run before this one.
    pub previous: bool,
    /// Goes on reading for so long.
    pub follow: Option<Duration>,
    /// Ends following as soon as a line holds this text.
    pub until: String,
    /// Each line begins with its time.
    pub timestamps: bool,
}

/// The log of a pod, named as `POD`, `pod/NAME`, `deploy/NAME`, `svc/NAME`, ….
///
/// # Errors
/// `NotFound` for a pod or workload that does not exist or has no pods; refusals of the server.
pub async fn logs(
    cluster: &Cluster,
    target: &str,
    namespace: Option<&str>,
    options: &LogOptions,
) -> Result<String, Error> {
    let pod = pods::pick(cluster, target, namespace).await?;
    let container = if options.container.is_empty() {
        pods::default_container(&pod)
    } else {
        options.container.clone()
    };
    let metadata = &pod["metadata"];
    let request = request(cluster, metadata, &container, options).await?;
    match options.follow {
        None => read(cluster, &request, None, "").await,
        Some(span) => read(cluster, &request, Some(span), &options.until).await,
    }
}

/// The last line that a container wrote, if its log can be read.
pub(super) async fn last_line(
    cluster: &Cluster,
    pod: &Value,
    container: &str,
    previous: bool,
) -> Option<String> {
    let options = LogOptions { tail: Some(1), previous, ..LogOptions::default() };
    let request = request(cluster, pod, container, &options).await.ok()?.once();
    let text = read(cluster, &request, None, "").await.ok()?;
    text.lines().last().map(str::to_owned).filter(|line| !line.trim().is_empty())
}

async fn request(
    cluster: &Cluster,
    pod: &Value,
    container: &str,
    options: &LogOptions,
) -> Result<Request, Error> {
    let resource: &Resource = &*cluster.resource_of("v1", "Pod").await?;
    let namespace = pod["namespace"].as_str();
    let name = pod["name"].as_str().unwrap_or_default();
    let path = format!("{}/log", resource.path_of(namespace, name));
    let action = format!("read the log of `{}`", resource.object(namespace, name));
    let flag = |set: bool| if set { "true" } else { "" };
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    // A span below a second would ask for everything.
    let since = options.since.map(|span| i64::try_from(span.as_secs().max(1)).unwrap_or(i64::MAX));
    Ok(Request::get(&path, action)
        .accept("*/*")
        .query("container", container)
        .query("tailLines", &number(options.tail))
        .query("sinceSeconds", &number(since))
        .query("previous", flag(options.previous))
        .query("timestamps", flag(options.timestamps))
        .query("follow", flag(options.follow.is_some())))
}

/// Reads the stream to its end, or for a while.
async fn read(
    cluster: &Cluster,
    request: &Request,
    span: Option<Duration>,
    until: &str,
) -> Result<String, Error> {
    let mut body = cluster.open(request).await?.into_body();
    let mut bytes: Vec<u8> = Vec::new();
    let limit = cluster.clock().sleep(span.unwrap_or(cluster.request_timeout()));
    tokio::pin!(limit);
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = &mut limit => break,
        };
        let Some(Ok(frame)) = frame else { break };
        let Ok(data) = frame.into_data() else { continue };
        bytes.extend_from_slice(&data);
        if bytes.len() > MAX_BYTES {
            bytes.drain(..bytes.len() - MAX_BYTES);
        }
        if !until.is_empty() && String::from_utf8_lossy(&bytes).contains(until) {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
