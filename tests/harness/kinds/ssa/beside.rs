//! The same random writes on the sandbox and on the real API server: after each of them both hold the same object with
//! the same managedFields, or refused it with the same words.
//!
//! A sequence is creates, updates, patches of all types, applies by several managers and deletes of one object: a
//! Deployment, a Service, a ConfigMap, a Gateway or an object of a CRD. `SSA_BESIDE` is how many sequences run, `SSA_SEED` the
//! first one's seed, `SSA_KIND` (`deployments`) leaves out those of other kinds.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use kube::client::Body;
use libtest_mimic::Failed;
use meshscript::sandbox::{Cluster, Options};
use serde_json::{Map, Value, json};

use super::bed;
use super::play::{Op, Step};
use super::random::{self, Random};
use super::schemas;

const SEQUENCES: u64 = 100;
const LENGTH: usize = 14;
/// Sequences at once; each has an object of its own.
const AT_ONCE: usize = 8;
/// What the Deployment controller writes into a Deployment, besides its status.
const REVISION: &str = "deployment.kubernetes.io/revision";
const RESOURCES: [&str; 5] = ["configmaps", "services", "deployments", "widgets", "gateways"];

pub(crate) fn run() -> Result<(), Failed> {
    if !bed::is_up() {
        println!("skipped: no test bed");
        return Ok(());
    }
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (first, count) = (number("SSA_SEED", 1), number("SSA_BESIDE", SEQUENCES));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(beside(first, count))
}

async fn beside(first: u64, count: u64) -> Result<(), Failed> {
    let path = std::env::var_os("MESHBED_KUBECONFIG").ok_or("no test bed")?;
    let config = kube::config::Kubeconfig::read_from(path)?;
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
    let cluster = Cluster::start(&Options::default())?;
    let namespace = format!("beside-{}", std::process::id());
    let theirs = World::open(kube::Client::try_from(config)?, &namespace).await?;
    let ours = World::open(cluster.client(), &namespace).await?;
    let kind = std::env::var("SSA_KIND").ok();
    let wanted = |seed: &u64| kind.as_deref().is_none_or(|kind| resource_of(*seed) == kind);
    let played = futures::stream::iter((first..first + count).filter(wanted))
        .map(|seed| sequence(&theirs, &ours, seed))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let (mut n_requests, mut wrong, n_sequences) = (0, Vec::new(), played.len());
    for outcome in played {
        match outcome? {
            Ok(requests) => n_requests += requests,
            Err(difference) => wrong.push(difference),
        }
    }
    theirs.ask("DELETE", &format!("/api/v1/namespaces/{namespace}"), "", None).await?;
    if wrong.is_empty() {
        println!("{n_requests} requests in {n_sequences} sequences agree");
        return Ok(());
    }
    let shown: Vec<_> = wrong.iter().take(8).cloned().collect();
    Err(format!("{} of {n_sequences} sequences differ\n{}", wrong.len(), shown.join("\n\n")).into())
}

/// What a sequence is about.
fn resource_of(seed: u64) -> &'static str {
    RESOURCES[usize::try_from(seed % 5).unwrap_or(0)]
}

/// Plays one sequence; the number of its requests, or where it differed first.
async fn sequence(
    theirs: &World,
    ours: &World,
    seed: u64,
) -> Result<Result<usize, String>, Failed> {
    let mut random = Random::of(seed);
    let resource = resource_of(seed);
    let name = format!("r{seed}");
    let mut live: Option<Value> = None;
    for at in 0..LENGTH {
        if live.is_some() && random.chance(6) {
            let path = theirs.path(resource, &name, "");
            let codes = (
                theirs.ask("DELETE", &path, "application/json", None).await?.0,
                ours.ask("DELETE", &path, "application/json", None).await?.0,
            );
            if codes.0 != codes.1 {
                return Ok(Err(format!("seed {seed} step {at}: a deletion answers {codes:?}")));
            }
            live = None;
            // Dependents go later; a new object of the same name is another one.
            continue;
        }
        let mut step = random::next_step(&mut random, resource, &name, live.as_ref());
        clean(&mut step.body);
        if let Some(body) = step.body.as_object_mut() {
            body.remove("entries");
        }
        let (their_code, their_body) = theirs.send(&step).await?;
        let (our_code, our_body) = ours.send(&step).await?;
        let (left, right) = (normal(&their_body), normal(&our_body));
        if their_code != our_code || left != right {
            let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
            return Ok(Err(format!(
                "seed {seed} step {at} ({resource}): {their_code} and {our_code}\n{}\nrequest: {}\nbefore: {}",
                crate::harness::difference(&pretty(&left), &pretty(&right)),
                serde_json::to_string(&step)?,
                live.unwrap_or_default()
            )));
        }
        if their_code < 300 {
            live = Some(their_body);
        }
        // Nobody comes to own anything of an object whose ownership was given up, until somebody applies: then all that is
        // there is owned by `before-first-apply`. Whether the Deployment controller's annotation, which a PUT took away, is
        // there again by then is a matter of moments, so it is waited for on both sides.
        let nobody_owns = live.as_ref().is_some_and(|live| {
            live["kind"] == "Deployment" && live["metadata"]["managedFields"].is_null()
        });
        if nobody_owns {
            for world in [theirs, ours] {
                world.is_annotated(&world.path(resource, &name, "")).await?;
            }
        }
    }
    let path = theirs.path(resource, &name, "");
    theirs.ask("DELETE", &path, "application/json", None).await?;
    ours.ask("DELETE", &path, "application/json", None).await?;
    Ok(Ok(LENGTH))
}

/// Takes out of a body what only one of the servers has set.
fn clean(body: &mut Value) {
    if let Some(annotations) =
        body.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(REVISION);
    }
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in ["uid", "creationTimestamp", "resourceVersion", "generation", "selfLink"] {
            metadata.remove(name);
        }
        if metadata.get("managedFields").is_some_and(|fields| *fields != json!([])) {
            metadata.remove("managedFields");
        }
        if metadata.get("annotations") == Some(&json!({})) {
            metadata.remove("annotations");
        }
    }
    if body["kind"] == "Service"
        && let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut)
    {
        for name in ["clusterIP", "clusterIPs"] {
            spec.remove(name);
        }
    }
    if body["kind"] == "Deployment"
        && let Some(body) = body.as_object_mut()
    {
        body.remove("status");
    }
}

/// An answer without what differs by nature, and without the work of controllers.
fn normal(answer: &Value) -> Value {
    let mut answer = answer.clone();
    if answer["kind"] == "Status" {
        let mut causes = answer["details"]["causes"].as_array().cloned().unwrap_or_default();
        causes.sort_by_key(ToString::to_string);
        let message = if causes.len() > 1 { Value::Null } else { answer["message"].clone() };
        return masked(json!({"reason": answer["reason"], "message": message, "causes": causes}));
    }
    clean(&mut answer);
    if let Some(metadata) = answer.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    answer
}

fn masked(value: Value) -> Value {
    static MOMENT: LazyLock<regex::Regex> =
        LazyLock::new(|| regex::Regex::new(r"20\d\d-\d\d-\d\dT[\d:.]+Z").expect("a pattern"));
    match value {
        Value::String(text) => Value::String(MOMENT.replace_all(&text, "TIME").into_owned()),
        Value::Array(items) => items.into_iter().map(masked).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, masked(value))).collect())
        }
        other => other,
    }
}

/// The entries of `managedFields` that clients wrote, without their times.
fn entries(answer: &Value) -> Vec<Value> {
    let entries = answer["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let of_deployment = answer["kind"] == "Deployment";
    let mut entries: Vec<Value> = entries
        .into_iter()
        .filter(|entry| entry["manager"] != "kube-controller-manager")
        .map(|mut entry| {
            entry.as_object_mut().map(|entry| entry.remove("time"));
            if of_deployment {
                without_revision(&mut entry["fieldsV1"]);
            }
            entry
        })
        .collect();
    entries.sort_by_key(ToString::to_string);
    entries
}

/// Leaves out the annotation that the Deployment controller writes: whether it was there before somebody's write, and so who
/// owns it, is a matter of moments on both servers.
fn without_revision(fields: &mut Value) {
    for (owner, field) in [("/f:metadata", "f:annotations"), ("", "f:metadata")] {
        let Some(Value::Object(owner)) = fields.pointer_mut(owner) else { continue };
        let Some(Value::Object(owned)) = owner.get_mut(field) else { continue };
        if field == "f:annotations" {
            owned.remove(".");
            owned.remove(&format!("f:{REVISION}"));
        }
        if owned.is_empty() {
            owner.remove(field);
        }
    }
}

struct World {
    client: kube::Client,
    namespace: String,
}

impl World {
    async fn open(client: kube::Client, namespace: &str) -> Result<Self, Failed> {
        let world = Self { client, namespace: namespace.to_owned() };
        let json = "application/json";
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        for definition in [schemas::crd(), gateways()?] {
            let (code, answer) = world.ask("POST", definitions, json, Some(&definition)).await?;
            if code != 201 && code != 409 {
                return Err(format!("a CRD: {answer}").into());
            }
        }
        for path in [
            "/apis/ssa.example.com/v1/widgets",
            "/apis/ssa.example.com/v1beta1/widgets",
            "/apis/gateway.networking.k8s.io/v1/gateways",
        ] {
            for _ in 0..200 {
                if world.ask("GET", path, json, None).await?.0 == 200 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        let object = json!({"metadata": {"name": namespace}});
        let (code, answer) = world.ask("POST", "/api/v1/namespaces", json, Some(&object)).await?;
        if code == 201 { Ok(world) } else { Err(format!("the namespace: {answer}").into()) }
    }

    fn path(&self, resource: &str, name: &str, subresource: &str) -> String {
        let (resource, version) = resource.split_once('.').unwrap_or((resource, "v1"));
        let root = match resource {
            "deployments" => "apis/apps/v1".to_owned(),
            "gateways" => "apis/gateway.networking.k8s.io/v1".to_owned(),
            "widgets" => format!("apis/ssa.example.com/{version}"),
            _ => "api/v1".to_owned(),
        };
        let mut path = format!("/{root}/namespaces/{}/{resource}", self.namespace);
        for part in [name, subresource].into_iter().filter(|part| !part.is_empty()) {
            path.push('/');
            path.push_str(part);
        }
        path
    }

    async fn send(&self, step: &Step) -> Result<(u16, Value), Failed> {
        let collection = self.path(&step.resource, "", "");
        let object = self.path(&step.resource, &step.name, &step.subresource);
        let manager = &step.manager;
        let (method, path, media) = match step.op {
            Op::Create => ("POST", collection, "application/json"),
            Op::Update => ("PUT", object, "application/json"),
            Op::Apply => ("PATCH", object, "application/apply-patch+yaml"),
            Op::JsonPatch => ("PATCH", object, "application/json-patch+json"),
            Op::MergePatch => ("PATCH", object, "application/merge-patch+json"),
            Op::StrategicPatch => ("PATCH", object, "application/strategic-merge-patch+json"),
        };
        let force =
            if step.op == Op::Apply { format!("&force={}", step.force) } else { String::new() };
        let mut body = step.body.clone();
        // A PUT of a custom object names the revision that it replaces: each server has its own.
        let custom = step.resource.starts_with("widgets") || step.resource == "gateways";
        if step.op == Op::Update && custom {
            let path = self.path(&step.resource, &step.name, "");
            let (_, live) = self.ask("GET", &path, "application/json", None).await?;
            body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        }
        let path = format!("{path}?fieldManager={manager}{force}");
        let (code, mut answer) = self.ask(method, &path, media, Some(&body)).await?;
        if answer["kind"] != "Status" {
            // Ownership is compared with the object.
            answer["entries"] = entries(&answer).into();
        }
        Ok((code, answer))
    }

    /// Waits until the Deployment controller has written its annotation.
    async fn is_annotated(&self, path: &str) -> Result<(), Failed> {
        for _ in 0..1_200 {
            let (_, object) = self.ask("GET", path, "application/json", None).await?;
            if object["metadata"]["annotations"][REVISION].is_string() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        Err(format!("no controller comes to {path}").into())
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        media: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), Failed> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", if media.is_empty() { "application/json" } else { media })
            .header("user-agent", "test-client/1.0")
            .body(Body::from(text.into_bytes()))?;
        let answer = self.client.send(request).await?;
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await?.to_bytes();
        Ok((code, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }
}

/// The CRD of Gateways, as its project publishes it.
fn gateways() -> Result<Value, Failed> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let data = if data.exists() { data } else { PathBuf::from("../../shared/data") };
    let text =
        std::fs::read_to_string(data.join("manifests/gateway-api-v1.5.1-standard-install.yaml"))?;
    for document in text.split("\n---") {
        if document.contains("name: gateways.gateway.networking.k8s.io") {
            let mut definition: Map<String, Value> = serde_yaml::from_str(document)?;
            definition.remove("status");
            return Ok(Value::Object(definition));
        }
    }
    Err("no CRD of Gateways in the manifest".into())
}
