//! Cases of the kind `data_plane`: a play on a rehearsal cluster (`NAME.yaml`) and what it prints (`NAME.out`).

use std::path::Path;

use libtest_mimic::{Failed, Trial};

use crate::harness::{each, expect, world};

pub(crate) fn trials() -> Vec<Trial> {
    each("data_plane", Some("yaml"), run)
}

fn run(path: &Path) -> Result<(), Failed> {
    expect(&path.with_extension("out"), &world::play(path)?)
}
