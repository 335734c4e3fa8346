//! Bodies that flow: what a client sends reaches a program as it comes, and what the program answers goes back the same way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Full, Limited, StreamBody};

/// The largest body that is held as a whole.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Why a body ended before its end.
pub(super) type BodyError = io::Error;

/// The body of a request or a response on its way.
pub(super) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body that is there already.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of pieces that come one after the other, trailers among them.
pub(super) fn pieces(
    stream: impl Stream<Item = Result<Frame<Bytes>, BodyError>> + Send + 'static,
) -> Body {
    StreamBody::new(stream).boxed_unsync()
}

/// The whole of a body.
///
/// # Errors
/// The sender went before the end, or sent more than is held.
pub(super) async fn whole(body: Body) -> Result<Bytes, BodyError> {
    let collected = Limited::new(body, MAX_BODY).collect().await.map_err(io::Error::other)?;
    Ok(collected.to_bytes())
}

/// A body read ahead as far as `limit` bytes: all of it and `true`, or its beginning and `false`. The second body is the
/// same as the one given.
pub(super) async fn read_ahead(mut body: Body, limit: usize) -> (Bytes, bool, Body) {
    let mut read = BytesMut::new();
    let mut trailers = None;
    let mut ended = false;
    let mut failure = None;
    while read.len() <= limit {
        match body.frame().await {
            None => {
                ended = true;
                break;
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => read.extend_from_slice(&data),
                Err(frame) => trailers = Some(frame),
            },
            Some(Err(error)) => {
                failure = Some(error);
                break;
            }
        }
    }
    let read = read.freeze();
    let first = (!read.is_empty()).then(|| Ok(Frame::data(read.clone())));
    let mut begin: Vec<Result<Frame<Bytes>, BodyError>> = first.into_iter().collect();
    begin.extend(trailers.map(Ok));
    begin.extend(failure.map(Err));
    if ended
        && begin.len() <= 1
        && begin.iter().all(|piece| piece.as_ref().is_ok_and(Frame::is_data))
    {
        return (read.clone(), true, full(read));
    }
    let rest = BodyStream::new(body);
    (read, ended, pieces(futures::stream::iter(begin).chain(rest)))
}

/// A body that must have ended when a moment comes; else it is cut.
pub(super) struct Timed {
    body: Body,
    over: BoxFuture<'static, ()>,
}

impl Timed {
    /// `over` completes when the time is up.
    pub(super) fn wrap(body: Body, over: BoxFuture<'static, ()>) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Self { body, over }.boxed_unsync()
    }
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            return polled;
        }
        match self.over.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
