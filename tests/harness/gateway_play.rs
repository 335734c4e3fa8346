//! Plays a case of the kind `gateway_status` against an API server, the test bed's or the sandbox's, and prints what istiod
//! made of it: the statuses of Gateway API and Istio objects, and the objects that it manages for Gateways.
//!
//! A case is a file of objects in the namespaces `ns-a`, `ns-b` and `ns-c`; wherever `ns-` stands in it, the name that a run
//! of the case has takes its place, so cases can share a cluster. A document with `apiVersion: case` is a step: `show` prints
//! what there is so far, `delete` and `patch` change an object, `certificate` makes a Secret with a key pair, `addresses: none`
//! leaves load balancers pending; otherwise the player gives them addresses, as a cloud does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http_body_util::BodyExt as _;
use regex::Regex;
use serde_json::{Value, json};

/// The word of a case that a run's own name replaces.
const TOKEN: &str = "ns-";

/// What is shown of a kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Nothing: only input.
    No,
    Status,
    /// What istiod made for a Gateway, and the status of the others.
    Managed,
}

/// A kind that cases may hold.
pub(crate) struct Kind {
    pub(crate) api: &'static str,
    pub(crate) plural: &'static str,
    name: &'static str,
    shown: Shown,
}

const fn kind(api: &'static str, plural: &'static str, name: &'static str, shown: Shown) -> Kind {
    Kind { api, plural, name, shown }
}

/// In the order in which they are shown.
pub(crate) const KINDS: &[Kind] = &[
    kind("api/v1", "namespaces", "Namespace", Shown::No),
    kind("api/v1", "configmaps", "ConfigMap", Shown::No),
    kind("api/v1", "secrets", "Secret", Shown::No),
    kind("api/v1", "pods", "Pod", Shown::No),
    kind(GATEWAY_API, "gatewayclasses", "GatewayClass", Shown::Status),
    kind(GATEWAY_API, "gateways", "Gateway", Shown::Status),
    kind(GATEWAY_API, "listenersets", "ListenerSet", Shown::Status),
    kind(GATEWAY_API, "httproutes", "HTTPRoute", Shown::Status),
    kind(GATEWAY_API, "grpcroutes", "GRPCRoute", Shown::Status),
    kind(GATEWAY_API, "tlsroutes", "TLSRoute", Shown::Status),
    kind(GATEWAY_API, "backendtlspolicies", "BackendTLSPolicy", Shown::Status),
    kind(GATEWAY_API, "referencegrants", "ReferenceGrant", Shown::No),
    kind("apis/networking.istio.io/v1", "serviceentries", "ServiceEntry", Shown::Status),
    kind("apis/networking.istio.io/v1", "workloadentries", "WorkloadEntry", Shown::Status),
    kind(
        "apis/security.istio.io/v1",
        "authorizationpolicies",
        "AuthorizationPolicy",
        Shown::Status,
    ),
    kind("apis/security.istio.io/v1", "peerauthentications", "PeerAuthentication", Shown::Status),
    kind(
        "apis/security.istio.io/v1",
        "requestauthentications",
        "RequestAuthentication",
        Shown::Status,
    ),
    kind("apis/telemetry.istio.io/v1", "telemetries", "Telemetry", Shown::Status),
    kind("api/v1", "services", "Service", Shown::Managed),
    kind("api/v1", "serviceaccounts", "ServiceAccount", Shown::Managed),
    kind("apis/apps/v1", "deployments", "Deployment", Shown::Managed),
    kind(
        "apis/autoscaling/v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        Shown::Managed,
    ),
    kind("apis/policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", Shown::Managed),
];

const GATEWAY_API: &str = "apis/gateway.networking.k8s.io/v1";

impl Kind {
    fn of(object: &Value) -> Result<&'static Self, String> {
        let (version, kind) = (text(object, "apiVersion"), text(object, "kind"));
        let api = if version.contains('/') {
            format!("apis/{version}")
        } else {
            format!("api/{version}")
        };
        let same_group = |found: &&Self| {
            let group = |api: &str| api.rsplit_once('/').map(|(group, _)| group.to_owned());
            found.name == kind && group(found.api) == group(&api)
        };
        KINDS.iter().find(same_group).ok_or_else(|| format!("no kind {version} {kind}"))
    }

    fn is_cluster_wide(&self) -> bool {
        matches!(self.name, "Namespace" | "GatewayClass")
    }

    fn path(&self, namespace: &str, name: &str) -> String {
        let Self { api, plural, .. } = self;
        let name = if name.is_empty() { String::new() } else { format!("/{name}") };
        if self.is_cluster_wide() || namespace.is_empty() {
            format!("/{api}/{plural}{name}")
        } else {
            format!("/{api}/namespaces/{namespace}/{plural}{name}")
        }
    }
}

/// Where a case is played.
pub(crate) trait Ground {
    fn client(&self) -> &kube::Client;
    /// Returns when the controllers have had their time with these namespaces.
    async fn rest(&self, namespaces: &BTreeSet<String>);
    /// Returns soon after the next change in these namespaces; false when there is none for long.
    async fn another_change(&self, namespaces: &BTreeSet<String>) -> bool;
}

/// Plays a case under the name `id` and returns what it showed. What `expected` shows at a step is waited for.
pub(crate) async fn play(
    ground: &impl Ground,
    id: &str,
    source: &str,
    expected: &str,
) -> Result<String, String> {
    let own = format!("{id}-");
    let documents = meshscript::base::yaml::parse_documents(&source.replace(TOKEN, &own))
        .map_err(|error| error.to_string())?;
    let mut play = Play {
        ground,
        own,
        namespaces: BTreeSet::new(),
        classes: BTreeSet::new(),
        has_addresses: true,
        expected: expected.split_inclusive(SEPARATOR).collect(),
        n_shown: 0,
        out: String::new(),
    };
    let outcome = play.documents(documents.into_iter().map(|document| document.value)).await;
    let cleared = play.clear().await;
    outcome.and(cleared)?;
    Ok(play.out)
}

const SEPARATOR: &str = "\n---\n";

struct Play<'a, G> {
    ground: &'a G,
    own: String,
    namespaces: BTreeSet<String>,
    classes: BTreeSet<String>,
    has_addresses: bool,
    expected: Vec<&'a str>,
    n_shown: usize,
    out: String,
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

impl<G: Ground> Play<'_, G> {
    async fn documents(&mut self, documents: impl Iterator<Item = Value>) -> Result<(), String> {
        for document in documents {
            if document["apiVersion"] == "case" {
                self.step(&document).await?;
            } else if !document.is_null() {
                self.apply(&document).await?;
            }
        }
        self.show("at the end").await
    }

    async fn step(&mut self, step: &Value) -> Result<(), String> {
        if step["addresses"] == "none" {
            self.has_addresses = false;
        } else if let Some(title) = step["show"].as_str() {
            self.show(title).await?;
            self.out.push_str("---\n");
        } else if step["delete"].is_object() {
            let path = self.path_of(&step["delete"])?;
            self.send("DELETE", &path, "application/json", None).await?;
        } else if step["patch"].is_object() {
            let path = self.path_of(&step["patch"])?;
            let patch = &step["patch"]["with"];
            self.send("PATCH", &path, "application/merge-patch+json", Some(patch)).await?;
        } else if step["certificate"].is_object() {
            let wanted = &step["certificate"];
            let secret = certificate(wanted)?;
            self.apply(&secret).await?;
        } else {
            return Err(format!("unknown step {step}"));
        }
        Ok(())
    }

    fn path_of(&self, step: &Value) -> Result<String, String> {
        Ok(Kind::of(step)?.path(text(step, "namespace"), text(step, "name")))
    }

    async fn apply(&mut self, object: &Value) -> Result<(), String> {
        let kind = Kind::of(object)?;
        let (namespace, name) =
            (text(&object["metadata"], "namespace"), text(&object["metadata"], "name"));
        match kind.name {
            "Namespace" => drop(self.namespaces.insert(name.to_owned())),
            "GatewayClass" => drop(self.classes.insert(name.to_owned())),
            _ => {}
        }
        // An object may be written in an older version than it is shown in.
        let version = text(object, "apiVersion");
        let own = format!("{}/{version}/", if version.contains('/') { "apis" } else { "api" });
        let path = kind.path(namespace, name).replacen(&format!("{}/", kind.api), &own, 1);
        let path = format!("{path}?fieldManager=case&force=true");
        self.send("PATCH", &path, "application/apply-patch+yaml", Some(object)).await.map(drop)
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(kube::client::Body::from(bytes))
            .map_err(|error| error.to_string())?;
        let fail = |error: &dyn std::fmt::Display| format!("{method} {path}: {error}");
        let answer = self.ground.client().send(request).await.map_err(|error| fail(&error))?;
        let code = answer.status();
        let bytes = answer.into_body().collect().await.map_err(|error| fail(&error))?.to_bytes();
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if code.is_success() { Ok(value) } else { Err(fail(&text(&value, "message"))) }
    }

    async fn list(&self, kind: &Kind) -> Result<Vec<Value>, String> {
        let places = if kind.is_cluster_wide() {
            vec![String::new()]
        } else {
            self.namespaces.iter().cloned().collect()
        };
        let mut found = Vec::new();
        for namespace in places {
            let mut list =
                self.send("GET", &kind.path(&namespace, ""), "application/json", None).await?;
            if let Value::Array(items) = list["items"].take() {
                found.extend(items);
            }
        }
        found.retain(|object| {
            !kind.is_cluster_wide() || self.classes.contains(text(&object["metadata"], "name"))
        });
        Ok(found)
    }

    /// Gives pending load balancers their addresses; whether there were any.
    async fn give_addresses(&self) -> Result<bool, String> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let services = KINDS.iter().find(|kind| kind.name == "Service").ok_or("no Services")?;
        let mut given = false;
        for service in self.list(services).await? {
            let has_address = !service["status"]["loadBalancer"]["ingress"].is_null();
            if service["spec"]["type"] != "LoadBalancer" || has_address || !self.has_addresses {
                continue;
            }
            let address = match service["spec"]["loadBalancerIP"].as_str() {
                Some(wanted) => wanted.to_owned(),
                None => format!("172.18.201.{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            };
            let metadata = &service["metadata"];
            let path = services.path(text(metadata, "namespace"), text(metadata, "name"));
            let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": address, "ipMode": "VIP" }] } } });
            let path = format!("{path}/status");
            self.send("PATCH", &path, "application/merge-patch+json", Some(&status)).await?;
            given = true;
        }
        Ok(given)
    }

    async fn show(&mut self, title: &str) -> Result<(), String> {
        let mut shown;
        loop {
            self.ground.rest(&self.namespaces).await;
            if self.give_addresses().await? {
                continue;
            }
            shown = format!("# {title}\n{}", self.snapshot().await?);
            let expected = self.expected.get(self.n_shown).copied().unwrap_or_default();
            if expected.is_empty() || expected.trim_end_matches("---\n").ends_with(&shown) {
                break;
            }
            if !self.ground.another_change(&self.namespaces).await {
                break;
            }
        }
        self.n_shown += 1;
        self.out.push_str(&shown);
        Ok(())
    }

    async fn snapshot(&self) -> Result<String, String> {
        let mut out = String::new();
        for kind in KINDS.iter().filter(|kind| kind.shown != Shown::No) {
            for object in self.list(kind).await? {
                let mut view = serde_json::Map::new();
                let managed = !object["metadata"]["labels"]["gateway.istio.io/managed"].is_null();
                if managed && kind.shown == Shown::Managed {
                    view.insert("made".into(), made(kind.name, &object));
                } else if kind.shown == Shown::Managed && kind.name != "Service" {
                    continue;
                }
                if kind.shown == Shown::Status || kind.name == "Service" {
                    let mut status = object["status"].clone();
                    normalise(&mut status);
                    view.insert("status".into(), status);
                }
                let metadata = &object["metadata"];
                let place = [text(metadata, "namespace"), text(metadata, "name")];
                let place: Vec<_> = place.into_iter().filter(|part| !part.is_empty()).collect();
                let _ =
                    writeln!(out, "{} {}:", kind.name, place.join("/").replace(&self.own, TOKEN));
                let view = masked(&Value::Object(view).to_string().replace(&self.own, TOKEN));
                let view: Value = serde_json::from_str(&view).map_err(|error| error.to_string())?;
                for line in meshscript::base::yaml::emit(&view).lines() {
                    let _ = writeln!(out, "  {line}");
                }
            }
        }
        Ok(out)
    }

    async fn clear(&self) -> Result<(), String> {
        for name in &self.namespaces {
            let path = format!("/api/v1/namespaces/{name}");
            self.send("DELETE", &path, "application/json", None).await?;
        }
        for name in &self.classes {
            let path = format!("/{GATEWAY_API}/gatewayclasses/{name}");
            self.send("DELETE", &path, "application/json", None).await?;
        }
        Ok(())
    }
}

/// What istiod wrote of an object that it manages: what a template of its chart says, not what the API server adds.
fn made(kind: &str, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut annotations = metadata["annotations"].clone();
    if let Some(map) = annotations.as_object_mut() {
        map.remove("deployment.kubernetes.io/revision");
    }
    let owners: Vec<_> = metadata["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|owner| format!("{} {}", text(owner, "kind"), text(owner, "name")))
        .collect();
    let mut view = json!({ "labels": metadata["labels"], "owners": owners });
    if annotations.as_object().is_some_and(|map| !map.is_empty()) {
        view["annotations"] = annotations;
    }
    let spec = &object["spec"];
    match kind {
        "Service" => {
            let ports: Vec<_> = spec["ports"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|port| {
                    let part = |field: &str| text(port, field).to_owned();
                    format!(
                        "{} {} {} {}",
                        part("name"),
                        port["port"],
                        part("protocol"),
                        part("appProtocol")
                    )
                })
                .collect();
            view["ports"] = json!(ports);
            for field in ["type", "selector", "loadBalancerIP", "externalTrafficPolicy"] {
                if !spec[field].is_null() {
                    view[field] = spec[field].clone();
                }
            }
        }
        "Deployment" => {
            view["replicas"] = spec["replicas"].clone();
            view["selector"] = spec["selector"].clone();
            view["template"] = spec["template"]["metadata"].clone();
            let pod = &spec["template"]["spec"];
            for field in ["serviceAccountName", "nodeSelector", "tolerations", "priorityClassName"]
            {
                if !pod[field].is_null() {
                    view[field] = pod[field].clone();
                }
            }
        }
        "HorizontalPodAutoscaler" | "PodDisruptionBudget" => view["spec"] = spec.clone(),
        _ => {}
    }
    view
}

/// Times go, but for the one of a condition that nobody has written yet.
fn normalise(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("lastTransitionTime").is_some_and(|time| time != "1970-01-01T00:00:00Z") {
                fields.remove("lastTransitionTime");
            }
            let mut each = |field: &str, change: fn(&mut Value)| {
                fields
                    .get_mut(field)
                    .and_then(Value::as_array_mut)
                    .into_iter()
                    .flatten()
                    .for_each(change);
            };
            each("parents", order_refusals);
            each("listeners", forget_before_conflict);
            // The parents of a route stand in the order in which istiod first saw them.
            if let Some(Value::Array(parents)) = fields.get_mut("parents") {
                parents.sort_by_key(|parent| {
                    (parent["controllerName"].to_string(), parent["parentRef"].to_string())
                });
            }
            fields.values_mut().for_each(normalise);
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        _ => {}
    }
}

/// What istiod says of a route on several listeners it joins in the order of a Go map.
fn order_refusals(parent: &mut Value) {
    for condition in parent["conditions"].as_array_mut().into_iter().flatten() {
        let message = text(condition, "message");
        if condition["type"] == "Accepted" && message.contains("; ") {
            let mut parts: Vec<_> = message.split("; ").collect();
            parts.sort_unstable();
            condition["message"] = json!(parts.join("; "));
        }
    }
}

/// Whether istiod looked at a listener's references before it saw its conflict is a matter of moments.
fn forget_before_conflict(listener: &mut Value) {
    let Some(conditions) = listener["conditions"].as_array_mut() else { return };
    let conflicts = |found: &Value| found["type"] == "Conflicted" && found["status"] == "True";
    if conditions.iter().any(conflicts) {
        conditions.retain(|found| found["type"] != "ResolvedRefs");
    }
}

/// Addresses, and what they become.
static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\b10\.96\.\d+\.\d+\b", "CLUSTER-IP"),
        (r"\b172\.18\.201\.\d+\b", "LOAD-BALANCER"),
        (r"\b240\.240\.\d+\.\d+\b", "AUTO-ADDRESS"),
        (r"\b2001:2::[0-9a-f:]+", "AUTO-ADDRESS-6"),
    ]
    .into_iter()
    .map(|(pattern, mask)| (Regex::new(pattern).expect("a pattern of this file"), mask))
    .collect()
});

/// Addresses become what they are.
fn masked(out: &str) -> String {
    MASKS
        .iter()
        .fold(out.to_owned(), |out, (pattern, mask)| pattern.replace_all(&out, *mask).into_owned())
}

/// A Secret (or ConfigMap, for authorities) with a fresh self-signed certificate.
fn certificate(wanted: &Value) -> Result<Value, String> {
    let hosts = vec!["*.example.com".to_owned()];
    let made = rcgen::generate_simple_self_signed(hosts).map_err(|error| error.to_string())?;
    let metadata = json!({ "name": wanted["name"], "namespace": wanted["namespace"] });
    if wanted["authority"] == true {
        let data = json!({ "ca.crt": made.cert.pem() });
        return Ok(
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data }),
        );
    }
    let other =
        rcgen::generate_simple_self_signed(Vec::new()).map_err(|error| error.to_string())?;
    let key = if wanted["key"] == "of another" { other.signing_key } else { made.signing_key };
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": STANDARD.encode(made.cert.pem()),
            "tls.key": STANDARD.encode(key.serialize_pem()),
        },
    }))
}
