//! Cases of the kind `api_server`: request scripts, whose answers were recorded from a real kube-apiserver (1.36.3).
//!
//! `NAME.http` holds requests, each after a line `### METHOD /path` (with `until CODE` at its end it is repeated until it
//! is answered so), headers, an empty line and a body. `$NS` is a namespace of the case's own; a line `keep: NAME
//! /json/pointer` among the headers keeps a part of the answer as `$NAME`. `### WATCH /path as NAME` opens a watch,
//! `### EVENTS NAME 3` shows what came on it once three events are there (`end`: once the server ended it). `$BIG1000` is
//! a config map with a thousand characters in it, `$LONG1000` a text of so many.
//!
//! `NAME.out` holds the answers. The sandbox's are compared with them; `differences.yaml` lists where they may differ and
//! why. On the test bed (`MESHBED_KUBECONFIG` names the real server) the same requests go to the real server again, whose
//! answers must be the recorded ones, in one of a few turns and but for `moments.yaml`: some hang on which of its
//! controllers came first. With `BLESS=1` they are recorded anew.

mod compare;
mod normalise;
mod openapi;
mod replay;
mod script;

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use meshscript::sandbox::{Cluster, Options};

use self::script::Step;
use crate::harness;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = harness::each("api_server", Some("http"), run);
    trials.push(Trial::test("api_server/kube_clients_see_a_deployment_become_available", || {
        on_cluster(deployment_becomes_available)
    }));
    trials.push(Trial::test("api_server/openapi_v2_is_whole", || on_cluster(openapi::v2)));
    trials
}

/// Runs a test against a fresh sandbox.
fn on_cluster<F>(test: fn(Cluster) -> F) -> Result<(), Failed>
where
    F: Future<Output = Result<(), Failed>>,
{
    runtime()?.block_on(async { test(Cluster::start(&Options::default())?).await })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
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

fn run(path: &Path) -> Result<(), Failed> {
    let steps = script::parse(&std::fs::read_to_string(path)?);
    let case = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let recording = path.with_extension("out");
    if let Some(file) = std::env::var_os("MESHBED_KUBECONFIG") {
        let play = |turn| {
            runtime()?.block_on(async {
                let config = kube::config::Kubeconfig::read_from(&file)?;
                let options = Default::default();
                let config = kube::Config::from_custom_kubeconfig(config, &options).await?;
                replay::replay(kube::Client::try_from(config)?, &case, &steps, turn).await
            })
        };
        if std::env::var_os("BLESS").is_some() || !recording.exists() {
            harness::expect(&recording, &play(0)?)?;
        } else {
            compare::witness(&case, &std::fs::read_to_string(&recording)?, play)?;
        }
    }
    let ours = on_sandbox(&case, &steps)?;
    let recorded = std::fs::read_to_string(&recording)
        .map_err(|error| format!("no recording {}: {error}", recording.display()))?;
    compare::compare(&case, &recorded, &ours)
}

fn on_sandbox(case: &str, steps: &[Step]) -> Result<String, Failed> {
    runtime()?.block_on(async {
        let cluster = Cluster::start(&Options::default())?;
        replay::replay(cluster.client(), case, steps, 0).await
    })
}
