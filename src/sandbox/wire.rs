//! A connection in memory on which time stands still while bytes are under way: a client that is slow to read on a busy
//! machine finds the world as it was when it was told.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use crate::base::virtual_clock::VirtualClock;

/// One end of a connection.
pub(super) struct Wire {
    stream: DuplexStream,
    clock: Arc<VirtualClock>,
    incoming: Arc<Mutex<Direction>>,
    outgoing: Arc<Mutex<Direction>>,
}

/// What one end wrote and the other has not read.
#[derive(Default)]
struct Direction {
    bytes: usize,
    /// The reader is gone.
    closed: bool,
}

/// Both ends of a new connection; one may be ahead of the other by `capacity` bytes.
pub(super) fn pair(clock: &Arc<VirtualClock>, capacity: usize) -> (Wire, Wire) {
    let (left, right) = duplex(capacity);
    let (to_left, to_right) = (Arc::default(), Arc::default());
    let wire = |stream, incoming: &Arc<_>, outgoing: &Arc<_>| Wire {
        stream,
        clock: clock.clone(),
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
    };
    (wire(left, &to_left, &to_right), wire(right, &to_right, &to_left))
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        let read = buffer.filled().len() - before;
        // The writer counts before it lets go of the lock: what was read is counted already.
        self.incoming.lock().bytes -= read;
        self.clock.arrived(read);
        Poll::Ready(result)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outgoing = Arc::clone(&self.outgoing);
        let mut direction = outgoing.lock();
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, data))?;
        if !direction.closed {
            direction.bytes += written;
            self.clock.sent(written);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let mut incoming = self.incoming.lock();
        incoming.closed = true;
        self.clock.arrived(incoming.bytes);
        incoming.bytes = 0;
    }
}
