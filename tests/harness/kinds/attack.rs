//! The case of the kind `attack`: a short attack on a served sandbox, always the same one. `cargo bench --bench attack` is long.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;

#[path = "../../attack/mod.rs"]
mod attackers;

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("attack/nobody_gets_in_and_everybody_is_served", || {
        let plan = attackers::Plan {
            seed: 7,
            attackers: 4,
            turn: 40,
            turns: 1,
            span: Duration::ZERO,
            held: 40,
            memory: 512.0,
        };
        let report = attackers::run(Path::new(env!("CARGO_BIN_EXE_meshscript")), &plan)?;
        if report.outside == 0 || report.inside == 0 {
            return Err(format!("{report:?}").into());
        }
        Ok(())
    })]
}
