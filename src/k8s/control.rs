//! Functions of a sandbox beside its Kubernetes API: faults, time, state. A real cluster has none of them.

use serde_json::Value;

use super::cluster::Cluster;
use super::error::Error;
use super::request::Request;

/// Calls a function of the sandbox by name.
///
/// # Errors
/// `InvalidInput` for a cluster that is no sandbox: it is asked only if it is in this process or on loopback, where
/// sandboxes listen. `Refused` with the sandbox's words for arguments that it does not take.
pub async fn call(cluster: &Cluster, function: &str, arguments: &Value) -> Result<Value, Error> {
    let info = cluster.info();
    if !info.rehearsal && !is_loopback(&info.server) {
        return Err(no_sandbox(function, &info.server));
    }
    let path = format!("/meshscript/v1/{function}");
    let request = Request::post(&path, format!("call `sandbox::{function}`"), arguments).once();
    let answer = cluster.send(&request).await;
    // What was read before may be of another world now.
    cluster.forget();
    match answer {
        Ok(answer) => Ok(answer.value),
        Err(Error::Refused { status, .. }) if status.code == 404 && status.reason.is_empty() => {
            Err(no_sandbox(function, &info.server))
        }
        Err(error) => Err(error),
    }
}

fn no_sandbox(function: &str, server: &str) -> Error {
    Error::InvalidInput {
        reason: format!("`sandbox::{function}` works on a sandbox alone, and {server} is none"),
        hint: Some(
            "rehearse with `--sandbox`, or name the kubeconfig of a `meshscript sandbox`"
                .to_owned(),
        ),
    }
}

fn is_loopback(server: &str) -> bool {
    let uri: Option<http::Uri> = server.parse().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
