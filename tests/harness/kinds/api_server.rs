//! Cases of the kind `api_server`: request scripts, whose answers were recorded from a real kube-apiserver (1.36.3).
//!
//! `NAME.http` holds requests, each after a line `### METHOD /path` (with `until CODE` at its end it is repeated until it
//! is answered so), headers, an empty line and a body. `NAME.out` holds the answers. To record them again, run with
//! `BLESS=1` inside the test bed (`MESHBED_KUBECONFIG` names the real server); without it the sandbox answers.

use std::path::Path;

use http::Request;
use http_body_util::BodyExt as _;
use kube::client::Body;
use libtest_mimic::{Failed, Trial};
use meshscript::sandbox::{Cluster, Options};
use serde_json::Value;

use crate::harness;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = harness::each("api_server", Some("http"), run);
    trials.push(Trial::test("api_server/kube_clients_see_a_deployment_become_available", || {
        on_cluster(deployment_becomes_available)
    }));
    trials
}

/// Runs a test against a fresh sandbox.
fn on_cluster<F>(test: fn(Cluster) -> F) -> Result<(), Failed>
where
    F: Future<Output = Result<(), Failed>>,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { test(Cluster::start(&Options::default())?).await })
}

async fn deployment_becomes_available(cluster: Cluster) -> Result<(), Failed> {
    use k8s_openapi::api::apps::v1::Deployment;
    use kube::api::{Api, PostParams, WatchEvent, WatchParams};

    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let deployment = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "docker.io/mccutchen/go-httpbin:v2.15.0"}]}
            }
        }
    }))?;
    deployments.create(&PostParams::default(), &deployment).await?;
    let fields = WatchParams::default().fields("metadata.name=web");
    let mut events = std::pin::pin!(deployments.watch(&fields, "0").await?);
    let available = async {
        while let Some(event) = futures::StreamExt::next(&mut events).await {
            if let WatchEvent::Added(found) | WatchEvent::Modified(found) = event?
                && found.status.and_then(|status| status.available_replicas) == Some(2)
            {
                return Ok(());
            }
        }
        Err(Failed::from("the watch ended"))
    };
    let limit = std::time::Duration::from_secs(20);
    let outcome = tokio::time::timeout(limit, available).await;
    let unknown = cluster.not_modelled();
    if !unknown.is_empty() {
        return Err(format!("not modelled: {unknown:?}").into());
    }
    outcome.map_err(|_| "the Deployment did not become available")?
}

struct Step {
    method: String,
    path: String,
    until: Option<u16>,
    headers: Vec<(String, String)>,
    body: String,
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in text.split("### ").skip(1) {
        let (first, rest) = part.split_once('\n').unwrap_or((part, ""));
        let mut words = first.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        let until = (words.next() == Some("until"))
            .then(|| words.next().and_then(|code| code.parse().ok()))
            .flatten();
        let mut headers = Vec::new();
        let mut body = rest;
        while let Some((line, after)) = body.split_once('\n') {
            let header = line.split_once(": ").filter(|(name, _)| {
                !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            });
            match header {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None => break,
            }
            body = after;
        }
        steps.push(Step { method, path, until, headers, body: body.trim().to_owned() });
    }
    steps
}

fn run(path: &Path) -> Result<(), Failed> {
    let steps = parse(&std::fs::read_to_string(path)?);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let actual = runtime.block_on(async {
        match std::env::var("MESHBED_KUBECONFIG") {
            Ok(file) => {
                let config = kube::config::Kubeconfig::read_from(file)?;
                let config =
                    kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
                replay(kube::Client::try_from(config)?, &steps).await
            }
            Err(_) => {
                let cluster = Cluster::start(&Options::default())?;
                replay(cluster.client(), &steps).await
            }
        }
    })?;
    harness::expect(&path.with_extension("out"), &actual)
}

async fn replay(client: kube::Client, steps: &[Step]) -> Result<String, Failed> {
    let mut out = String::new();
    for step in steps {
        let mut answer = send(&client, step).await?;
        for _ in 0..100 {
            if step.until.is_none_or(|code| code == answer.0) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            answer = send(&client, step).await?;
        }
        let (code, warnings, text) = answer;
        out.push_str(&format!("### {} {}\n{code}\n", step.method, step.path));
        for warning in warnings {
            out.push_str(&format!("warning: {warning}\n"));
        }
        match serde_json::from_str::<Value>(&text) {
            Ok(mut value) => {
                normalise(&mut value, "");
                out.push_str(&serde_yaml::to_string(&value)?);
            }
            Err(_) => out.push_str(text.trim_end()),
        }
        out.push('\n');
    }
    Ok(out)
}

async fn send(client: &kube::Client, step: &Step) -> Result<(u16, Vec<String>, String), Failed> {
    let mut request = Request::builder().method(step.method.as_str()).uri(&step.path);
    let named = |name: &str| step.headers.iter().any(|(found, _)| found == name);
    if !step.body.is_empty() && !named("content-type") {
        request = request.header("content-type", "application/json");
    }
    if !named("user-agent") {
        request = request.header("user-agent", "case/1");
    }
    for (name, value) in &step.headers {
        request = request.header(name, value);
    }
    let answer = client.send(request.body(Body::from(step.body.clone().into_bytes()))?).await?;
    let code = answer.status().as_u16();
    let warnings = answer.headers().get_all("warning").iter();
    let warnings = warnings.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((code, warnings, String::from_utf8_lossy(&body).into_owned()))
}

/// What differs from run to run becomes its name.
fn normalise(value: &mut Value, field: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(causes)) = fields.get_mut("causes") {
                // The order of causes is not stable in the API server either.
                causes.sort_by_key(ToString::to_string);
                if causes.len() > 1 {
                    fields.remove("message");
                }
            }
            if fields.get("kind").and_then(Value::as_str) == Some("Status") {
                fields.remove("metadata");
            }
            for (name, child) in fields.iter_mut() {
                normalise(child, name);
            }
            if let Some(Value::Object(details)) = fields.get("details")
                && let Some(Value::Array(causes)) = details.get("causes")
                && causes.len() > 1
            {
                fields.remove("message");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| normalise(item, field)),
        Value::String(text) => {
            if field == "message" {
                *text = without_uids(text);
            }
            let stands_for = match field {
                "uid" | "resourceVersion" | "creationTimestamp" | "time" | "lastTransitionTime"
                | "deletionTimestamp" | "continue" => field,
                _ => return,
            };
            if !text.is_empty() {
                *text = stands_for.to_uppercase();
            }
        }
        _ => {}
    }
}

/// A message with its uids named.
fn without_uids(text: &str) -> String {
    let uid = regex::Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").expect("a pattern");
    uid.replace_all(text, "UID").into_owned()
}
