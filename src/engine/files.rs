//! Which files a script may touch: the workspace, and what the user granted.
//!
//! Paths are resolved (links followed) before they are compared, so that neither `..` nor a link leads outside.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::base::diagnostic::{Diagnostic, ErrorKind};
pub use crate::base::files::write;

/// The files of a run.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Files {
    /// The files of a workspace. Grants are relative to the current folder; what does not exist yet is granted as named.
    pub fn new(workspace: &Path, current: &Path, read: &[PathBuf], write: &[PathBuf]) -> Self {
        let real = |path: &PathBuf| resolve(&current.join(path));
        Self {
            root: resolve(workspace),
            read: read.iter().map(real).collect(),
            write: write.iter().map(real).collect(),
        }
    }

    /// The folder that relative paths start from.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The real path of a file or folder that a script names, if it may read it.
    ///
    /// # Errors
    /// `Forbidden` with the flag that grants it.
    pub fn readable(&self, path: &str) -> Result<PathBuf, Diagnostic> {
        let real = resolve(&self.root.join(path));
        let granted = self.read.iter().chain(&self.write).any(|granted| real.starts_with(granted));
        if real.starts_with(&self.root) || granted {
            return Ok(real);
        }
        Err(refused(path, "read", "--allow-read"))
    }

    /// The real path of a file that a script names, if it may write it.
    ///
    /// # Errors
    /// `Forbidden` with the flag that grants it.
    pub fn writable(&self, path: &str) -> Result<PathBuf, Diagnostic> {
        let real = resolve(&self.root.join(path));
        if real.starts_with(&self.root)
            || self.write.iter().any(|granted| real.starts_with(granted))
        {
            return Ok(real);
        }
        Err(refused(path, "write", "--allow-write"))
    }
}

fn refused(path: &str, verb: &str, flag: &str) -> Diagnostic {
    Diagnostic::new(ErrorKind::Denied, format!("the script may not {verb} `{path}`"))
        .cause("it lies outside of the workspace")
        .hint(format!("grant it with `{flag} {path}`"))
}

/// The path with links followed as far as it exists, and the rest of it taken as named.
fn resolve(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                // Links in what exists so far are followed first: `link/..` is the parent of the link's target.
                plain = plain.canonicalize().unwrap_or(plain);
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    let mut missing = Vec::new();
    let mut existing = plain.as_path();
    loop {
        if let Ok(real) = existing.canonicalize() {
            return missing.iter().rev().fold(real, |path, name| path.join(name));
        }
        let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
            return plain;
        };
        missing.push(name.to_owned());
        existing = parent;
    }
}

/// What went wrong with a file, as a diagnostic.
pub fn io_error(verb: &str, path: &str, error: &io::Error) -> Diagnostic {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Failed,
    };
    Diagnostic::new(kind, format!("cannot {verb} `{path}`")).cause(error.to_string())
}
