//! A served sandbox under mixed load for a while: clients that are cut off, watches that are resumed, kubectl and helm.
//!
//! `cargo bench --bench soak` runs one minute; `SOAK_SECONDS=1800` gives it more, `SOAK_PAUSE_MS` is the longest pause
//! between two requests of a client (20). It fails when a watch loses or repeats an event, when the process ends or says
//! that it panicked, or when it answers no more; it prints what was done and the memory that the process held on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::api::{WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt as _};
use serde_json::json;

const CLIENTS: u64 = 50;
const NAMESPACES: u64 = 5;
const WATCHERS: u64 = 10;

type Objects = BTreeMap<(String, String), String>;

/// What was done, by all together.
#[derive(Default)]
struct Done {
    requests: AtomicU64,
    cut: AtomicU64,
    events: AtomicU64,
    resumed: AtomicU64,
    commands: AtomicU64,
}

/// Small random numbers; the same seed gives the same load.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

struct Served {
    process: Child,
    kubeconfig: PathBuf,
    errors: PathBuf,
    _folder: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        let errors = folder.path().join("stderr");
        let process = Command::new(env!("CARGO_BIN_EXE_meshscript"))
            .args(["sandbox", "--speed", "100", "--kubeconfig"])
            .arg(&kubeconfig)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&errors).expect("a file"))
            .spawn()
            .expect("the sandbox starts");
        let began = Instant::now();
        while !kubeconfig.exists() {
            assert!(began.elapsed() < Duration::from_secs(20), "the sandbox does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { process, kubeconfig, errors, _folder: folder }
    }

    /// Mebibytes that the process holds.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let line = status.unwrap_or_default();
        let kilobytes = line.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = kilobytes.and_then(|text| text.trim().split(' ').next()?.parse().ok());
        kilobytes.unwrap_or(0.0) / 1024.0
    }

    fn check(&mut self) {
        assert!(self.process.try_wait().expect("a process").is_none(), "the sandbox has ended");
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        assert!(!errors.contains("panicked"), "{errors}");
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let config = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(config, &options).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

fn main() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let span = Duration::from_secs(seconds.unwrap_or(60));
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut served = Served::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let done = Arc::new(Done::default());
    runtime.block_on(soak(&mut served, span, &done));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} s: {} requests, {} of them cut off by their clients, {} watch events over {} watches, {} commands of kubectl and helm",
        span.as_secs(),
        count(&done.requests),
        count(&done.cut),
        count(&done.events),
        count(&done.resumed),
        count(&done.commands),
    );
}

async fn soak(served: &mut Served, span: Duration, done: &Arc<Done>) {
    let main = client(&served.kubeconfig).await;
    for n in 0..NAMESPACES {
        let namespace = json!({"metadata": {"name": format!("soak-{n}")}});
        let namespace: Namespace = serde_json::from_value(namespace).expect("a namespace");
        Api::all(main.clone()).create(&PostParams::default(), &namespace).await.expect("made");
    }
    let ends = Instant::now() + span;
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..CLIENTS {
        clients.spawn(load(client(&served.kubeconfig).await, n, ends, Arc::clone(done)));
    }
    let mut watchers = tokio::task::JoinSet::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for n in 0..WATCHERS {
        let client = client(&served.kubeconfig).await;
        watchers.spawn(watch(client, n, stopped.clone(), Arc::clone(done)));
    }
    let commands = {
        let (kubeconfig, done) = (served.kubeconfig.clone(), Arc::clone(done));
        tokio::task::spawn_blocking(move || commands(&kubeconfig, ends, &done))
    };
    let mut held = Vec::new();
    while Instant::now() < ends {
        tokio::time::sleep(span / 10).await;
        held.push(format!("{:.0}", served.memory()));
        served.check();
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client ends well");
    }
    commands.await.expect("the commands end well");
    let last: Api<ConfigMap> = Api::all(main.clone());
    let listed = last.list(&ListParams::default()).await.expect("the sandbox answers");
    let now: Objects = listed.items.iter().map(|object| (key(object), version(object))).collect();
    // What a watch shows of the last change is on its way for a moment.
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.send(true).expect("the watchers listen");
    while let Some(seen) = watchers.join_next().await {
        assert!(seen.expect("a watcher ends well") == now, "a watch has lost or made up an event");
    }
    for object in &listed.items {
        let namespace = object.namespace().unwrap_or_default();
        if namespace.starts_with("soak-") {
            let api: Api<ConfigMap> = Api::namespaced(main.clone(), &namespace);
            api.delete(&object.name_any(), &DeleteParams::default()).await.expect("it goes");
        }
    }
    served.check();
    println!(
        "{} objects in the end; memory on the way: {} MiB, and {:.0} after all are deleted",
        now.len(),
        held.join(", "),
        served.memory()
    );
}

fn key(object: &ConfigMap) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn version(object: &ConfigMap) -> String {
    object.resource_version().unwrap_or_default()
}

/// One client: creates, changes, lists and deletes ConfigMaps, and now and then goes away in the middle.
async fn load(client: Client, n: u64, ends: Instant, done: Arc<Done>) {
    let api: Api<ConfigMap> = Api::namespaced(client, &format!("soak-{}", n % NAMESPACES));
    let mut random = Random(n * 7_919 + 1);
    let given = std::env::var("SOAK_PAUSE_MS").ok().and_then(|text| text.parse().ok());
    let pause = given.unwrap_or(20).max(1);
    while Instant::now() < ends {
        let name = format!("map-{n}-{}", random.below(20));
        let text = "x".repeat(usize::try_from(random.below(2_000)).unwrap_or(0));
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}});
        let choice = random.below(6);
        let request = async {
            match choice {
                0 => drop(
                    api.create(
                        &PostParams::default(),
                        &serde_json::from_value(object).expect("a map"),
                    )
                    .await,
                ),
                1 => drop(
                    api.patch(
                        &name,
                        &PatchParams::default(),
                        &Patch::Merge(json!({"data": {"n": text}})),
                    )
                    .await,
                ),
                2 => drop(
                    api.patch(&name, &PatchParams::apply("soak").force(), &Patch::Apply(&object))
                        .await,
                ),
                3 => drop(api.delete(&name, &DeleteParams::default()).await),
                4 => drop(api.list(&ListParams::default().limit(50)).await),
                _ => drop(api.get_opt(&name).await),
            }
        };
        done.requests.fetch_add(1, Ordering::Relaxed);
        if random.below(10) == 0 {
            // A client that loses its patience leaves the connection as it is.
            let patience = Duration::from_micros(random.below(3_000));
            if tokio::time::timeout(patience, request).await.is_err() {
                done.cut.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            request.await;
        }
        tokio::time::sleep(Duration::from_millis(random.below(pause))).await;
    }
}

/// One watcher: follows all ConfigMaps from a list on, breaks off and resumes, and returns what it knows in the end.
async fn watch(
    client: Client,
    n: u64,
    mut stopped: tokio::sync::watch::Receiver<bool>,
    done: Arc<Done>,
) -> Objects {
    let api: Api<ConfigMap> = Api::all(client);
    let mut random = Random(n * 104_729 + 3);
    let listed = api.list(&ListParams::default()).await.expect("a list");
    let mut known: Objects =
        listed.items.iter().map(|object| (key(object), version(object))).collect();
    let mut from = listed.metadata.resource_version.unwrap_or_default();
    loop {
        done.resumed.fetch_add(1, Ordering::Relaxed);
        let params = WatchParams::default().timeout(290);
        let events = api.watch(&params, &from).await.expect("a watch that can be resumed");
        let mut events = std::pin::pin!(events);
        // One watcher is never cut: what it sees is the measure of the others.
        let span = if n == 0 { 3_600_000 } else { random.below(3_000) };
        let end = tokio::time::sleep(Duration::from_millis(span));
        let mut end = std::pin::pin!(end);
        loop {
            let event = tokio::select! {
                biased;
                event = events.try_next() => event.unwrap_or(None),
                () = &mut end => None,
                _ = stopped.changed() => return known,
            };
            let Some(event) = event else { break };
            done.events.fetch_add(1, Ordering::Relaxed);
            let object = match &event {
                WatchEvent::Added(object)
                | WatchEvent::Modified(object)
                | WatchEvent::Deleted(object) => object,
                WatchEvent::Bookmark(mark) => {
                    from.clone_from(&mark.metadata.resource_version);
                    continue;
                }
                WatchEvent::Error(status) => panic!("the watch fails: {status:?}"),
            };
            let number = |text: &str| text.parse::<u64>().expect("a number");
            let (now, before) = (version(object), from.clone());
            assert!(number(&now) > number(&before), "{now} comes after {before}: told twice");
            from = now.clone();
            let was = match event {
                WatchEvent::Deleted(_) => known.remove(&key(object)),
                _ => known.insert(key(object), now),
            };
            let added = matches!(event, WatchEvent::Added(_));
            assert!(added == was.is_none(), "an event of {:?} is missing", key(object));
        }
    }
}

/// kubectl and helm, one command after the other, where they are in the PATH.
fn commands(kubeconfig: &Path, ends: Instant, done: &Done) {
    let folder = tempfile::tempdir().expect("a folder");
    let chart = folder.path().join("chart");
    std::fs::create_dir_all(chart.join("templates")).expect("a folder");
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: soak\nversion: 1.0.0\n")
        .expect("a file");
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: soak}\nspec:\n  replicas: {{ .Values.replicas }}\n  selector: {matchLabels: {app: soak}}\n  template:\n    metadata: {labels: {app: soak}}\n    spec: {containers: [{name: web, image: \"registry.example.com/web:v1\"}]}\n";
    std::fs::write(chart.join("templates/web.yaml"), deployment).expect("a file");
    let chart = chart.to_string_lossy().into_owned();
    let lines: Vec<Vec<&str>> = vec![
        vec![
            "helm",
            "upgrade",
            "--install",
            "soak",
            &chart,
            "--set",
            "replicas=2",
            "--wait",
            "--timeout",
            "60s",
        ],
        vec!["kubectl", "get", "pods,deployments,configmaps", "-A"],
        vec!["kubectl", "rollout", "restart", "deployment/soak"],
        vec!["kubectl", "rollout", "status", "deployment/soak", "--timeout=60s"],
        vec!["kubectl", "describe", "deployment", "soak"],
        vec![
            "helm",
            "upgrade",
            "soak",
            &chart,
            "--set",
            "replicas=1",
            "--wait",
            "--timeout",
            "60s",
        ],
        vec!["helm", "history", "soak"],
        vec!["helm", "uninstall", "soak", "--wait"],
    ];
    while Instant::now() < ends {
        for line in &lines {
            let output = Command::new(line[0])
                .args(&line[1..])
                .env("KUBECONFIG", kubeconfig)
                .env("HELM_CACHE_HOME", folder.path())
                .stdin(Stdio::null())
                .output();
            let Ok(output) = output else { return };
            done.commands.fetch_add(1, Ordering::Relaxed);
            assert!(
                output.status.success(),
                "{line:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}
