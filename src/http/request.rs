//! What is asked: the URL, and everything that differs from how a browser would ask it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Uri};

use super::error::HttpError;
use super::proxy::{Proxies, Proxy};
use super::tls::Trust;
use crate::cert::Credential;

/// The limit of one exchange unless the request says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest body that is read.
pub const MAX_BODY: usize = 64 << 20;

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Over TLS what the server chooses by ALPN, otherwise 1.1.
    #[default]
    Auto,
    Http1,
    /// Over TLS by ALPN, otherwise with prior knowledge.
    Http2,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The `Host` header or `:authority`, and without `sni` the name in TLS.
    pub host: Option<String>,
    /// The name asked for in TLS and verified; empty: none is sent.
    pub sni: Option<String>,
    /// Addresses to use for `host:port` or `host`: `address` or `address:port`.
    pub resolve: BTreeMap<String, String>,
    pub trust: Trust,
    /// The client's own certificate.
    pub identity: Option<Credential>,
    pub version: Version,
    /// How many redirects are followed.
    pub redirects: u32,
    /// Whom to ask instead; none by default.
    pub proxies: Arc<Proxies>,
    pub timeout: Duration,
}

impl Request {
    /// A request without options.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            host: None,
            sni: None,
            resolve: BTreeMap::new(),
            trust: Trust::System,
            identity: None,
            version: Version::Auto,
            redirects: 0,
            proxies: Arc::default(),
            timeout: TIMEOUT,
        }
    }

    /// Adds a header.
    pub fn header(&mut self, name: &str, value: &str) -> Result<(), HttpError> {
        let bad = |what, value: &str, reason: String| HttpError::BadOption {
            what,
            value: value.to_owned(),
            reason,
        };
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|error| bad("the name of a header", name, error.to_string()))?;
        // The value may be a token: the error names the header instead.
        let value = HeaderValue::from_str(value)
            .map_err(|error| bad("the value of a header", name, error.to_string()))?;
        self.headers.append(key, value);
        Ok(())
    }

    /// The name asked for in TLS; `None` when none is to be sent.
    pub(super) fn server_name(&self) -> Option<&str> {
        match self.sni.as_deref() {
            Some("") => None,
            Some(name) => Some(name),
            None => Some(self.host.as_deref().map_or(self.url.host(), host_of)),
        }
    }

    /// The proxy on the way.
    pub(super) fn proxy(&self) -> Result<Option<&Proxy>, HttpError> {
        self.proxies.choose(&self.url)
    }

    /// Where the connection goes: the host and port of the URL, or what `resolve` says about them.
    pub(super) fn destination(&self) -> Result<(String, u16), HttpError> {
        let (host, port) = (self.url.host(), self.url.port());
        let found = self.resolve.get(&format!("{host}:{port}")).or_else(|| self.resolve.get(host));
        let Some(target) = found else { return Ok((host.to_owned(), port)) };
        if let Ok(address) = target.parse::<std::net::SocketAddr>() {
            return Ok((address.ip().to_string(), address.port()));
        }
        if target.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() {
            return Ok((target.trim_matches(['[', ']']).to_owned(), port));
        }
        let bad = |reason: &str| HttpError::BadOption {
            what: "an address in `resolve`",
            value: target.clone(),
            reason: reason.to_owned(),
        };
        match target.rsplit_once(':') {
            Some((name, number)) if !name.is_empty() => {
                let port =
                    number.parse().map_err(|_| bad("its port is not a number up to 65535"))?;
                Ok((name.to_owned(), port))
            }
            Some(_) => Err(bad("it has no host")),
            None if target.is_empty() => Err(bad("it is empty")),
            None => Ok((target.clone(), port)),
        }
    }
}

/// An absolute path without `.` and `..` (RFC 3986, section 5.2.4); a query is left alone.
fn without_dots(location: &str) -> String {
    let (path, query) = location.split_at(location.find('?').unwrap_or(location.len()));
    let mut parts: Vec<&str> = Vec::new();
    let mut ends_in_folder = false;
    for part in path.split('/').skip(1) {
        ends_in_folder = matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if ends_in_folder {
        parts.push("");
    }
    format!("/{}{query}", parts.join("/"))
}

/// The host of `host` or `host:port`.
fn host_of(authority: &str) -> &str {
    let end = authority.rfind(':').filter(|at| {
        // A colon inside of brackets belongs to an IPv6 address.
        !authority[*at..].contains(']') && authority[at + 1..].chars().all(|c| c.is_ascii_digit())
    });
    authority[..end.unwrap_or(authority.len())].trim_matches(['[', ']'])
}

/// An absolute `http` or `https` URL without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    host: String,
    port: u16,
    path: PathAndQuery,
}

impl std::str::FromStr for Url {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Self, HttpError> {
        let bad = |reason: &str| HttpError::BadUrl {
            // What stands before an `@` may be a password.
            url: text.rsplit_once('@').map_or(text.to_owned(), |(_, rest)| format!("***@{rest}")),
            reason: reason.to_owned(),
        };
        let uri: Uri = text
            .split_once('#')
            .map_or(text, |(before, _)| before)
            .parse()
            .map_err(|error: http::uri::InvalidUri| bad(&error.to_string()))?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(other) => return Err(bad(&format!("`{other}` is neither `http` nor `https`"))),
            None => return Err(bad("begin it with `http://` or `https://`")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("give credentials in the header `authorization`"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_lowercase();
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        let given = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(port) => port,
            None if given => return Err(bad("its port is not a number up to 65535")),
            None if secure => 443,
            None => 80,
        };
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        Ok(Self { secure, host, port, path })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl Url {
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// The host, with the port unless it is the scheme's own.
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// The absolute form for `:authority` of HTTP/2.
    pub(super) fn with_authority(&self, authority: &str) -> Result<Uri, HttpError> {
        let bad = |reason: String| HttpError::BadOption {
            what: "the host of a request",
            value: authority.to_owned(),
            reason,
        };
        let parsed: Authority =
            authority.parse().map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
        Uri::builder()
            .scheme(if self.secure { Scheme::HTTPS } else { Scheme::HTTP })
            .authority(parsed)
            .path_and_query(self.path.clone())
            .build()
            .map_err(|error| bad(error.to_string()))
    }

    /// What a `Location` of a response from here means (RFC 9110 section 10.2.2).
    pub fn join(&self, location: &str) -> Result<Self, HttpError> {
        let scheme = if self.secure { "https" } else { "http" };
        let here = format!("{scheme}://{}", self.authority());
        let target = if location.contains("://") {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{here}{}", without_dots(location))
        } else if location.starts_with('?') {
            format!("{here}{}{location}", self.path.path())
        } else {
            let folder = self.path.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{here}{}", without_dots(&format!("{folder}/{location}")))
        };
        target.parse().map_err(|_| HttpError::BadRedirect {
            url: self.to_string(),
            location: location.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The rows are those of RFC 3986, section 5.4, as far as they are of HTTP.
    #[test]
    fn references_are_joined() {
        let base: Url = "http://a/b/c/d;p?q".parse().expect("a URL");
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
        ] {
            let found = base.join(reference).map(|url| url.to_string());
            assert_eq!(found.ok().as_deref(), Some(expected), "{reference}");
        }
    }
}
