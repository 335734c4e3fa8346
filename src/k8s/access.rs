//! Who may do what, and what the server is.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::error::Error;
use super::request::Request;

/// What is to be allowed.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `get`, `create`, …, or `*`
    pub verb: String,
    /// A kind by any name, with a subresource after a slash (`pods/exec`), or a path that begins with a slash.
    pub kind: String,
    /// One object; empty for all.
    pub name: String,
    /// `None` for all namespaces.
    pub namespace: Option<String>,
}

/// Whether the caller may do something.
///
/// # Errors
/// Those of a request. A kind that the cluster does not serve is asked for by its plain name, as kubectl does.
pub async fn can_i(cluster: &Cluster, access: &Access) -> Result<bool, Error> {
    let spec = if access.kind.starts_with('/') {
        json!({"nonResourceAttributes": {"verb": access.verb, "path": access.kind}})
    } else {
        let (kind, subresource) = access.kind.split_once('/').unwrap_or((&access.kind, ""));
        let (group, plural, namespaced) = match cluster.resolve(kind).await {
            _ if kind == "*" => ("*".to_owned(), "*".to_owned(), true),
            Ok(resource) => (resource.group.clone(), resource.plural.clone(), resource.namespaced),
            Err(Error::UnknownKind { .. }) => {
                let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
                (group.to_owned(), plural.to_owned(), true)
            }
            Err(error) => return Err(error),
        };
        let namespace = access.namespace.as_deref().filter(|_| namespaced).unwrap_or_default();
        json!({"resourceAttributes": {
            "verb": access.verb, "group": group, "resource": plural, "subresource": subresource,
            "name": access.name, "namespace": namespace,
        }})
    };
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec,
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let action = format!("ask whether one may {} {}", access.verb, access.kind);
    let answer = cluster.send(&Request::post(path, action, &body)).await?;
    Ok(answer.value["status"]["allowed"] == true)
}

/// The server's version: `gitVersion`, `major`, `minor`, `platform`, ….
///
/// # Errors
/// Those of a request.
pub async fn version(cluster: &Cluster) -> Result<Value, Error> {
    let request = Request::get("/version", "ask for the server's version");
    Ok(cluster.send(&request).await?.value)
}
