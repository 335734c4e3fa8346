//! From a name as kubectl takes it (`POD`, `deploy/NAME`, `svc/NAME`) to one pod.

use serde_json::Value;

use super::cluster::Cluster;
use super::error::Error;
use super::read::{ListOptions, Scope, list, require};
use super::readiness::condition;

/// The pod that a name means: of several, a ready one, the newest first.
///
/// # Errors
/// `NotFound` when there is no such object or it has no pods, `NotSupported` for kinds without pods.
pub async fn pick(
    cluster: &Cluster,
    target: &str,
    namespace: Option<&str>,
) -> Result<Value, Error> {
    let (kind, name) = split(target);
    let object = require(cluster, kind, name, namespace).await?;
    if object["kind"] == "Pod" {
        return Ok(object);
    }
    let selector = selector_of(&object)?;
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let options = ListOptions {
        scope: Scope::Namespace(namespace),
        labels: selector,
        ..ListOptions::default()
    };
    let mut pods = list(cluster, "v1/Pod", &options).await?;
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pods.sort_by_key(|pod| {
        let created = pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
        (is_ready(pod), pod["status"]["phase"] == "Running", created)
    });
    pods.pop().ok_or_else(|| Error::NotFound { object: format!("a pod of {target}"), near: None })
}

/// `deploy/web` is a kind and a name; a name alone is a pod's.
pub fn split(target: &str) -> (&str, &str) {
    target.split_once('/').unwrap_or(("v1/Pod", target))
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Value) -> bool {
    condition(&pod["status"]["conditions"], "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// The container that kubectl takes when none is named.
pub(super) fn default_container(pod: &Value) -> String {
    let annotation = &pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"];
    let first = &pod["spec"]["containers"][0]["name"];
    annotation.as_str().or(first.as_str()).unwrap_or_default().to_owned()
}

/// The label selector of a workload or Service, as text.
fn selector_of(object: &Value) -> Result<String, Error> {
    let spec = &object["spec"];
    let labels = if object["kind"] == "Service" {
        spec["selector"].as_object()
    } else if object["kind"] == "Gateway" {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Ok(format!("gateway.networking.k8s.io/gateway-name={name}"));
    } else {
        spec["selector"]["matchLabels"].as_object()
    };
    let pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
        .collect();
    if pairs.is_empty() {
        return Err(Error::NotSupported {
            kind: object["kind"].as_str().unwrap_or_default().to_owned(),
            what: "pods of its own".to_owned(),
        });
    }
    Ok(pairs.join(","))
}
