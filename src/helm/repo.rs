//! Chart repositories: an `index.yaml` over HTTP, and the archives that it names.

use serde_json::Value as Json;

use super::remote::{Archive, Remote, RemoteError, no_chart, parse, shown};
use super::semver::Version;
use super::source::choose;
use crate::base::yaml;

/// A version of a chart as the index tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub version: String,
    pub app_version: String,
    pub description: String,
    pub deprecated: bool,
    /// Absolute, or relative to the repository.
    pub urls: Vec<String>,
    /// SHA-256 in hexadecimal; empty where the index tells none.
    pub digest: String,
}

/// Everything that a repository offers, by name, newest version first.
///
/// # Errors
/// `Http`, `Status`, and `Index` for an answer that is none. Entries without name, version or address are left out, as
/// Helm leaves them out.
pub async fn index(remote: &Remote, url: &str) -> Result<Vec<Entry>, RemoteError> {
    Ok(read_index(remote, url).await?.into_iter().map(|(_, entry)| entry).collect())
}

async fn read_index(remote: &Remote, url: &str) -> Result<Vec<(Version, Entry)>, RemoteError> {
    let address = parse(&format!("{}/index.yaml", url.trim_end_matches('/')))?;
    let wrong = |reason: &str| RemoteError::Index {
        url: shown(&address.to_string()),
        reason: reason.to_owned(),
    };
    let body = remote.get_current(&address).await?;
    let text = String::from_utf8(body).map_err(|_| wrong("it is no text"))?;
    let index = yaml::parse(&text).map_err(|error| wrong(&error.message))?;
    if !index["apiVersion"].is_string() {
        return Err(wrong("it has no `apiVersion`"));
    }
    let mut found = Vec::new();
    for (name, versions) in index["entries"].as_object().into_iter().flatten() {
        let mut versions: Vec<(Version, Entry)> = versions
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| read(name, entry))
            .collect();
        versions.sort_by(|a, b| b.0.precedence(&a.0));
        found.extend(versions);
    }
    Ok(found)
}

fn read(name: &str, entry: &Json) -> Option<(Version, Entry)> {
    let text = |key: &str| match &entry[key] {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let version = text("version");
    let parsed = Version::parse(&version).ok()?;
    let urls: Vec<String> = entry["urls"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|url| url.as_str().map(str::to_owned))
        .collect();
    if urls.is_empty() {
        return None;
    }
    let entry = Entry {
        name: name.to_owned(),
        version,
        app_version: text("appVersion"),
        description: text("description"),
        deprecated: entry["deprecated"] == true,
        urls,
        digest: text("digest"),
    };
    Some((parsed, entry))
}

/// Fetches a chart: the given version, else the newest that satisfies the constraint. An archive that has not the digest of
/// the index is refused.
///
/// # Errors
/// Those of [`index`]; `NoChart`, `NoVersion` and `Digest`.
pub async fn pull(
    remote: &Remote,
    url: &str,
    name: &str,
    version: &str,
) -> Result<Archive, RemoteError> {
    let (mut versions, others): (Vec<_>, Vec<_>) =
        read_index(remote, url).await?.into_iter().partition(|(_, entry)| entry.name == name);
    if versions.is_empty() {
        return Err(no_chart(
            name,
            &shown(url),
            others.iter().map(|(_, entry)| entry.name.as_str()),
        ));
    }
    let exact = versions.iter().position(|(_, entry)| entry.version == version);
    let chosen = match exact {
        Some(at) => versions.get(at),
        None => choose(&mut versions, version),
    };
    let Some((_, entry)) = chosen else {
        let found: Vec<&str> =
            versions.iter().map(|(_, entry)| entry.version.as_str()).take(20).collect();
        return Err(RemoteError::NoVersion {
            name: name.to_owned(),
            wanted: version.to_owned(),
            url: shown(url),
            found: found.join(", "),
        });
    };
    let home = parse(&format!("{}/", url.trim_end_matches('/')))?;
    let place = entry.urls.first().map(String::as_str).unwrap_or_default();
    let address =
        home.join(place).map_err(|source| RemoteError::Http { url: shown(place), source })?;
    remote.download(&address, &home, &entry.digest).await
}
