//! kill -9 at random moments: the next run converges, and nothing is done by hand.

use super::Scenario;
use super::bed::{Bed, ensure};

pub(crate) const SCENARIOS: &[Scenario] = &[("kill_at_random_moments_always_converges", kill)];

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
    let list = bed.helm(&["ls", "-A", "--pending", "--failed", "-q"])?.ends(0)?.stdout;
    ensure(list.is_empty(), || format!("releases not deployed: {list}"))
}
