//! The start of the program, and of the first rehearsal, against the start of kubectl and helm.
//!
//! `cargo bench --bench start`. Whole processes in turn, medians; a peer that is not in the PATH is named and left out.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 31;

fn main() {
    let program = env!("CARGO_BIN_EXE_meshscript");
    let folder = tempfile::tempdir().expect("a folder");
    let mut candidates = vec![
        ("meshscript --version", vec![program, "--version"]),
        (
            "meshscript eval 1+1, with its rehearsal cluster",
            vec![program, "eval", "1+1", "--sandbox"],
        ),
        ("kubectl version --client", vec!["kubectl", "version", "--client"]),
        ("helm version", vec!["helm", "version"]),
    ];
    candidates.retain(|(name, line)| {
        let there = Command::new(line[0]).arg("--help").output().is_ok();
        if !there {
            println!("skipped: {name} is not on this machine");
        }
        there
    });
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); candidates.len()];
    // Turn by turn, so that whatever else the machine does hits all alike.
    for _ in 0..RUNS {
        for ((_, line), times) in candidates.iter().zip(&mut times) {
            let began = Instant::now();
            let output = Command::new(line[0])
                .args(&line[1..])
                .current_dir(folder.path())
                .env_remove("KUBECONFIG")
                .stdin(Stdio::null())
                .output()
                .expect("the program starts");
            times.push(began.elapsed());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let medians: Vec<Duration> = times
        .into_iter()
        .map(|mut times| {
            times.sort();
            times[RUNS / 2]
        })
        .collect();
    let Some(own) = medians.first() else { return };
    for ((name, _), median) in candidates.iter().zip(&medians) {
        println!(
            "{name}: {:.1} ms, {:.2} of meshscript --version",
            median.as_secs_f64() * 1e3,
            median.as_secs_f64() / own.as_secs_f64()
        );
    }
}
