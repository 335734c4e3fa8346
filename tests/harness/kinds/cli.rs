//! Cases of the kind `cli`, the only ones that start the program: `cmd` holds the arguments, one per line; `files/` is the
//! current folder; `env` sets variables. The expectations are `stdout`, `stderr` and `status`; a missing one is written by `BLESS=1`.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use super::script;
use crate::harness;

pub(crate) fn trials() -> Vec<Trial> {
    harness::each("cli", None, run)
}

fn run(case: &Path) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let work = folder.path().join("work");
    fs::create_dir_all(&work)?;
    if case.join("files").is_dir() {
        script::copy(&case.join("files"), &work)?;
    }
    let arguments = fs::read_to_string(case.join("cmd"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshscript"));
    command
        .args(arguments.lines())
        .current_dir(&work)
        .env_clear()
        .env("HOME", &work)
        .env("LANG", "C.UTF-8")
        .env("CI", "true");
    for line in fs::read_to_string(case.join("env")).unwrap_or_default().lines() {
        if let Some((name, value)) = line.split_once('=') {
            command.env(name, value.replace("$WORK", &work.to_string_lossy()));
        }
    }
    let output = command.output()?;
    let text = |bytes: &[u8]| normal(&String::from_utf8_lossy(bytes), &work);
    let status = output.status.code().map_or("signal".to_owned(), |code| code.to_string());
    harness::expect(&case.join("stdout"), &text(&output.stdout))?;
    harness::expect(&case.join("stderr"), &text(&output.stderr))?;
    harness::expect(&case.join("status"), &format!("{status}\n"))
}

/// Takes out what differs from run to run: the temporary folder and durations.
fn normal(text: &str, work: &Path) -> String {
    let text = text.replace(&*work.to_string_lossy(), "$WORK");
    let mut normal = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.starts_with("Time ") {
            normal.push_str("Time      …\n");
            continue;
        }
        normal.push_str(&without_spans(line));
    }
    normal
}

/// Replaces `(0.3s)` and `, 0.3s)` at the end of a step's line.
fn without_spans(line: &str) -> String {
    let Some(end) = line.trim_end().strip_suffix("s)") else { return line.to_owned() };
    let digits = end.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == 'm');
    if digits.len() == end.len() {
        return line.to_owned();
    }
    format!("{digits}…)\n")
}
