//! Which kinds the cluster serves, and which one a name means.
//!
//! Asked for lazily: aggregated discovery, two requests, kept for the run. It is asked for again when a kind is unknown
//! and the answer may be out of date; the kinds of CRDs that were applied here are learned from the CRDs themselves.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::Mutex;

use super::cluster::Cluster;
use super::error::Error;
use super::request::Request;
use super::resource::Resource;
use crate::base::suggest;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                          application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// An answer younger than this is not asked for again on account of an unknown kind.
const FRESH: Duration = Duration::from_secs(2);

/// What is known of the served kinds.
#[derive(Default)]
pub(super) struct Discovery {
    /// Held while the server is asked, so that many callers ask once.
    asking: Mutex<()>,
    known: RwLock<Known>,
}

#[derive(Clone, Default)]
struct Known {
    /// In order of preference: the core group first, then as the server orders groups and versions.
    resources: Arc<Vec<Arc<Resource>>>,
    /// When they were asked for, on the cluster's clock.
    asked: Option<Duration>,
}

impl Cluster {
    /// All kinds that are served, in order of preference.
    ///
    /// # Errors
    /// Those of a request.
    pub async fn resources(&self) -> Result<Arc<Vec<Arc<Resource>>>, Error> {
        if self.discovery().known.read().asked.is_none() {
            self.ask(None).await?;
        }
        Ok(self.discovery().known.read().resources.clone())
    }

    /// The kind that a name means: any name that kubectl takes (`deploy`, `Deployment`, `deployments.apps`,
    /// `deployments.v1.apps`), or `apps/v1/Deployment`.
    ///
    /// # Errors
    /// `UnknownKind` with the nearest name.
    pub async fn resolve(&self, name: &str) -> Result<Arc<Resource>, Error> {
        let known = self.resources().await?;
        if let Some(found) = by_name(&known, name) {
            return Ok(found);
        }
        let known = self.ask_again().await?;
        by_name(&known, name).ok_or_else(|| unknown(&known, name))
    }

    /// The kind of an object's `apiVersion` and `kind`.
    ///
    /// # Errors
    /// `UnknownKind` with the versions that are served.
    pub async fn resource_of(&self, api_version: &str, kind: &str) -> Result<Arc<Resource>, Error> {
        let known = self.resources().await?;
        if let Some(found) = by_kind(&known, api_version, kind) {
            return Ok(found);
        }
        let known = self.ask_again().await?;
        by_kind(&known, api_version, kind).ok_or_else(|| {
            let name = format!("{kind} ({api_version})");
            let group = group_of(api_version);
            let served: Vec<String> = known
                .iter()
                .filter(|resource| resource.group == group && resource.kind == kind)
                .map(|resource| resource.api_version())
                .collect();
            if served.is_empty() {
                let mut error = unknown(&known, kind);
                if let Error::UnknownKind { name: text, near, .. } = &mut error {
                    *text = name;
                    // The same kind of another group is no typing error but another thing.
                    if near.as_deref() == Some(kind) {
                        *near = None;
                    }
                }
                error
            } else {
                Error::UnknownKind { name, near: None, served }
            }
        })
    }

    /// Adds the kinds of an established CRD, so that they need no new discovery.
    pub(super) fn learn(&self, crd: &Value) {
        let mut known = self.discovery().known.write();
        if known.asked.is_none() {
            return;
        }
        let learned = of_crd(crd);
        let Some(first) = learned.first() else { return };
        let (group, plural) = (first.group.clone(), first.plural.clone());
        let mut resources: Vec<Arc<Resource>> = known
            .resources
            .iter()
            .filter(|resource| !(resource.group == group && resource.plural == plural))
            .cloned()
            .collect();
        resources.extend(learned.into_iter().map(Arc::new));
        known.resources = Arc::new(resources);
    }

    /// Asks anew unless the answer is fresh.
    async fn ask_again(&self) -> Result<Arc<Vec<Arc<Resource>>>, Error> {
        let seen = self.discovery().known.read().asked;
        let now = self.clock().monotonic();
        if seen.is_none_or(|asked| now.saturating_sub(asked) >= FRESH) {
            self.ask(seen).await?;
        }
        Ok(self.discovery().known.read().resources.clone())
    }

    /// Asks the server, unless another caller did since `seen`.
    async fn ask(&self, seen: Option<Duration>) -> Result<(), Error> {
        let _asking = self.discovery().asking.lock().await;
        if self.discovery().known.read().asked != seen {
            return Ok(());
        }
        let action = "ask which kinds the cluster serves";
        let core = Request::get("/api", action).accept(AGGREGATED);
        let groups = Request::get("/apis", action).accept(AGGREGATED);
        let (core, groups) = try_join(self.send(&core), self.send(&groups)).await?;
        let mut resources = Vec::new();
        for document in [core.value, groups.value] {
            if document["kind"] != "APIGroupDiscoveryList" {
                return Err(Error::BadAnswer {
                    action: action.to_owned(),
                    reason: format!(
                        "expected an APIGroupDiscoveryList (Kubernetes 1.27 or newer), found {}",
                        document["kind"]
                    ),
                });
            }
            resources.extend(of_document(&document).into_iter().map(Arc::new));
        }
        let asked = Some(self.clock().monotonic());
        *self.discovery().known.write() = Known { resources: Arc::new(resources), asked };
        Ok(())
    }
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The resources of an aggregated discovery document, in its order.
fn of_document(document: &Value) -> Vec<Resource> {
    let mut found = Vec::new();
    for group in array(&document["items"]) {
        for version in array(&group["versions"]) {
            for resource in array(&version["resources"]) {
                let kind = text(&resource["responseKind"]["kind"]);
                let singular = text(&resource["singularResource"]);
                found.push(Resource {
                    group: text(&group["metadata"]["name"]),
                    version: text(&version["version"]),
                    plural: text(&resource["resource"]),
                    singular: if singular.is_empty() { kind.to_lowercase() } else { singular },
                    kind,
                    short_names: texts(&resource["shortNames"]),
                    categories: texts(&resource["categories"]),
                    namespaced: resource["scope"] == "Namespaced",
                    verbs: texts(&resource["verbs"]),
                    subresources: array(&resource["subresources"])
                        .iter()
                        .map(|subresource| text(&subresource["subresource"]))
                        .collect(),
                });
            }
        }
    }
    found
}

/// The resources that a CRD defines; the API server prefers stable versions, newest first.
fn of_crd(crd: &Value) -> Vec<Resource> {
    let spec = &crd["spec"];
    let names = &spec["names"];
    let kind = text(&names["kind"]);
    let singular = text(&names["singular"]);
    let mut versions: Vec<&Value> =
        array(&spec["versions"]).iter().filter(|version| version["served"] == true).collect();
    versions.sort_by_key(|version| {
        std::cmp::Reverse(priority(version["name"].as_str().unwrap_or_default()))
    });
    versions
        .into_iter()
        .map(|version| Resource {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            plural: text(&names["plural"]),
            singular: if singular.is_empty() { kind.to_lowercase() } else { singular.clone() },
            kind: kind.clone(),
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            namespaced: spec["scope"] == "Namespaced",
            verbs: [
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "create",
                "update",
                "watch",
            ]
            .map(str::to_owned)
            .to_vec(),
            subresources: version["subresources"]
                .as_object()
                .map(|subresources| subresources.keys().cloned().collect())
                .unwrap_or_default(),
        })
        .collect()
}

/// Orders `v2`, `v1`, `v1beta2`, `v1beta1`, `v1alpha1` as Kubernetes prefers them.
fn priority(version: &str) -> (u8, u64, u64) {
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..digits].parse().unwrap_or(0);
    let (stage, minor) = match &rest[digits..] {
        "" => (3, ""),
        other => match (other.strip_prefix("beta"), other.strip_prefix("alpha")) {
            (Some(minor), _) => (2, minor),
            (_, Some(minor)) => (1, minor),
            _ => return (0, 0, 0),
        },
    };
    (stage, major, minor.parse().unwrap_or(0))
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn by_kind(known: &[Arc<Resource>], api_version: &str, kind: &str) -> Option<Arc<Resource>> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    known
        .iter()
        .find(|found| found.kind == kind && found.version == version && found.group == group)
        .cloned()
}

/// The first kind in order of preference that a name means. Full names win over short ones, as in kubectl.
fn by_name(known: &[Arc<Resource>], name: &str) -> Option<Arc<Resource>> {
    if let Some((api_version, kind)) = name.rsplit_once('/') {
        return by_kind(known, api_version, kind).or_else(|| {
            known
                .iter()
                .find(|found| is_named(found, kind) && found.api_version() == api_version)
                .cloned()
        });
    }
    let full = |name: &str, fits: &dyn Fn(&Resource) -> bool| {
        known.iter().find(|found| is_named(found, name) && fits(found)).cloned()
    };
    let short = |name: &str, fits: &dyn Fn(&Resource) -> bool| {
        let name = name.to_lowercase();
        known.iter().find(|found| found.short_names.contains(&name) && fits(found)).cloned()
    };
    let any = |_: &Resource| true;
    if let Some(found) = full(name, &any).or_else(|| short(name, &any)) {
        return Some(found);
    }
    let (first, rest) = name.split_once('.')?;
    let in_group = |found: &Resource| found.group == rest;
    if let Some(found) = full(first, &in_group).or_else(|| short(first, &in_group)) {
        return Some(found);
    }
    // `deployments.v1.apps`, `pods.v1` and `pods.v1.`
    let (version, group) = rest.split_once('.').unwrap_or((rest, ""));
    let in_version = |found: &Resource| found.group == group && found.version == version;
    full(first, &in_version).or_else(|| short(first, &in_version))
}

fn is_named(resource: &Resource, name: &str) -> bool {
    resource.plural.eq_ignore_ascii_case(name)
        || resource.singular.eq_ignore_ascii_case(name)
        || resource.kind.eq_ignore_ascii_case(name)
}

fn unknown(known: &[Arc<Resource>], name: &str) -> Error {
    let first = name.rsplit_once('/').map_or(name, |(_, kind)| kind);
    let first = first.split('.').next().unwrap_or(first);
    let kinds = known.iter().map(|resource| resource.kind.as_str());
    let near = if first.chars().any(char::is_uppercase) {
        suggest::near(first, kinds)
    } else {
        let plurals = known.iter().map(|resource| resource.plural.as_str());
        let singulars = known.iter().map(|resource| resource.singular.as_str());
        suggest::near(first, singulars.chain(plurals))
    };
    Error::UnknownKind { name: name.to_owned(), near: near.map(str::to_owned), served: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(
        group: &str,
        version: &str,
        plural: &str,
        kind: &str,
        short: &[&str],
    ) -> Arc<Resource> {
        Arc::new(Resource {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            kind: kind.into(),
            short_names: short.iter().map(|&name| name.to_owned()).collect(),
            ..Resource::default()
        })
    }

    fn known() -> Vec<Arc<Resource>> {
        vec![
            resource("", "v1", "pods", "Pod", &["po"]),
            resource("", "v1", "services", "Service", &["svc"]),
            resource("apps", "v1", "deployments", "Deployment", &["deploy"]),
            resource("gateway.networking.k8s.io", "v1", "gateways", "Gateway", &["gtw"]),
            resource("gateway.networking.k8s.io", "v1beta1", "gateways", "Gateway", &["gtw"]),
            resource("networking.istio.io", "v1", "gateways", "Gateway", &["gw"]),
        ]
    }

    #[test]
    fn every_name_that_kubectl_takes_is_understood() {
        let cases = [
            ("deploy", "apps/v1 deployments"),
            ("Deployment", "apps/v1 deployments"),
            ("deployments.apps", "apps/v1 deployments"),
            ("deployment.v1.apps", "apps/v1 deployments"),
            ("apps/v1/Deployment", "apps/v1 deployments"),
            ("apps/v1/deployments", "apps/v1 deployments"),
            ("po", "v1 pods"),
            ("pods.v1.", "v1 pods"),
            ("v1/Pod", "v1 pods"),
            ("gtw", "gateway.networking.k8s.io/v1 gateways"),
            ("gateway", "gateway.networking.k8s.io/v1 gateways"),
            ("gw", "networking.istio.io/v1 gateways"),
            ("gateways.networking.istio.io", "networking.istio.io/v1 gateways"),
            (
                "gateways.v1beta1.gateway.networking.k8s.io",
                "gateway.networking.k8s.io/v1beta1 gateways",
            ),
        ];
        for (name, expected) in cases {
            let found = by_name(&known(), name)
                .map(|found| format!("{} {}", found.api_version(), found.plural));
            assert_eq!(found.as_deref(), Some(expected), "{name}");
        }
        for name in ["nope", "deployments.batch", "apps/v2/Deployment", "", "."] {
            assert_eq!(by_name(&known(), name), None, "{name}");
        }
    }

    #[test]
    fn an_unknown_kind_has_a_near_name() {
        for (name, expected) in
            [("deploymet", "deployment"), ("Deploymnt", "Deployment"), ("pod s", "pods")]
        {
            let Error::UnknownKind { near, .. } = unknown(&known(), name) else { unreachable!() };
            assert_eq!(near.as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn versions_are_preferred_as_kubernetes_does() {
        let mut versions = ["v1alpha1", "v1", "v1beta2", "v2", "v1beta1", "other"];
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(versions, ["v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "other"]);
    }
}
