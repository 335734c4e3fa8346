//! Envoy as a gateway: listeners, TLS by SNI, routing, filters.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use serde_json::Value;
use tokio_rustls::LazyConfigAcceptor;

use super::DataPlane;
use super::http_server::{self, authority_of, host_of, plain};
use super::pipe::Pipe;
use super::policy::{self, Peer};
use super::routes::{self, Entry};
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
    !routes::listeners_on(&*plane.api, gateway, port).is_empty()
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
    let listeners = routes::listeners_on(&*plane.api, &gateway, port);
    let Some(first) = listeners.first() else { return stream.reset() };
    let clock = plane.api.clock();
    if first.protocol == "HTTP" {
        let answer = move |request: Request<Bytes>| {
            let (plane, pod, gateway, client) =
                (Arc::clone(&plane), Arc::clone(&pod), Arc::clone(&gateway), client.clone());
            async move { answer(&plane, &pod, &gateway, port, None, &client, request).await }
        };
        return http_server::serve(stream, clock, answer).await;
    }
    if first.protocol != "HTTPS" {
        plane.api.not_modelled(&format!("a gateway listener of protocol {}", first.protocol));
        return stream.reset();
    }
    let cutter = stream.cutter();
    let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let Ok(start) = acceptor.await else { return };
    let name = start.client_hello().server_name().map(str::to_lowercase).unwrap_or_default();
    let listener = routes::listener_for(&listeners, &name).cloned();
    let config = listener.as_ref().and_then(|listener| tls_config(&plane, listener));
    let (Some(listener), Some(config)) = (listener, config) else {
        // No filter chain for this name: Envoy closes without an alert.
        cutter.store(true, std::sync::atomic::Ordering::SeqCst);
        return;
    };
    let Ok(stream) = start.into_stream(config).await else { return };
    let answer = move |request: Request<Bytes>| {
        let (plane, pod, gateway) = (Arc::clone(&plane), Arc::clone(&pod), Arc::clone(&gateway));
        let (client, listener) = (client.clone(), listener.clone());
        async move { answer(&plane, &pod, &gateway, port, Some(&listener), &client, request).await }
    };
    http_server::serve(stream, clock, answer).await;
}

/// One request: its listener, virtual host, rule, filters and backend.
async fn answer(
    plane: &Arc<DataPlane>,
    pod: &Arc<Value>,
    gateway: &Arc<Value>,
    port: u16,
    secure: Option<&Listener>,
    client: &str,
    mut request: Request<Bytes>,
) -> Response<Bytes> {
    let began = plane.api.clock().monotonic();
    let host = host_of(&request);
    let listeners = routes::listeners_on(&*plane.api, gateway, port);
    let listener = match secure {
        Some(listener) => listeners
            .iter()
            .find(|found| found.name == listener.name && found.owner == listener.owner),
        None => routes::listener_for(&listeners, &host),
    };
    let caller = Peer { identity: None, address: client.to_owned() };
    let policies = gateway_policies(plane, gateway);
    let (mut response, upstream) = if !policy::at_proxy(&policies, &request, &caller, port) {
        (plain(StatusCode::FORBIDDEN, "RBAC: access denied"), false)
    } else {
        let hosts = listener
            .map(|listener| routes::virtual_hosts(&*plane.api, gateway, listener))
            .unwrap_or_default();
        let entry =
            routes::host_for(&hosts, &host).and_then(|host| routes::entry_for(host, &request));
        match entry {
            None => (plain(StatusCode::NOT_FOUND, ""), false),
            Some(entry) => {
                forwarded(plane, &mut request, client, secure.is_some());
                follow(plane, pod, entry, port, secure.is_some(), request).await
            }
        }
    };
    let headers = response.headers_mut();
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

/// The headers that Envoy adds at the edge.
fn forwarded(plane: &DataPlane, request: &mut Request<Bytes>, client: &str, secure: bool) {
    let headers = request.headers_mut();
    let earlier = headers
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok())
        .map(|text| format!("{text},"))
        .unwrap_or_default();
    for (name, value) in [
        ("x-forwarded-for", format!("{earlier}{client}")),
        ("x-forwarded-proto", if secure { "https" } else { "http" }.to_owned()),
        ("x-envoy-external-address", client.to_owned()),
        ("x-envoy-attempt-count", "1".to_owned()),
        ("x-request-id", plane.api.random_uid()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Applies a rule. The flag says whether an upstream answered.
async fn follow(
    plane: &Arc<DataPlane>,
    pod: &Arc<Value>,
    entry: &Entry,
    port: u16,
    secure: bool,
    mut request: Request<Bytes>,
) -> (Response<Bytes>, bool) {
    let rule = entry.rule();
    let filters = object::items(rule, "filters");
    for filter in filters {
        match filter["type"].as_str().unwrap_or_default() {
            "RequestHeaderModifier" => {
                modify(request.headers_mut(), &filter["requestHeaderModifier"]);
            }
            "RequestRedirect" => {
                return (
                    redirect(&filter["requestRedirect"], entry, port, secure, &request),
                    false,
                );
            }
            "URLRewrite" => rewrite(&filter["urlRewrite"], entry, &mut request),
            "RequestMirror" => mirror(plane, pod, entry, &filter["requestMirror"], &request),
            "ResponseHeaderModifier" => {}
            other => plane.api.not_modelled(&format!("the HTTPRoute filter {other}")),
        }
    }
    let backends = object::items(rule, "backendRefs");
    let Some(backend) = choose(plane, backends) else {
        return (plain(StatusCode::INTERNAL_SERVER_ERROR, ""), false);
    };
    if attach::backend_problem(&*plane.api, &entry.route, backend).is_some() {
        return (plain(StatusCode::INTERNAL_SERVER_ERROR, ""), false);
    }
    for filter in object::items(backend, "filters") {
        if filter["type"] == "RequestHeaderModifier" {
            modify(request.headers_mut(), &filter["requestHeaderModifier"]);
        }
    }
    let mut response = with_timeout(plane, rule, call(plane, pod, entry, backend, request)).await;
    for filter in filters.iter().chain(object::items(backend, "filters")) {
        if filter["type"] == "ResponseHeaderModifier" {
            modify(response.headers_mut(), &filter["responseHeaderModifier"]);
        }
    }
    (response, true)
}

async fn call(
    plane: &Arc<DataPlane>,
    pod: &Arc<Value>,
    entry: &Entry,
    backend: &Value,
    request: Request<Bytes>,
) -> Response<Bytes> {
    let own = object::namespace(&entry.route);
    let namespace = backend["namespace"].as_str().unwrap_or(own);
    let name = backend["name"].as_str().unwrap_or_default();
    let port = backend["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    let caller = Peer {
        identity: Some(policy::identity(pod)),
        address: pod["status"]["podIP"].as_str().unwrap_or_default().to_owned(),
    };
    plane.call_service(&caller, pod, (namespace, name), port, request).await
}

/// `timeouts.request` and `timeouts.backendRequest`; without retries the shorter one decides.
async fn with_timeout(
    plane: &DataPlane,
    rule: &Value,
    work: impl Future<Output = Response<Bytes>>,
) -> Response<Bytes> {
    let span = |field: &str| {
        let text = rule["timeouts"][field].as_str()?;
        crate::base::duration::parse(text).ok().filter(|span| *span > Duration::ZERO)
    };
    let limit = span("backendRequest").or_else(|| span("request"));
    let Some(limit) = limit else { return work.await };
    tokio::select! {
        biased;
        response = work => response,
        () = plane.api.clock().event_in(limit) => {
            plain(StatusCode::GATEWAY_TIMEOUT, "upstream request timeout")
        }
    }
}

/// A backend by weight: the shares come out exactly, spread evenly over the requests.
fn choose<'a>(plane: &DataPlane, backends: &'a [Value]) -> Option<&'a Value> {
    let weight = |backend: &Value| backend["weight"].as_u64().unwrap_or(1);
    let total: u64 = backends.iter().map(weight).sum();
    if total == 0 {
        return None;
    }
    if backends.len() == 1 {
        return backends.first();
    }
    // A stride that shares no factor with the total visits every slot once per round.
    let turn = plane.next_turn();
    let mut stride = (total * 618 / 1_000).max(1);
    while gcd(stride, total) != 1 {
        stride += 1;
    }
    let mut slot = turn.wrapping_mul(stride) % total;
    backends.iter().find(|backend| {
        let own = weight(backend);
        let found = slot < own;
        slot = slot.saturating_sub(own);
        found
    })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn modify(headers: &mut http::HeaderMap, modifier: &Value) {
    let pair = |header: &Value| {
        let name = HeaderName::try_from(header["name"].as_str()?).ok()?;
        Some((name, HeaderValue::from_str(header["value"].as_str()?).ok()?))
    };
    for (name, value) in object::items(modifier, "set").iter().filter_map(pair) {
        headers.insert(name, value);
    }
    for (name, value) in object::items(modifier, "add").iter().filter_map(pair) {
        // Envoy joins what it adds to a header that is there.
        let joined = headers
            .get(&name)
            .and_then(|old| old.to_str().ok())
            .map(|old| format!("{old},{}", value.to_str().unwrap_or_default()));
        let value = joined.and_then(|text| HeaderValue::from_str(&text).ok()).unwrap_or(value);
        headers.insert(name, value);
    }
    for name in object::items(modifier, "remove").iter().filter_map(Value::as_str) {
        headers.remove(name);
    }
}

/// The path after a `path` modifier of a rewrite or redirect.
fn new_path(modifier: &Value, entry: &Entry, path: &str) -> String {
    if let Some(full) = modifier["replaceFullPath"].as_str() {
        return full.to_owned();
    }
    let Some(replacement) = modifier["replacePrefixMatch"].as_str() else { return path.to_owned() };
    let prefix = entry.prefix().unwrap_or("/").trim_end_matches('/');
    let rest = path.strip_prefix(prefix).unwrap_or(path).trim_start_matches('/');
    let joined = match (replacement.trim_end_matches('/'), rest) {
        ("", "") => "/".to_owned(),
        (base, "") => base.to_owned(),
        (base, rest) => format!("{base}/{rest}"),
    };
    // A trailing slash of the request stays.
    if path.ends_with('/') && !joined.ends_with('/') { joined + "/" } else { joined }
}

fn with_query(path: String, uri: &Uri) -> String {
    match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

fn rewrite(rewrite: &Value, entry: &Entry, request: &mut Request<Bytes>) {
    let path = new_path(&rewrite["path"], entry, request.uri().path());
    let original = request.uri().path().to_owned();
    if path != original
        && let Ok(value) = HeaderValue::from_str(&with_query(original, request.uri()))
    {
        request.headers_mut().insert("x-envoy-original-path", value);
    }
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query =
        PathAndQuery::try_from(with_query(path, request.uri())).ok().or(parts.path_and_query);
    if let Some(host) = rewrite["hostname"].as_str() {
        if let Ok(value) = HeaderValue::from_str(host) {
            if let Ok(original) = HeaderValue::from_str(&authority_of(request)) {
                request.headers_mut().insert("x-envoy-original-host", original);
            }
            request.headers_mut().insert("host", value);
        }
        if parts.authority.is_some() {
            parts.authority = Authority::try_from(host).ok();
        }
    }
    if parts.authority.is_some() && parts.scheme.is_none() {
        parts.scheme = Some(Scheme::HTTP);
    }
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

fn redirect(
    redirect: &Value,
    entry: &Entry,
    port: u16,
    secure: bool,
    request: &Request<Bytes>,
) -> Response<Bytes> {
    let own_scheme = if secure { "https" } else { "http" };
    let scheme = redirect["scheme"].as_str().unwrap_or(own_scheme);
    let host = redirect["hostname"].as_str().map_or_else(|| host_of(request), str::to_owned);
    let default = |scheme: &str| if scheme == "https" { 443 } else { 80 };
    let wanted = match redirect["port"].as_u64() {
        Some(port) => port,
        None if redirect["scheme"].is_string() => default(scheme),
        None => u64::from(port),
    };
    let suffix = if wanted == default(scheme) { String::new() } else { format!(":{wanted}") };
    let path = with_query(new_path(&redirect["path"], entry, request.uri().path()), request.uri());
    let code = redirect["statusCode"].as_u64().and_then(|code| u16::try_from(code).ok());
    let status = StatusCode::from_u16(code.unwrap_or(302)).unwrap_or(StatusCode::FOUND);
    let mut response = plain(status, "");
    if let Ok(location) = HeaderValue::from_str(&format!("{scheme}://{host}{suffix}{path}")) {
        response.headers_mut().insert("location", location);
    }
    response
}

/// A copy of the request to another backend, whose answer nobody reads.
fn mirror(
    plane: &Arc<DataPlane>,
    pod: &Arc<Value>,
    entry: &Entry,
    mirror: &Value,
    request: &Request<Bytes>,
) {
    let backend = mirror["backendRef"].clone();
    if attach::backend_problem(&*plane.api, &entry.route, &backend).is_some() {
        return;
    }
    let share = match (&mirror["percent"], &mirror["fraction"]) {
        (Value::Number(percent), _) => (percent.as_u64().unwrap_or(100), 100),
        (_, Value::Object(fraction)) => (
            fraction.get("numerator").and_then(Value::as_u64).unwrap_or(1),
            fraction.get("denominator").and_then(Value::as_u64).unwrap_or(100),
        ),
        _ => (1, 1),
    };
    if plane.next_turn() % share.1.max(1) >= share.0 {
        return;
    }
    let (plane, pod, entry, request) =
        (Arc::clone(plane), Arc::clone(pod), entry.clone(), request.clone());
    tokio::spawn(async move {
        call(&plane, &pod, &entry, &backend, request).await;
    });
}
