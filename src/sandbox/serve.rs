//! A cluster for other programs: its API server behind HTTPS on loopback, with an authority of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::api_server::access::Peer;
use super::api_server::{ApiServer, http};
use super::authz::{MASTERS, User};
use super::certificates::{CertificateError, Pair};
use super::cluster::Cluster;
use crate::base::clock;
use crate::base::clock::SystemClock;
use crate::base::secret::Secret;

/// The name of cluster and context in the kubeconfig.
pub const CONTEXT: &str = "sandbox";

/// Connections at once; more wait until one ends.
const MAX_CONNECTIONS: usize = 4_096;
/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What keeps a cluster from being served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("`{0}` is no address of this machine alone")]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the API server's certificates cannot be made")]
    Certificate(#[from] CertificateError),
    #[error("the API server's certificates cannot be used: {0}")]
    Tls(String),
}

/// An API server that listens, and what a client needs to know of it.
pub struct Listening {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    server: Arc<ApiServer>,
    address: SocketAddr,
    kubeconfig: Secret,
}

impl Cluster {
    /// Begins to listen; clients are answered once [`Listening::run`] runs.
    ///
    /// # Errors
    /// An address that others could reach, or that is taken.
    pub async fn listen(&self, address: SocketAddr) -> Result<Listening, ServeError> {
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let authority = self.identity();
        let names = [
            &address.ip().to_string(),
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let leaf = authority.server(names.map(str::to_owned).to_vec())?;
        let root = authority.root()?.certificate;
        let admin = authority.client("kubernetes-admin", MASTERS)?;
        let acceptor = acceptor(&root, &leaf).map_err(ServeError::Tls)?;
        let kubeconfig = Secret::new(kubeconfig(address, &root, &admin));
        Ok(Listening { listener, acceptor, server: self.api_server(), address, kubeconfig })
    }
}

impl Listening {
    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig whose only context, `sandbox`, is the administrator's.
    pub fn kubeconfig(&self) -> &Secret {
        &self.kubeconfig
    }

    /// Answers clients; it ends only when dropped.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            // A client that is gone before it was accepted, or no file descriptor left: the next one may do better.
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            let (server, acceptor) = (Arc::clone(&self.server), self.acceptor.clone());
            tokio::spawn(async move {
                serve(server, acceptor, stream).await;
                drop(place);
            });
        }
    }
}

async fn serve(server: Arc<ApiServer>, acceptor: TlsAcceptor, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let handshake = acceptor.accept(stream);
    // Whoever sends no handshake, or a wrong one, is not served; that is all.
    let Ok(Ok(stream)) = clock::timeout(&SystemClock::new(), HANDSHAKE, handshake).await else {
        return;
    };
    let tls = stream.get_ref().1;
    let certificate = tls.peer_certificates().and_then(<[_]>::first);
    let peer = certificate.and_then(user_of).map_or(Peer::Unknown, Peer::Known);
    // As on a real server, whoever does not ask for HTTP/2 in the handshake speaks HTTP/1.1.
    let protocol = match tls.alpn_protocol() {
        Some(b"h2") => http::Protocol::Http2,
        _ => http::Protocol::Http1,
    };
    http::serve_any(server, peer, protocol, stream).await;
}

fn acceptor(root: &str, leaf: &Pair) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let root = CertificateDer::from_pem_slice(root.as_bytes()).map_err(|error| text(&error))?;
    let chain = CertificateDer::from_pem_slice(leaf.certificate.as_bytes())
        .map_err(|error| text(&error))?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).map_err(|error| text(&error))?;
    let mut roots = RootCertStore::empty();
    roots.add(root).map_err(|error| text(&error))?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| text(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![chain], key)
        .map_err(|error| text(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The user whom a certificate names: the common name, in the groups of its organizations.
fn user_of(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    Some(User::named(name, &groups))
}

fn kubeconfig(address: SocketAddr, root: &str, admin: &Pair) -> String {
    let data = |text: &str| Value::from(STANDARD.encode(text));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": CONTEXT,
        "clusters": [{"name": CONTEXT, "cluster": {
            "server": format!("https://{address}"), "certificate-authority-data": data(root),
        }}],
        "users": [{"name": "kubernetes-admin", "user": {
            "client-certificate-data": data(&admin.certificate), "client-key-data": data(&admin.key),
        }}],
        "contexts": [{"name": CONTEXT, "context": {
            "cluster": CONTEXT, "user": "kubernetes-admin", "namespace": "default",
        }}],
    });
    crate::base::yaml::emit(&config)
}
