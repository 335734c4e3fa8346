//! Connections to a served sandbox as an attacker opens them: bare, and by TLS as somebody.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SignatureScheme, StreamOwned};

/// The longest answer that is looked at.
const MAX_ANSWER: usize = 8 << 20;

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Where the sandbox listens and whose certificates it is known by.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) root: CertificateDer<'static>,
}

/// A certificate and a key, which need not belong together.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Place {
    /// How a client speaks TLS: as somebody or nobody, with these protocols on offer.
    pub(crate) fn config(&self, who: Option<&Identity>, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("the sandbox's root is a certificate");
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("TLS has versions")
            .with_root_certificates(roots);
        let mut config = match who {
            None => builder.with_no_client_auth(),
            Some(who) => {
                let key = provider.key_provider.load_private_key(who.key.clone_key());
                let key = CertifiedKey::new(who.chain.clone(), key.expect("a private key"));
                builder.with_client_cert_resolver(Arc::new(Shown(Arc::new(key))))
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    /// A connection without TLS. Nothing is waited for longer than `patience`.
    pub(crate) fn bare(&self, patience: Duration) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(20))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        Ok(stream)
    }

    /// A client's side of TLS that has said nothing yet.
    pub(crate) fn client(&self, config: &Arc<ClientConfig>) -> ClientConnection {
        let name = ServerName::IpAddress(self.address.ip().into());
        ClientConnection::new(config.clone(), name).expect("an address is a name")
    }

    /// A connection with TLS, its handshake done.
    pub(crate) fn tls(&self, config: &Arc<ClientConfig>, patience: Duration) -> io::Result<Tls> {
        let mut stream = self.bare(Duration::from_secs(20))?;
        let mut client = self.client(config);
        client.complete_io(&mut stream)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(StreamOwned::new(client, stream))
    }
}

/// Sends bytes, in several pieces if asked, and takes what comes back until nothing more comes.
pub(crate) fn talk<S: Read + Write>(stream: &mut S, pieces: &[&[u8]]) -> Vec<u8> {
    for piece in pieces {
        // It may hang up in the middle.
        if stream.write_all(piece).and_then(|()| stream.flush()).is_err() {
            break;
        }
    }
    listen(stream)
}

/// What comes until the end or until nothing more comes for the stream's patience.
pub(crate) fn listen<S: Read>(stream: &mut S) -> Vec<u8> {
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..length]);
        if answer.len() > MAX_ANSWER {
            break;
        }
    }
    answer
}

/// One answer of HTTP/1.1.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Vec<u8>,
    /// The connection takes another request.
    pub(crate) open: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends one well-formed request and reads its answer to the end.
///
/// # Errors
/// The connection broke, or no end came within `patience`.
pub(crate) fn ask(stream: &mut Tls, request: &[u8], patience: Duration) -> io::Result<Answer> {
    // A request may be refused, and the connection closed, before all of its body is read.
    let _ = stream.write_all(request).and_then(|()| stream.flush());
    let began = Instant::now();
    let (mut text, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let bare = request.starts_with(b"HEAD ");
    loop {
        if let Some(answer) = complete(&text, bare) {
            return Ok(answer);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return ended(&text),
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                if began.elapsed() > patience {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return ended(&text),
            Err(error) => return Err(error),
        }
    }
}

/// An answer whose end is the connection's.
fn ended(text: &[u8]) -> io::Result<Answer> {
    let Some((code, _, body)) = head(text) else {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
    };
    Ok(Answer { code, body: body.to_vec(), open: false })
}

fn head(text: &[u8]) -> Option<(u16, String, &[u8])> {
    let end = text.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
    let code = head.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    let rest = &text[end + 4..];
    if code == 100 { self::head(rest) } else { Some((code, head, rest)) }
}

/// An answer, once all of it is there; that to HEAD has the headers of a body that it leaves out.
fn complete(text: &[u8], bare: bool) -> Option<Answer> {
    let (code, head, body) = head(text)?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let open = header("connection: close").is_none();
    if bare {
        return Some(Answer { code, body: Vec::new(), open });
    }
    if let Some(length) = header("content-length: ").and_then(|text| text.trim().parse().ok()) {
        let body = body.get(..length)?.to_vec();
        return Some(Answer { code, body, open });
    }
    if header("transfer-encoding: chunked").is_some() {
        return Some(Answer { code, body: unchunked(body)?, open });
    }
    // Without a length only these end with their head.
    matches!(code, 101 | 204 | 304).then(|| Answer { code, body: body.to_vec(), open })
}

fn unchunked(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = text.windows(2).position(|two| two == b"\r\n")?;
        let length = std::str::from_utf8(&text[..end]).ok()?;
        let length = usize::from_str_radix(length.split(';').next()?.trim(), 16).ok()?;
        text = &text[end + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(text.get(..length)?);
        text = text.get(length + 2..)?;
    }
}
