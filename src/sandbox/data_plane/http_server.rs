//! HTTP over a connection in memory, and small helpers for requests and responses.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{Body, full};
use crate::base::virtual_clock::VirtualClock;

/// Serves HTTP/1.1 and 2 until the client goes, upgrades of a connection included. Time stands still while a request is
/// worked on.
pub(super) async fn serve<S, F, A>(stream: S, clock: Arc<VirtualClock>, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Body>> + Send,
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let answer = answer.clone();
        let clock = Arc::clone(&clock);
        async move {
            clock.touch();
            let request = request.map(|body| body.map_err(io::Error::other).boxed_unsync());
            let response = answer(request).await;
            clock.touch();
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Envoy writes its header names in lower case, which is hyper's way too.
    builder.http1().keep_alive(true).pipeline_flush(true).auto_date_header(false);
    builder.http2().auto_date_header(false);
    // A client that leaves in the middle is no error of ours.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

/// A response with a text.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    if !text.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    response
}

/// A response with JSON.
pub(super) fn json(text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer of a proxy's own in gRPC's form, where it answers a gRPC call.
pub(super) fn for_grpc(response: Response<Body>, text: &str) -> Response<Body> {
    let status = match response.status().as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    };
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::OK;
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    parts.headers.insert("grpc-status", HeaderValue::from(status));
    if let (false, Ok(text)) = (text.is_empty(), HeaderValue::from_str(text)) {
        parts.headers.insert("grpc-message", text);
    }
    Response::from_parts(parts, full(Bytes::new()))
}

/// The host that a request is for, without its port.
pub(super) fn host_of<B>(request: &Request<B>) -> String {
    without_port(&authority_of(request)).to_lowercase()
}

/// The host and port that a request is for, as written.
pub(super) fn authority_of<B>(request: &Request<B>) -> String {
    request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or_else(|| request.headers().get(HOST)?.to_str().ok().map(str::to_owned))
        .unwrap_or_default()
}

/// `a.example.com` of `a.example.com:8080`.
pub(super) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':') => {
            host
        }
        _ => authority,
    }
}
