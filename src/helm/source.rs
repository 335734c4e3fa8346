//! Where charts come from: a folder, a `.tgz`, or a folder of `.tgz` files with name and version.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::chart::{Chart, ChartError, File, IgnoreRules, MAX_SIZE};
use super::semver::{Constraint, Version};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::suggest;

/// A chart that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("chart `{path}` does not exist")]
    NotFound { path: PathBuf },
    #[error("no chart `{name}` {wanted} in `{folder}`; there are: {found}")]
    NoVersion { name: String, wanted: String, folder: PathBuf, found: String },
    #[error("there is no chart `{name}` in `{folder}`")]
    NoChart { name: String, folder: PathBuf, found: Vec<String> },
    #[error("cannot read `{path}`: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{path}` leads outside the chart")]
    Escapes { path: PathBuf },
    #[error("chart `{path}` has the digest sha256:{found}, not sha256:{wanted}")]
    Digest { path: PathBuf, wanted: String, found: String },
    #[error("chart `{path}` is a folder and has no digest")]
    NoDigest { path: PathBuf },
    #[error("chart `{path}` cannot be verified: unpacked charts cannot be verified")]
    Unpacked { path: PathBuf },
    #[error("chart `{path}` cannot be verified: chart must be a tgz file")]
    NotPacked { path: PathBuf },
    #[error(
        "chart `{path}` cannot be verified: could not load provenance file {path}.prov: {source}"
    )]
    NoProvenance { path: PathBuf, source: std::io::Error },
    #[error("chart `{path}`: {source}")]
    Chart { path: PathBuf, source: ChartError },
}

impl From<SourceError> for Diagnostic {
    fn from(error: SourceError) -> Self {
        let message = error.to_string();
        match error {
            SourceError::NoChart { name, found, .. } => {
                let diagnostic = Self::new(ErrorKind::NotFound, message);
                let diagnostic = match suggest::near(&name, found.iter().map(String::as_str)) {
                    Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                    None => diagnostic,
                };
                if found.is_empty() {
                    return diagnostic.hint("the folder holds no chart, neither a folder with `Chart.yaml` nor a `.tgz`");
                }
                diagnostic.hint(format!("its charts are {}", found.join(", ")))
            }
            SourceError::NotFound { .. } | SourceError::NoVersion { .. } => {
                Self::new(ErrorKind::NotFound, message)
                    .hint("name a folder with `Chart.yaml`, or a packed chart such as `charts/istiod-1.30.3.tgz`")
            }
            SourceError::Digest { .. } => Self::new(ErrorKind::Invalid, message).hint(
                "nothing of it was used; get the chart again, or correct the option `digest` if the new chart is meant",
            ),
            SourceError::Unpacked { .. } | SourceError::NotPacked { .. } => {
                Self::new(ErrorKind::Invalid, message)
                    .hint("pack it with `helm package --sign`, or leave the option `verify` out")
            }
            SourceError::NoProvenance { .. } => Self::new(ErrorKind::Invalid, message).hint(
                "put the `.prov` of its publisher beside it, or leave `verify` out if its `digest` is enough",
            ),
            SourceError::NoDigest { .. } => Self::new(ErrorKind::Invalid, message)
                .hint("pack the chart, or leave the option `digest` out"),
            SourceError::Chart { source: ChartError::Archive(_), .. } => {
                Self::new(ErrorKind::Invalid, message).hint(
                    "the file is damaged or no packed chart; get it again, or pack it with `helm package`",
                )
            }
            SourceError::Read { .. } | SourceError::Escapes { .. } | SourceError::Chart { .. } => {
                Self::new(ErrorKind::Invalid, message)
            }
        }
    }
}

/// Loads a chart from a folder with `Chart.yaml` or a packed chart.
pub fn load(path: &Path) -> Result<Chart, SourceError> {
    let not_found = || SourceError::NotFound { path: path.to_owned() };
    let facts = fs::metadata(path).map_err(|_| not_found())?;
    let loaded = if facts.is_dir() {
        Chart::from_files(read_folder(path)?)
    } else {
        Chart::from_archive(&read(path)?)
    };
    loaded.map_err(|source| SourceError::Chart { path: path.to_owned(), source })
}

/// Loads a packed chart whose SHA-256 is as wanted, in hexadecimal with or without `sha256:`. It is checked before anything of
/// the file is read as a chart.
pub fn load_checked(path: &Path, wanted: &str) -> Result<Chart, SourceError> {
    if path.is_dir() {
        return Err(SourceError::NoDigest { path: path.to_owned() });
    }
    if !path.is_file() {
        return Err(SourceError::NotFound { path: path.to_owned() });
    }
    let data = read(path)?;
    let found = hex::encode(Sha256::digest(&data));
    let wanted = wanted.strip_prefix("sha256:").unwrap_or(wanted).to_ascii_lowercase();
    if found != wanted {
        return Err(SourceError::Digest { path: path.to_owned(), wanted, found });
    }
    Chart::from_archive(&data)
        .map_err(|source| SourceError::Chart { path: path.to_owned(), source })
}

/// A packed chart and the `.prov` beside it, as bytes.
///
/// # Errors
/// `NotFound`, `Unpacked`, `NotPacked` for a name that does not end in `.tgz`, `NoProvenance` and `Read`.
pub fn with_provenance(path: &Path) -> Result<(Vec<u8>, Vec<u8>), SourceError> {
    let own = || path.to_owned();
    let facts = fs::metadata(path).map_err(|_| SourceError::NotFound { path: own() })?;
    if facts.is_dir() {
        return Err(SourceError::Unpacked { path: own() });
    }
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tgz")) {
        return Err(SourceError::NotPacked { path: own() });
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".prov");
    let provenance =
        fs::read(beside).map_err(|source| SourceError::NoProvenance { path: own(), source })?;
    Ok((read(path)?, provenance))
}

/// Finds `name-VERSION.tgz` in a folder: the given version, else the newest that satisfies the constraint.
pub fn find(folder: &Path, name: &str, version: &str) -> Result<PathBuf, SourceError> {
    let exact = folder.join(format!("{name}-{version}.tgz"));
    if !version.is_empty() && exact.is_file() {
        return Ok(exact);
    }
    let entries = fs::read_dir(folder)
        .map_err(|source| SourceError::Read { path: folder.to_owned(), source })?;
    let mut found: Vec<(Version, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let file = entry.file_name().to_string_lossy().into_owned();
            let version = file.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".tgz")?;
            Some((Version::parse(version).ok()?, entry.path()))
        })
        .collect();
    match choose(&mut found, version) {
        Some((_, path)) => Ok(path.clone()),
        None => {
            let versions: Vec<String> =
                found.iter().map(|(version, _)| version.to_string()).collect();
            let (name, folder) = (name.to_owned(), folder.to_owned());
            if versions.is_empty() {
                let found = charts(&folder);
                return Err(SourceError::NoChart { name, folder, found });
            }
            let (wanted, found) = (version.to_owned(), versions.join(", "));
            Err(SourceError::NoVersion { name, wanted, folder, found })
        }
    }
}

/// The newest version that satisfies a constraint, as Helm picks it; empty stands for any that is no pre-release. Sorts the
/// versions, newest first.
pub(super) fn choose<'f, T>(
    found: &'f mut [(Version, T)],
    wanted: &str,
) -> Option<&'f (Version, T)> {
    found.sort_by(|a, b| b.0.precedence(&a.0));
    let constraint = Constraint::parse(if wanted.is_empty() { "*" } else { wanted }).ok()?;
    found.iter().find(|(version, _)| constraint.matches(version))
}

/// The charts of a folder as one would name them: folders with `Chart.yaml`, and the names of packed charts.
fn charts(folder: &Path) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().join("Chart.yaml").is_file() {
                return Some(name);
            }
            let stem = name.strip_suffix(".tgz")?;
            let version =
                stem.match_indices('-').find(|(at, _)| Version::parse(&stem[at + 1..]).is_ok());
            Some(version.map_or(stem, |(at, _)| &stem[..at]).to_owned())
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    fs::read(path).map_err(|source| SourceError::Read { path: path.to_owned(), source })
}

fn read_folder(root: &Path) -> Result<Vec<File>, SourceError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SourceError::Read { path, source }
    };
    let canonical = fs::canonicalize(root).map_err(failed(root))?;
    let rules = match fs::read(root.join(".helmignore")) {
        Ok(text) => IgnoreRules::parse(&String::from_utf8_lossy(&text)),
        Err(_) => IgnoreRules::parse(""),
    };
    let mut files = Vec::new();
    let mut left = MAX_SIZE;
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((relative, depth)) = folders.pop() {
        let folder = root.join(&relative);
        for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
            let entry = entry.map_err(failed(&folder))?;
            let inner = relative.join(entry.file_name());
            let path = entry.path();
            let name = inner.to_string_lossy().replace('\\', "/");
            // A link may lead elsewhere inside the chart, never outside.
            let target = fs::canonicalize(&path).map_err(failed(&path))?;
            if !target.starts_with(&canonical) || depth > 64 {
                return Err(SourceError::Escapes { path });
            }
            let facts = fs::metadata(&path).map_err(failed(&path))?;
            if rules.ignores(&name, facts.is_dir()) {
                continue;
            }
            if facts.is_dir() {
                folders.push((inner, depth + 1));
                continue;
            }
            let Some(rest) = left.checked_sub(facts.len()) else {
                let source = ChartError::TooBig;
                return Err(SourceError::Chart { path: root.to_owned(), source });
            };
            left = rest;
            let data = read(&path)?;
            let data = data.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&data);
            let modified = facts.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
            files.push(File::new(name, data).at(modified));
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}
