//! Charts over the network: what repositories and registries share, and charts by their plain address.
//!
//! An archive is kept below the cache folder under its SHA-256 and read again from there; a file that does not have its
//! digest any more is fetched anew.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use sha2::{Digest as _, Sha256};

use super::chart::{Chart, ChartError};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::secret::Secret;
use crate::base::{files, suggest};
use crate::http::request::Url;
use crate::http::tls::Trust;
use crate::http::{Client, HttpError, Request, Response};

/// How many redirects are followed; registries send to their storage.
const REDIRECTS: u32 = 10;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
}

impl Credentials {
    pub(super) fn basic(&self) -> String {
        let pair = format!("{}:{}", self.username, self.password.reveal());
        format!("Basic {}", STANDARD.encode(pair))
    }
}

/// How charts are fetched.
#[derive(Clone, Debug)]
pub struct Remote {
    pub client: Client,
    pub trust: Trust,
    /// Sent to the host that is named, never to one that it points at.
    pub credentials: Option<Credentials>,
    /// Registries are spoken to without TLS.
    pub plain_http: bool,
    /// For each request.
    pub timeout: Duration,
    /// Where archives are kept by their digest; `None` keeps none.
    pub cache: Option<PathBuf>,
}

/// A packed chart.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Where it came from.
    pub from: String,
    pub data: Vec<u8>,
    /// Its SHA-256 in hexadecimal.
    pub digest: String,
}

impl Archive {
    /// Reads the chart; `wanted` is the SHA-256 that it must have, with or without `sha256:`, empty for any.
    ///
    /// # Errors
    /// `Digest`, before anything of it is read, and `Chart`.
    pub fn chart(&self, wanted: &str) -> Result<Chart, RemoteError> {
        self.check(wanted)?;
        Chart::from_archive(&self.data)
            .map_err(|source| RemoteError::Chart { url: self.from.clone(), source })
    }

    pub(super) fn check(&self, wanted: &str) -> Result<(), RemoteError> {
        let wanted = wanted.strip_prefix("sha256:").unwrap_or(wanted).to_ascii_lowercase();
        if wanted.is_empty() || wanted == self.digest {
            return Ok(());
        }
        let (url, found) = (self.from.clone(), self.digest.clone());
        Err(RemoteError::Digest { url, wanted, found })
    }
}

/// A chart that cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("cannot fetch `{url}`: {source}")]
    Http { url: String, source: HttpError },
    #[error("`{url}` answered {status}{detail}")]
    Status { url: String, status: StatusCode, detail: String },
    #[error("`{url}` is no index of a chart repository: {reason}")]
    Index { url: String, reason: String },
    #[error("`{url}` is no chart: {reason}")]
    Manifest { url: String, reason: String },
    #[error(
        "`{0}` names no chart of a registry: write `oci://HOST/PATH/NAME`, with `:TAG` or the option `version`"
    )]
    Reference(String),
    #[error("there is no chart `{name}` in `{url}`")]
    NoChart { name: String, url: String, near: Option<String> },
    #[error("no version {wanted} of chart `{name}` in `{url}`; there are: {found}")]
    NoVersion { name: String, wanted: String, url: String, found: String },
    #[error("`{url}` has the digest sha256:{found}, not sha256:{wanted}")]
    Digest { url: String, wanted: String, found: String },
    #[error("`{url}`: {source}")]
    Chart { url: String, source: ChartError },
}

impl From<RemoteError> for Diagnostic {
    fn from(error: RemoteError) -> Self {
        let message = error.to_string();
        match error {
            RemoteError::Http { source, url } => {
                let inner: Self = source.into();
                inner.cause(format!("while `{url}` was fetched"))
            }
            RemoteError::Status { status, .. } => match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    Self::new(ErrorKind::Denied, message)
                        .hint("give `username` and `password`, or ask for the right to read it")
                }
                StatusCode::NOT_FOUND => Self::new(ErrorKind::NotFound, message)
                    .hint("look at the address; a repository has its `index.yaml` below it"),
                _ => Self::new(ErrorKind::Unreachable, message),
            },
            RemoteError::NoChart { near, .. } => {
                let diagnostic = Self::new(ErrorKind::NotFound, message);
                match near {
                    Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                    None => diagnostic.hint("`helm::repo(url)` lists what there is"),
                }
            }
            RemoteError::NoVersion { .. } => Self::new(ErrorKind::NotFound, message),
            RemoteError::Reference(_) => Self::new(ErrorKind::Argument, message),
            RemoteError::Digest { .. } => Self::new(ErrorKind::Invalid, message).hint(
                "nothing of it was used; find out who changed it, or correct the digest if the new chart is meant",
            ),
            RemoteError::Index { .. }
            | RemoteError::Manifest { .. }
            | RemoteError::Chart { .. } => Self::new(ErrorKind::Invalid, message),
        }
    }
}

pub(super) fn parse(url: &str) -> Result<Url, RemoteError> {
    url.parse().map_err(|source| RemoteError::Http { url: url.to_owned(), source })
}

impl Remote {
    /// Asks once; any status is an answer.
    pub(super) async fn ask(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<Response, RemoteError> {
        let failed = |source| RemoteError::Http { url: url.to_string(), source };
        let mut request = Request::new(Method::GET, url.clone());
        request.trust = self.trust.clone();
        request.redirects = REDIRECTS;
        request.timeout = self.timeout;
        for (name, value) in headers {
            request.header(name, value).map_err(failed)?;
        }
        self.client.send(&request).await.map_err(failed)
    }

    /// Asks with the credentials where `url` is on the host of `home`.
    pub(super) async fn get(&self, url: &Url, home: &Url) -> Result<Vec<u8>, RemoteError> {
        let own = (url.is_secure(), url.host(), url.port());
        let basic = self
            .credentials
            .as_ref()
            .filter(|_| own == (home.is_secure(), home.host(), home.port()))
            .map(Credentials::basic);
        let headers: Vec<(&str, &str)> =
            basic.iter().map(|basic| ("authorization", basic.as_str())).collect();
        let response = self.ask(url, &headers).await?;
        succeeded(&response, url)?;
        Ok(response.body.to_vec())
    }

    /// The archive of a digest: out of the cache, else as `fetched`, checked and kept. Without a digest it is always fetched.
    pub(super) async fn archive(
        &self,
        digest: &str,
        from: &str,
        fetched: impl Future<Output = Result<Vec<u8>, RemoteError>>,
    ) -> Result<Archive, RemoteError> {
        if let Some(archive) = self.cached(digest, from) {
            return Ok(archive);
        }
        let archive = packed(fetched.await?, from);
        archive.check(digest)?;
        if let Some(file) = self.cache_file(&archive.digest) {
            // A cache that cannot be written is no cache.
            let _ = files::write(&file, &archive.data);
        }
        Ok(archive)
    }

    fn cached(&self, digest: &str, from: &str) -> Option<Archive> {
        let digest = digest.strip_prefix("sha256:").unwrap_or(digest).to_ascii_lowercase();
        let data = std::fs::read(self.cache_file(&digest)?).ok()?;
        let archive = packed(data, from);
        (archive.digest == digest).then_some(archive)
    }

    fn cache_file(&self, digest: &str) -> Option<PathBuf> {
        // What a server says becomes part of a path.
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let folder = self.cache.as_ref().filter(|_| is_digest)?;
        Some(folder.join("charts").join(format!("{digest}.tgz")))
    }
}

pub(super) fn packed(data: Vec<u8>, from: &str) -> Archive {
    let digest = hex::encode(Sha256::digest(&data));
    Archive { from: from.to_owned(), data, digest }
}

pub(super) fn succeeded(response: &Response, url: &Url) -> Result<(), RemoteError> {
    if response.status.is_success() {
        return Ok(());
    }
    // Registries and API gateways say why in JSON; a page of HTML says nothing.
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let message = body["errors"][0]["message"].as_str().or(body["message"].as_str());
    let detail = message.map(|message| format!(": {message}")).unwrap_or_default();
    Err(RemoteError::Status { url: url.to_string(), status: response.status, detail })
}

pub(super) fn no_chart<'n>(
    name: &str,
    url: &str,
    names: impl Iterator<Item = &'n str>,
) -> RemoteError {
    let near = suggest::near(name, names).map(str::to_owned);
    RemoteError::NoChart { name: name.to_owned(), url: url.to_owned(), near }
}

/// Fetches a packed chart from its address; `digest` is the one that it must have, empty for any.
///
/// # Errors
/// `Http`, `Status` and `Digest`.
pub async fn fetch(remote: &Remote, url: &str, digest: &str) -> Result<Archive, RemoteError> {
    let address = parse(url)?;
    remote.archive(digest, url, remote.get(&address, &address)).await
}
