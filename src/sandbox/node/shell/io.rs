//! Where a program of a container reads and writes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Whatever takes bytes at once, such as a container's log.
pub(super) type Taker = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// A place to write to; clones write to the same one.
#[derive(Clone)]
pub enum Output {
    Buffer(Arc<Mutex<BytesMut>>),
    /// A client; one that is gone hears nothing.
    Client(mpsc::Sender<Bytes>),
    Sink(Taker),
    Nowhere,
}

impl Output {
    /// A buffer to be read afterwards.
    pub(super) fn buffer() -> (Self, Arc<Mutex<BytesMut>>) {
        let buffer = Arc::new(Mutex::new(BytesMut::new()));
        (Self::Buffer(buffer.clone()), buffer)
    }

    /// Writes; waits while a client reads slowly.
    pub async fn write(&self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Buffer(buffer) => buffer.lock().extend_from_slice(&bytes),
            Self::Client(client) => {
                for start in (0..bytes.len()).step_by(PIECE) {
                    let piece = bytes.slice(start..bytes.len().min(start + PIECE));
                    if client.send(piece).await.is_err() {
                        return;
                    }
                }
            }
            Self::Sink(sink) => sink(&bytes),
            Self::Nowhere => {}
        }
    }
}

/// The most that is sent to a client at once.
const PIECE: usize = 32 * 1024;

/// What is read from; clones share what is left of it.
#[derive(Clone, Default)]
pub struct Input(Arc<tokio::sync::Mutex<Source>>);

#[derive(Default)]
struct Source {
    read: BytesMut,
    more: Option<mpsc::Receiver<Bytes>>,
}

impl Input {
    /// What a client sends, until it closes.
    pub fn client(more: mpsc::Receiver<Bytes>) -> Self {
        let source = Source { read: BytesMut::new(), more: Some(more) };
        Self(Arc::new(tokio::sync::Mutex::new(source)))
    }

    pub(super) fn bytes(bytes: &[u8]) -> Self {
        let source = Source { read: bytes.into(), more: None };
        Self(Arc::new(tokio::sync::Mutex::new(source)))
    }

    /// The next bytes as they come; `None` at the end.
    pub(super) async fn some(&self) -> Option<Bytes> {
        let mut source = self.0.lock().await;
        if source.read.is_empty() && !source.fill().await {
            return None;
        }
        Some(source.read.split().freeze())
    }

    /// The next line with its end; `None` at the end.
    pub(super) async fn line(&self) -> Option<Bytes> {
        let mut source = self.0.lock().await;
        loop {
            if let Some(end) = source.read.iter().position(|byte| *byte == b'\n') {
                return Some(source.read.split_to(end + 1).freeze());
            }
            if !source.fill().await {
                return (!source.read.is_empty()).then(|| source.read.split().freeze());
            }
        }
    }

    /// Everything up to the end; no more than `limit`.
    pub(super) async fn all(&self, limit: usize) -> Bytes {
        let mut source = self.0.lock().await;
        while source.read.len() < limit && source.fill().await {}
        source.read.split().freeze()
    }
}

impl Source {
    async fn fill(&mut self) -> bool {
        let Some(more) = &mut self.more else { return false };
        match more.recv().await {
            Some(bytes) => self.read.extend_from_slice(&bytes),
            None => self.more = None,
        }
        self.more.is_some()
    }
}

/// The three streams of a program.
#[derive(Clone)]
pub struct Streams {
    pub stdin: Input,
    pub stdout: Output,
    pub stderr: Output,
}
