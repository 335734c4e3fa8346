//! Packed charts: gzip over tar, one folder at the top. Archives that reach outside that folder or unpack to more than a
//! chart may hold are refused.

use std::io::Read as _;

use flate2::read::GzDecoder;
use jiff::Timestamp;

use super::{ChartError, File};

/// What a chart may unpack to.
pub const MAX_SIZE: u64 = 100 << 20;

/// The files of an archive by their paths below the top folder.
pub(super) fn unpack(data: &[u8]) -> Result<Vec<File>, ChartError> {
    let damaged = |error: std::io::Error| ChartError::Archive(error.to_string());
    let mut archive = tar::Archive::new(GzDecoder::new(data));
    let mut left = MAX_SIZE;
    let mut files = Vec::new();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() || kind.is_pax_local_extensions() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if path.ends_with('/') {
            continue;
        }
        let name = inner_path(&path)?;
        if entry.size() > left {
            return Err(ChartError::TooBig);
        }
        let modified = entry
            .header()
            .mtime()
            .ok()
            .and_then(|seconds| Timestamp::from_second(i64::try_from(seconds).ok()?).ok());
        let mut content = Vec::new();
        let read = entry.by_ref().take(left).read_to_end(&mut content).map_err(damaged)?;
        left -= u64::try_from(read).unwrap_or(u64::MAX).min(left);
        if left == 0 {
            return Err(ChartError::TooBig);
        }
        let content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&content);
        files.push(File::new(name, content).at(modified));
    }
    if files.is_empty() {
        return Err(ChartError::Archive("no files in chart archive".to_owned()));
    }
    Ok(files)
}

/// The path of an entry below the top folder.
fn inner_path(path: &str) -> Result<String, ChartError> {
    let illegal = |message: &str| Err(ChartError::Archive(message.to_owned()));
    let slashed = if path.contains('\\') { path.replace('\\', "/") } else { path.to_owned() };
    let (top, rest) = slashed.split_once('/').unwrap_or((&slashed, ""));
    if rest.starts_with('/') {
        return illegal("chart illegally contains absolute paths");
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return illegal("chart illegally references parent directory");
                }
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        if top == "Chart.yaml" {
            return illegal("chart yaml not in base directory");
        }
        return illegal(&format!(
            "chart illegally contains content outside the base directory: {path:?}"
        ));
    }
    let drive =
        |name: &str| matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if drive(parts[0]) {
        return illegal("chart contains illegally named files");
    }
    if top == "Chart.yaml" {
        return illegal("chart yaml not in base directory");
    }
    Ok(parts.join("/"))
}
