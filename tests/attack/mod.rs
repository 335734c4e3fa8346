//! A served sandbox under attack: malformed TLS, HTTP/1.1, HTTP/2, bodies, watches, streams and credentials over loopback.
//!
//! Outsiders and insiders take turns. While outsiders are at work nothing may change and nobody may get in; all the time an
//! honest client must be served, the process must live, say nothing of a panic, and hold no more memory than its bound.
//! Everything follows from a seed: `random` makes the numbers, `tls`, `http1`, `http2`, `inside`, `streams` what is sent,
//! `outside` the credentials, `served` the process and the checks.

mod expressions;
mod http1;
mod http2;
mod inside;
mod objects;
mod outside;
mod random;
mod served;
mod streams;
mod tls;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::inside::Insider;
use self::outside::Outsider;
use self::random::Random;
use self::served::{Door, Served, WELL};

/// How an attack goes on and what it is measured by.
pub(crate) struct Plan {
    /// Everything that is sent follows from it.
    pub(crate) seed: u64,
    /// Attackers at once.
    pub(crate) attackers: usize,
    /// Attacks of each attacker before the sides change.
    pub(crate) turn: u64,
    /// Pairs of turns, at most.
    pub(crate) turns: u64,
    /// No turn begins after that.
    pub(crate) span: Duration,
    /// Connections that are left open in each of their states while outsiders are at work.
    pub(crate) held: usize,
    /// Mebibytes that the process may hold after each turn.
    pub(crate) memory: f64,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) outside: u64,
    pub(crate) inside: u64,
    pub(crate) turns: u64,
    /// Mebibytes after each turn.
    pub(crate) memory: Vec<f64>,
    pub(crate) open_files: Vec<usize>,
}

/// The last things that were sent, for whoever looks for the cause.
#[derive(Default)]
struct Recent(Mutex<VecDeque<String>>);

impl Recent {
    fn note(&self, who: usize, seed: u64, sent: &[u8]) {
        let shown = String::from_utf8_lossy(&sent[..sent.len().min(3_000)]);
        let mut recent = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        recent.push_back(format!("attacker {who}, seed {seed}: {shown:?}"));
        if recent.len() > 60 {
            recent.pop_front();
        }
    }

    fn told(&self) -> String {
        let recent = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        recent.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Attacks the sandbox of `program`.
///
/// # Errors
/// The first thing that is wrong, and what was sent last.
pub(crate) fn run(program: &Path, plan: &Plan) -> Result<Report, String> {
    let mut served = Served::start(program)?;
    let door = served.door.clone();
    prepare(&door)?;
    let resources = door.resources()?;
    let outsider = Outsider::new(&door)?;
    let (began, mut report, recent) = (Instant::now(), Report::default(), Recent::default());
    let turn_of = |served: &mut Served, report: &mut Report, number: u64| -> Result<(), String> {
        let before = at_rest(&door)?;
        let held = outside::holders(&door, plan.held);
        report.outside += turn(served, plan, number, &recent, |_| {
            let outsider = &outsider;
            move |random: &mut Random| outsider.attack(random)
        })?;
        drop(held);
        let after = at_rest(&door)?;
        if before != after {
            return Err(format!("outsiders have changed something:\n{}", changes(&before, &after)));
        }
        report.inside += turn(served, plan, number ^ 0xFFFF_0000, &recent, |n| {
            let mut insider = Insider::new(&door, &resources, n);
            move |random: &mut Random| insider.attack(random)
        })?;
        clean(&door, &before)?;
        let memory = served.memory();
        report.memory.push(memory);
        report.open_files.push(served.open_files());
        report.turns += 1;
        if memory > plan.memory {
            return Err(format!("it holds {memory:.0} MiB, more than {:.0}", plan.memory));
        }
        served.check(number)
    };
    for number in 0..plan.turns {
        if number > 0 && began.elapsed() > plan.span {
            break;
        }
        turn_of(&mut served, &mut report, number).map_err(|why| {
            format!("seed {} turn {number}: {why}\nsent last:\n{}", plan.seed, recent.told())
        })?;
    }
    Ok(report)
}

/// One turn of one side; how many attacks there were.
fn turn<F, A>(
    served: &mut Served,
    plan: &Plan,
    number: u64,
    recent: &Recent,
    attacker: F,
) -> Result<u64, String>
where
    F: Fn(usize) -> A + Sync,
    A: FnMut(&mut Random) -> (Vec<u8>, Option<String>),
{
    let (count, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let found: Mutex<Option<String>> = Mutex::new(None);
    std::thread::scope(|scope| {
        let attackers: Vec<_> = (0..plan.attackers)
            .map(|n| {
                let (count, over, found, attacker) = (&count, &over, &found, &attacker);
                scope.spawn(move || {
                    let mut attack = attacker(n);
                    for at in 0..plan.turn {
                        let seed = plan.seed ^ number << 32 ^ (n as u64) << 24 ^ at;
                        let (sent, wrong) = attack(&mut Random::of(seed));
                        recent.note(n, seed, &sent);
                        count.fetch_add(1, Ordering::Relaxed);
                        if let Some(why) = wrong {
                            let why = format!("attacker {n}, seed {seed}: {why}");
                            *found.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                                Some(why);
                            over.store(true, Ordering::Relaxed);
                        }
                        if over.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                })
            })
            .collect();
        let mut checked = 0;
        while attackers.iter().any(|attacker| !attacker.is_finished()) {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(2)
                && attackers.iter().any(|it| !it.is_finished())
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            checked += 1;
            if let Err(why) = served.check(number << 16 | checked) {
                over.store(true, Ordering::Relaxed);
                return Err(why);
            }
        }
        Ok(())
    })?;
    match found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(why) => Err(why),
        None => Ok(count.into_inner()),
    }
}

/// A namespace for the checks, with a pod that runs.
fn prepare(door: &Door) -> Result<(), String> {
    door.ask("POST", "/api/v1/namespaces", Some(&json!({"metadata": {"name": WELL}})))?;
    let pods = format!("/api/v1/namespaces/{WELL}/pods");
    let image = "docker.io/mccutchen/go-httpbin:2.15.0";
    let pod = json!({"metadata": {"name": streams::POD}, "spec": {"containers": [
        {"name": "web", "image": image, "ports": [{"containerPort": 8080}]}]}});
    let began = Instant::now();
    while began.elapsed() < served::PATIENCE {
        // Its service account comes a moment after the namespace.
        door.ask("POST", &pods, Some(&pod))?;
        let found = door.ask("GET", &format!("{pods}/{}", streams::POD), None)?.json();
        if found["status"]["phase"] == "Running" {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("the pod of the checks does not run".to_owned())
}

/// The objects once nothing changes any more of its own.
fn at_rest(door: &Door) -> Result<BTreeMap<String, Value>, String> {
    let began = Instant::now();
    let mut before = door.state()?;
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = door.state()?;
        if now == before {
            return Ok(now);
        }
        if began.elapsed() > served::PATIENCE * 2 {
            return Err(format!("it does not come to rest:\n{}", changes(&before, &now)));
        }
        before = now;
    }
}

fn changes(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> String {
    let paths = before.keys().chain(after.keys()).collect::<std::collections::BTreeSet<_>>();
    let changed = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    let shown = changed.take(10).map(|path| {
        let text = |state: &BTreeMap<String, Value>| {
            state.get(path).map_or("nothing".to_owned(), Value::to_string)
        };
        format!("{path}: {} is {}", text(before), text(after))
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// Takes away what insiders left behind: all that was not there before, namespaces first.
fn clean(door: &Door, before: &BTreeMap<String, Value>) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let mut left = Vec::new();
        for resource in
            door.resources()?.into_iter().filter(|it| it.listed && it.deleted && !it.namespaced)
        {
            for item in door.ask("GET", &resource.collection(""), None)?.json()["items"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let path = format!(
                    "{}/{}",
                    resource.collection(""),
                    item["metadata"]["name"].as_str().unwrap_or_default()
                );
                if path != format!("/api/v1/namespaces/{WELL}") && !before.contains_key(&path) {
                    if item["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty())
                        && resource.plural != "customresourcedefinitions"
                    {
                        door.ask("PATCH", &path, Some(&json!({"metadata": {"finalizers": null}})))?;
                    }
                    door.ask("DELETE", &path, None)?;
                    left.push(path);
                }
            }
        }
        let well = format!("/api/v1/namespaces/{WELL}");
        // What holds a namespace that is to go.
        for (path, object) in door
            .state()?
            .into_iter()
            .filter(|(path, _)| path.contains("/namespaces/attack-") && *path != well)
        {
            if object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()) {
                door.ask("PATCH", &path, Some(&json!({"metadata": {"finalizers": null}})))?;
                door.ask("DELETE", &format!("{path}?gracePeriodSeconds=0"), None)?;
            }
            left.push(path);
        }
        if left.is_empty() {
            return Ok(());
        }
        if began.elapsed() > served::PATIENCE * 2 {
            left.truncate(10);
            return Err(format!("it does not go: {}", left.join(", ")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
