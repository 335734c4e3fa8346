//! What came back.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use rustls_pki_types::CertificateDer;

use super::request::Url;

/// A response with how it got here.
#[derive(Clone, Debug)]
pub struct Response {
    /// Of the last request, after redirects.
    pub url: Url,
    pub status: StatusCode,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub version: http::Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub timings: Timings,
    pub tls: Option<TlsFacts>,
    /// What the connection led to.
    pub peer: String,
    pub redirects: u32,
}

/// How long each phase took. Of an exchange on a connection that was open already, lookup, connect and handshake are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    pub lookup: Duration,
    pub connect: Duration,
    pub handshake: Duration,
    /// From the sent request to the head of the response.
    pub first_byte: Duration,
    /// Everything, redirects included.
    pub total: Duration,
}

/// What the TLS handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3`
    pub version: String,
    /// `TLS13_AES_128_GCM_SHA256`
    pub cipher: String,
    /// `h2`, `http/1.1`; empty when the server chose none.
    pub alpn: String,
    /// The name that was asked for; empty when none was sent.
    pub sni: String,
    /// Whether the chain was verified; false with `insecure`.
    pub verified: bool,
    /// What the server presented, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}
