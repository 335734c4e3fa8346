//! A connection in memory that can be cut as a network cuts one: an end of stream, or a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

const BUFFER: usize = 256 * 1024;

/// One end of a connection.
pub(super) struct Pipe {
    stream: DuplexStream,
    reset: Arc<AtomicBool>,
}

/// Both ends of a new connection: the client's and the server's.
pub(super) fn pair() -> (Pipe, Pipe) {
    let (client, server) = duplex(BUFFER);
    let reset = Arc::new(AtomicBool::new(false));
    (Pipe { stream: client, reset: Arc::clone(&reset) }, Pipe { stream: server, reset })
}

impl Pipe {
    /// Ends the connection so that the other side reads `connection reset by peer`.
    pub(super) fn reset(self) {
        self.reset.store(true, Ordering::SeqCst);
    }

    /// What resets the connection while another owner holds this end.
    pub(super) fn cutter(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reset)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let ended = matches!(polled, Poll::Ready(Ok(()))) && buffer.filled().len() == before;
        if ended && buffer.remaining() > 0 && self.reset.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        polled
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, data) {
            Poll::Ready(Err(_)) if self.reset.load(Ordering::SeqCst) => {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            polled => polled,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
