//! The API server over HTTP: connections, routes, content negotiation, answers.
//!
//! `path` names what a request is for, `handle` turns it into verbs, `reply` writes answers; `streams` carries logs,
//! exec and port-forward.

mod handle;
mod path;
mod reply;
mod streams;

use std::convert::Infallible;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::ApiServer;

/// Serves one connection until its client leaves.
pub(crate) async fn serve<S>(server: Arc<ApiServer>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(handle::answer(server, request).await) }
    });
    // A client that leaves in the middle of a request is its own business.
    let _ =
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}
