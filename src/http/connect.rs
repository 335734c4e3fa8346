//! Opens the connection of a request: look-up, transport, TLS, HTTP; each phase timed and each failure told apart.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::AbortOnDropHandle;

use super::error::{HttpError, Phase};
use super::request::{Request, Version};
use super::response::{Timings, TlsFacts};
use super::tls;
use crate::base::clock::SharedClock;
use crate::base::net::{Dialer, Stream};

/// Where an exchange is, for the time-out that may end it.
#[derive(Debug)]
pub(super) struct Progress {
    pub phase: Phase,
    pub peer: String,
}

/// The sending half of an open connection, by version.
pub(super) enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// An open connection to a server.
pub(super) struct Channel {
    pub sender: Sender,
    pub peer: String,
    pub tls: Option<TlsFacts>,
    pub timings: Timings,
    pub wire: Arc<Wire>,
    /// Drives the connection; ends with it.
    _driver: AbortOnDropHandle<()>,
}

/// What was seen on the wire, for telling an empty reply from a broken one and a reset from a close.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub received: AtomicU64,
    /// The first error of the transport or of TLS. hyper drops it when its request had not begun to be answered.
    pub error: Mutex<Option<io::Error>>,
}

/// Connects as the request wants.
pub(super) async fn connect(
    request: &Request,
    dialer: &dyn Dialer,
    clock: &SharedClock,
    progress: &mut Progress,
) -> Result<Channel, HttpError> {
    let mut timings = Timings::default();
    let proxy = request.proxy()?;
    let (host, port) = match proxy {
        Some(proxy) => (proxy.host.clone(), proxy.port),
        None => request.destination()?,
    };
    let began = clock.monotonic();
    progress.peer = endpoint(&host, port);
    let addresses = lookup(dialer, &host).await?;
    timings.lookup = clock.monotonic().saturating_sub(began);

    progress.phase = Phase::Connect;
    let began = clock.monotonic();
    let connection = dial(dialer, &host, &addresses, port).await?;
    timings.connect = clock.monotonic().saturating_sub(began);
    progress.peer.clone_from(&connection.peer);
    let peer = connection.peer;

    let mut stream: Box<dyn Stream> =
        Box::new(Awake { inner: connection.stream, clock: Arc::clone(clock) });
    if let Some(proxy) = proxy {
        if proxy.is_secure() {
            let mut asking = Request::new(request.method.clone(), proxy.address().parse()?);
            asking.version = Version::Http1;
            stream = Box::new(tls::handshake(&asking, clock, stream, &peer).await?.0);
        }
        // Without TLS the proxy is asked for the whole URL, see `client::message`.
        if request.url.is_secure() {
            let (host, port) = request.destination()?;
            proxy.tunnel(&mut *stream, &endpoint(&host, port)).await?;
        }
    }
    let wire = Arc::new(Wire::default());
    let (stream, facts) = if request.url.is_secure() {
        progress.phase = Phase::Handshake;
        let began = clock.monotonic();
        let (stream, facts) = tls::handshake(request, clock, stream, &peer).await?;
        timings.handshake = clock.monotonic().saturating_sub(began);
        (Box::new(stream) as Box<dyn Stream>, Some(facts))
    } else {
        (stream, None)
    };
    let http2 = speaks_http2(request, facts.as_ref(), &peer)?;
    progress.phase = Phase::Reply;
    let io = TokioIo::new(Watched { inner: stream, wire: Arc::clone(&wire) });
    let broken = |error: hyper::Error| classify(&error, &wire, &peer);
    let (sender, driver) = if http2 {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(broken)?;
        (Sender::Http2(sender), tokio::spawn(async { drop(connection.await) }))
    } else {
        let (sender, connection) = http1::handshake(io).await.map_err(broken)?;
        (Sender::Http1(sender), tokio::spawn(async { drop(connection.await) }))
    };
    let driver = AbortOnDropHandle::new(driver);
    Ok(Channel { sender, peer, tls: facts, timings, wire, _driver: driver })
}

/// What an error of the HTTP layer means, with what was seen on the wire.
pub(super) fn classify(error: &hyper::Error, wire: &Wire, peer: &str) -> HttpError {
    let peer = peer.to_owned();
    let received = wire.received.load(Ordering::SeqCst);
    let phase = if received == 0 { Phase::Reply } else { Phase::Body };
    if let Some(error) = wire.error.lock().as_ref() {
        let reset = matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        );
        if reset || error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
            return tls::tls_error(error, peer, phase);
        }
    }
    if error.is_parse() {
        return HttpError::Protocol { peer, reason: error.to_string() };
    }
    match received {
        0 => HttpError::EmptyReply { peer },
        _ if error.is_incomplete_message()
            || error.is_closed()
            || error.is_body_write_aborted() =>
        {
            HttpError::Incomplete { peer, bytes: received }
        }
        bytes => match std::error::Error::source(error) {
            // hyper's own end-of-file, else h2's error, whose words name the frame and the code.
            Some(cause) if !cause.is::<io::Error>() => {
                HttpError::Protocol { peer, reason: cause.to_string() }
            }
            Some(_) | None => HttpError::Incomplete { peer, bytes },
        },
    }
}

fn speaks_http2(
    request: &Request,
    facts: Option<&TlsFacts>,
    peer: &str,
) -> Result<bool, HttpError> {
    let chosen = facts.map(|facts| facts.alpn.as_str());
    match (request.version, chosen) {
        (Version::Http1, _) | (Version::Auto, None) => Ok(false),
        (Version::Auto, Some(alpn)) => Ok(alpn == "h2"),
        (Version::Http2, None | Some("h2")) => Ok(true),
        (Version::Http2, Some(other)) => Err(HttpError::WrongVersion {
            peer: peer.to_owned(),
            wanted: "HTTP/2",
            found: if other.is_empty() { "HTTP/1.1".to_owned() } else { other.to_owned() },
        }),
    }
}

/// The addresses of a name; empty when the dialer takes names itself.
async fn lookup(dialer: &dyn Dialer, host: &str) -> Result<Vec<String>, HttpError> {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(Vec::new());
    }
    let addresses = dialer.lookup(host).await.map_err(|error| HttpError::NameNotFound {
        host: host.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(addresses.iter().map(ToString::to_string).collect())
}

/// Tries the addresses in the resolver's order; the error is that of the last one.
async fn dial(
    dialer: &dyn Dialer,
    host: &str,
    addresses: &[String],
    port: u16,
) -> Result<crate::base::net::Connection, HttpError> {
    let own = [host.to_owned()];
    let targets = if addresses.is_empty() { &own[..] } else { addresses };
    let mut last = None;
    for target in targets {
        match dialer.dial(target, port).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = Some(transport(&error, host, endpoint(target, port))),
        }
    }
    Err(last.unwrap_or_else(|| HttpError::NameNotFound {
        host: host.to_owned(),
        reason: "it has no address".to_owned(),
    }))
}

fn transport(error: &io::Error, host: &str, peer: String) -> HttpError {
    // The operating system says no more than the kind; a port-forward says why.
    let detail = error.get_ref().map(|inner| format!(": {inner}"));
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            HttpError::Refused { peer, detail: detail.unwrap_or_default() }
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted if detail.is_none() => {
            HttpError::Reset { peer, phase: Phase::Connect }
        }
        io::ErrorKind::NotFound => {
            HttpError::NameNotFound { host: host.to_owned(), reason: error.to_string() }
        }
        _ => HttpError::Unreachable { peer, reason: error.to_string() },
    }
}

fn endpoint(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Tells the clock of every step on the wire: while a connection moves, a simulated world is not idle, and no time-out of a
/// client fires there.
struct Awake {
    inner: Box<dyn Stream>,
    clock: SharedClock,
}

impl Awake {
    fn note<T>(&self, poll: Poll<T>) -> Poll<T> {
        if poll.is_ready() {
            self.clock.touch();
        }
        poll
    }
}

impl AsyncRead for Awake {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.note(poll)
    }
}

impl AsyncWrite for Awake {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.note(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Counts what the server sent, above TLS.
struct Watched {
    inner: Box<dyn Stream>,
    wire: Arc<Wire>,
}

impl Watched {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            let copy = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
            {
                Some(inner) => io::Error::new(error.kind(), inner.clone()),
                None => error.kind().into(),
            };
            self.wire.error.lock().get_or_insert(copy);
        })
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        let read = buffer.filled().len().saturating_sub(before);
        self.wire.received.fetch_add(read as u64, Ordering::SeqCst);
        Poll::Ready(self.note(result))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        Poll::Ready(self.note(result))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        Poll::Ready(self.note(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The part of a time-out that is left.
pub(super) fn left(clock: &SharedClock, began: Duration, limit: Duration) -> Duration {
    limit.saturating_sub(clock.monotonic().saturating_sub(began))
}
