//! All that a cluster holds, read for a sandbox to begin with: objects as they are, Secrets as hashes.
//!
//! Only lists are sent. What changes by itself all the time (events, leases) and what holds Secrets in packed form (Helm's
//! releases) is left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{self, StreamExt as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::cluster::Cluster;
use super::error::Error;
use super::read::list_page_by_page;
use super::resource::Resource;
use super::secrets::is_secret;

/// What was read.
#[derive(Debug, Default)]
pub struct Exported {
    /// Group, plural and object.
    pub objects: Vec<(String, String, Value)>,
    /// Resources that could not be listed, each with the server's words.
    pub refused: Vec<(String, String)>,
}

/// Reads all objects of all kinds that can be listed, each in one version.
///
/// # Errors
/// Those of discovery; a kind that may not be listed is told in the answer.
pub async fn export(cluster: &Cluster) -> Result<Exported, Error> {
    let mut resources: Vec<_> = Vec::new();
    for resource in cluster.resources().await?.iter() {
        let same = |found: &std::sync::Arc<Resource>| {
            found.group == resource.group && found.plural == resource.plural
        };
        if resource.offers("list") && !is_fleeting(resource) && !resources.iter().any(same) {
            resources.push(resource.clone());
        }
    }
    let lists = stream::iter(resources).map(|resource| async move {
        let listed = list_page_by_page(cluster, &resource, None, "", "").await;
        (resource, listed)
    });
    let mut lists = lists.buffered(cluster.in_flight().max(1));
    let mut exported = Exported::default();
    while let Some((resource, listed)) = lists.next().await {
        match listed {
            Ok(listed) => {
                for mut object in listed.items {
                    if is_secret(&object) && object["type"] == "helm.sh/release.v1" {
                        continue;
                    }
                    hash_secret(&mut object);
                    let place = (resource.group.clone(), resource.plural.clone());
                    exported.objects.push((place.0, place.1, object));
                }
            }
            Err(error @ Error::Unreachable { .. }) => return Err(error),
            Err(error) => {
                let why = error.status().map_or_else(|| error.to_string(), |s| s.message.clone());
                exported.refused.push((resource.qualified(), why));
            }
        }
    }
    Ok(exported)
}

/// Whether objects of a kind come and go by themselves, or only mirror others.
fn is_fleeting(resource: &Resource) -> bool {
    matches!(
        (resource.group.as_str(), resource.plural.as_str()),
        ("" | "events.k8s.io", "events")
            | ("coordination.k8s.io", "leases")
            | ("", "componentstatuses")
            | ("metrics.k8s.io", _)
    )
}

/// Puts `sha256:` and the digest of its bytes in place of each value of a Secret.
fn hash_secret(object: &mut Value) {
    if !is_secret(object) {
        return;
    }
    let data = object.get_mut("data").and_then(Value::as_object_mut);
    for (_, value) in data.into_iter().flatten() {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
        let digest = hex::encode(Sha256::digest(&bytes));
        *value = STANDARD.encode(format!("sha256:{digest}")).into();
    }
    // kubectl's note of what it applied holds the data again.
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}
