//! Cases of the kind `cli`, the only ones that start the program: `cmd` holds the arguments, one per line; `files/` is the
//! current folder; `env` sets variables; what `written/` holds is what the program is to have written into that folder. The expectations are `stdout`, `stderr` and `status`; a missing one is written by `BLESS=1`.
//!
//! `server` and `tls_server` are tables of stand-ins (see `stand_in`); `$SERVER`, `$PORT`, `$TLS_SERVER` and `$TLS_PORT` stand for where
//! they listen, in `cmd`, `env` and `files/`; `ca.crt` in the current folder is what a client of them trusts.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use super::script;
use crate::harness;
use crate::harness::stand_in::StandIn;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = harness::each("cli", None, run);
    trials.push(Trial::test("cli/ctrl_c_ends_a_native_call_within_100_ms", interrupted_once));
    trials.push(Trial::test("cli/ctrl_c_ends_a_script_loop_within_100_ms", interrupted_loop));
    trials.push(Trial::test("cli/ctrl_c_twice_ends_at_once", interrupted_twice));
    trials.push(Trial::test("cli/sigterm_ends_like_ctrl_c", terminated));
    trials
}

fn run(case: &Path) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let work = folder.path().join("work");
    fs::create_dir_all(&work)?;
    if case.join("files").is_dir() {
        script::copy(&case.join("files"), &work)?;
    }
    let mut names = vec![("$WORK".to_owned(), work.display().to_string())];
    for (file, name) in [("server", ""), ("tls_server", "TLS_")] {
        let Ok(table) = fs::read_to_string(case.join(file)) else { continue };
        let server = StandIn::start(&table)?;
        names.push((format!("${name}SERVER"), format!("127.0.0.1:{}", server.port)));
        names.push((format!("${name}PORT"), server.port.to_string()));
        fs::write(work.join("ca.crt"), &server.ca)?;
    }
    let filled = |text: &str| {
        names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    };
    for entry in fs::read_dir(&work)?.flatten() {
        // What is no text, such as an archive, stays as it is.
        if let Ok(text) = fs::read_to_string(entry.path()) {
            fs::write(entry.path(), filled(&text))?;
        }
    }
    let arguments = filled(&fs::read_to_string(case.join("cmd"))?);
    let mut command = command(&work);
    command.args(arguments.lines());
    for line in fs::read_to_string(case.join("env")).unwrap_or_default().lines() {
        if let Some((name, value)) = line.split_once('=') {
            command.env(name, filled(value));
        }
    }
    let output = command.output()?;
    let text = |bytes: &[u8]| normal(&String::from_utf8_lossy(bytes), &names);
    let status = output.status.code().map_or("signal".to_owned(), |code| code.to_string());
    harness::expect(&case.join("stdout"), &text(&output.stdout))?;
    harness::expect(&case.join("stderr"), &text(&output.stderr))?;
    let spans = regex::Regex::new("time=\"[0-9.]+\"").expect("a pattern");
    for entry in fs::read_dir(case.join("written")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(work.join(entry.file_name()))?;
        harness::expect(&entry.path(), &spans.replace_all(&normal(&text, &names), "time=\"…\""))?;
    }
    harness::expect(&case.join("status"), &format!("{status}\n"))
}

/// The program in a folder, with nothing of this machine around it.
pub(super) fn command(work: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshscript"));
    command
        .current_dir(work)
        .env_clear()
        .env("HOME", work)
        .env("LANG", "C.UTF-8")
        .env("CI", "true");
    command
}

/// Takes out what differs from run to run: the temporary folder, ports, durations, and how long ago something was.
fn normal(text: &str, names: &[(String, String)]) -> String {
    let text = names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, name));
    let mut normal = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.starts_with("Time ") {
            normal.push_str("Time      …\n");
            continue;
        }
        // A wait may see the end of what it waits for in its first look or in its watch.
        if let Some((_, writes)) =
            line.strip_prefix("Requests  ").and_then(|l| l.split_once(" read"))
        {
            normal.push_str("Requests  … read");
            normal.push_str(writes);
            continue;
        }
        normal.push_str(&without_age(&without_pod_names(&without_spans(line))));
    }
    normal
}

/// Replaces the random ends of the names of a Deployment's pods.
fn without_pod_names(line: &str) -> String {
    let names = regex::Regex::new("-[0-9a-f]{8,10}-[a-z0-9]{5}\\b").expect("a pattern");
    names.replace_all(line, "-…").into_owned()
}

/// Replaces `, 2063 days ago`.
fn without_age(line: &str) -> String {
    let Some((before, after)) = line.split_once(" days ago") else { return line.to_owned() };
    format!("{}… days ago{after}", before.trim_end_matches(|c: char| c.is_ascii_digit()))
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

/// Starts a script against a stand-in that answers the version and nothing else, and waits until the script is at work.
fn start(folder: &Path, script: &str, server: &StandIn, requests: usize) -> Result<Child, Failed> {
    fs::write(folder.join("case.rhai"), script)?;
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
         clusters: [{{name: a, cluster: {{server: \"http://127.0.0.1:{}\"}}}}]\nusers: [{{name: a, user: {{}}}}]\n",
        server.port
    );
    fs::write(folder.join("kubeconfig"), config)?;
    server.requests.store(0, Ordering::SeqCst);
    let child = command(folder)
        .args(["run", "case.rhai", "--kubeconfig", "kubeconfig"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let began = Instant::now();
    while server.requests.load(Ordering::SeqCst) < requests {
        if began.elapsed() > Duration::from_secs(60) {
            return Err("the script does not get to work".into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(100));
    Ok(child)
}

fn signal(child: &Child, name: &str) -> Result<(), Failed> {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status()?;
    if status.success() { Ok(()) } else { Err("the signal was not sent".into()) }
}

/// Waits for the end; how long it took since `began`, and what was written to standard error.
fn ended(child: Child, began: Instant) -> Result<(Duration, String), Failed> {
    let output = child.wait_with_output()?;
    let took = began.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(130) => Ok((took, stderr)),
        code => Err(format!("ended with {code:?}: {stderr}").into()),
    }
}

const TABLE: &str = "GET /version 200 {\"gitVersion\":\"v1.36.3\"}\n* / hang\n";

/// The best of a few attempts, since other tests use the same processors, must be within the limit.
fn ends_soon(script: &str, requests: usize, name: &str) -> Result<(), Failed> {
    let server = StandIn::start(TABLE)?;
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let folder = tempfile::tempdir()?;
        let child = start(folder.path(), script, &server, requests)?;
        let began = Instant::now();
        signal(&child, name)?;
        let (took, stderr) = ended(child, began)?;
        for wanted in ["interrupted", "case.rhai:1:", "^", "run the same command again"] {
            if !stderr.contains(wanted) {
                return Err(format!("no `{wanted}` in:\n{stderr}").into());
            }
        }
        best = best.min(took);
        if best < Duration::from_millis(100) {
            return Ok(());
        }
    }
    Err(format!("it ended {best:?} after the signal").into())
}

fn interrupted_once() -> Result<(), Failed> {
    ends_soon("attempt(|| k8s::list(\"pods\")); fs::write(\"after\", \"no\");", 2, "-INT")
}

fn interrupted_loop() -> Result<(), Failed> {
    ends_soon("loop { try { let a = 1; } catch {} }", 1, "-INT")
}

fn terminated() -> Result<(), Failed> {
    ends_soon("sleep(\"1h\");", 1, "-TERM")
}

fn interrupted_twice() -> Result<(), Failed> {
    let server = StandIn::start(TABLE)?;
    let folder = tempfile::tempdir()?;
    // A key of this size takes seconds, and nothing can stop its making.
    let script = "for i in 0..20 { cert::ca(#{ key: \"RSA-4096\" }); }";
    let child = start(folder.path(), script, &server, 1)?;
    signal(&child, "-INT")?;
    std::thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    // The first one may have been enough.
    let _ = signal(&child, "-INT");
    let (took, _) = ended(child, began)?;
    if took < Duration::from_millis(500) {
        Ok(())
    } else {
        Err(format!("it ended {took:?} after the second signal").into())
    }
}
