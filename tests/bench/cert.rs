//! Issuing a leaf certificate: meshscript against `openssl`, side by side, as ratios of medians.
//!
//! Measured are whole programs, as a script or a person runs them (`meshscript eval` once, against the guide's two
//! `openssl` commands), and, for the floor, the work alone in this process. RSA keys are a search for primes: their
//! times scatter, so the median of many runs counts.
//!
//! `cargo bench --bench cert`; without `openssl` there is nothing to compare with and nothing is measured.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use meshscript::base::clock::{Clock, SystemClock};
use meshscript::cert::Credential;
use meshscript::cert::files::{self, Files};
use meshscript::cert::issue::{self, AuthorityOptions, LeafOptions, Serial};

/// A kubeconfig that is never used: issuing needs no cluster, and no rehearsal is to be started for it either.
const KUBECONFIG: &str = "{apiVersion: v1, kind: Config, current-context: none, contexts: [{name: none, context: {cluster: none, user: none}}], \
                          clusters: [{name: none, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: none, user: {}}]}";

fn main() {
    let Ok(version) = Command::new("openssl").arg("version").output() else {
        println!("skipped: no openssl on this machine");
        return;
    };
    println!("peer: {}", String::from_utf8_lossy(&version.stdout).trim());
    let folder = tempfile::tempdir().expect("a folder");
    let ca = authority();
    files::save(&ca, &Files::of(folder.path(), "ca")).expect("the authority is saved");
    std::fs::write(folder.path().join("kubeconfig"), KUBECONFIG).expect("a kubeconfig");
    for (key, openssl, runs) in [
        ("P-256", "-newkey ec -pkeyopt ec_paramgen_curve:P-256", 40),
        ("RSA-2048", "-newkey rsa:2048", 40),
    ] {
        let alone = median(runs, || leaf(&ca, key));
        let ours = median(runs, || script(folder.path(), key));
        let theirs = median(runs, || guide(folder.path(), openssl));
        println!(
            "{key}: in process {}; program {}, openssl {}: {:.2} of openssl's time",
            show(alone),
            show(ours),
            show(theirs),
            ours.as_secs_f64() / theirs.as_secs_f64()
        );
    }
}

fn authority() -> Credential {
    let serial = Serial::random().expect("randomness");
    let now = SystemClock::new().now();
    issue::authority(&AuthorityOptions::default(), None, &serial, now).expect("an authority")
}

fn leaf(ca: &Credential, key: &str) {
    let options = LeafOptions {
        names: vec!["*.example.com".parse().expect("a name")],
        key: key.parse().expect("a kind of key"),
        ..LeafOptions::default()
    };
    let serial = Serial::random().expect("randomness");
    let made = issue::leaf(&options, ca, &serial, SystemClock::new().now());
    std::hint::black_box(made.expect("a leaf"));
}

/// One whole run of the program: read the authority, issue, write both files.
fn script(folder: &Path, key: &str) {
    let script = format!(
        "let ca = cert::load(\".\", #{{ name: \"ca\" }}); \
         cert::save(\".\", cert::issue(ca, #{{ names: \"*.example.com\", key: \"{key}\" }}), #{{ name: \"ours\" }}).changed"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshscript"));
    command.args(["eval", "--kubeconfig", "kubeconfig", &script]);
    run(command, folder);
}

/// The guide's commands: a key with a request, then the signature.
fn guide(folder: &Path, key: &str) {
    let request =
        format!("req -out leaf.csr {key} -nodes -keyout leaf.key -subj /CN=*.example.com");
    for arguments in [
        request.as_str(),
        "x509 -req -sha256 -days 90 -CA ca.crt -CAkey ca.key -set_serial 1 -in leaf.csr -out leaf.crt",
    ] {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' '));
        run(command, folder);
    }
}

fn run(mut command: Command, folder: &Path) {
    let status = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?} fails");
}

fn median(runs: usize, mut work: impl FnMut()) -> Duration {
    let clock = SystemClock::new();
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let began = clock.monotonic();
            work();
            clock.monotonic() - began
        })
        .collect();
    times.sort_unstable();
    times[runs / 2]
}

fn show(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
