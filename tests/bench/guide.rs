//! The whole guide: how long the program rehearses it, and, inside the test bed, its second run against helm and kubectl.
//!
//! `cargo bench --bench guide`. Whole processes, medians; the floor is the start of the program. Peers: `helm upgrade --install` of the five
//! releases one after the other, as the guide does it by hand.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() {
    let program = env!("CARGO_BIN_EXE_meshscript");
    let start = median(20, || run(Command::new(program).arg("--version")));
    let folder = tempfile::tempdir().expect("a folder");
    let rehearsal = |scripts: &'static [&'static str]| {
        median(7, || {
            run(Command::new(program)
                .arg("run")
                .args(scripts)
                .arg("--sandbox")
                .current_dir(folder.path())
                .env_remove("KUBECONFIG"));
        })
    };
    let once = rehearsal(&["scripts/all.rhai"]);
    let twice = rehearsal(&["scripts/all.rhai", "scripts/all.rhai"]);
    println!("start {} ms; rehearsal {} ms; both passes {} ms", ms(start), ms(once), ms(twice));
    let (Some(kubeconfig), Some(data)) = (std::env::var_os("MESHBED_KUBECONFIG"), data()) else {
        println!("skipped: the second run against helm, no test bed");
        return;
    };
    let charts = data.join("charts");
    let ours = || {
        run(Command::new(program)
            .args(["run", "scripts/all.rhai", "--allow-unproven", "--set"])
            .arg(format!("charts={}", charts.display()))
            .arg("--set")
            .arg(format!("manifests={}", data.join("manifests").display()))
            .args(["--set", "pool=172.18.255.200-172.18.255.250", "--allow-read"])
            .arg(&data)
            .env("KUBECONFIG", &kubeconfig));
    };
    ours();
    let ours = median(5, ours);
    let theirs = median(3, || {
        for (release, chart, namespace, set) in [
            ("metallb", "metallb-0.16.1", "metallb-system", "frrk8s.enabled=false"),
            ("istio-base", "base-1.30.3", "istio-system", ""),
            ("istiod", "istiod-1.30.3", "istio-system", "profile=ambient"),
            ("istio-cni", "cni-1.30.3", "istio-system", "profile=ambient"),
            ("ztunnel", "ztunnel-1.30.3", "istio-system", ""),
        ] {
            run(Command::new("helm")
                .args(["upgrade", "--install", release])
                .arg(charts.join(format!("{chart}.tgz")))
                .args(["-n", namespace, "--wait", "--set", set])
                .env("KUBECONFIG", &kubeconfig));
        }
    });
    println!(
        "second run of the guide {} ms, the five releases alone by helm {} ms: {:.2} of its time",
        ms(ours),
        ms(theirs),
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
}

fn data() -> Option<std::path::PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data"))
        .find(|folder| folder.is_dir())
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn median(runs: usize, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[runs / 2]
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}
