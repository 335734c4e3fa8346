//! TLS as a probe needs it: one given CA, the target's clock, and the chain seen even when it is refused.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::{HttpError, Phase};
use super::request::{Request, Version};
use super::response::TlsFacts;
use crate::base::clock::SharedClock;
use crate::base::net::Stream;
use crate::cert::error::{CertError, Untrusted};
use crate::cert::verify::verify;

/// Whom a client trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The authorities of the machine.
    System,
    /// These and no others.
    Only(Vec<CertificateDer<'static>>),
    /// Anybody: nothing is verified.
    Anybody,
}

/// Does the handshake of a request on an open connection.
pub(super) async fn handshake(
    request: &Request,
    clock: &SharedClock,
    stream: Box<dyn Stream>,
    peer: &str,
) -> Result<(TlsStream<Box<dyn Stream>>, TlsFacts), HttpError> {
    let verifier = Arc::new(Verifier {
        roots: roots(&request.trust)?,
        clock: Arc::clone(clock),
        provider: Arc::new(aws_lc_rs::default_provider()),
        name: request.server_name().unwrap_or(request.url.host()).to_owned(),
        seen: Mutex::default(),
    });
    let connector = TlsConnector::from(Arc::new(config(request, &verifier)?));
    // Without a name in the handshake the verifier still judges by the name of the URL.
    let wanted = request.server_name().unwrap_or(request.url.host());
    let name = ServerName::try_from(wanted.to_owned()).map_err(|error| HttpError::BadOption {
        what: "a name in TLS",
        value: wanted.to_owned(),
        reason: error.to_string(),
    })?;
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| refused(&error, &verifier, peer, Phase::Handshake))?;
    let session = stream.get_ref().1;
    let text = |name: Option<String>| name.unwrap_or_default();
    let facts = TlsFacts {
        version: text(session.protocol_version().map(|version| {
            // `TLSv1_3` is written `TLSv1.3` everywhere but in Rust.
            format!("{version:?}").replace('_', ".")
        })),
        cipher: text(session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()))),
        alpn: text(session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())),
        sni: match request.server_name() {
            Some(name) if name.parse::<std::net::IpAddr>().is_err() => name.to_owned(),
            _ => String::new(),
        },
        verified: request.trust != Trust::Anybody,
        chain: verifier.seen.lock().chain.clone(),
    };
    Ok((stream, facts))
}

/// What an I/O error of a TLS connection means.
pub(super) fn refused(
    error: &std::io::Error,
    verifier: &Verifier,
    peer: &str,
    phase: Phase,
) -> HttpError {
    let peer = peer.to_owned();
    if let Some(reason) = verifier.seen.lock().verdict.clone() {
        return HttpError::Untrusted { peer, reason };
    }
    tls_error(error, peer, phase)
}

/// As [`refused`], after the handshake.
pub(super) fn tls_error(error: &std::io::Error, peer: String, phase: Phase) -> HttpError {
    use std::io::ErrorKind;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::AlertReceived(alert)) => match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired => {
                HttpError::ClientCertificate { peer, reason: format!("alert {alert:?}") }
            }
            AlertDescription::NoApplicationProtocol => HttpError::Tls {
                peer,
                reason: "the server speaks none of the HTTP versions offered".to_owned(),
            },
            AlertDescription::UnrecognisedName => HttpError::Tls {
                peer,
                reason: "the server does not know the name asked for (alert UnrecognisedName)"
                    .to_owned(),
            },
            other => HttpError::Tls { peer, reason: format!("alert {other:?} from the server") },
        },
        Some(rustls::Error::InvalidMessage(_)) if phase == Phase::Handshake => {
            HttpError::NotTls { peer }
        }
        Some(other) => HttpError::Tls { peer, reason: other.to_string() },
        None => match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                HttpError::Reset { peer, phase }
            }
            ErrorKind::UnexpectedEof => HttpError::ClosedInHandshake { peer },
            _ => HttpError::Tls { peer, reason: error.to_string() },
        },
    }
}

fn roots(trust: &Trust) -> Result<Option<Vec<CertificateDer<'static>>>, HttpError> {
    match trust {
        Trust::Anybody => Ok(None),
        Trust::Only(roots) => Ok(Some(roots.clone())),
        Trust::System => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                let reason = found.errors.first().map_or_else(
                    || "there are none on this machine".to_owned(),
                    ToString::to_string,
                );
                return Err(HttpError::NoSystemRoots { reason });
            }
            Ok(Some(found.certs))
        }
    }
}

fn config(request: &Request, verifier: &Arc<Verifier>) -> Result<ClientConfig, HttpError> {
    let tls = |error: rustls::Error| HttpError::BadOption {
        what: "a client certificate",
        value: "certificate".to_owned(),
        reason: error.to_string(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&verifier.provider))
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as Arc<dyn ServerCertVerifier>);
    let mut config = match &request.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let missing = |reason: &str| HttpError::BadOption {
                what: "a client certificate",
                value: "key".to_owned(),
                reason: reason.to_owned(),
            };
            let key = identity
                .key
                .as_ref()
                .ok_or_else(|| missing("the certificate comes without its private key"))?;
            let key = PrivateKeyDer::from_pem_slice(key.pem().reveal().as_bytes())
                .map_err(|_| missing("the private key is not readable"))?;
            builder.with_client_auth_cert(identity.chain.clone(), key).map_err(tls)?
        }
    };
    config.alpn_protocols = match request.version {
        Version::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Version::Http1 => vec![b"http/1.1".to_vec()],
        Version::Http2 => vec![b"h2".to_vec()],
    };
    config.enable_sni = request.server_name().is_some();
    // A resumed session shows no certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Verifies with `cert::verify` at the time of the target's clock and remembers what it saw.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None`: anybody is trusted.
    roots: Option<Vec<CertificateDer<'static>>>,
    clock: SharedClock,
    provider: Arc<CryptoProvider>,
    name: String,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    verdict: Option<Untrusted>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let verdict = match &self.roots {
            None => Ok(()),
            Some(roots) => verify(&chain, roots, Some(&self.name), self.clock.now()),
        };
        let mut seen = self.seen.lock();
        seen.chain = chain;
        let Err(error) = verdict else { return Ok(ServerCertVerified::assertion()) };
        seen.verdict = Some(match error {
            CertError::NotTrusted(reason) => reason,
            other => Untrusted::Other { subject: self.name.clone(), reason: other.to_string() },
        });
        Err(rustls::CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
