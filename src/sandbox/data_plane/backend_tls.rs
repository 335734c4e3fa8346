//! TLS from a proxy to a backend, as the BackendTLSPolicy of its Service asks for it.
//!
//! The handshake is a real one, over a connection in memory: the program shows its certificate, the proxy checks it as
//! Envoy does by the cluster that istiod makes of the policy.

use std::sync::Arc;

use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use serde_json::Value;
use tokio_rustls::TlsConnector;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::body::Body;
use super::http_server::authority_of;
use super::{DataPlane, apps, pipe};
use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::CONFIG_MAPS;
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::backend_policy_status;
use crate::sandbox::mesh::listener_tls::authority_bundle;

/// There is no connection. Envoy does not tell a client whether a certificate or something else was wrong.
pub(super) struct NotConnected;

/// What a policy asks of the connection to a port of a Service.
pub(super) struct BackendTls {
    /// The name that is asked for. Nobody checks that it is certified: istiod makes no matcher of it, as was seen on the
    /// test bed.
    server_name: String,
    roots: RootCertStore,
    /// Of which one must be certified, where there are any.
    names: Vec<Name>,
}

#[derive(Clone, Debug)]
enum Name {
    Dns(String),
    Uri(String),
}

/// What the policy of a Service's port asks for; `None` without one.
pub(super) fn of_port(api: &dyn Api, service: &Value, port: &Value) -> Option<BackendTls> {
    let policy = backend_policy_status::of_port(api, service, port)?;
    let validation = &policy["spec"]["validation"];
    let server_name = validation["hostname"].as_str().unwrap_or_default().to_owned();
    let names = object::items(validation, "subjectAltNames")
        .iter()
        .filter_map(|name| match name["type"].as_str()? {
            "URI" => Some(Name::Uri(name["uri"].as_str()?.to_owned())),
            _ => Some(Name::Dns(name["hostname"].as_str()?.to_owned())),
        })
        .collect();
    Some(BackendTls { server_name, roots: roots(api, &policy), names })
}

/// The authorities that a policy trusts: those of its first reference, or the system's. A reference that does not resolve
/// leaves none, so that no certificate holds.
fn roots(api: &dyn Api, policy: &Value) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let validation = &policy["spec"]["validation"];
    // Nothing in a rehearsal is certified by an authority of the world outside.
    let Some(reference) = object::items(validation, "caCertificateRefs").first() else {
        return roots;
    };
    let is_map = reference["kind"] == "ConfigMap"
        && reference["group"].as_str().unwrap_or_default().is_empty();
    let name = reference["name"].as_str().unwrap_or_default();
    let found = is_map.then(|| api.get(&CONFIG_MAPS, object::namespace(policy), name)).flatten();
    let bundle = found.and_then(|found| authority_bundle(&found).ok()).unwrap_or_default();
    for certificate in CertificateDer::pem_slice_iter(&bundle).flatten() {
        // One that is none is not trusted; that is all.
        let _ = roots.add(certificate);
    }
    roots
}

impl BackendTls {
    /// Sends a request over TLS to a pod's port.
    ///
    /// # Errors
    /// The program speaks no TLS there, or shows no certificate that holds.
    pub(super) async fn call(
        self,
        plane: &Arc<DataPlane>,
        pod: &Arc<Value>,
        port: u16,
        client: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, NotConnected> {
        if !apps::is_secure(pod, port) {
            return Err(NotConnected);
        }
        let is_http2 = request.version() == Version::HTTP_2;
        let config = self.client(is_http2).ok_or(NotConnected)?;
        let name = ServerName::try_from(self.server_name).map_err(|_| NotConnected)?;
        let (near, far) = pipe::pair();
        let program = apps::serve(plane.clone(), pod.clone(), port, client.to_owned(), far);
        tokio::spawn(program);
        let stream =
            TlsConnector::from(config).connect(name, near).await.map_err(|_| NotConnected)?;
        let io = TokioIo::new(stream);
        let sent = if is_http2 {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(|_| NotConnected)?;
            tokio::spawn(connection);
            sender.send_request(in_full_form(request)).await
        } else {
            let (mut sender, connection) = http1::handshake(io).await.map_err(|_| NotConnected)?;
            tokio::spawn(connection.with_upgrades());
            sender.send_request(in_origin_form(request)).await
        };
        sent.map(|answer| answer.map(|body| body.map_err(std::io::Error::other).boxed_unsync()))
            .map_err(|_| NotConnected)
    }

    fn client(&self, is_http2: bool) -> Option<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(
            Arc::new(self.roots.clone()),
            provider.clone(),
        );
        let verifier = Verifier { inner: inner.build().ok()?, names: self.names.clone() };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![if is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Some(Arc::new(config))
    }
}

/// A request as HTTP/1.1 writes it: the path alone, the host in its header.
fn in_origin_form(mut request: Request<Body>) -> Request<Body> {
    if !request.headers().contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(&authority_of(&request))
    {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
    request
}

/// A request as HTTP/2 writes it: the host is part of what is asked for.
fn in_full_form(mut request: Request<Body>) -> Request<Body> {
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = authority_of(&request).parse().ok();
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request.headers_mut().remove(HOST);
    request
}

/// Checks the chain against the authorities of a policy, and that one of its names is certified, where it has any.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    names: Vec<Name>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |name: &ServerName<'_>| {
            self.inner.verify_server_cert(end_entity, intermediates, name, stapled, now)
        };
        // The chain is looked at before the name, so the chain of a certificate for another name holds.
        match verify(server_name) {
            Err(error) if !is_about_name(&error) => return Err(error),
            _ => {}
        }
        let is_certified = |name: &Name| match name {
            Name::Dns(name) => {
                ServerName::try_from(name.as_str()).is_ok_and(|name| verify(&name).is_ok())
            }
            Name::Uri(uri) => certifies(end_entity, uri),
        };
        if self.names.is_empty() || self.names.iter().any(is_certified) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidForName))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn is_about_name(error: &Error) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(error, Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
}

/// Whether a certificate is for a URI.
fn certifies(certificate: &CertificateDer<'_>, wanted: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    certificate.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => names
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::URI(uri) if *uri == wanted)),
        _ => false,
    })
}
