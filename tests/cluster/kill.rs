//! kill -9 at random moments: the next run converges, and nothing is done by hand.

use super::Scenario;
use super::bed::{Bed, ensure};

pub(crate) const OF_RELEASES: &[Scenario] =
    &[("kill_at_random_moments_of_upgrades_with_hooks", upgrades)];

pub(crate) const OF_THE_GUIDE: &[Scenario] = &[("kill_at_random_moments_always_converges", kill)];

/// Releases whose upgrade is killed, all at once: most of the time is the next run's wait for a sign of life.
const UPGRADES: u64 = 20;

/// How often a run is killed before it must converge.
const KILLS: usize = 30;

fn kill(bed: &Bed) -> Result<(), String> {
    bed.script("scripts/uninstall.rhai", &[])?.ends(0)?;
    let parameters = Bed::guide_parameters()?;
    let mut arguments = vec!["run", "scripts/all.rhai"];
    arguments.extend(parameters.iter().map(String::as_str));
    // A linear congruence is random enough and the same in every run.
    let mut seed: u64 = 0x5eed;
    let mut killed = 0;
    for round in 0..KILLS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = std::time::Duration::from_millis(50 + (seed >> 33) % 4_000);
        let mut child = bed
            .command(&arguments)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        std::thread::sleep(moment);
        if child.try_wait().map_err(|error| error.to_string())?.is_none() {
            killed += 1;
            child.kill().map_err(|error| error.to_string())?;
        }
        child.wait().map_err(|error| error.to_string())?;
        if round % 10 == 9 {
            // Converged or not, from here it must come to the end.
            bed.script("scripts/all.rhai", &[])?.ends(0)?;
            bed.script("scripts/uninstall.rhai", &[])?.ends(0)?;
        }
    }
    println!("{killed} of {KILLS} runs were killed under way");
    ensure(killed >= KILLS / 2, || {
        format!("only {killed} runs were under way when the signal came")
    })?;
    bed.script("scripts/all.rhai", &[])?.ends(0)?;
    for namespace in ["istio-system", "metallb-system"] {
        let list = bed.helm(&["ls", "-n", namespace, "--pending", "--failed", "-q"])?;
        let list = list.ends(0)?.stdout;
        ensure(list.is_empty(), || format!("releases not deployed: {list}"))?;
    }
    Ok(())
}

/// The chart of the suite of releases with hooks before and after, which take some seconds together.
fn upgrades(bed: &Bed) -> Result<(), String> {
    let under_way = std::sync::atomic::AtomicUsize::new(0);
    let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..UPGRADES)
            .map(|n| {
                let under_way = &under_way;
                scope.spawn(move || upgrade(bed, n, under_way))
            })
            .collect();
        runs.into_iter()
            .map(|run| run.join().unwrap_or_else(|_| Err("a thread of the test ended".to_owned())))
            .collect()
    });
    let under_way = under_way.into_inner();
    println!("{under_way} of {UPGRADES} upgrades were killed under way");
    let failures: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    ensure(failures.is_empty(), || failures.join("\n"))?;
    ensure(under_way >= 10, || "too few upgrades were under way when the signal came".to_owned())
}

fn upgrade(bed: &Bed, n: u64, under_way: &std::sync::atomic::AtomicUsize) -> Result<(), String> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/charts/life");
    let namespace = format!("killed-{n}");
    let hooks = r#"[#{ name: "one", kind: "Pod", event: "pre-upgrade" }, #{ name: "two", kind: "Pod", event: "post-upgrade", policy: "hook-succeeded" }]"#;
    let script = |function: &str, colour: &str| {
        format!(
            "helm::{function}(\"r\", \"{chart}\", #{{ namespace: \"{namespace}\", create_namespace: true, values: #{{ colour: \"{colour}\", hooks: {hooks} }} }})"
        )
    };
    let run = |script: &str| bed.meshscript(&["eval", script, "--allow-read", chart]);
    run(&script("install", "red"))?.ends(0)?;
    let next = script("upgrade", "green");
    let mut child = bed
        .command(&["eval", &next, "--allow-read", chart])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    // 20 at once are slow: the moments spread over what one takes then.
    std::thread::sleep(std::time::Duration::from_millis(100 + n * 80));
    if child.try_wait().map_err(|error| error.to_string())?.is_none() {
        under_way.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        child.kill().map_err(|error| error.to_string())?;
    }
    child.wait().map_err(|error| error.to_string())?;
    run(&next)?.ends(0)?;
    let history = bed.helm(&["history", "r", "-n", &namespace, "-o", "json"])?.ends(0)?.stdout;
    let history: serde_json::Value =
        serde_json::from_str(&history).map_err(|error| error.to_string())?;
    let statuses: Vec<&str> =
        history.as_array().into_iter().flatten().filter_map(|one| one["status"].as_str()).collect();
    let deployed = statuses.iter().filter(|status| **status == "deployed").count();
    let pending = statuses.iter().any(|status| status.starts_with("pending"));
    ensure(deployed == 1 && statuses.last() == Some(&"deployed") && !pending, || {
        format!("{namespace}: {statuses:?}")
    })?;
    let colour = bed.kubectl(&[
        "get",
        "configmap",
        "r-first",
        "-n",
        &namespace,
        "-o",
        "jsonpath={.data.colour}",
    ])?;
    ensure(colour.stdout == "green", || format!("{namespace}: {}", colour.stdout))?;
    // helm carries the release on.
    bed.helm(&["upgrade", "r", chart, "-n", &namespace, "--set", "colour=white"])?.ends(0)?;
    bed.kubectl(&["delete", "namespace", &namespace, "--wait=false"])?.ends(0).map(drop)
}
