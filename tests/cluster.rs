//! The scripts against real components: kube-apiserver, istiod, Envoy, MetalLB's controller and helm of the test bed.
//!
//! Runs inside the test bed (`MESHBED_KUBECONFIG` is set there), on one cluster, one scenario after the other. Elsewhere it
//! prints one line and passes, unless `MESHBED_REQUIRE=1`.

#[path = "cluster/bed.rs"]
mod bed;
#[path = "cluster/guide.rs"]
mod guide;
#[path = "cluster/kill.rs"]
mod kill;
#[path = "cluster/normal.rs"]
mod normal;
#[path = "cluster/refusals.rs"]
mod refusals;
#[path = "cluster/releases.rs"]
mod releases;
#[path = "cluster/worlds.rs"]
mod worlds;

use std::process::ExitCode;

/// One step of the suite: its claim, and what proves it.
type Scenario = (&'static str, fn(&bed::Bed) -> Result<(), String>);

fn main() -> ExitCode {
    let Some(bed) = bed::Bed::find() else {
        if std::env::var_os("MESHBED_REQUIRE").is_some() {
            println!("the test bed is required and is not there: run inside of it");
            return ExitCode::FAILURE;
        }
        println!("skipped: no test bed");
        println!("test result: ok. 0 passed; 0 failed; 0 ignored");
        return ExitCode::SUCCESS;
    };
    let filter: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    // Each builds on what the one before left in the cluster; the last one empties it.
    let scenarios: Vec<Scenario> = [
        guide::FIRST,
        worlds::SCENARIOS,
        guide::AFTER,
        refusals::SCENARIOS,
        releases::SCENARIOS,
        kill::SCENARIOS,
        guide::LAST,
    ]
    .concat();
    let (mut passed, mut failed) = (0, 0);
    for (name, run) in scenarios {
        if !filter.is_empty() && !filter.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        let began = std::time::Instant::now();
        let result = run(&bed);
        let took = began.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                passed += 1;
                println!("test cluster/{name} ... ok ({took:.1} s)");
            }
            Err(why) => {
                failed += 1;
                println!("test cluster/{name} ... FAILED ({took:.1} s)\n{why}");
            }
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(failed > 0))
}
