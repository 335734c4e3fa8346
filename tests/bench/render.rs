//! Rendering Istio's charts: meshscript against `helm template`, whole processes in turn, as ratios of medians.
//!
//! `cargo bench --bench render`, with helm in the PATH and the charts in `shared/data` of a parent folder. Both print the
//! manifest, and the bytes are compared before anything is measured.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 15;

fn main() {
    let Some(charts) = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data/charts"))
        .find(|folder| folder.is_dir())
    else {
        println!("skipped: no charts in shared/data");
        return;
    };
    let Ok(version) = Command::new("helm").args(["version", "--short"]).output() else {
        println!("skipped: helm is not on this machine");
        return;
    };
    println!("peer: helm {}", String::from_utf8_lossy(&version.stdout).trim());
    for chart in ["istiod-1.30.3.tgz", "base-1.30.3.tgz"] {
        let archive = charts.join(chart);
        let (ours, theirs) = (output(&mut meshscript(&archive)), output(&mut helm(&archive)));
        assert!(ours.trim() == theirs.trim(), "{chart}: the two render other bytes");
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..RUNS {
            times[0].push(time(meshscript(&archive)));
            times[1].push(time(helm(&archive)));
        }
        let [ours, theirs] = times.map(median);
        println!(
            "{chart}: meshscript {:.1} ms, helm {:.1} ms: {:.1} times faster",
            ours.as_secs_f64() * 1e3,
            theirs.as_secs_f64() * 1e3,
            theirs.as_secs_f64() / ours.as_secs_f64()
        );
    }
}

fn meshscript(archive: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshscript"));
    let folder: PathBuf = archive.parent().map(Path::to_owned).unwrap_or_default();
    let script = format!(
        "helm::template(\"bench\", \"{}\", #{{ namespace: \"istio-system\" }})",
        archive.display()
    );
    command.args(["eval", &script, "--sandbox", "--allow-read"]).arg(&folder).current_dir(folder);
    command.env_remove("KUBECONFIG");
    command
}

fn helm(archive: &Path) -> Command {
    let mut command = Command::new("helm");
    command.args(["template", "bench"]).arg(archive).args(["-n", "istio-system", "--skip-crds"]);
    command
}

fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn time(mut command: Command) -> Duration {
    let began = Instant::now();
    output(&mut command);
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
