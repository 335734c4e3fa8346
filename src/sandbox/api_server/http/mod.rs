//! The API server over HTTP: connections, routes, content negotiation, answers.
//!
//! `path` names what a request is for, `handle` turns it into verbs, `reply` writes answers; `streams` carries logs,
//! exec and port-forward.

mod handle;
mod options;
mod path;
mod reply;
mod spdy;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use self::reply::metadata_only;
use super::ApiServer;
use super::access::Peer;

/// How long a client may take for the head of a request.
const HEADERS: Duration = Duration::from_secs(30);
/// Requests of one HTTP/2 connection at once, as a real server allows.
const MAX_STREAMS: u32 = 250;

/// Serves one connection until its client leaves.
pub(crate) async fn serve<S>(server: Arc<ApiServer>, peer: Peer, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // A client that leaves in the middle of a request is its own business.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(service(server, peer)))
        .with_upgrades()
        .await;
}

/// As [`serve`], by HTTP/1.1 or HTTP/2, whichever the client speaks.
pub(crate) async fn serve_any<S>(server: Arc<ApiServer>, peer: Peer, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder.http2().max_concurrent_streams(MAX_STREAMS);
    let _ = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service_fn(service(server, peer)))
        .await;
}

fn service(
    server: Arc<ApiServer>,
    peer: Peer,
) -> impl Fn(Request<Incoming>) -> BoxFuture<'static, Result<reply::Reply, handle::Cut>> {
    move |request| {
        let (server, peer) = (server.clone(), peer.clone());
        Box::pin(async move { handle::answer(server, &peer, request).await })
    }
}
