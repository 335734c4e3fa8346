//! The test bed as the suite sees it: programs to run, and the API server's audit log as witness.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a program did.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The output if the program ended with `code`, else an error that shows all of it.
    pub(crate) fn ends(self, code: i32) -> Result<Self, String> {
        if self.code == code {
            return Ok(self);
        }
        Err(format!(
            "exit code {}, expected {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.stdout, self.stderr
        ))
    }

    /// Fails unless the output holds `text`.
    pub(crate) fn says(self, text: &str) -> Result<Self, String> {
        if self.stdout.contains(text) || self.stderr.contains(text) {
            return Ok(self);
        }
        Err(format!(
            "`{text}` is not in the output\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        ))
    }
}

/// Requests that reached the API server.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) all: usize,
    /// `verb resource namespace/name` of each write.
    pub(crate) writes: Vec<String>,
    /// `verb resource` of everything, for messages.
    pub(crate) list: Vec<String>,
}

pub(crate) struct Bed {
    kubeconfig: PathBuf,
    state: PathBuf,
    pub(crate) work: tempfile::TempDir,
}

impl Bed {
    /// The bed that this process runs in.
    pub(crate) fn find() -> Option<Self> {
        let kubeconfig = PathBuf::from(std::env::var_os("MESHBED_KUBECONFIG")?);
        let state = kubeconfig.parent()?.to_owned();
        Some(Self { kubeconfig, state, work: tempfile::tempdir().ok()? })
    }

    /// The file that names the bed's cluster.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder of charts and manifests.
    pub(crate) fn data() -> Result<PathBuf, String> {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(|folder| folder.join("shared/data"))
            .find(|folder| folder.is_dir())
            .ok_or_else(|| "no folder shared/data beside the project".to_owned())
    }

    /// The parameters that the guide needs on the bed.
    pub(crate) fn guide_parameters() -> Result<Vec<String>, String> {
        let data = Self::data()?;
        Ok(vec![
            "--allow-unproven".to_owned(),
            "--allow-read".to_owned(),
            data.display().to_string(),
            "--set".to_owned(),
            format!("charts={}", data.join("charts").display()),
            "--set".to_owned(),
            format!("manifests={}", data.join("manifests").display()),
            "--set".to_owned(),
            "pool=172.18.255.200-172.18.255.250".to_owned(),
        ])
    }

    /// meshscript, ready to run on the bed's cluster in the repository's folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshscript"));
        command
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.work.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs meshscript on the bed's cluster.
    pub(crate) fn meshscript(&self, arguments: &[&str]) -> Result<Ran, String> {
        ran(self.command(arguments))
    }

    /// Runs a script of the guide with the bed's parameters.
    pub(crate) fn script(&self, script: &str, more: &[&str]) -> Result<Ran, String> {
        let parameters = Self::guide_parameters()?;
        let mut arguments = vec!["run", script];
        // Only what a script declares may be set on it.
        if script == "scripts/all.rhai" {
            arguments.extend(parameters.iter().map(String::as_str));
        } else {
            arguments.push("--allow-unproven");
        }
        arguments.extend(more);
        self.meshscript(&arguments)
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<Ran, String> {
        ran(self.kubectl_command(arguments))
    }

    /// kubectl, ready to run on the bed's cluster.
    pub(crate) fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig);
        command
    }

    pub(crate) fn helm(&self, arguments: &[&str]) -> Result<Ran, String> {
        let mut command = Command::new("helm");
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig);
        ran(command)
    }

    /// The status code that curl gets; `000` when nothing answers.
    pub(crate) fn curl(&self, url: &str, address: &str, more: &[&str]) -> Result<String, String> {
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "-m", "5", "-w", "%{http_code}"]);
        command.args([
            "--resolve",
            &format!("*:80:{address}"),
            "--resolve",
            &format!("*:443:{address}"),
        ]);
        command.args(more).arg(url);
        Ok(ran(command)?.stdout)
    }

    /// The length of the audit log now; the beginning of what [`requests_since`](Self::requests_since) counts.
    pub(crate) fn audit_mark(&self) -> usize {
        // The log is flushed per batch: a request of ours that ended is there after a moment.
        std::thread::sleep(std::time::Duration::from_millis(700));
        fs::read(self.state.join("audit.log")).map_or(0, |log| log.len())
    }

    /// The requests of meshscript that the API server answered since the mark.
    pub(crate) fn requests_since(&self, mark: usize) -> Result<Requests, String> {
        std::thread::sleep(std::time::Duration::from_millis(700));
        let log = fs::read(self.state.join("audit.log")).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(log.get(mark..).unwrap_or_default()).into_owned();
        let mut requests = Requests::default();
        for line in text.lines() {
            let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            if !event["userAgent"].as_str().unwrap_or_default().starts_with("meshscript") {
                continue;
            }
            requests.all += 1;
            let verb = event["verb"].as_str().unwrap_or_default().to_owned();
            let object = &event["objectRef"];
            let resource = object["resource"].as_str().unwrap_or_default();
            let name = format!(
                "{}/{}",
                object["namespace"].as_str().unwrap_or_default(),
                object["name"].as_str().unwrap_or_default()
            );
            requests.list.push(format!(
                "{verb} {resource} {name} {}",
                event["requestURI"].as_str().unwrap_or_default()
            ));
            let writes = ["create", "update", "patch", "delete", "deletecollection"];
            // A port-forward is a `create` or `get` on a subresource that changes nothing.
            let stream =
                matches!(object["subresource"].as_str(), Some("portforward" | "exec" | "attach"));
            if writes.contains(&verb.as_str()) && !stream {
                requests.writes.push(format!("{verb} {resource} {name}"));
            }
        }
        Ok(requests)
    }
}

/// Runs a program to its end.
pub(crate) fn ran(mut command: Command) -> Result<Ran, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Fails with `why` unless it holds.
pub(crate) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// Tries until it holds or the seconds are over.
pub(crate) fn eventually(
    seconds: u64,
    mut attempt: impl FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(why) if std::time::Instant::now() > until => return Err(why),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(200)),
        }
    }
}
