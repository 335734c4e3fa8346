//! Finds the cases, runs them in process, compares what they print with what is expected.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

pub(crate) mod gateway_play;
pub(crate) mod helm;
mod kinds;
pub(crate) mod routing;
pub(crate) mod stand_in;
pub(crate) mod world;

/// All cases of all kinds.
pub(crate) fn trials() -> Vec<Trial> {
    kinds::trials()
}

/// The folder of a kind of case.
pub(crate) fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(kind)
}

/// One trial per entry of a kind's folder: a sub-folder, or a file with the given extension.
pub(crate) fn each(
    kind: &'static str,
    extension: Option<&str>,
    run: fn(&Path) -> Result<(), Failed>,
) -> Vec<Trial> {
    let Ok(entries) = fs::read_dir(folder(kind)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .into_iter()
        .filter(|path| match extension {
            Some(extension) => path.extension().is_some_and(|found| found == extension),
            None => path.is_dir(),
        })
        .map(|path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Trial::test(format!("{kind}/{stem}"), move || run(&path))
        })
        .collect()
}

/// Compares a result with the file that holds the expected one. `BLESS=1` accepts it; otherwise a difference is
/// written beside the file as `*.actual` and fails, as does a missing expectation.
pub(crate) fn expect(path: &Path, actual: &str) -> Result<(), Failed> {
    let expected = fs::read_to_string(path).ok();
    if expected.as_deref() == Some(actual) {
        return Ok(());
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, actual)?;
        return Ok(());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".actual");
    fs::write(&beside, actual)?;
    let expected = expected.ok_or_else(|| {
        format!("no expectation {}: read the .actual beside it, then BLESS=1", path.display())
    })?;
    Err(difference(&expected, actual).into())
}

/// The lines that differ.
pub(crate) fn difference(expected: &str, actual: &str) -> String {
    similar::TextDiff::from_lines(expected, actual)
        .unified_diff()
        .context_radius(3)
        .header("expected", "actual")
        .to_string()
}
