//! The API server over HTTP: connections, routes, content negotiation, answers.
//!
//! `path` names what a request is for, `body` reads what it carries, `handle` turns it into verbs, `reply` writes answers; `streams` carries logs,
//! exec and port-forward.

mod body;
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
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use self::reply::metadata_only;
use super::ApiServer;
use super::access::Peer;

/// How long a client may take for the head of a request, the first one included.
const HEADERS: Duration = Duration::from_secs(30);
/// How long a connection of HTTP/2 may be silent before it is asked whether anybody is there, as a real server asks.
const SILENCE: Duration = Duration::from_secs(30);
/// How long the answer to that may take.
const LIFE_SIGN: Duration = Duration::from_secs(15);
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

/// A protocol that client and server agreed on in the TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// As [`serve`], for clients that may be anybody: nobody keeps a connection who says nothing on it.
pub(crate) async fn serve_any<S>(server: Arc<ApiServer>, peer: Peer, protocol: Protocol, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (stream, service) = (TokioIo::new(stream), service_fn(service(server, peer)));
    match protocol {
        Protocol::Http1 => {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADERS);
            let _ = builder.serve_connection(stream, service).with_upgrades().await;
        }
        Protocol::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
            builder.keep_alive_interval(SILENCE).keep_alive_timeout(LIFE_SIGN);
            let _ = builder.serve_connection(stream, service).await;
        }
    }
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
