//! Cases of the kind `ssa`: server-side apply, field ownership and patches, step by step beside the real API server.
//!
//! `NAME.yaml` is a list of requests, `NAME.json` what kube-apiserver 1.36.3 answered. A case takes the recorded object
//! before each request and compares what our functions make of it with the recorded object after it, so one wrong
//! step does not hide the next. Where the test bed is up (`MESHBED_KUBECONFIG`), every case and random sequences run
//! against the server itself, and `BLESS=1` records anew.

mod authz;
mod bed;
mod beside;
mod play;
mod proto;
mod random;
mod schemas;
mod small;

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::harness::each("ssa", Some("yaml"), recorded);
    trials.extend(small::trials());
    trials.extend(authz::trials());
    trials.extend(proto::trials());
    if bed::is_up() {
        let entries = fs::read_dir(crate::harness::folder("ssa")).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            trials.push(Trial::test(format!("ssa/server/{stem}"), move || live(&path)));
        }
    }
    trials.push(Trial::test("ssa/random_sequences", random::run));
    trials.push(Trial::test("ssa/random_sequences_beside_the_server", beside::run));
    trials
}

fn recorded(path: &Path) -> Result<(), Failed> {
    let recording = path.with_extension("json");
    let steps = play::read_steps(path)?;
    if std::env::var_os("BLESS").is_some() && bed::is_up() {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let answers = play::record(&bed::Bed::open(&stem)?, &steps)?;
        fs::write(&recording, play::write_answers(&answers)?)?;
    }
    let text = fs::read_to_string(&recording)
        .map_err(|error| format!("no recording {}: {error}", recording.display()))?;
    play::compare(&steps, &play::read_answers(&text)?)
}

fn live(path: &Path) -> Result<(), Failed> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let steps = play::read_steps(path)?;
    let answers = play::record(&bed::Bed::open(&format!("{stem}-live"))?, &steps)?;
    play::compare(&steps, &answers)
}
