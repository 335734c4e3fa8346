//! Charts over the network: what repositories and registries share, and charts by their plain address.
//!
//! An archive is kept below the cache folder under its SHA-256 and read again from there; a file that does not have its
//! digest any more is fetched anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ETAG, LAST_MODIFIED};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::chart::{Chart, ChartError};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::secret::Secret;
use crate::base::{files, suggest};
use crate::http::proxy::Proxies;
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
    pub proxies: Arc<Proxies>,
    /// Sent to the host that is named, never to one that it points at.
    pub credentials: Option<Credentials>,
    /// Registries are spoken to without TLS.
    pub plain_http: bool,
    /// For each request.
    pub timeout: Duration,
    /// Where archives are kept by their digest; `None` keeps none.
    pub cache: Option<PathBuf>,
    /// Whether the `.prov` of an archive is fetched too, and must be there.
    pub provenance: bool,
}

/// A text as a server once sent it, with what it needs to tell whether it is still the same.
#[derive(Debug)]
struct Copy {
    etag: Option<String>,
    last_modified: Option<String>,
    body: Vec<u8>,
}

/// The first line of a copy in the cache.
#[derive(Deserialize, Serialize)]
struct CopyHead {
    etag: Option<String>,
    last_modified: Option<String>,
    sha256: String,
}

impl Copy {
    /// `None` for a file that is not what its first line says.
    fn read(file: &[u8]) -> Option<Self> {
        let end = file.iter().position(|byte| *byte == b'\n')?;
        let head: CopyHead = serde_json::from_slice(&file[..end]).ok()?;
        let body = file[end + 1..].to_vec();
        let CopyHead { etag, last_modified, sha256 } = head;
        (hex::encode(Sha256::digest(&body)) == sha256).then_some(Self { etag, last_modified, body })
    }

    fn written(&self) -> Vec<u8> {
        let (etag, last_modified) = (self.etag.clone(), self.last_modified.clone());
        let sha256 = hex::encode(Sha256::digest(&self.body));
        let head = serde_json::to_vec(&CopyHead { etag, last_modified, sha256 });
        [&head.unwrap_or_default()[..], b"\n", &self.body].concat()
    }

    fn conditions(&self) -> Vec<(&str, &str)> {
        let etag = self.etag.as_deref().map(|etag| ("if-none-match", etag));
        let since = self.last_modified.as_deref().map(|since| ("if-modified-since", since));
        etag.into_iter().chain(since).collect()
    }
}

/// A packed chart.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Where it came from.
    pub from: String,
    pub data: Vec<u8>,
    /// Its SHA-256 in hexadecimal.
    pub digest: String,
    /// The name that its `.prov` knows it by.
    pub file: String,
    /// Its `.prov`, where one was asked for.
    pub provenance: Option<Vec<u8>>,
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
    #[error("`{0}` holds credentials")]
    Credentials(String),
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
    #[error("failed to fetch provenance \"{url}.prov\": {reason}")]
    NoProvenance { url: String, reason: String },
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
            RemoteError::Credentials(_) => Self::new(ErrorKind::Argument, message)
                .hint("give them as `username` and `password`, best a secret: addresses are logged"),
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
            RemoteError::NoProvenance { .. } => Self::new(ErrorKind::Invalid, message).hint(
                "the chart is not signed there; ask its publisher, or leave `verify` out if its `digest` is enough",
            ),
            RemoteError::Index { .. }
            | RemoteError::Manifest { .. }
            | RemoteError::Chart { .. } => Self::new(ErrorKind::Invalid, message),
        }
    }
}

pub(super) fn parse(url: &str) -> Result<Url, RemoteError> {
    let masked = shown(url);
    if masked.contains("://***@") {
        return Err(RemoteError::Credentials(masked));
    }
    url.parse().map_err(|source| RemoteError::Http { url: masked, source })
}

/// An address as it may be told: what stands before an `@` may be a password, what follows a `?` a signature.
pub(super) fn shown(url: &str) -> String {
    let plain = url.split_once('?').map_or(url.to_owned(), |(plain, _)| format!("{plain}?***"));
    match plain.split_once("://").map(|(scheme, rest)| (scheme, rest.rsplit_once('@'))) {
        Some((scheme, Some((user, rest)))) if !user.contains('/') => {
            format!("{scheme}://***@{rest}")
        }
        _ => plain,
    }
}

impl Remote {
    /// Asks once; any status is an answer.
    pub(super) async fn ask(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<Response, RemoteError> {
        let failed = |source| {
            let source = match source {
                HttpError::TooManyRedirects { limit, url } => {
                    HttpError::TooManyRedirects { limit, url: shown(&url) }
                }
                HttpError::BadRedirect { url, location } => {
                    HttpError::BadRedirect { url: shown(&url), location: shown(&location) }
                }
                other => other,
            };
            RemoteError::Http { url: shown(&url.to_string()), source }
        };
        let mut request = Request::new(Method::GET, url.clone());
        request.trust = self.trust.clone();
        request.proxies = Arc::clone(&self.proxies);
        request.redirects = REDIRECTS;
        request.timeout = self.timeout;
        for (name, value) in headers {
            request.header(name, value).map_err(failed)?;
        }
        self.client.send(&request).await.map_err(failed)
    }

    /// Fetches a text that changes, or keeps the copy of last time where the server says that it is still the same
    /// (RFC 9110, section 13.1). Safe under parallel runs: a copy takes its place whole, and says what it must be.
    pub(super) async fn get_current(&self, url: &Url) -> Result<Vec<u8>, RemoteError> {
        let file = self.cache.as_ref().map(|folder| {
            let name = hex::encode(Sha256::digest(url.to_string()));
            folder.join("indexes").join(name)
        });
        let kept = file.as_ref().and_then(|file| Copy::read(&std::fs::read(file).ok()?));
        let conditions = kept.as_ref().map(Copy::conditions).unwrap_or_default();
        let response = self.ask_own(url, url, &conditions).await?;
        if let Some(kept) = kept
            && response.status == StatusCode::NOT_MODIFIED
        {
            return Ok(kept.body);
        }
        succeeded(&response, url)?;
        let header = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
        let copy = Copy {
            etag: header(ETAG).map(str::to_owned),
            last_modified: header(LAST_MODIFIED).map(str::to_owned),
            body: response.body.to_vec(),
        };
        if let Some(file) = file.filter(|_| copy.etag.is_some() || copy.last_modified.is_some()) {
            // A cache that cannot be written is no cache.
            let _ = files::write(&file, &copy.written());
        }
        Ok(copy.body)
    }

    /// Asks with the credentials where `url` is on the host of `home`.
    async fn ask_own(
        &self,
        url: &Url,
        home: &Url,
        headers: &[(&str, &str)],
    ) -> Result<Response, RemoteError> {
        let own = (url.is_secure(), url.host(), url.port());
        let basic = self
            .credentials
            .as_ref()
            .filter(|_| own == (home.is_secure(), home.host(), home.port()))
            .map(Credentials::basic);
        let basic = basic.iter().map(|basic| ("authorization", basic.as_str()));
        let headers: Vec<(&str, &str)> = headers.iter().copied().chain(basic).collect();
        self.ask(url, &headers).await
    }

    /// What is at an address, asked for as one of `home`.
    pub(super) async fn get(&self, url: &Url, home: &Url) -> Result<Vec<u8>, RemoteError> {
        let response = self.ask_own(url, home, &[]).await?;
        succeeded(&response, url)?;
        Ok(response.body.to_vec())
    }

    /// The archive at an address with its `.prov` beside it, asked for as one of `home`.
    pub(super) async fn download(
        &self,
        address: &Url,
        home: &Url,
        digest: &str,
    ) -> Result<Archive, RemoteError> {
        let from = shown(&address.to_string());
        let file = address.path().path().rsplit('/').next().unwrap_or_default();
        let mut archive = self.archive(digest, (&from, file), self.get(address, home)).await?;
        if self.provenance {
            let beside = parse(&format!("{address}.prov"))?;
            let found = self.get(&beside, home).await;
            archive.provenance = Some(found.map_err(|error| RemoteError::NoProvenance {
                url: from,
                reason: error.to_string(),
            })?);
        }
        Ok(archive)
    }

    /// The archive of a digest: out of the cache, else as `fetched`, checked and kept. Without a digest it is always fetched.
    pub(super) async fn archive(
        &self,
        digest: &str,
        (from, file): (&str, &str),
        fetched: impl Future<Output = Result<Vec<u8>, RemoteError>>,
    ) -> Result<Archive, RemoteError> {
        if let Some(archive) = self.cached(digest, from, file) {
            return Ok(archive);
        }
        let archive = packed(fetched.await?, from, file);
        archive.check(digest)?;
        if let Some(file) = self.cache_file(&archive.digest) {
            // A cache that cannot be written is no cache.
            let _ = files::write(&file, &archive.data);
        }
        Ok(archive)
    }

    fn cached(&self, digest: &str, from: &str, file: &str) -> Option<Archive> {
        let digest = digest.strip_prefix("sha256:").unwrap_or(digest).to_ascii_lowercase();
        let data = std::fs::read(self.cache_file(&digest)?).ok()?;
        let archive = packed(data, from, file);
        (archive.digest == digest).then_some(archive)
    }

    fn cache_file(&self, digest: &str) -> Option<PathBuf> {
        // What a server says becomes part of a path.
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let folder = self.cache.as_ref().filter(|_| is_digest)?;
        Some(folder.join("charts").join(format!("{digest}.tgz")))
    }
}

pub(super) fn packed(data: Vec<u8>, from: &str, file: &str) -> Archive {
    let digest = hex::encode(Sha256::digest(&data));
    Archive { from: from.to_owned(), data, digest, file: file.to_owned(), provenance: None }
}

pub(super) fn succeeded(response: &Response, url: &Url) -> Result<(), RemoteError> {
    if response.status.is_success() {
        return Ok(());
    }
    // Registries and API gateways say why in JSON; a page of HTML says nothing.
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let message = body["errors"][0]["message"].as_str().or(body["message"].as_str());
    let detail = message.map(|message| format!(": {message}")).unwrap_or_default();
    Err(RemoteError::Status { url: shown(&url.to_string()), status: response.status, detail })
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
    remote.download(&address, &address, digest).await
}
