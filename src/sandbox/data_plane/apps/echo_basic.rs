//! echo-basic, the backend of the Gateway API's conformance suite: what it was asked, as JSON; HTTP/2 without TLS on a port of
//! its own, TLS on another where it is given a certificate, WebSocket at `/ws`; or a gRPC server, as its environment says.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::body;
use super::super::routes::query;
use super::{
    Body, Call, Secure, authority_of, go_headers, grpc, plain, protocol, typed, websocket,
};
use crate::sandbox::controllers::object;
use crate::sandbox::data_plane::DataPlane;
use crate::sandbox::node::images::Program;
use crate::sandbox::node::{shell, volumes};

/// The container that runs the program.
fn container(pod: &Value) -> &Value {
    object::items(&pod["spec"], "containers")
        .iter()
        .find(|found| {
            Program::of(found["image"].as_str().unwrap_or_default()) == Program::EchoBasic
        })
        .unwrap_or(&Value::Null)
}

fn environment(pod: &Value) -> BTreeMap<String, String> {
    shell::environment(pod, container(pod))
}

/// A variable, or what the program takes when it is not set.
fn port_of(environment: &BTreeMap<String, String>, name: &str, default: u16) -> u16 {
    environment.get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn is_set(environment: &BTreeMap<String, String>, name: &str) -> bool {
    environment.get(name).is_some_and(|value| !value.is_empty())
}

fn has_certificate(environment: &BTreeMap<String, String>) -> bool {
    is_set(environment, "TLS_SERVER_CERT") && is_set(environment, "TLS_SERVER_PRIVKEY")
}

/// Whether the program listens on a port.
pub(super) fn listens(pod: &Value, port: u16) -> bool {
    let environment = environment(pod);
    let clear = port_of(&environment, "HTTP_PORT", 3000);
    let h2c = port_of(&environment, "H2C_PORT", 3001);
    let is_grpc = is_set(&environment, "GRPC_ECHO_SERVER");
    port == clear || (port == h2c && !is_grpc) || is_secure(pod, port)
}

/// Whether the program understands a version of HTTP on a port.
pub(super) fn speaks(pod: &Value, port: u16, version: Version) -> bool {
    let environment = environment(pod);
    if is_set(&environment, "GRPC_ECHO_SERVER") {
        return version == Version::HTTP_2;
    }
    version != Version::HTTP_2 || port == port_of(&environment, "H2C_PORT", 3001)
}

/// Whether the program speaks TLS on a port.
pub(super) fn is_secure(pod: &Value, port: u16) -> bool {
    let environment = environment(pod);
    has_certificate(&environment) && port == port_of(&environment, "HTTPS_PORT", 8443)
}

/// How the program's port with TLS is set up, from the files that its environment names.
pub(super) fn tls(plane: &DataPlane, pod: &Value) -> Option<Arc<ServerConfig>> {
    let environment = environment(pod);
    let files = volumes::files(&*plane.api, &plane.world, pod, container(pod));
    let read = |name: &str| files.read(environment.get(name)?).ok();
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read("TLS_SERVER_CERT")?).collect::<Result<_, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_slice(&read("TLS_SERVER_PRIVKEY")?).ok()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .ok()?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Some(Arc::new(config))
}

/// The document that the program answers with, in its order.
#[derive(Serialize)]
struct Assertions {
    path: String,
    host: String,
    method: String,
    proto: &'static str,
    headers: Map<String, Value>,
    #[serde(rename = "httpPort")]
    http_port: String,
    namespace: String,
    ingress: String,
    service: String,
    pod: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsAssertions>,
}

#[derive(Serialize)]
struct TlsAssertions {
    version: &'static str,
    #[serde(rename = "serverName")]
    server_name: String,
    #[serde(rename = "negotiatedProtocol", skip_serializing_if = "String::is_empty")]
    protocol: String,
    #[serde(rename = "cipherSuite")]
    cipher: String,
}

impl From<&Secure> for TlsAssertions {
    fn from(secure: &Secure) -> Self {
        Self {
            version: secure.version,
            server_name: secure.server_name.clone(),
            protocol: secure.protocol.clone(),
            cipher: secure.cipher.clone(),
        }
    }
}

/// What the program answers.
pub(super) async fn respond(call: &Call<'_>, request: Request<Body>) -> Response<Body> {
    let environment = environment(call.pod);
    if is_set(&environment, "GRPC_ECHO_SERVER") {
        return grpc::respond(call, &environment, request).await;
    }
    if is_secure(call.pod, call.port) && call.secure.is_none() {
        // Go's words for a client that speaks no TLS there.
        let mut response =
            Response::new(body::full("Client sent an HTTP request to an HTTPS server.\n"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    }
    if call.port == port_of(&environment, "H2C_PORT", 3001) {
        if request.version() != Version::HTTP_2 {
            return typed(
                StatusCode::BAD_REQUEST,
                "text/plain; charset=utf-8",
                "Expected h2c request",
            );
        }
        return echo(call, &environment, request).await;
    }
    let path = request.uri().path().replace("//", "/");
    match path.as_str() {
        "/health" => typed(StatusCode::OK, "text/plain; charset=utf-8", "OK"),
        "/ws" => websocket::echo(request),
        _ if path.starts_with("/status/") => {
            let written = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let code = written
                .strip_prefix("/status/")
                .filter(|code| code.len() == 3)
                .and_then(|code| code.parse::<u16>().ok())
                .and_then(|code| StatusCode::from_u16(code).ok());
            plain(code.unwrap_or(StatusCode::BAD_REQUEST), "")
        }
        _ => echo(call, &environment, request).await,
    }
}

async fn echo(
    call: &Call<'_>,
    environment: &BTreeMap<String, String>,
    request: Request<Body>,
) -> Response<Body> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let line = format!("Echoing back request made to {path} to client ({}:40000)", call.client);
    let time = object::now(&*call.plane.api);
    let name = container(call.pod)["name"].as_str().unwrap_or_default();
    call.plane.world.log(object::uid(call.pod), name, &time, &[line]);
    let of = |name: &str| environment.get(name).cloned().unwrap_or_default();
    let document = Assertions {
        path,
        host: authority_of(&request),
        method: request.method().to_string(),
        proto: protocol(&request),
        headers: go_headers(&request),
        http_port: port_of(environment, "HTTP_PORT", 3000).to_string(),
        namespace: of("NAMESPACE"),
        ingress: of("INGRESS_NAME"),
        service: of("SERVICE_NAME"),
        pod: of("POD_NAME"),
        tls: call.secure.as_ref().map(TlsAssertions::from),
    };
    let (parts, sent) = request.into_parts();
    let asked = query(parts.uri.query().unwrap_or_default());
    let mut delay = value_of(&asked, "delay");
    let is_form = parts
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if is_form && matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
        let form = body::whole(sent).await.unwrap_or_default();
        delay = value_of(&query(&String::from_utf8_lossy(&form)), "delay").or(delay);
    }
    if let Some(delay) = delay {
        match crate::base::duration::parse(&delay) {
            Ok(span) => call.plane.api.clock().event_in(span).await,
            Err(_) => {
                let text = format!("{{\"message\":\"time: invalid duration \\\"{delay}\\\"\"}}");
                return typed(StatusCode::INTERNAL_SERVER_ERROR, "application/json", text);
            }
        }
    }
    let mut response = typed(StatusCode::OK, "application/json", go_json(&document));
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    let mut asked: Vec<(HeaderName, String)> = Vec::new();
    for list in parts.headers.get_all("x-echo-set-header") {
        for pair in list.to_str().unwrap_or_default().split(',') {
            let (name, value) = pair.trim().split_once(':').unwrap_or((pair.trim(), ""));
            let Ok(name) = HeaderName::try_from(name) else { continue };
            match asked.iter_mut().find(|(found, _)| *found == name) {
                Some((_, found)) => *found = format!("{found},{}", value.trim()),
                None => asked.push((name, value.trim().to_owned())),
            }
        }
    }
    for (name, value) in asked {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

fn value_of(parameters: &[(String, String)], name: &str) -> Option<String> {
    let found = parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    found.filter(|value| !value.is_empty())
}

/// JSON as Go's encoder indents it by one space, with what HTML takes for markup escaped.
fn go_json(document: &Assertions) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    // A document of texts can always be written to memory.
    let _ = document.serialize(&mut serializer);
    String::from_utf8_lossy(&text)
        .replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
}
