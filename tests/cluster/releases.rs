//! Releases as Helm leaves them: each scenario of `releases.yaml` is run by helm, by meshscript, and by both in turns, each in
//! a namespace of its own. After every step the stored revisions and the objects of the three must be the same.
//!
//! What is compared: whether the step succeeded; of every revision its labels and the whole stored JSON; all ConfigMaps,
//! Deployments, Jobs and pods. Times are replaced, and the reason at the end of a failure's description, which each
//! program words in its own way.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Scenario;
use super::bed::{Bed, Ran, ensure};

pub(crate) const SCENARIOS: &[Scenario] = &[("releases_end_as_helm_ends_them", releases)];

const RELEASE: &str = "r";
/// Scenarios under way at once; most of their time is waiting.
const AT_ONCE: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    steps: Vec<Step>,
    /// Paths that may differ, with the reason.
    #[serde(default)]
    differs: BTreeMap<String, String>,
}

/// What is done: exactly one of the first six.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Step {
    install: Option<Map<String, Value>>,
    upgrade: Option<Map<String, Value>>,
    rollback: Option<i64>,
    uninstall: Option<bool>,
    test: Option<bool>,
    kubectl: Option<Vec<String>>,
    /// As helm's, without the dashes: `wait`, `timeout=5s`.
    flags: Vec<String>,
    /// Whether the step must fail; the two must agree in any case.
    fails: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Helm,
    Meshscript,
    /// helm does the even steps.
    Turns,
    /// helm does the odd steps.
    OtherTurns,
}

const SIDES: &[(Side, &str)] = &[
    (Side::Helm, "helm"),
    (Side::Meshscript, "meshscript"),
    (Side::Turns, "turns"),
    (Side::OtherTurns, "other-turns"),
];

fn releases(bed: &Bed) -> Result<(), String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster");
    let text =
        std::fs::read_to_string(folder.join("releases.yaml")).map_err(|error| error.to_string())?;
    let cases: Vec<Case> = serde_yaml::from_str(&text).map_err(|error| error.to_string())?;
    let only = std::env::var("RELEASES").unwrap_or_default();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let n_steps = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { return };
                    if !case.name.contains(&only) {
                        continue;
                    }
                    n_steps.fetch_add(case.steps.len(), Ordering::Relaxed);
                    if let Err(why) = run(bed, at, case)
                        && let Ok(mut failures) = failures.lock()
                    {
                        failures.push(format!("== {}\n{why}", case.name));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().map_err(|error| error.to_string())?;
    println!(
        "{} scenarios of {} steps, each by helm, by meshscript and by both in turns",
        cases.len(),
        n_steps.into_inner()
    );
    ensure(failures.is_empty(), || {
        format!("{} scenarios differ\n{}", failures.len(), failures.join("\n"))
    })
}

fn run(bed: &Bed, at: usize, case: &Case) -> Result<(), String> {
    let namespaces: Vec<String> =
        SIDES.iter().map(|(_, name)| format!("release-{at}-{name}")).collect();
    for namespace in &namespaces {
        bed.kubectl(&["create", "namespace", namespace])?.ends(0)?;
    }
    let done = compare(bed, case, &namespaces);
    for namespace in &namespaces {
        bed.kubectl(&["delete", "namespace", namespace, "--wait=false"])?.ends(0)?;
    }
    done
}

fn compare(bed: &Bed, case: &Case, namespaces: &[String]) -> Result<(), String> {
    let mut used = Vec::new();
    for (n, step) in case.steps.iter().enumerate() {
        let mut worlds = Vec::new();
        let mut said = String::new();
        for ((side, name), namespace) in SIDES.iter().zip(namespaces) {
            let by_helm = match side {
                Side::Helm => true,
                Side::Meshscript => false,
                Side::Turns => n % 2 == 0,
                Side::OtherTurns => n % 2 == 1,
            };
            let ran = step.run(bed, namespace, by_helm)?;
            said.push_str(&format!("--- {name} ends {}\n{}{}", ran.code, ran.stdout, ran.stderr));
            worlds.push(world(bed, namespace, ran.code == 0)?);
        }
        let ok = worlds.first().and_then(|world| world.get("ok")) == Some(&"true".to_owned());
        ensure(ok != step.fails, || format!("step {}: helm itself: {ok}\n{said}", n + 1))?;
        let mut found = Vec::new();
        let Some((helm, others)) = worlds.split_first() else { continue };
        for (other, (_, name)) in others.iter().zip(&SIDES[1..]) {
            for path in helm.keys().chain(other.keys().filter(|path| !helm.contains_key(*path))) {
                let (there, here) = (helm.get(path), other.get(path));
                if there == here {
                    continue;
                }
                if let Some(allowed) = case.differs.keys().find(|part| path.contains(*part)) {
                    used.push(allowed.clone());
                    continue;
                }
                found.push(format!("  {path}: helm {there:?}, {name} {here:?}"));
            }
        }
        ensure(found.is_empty(), || format!("step {}:\n{}\n{said}", n + 1, found.join("\n")))?;
    }
    let unused: Vec<&String> = case.differs.keys().filter(|part| !used.contains(part)).collect();
    ensure(unused.is_empty(), || format!("differences that are none: {unused:?}"))
}

impl Step {
    fn run(&self, bed: &Bed, namespace: &str, by_helm: bool) -> Result<Ran, String> {
        if let Some(arguments) = &self.kubectl {
            let mut all = vec!["-n", namespace];
            all.extend(arguments.iter().map(String::as_str));
            return bed.kubectl(&all)?.ends(0);
        }
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/charts/life");
        if by_helm {
            self.helm(bed, namespace, chart)
        } else {
            self.meshscript(bed, namespace, chart)
        }
    }

    fn helm(&self, bed: &Bed, namespace: &str, chart: &str) -> Result<Ran, String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut values = None;
        if let Some(given) = &self.install {
            arguments.extend(["install", RELEASE, chart].map(str::to_owned));
            values = Some(given);
        } else if let Some(given) = &self.upgrade {
            arguments.extend(["upgrade", RELEASE, chart].map(str::to_owned));
            values = Some(given);
        } else if let Some(revision) = self.rollback {
            arguments.extend(["rollback".to_owned(), RELEASE.to_owned()]);
            if revision > 0 {
                arguments.push(revision.to_string());
            }
        } else if self.uninstall.is_some() {
            arguments.extend(["uninstall", RELEASE].map(str::to_owned));
        } else if self.test.is_some() {
            arguments.extend(["test", RELEASE].map(str::to_owned));
        }
        for (key, value) in values.into_iter().flatten() {
            arguments.extend(["--set-json".to_owned(), format!("{key}={value}")]);
        }
        arguments.extend(self.flags.iter().map(|flag| format!("--{flag}")));
        arguments.extend(["-n".to_owned(), namespace.to_owned()]);
        bed.helm(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn meshscript(&self, bed: &Bed, namespace: &str, chart: &str) -> Result<Ran, String> {
        let mut options = Map::new();
        options.insert("namespace".to_owned(), json!(namespace));
        for flag in &self.flags {
            let (name, value) = match flag.split_once('=') {
                Some(("labels", labels)) => {
                    let labels: Map<String, Value> = labels
                        .split(',')
                        .filter_map(|pair| pair.split_once('='))
                        .map(|(key, value)| {
                            (key.to_owned(), json!(if value == "null" { "" } else { value }))
                        })
                        .collect();
                    ("labels", Value::Object(labels))
                }
                Some(("history-max", n)) => {
                    ("history_max", json!(n.parse::<i64>().map_err(|error| error.to_string())?))
                }
                // helm writes `name=NAME` and `!name=NAME`.
                Some(("filter", words)) => ("filter", json!([words.replacen("name=", "", 1)])),
                // Ours is always applied by the server.
                Some(("server-side", _)) => continue,
                Some((name, value)) => (name, json!(value)),
                None if flag == "install" => continue,
                None => (flag.as_str(), json!(true)),
            };
            let name = match name {
                "cleanup-on-fail" => "cleanup_on_failure".to_owned(),
                other => other.replace('-', "_"),
            };
            options.insert(name, value);
        }
        let call = if let Some(values) = &self.install {
            options.insert("values".to_owned(), Value::Object(values.clone()));
            format!("install(\"{RELEASE}\", \"{chart}\", ")
        } else if let Some(values) = &self.upgrade {
            options.insert("values".to_owned(), Value::Object(values.clone()));
            options.insert("skip_unchanged".to_owned(), json!(false));
            let function =
                if self.flags.iter().any(|flag| flag == "install") { "install" } else { "upgrade" };
            format!("{function}(\"{RELEASE}\", \"{chart}\", ")
        } else if let Some(revision) = self.rollback {
            if revision > 0 {
                options.insert("revision".to_owned(), json!(revision));
            }
            format!("rollback(\"{RELEASE}\", ")
        } else if self.uninstall.is_some() {
            format!("uninstall(\"{RELEASE}\", ")
        } else {
            format!("test(\"{RELEASE}\", ")
        };
        let options = Value::Object(options).to_string();
        let script = format!("helm::{call}json::parse({options:?}))");
        bed.meshscript(&["eval", &script, "--allow-read", chart])
    }
}

/// All that a release leaves, by path.
fn world(bed: &Bed, namespace: &str, ok: bool) -> Result<BTreeMap<String, String>, String> {
    let kinds = "secrets,configmaps,deployments,jobs,pods";
    let list = bed.kubectl(&["get", kinds, "-n", namespace, "-o", "json"])?.ends(0)?.stdout;
    let list: Value = serde_json::from_str(&list).map_err(|error| error.to_string())?;
    let mut world = BTreeMap::from([("ok".to_owned(), ok.to_string())]);
    for object in list["items"].as_array().into_iter().flatten() {
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        // Controllers and istiod put the last two into every namespace, whenever they run.
        if !object["metadata"]["ownerReferences"].is_null()
            || name == "kube-root-ca.crt"
            || !object["metadata"]["labels"]["istio.io/config"].is_null()
        {
            continue;
        }
        let told = if object["type"] == "helm.sh/release.v1" {
            stored(object)?
        } else {
            json!({
                "labels": object["metadata"]["labels"],
                "annotations": object["metadata"]["annotations"],
                "data": object["data"],
                "spec": if kind != "Deployment" { Value::Null } else { object["spec"].clone() },
                "ends": object["metadata"]["deletionTimestamp"].is_string(),
            })
        };
        flatten(&format!("{kind}/{name}"), &told, namespace, &mut world);
    }
    Ok(world)
}

/// All stored revisions of a namespace, by path.
pub(crate) fn stored_releases(
    bed: &Bed,
    namespace: &str,
) -> Result<BTreeMap<String, String>, String> {
    let list = bed.kubectl(&["get", "secrets", "-n", namespace, "-o", "json"])?.ends(0)?.stdout;
    let list: Value = serde_json::from_str(&list).map_err(|error| error.to_string())?;
    let mut found = BTreeMap::new();
    for secret in list["items"].as_array().into_iter().flatten() {
        if secret["type"] == "helm.sh/release.v1" {
            flatten(text(&secret["metadata"]["name"]), &stored(secret)?, namespace, &mut found);
        }
    }
    Ok(found)
}

/// A revision with its labels, but for the reason of a failure.
fn stored(secret: &Value) -> Result<Value, String> {
    let mut release = decoded(secret)?;
    quiet(&mut release);
    Ok(json!({"labels": secret["metadata"]["labels"], "release": release}))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn decoded(secret: &Value) -> Result<Value, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("a stored release: {error}");
    let once = STANDARD.decode(text(&secret["data"]["release"])).map_err(|error| wrong(&error))?;
    let packed = STANDARD.decode(once).map_err(|error| wrong(&error))?;
    let mut json = String::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_string(&mut json)
        .map_err(|error| wrong(&error))?;
    serde_json::from_str(&json).map_err(|error| wrong(&error))
}

/// The reason of a failure is worded by each program for itself.
fn quiet(release: &mut Value) {
    let description = text(&release["info"]["description"]);
    if let Some((what, _)) = description.split_once("failed: ") {
        release["info"]["description"] = Value::from(format!("{what}failed: <reason>"));
    }
}

/// Times by their names, everything else as it is.
fn flatten(path: &str, value: &Value, namespace: &str, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{path}.{key}");
                match key.as_str() {
                    // Both name the uid of a Job.
                    "controller-uid" | "batch.kubernetes.io/controller-uid" => {}
                    "modtime" | "schemamodtime" => {
                        // The same moment in whichever zone.
                        let moment: Timestamp = text(value).parse().unwrap_or_default();
                        into.insert(path, moment.to_string());
                    }
                    // Both are informational, and Helm drops one when it sets the other.
                    "createdAt" | "modifiedAt" => {}
                    "first_deployed" | "last_deployed" | "deleted" | "started_at"
                    | "completed_at" => {
                        into.insert(path, "<time>".to_owned());
                    }
                    _ => flatten(&path, value, namespace, into),
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), item, namespace, into);
            }
        }
        Value::Null => {}
        Value::String(text) => {
            into.insert(path.to_owned(), text.replace(namespace, "<namespace>"));
        }
        other => {
            into.insert(path.to_owned(), other.to_string());
        }
    }
}
