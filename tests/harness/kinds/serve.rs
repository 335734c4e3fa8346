//! Cases of the kind `serve`: `meshscript sandbox` as a process: who gets in, what ends it, what it leaves behind.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

pub(crate) fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 9] = [
        ("a_script_runs_on_it_by_its_kubeconfig", script),
        ("nobody_gets_in_without_credentials", credentials),
        ("it_ends_at_once_and_takes_its_kubeconfig_along", end),
        ("what_is_no_tls_does_not_end_it", garbage),
        ("it_listens_on_loopback_alone", loopback),
        ("a_kubeconfig_of_somebody_else_stays", others),
        ("a_port_that_is_taken_leaves_the_first_alone", taken),
        ("a_load_balancer_is_reached_at_the_address_of_its_status", balancer),
        ("what_cannot_be_listened_on_is_served_elsewhere", elsewhere),
    ];
    cases.into_iter().map(|(name, run)| Trial::test(format!("serve/{name}"), run)).collect()
}

pub(super) type Case = fn() -> Result<(), Failed>;

/// A sandbox in a process of its own; it ends with the case.
pub(super) struct Sandbox {
    process: Child,
    output: BufReader<ChildStdout>,
    pub(super) kubeconfig: PathBuf,
    pub(super) address: String,
    folder: tempfile::TempDir,
}

impl Sandbox {
    pub(super) fn start(more: &[&str]) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let kubeconfig = folder.path().join("kubeconfig");
        let mut process = Command::new(env!("CARGO_BIN_EXE_meshscript"))
            .args(["sandbox", "--kubeconfig"])
            .arg(&kubeconfig)
            .args(more)
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = String::new();
        let mut output = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        output.read_line(&mut ready)?;
        let address = ready.split_whitespace().find_map(|word| word.strip_prefix("https://"));
        let Some(address) = address.map(str::to_owned) else {
            return Err(format!("the sandbox says {ready:?}").into());
        };
        Ok(Self { process, output, kubeconfig, address, folder })
    }

    /// What it prints, as far as the first line that holds `text`.
    fn says(&mut self, text: &str) -> Result<String, Failed> {
        let mut line = String::new();
        while self.output.read_line(&mut line)? > 0 {
            if line.contains(text) {
                return Ok(line);
            }
            line.clear();
        }
        Err(format!("the sandbox ended before it said {text:?}").into())
    }

    /// Waits for the end, some seconds at most.
    fn ended(&mut self) -> Result<ExitStatus, Failed> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("it has not ended after 10 s".into())
    }

    /// Ends it as an init system does.
    pub(super) fn terminate(&mut self) -> Result<(), Failed> {
        Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status()?;
        let status = self.ended()?;
        ensure(status.code() == Some(0), format!("it ended with {status}"))
    }

    /// Exit code and output of an expression on it.
    pub(super) fn eval(
        &self,
        kubeconfig: &Path,
        expression: &str,
    ) -> Result<(Option<i32>, String), Failed> {
        let output = Command::new(env!("CARGO_BIN_EXE_meshscript"))
            .args(["eval", expression, "--kubeconfig"])
            .arg(kubeconfig)
            .current_dir(self.folder.path())
            .output()?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status.code(), text))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn ensure(holds: bool, otherwise: impl Into<String>) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}

fn script() -> Result<(), Failed> {
    let sandbox = Sandbox::start(&["--speed", "100"])?;
    let text = r#"
        k8s::apply(#{ apiVersion: "apps/v1", kind: "Deployment", metadata: #{ name: "web", namespace: "default" },
            spec: #{ selector: #{ matchLabels: #{ app: "web" } }, template: #{ metadata: #{ labels: #{ app: "web" } },
            spec: #{ containers: [#{ name: "web", image: "docker.io/mccutchen/go-httpbin:2.15.0" }] } } } });
        k8s::wait("deployment", "web", #{ namespace: "default", rollout: true, timeout: "30s" });
        k8s::get("deployment", "web", #{ namespace: "default" }).status.readyReplicas
    "#;
    let (code, output) = sandbox.eval(&sandbox.kubeconfig, text)?;
    ensure(code == Some(0) && output.lines().any(|line| line == "1"), output)
}

fn credentials() -> Result<(), Failed> {
    let sandbox = Sandbox::start(&[])?;
    let mode = fs::metadata(&sandbox.kubeconfig)?.permissions().mode() & 0o777;
    ensure(mode == 0o600, format!("the kubeconfig has mode {mode:o}"))?;
    let config: serde_json::Value =
        serde_yaml::from_str(&fs::read_to_string(&sandbox.kubeconfig)?)?;
    for (user, words) in [
        (serde_json::json!({}), "system:anonymous"),
        (serde_json::json!({"token": "made-up"}), "401"),
        // Signed by nobody: `{"alg":"none"}`.
        (serde_json::json!({"token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."}), "401"),
    ] {
        let mut config = config.clone();
        config["users"][0]["user"] = user;
        let other = sandbox.folder.path().join("other");
        fs::write(&other, serde_json::to_vec(&config)?)?;
        let (code, output) = sandbox.eval(&other, r#"k8s::list("secrets")"#)?;
        ensure(code == Some(4) && output.contains(words), format!("{code:?}: {output}"))?;
    }
    Ok(())
}

fn end() -> Result<(), Failed> {
    for signal in ["-TERM", "-INT"] {
        let mut sandbox = Sandbox::start(&[])?;
        let process = sandbox.process.id().to_string();
        // A connection that is open does not hold it.
        let _open = TcpStream::connect(&sandbox.address)?;
        Command::new("kill").args([signal, &process]).status()?;
        let status = sandbox.ended()?;
        ensure(status.code() == Some(0), format!("{signal}: {status}"))?;
        ensure(!sandbox.kubeconfig.exists(), "the kubeconfig is still there")?;
    }
    Ok(())
}

fn garbage() -> Result<(), Failed> {
    let sandbox = Sandbox::start(&[])?;
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xFF, 0xFF, 0, 0, 0], &[0xFF; 70_000]]
    {
        let mut stream = TcpStream::connect(&sandbox.address)?;
        // It may hang up in the middle of it.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let (code, output) = sandbox.eval(&sandbox.kubeconfig, r#"k8s::version().gitVersion"#)?;
    ensure(code == Some(0), output)
}

fn loopback() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_meshscript"))
        .args(["sandbox", "--address", "0.0.0.0"])
        .current_dir(folder.path())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure(output.status.code() == Some(2) && text.contains("127.0.0.1"), text)?;
    ensure(fs::read_dir(folder.path())?.next().is_none(), "it left a file")
}

fn others() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config");
    let text = "apiVersion: v1\nkind: Config\ncontexts: [{name: prod, context: {cluster: prod}}]\n";
    fs::write(&file, text)?;
    let output = Command::new(env!("CARGO_BIN_EXE_meshscript"))
        .args(["sandbox", "--kubeconfig", "config"])
        .current_dir(folder.path())
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure(output.status.code() == Some(2) && told.contains("no sandbox's kubeconfig"), told)?;
    ensure(fs::read_to_string(&file)? == text, "the file has changed")
}

fn taken() -> Result<(), Failed> {
    let first = Sandbox::start(&[])?;
    let port = first.address.rsplit(':').next().unwrap_or_default();
    let output = Command::new(env!("CARGO_BIN_EXE_meshscript"))
        .args(["sandbox", "--port", port, "--kubeconfig"])
        .arg(&first.kubeconfig)
        .current_dir(first.folder.path())
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure(output.status.code() == Some(1) && told.contains("cannot listen on"), told)?;
    let (code, output) = first.eval(&first.kubeconfig, "k8s::version().gitVersion")?;
    ensure(code == Some(0), output)
}

/// A script that puts a program behind a Service.
fn program(service: &str) -> String {
    format!(
        r#"
        k8s::apply(#{{ apiVersion: "apps/v1", kind: "Deployment", metadata: #{{ name: "web", namespace: "default" }},
            spec: #{{ selector: #{{ matchLabels: #{{ app: "web" }} }}, template: #{{ metadata: #{{ labels: #{{ app: "web" }} }},
            spec: #{{ containers: [#{{ name: "web", image: "docker.io/mccutchen/go-httpbin:2.15.0" }}] }} }} }} }});
        k8s::wait("deployment", "web", #{{ namespace: "default", rollout: true, timeout: "30s" }});
        k8s::apply(#{{ apiVersion: "v1", kind: "Service", metadata: #{{ name: "web", namespace: "default" }}, spec: {service} }});
    "#
    )
}

/// Status line and body of a request to a real socket.
fn get(address: &str) -> Result<String, Failed> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(
        b"GET /get?a=1 HTTP/1.1\r\nhost: web.example.com\r\nconnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn balancer() -> Result<(), Failed> {
    let mut sandbox = Sandbox::start(&["--speed", "100"])?;
    let service = r##"#{ type: "LoadBalancer", selector: #{ app: "web" }, ports: [#{ name: "http", port: 28471, targetPort: 8080 }] }"##;
    let (code, output) = sandbox.eval(&sandbox.kubeconfig, &program(service))?;
    ensure(code == Some(0), output)?;
    let told = sandbox.says("28471")?;
    let address = r#"k8s::get("service", "web", #{ namespace: "default" }).status.loadBalancer.ingress[0].ip"#;
    let (_, address) = sandbox.eval(&sandbox.kubeconfig, address)?;
    let address = address.lines().find(|line| line.starts_with("127.")).unwrap_or_default();
    let promised = format!("http://{address}:28471 ");
    ensure(!address.is_empty() && told.starts_with(&promised), format!("{told} {promised}"))?;
    // Another sandbox may have the port of the address; then the line says where else.
    let at = told.trim().rsplit("served at ").next().unwrap_or_default();
    let at = at.trim_start_matches("http://").split(' ').next().unwrap_or_default();
    let answer = get(at)?;
    ensure(answer.starts_with("HTTP/1.1 200") && answer.contains("web.example.com"), answer)?;
    let (code, output) = sandbox
        .eval(&sandbox.kubeconfig, r#"k8s::delete("service", "web", #{ namespace: "default" })"#)?;
    ensure(code == Some(0), output)?;
    sandbox.says("is gone")?;
    let kind = TcpStream::connect(at).err().map(|error| error.kind());
    ensure(kind == Some(std::io::ErrorKind::ConnectionRefused), format!("{at}: {kind:?}"))
}

fn elsewhere() -> Result<(), Failed> {
    let mut sandbox = Sandbox::start(&["--speed", "100"])?;
    // RFC 5737: nobody's address.
    let service = r##"#{ externalIPs: ["192.0.2.7"], selector: #{ app: "web" }, ports: [#{ name: "http", port: 28472, targetPort: 8080 }] }"##;
    let (code, output) = sandbox.eval(&sandbox.kubeconfig, &program(service))?;
    ensure(code == Some(0), output)?;
    let told = sandbox.says("http://192.0.2.7:28472 is served at 127.")?;
    let at = told.trim().rsplit(' ').next().unwrap_or_default();
    let answer = get(at)?;
    ensure(answer.starts_with("HTTP/1.1 200"), answer)
}
