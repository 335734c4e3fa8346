//! Settings from file, environment and flags: the only reader of `std::env`.
//!
//! `Environment::read` takes what the process inherits, once; `cli` lays the flags over it and makes `Settings`, which
//! everything below gets as a plain value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// The file that marks a workspace.
pub const WORKSPACE_FILE: &str = "meshscript.toml";

/// What the process inherited.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// The current folder.
    pub folder: PathBuf,
    /// The arguments, program name first.
    pub arguments: Vec<String>,
}

impl Environment {
    /// Reads the environment of this process; names and values that are not UTF-8 are left out.
    #[expect(clippy::disallowed_methods, reason = "the only reader of the environment")]
    pub fn read() -> Self {
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            arguments: std::env::args_os()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
        }
    }

    /// An environment without variables, for runs that must not depend on the machine.
    pub fn empty(folder: PathBuf) -> Self {
        Self { folder, ..Self::default() }
    }

    /// The same with more variables.
    #[must_use]
    pub fn with(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables.extend(variables);
        self
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The home folder.
    pub fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from)
    }

    /// `$XDG_STATE_HOME/meshscript`, where the history of the REPL lives.
    pub fn state_folder(&self) -> Option<PathBuf> {
        self.xdg("XDG_STATE_HOME", ".local/state")
    }

    /// `$XDG_CACHE_HOME/meshscript`, where downloads are kept by digest.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        self.xdg("XDG_CACHE_HOME", ".cache")
    }

    /// GnuPG's public keys, as Helm looks for them: `pubring.gpg`, else `pubring.kbx`, in `$GNUPGHOME` or `~/.gnupg`.
    pub fn keyring(&self) -> Option<PathBuf> {
        let folder = self.var("GNUPGHOME").map(PathBuf::from);
        let folder = folder.or_else(|| Some(self.home()?.join(".gnupg")))?;
        let (legacy, keybox) = (folder.join("pubring.gpg"), folder.join("pubring.kbx"));
        Some(if !legacy.exists() && keybox.exists() { keybox } else { legacy })
    }

    fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        self.var(variable)
            .map(PathBuf::from)
            .or_else(|| Some(self.home()?.join(below_home)))
            .map(|folder| folder.join("meshscript"))
    }

    /// Whether continuous integration runs us: nothing prompts then.
    pub fn is_ci(&self) -> bool {
        self.var("CI").is_some_and(|value| value != "false" && value != "0")
    }

    /// Whether the locale can show more than ASCII.
    pub fn is_utf8(&self) -> bool {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| self.var(name));
        // Without any locale (a container) a terminal of today still shows UTF-8; `C` and `POSIX` ask for ASCII.
        locale.is_none_or(|locale| {
            let locale = locale.to_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        })
    }
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// The decision for one stream (design section 3 and the contract of interface 2.8).
    pub fn decide(self, environment: &Environment, terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                if environment.var("NO_COLOR").is_some() {
                    return false;
                }
                let forced = ["FORCE_COLOR", "CLICOLOR_FORCE"]
                    .iter()
                    .any(|name| environment.var(name).is_some_and(|value| value != "0"));
                forced || (terminal && environment.var("TERM") != Some("dumb"))
            }
        }
    }
}

/// How the target is named (design section 2).
#[derive(Clone, Debug, Default)]
pub struct TargetOptions {
    /// `--sandbox`
    pub sandbox: bool,
    pub context: Option<String>,
    pub kubeconfig: Option<PathBuf>,
    pub namespace: Option<String>,
    pub as_user: Option<String>,
    pub as_groups: Vec<String>,
    /// The limit of one request.
    pub request_timeout: Option<Duration>,
}

/// Which steps of a run are done.
#[derive(Clone, Debug, Default)]
pub struct StepFilter {
    pub only: Vec<String>,
    pub skip: Vec<String>,
    pub from: Option<String>,
}

/// Everything that one run goes by.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub environment: Environment,
    pub target: TargetOptions,
    /// The folder of the scripts; reads and writes stay inside unless granted.
    pub workspace: PathBuf,
    pub allow_read: Vec<PathBuf>,
    pub allow_write: Vec<PathBuf>,
    /// Names that `env::get` may read.
    pub allow_env: Vec<String>,
    /// `--set name=value`, in order; a later one wins.
    pub set: Vec<(String, String)>,
    /// The parameters of `--values FILE`.
    pub values: BTreeMap<String, Value>,
    pub steps: StepFilter,
    /// Requests and branches under way at once.
    pub parallel: usize,
    /// The limit of the whole run, on the target's clock.
    pub timeout: Option<Duration>,
    pub allow_unproven: bool,
    /// Nothing may be written to the target.
    pub read_only: bool,
    /// `--yes`: `confirm` answers yes.
    pub yes: bool,
    /// Whether a person can be asked.
    pub interactive: bool,
    /// Ask for less: use only what is in the workspace and the cache.
    pub offline: bool,
}

/// The parsed `meshscript.toml`.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkspaceFile {
    /// Default parameters of the scripts, below `--values` and `--set`.
    pub params: BTreeMap<String, Value>,
    /// The context that a run takes when none is named.
    pub context: Option<String>,
    pub allow: Grants,
}

/// What scripts may reach besides the workspace.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
    pub env: Vec<String>,
}

/// A workspace: its folder and its settings.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    pub folder: PathBuf,
    pub file: WorkspaceFile,
}

/// Why a workspace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("the workspace `{}` is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error("cannot read `{}`", .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
    #[error("`{}` is not valid", .0.display())]
    Invalid(PathBuf, #[source] toml::de::Error),
}

impl Workspace {
    /// The workspace named by `--workspace`, else the folder of the nearest `meshscript.toml`, else the current one.
    pub fn find(named: Option<&Path>, current: &Path) -> Result<Self, WorkspaceError> {
        let folder = match named {
            Some(named) => {
                let folder = current.join(named);
                if !folder.is_dir() {
                    return Err(WorkspaceError::NotAFolder(named.to_owned()));
                }
                folder
            }
            None => current
                .ancestors()
                .find(|folder| folder.join(WORKSPACE_FILE).is_file())
                .unwrap_or(current)
                .to_owned(),
        };
        let path = folder.join(WORKSPACE_FILE);
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => {
                toml::from_str(&text).map_err(|error| WorkspaceError::Invalid(path, error))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => WorkspaceFile::default(),
            Err(error) => return Err(WorkspaceError::Unreadable(path, error)),
        };
        Ok(Self { folder, file })
    }
}
