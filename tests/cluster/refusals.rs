//! What the API server refuses, as a user reads it: one clear error, the right exit code, nothing half-written.

use std::process::Stdio;

use super::Scenario;
use super::bed::{Bed, Ran, ensure};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("a_webhook_refusal_names_the_webhook_and_its_words", webhook),
    ("a_field_conflict_names_field_owner_and_both_values", conflict),
    ("a_forbidden_verb_ends_4_naming_user_and_verb", forbidden),
    ("a_wrong_token_ends_4", token),
    ("an_unknown_kind_ends_1_with_the_near_name", unknown_kind),
    ("an_invalid_manifest_ends_1_and_writes_nothing", invalid),
    ("an_image_that_never_comes_ends_the_wait_early", image),
    ("a_timeout_ends_124_saying_what_it_waited_for", timeout),
    ("ctrl_c_ends_130_at_once", interrupt),
];

/// Runs a script text in a workspace of its own.
fn script(bed: &Bed, text: &str, more: &[&str]) -> Result<Ran, String> {
    let folder = tempfile::tempdir_in(bed.work.path()).map_err(|error| error.to_string())?;
    std::fs::write(folder.path().join("case.rhai"), text).map_err(|error| error.to_string())?;
    let workspace = folder.path().display().to_string();
    let mut arguments = vec!["run", "case.rhai", "--workspace", &workspace];
    arguments.extend(more);
    bed.meshscript(&arguments)
}

/// Every refusal shows where: the script, its line, the caret.
fn shows_where(ran: Ran) -> Result<Ran, String> {
    ran.says("case.rhai:")?.says("^")
}

fn webhook(bed: &Bed) -> Result<(), String> {
    let ran = script(
        bed,
        r#"k8s::apply(#{ apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy",
            metadata: #{ name: "invalid", namespace: "sample" },
            spec: #{ rules: [#{ from: [#{ source: #{ ipBlocks: ["not-an-address"] } }] }] } });"#,
        &[],
    )?;
    shows_where(ran.ends(1)?)?.says("validation.istio.io")?.says("not-an-address")?;
    Ok(())
}

fn conflict(bed: &Bed) -> Result<(), String> {
    bed.kubectl(&["delete", "configmap", "shared", "-n", "default", "--ignore-not-found"])?
        .ends(0)?;
    bed.kubectl(&["create", "configmap", "shared", "-n", "default", "--from-literal=colour=blue"])?
        .ends(0)?;
    let ran = script(
        bed,
        r#"k8s::apply(#{ apiVersion: "v1", kind: "ConfigMap",
            metadata: #{ name: "shared", namespace: "default" }, data: #{ colour: "red" } });"#,
        &[],
    )?;
    shows_where(ran.ends(6)?)?.says("colour")?.says("kubectl-create")?.says("blue")?.says("red")?;
    let left = bed.kubectl(&[
        "get",
        "configmap",
        "shared",
        "-n",
        "default",
        "-o",
        "jsonpath={.data.colour}",
    ])?;
    ensure(left.stdout == "blue", || format!("the conflicting field was written: {}", left.stdout))
}

fn forbidden(bed: &Bed) -> Result<(), String> {
    let ran =
        script(bed, r#"k8s::list("secrets", #{ namespace: "default" });"#, &["--as", "nobody"])?;
    ran.ends(4)?.says("nobody")?.says("list")?.says("secrets")?;
    Ok(())
}

fn token(bed: &Bed) -> Result<(), String> {
    let config =
        bed.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"])?.ends(0)?.stdout;
    let mut config: serde_json::Value =
        serde_json::from_str(&config).map_err(|error| error.to_string())?;
    config["users"][0]["user"] = serde_json::json!({ "token": "expired.token.of-a-test" });
    let path = bed.work.path().join("expired.kubeconfig");
    std::fs::write(&path, config.to_string()).map_err(|error| error.to_string())?;
    let path = path.display().to_string();
    let ran = bed.meshscript(&["eval", "k8s::list(\"nodes\")", "--kubeconfig", &path])?.ends(4)?;
    ensure(!ran.stderr.contains("expired.token.of-a-test"), || {
        "the token is in the output".to_owned()
    })?;
    ran.says("nauthorized").map(drop)
}

fn unknown_kind(bed: &Bed) -> Result<(), String> {
    let ran = script(bed, r#"k8s::list("deploymets");"#, &[])?;
    shows_where(ran.ends(1)?)?.says("deploymets")?.says("deployments")?;
    Ok(())
}

fn invalid(bed: &Bed) -> Result<(), String> {
    let ran = script(
        bed,
        r#"k8s::apply(#{ apiVersion: "apps/v1", kind: "Deployment", metadata: #{ name: "invalid", namespace: "default" },
            spec: #{ replica: 2, selector: #{ matchLabels: #{ a: "b" } }, template: #{ metadata: #{ labels: #{ a: "b" } }, spec: #{ containers: [] } } } });"#,
        &[],
    )?;
    shows_where(ran.ends(1)?)?.says("replica")?;
    let left = bed.kubectl(&[
        "get",
        "deployment",
        "invalid",
        "-n",
        "default",
        "--ignore-not-found",
        "-o",
        "name",
    ])?;
    ensure(left.stdout.is_empty(), || "the invalid object exists".to_owned())
}

fn image(bed: &Bed) -> Result<(), String> {
    let began = std::time::Instant::now();
    let ran = script(
        bed,
        r#"k8s::apply(#{ apiVersion: "apps/v1", kind: "Deployment", metadata: #{ name: "never", namespace: "default" },
            spec: #{ selector: #{ matchLabels: #{ app: "never" } },
                template: #{ metadata: #{ labels: #{ app: "never" }, annotations: #{ "meshbed/hold": "ImagePullBackOff" } },
                    spec: #{ containers: [#{ name: "web", image: "registry.invalid/never:1" }] } } } });
           k8s::wait("deployment", "never", #{ namespace: "default", rollout: true, timeout: "4m" });"#,
        &[],
    );
    bed.kubectl(&["delete", "deployment", "never", "-n", "default", "--ignore-not-found"])?
        .ends(0)?;
    let ran = ran?;
    let took = began.elapsed().as_secs();
    ensure(took < 120, || format!("it waited {took} s for an image that never comes"))?;
    shows_where(ran.ends(1)?)?.says("ImagePullBackOff")?;
    Ok(())
}

fn timeout(bed: &Bed) -> Result<(), String> {
    let ran = script(
        bed,
        r#"step("settings", || k8s::wait("configmap", "never", #{ namespace: "default", exists: true, timeout: "1s" }));"#,
        &[],
    )?;
    // What was done before the step is in the cluster: the next run goes on there.
    shows_where(ran.ends(124)?)?.says("never")?.says("--from settings")?;
    Ok(())
}

fn interrupt(bed: &Bed) -> Result<(), String> {
    let folder = tempfile::tempdir_in(bed.work.path()).map_err(|error| error.to_string())?;
    let text = r#"k8s::wait("configmap", "never", #{ namespace: "default", exists: true, timeout: "5m" });"#;
    std::fs::write(folder.path().join("case.rhai"), text).map_err(|error| error.to_string())?;
    let workspace = folder.path().display().to_string();
    let child = bed
        .command(&["run", "case.rhai", "--workspace", &workspace])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let began = std::time::Instant::now();
    let signal = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .map_err(|error| error.to_string())?;
    ensure(signal.success(), || "the signal was not sent".to_owned())?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let took = began.elapsed();
    ensure(output.status.code() == Some(130), || {
        format!("{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr))
    })?;
    ensure(took.as_millis() < 2_000, || format!("it ended {took:?} after the signal"))
}
