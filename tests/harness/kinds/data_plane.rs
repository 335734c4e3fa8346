//! Cases of the kind `data_plane`: a play on a rehearsal cluster (`NAME.yaml`) and what it prints (`NAME.out`); and the
//! routing cases, held against what the real Envoy was recorded to answer.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use libtest_mimic::{Failed, Trial};
use meshscript::base::clock::Clock as _;
use meshscript::base::net::Stream;
use meshscript::sandbox::api::{Api, Resource};
use meshscript::sandbox::{Cluster, Options};
use serde_json::Value;

use crate::harness::routing::{self, Step};
use crate::harness::{difference, each, expect, world};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = each("data_plane", Some("yaml"), run);
    trials.extend(each("data_plane/routing", Some("yaml"), answers));
    trials
}

fn run(path: &Path) -> Result<(), Failed> {
    expect(&path.with_extension("out"), &world::play(path)?)
}

/// A rehearsal cluster with the objects of all routing cases.
struct Rehearsal {
    runtime: tokio::runtime::Runtime,
    cluster: Cluster,
}

/// One cluster for all routing cases: each has host names of its own.
fn rehearsal() -> Result<&'static Rehearsal, Failed> {
    static REHEARSAL: OnceLock<Result<Rehearsal, String>> = OnceLock::new();
    REHEARSAL
        .get_or_init(|| Rehearsal::start().map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|why| why.clone().into())
}

impl Rehearsal {
    fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let cluster = runtime.block_on(async {
            let cluster = Cluster::start(&Options::default())?;
            for object in objects("tests/cases/fixtures/mesh.yaml")? {
                apply(&cluster, object)?;
            }
            settle(&cluster, 60).await;
            let mut steps = routing::fixture()?;
            for case in routing::cases()? {
                steps.extend(case.steps);
            }
            for step in steps {
                match step {
                    Step::Apply(object) => apply(&cluster, *object)?,
                    Step::Wait(span) => cluster.clock().sleep(span).await,
                }
            }
            settle(&cluster, 60).await;
            Ok::<_, Box<dyn std::error::Error>>(cluster)
        })?;
        Ok(Self { runtime, cluster })
    }
}

/// The objects of a fixture and of those that it names.
fn objects(file: &str) -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))?;
    let mut found = Vec::new();
    for document in meshscript::base::yaml::parse_documents(&source)? {
        match document.value["fixture"].as_str() {
            Some(other) => found.extend(objects(other)?),
            None if document.value["apiVersion"] == "case" => {}
            None => found.push(document.value),
        }
    }
    Ok(found)
}

fn apply(cluster: &Cluster, object: Value) -> Result<(), String> {
    let what = format!("{} {}", object["kind"], object["metadata"]["name"]);
    let applied = cluster.api().apply("case", object);
    applied.map(drop).map_err(|status| format!("{what}: {}", status.message))
}

async fn settle(cluster: &Cluster, seconds: u64) {
    cluster.clock().sleep(std::time::Duration::from_secs(seconds)).await;
}

fn get(api: &Arc<dyn Api>, group: &str, plural: &str, name: &str) -> Option<Arc<Value>> {
    api.get(&Resource::new(group, "v1", plural), "routing", name)
}

impl routing::World for Rehearsal {
    fn dial<'a>(
        &'a self,
        gateway: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let api = self.cluster.api();
            let found = get(&api, "gateway.networking.k8s.io", "gateways", gateway);
            let address = found
                .as_ref()
                .and_then(|found| found["status"]["addresses"][0]["value"].as_str())
                .ok_or_else(|| io::Error::other(format!("{gateway} has no address")))?;
            Ok(self.cluster.dialer().dial(address, port).await?.stream)
        })
    }

    fn log<'a>(&'a self, backend: &'a str) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let api = self.cluster.api();
            let pods = api.list(&Resource::new("", "v1", "pods"), "routing");
            let pod = pods.iter().find(|pod| pod["metadata"]["labels"]["app"] == backend);
            let uid = pod.and_then(|pod| pod["metadata"]["uid"].as_str()).unwrap_or_default();
            let lines = self.cluster.world().log_of(uid, "echo", false).unwrap_or_default();
            lines.into_iter().map(|line| line.text + "\n").collect()
        })
    }
}

fn answers(path: &Path) -> Result<(), Failed> {
    let case = routing::case(path)?;
    let expected = routing::recorded(&case.recording)?;
    let rehearsal = rehearsal()?;
    let clock = rehearsal.cluster.clock();
    // A client waits for its answer: delays and timeouts may pass.
    let waiting = clock.waiting();
    let actual = rehearsal.runtime.block_on(routing::play(rehearsal, &case.requests));
    drop(waiting);
    if actual == expected {
        return Ok(());
    }
    let difference = difference(&expected, &actual);
    Err(format!("{}: Envoy's answers and the sandbox's:\n{difference}", case.name).into())
}
