//! What can go wrong between a client and a server, and in which phase.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::duration::human;
use crate::cert::error::Untrusted;

/// A phase of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Lookup,
    Connect,
    Handshake,
    Reply,
    Body,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lookup => "while looking up the name",
            Self::Connect => "while connecting",
            Self::Handshake => "during the TLS handshake",
            Self::Reply => "while waiting for the reply",
            Self::Body => "while reading the body",
        })
    }
}

/// Why there is no response. `peer` is what the connection led to.
#[derive(Clone, Debug, Error)]
pub enum HttpError {
    #[error("`{url}` is not a URL that can be asked for: {reason}")]
    BadUrl { url: String, reason: String },
    #[error("`{value}` cannot be used as {what}: {reason}")]
    BadOption { what: &'static str, value: String, reason: String },
    #[error("the name `{host}` is not known: {reason}")]
    NameNotFound { host: String, reason: String },
    #[error("connection refused by {peer}{detail}")]
    Refused { peer: String, detail: String },
    #[error("{peer} cannot be reached: {reason}")]
    Unreachable { peer: String, reason: String },
    #[error("the proxy {proxy} is of no use: {reason}")]
    Proxy { proxy: String, reason: String },
    #[error("connection reset by {peer} {phase}")]
    Reset { peer: String, phase: Phase },
    #[error("{peer} closed the connection during the TLS handshake")]
    ClosedInHandshake { peer: String },
    #[error("empty reply: {peer} closed the connection without an answer")]
    EmptyReply { peer: String },
    #[error("{peer} closed the connection in the middle of its answer, after {bytes} bytes")]
    Incomplete { peer: String, bytes: u64 },
    #[error("no answer within {} from {peer}: time ran out {phase}", human(*after))]
    Timeout { peer: String, phase: Phase, after: Duration },
    #[error("the server at {peer} is not trusted: {reason}")]
    Untrusted { peer: String, reason: Untrusted },
    #[error("TLS with {peer} failed: {reason}")]
    Tls { peer: String, reason: String },
    #[error("{peer} does not speak TLS on this port")]
    NotTls { peer: String },
    #[error("{peer} wants a client certificate: {reason}")]
    ClientCertificate { peer: String, reason: String },
    #[error("{peer} offers {found} where {wanted} is wanted")]
    WrongVersion { peer: String, wanted: &'static str, found: String },
    #[error("{peer} does not answer in HTTP: {reason}")]
    Protocol { peer: String, reason: String },
    #[error("the body from {peer} is longer than {limit} bytes")]
    TooLong { peer: String, limit: usize },
    #[error("more than {limit} redirects, the last one to `{url}`")]
    TooManyRedirects { limit: u32, url: String },
    #[error("`{url}` redirects to `{location}`, which is not a URL that can be asked for")]
    BadRedirect { url: String, location: String },
    #[error("`{url}` did not answer as expected in {}, {attempts} attempts; the last one: {last}", human(*waited))]
    NotAsExpected { url: String, waited: Duration, attempts: u32, last: String },
    #[error("the system's trusted certificates cannot be read: {reason}")]
    NoSystemRoots { reason: String },
}

/// A kind of failure as a negative probe and a load report name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    NameNotFound,
    Refused,
    Unreachable,
    Reset,
    EmptyReply,
    Timeout,
    Untrusted,
    Tls,
    Protocol,
}

impl Failure {
    pub const ALL: [Self; 9] = [
        Self::NameNotFound,
        Self::Refused,
        Self::Unreachable,
        Self::Reset,
        Self::EmptyReply,
        Self::Timeout,
        Self::Untrusted,
        Self::Tls,
        Self::Protocol,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::NameNotFound => "name",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::EmptyReply => "empty",
            Self::Timeout => "timeout",
            Self::Untrusted => "untrusted",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
        }
    }
}

impl HttpError {
    /// The kind of failure; `None` for wrong arguments, which no server is to blame for.
    pub fn failure(&self) -> Option<Failure> {
        Some(match self {
            Self::NameNotFound { .. } => Failure::NameNotFound,
            Self::Refused { .. } => Failure::Refused,
            Self::Unreachable { .. } | Self::Proxy { .. } => Failure::Unreachable,
            // Envoy and ztunnel end a refused connection either way, as the race between close and data has it.
            Self::Reset { .. } | Self::ClosedInHandshake { .. } => Failure::Reset,
            Self::EmptyReply { .. } | Self::Incomplete { .. } => Failure::EmptyReply,
            Self::Timeout { .. } => Failure::Timeout,
            Self::Untrusted { .. } => Failure::Untrusted,
            Self::Tls { .. } | Self::NotTls { .. } | Self::ClientCertificate { .. } => Failure::Tls,
            Self::WrongVersion { .. } | Self::Protocol { .. } | Self::TooLong { .. } => {
                Failure::Protocol
            }
            Self::TooManyRedirects { .. } | Self::BadRedirect { .. } => Failure::Protocol,
            Self::BadUrl { .. }
            | Self::BadOption { .. }
            | Self::NotAsExpected { .. }
            | Self::NoSystemRoots { .. } => return None,
        })
    }
}

impl HttpError {
    /// The kind that scripts match on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadUrl { .. } | Self::BadOption { .. } => ErrorKind::Argument,
            Self::NotAsExpected { .. } | Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Untrusted { .. }
            | Self::TooLong { .. }
            | Self::TooManyRedirects { .. }
            | Self::BadRedirect { .. }
            | Self::WrongVersion { .. }
            | Self::NoSystemRoots { .. } => ErrorKind::Invalid,
            Self::NameNotFound { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Proxy { .. }
            | Self::Reset { .. }
            | Self::ClosedInHandshake { .. }
            | Self::EmptyReply { .. }
            | Self::Incomplete { .. }
            | Self::Tls { .. }
            | Self::NotTls { .. }
            | Self::ClientCertificate { .. }
            | Self::Protocol { .. } => ErrorKind::Unreachable,
        }
    }

    /// What the reader can do.
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Untrusted { reason, .. } => return reason.hint(),
            Self::NameNotFound { host, .. } => {
                format!("give its address: `resolve: #{{ \"{host}\": \"ADDRESS\" }}`")
            }
            Self::Timeout { phase: Phase::Connect, .. } | Self::Unreachable { .. } => {
                "the address may not be routable from here: ask through `k8s::port_forward` with `via`".to_owned()
            }
            Self::Proxy { .. } => {
                "look at `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`; `NO_PROXY` names what is asked directly".to_owned()
            }
            Self::NotTls { .. } => "write `http://` or use the port of the TLS listener".to_owned(),
            Self::ClosedInHandshake { .. } => {
                "a gateway closes the handshake when no listener has the name asked for: see `sni`".to_owned()
            }
            Self::ClientCertificate { .. } => {
                "give one with `certificate`, issued with `usages: \"client\"`".to_owned()
            }
            Self::NoSystemRoots { .. } => "give the authority to trust with `ca`".to_owned(),
            _ => return None,
        })
    }
}

impl From<HttpError> for Diagnostic {
    fn from(error: HttpError) -> Self {
        let diagnostic = Self::new(error.kind(), error.to_string());
        match error.hint() {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    }
}
