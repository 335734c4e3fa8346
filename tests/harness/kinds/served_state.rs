//! What a served sandbox keeps, and what it takes over: state files, the objects of another cluster, faults from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};

use super::serve::{Case, Sandbox, ensure};

pub(crate) fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 4] = [
        ("a_state_file_carries_a_cluster_over_a_restart", restart),
        ("a_file_that_is_no_state_stays_and_is_refused", nonsense),
        ("a_sandbox_begins_with_the_objects_of_another_cluster", import),
        ("faults_reach_a_served_sandbox_and_no_other_cluster", faults),
    ];
    cases.into_iter().map(|(name, run)| Trial::test(format!("serve/{name}"), run)).collect()
}

const WEB: &str = r#"
    k8s::apply(#{ apiVersion: "apps/v1", kind: "Deployment", metadata: #{ name: "web", namespace: "default" },
        spec: #{ selector: #{ matchLabels: #{ app: "web" } }, template: #{ metadata: #{ labels: #{ app: "web" } },
        spec: #{ containers: [#{ name: "web", image: "docker.io/mccutchen/go-httpbin:2.15.0" }] } } } });
    k8s::wait("deployment", "web", #{ namespace: "default", rollout: true, timeout: "30s" });
    k8s::apply(#{ apiVersion: "v1", kind: "Secret", metadata: #{ name: "word", namespace: "default" },
        stringData: #{ word: "swordfish" } });
"#;

/// The uid and phase of the only pod.
const POD: &str = r#"let pod = k8s::list("pods", #{ namespace: "default" })[0]; `${pod.metadata.uid} ${pod.status.phase}`"#;

fn last_line(text: &str) -> String {
    let mut lines = text.lines().filter(|line| !line.starts_with("Target"));
    lines.next_back().unwrap_or_default().to_owned()
}

fn restart() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("cluster.state");
    let flags = ["--speed", "100", "--state", state.to_str().ok_or("a path of text")?];
    let mut first = Sandbox::start(&flags)?;
    let (code, output) = first.eval(&first.kubeconfig, &format!("{WEB} {POD}"))?;
    ensure(code == Some(0), &*output)?;
    let pod = last_line(&output);
    let kubeconfig = folder.path().join("kubeconfig");
    fs::copy(&first.kubeconfig, &kubeconfig)?;
    let port = first.address.rsplit(':').next().unwrap_or_default().to_owned();
    first.terminate()?;
    let mode = fs::metadata(&state)?.permissions().mode() & 0o777;
    ensure(mode == 0o600, format!("the state has mode {mode:o}"))?;
    // The old kubeconfig is good for the new process: the keys are the same.
    let second = Sandbox::start(&[&flags[..], &["--port", &port]].concat())?;
    let (code, output) = second.eval(&kubeconfig, POD)?;
    ensure(code == Some(0) && last_line(&output) == pod && pod.ends_with("Running"), output)
}

fn nonsense() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("notes.txt");
    for text in ["dear diary", "{\"kind\": \"Poem\"}"] {
        fs::write(&state, text)?;
        let output = Command::new(env!("CARGO_BIN_EXE_meshscript"))
            .args(["sandbox", "--state", "notes.txt"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure(output.status.code() == Some(2) && error.contains("--state"), error)?;
        ensure(fs::read_to_string(&state)? == text, "the file was written over")?;
        let left = fs::read_dir(folder.path())?.count();
        ensure(left == 1, format!("{left} files are left instead of one"))?;
    }
    Ok(())
}

fn import() -> Result<(), Failed> {
    let origin = Sandbox::start(&["--speed", "100"])?;
    let (code, output) = origin.eval(&origin.kubeconfig, &format!("{WEB} {POD}"))?;
    ensure(code == Some(0), &*output)?;
    let pod = last_line(&output);
    let from = origin.kubeconfig.to_str().ok_or("a path of text")?;
    let copy = Sandbox::start(&["--from-context", "sandbox", "--from-kubeconfig", from])?;
    let (_, output) = copy.eval(&copy.kubeconfig, POD)?;
    ensure(last_line(&output) == pod, format!("{output}, not {pod}"))?;
    let word = r#"k8s::get("secret", "word", #{ namespace: "default" }).data.word"#;
    let (code, output) = copy.eval(&copy.kubeconfig, word)?;
    ensure(code == Some(0) && !output.contains("swordfish"), output)?;
    let gone = r#"
        k8s::delete("deployment", "web", #{ namespace: "default" });
        k8s::wait("deployment", "web", #{ namespace: "default", deleted: true, timeout: "30s" });
        k8s::list("deployments", #{ namespace: "default" }).len()
    "#;
    let (_, output) = copy.eval(&copy.kubeconfig, gone)?;
    ensure(last_line(&output) == "0", output)?;
    // What happens in the copy stays there.
    let (_, output) = origin.eval(&origin.kubeconfig, POD)?;
    ensure(last_line(&output) == pod, output)
}

fn faults() -> Result<(), Failed> {
    let sandbox = Sandbox::start(&["--speed", "100"])?;
    let text = r#"
        sandbox::fail_requests(#{ verb: "create", resource: "configmaps", code: 403, message: "not today" });
        let refused = attempt(|| k8s::create(#{ apiVersion: "v1", kind: "ConfigMap", metadata: #{ name: "a", namespace: "default" } }));
        `${refused.error.kind} ${sandbox::faults().len()}`
    "#;
    let (code, output) = sandbox.eval(&sandbox.kubeconfig, text)?;
    ensure(code == Some(0) && last_line(&output) == "Forbidden 0", output)?;
    // A user without rights changes nothing of the world.
    let denied = Command::new(env!("CARGO_BIN_EXE_meshscript"))
        .args(["eval", "sandbox::heal()", "--as", "nobody", "--kubeconfig"])
        .arg(&sandbox.kubeconfig)
        .output()?;
    let error = String::from_utf8_lossy(&denied.stderr).into_owned();
    ensure(denied.status.code() == Some(4), error)
}
