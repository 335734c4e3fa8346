//! Envoy as a gateway: listeners, TLS by SNI, and what happens to every request before and after its rule.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use serde_json::Value;
use tokio_rustls::LazyConfigAcceptor;

use super::DataPlane;
use super::body::{self, Body};
use super::filters::{strip_connection, upgrade_of};
use super::forward::{self, Entrance, Outcome};
use super::http_server::{self, host_of};
use super::pipe::Pipe;
use super::policy::{self, Peer};
use super::routes::{self, Server};
use crate::base::clock::Clock as _;
use crate::sandbox::controllers::kinds::{GATEWAYS, SECRETS};
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::attach::{self, Listener};
use crate::sandbox::mesh::presence;

/// The client address that a gateway sees behind a LoadBalancer with `externalTrafficPolicy: Cluster`.
pub(super) const NODE_CLIENT: &str = "10.244.0.1";

/// The Gateway that a proxy pod serves.
pub(super) fn gateway_of(plane: &DataPlane, pod: &Value) -> Option<Arc<Value>> {
    let name = object::label(pod, "gateway.networking.k8s.io/gateway-name")?;
    plane.api.get(&GATEWAYS, object::namespace(pod), name)
}

/// Whether the gateway's Envoy listens on a port.
pub(super) fn listens(plane: &DataPlane, gateway: &Value, port: u16) -> bool {
    !routes::servers_on(&*plane.api, gateway, port).is_empty()
}

#[derive(Debug)]
struct OneCertificate(Arc<rustls::sign::CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(
        &self,
        _: rustls::server::ClientHello<'_>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// The TLS configuration of a listener from its Secret, as of now.
fn tls_config(plane: &DataPlane, listener: &Listener) -> Option<Arc<ServerConfig>> {
    let (namespace, name) = listener.certificates.first()?;
    let secret = plane.api.get(&SECRETS, namespace, name)?;
    let (chain, key) = attach::key_pair(&secret).ok()?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).ok()?;
    let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let mut config =
        builder.with_no_client_auth().with_cert_resolver(Arc::new(OneCertificate(certified)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Some(Arc::new(config))
}

/// Serves one connection to a gateway's listener port.
pub(super) async fn serve(
    plane: Arc<DataPlane>,
    pod: Arc<Value>,
    port: u16,
    client: String,
    stream: Pipe,
) {
    let Some(gateway) = gateway_of(&plane, &pod) else { return stream.reset() };
    let servers = routes::servers_on(&*plane.api, &gateway, port);
    let Some(first) = servers.first().map(Server::first) else { return stream.reset() };
    let clock = plane.api.clock();
    let place = Arc::new(Place { plane, pod, gateway, port, client });
    if first.protocol == "HTTP" {
        let answer = move |request: Request<Body>| {
            let place = Arc::clone(&place);
            async move { answer(&place, None, request).await }
        };
        return http_server::serve(stream, clock, answer).await;
    }
    if first.protocol != "HTTPS" {
        let what = format!("a gateway listener of protocol {}", first.protocol);
        place.plane.api.not_modelled(&what);
        return stream.reset();
    }
    let cutter = stream.cutter();
    let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let Ok(start) = acceptor.await else { return };
    let name = start.client_hello().server_name().map(str::to_lowercase).unwrap_or_default();
    let server = routes::server_for(&servers, &name).map(Server::first).cloned();
    let config = server.as_ref().and_then(|listener| tls_config(&place.plane, listener));
    let (Some(listener), Some(config)) = (server, config) else {
        // No filter chain for this name: Envoy closes without an alert.
        cutter.store(true, std::sync::atomic::Ordering::SeqCst);
        return;
    };
    let Ok(stream) = start.into_stream(config).await else { return };
    let answer = move |request: Request<Body>| {
        let (place, listener) = (Arc::clone(&place), listener.clone());
        async move { answer(&place, Some(&listener), request).await }
    };
    http_server::serve(stream, clock, answer).await;
}

/// Where a connection came in.
struct Place {
    plane: Arc<DataPlane>,
    pod: Arc<Value>,
    gateway: Arc<Value>,
    port: u16,
    client: String,
}

/// One request: its virtual host, rule, filters and backend, as the configuration is now.
async fn answer(
    place: &Place,
    secure: Option<&Listener>,
    mut request: Request<Body>,
) -> Response<Body> {
    let plane = &place.plane;
    let began = plane.api.clock().monotonic();
    let caller = Peer { identity: None, address: place.client.clone() };
    let policies = gateway_policies(plane, &place.gateway);
    let wants = upgrade_of(request.headers());
    let is_websocket = wants.as_deref() == Some("websocket");
    normalise_path(&mut request);
    let is_grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let outcome = if wants.is_some_and(|wants| wants != "h2c" && !is_websocket) {
        Outcome::local(StatusCode::FORBIDDEN, "")
    } else if !policy::at_proxy(&policies, &request, &caller, place.port) {
        Outcome::local(StatusCode::FORBIDDEN, "RBAC: access denied")
    } else {
        let host = host_of(&request);
        let servers = routes::servers_on(&*plane.api, &place.gateway, place.port);
        let server = servers.iter().find(|server| match secure {
            None => server.first().protocol == "HTTP",
            Some(own) => server.first().name == own.name && server.first().owner == own.owner,
        });
        let hosts = server
            .map(|server| routes::virtual_hosts(&*plane.api, &place.gateway, server))
            .unwrap_or_default();
        let entry =
            routes::host_for(&hosts, &host).and_then(|host| routes::entry_for(host, &request));
        match entry {
            None => Outcome::local(StatusCode::NOT_FOUND, ""),
            Some(entry) => {
                if !is_websocket {
                    strip_connection(request.headers_mut());
                }
                forwarded(plane, &mut request, &place.client, secure.is_some());
                let entrance =
                    Entrance { pod: &place.pod, port: place.port, secure: secure.is_some() };
                forward::follow(plane, entrance, entry, request).await
            }
        }
    };
    let Outcome { mut response, upstream } = outcome;
    if is_grpc && !upstream {
        let (parts, body) = response.into_parts();
        let text = body::whole(body).await.unwrap_or_default();
        let empty = Response::from_parts(parts, body::full(Vec::new()));
        response = http_server::for_grpc(empty, &String::from_utf8_lossy(&text));
    }
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    if !switches {
        strip_connection(headers);
    }
    if upstream {
        let spent = plane.api.clock().monotonic().saturating_sub(began).as_millis();
        if let Ok(value) = HeaderValue::from_str(&spent.to_string()) {
            headers.insert("x-envoy-upstream-service-time", value);
        }
    }
    if !headers.contains_key("date") {
        let date = plane.api.clock().now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(date) = HeaderValue::from_str(&date) {
            headers.insert("date", date);
        }
    }
    headers.insert("server", HeaderValue::from_static("istio-envoy"));
    response
}

/// Whether a byte stands for itself in a path, however it is written.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Resolves `.` and `..` in the path and writes plain characters plainly, as Istio's default normalisation (`BASE`) does;
/// slashes stay as they are.
fn normalise_path(request: &mut Request<Body>) {
    let path = request.uri().path();
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let byte = rest.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|byte| first == '%' && is_unreserved(*byte)) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &rest[3..];
            }
            None => {
                plain.push(if first == '\\' { '/' } else { first });
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    let mut kept: Vec<&str> = Vec::new();
    let parts: Vec<&str> = plain.split('/').skip(1).collect();
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        // A parameter does not hide a dot segment.
        let dots = part.split(';').next().filter(|dots| matches!(*dots, "." | ".."));
        match dots.unwrap_or(part) {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(part),
        }
    }
    let mut whole = format!("/{}", kept.join("/"));
    if whole == path || !path.starts_with('/') {
        return;
    }
    if let Some(query) = request.uri().query() {
        whole = format!("{whole}?{query}");
    }
    super::filters::set_path(request, &whole);
}

/// Policies that a gateway enforces: by target, and the older ones by selector or for a whole namespace.
fn gateway_policies(plane: &DataPlane, gateway: &Value) -> Vec<Arc<Value>> {
    let (namespace, name) = object::key(gateway);
    let mut found = policy::targeting(&*plane.api, &namespace, "Gateway", &name);
    let root = presence::root_namespace(&*plane.api);
    if let Some(root) = &root {
        let class = gateway["spec"]["gatewayClassName"].as_str().unwrap_or_default();
        found.extend(policy::targeting(&*plane.api, root, "GatewayClass", class));
    }
    let kinds = &crate::sandbox::controllers::kinds::AUTHORIZATION_POLICIES;
    let mut namespaces = vec![namespace.clone()];
    namespaces.extend(root.filter(|root| *root != namespace));
    for namespace in namespaces {
        for policy in plane.api.list(kinds, &namespace) {
            let selector = &policy["spec"]["selector"]["matchLabels"];
            let label = &selector["gateway.networking.k8s.io/gateway-name"];
            let all = selector.as_object().is_none_or(serde_json::Map::is_empty);
            let untargeted = crate::sandbox::mesh::policy_status::targets(&policy).is_empty();
            if untargeted && (all || label == name.as_str()) {
                found.push(policy);
            }
        }
    }
    found
}

/// Headers by which those inside steer Envoy: from outside they are not heard.
const NOT_FROM_OUTSIDE: &[&str] = &[
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
];

/// The headers that Envoy adds at the edge.
fn forwarded(plane: &DataPlane, request: &mut Request<Body>, client: &str, secure: bool) {
    let headers = request.headers_mut();
    for name in NOT_FROM_OUTSIDE {
        headers.remove(*name);
    }
    let earlier = headers
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok())
        .map(|text| format!("{text},"))
        .unwrap_or_default();
    for (name, value) in [
        ("x-forwarded-for", format!("{earlier}{client}")),
        ("x-forwarded-proto", if secure { "https" } else { "http" }.to_owned()),
        ("x-envoy-external-address", client.to_owned()),
        ("x-request-id", plane.api.random_uid()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
