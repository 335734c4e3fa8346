//! The programs behind Services: go-httpbin, the conformance suite's echo-basic, and an echo for everything else.
//!
//! Each answers as the real program was seen to; delays pass on the cluster's clock.

mod echo;
mod echo_basic;
mod grpc;
mod httpbin;
mod websocket;

use std::sync::Arc;

use http::{Request, Response, StatusCode, Version};
use serde_json::{Map, Value, json};
use tokio_rustls::TlsAcceptor;

use super::DataPlane;
use super::body::{Body, full};
use super::http_server::{self, authority_of, plain};
use super::pipe::Pipe;
use crate::sandbox::controllers::object;
use crate::sandbox::node::images::Program;

/// What a program knows of a connection with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Secure {
    /// `TLSv1.3`
    pub(super) version: &'static str,
    pub(super) server_name: String,
    pub(super) protocol: String,
    pub(super) cipher: String,
}

/// A request as it reaches a program.
pub(super) struct Call<'a> {
    pub(super) plane: &'a DataPlane,
    pub(super) pod: &'a Arc<Value>,
    pub(super) port: u16,
    /// The address of the client's end of the connection.
    pub(super) client: &'a str,
    pub(super) secure: Option<Secure>,
}

/// Whether a program listens on a port.
pub(super) fn listens(pod: &Value, program: Program, port: u16) -> bool {
    let declared = object::items(&pod["spec"], "containers")
        .iter()
        .flat_map(|container| object::items(container, "ports"))
        .any(|found| found["containerPort"].as_u64() == Some(u64::from(port)));
    match program {
        Program::Httpbin => declared || port == 8080,
        Program::EchoBasic => echo_basic::listens(pod, port),
        Program::Other => declared,
        _ => false,
    }
}

/// Whether the program understands a version of HTTP on a port.
pub(super) fn speaks(pod: &Value, port: u16, version: Version) -> bool {
    match Program::of_pod(pod) {
        Program::EchoBasic => echo_basic::speaks(pod, port, version),
        Program::Httpbin => version != Version::HTTP_2,
        _ => true,
    }
}

/// Whether the program speaks TLS on a port.
pub(super) fn is_secure(pod: &Value, port: u16) -> bool {
    Program::of_pod(pod) == Program::EchoBasic && echo_basic::is_secure(pod, port)
}

/// What the program answers on a connection that speaks HTTP.
pub(super) async fn respond(call: &Call<'_>, request: Request<Body>) -> Response<Body> {
    match Program::of_pod(call.pod) {
        Program::Httpbin => httpbin::respond(call, request).await,
        Program::EchoBasic => echo_basic::respond(call, request).await,
        _ => echo::respond(call, &request),
    }
}

/// Serves one connection to a program's port, with TLS where the program speaks it there.
pub(super) async fn serve(
    plane: Arc<DataPlane>,
    pod: Arc<Value>,
    port: u16,
    client: String,
    stream: Pipe,
) {
    let clock = plane.api.clock();
    let answer = {
        let (plane, pod, client) = (Arc::clone(&plane), Arc::clone(&pod), client.clone());
        move |secure: Option<Secure>, request: Request<Body>| {
            let (plane, pod, client) = (Arc::clone(&plane), Arc::clone(&pod), client.clone());
            async move {
                let call = Call { plane: &plane, pod: &pod, port, client: &client, secure };
                respond(&call, request).await
            }
        }
    };
    if !is_secure(&pod, port) {
        return http_server::serve(stream, clock, move |request| answer(None, request)).await;
    }
    let Some(config) = echo_basic::tls(&plane, &pod) else { return stream.reset() };
    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
    let facts = {
        let session = stream.get_ref().1;
        let protocol = session.alpn_protocol().map(|name| String::from_utf8_lossy(name));
        Secure {
            version: match session.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            server_name: session.server_name().unwrap_or_default().to_owned(),
            protocol: protocol.unwrap_or_default().into_owned(),
            cipher: session
                .negotiated_cipher_suite()
                .map(|suite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_"))
                .unwrap_or_default(),
        }
    };
    http_server::serve(stream, clock, move |request| answer(Some(facts.clone()), request)).await;
}

/// Headers as Go prints them: canonical names, lists of values; without the host.
fn go_headers<B>(request: &Request<B>) -> Map<String, Value> {
    let mut found: Map<String, Value> = Map::new();
    for (name, value) in request.headers() {
        if name == "host" {
            continue;
        }
        let list = found.entry(canonical(name.as_str())).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(json!(value.to_str().unwrap_or_default()));
        }
    }
    found
}

/// `x-request-id` as `X-Request-Id`.
fn canonical(name: &str) -> String {
    name.split('-')
        .map(|part| {
            let mut chars = part.chars();
            chars
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
                .unwrap_or_default()
        })
        .collect::<Vec<_>>()
        .join("-")
}

/// Go's name of a request's protocol.
fn protocol<B>(request: &Request<B>) -> &'static str {
    if request.version() == Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" }
}

fn typed(status: StatusCode, kind: &'static str, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
