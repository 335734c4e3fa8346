//! SPDY/3.1, as far as `kubectl port-forward` and its relatives speak it: streams of bytes over one connection, which the
//! API server takes over a WebSocket (`SPDY/3.1+portforward.k8s.io`) or by an upgrade of its own (`SPDY/3.1`).
//!
//! A forwarded connection is a pair of streams with one request ID, `error` and `data`; the data stream names the port.
//! There is no flow control: the clients' implementation has none.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::sandbox::api::Nodes;

/// Pieces on their way to a forwarded connection.
const CHUNKS: usize = 64;
/// The longest frame that is read; the clients' own are far shorter.
const MAX_FRAME: usize = 1024 * 1024;
/// The longest header block once it is unpacked.
const MAX_HEADERS: usize = 64 * 1024;
const CHUNK: usize = 16 * 1024;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;

/// The words that header blocks are packed with, each after its length, and the text behind them (SPDY/3, section 2.6.10.1).
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
     accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
     content-length content-location content-md5 content-range content-type date etag expect expires from host \
     if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
     proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
     user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
     keep-alive origin";
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
     Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 \
     Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
     Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
     application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,\
     sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut found = Vec::new();
    for word in WORDS.split_whitespace() {
        let word = word.replace('_', " ");
        found.put_u32(u32::try_from(word.len()).unwrap_or_default());
        found.extend_from_slice(word.as_bytes());
    }
    found.extend_from_slice(TAIL.as_bytes());
    found
}

/// Unpacks header blocks, all of which are one stream.
struct Unpacker {
    inflate: Decompress,
    /// Whether the head of the stream was read.
    begun: bool,
}

impl Unpacker {
    fn new() -> io::Result<Self> {
        let mut inflate = Decompress::new(false);
        // The dictionary goes through as a block that is stored as it is: what follows may refer to it.
        let words = dictionary();
        let length = u16::try_from(words.len()).unwrap_or(u16::MAX);
        let mut block = vec![0];
        block.put_u16_le(length);
        block.put_u16_le(!length);
        block.extend_from_slice(&words);
        let mut out = Vec::with_capacity(words.len() + 64);
        inflate.decompress_vec(&block, &mut out, FlushDecompress::Sync).map_err(invalid)?;
        Ok(Self { inflate, begun: false })
    }

    fn unpack(&mut self, mut block: &[u8]) -> io::Result<Vec<u8>> {
        if !self.begun {
            // Two bytes of zlib's head, and four that name the dictionary.
            block = block.get(6..).ok_or(io::ErrorKind::InvalidData)?;
            self.begun = true;
        }
        let mut out = Vec::with_capacity(4 * 1024);
        loop {
            let before = (self.inflate.total_in(), out.len());
            self.inflate.decompress_vec(block, &mut out, FlushDecompress::Sync).map_err(invalid)?;
            let read = usize::try_from(self.inflate.total_in() - before.0).unwrap_or(block.len());
            block = &block[read..];
            if out.len() > MAX_HEADERS {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if out.len() < out.capacity() {
                return Ok(out);
            }
            out.reserve(4 * 1024);
        }
    }
}

fn invalid(error: flate2::DecompressError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The pairs of a header block.
fn headers(mut block: &[u8]) -> io::Result<BTreeMap<String, String>> {
    let mut take = |length: usize| -> io::Result<Vec<u8>> {
        if block.len() < length {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (found, rest) = block.split_at(length);
        block = rest;
        Ok(found.to_vec())
    };
    let mut found = BTreeMap::new();
    let number = |take: &mut dyn FnMut(usize) -> io::Result<Vec<u8>>| -> io::Result<usize> {
        let mut bytes = Bytes::from(take(4)?);
        Ok(bytes.get_u32() as usize)
    };
    for _ in 0..number(&mut take)? {
        let length = number(&mut take)?;
        let name = String::from_utf8_lossy(&take(length)?).to_lowercase();
        let length = number(&mut take)?;
        found.insert(name, String::from_utf8_lossy(&take(length)?).into_owned());
    }
    Ok(found)
}

fn control(kind: u16, flags: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + payload.len());
    frame.put_u16(0x8003);
    frame.put_u16(kind);
    put_length(&mut frame, flags, payload);
    frame.freeze()
}

fn data(stream: u32, flags: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + payload.len());
    frame.put_u32(stream & 0x7fff_ffff);
    put_length(&mut frame, flags, payload);
    frame.freeze()
}

fn put_length(frame: &mut BytesMut, flags: u8, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or_default();
    frame.put_u32(u32::from(flags) << 24 | length & 0x00ff_ffff);
    frame.extend_from_slice(payload);
}

/// The streams of a connection while it lives.
struct Session {
    nodes: Arc<dyn Nodes>,
    namespace: String,
    pod: String,
    outgoing: mpsc::Sender<Bytes>,
    unpacker: Unpacker,
    packer: Compress,
    /// The error streams that wait for their data stream, by request ID.
    errors: BTreeMap<String, u32>,
    /// Where the bytes of a data stream go.
    inputs: BTreeMap<u32, mpsc::Sender<Bytes>>,
}

/// Forwards ports of a pod until the client leaves. Bytes come and go as the connection below carries them.
///
/// # Errors
/// The client does not speak SPDY/3.1.
pub(super) async fn forward(
    nodes: Arc<dyn Nodes>,
    (namespace, pod): (String, String),
    mut incoming: mpsc::Receiver<Bytes>,
    outgoing: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut session = Session {
        nodes,
        namespace,
        pod,
        outgoing,
        unpacker: Unpacker::new()?,
        packer: Compress::new(Compression::fast(), true),
        errors: BTreeMap::new(),
        inputs: BTreeMap::new(),
    };
    let mut buffer = BytesMut::new();
    while let Some(bytes) = incoming.recv().await {
        buffer.extend_from_slice(&bytes);
        while buffer.len() >= 8 {
            let length = (u32::from_be_bytes([0, buffer[5], buffer[6], buffer[7]])) as usize;
            if length > MAX_FRAME {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if buffer.len() < 8 + length {
                break;
            }
            let frame = buffer.split_to(8 + length).freeze();
            if !session.take(frame).await? {
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Session {
    /// Takes one frame; `false` when the client says that it leaves.
    async fn take(&mut self, mut frame: Bytes) -> io::Result<bool> {
        let first = frame.get_u32();
        let flags = frame.get_u8();
        frame.advance(3);
        if first & 0x8000_0000 == 0 {
            self.on_data(first, flags, frame).await;
            return Ok(true);
        }
        match (first & 0xffff) as u16 {
            SYN_STREAM => self.open(frame).await?,
            RST_STREAM if frame.len() >= 4 => {
                self.inputs.remove(&frame.get_u32());
            }
            PING => self.send(control(PING, 0, &frame)).await,
            GOAWAY => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    async fn send(&self, frame: Bytes) {
        // A client that is gone is noticed where frames are read.
        let _ = self.outgoing.send(frame).await;
    }

    async fn on_data(&mut self, stream: u32, flags: u8, bytes: Bytes) {
        if let Some(input) = self.inputs.get(&stream)
            && !bytes.is_empty()
            && input.send(bytes).await.is_err()
        {
            self.inputs.remove(&stream);
        }
        if flags & FIN != 0 {
            self.inputs.remove(&stream);
        }
    }

    async fn open(&mut self, mut frame: Bytes) -> io::Result<()> {
        if frame.len() < 10 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let stream = frame.get_u32() & 0x7fff_ffff;
        frame.advance(6);
        let headers = headers(&self.unpacker.unpack(&frame)?)?;
        let reply = self.reply(stream)?;
        self.send(reply).await;
        let of = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
        let id = of("requestid").to_owned();
        match of("streamtype") {
            "error" => {
                self.errors.insert(id, stream);
            }
            "data" => {
                let error = self.errors.remove(&id);
                match of("port").parse() {
                    Ok(port) => self.connect(port, stream, error).await,
                    Err(_) => {
                        let text = format!("unable to parse \"{}\" as a port", of("port"));
                        close(&self.outgoing, stream, error, Some(&text)).await;
                    }
                }
            }
            _ => self.send(data(stream, FIN, &[])).await,
        }
        Ok(())
    }

    /// `SYN_REPLY` without headers.
    fn reply(&mut self, stream: u32) -> io::Result<Bytes> {
        let mut payload = Vec::new();
        payload.put_u32(stream);
        let mut packed = Vec::with_capacity(64);
        self.packer
            .compress_vec(&[0; 4], &mut packed, FlushCompress::Sync)
            .map_err(io::Error::other)?;
        payload.extend_from_slice(&packed);
        Ok(control(SYN_REPLY, 0, &payload))
    }

    async fn connect(&mut self, port: u16, stream: u32, error: Option<u32>) {
        match self.nodes.port_forward(&self.namespace, &self.pod, port) {
            Ok(connection) => {
                let (sender, receiver) = mpsc::channel(CHUNKS);
                self.inputs.insert(stream, sender);
                let outgoing = self.outgoing.clone();
                tokio::spawn(carry(connection, stream, error, receiver, outgoing));
            }
            Err(why) => {
                let text = format!("error forwarding port {port} to pod {}, uid : {why}", self.pod);
                close(&self.outgoing, stream, error, Some(&text)).await;
            }
        }
    }
}

/// Ends both streams of a forwarded connection, with a reason or without.
async fn close(outgoing: &mpsc::Sender<Bytes>, stream: u32, error: Option<u32>, why: Option<&str>) {
    let mut frames = Vec::new();
    if let Some(error) = error {
        if let Some(why) = why {
            frames.push(data(error, 0, why.as_bytes()));
        }
        frames.push(data(error, FIN, &[]));
    }
    frames.push(data(stream, FIN, &[]));
    for frame in frames {
        // A client that is gone needs no end.
        let _ = outgoing.send(frame).await;
    }
}

/// Carries one forwarded connection.
async fn carry(
    connection: Box<dyn crate::base::net::Stream>,
    stream: u32,
    error: Option<u32>,
    mut input: mpsc::Receiver<Bytes>,
    outgoing: mpsc::Sender<Bytes>,
) {
    let (mut reader, mut writer) = tokio::io::split(connection);
    let sending = tokio::spawn(async move {
        while let Some(bytes) = input.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The client sends no more; it may still read.
        let _ = writer.shutdown().await;
    });
    let mut buffer = vec![0; CHUNK];
    while let Ok(length) = reader.read(&mut buffer).await {
        if length == 0 || outgoing.send(data(stream, 0, &buffer[..length])).await.is_err() {
            break;
        }
    }
    sending.abort();
    close(&outgoing, stream, error, None).await;
}
