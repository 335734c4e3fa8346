//! The pinned `helm` of the test bed, the witness for everything that Helm does.
//!
//! An answer is kept below the target folder under the digest of all that it depends on: helm's version, the arguments and
//! the inputs. Whoever deletes that folder asks helm again.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use libtest_mimic::Trial;
use sha2::{Digest as _, Sha256};

/// The program and what it says of its version.
pub(crate) struct Helm {
    program: PathBuf,
    pub(crate) version: String,
}

/// What helm prints, or its error.
pub(crate) type Answer = Result<String, String>;

static HELM: LazyLock<Option<Helm>> = LazyLock::new(find);

#[expect(clippy::disallowed_methods, reason = "tests find the test bed by the environment")]
fn find() -> Option<Helm> {
    let cache = match std::env::var_os("MESHBED_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache/meshbed"),
    };
    let program = cache.join("bin/helm");
    let output = Command::new(&program).arg("version").output().ok()?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(Helm { program, version })
}

impl Helm {
    pub(crate) fn find() -> Option<&'static Self> {
        HELM.as_ref()
    }

    /// Runs helm with an empty home.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &self,
        home: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> io::Result<Answer> {
        self.run_in(home, home, arguments)
    }

    /// Runs helm with an empty home and variables.
    pub(crate) fn run_with<S: AsRef<OsStr>>(
        &self,
        home: &Path,
        arguments: impl IntoIterator<Item = S>,
        variables: impl IntoIterator<Item = (&'static str, String)>,
    ) -> io::Result<Answer> {
        let mut command = self.command(home, home);
        answered(command.args(arguments).envs(variables).output()?)
    }

    /// Runs helm in a folder with another as its home.
    pub(crate) fn run_in<S: AsRef<OsStr>>(
        &self,
        folder: &Path,
        home: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> io::Result<Answer> {
        answered(self.command(folder, home).args(arguments).output()?)
    }

    fn command(&self, folder: &Path, home: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(folder).env("HOME", home).env("TZ", "UTC").env_remove("KUBECONFIG");
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        // The test bed names folders that all share: what one case fetched would answer for another.
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env_remove(name);
        }
        command
    }

    /// The answer of an earlier run to the same question, else that of `ask`.
    pub(crate) fn remembered(
        &self,
        question: &[&str],
        ask: impl FnOnce() -> io::Result<Answer>,
    ) -> io::Result<Answer> {
        let mut parts: Vec<&[u8]> = vec![self.version.as_bytes()];
        parts.extend(question.iter().map(|part| part.as_bytes()));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm-answers");
        let file = folder.join(digest(&parts));
        if let Ok(text) = fs::read_to_string(&file) {
            if let Some(out) = text.strip_prefix("ok\n") {
                return Ok(Ok(out.to_owned()));
            }
            if let Some(error) = text.strip_prefix("error\n") {
                return Ok(Err(error.to_owned()));
            }
        }
        let answer = ask()?;
        let text = match &answer {
            Ok(out) => format!("ok\n{out}"),
            Err(error) => format!("error\n{error}"),
        };
        fs::create_dir_all(&folder)?;
        // Renamed into place: a run that is killed leaves no half answer.
        let fresh = tempfile::NamedTempFile::new_in(&folder)?;
        fs::write(fresh.path(), text)?;
        fresh.persist(file).map_err(|error| error.error)?;
        Ok(answer)
    }
}

fn answered(output: std::process::Output) -> io::Result<Answer> {
    Ok(if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    })
}

/// SHA-256 over parts of any length.
pub(crate) fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}

/// What stands for trials that cannot run here: one line, or a failure where `MESHBED_REQUIRE=1` demands them.
#[expect(clippy::disallowed_methods, reason = "continuous integration demands the test bed")]
pub(crate) fn missing(name: &'static str, what: &'static str) -> Vec<Trial> {
    let required = std::env::var_os("MESHBED_REQUIRE").is_some_and(|value| value == "1");
    vec![Trial::test(name, move || {
        if required {
            return Err(format!("{name} needs {what}").into());
        }
        println!("skipped: {name} needs {what}");
        Ok(())
    })]
}

/// An error without the word before it, the hint after it and the order that Go's maps give it: the failures of a schema
/// and the names in them come in another order on every run.
pub(crate) fn error_text(text: &str) -> String {
    const ADVICE: &str = "Use --debug flag to render out invalid YAML";
    const DEPENDENCIES: &str = "an error occurred while checking for chart dependencies. You may \
        need to run 'helm dependency build' to fetch missing dependencies: ";
    let text = text.trim();
    let text = text.strip_prefix("Error: ").unwrap_or(text);
    let text = text.strip_prefix(DEPENDENCIES).unwrap_or(text);
    let text = text.strip_suffix(ADVICE).unwrap_or(text).trim_end();
    if !text.starts_with("values don't meet the specifications of the schema") {
        return text.to_owned();
    }
    let mut lines: Vec<String> = text.lines().map(with_sorted_names).collect();
    lines.sort();
    lines.join("\n")
}

fn with_sorted_names(line: &str) -> String {
    let parts = line
        .split_once("additional properties ")
        .and_then(|(before, after)| Some((before, after.strip_suffix(" not allowed")?)));
    let Some((before, names)) = parts else { return line.to_owned() };
    let mut names: Vec<&str> = names.split(", ").collect();
    names.sort_unstable();
    format!("{before}additional properties {} not allowed", names.join(", "))
}
