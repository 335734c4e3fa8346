//! A served sandbox under attack for a while, over loopback.
//!
//! `cargo bench --bench attack` attacks for one minute; `ATTACK_SECONDS=1800` gives it more, `ATTACK_SEED` is where it begins,
//! `ATTACK_PROGRAM` a program that is built already. It fails when the process ends, says that it panicked, leaves an honest
//! client alone for half a minute, lets somebody in without the right to, or holds more than 512 MiB after a turn. What
//! was sent last is told with the seed of each attack.

use std::path::PathBuf;
use std::time::{Duration, Instant};

#[path = "../attack/mod.rs"]
mod attack;

fn main() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let program = std::env::var_os("ATTACK_PROGRAM").map(PathBuf::from);
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_meshscript").into());
    let plan = attack::Plan {
        seed: number("ATTACK_SEED", 1),
        attackers: 6,
        turn: number("ATTACK_TURN", 400),
        turns: u64::MAX,
        span: Duration::from_secs(number("ATTACK_SECONDS", 60)),
        held: 200,
        memory: 512.0,
    };
    let began = Instant::now();
    match attack::run(&program, &plan) {
        Ok(report) => {
            let held: Vec<String> =
                report.memory.iter().map(|mebibytes| format!("{mebibytes:.0}")).collect();
            println!(
                "{} s: {} attacks from outside and {} from inside in {} turns; memory after each: {} MiB; open files: {:?}",
                began.elapsed().as_secs(),
                report.outside,
                report.inside,
                report.turns,
                held.join(", "),
                report.open_files,
            );
        }
        Err(why) => {
            eprintln!("{why}");
            std::process::exit(1);
        }
    }
}
