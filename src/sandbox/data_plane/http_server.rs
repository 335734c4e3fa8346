//! HTTP over a connection in memory, and small helpers for requests and responses.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::base::virtual_clock::VirtualClock;

/// The largest request body that is read.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Serves HTTP/1.1 and 2 until the client goes. Time stands still while a request is worked on.
pub(super) async fn serve<S, F, A>(stream: S, clock: Arc<VirtualClock>, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Bytes>> + Send,
    A: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let answer = answer.clone();
        let clock = Arc::clone(&clock);
        async move {
            clock.touch();
            let (parts, body) = request.into_parts();
            let response = match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => answer(Request::from_parts(parts, body.to_bytes())).await,
                Err(_) => plain(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large"),
            };
            clock.touch();
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Envoy writes its header names in lower case, which is hyper's way too.
    builder.http1().keep_alive(true).pipeline_flush(true).auto_date_header(false);
    builder.http2().auto_date_header(false);
    // A client that leaves in the middle is no error of ours.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// A response with a text.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(text.as_bytes()));
    *response.status_mut() = status;
    if !text.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    response
}

/// A response with JSON.
pub(super) fn json(text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The host that a request is for, without its port.
pub(super) fn host_of<B>(request: &Request<B>) -> String {
    let written = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or_else(|| request.headers().get(HOST)?.to_str().ok().map(str::to_owned))
        .unwrap_or_default();
    without_port(&written).to_lowercase()
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

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':') => {
            host
        }
        _ => authority,
    }
}
