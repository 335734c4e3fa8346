//! Every case below `tests/cases/`, one named, filterable, parallel test each. `tests/README.md` says how to add one.

mod harness;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, harness::trials()).exit();
}
