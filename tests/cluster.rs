//! The scripts against real components: kube-apiserver, istiod, Envoy, MetalLB's controller and helm of the test bed.
//!
//! Runs inside the test bed (`MESHBED_KUBECONFIG` is set there), on one cluster, one scenario after the other. Elsewhere it
//! prints one line and passes, unless `MESHBED_REQUIRE=1`.

#[path = "cluster/bed.rs"]
mod bed;
#[path = "harness/gateway_play.rs"]
mod gateway_play;
#[path = "cluster/gateway_status.rs"]
mod gateway_status;
#[path = "cluster/guide.rs"]
mod guide;
#[path = "cluster/istio.rs"]
mod istio;
#[path = "cluster/kill.rs"]
mod kill;
#[path = "cluster/normal.rs"]
mod normal;
#[path = "cluster/refusals.rs"]
mod refusals;
#[path = "cluster/releases.rs"]
mod releases;
#[path = "cluster/routing.rs"]
mod routing;
#[path = "harness/routing.rs"]
mod routing_play;
#[path = "cluster/served.rs"]
mod served;
#[path = "cluster/worlds.rs"]
mod worlds;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    let of_releases = [releases::SCENARIOS, kill::OF_RELEASES].concat();
    // Each builds on what the one before left in the cluster; the last ones empty it. What stands side by side runs at the
    // same time: releases have namespaces of their own, and runs that are killed are mostly waited for.
    let rounds: Vec<Vec<Vec<Scenario>>> = vec![
        vec![
            [
                guide::FIRST,
                worlds::SCENARIOS,
                guide::AFTER,
                refusals::SCENARIOS,
                routing::SCENARIOS,
            ]
            .concat(),
        ],
        vec![kill::OF_THE_GUIDE.to_vec(), of_releases],
        vec![[guide::LAST, istio::SCENARIOS].concat()],
        vec![served::SCENARIOS.to_vec()],
        // Minutes of waiting until istiod has come to rest: when it is asked for by name.
        vec![if filter.is_empty() { Vec::new() } else { gateway_status::SCENARIOS.to_vec() }],
    ];
    let (passed, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let run_all = |scenarios: &[Scenario]| {
        for (name, run) in scenarios {
            if !filter.is_empty() && !filter.iter().any(|wanted| name.contains(wanted.as_str())) {
                continue;
            }
            let began = std::time::Instant::now();
            let result = run(&bed);
            let took = began.elapsed().as_secs_f64();
            match result {
                Ok(()) => {
                    passed.fetch_add(1, Ordering::Relaxed);
                    println!("test cluster/{name} ... ok ({took:.1} s)");
                }
                Err(why) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    println!("test cluster/{name} ... FAILED ({took:.1} s)\n{why}");
                }
            }
        }
    };
    for round in &rounds {
        std::thread::scope(|scope| {
            for scenarios in round {
                scope.spawn(|| run_all(scenarios));
            }
        });
    }
    let (passed, failed) = (passed.into_inner(), failed.into_inner());
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(failed > 0))
}
