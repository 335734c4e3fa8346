//! The cases of `tests/cases/gateway_status` on the real istiod: what it answers is what is recorded beside each case.
//!
//! Istio is installed by helm, with an image for its proxies that the bed only simulates: what a Gateway's status says does not
//! hang on Envoy, and a hundred of them would take minutes. `BLESS=1` records what istiod says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, WatchEvent, WatchParams};
use tokio::sync::Notify;

use super::Scenario;
use super::bed::{Bed, ensure, eventually};
use super::gateway_play::{Ground, KINDS, play};

pub(crate) const SCENARIOS: &[Scenario] =
    &[("gateway_statuses_are_those_that_the_sandbox_is_held_to", same_statuses)];

/// Cases at the same time.
const N_PLAYERS: usize = 12;
/// The first line of what is recorded.
const HEAD: &str = "# istiod 1.31-dev (eed52ebb66ad), charts 1.30.3, Kubernetes 1.36.3: BLESS=1 cargo test --test cluster -- gateway_statuses";

fn same_statuses(bed: &Bed) -> Result<(), String> {
    install(bed)?;
    let outcome = cases(bed);
    uninstall(bed)?;
    outcome
}

fn install(bed: &Bed) -> Result<(), String> {
    let data = Bed::data()?;
    let manifest = data.join("manifests/gateway-api-v1.5.1-standard-install.yaml");
    let manifest = manifest.display().to_string();
    bed.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &manifest])?.ends(0)?;
    for (release, chart, values) in [
        ("istio-base", "base", &[][..]),
        (
            "istiod",
            "istiod",
            &["--set", "profile=ambient", "--set", "global.proxy.image=stand-in"][..],
        ),
    ] {
        let archive = data.join(format!("charts/{chart}-1.30.3.tgz")).display().to_string();
        let mut arguments = vec!["upgrade", "--install", release, &archive, "-n", "istio-system"];
        arguments.extend(["--create-namespace", "--wait"]);
        arguments.extend(values);
        bed.helm(&arguments)?.ends(0)?;
    }
    bed.kubectl(&["create", "namespace", BARRIER])?;
    eventually(30, || {
        let webhook = ["get", "validatingwebhookconfiguration", "istiod-default-validator"];
        let policy = [&webhook[..], &["-o", "jsonpath={.webhooks[*].failurePolicy}"]].concat();
        let got = bed.kubectl(&policy)?.ends(0)?.stdout;
        ensure(got == "Fail", || format!("istiod's webhook is not at work: {got}"))
    })
}

fn uninstall(bed: &Bed) -> Result<(), String> {
    for release in ["istiod", "istio-base"] {
        bed.helm(&["uninstall", release, "-n", "istio-system", "--wait"])?.ends(0)?;
    }
    bed.kubectl(&["delete", "namespace", "istio-system", BARRIER])?.ends(0)?;
    let classes = ["istio", "istio-remote", "istio-waypoint"];
    bed.kubectl(&[&["delete", "gatewayclass"][..], &classes].concat())?.ends(0)?;
    let crds = bed.kubectl(&["get", "crds", "-o", "name"])?.ends(0)?.stdout;
    let ours =
        |name: &&str| name.ends_with(".istio.io") || name.ends_with(".gateway.networking.k8s.io");
    let mut arguments = vec!["delete"];
    arguments.extend(crds.lines().filter(ours));
    arguments.push("validatingadmissionpolicy/safe-upgrades.gateway.networking.k8s.io");
    arguments.push("validatingadmissionpolicybinding/safe-upgrades.gateway.networking.k8s.io");
    bed.kubectl(&arguments)?.ends(0).map(drop)
}

fn cases(bed: &Bed) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/gateway_status");
    let only = std::env::var("CASES").unwrap_or_default();
    let mut inputs: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == "yaml"))
        .filter(|path| path.to_string_lossy().contains(&only))
        .collect();
    inputs.sort();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let bless = std::env::var_os("BLESS").is_some();
    let failures = runtime.block_on(async {
        let ground = Arc::new(Real::open(bed, bless).await?);
        let next = Arc::new(AtomicUsize::new(0));
        let players = (0..N_PLAYERS).map(|_| {
            let (ground, next, inputs) = (Arc::clone(&ground), Arc::clone(&next), inputs.clone());
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while let Some(path) = inputs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let number = inputs.iter().position(|found| found == path).unwrap_or_default();
                    if let Err(why) = one(&ground, &format!("c{number}"), path, bless).await {
                        let name = path.file_stem().unwrap_or_default().to_string_lossy();
                        failures.push(format!("{name}:\n{why}"));
                    }
                }
                failures
            })
        });
        let mut failures = Vec::new();
        for player in players.collect::<Vec<_>>() {
            failures.extend(player.await.map_err(|error| error.to_string())?);
        }
        Ok::<_, String>(failures)
    })?;
    ensure(!inputs.is_empty(), || format!("no cases in {}", folder.display()))?;
    ensure(failures.is_empty(), || failures.join("\n"))
}

async fn one(ground: &Real, id: &str, path: &Path, bless: bool) -> Result<(), String> {
    let source = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let recorded = fs::read_to_string(path.with_extension("out")).unwrap_or_default();
    let expected = recorded.split_once('\n').map_or("", |(_, rest)| rest);
    let actual = play(ground, id, &source, if bless { "" } else { expected }).await?;
    if bless {
        let text = format!("{HEAD}\n{actual}");
        return fs::write(path.with_extension("out"), text).map_err(|error| error.to_string());
    }
    ensure(actual == expected, || {
        similar::TextDiff::from_lines(expected, &actual)
            .unified_diff()
            .header("recorded", "istiod now")
            .to_string()
    })
}

/// The namespace of markers.
const BARRIER: &str = "barrier";

fn resource(group: &str, version: &str, plural: &str) -> ApiResource {
    let api_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: String::new(),
        plural: plural.to_owned(),
    }
}

/// The bed's cluster, and when something last changed in each namespace.
struct Real {
    client: kube::Client,
    changes: Arc<Changes>,
    bless: bool,
}

#[derive(Default)]
struct Changes {
    last: Mutex<BTreeMap<String, Instant>>,
    news: Notify,
}

impl Real {
    async fn open(bed: &Bed, bless: bool) -> Result<Self, String> {
        let kubeconfig = kube::config::Kubeconfig::read_from(bed.kubeconfig())
            .map_err(|error| error.to_string())?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default())
            .await
            .map_err(|error| error.to_string())?;
        let client = kube::Client::try_from(config).map_err(|error| error.to_string())?;
        let changes = Arc::<Changes>::default();
        for kind in KINDS {
            let (group, version) = match kind.api.split('/').collect::<Vec<_>>()[..] {
                [_, group, version] => (group, version),
                [_, version] => ("", version),
                _ => return Err(format!("no group and version: {}", kind.api)),
            };
            let resource = resource(group, version, kind.plural);
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            tokio::spawn(follow(api, Arc::clone(&changes)));
        }
        Ok(Self { client, changes, bless })
    }
}

/// Notes when something changes, for as long as the suite runs.
async fn follow(api: Api<DynamicObject>, changes: Arc<Changes>) {
    loop {
        let Ok(events) = api.watch(&WatchParams::default(), "0").await else { return };
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            if let WatchEvent::Added(found)
            | WatchEvent::Modified(found)
            | WatchEvent::Deleted(found) = event
            {
                let namespace = found.metadata.namespace.unwrap_or_default();
                let mut last = changes.last.lock().unwrap_or_else(PoisonError::into_inner);
                last.insert(namespace, Instant::now());
                changes.news.notify_waiters();
            }
        }
    }
}

impl Real {
    fn last_change(&self, namespaces: &BTreeSet<String>) -> Option<Instant> {
        let last = self.changes.last.lock().unwrap_or_else(PoisonError::into_inner);
        namespaces.iter().filter_map(|name| last.get(name)).max().copied()
    }
}

impl Ground for Real {
    fn client(&self) -> &kube::Client {
        &self.client
    }

    async fn rest(&self, namespaces: &BTreeSet<String>) {
        self.calm(namespaces).await;
        if !self.bless {
            return;
        }
        // What is recorded must be the end: istiod's queues are in order, so what was asked before the marker is done when the
        // marker is.
        for _ in 0..5 {
            let before = self.last_change(namespaces);
            if let Err(why) = self.barrier().await {
                println!("the marker: {why}");
            }
            self.calm(namespaces).await;
            if self.last_change(namespaces) == before {
                return;
            }
        }
    }

    async fn another_change(&self, namespaces: &BTreeSet<String>) -> bool {
        for _ in 0..4 {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(8) {
                let news = self.changes.news.notified();
                if self.last_change(namespaces).is_some_and(|last| last >= began) {
                    return true;
                }
                let _ = tokio::time::timeout(Duration::from_millis(500), news).await;
            }
            // istiod looks at a Gateway's Services again only when it pushes, for whatever reason.
            if let Err(why) = self.barrier().await {
                println!("the marker: {why}");
            }
            if self.last_change(namespaces).is_some_and(|last| last >= began) {
                return true;
            }
        }
        false
    }
}

impl Real {
    /// Returns when nothing has changed for a while.
    async fn calm(&self, namespaces: &BTreeSet<String>) {
        let began = Instant::now();
        // A namespace in which something never ends to change is looked at all the same.
        while began.elapsed() < Duration::from_secs(40) {
            let since = self.last_change(namespaces).unwrap_or(began).max(began);
            let quiet = Duration::from_millis(if self.bless { 2_000 } else { 700 });
            let left = quiet.saturating_sub(since.elapsed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Makes a Gateway and a Service that wants a waypoint, and returns when istiod is done with both and the Gateway's pods run.
    async fn barrier(&self) -> Result<(), String> {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("marker-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let fail = |error: kube::Error| error.to_string();
        let gateways: Api<DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            BARRIER,
            &resource("gateway.networking.k8s.io", "v1", "gateways"),
        );
        let services: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), BARRIER, &resource("", "v1", "services"));
        let parameters = kube::api::PostParams::default();
        let service = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "labels": { "istio.io/use-waypoint": "none-such" } },
            "spec": { "ports": [{ "port": 80 }] },
        });
        let gateway = serde_json::json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": { "name": name },
            "spec": {
                "gatewayClassName": "istio",
                "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
            },
        });
        let object = |value| serde_json::from_value(value).map_err(|error| error.to_string());
        services.create(&parameters, &object(service)?).await.map_err(fail)?;
        gateways.create(&parameters, &object(gateway)?).await.map_err(fail)?;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(90) {
            let news = self.changes.news.notified();
            let gateway = gateways.get(&name).await.map_err(fail)?.data.to_string();
            let service = services.get(&name).await.map_err(fail)?.data.to_string();
            if gateway.contains("address pending") && service.contains("WaypointIsNotReady") {
                let gone = kube::api::DeleteParams::default();
                services.delete(&name, &gone).await.map_err(fail)?;
                return gateways.delete(&name, &gone).await.map(drop).map_err(fail);
            }
            let _ = tokio::time::timeout(Duration::from_millis(500), news).await;
        }
        Err(format!("{name} is not done"))
    }
}
