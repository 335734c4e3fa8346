//! What is fuzzed of the sandbox's API server: bodies of all encodings, patches, paths, queries and selectors through the whole
//! of a request; protobuf by itself; SPDY and WebSocket frames of a forwarded port. Each function takes any input and returns.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use meshscript::base::clock::Clock as _;
use meshscript::sandbox::{Cluster, Options, proto};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

struct World {
    runtime: Runtime,
    cluster: Cluster,
    client: kube::Client,
}

impl World {
    /// A cluster with one object of each kind of `objects.yaml`, and, if asked for, with a pod that runs.
    fn new(runs: bool) -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let guard = runtime.enter();
        let options = Options::default();
        let cluster =
            if runs { Cluster::start(&options) } else { Cluster::without_controllers(&options) };
        let cluster = cluster.expect("a cluster");
        let client = cluster.client();
        drop(guard);
        let world = Self { runtime, cluster, client };
        if runs {
            let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [
                {"name": "web", "image": "docker.io/mccutchen/go-httpbin:2.15.0", "ports": [{"containerPort": 8080}]}]}});
            let mut last = Value::Null;
            for _ in 0..100 {
                world.send(
                    "POST",
                    "/api/v1/namespaces/default/pods",
                    "application/json",
                    pod.to_string().as_bytes(),
                );
                let found = world.send("GET", "/api/v1/namespaces/default/pods/web", "", &[]);
                let found: Value = serde_json::from_slice(&found).unwrap_or_default();
                if found["status"]["phase"] == "Running" {
                    return world;
                }
                last = found;
                // Time passes in the cluster while somebody waits for it.
                world.runtime.block_on(world.cluster.clock().sleep(Duration::from_secs(1)));
            }
            panic!("the pod does not run: {last}");
        }
        for text in include_str!("../attack/objects.yaml").split("\n---\n") {
            let object: Value = serde_yaml::from_str(text).expect("the objects are YAML");
            if let Some(path) = collection(&object) {
                world.send("POST", &path, "application/json", object.to_string().as_bytes());
            }
        }
        world
    }

    fn send(&self, method: &str, path: &str, media: &str, body: &[u8]) -> Vec<u8> {
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        let Ok(request) = request.body(Body::from(body.to_vec())) else { return Vec::new() };
        self.runtime.block_on(async {
            let answered = async {
                let answer = self.client.send(request).await.ok()?;
                Some(answer.into_body().collect().await.ok()?.to_bytes().to_vec())
            };
            tokio::time::timeout(PATIENCE, answered).await.ok().flatten().unwrap_or_default()
        })
    }
}

/// Where an object is created, as far as its kind has a plural without surprises.
fn collection(object: &Value) -> Option<String> {
    let (api_version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
    let lower = kind.to_lowercase();
    let plural = match lower.as_str() {
        "ingress" | "storageclass" | "priorityclass" => format!("{lower}es"),
        "networkpolicy" | "validatingadmissionpolicy" => {
            format!("{}ies", lower.trim_end_matches('y'))
        }
        _ => format!("{lower}s"),
    };
    let root = if api_version.contains('/') { "apis" } else { "api" };
    let wide = [
        "Namespace",
        "Node",
        "ClusterRole",
        "CustomResourceDefinition",
        "CertificateSigningRequest",
        "StorageClass",
        "PriorityClass",
    ];
    // Policies and webhooks would stand in the way of all other requests.
    let stops = kind.starts_with("Validating")
        || ["List", "DeleteOptions", "Eviction", "Scale", "Binding"].contains(&kind);
    (!stops && !kind.ends_with("Review") && kind != "TokenRequest").then(|| {
        if wide.contains(&kind) {
            format!("/{root}/{api_version}/{plural}")
        } else {
            format!("/{root}/{api_version}/namespaces/default/{plural}")
        }
    })
}

thread_local! {
    static STORING: RefCell<Option<World>> = const { RefCell::new(None) };
    static RUNNING: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// A request in lines: method and path, media type, and the body. Nothing of it is stored.
pub(crate) fn request(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let (Some(first), Some(media), Some(body)) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    let (Ok(first), Ok(media)) = (std::str::from_utf8(first), std::str::from_utf8(media)) else {
        return;
    };
    let Some((method, path)) = first.split_once(' ') else { return };
    if !path.starts_with('/') || path.starts_with("/meshscript") || path.contains("%6d") {
        return;
    }
    // Whatever else the query says of it: a write is tried, not done.
    let path = match path.split_once('?') {
        Some((path, query)) => format!("{path}?dryRun=All&timeoutSeconds=1&{query}"),
        None => format!("{path}?dryRun=All&timeoutSeconds=1"),
    };
    if matches!(method, "DELETE") && !body.is_empty() {
        // A body's own options stand in place of the query's.
        return;
    }
    if path.contains("watch") || path.contains("follow") {
        return;
    }
    STORING.with_borrow_mut(|world| {
        let world = world.get_or_insert_with(|| World::new(false));
        world.send(method, &path, media, body);
        assert!(world.cluster.api().list(&secrets(), "").len() < 1_000, "dry runs fill the store");
    });
}

fn secrets() -> meshscript::sandbox::api::Resource {
    meshscript::sandbox::api::Resource::new("", "v1", "secrets")
}

/// Protobuf: as it is, and as the message of each of some kinds.
pub(crate) fn protobuf(data: &[u8]) {
    drop(proto::decode(data));
    let Some((choice, raw)) = data.split_first() else { return };
    let kinds = [
        ("v1", "Pod"),
        ("apps/v1", "Deployment"),
        ("v1", "Secret"),
        ("v1", "Service"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("networking.k8s.io/v1", "Ingress"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("batch/v1", "CronJob"),
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
        ("v1", "DeleteOptions"),
    ];
    let (api_version, kind) = kinds[usize::from(*choice) % kinds.len()];
    let mut body = b"k8s\0".to_vec();
    let meta = [
        &[0x0A, api_version.len() as u8],
        api_version.as_bytes(),
        &[0x12, kind.len() as u8],
        kind.as_bytes(),
    ]
    .concat();
    body.extend_from_slice(&[0x0A, meta.len() as u8]);
    body.extend_from_slice(&meta);
    body.push(0x12);
    let mut length = raw.len();
    while length >= 128 {
        body.push((length % 128) as u8 | 128);
        length /= 128;
    }
    body.push(length as u8);
    body.extend_from_slice(raw);
    if let Ok(object) = proto::decode(&body) {
        drop(object.to_string());
    }
}

/// Bytes of a client of exec or portforward, after the upgrade; the first one chooses which.
pub(crate) fn frames(data: &[u8]) {
    static ENOUGH: OnceLock<Duration> = OnceLock::new();
    let Some((choice, frames)) = data.split_first() else { return };
    let pod = "/api/v1/namespaces/default/pods/web";
    let (method, target, upgrade, protocol) = match choice % 4 {
        0 => ("POST", "portforward", "SPDY/3.1", ""),
        1 => ("GET", "portforward", "websocket", "SPDY/3.1+portforward.k8s.io"),
        2 => ("GET", "exec?command=cat&stdin=true&stdout=true", "websocket", "v5.channel.k8s.io"),
        _ => ("GET", "portforward?ports=8080", "websocket", "v4.channel.k8s.io"),
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("{pod}/{target}"))
        .header("connection", "Upgrade")
        .header("upgrade", upgrade)
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", protocol)
        .body(Body::empty())
        .expect("a request");
    RUNNING.with_borrow_mut(|world| {
        let world = world.get_or_insert_with(|| World::new(true));
        world.runtime.block_on(async {
            let Ok(mut answer) = world.client.send(request).await else { return };
            let Ok(upgraded) = hyper::upgrade::on(&mut answer).await else { return };
            let mut stream = TokioIo::new(upgraded);
            let talk = async {
                // It may hang up in the middle.
                let _ = stream.write_all(frames).await;
                let _ = stream.shutdown().await;
                let mut buffer = vec![0; 16 * 1024];
                let mut read = 0;
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    read += length;
                    assert!(read < 64 << 20, "an answer without end");
                }
            };
            let enough = ENOUGH.get_or_init(|| Duration::from_millis(20));
            let _ = tokio::time::timeout(*enough, talk).await;
        });
    });
}
