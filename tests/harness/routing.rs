//! Requests through a gateway, in whatever world it stands: what comes back, in a form that two worlds can be compared by.
//!
//! A case is a file of objects and requests (`cases/data_plane/routing/NAME.yaml`). The real Envoy's answers are recorded
//! beside it (`NAME.envoy`); the simulated data plane must give the same ones. What differs from world to world, and from
//! moment to moment, is masked: addresses, ids, times.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshscript::base::net::Stream;
use rustls::pki_types::{CertificateDer, ServerName};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

/// A world with gateways in it.
pub(crate) trait World {
    /// Opens a connection to a port of a Gateway in the namespace `routing`.
    fn dial<'a>(
        &'a self,
        gateway: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
    /// The log of a backend in the namespace `routing`.
    fn log<'a>(&'a self, backend: &'a str) -> BoxFuture<'a, String>;
}

/// What stands in a case's file.
pub(crate) enum Step {
    Apply(Box<Value>),
    Wait(Duration),
}

/// A case: what is applied, then what is asked.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) requests: Vec<Value>,
    pub(crate) recording: PathBuf,
}

/// Where cases and recordings are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/data_plane/routing")
}

/// All cases, by name.
pub(crate) fn cases() -> Result<Vec<Case>, String> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == "yaml"))
        .collect();
    paths.sort();
    paths.iter().map(|path| case(path)).collect()
}

/// The case of a file.
pub(crate) fn case(path: &Path) -> Result<Case, String> {
    let (steps, requests) = read(path)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Case { name, steps, requests, recording: path.with_extension("envoy") })
}

/// A certificate, its key and the authority that signed it, all as PEM.
struct Certified {
    certificate: String,
    key: String,
    authority: String,
}

fn certified(hosts: Vec<String>) -> Result<Certified, rcgen::Error> {
    let mut authority = rcgen::CertificateParams::new(Vec::new())?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, format!("of {hosts:?}"));
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let key = rcgen::KeyPair::generate()?;
    let root = authority.self_signed(&key)?;
    let issuer = rcgen::Issuer::new(authority, key);
    let own = rcgen::KeyPair::generate()?;
    let leaf = rcgen::CertificateParams::new(hosts)?.signed_by(&own, &issuer)?;
    let key = own.serialize_pem();
    Ok(Certified { certificate: leaf.pem(), key, authority: root.pem() })
}

/// What every case stands on: certificates, gateways, backends.
pub(crate) fn fixture() -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut after = read(&folder().join("fixture.objects"))?.0;
    let hosts: [(&str, &[&str]); 3] = [
        ("wild", &["*.tls.example.com"]),
        ("exact", &["exact.tls.example.com"]),
        ("secure", &["secure.routing"]),
    ];
    // The Secrets come right after the namespaces.
    let rest = after.split_off(2);
    steps.append(&mut after);
    for (name, hosts) in hosts {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
        let made = certified(hosts).map_err(|error| error.to_string())?;
        steps.push(Step::Apply(Box::new(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": "routing" },
            "type": "kubernetes.io/tls",
            "data": {
                "tls.crt": STANDARD.encode(made.certificate),
                "tls.key": STANDARD.encode(made.key),
            },
        }))));
        steps.push(Step::Apply(Box::new(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": format!("authority-of-{name}"), "namespace": "routing" },
            "data": { "ca.crt": made.authority },
        }))));
    }
    steps.extend(rest);
    Ok(steps)
}

fn read(path: &Path) -> Result<(Vec<Step>, Vec<Value>), String> {
    let shown = path.display();
    let source = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let documents = meshscript::base::yaml::parse_documents(&source)
        .map_err(|error| format!("{shown}: {error}"))?;
    let (mut steps, mut requests) = (Vec::new(), Vec::new());
    for document in documents {
        let value = document.value;
        if value["apiVersion"] != "case" {
            steps.push(Step::Apply(Box::new(value)));
            continue;
        }
        if let Some(span) = value["wait"].as_str() {
            let span = meshscript::base::duration::parse(span).map_err(|why| why.to_string())?;
            steps.push(Step::Wait(span));
        }
        let namespace = text(&value, "namespace");
        for name in value["backends"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            steps.push(Step::Apply(Box::new(backend(namespace, name))));
        }
        requests.extend(value["requests"].as_array().into_iter().flatten().cloned());
    }
    Ok((steps, requests))
}

/// A Deployment of the conformance suite's echo server.
fn backend(namespace: &str, name: &str) -> Value {
    let mut environment = vec![
        json!({ "name": "SERVICE_NAME", "value": name }),
        json!({ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }),
        json!({ "name": "NAMESPACE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } }),
    ];
    if name.starts_with("grpc") {
        environment.push(json!({ "name": "GRPC_ECHO_SERVER", "value": "1" }));
    }
    let mut pod = json!({
        "containers": [{
            "name": "echo",
            "image": "gcr.io/k8s-staging-gateway-api/echo-basic:v20260204-monthly-2026.01-60-g28382302",
        }],
    });
    if name == "secure" {
        environment
            .push(json!({ "name": "TLS_SERVER_CERT", "value": "/etc/secret-volume/tls.crt" }));
        environment
            .push(json!({ "name": "TLS_SERVER_PRIVKEY", "value": "/etc/secret-volume/tls.key" }));
        pod["volumes"] = json!([{ "name": "certificate", "secret": { "secretName": "secure" } }]);
        pod["containers"][0]["volumeMounts"] =
            json!([{ "name": "certificate", "mountPath": "/etc/secret-volume" }]);
    }
    pod["containers"][0]["env"] = Value::Array(environment);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": pod },
        },
    })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// A recording without its head.
pub(crate) fn recorded(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: {error}: record it on the test bed", path.display()))?;
    Ok(text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n"))
}

/// Sends the requests of a case one after the other and writes down what comes back.
pub(crate) async fn play(world: &dyn World, requests: &[Value]) -> String {
    let mut out = String::new();
    for request in requests {
        let _ = writeln!(out, "{}", title(request));
        let times = request["times"].as_u64().unwrap_or(1);
        if times > 1 {
            let mut seen = BTreeSet::new();
            for _ in 0..times {
                seen.insert(one(world, request).await.summary());
            }
            for line in seen {
                let _ = writeln!(out, "  {line}");
            }
            continue;
        }
        let answer = one(world, request).await;
        out.push_str(&answer.text());
        for backend in request["mirrored"].as_array().into_iter().flatten() {
            let backend = backend.as_str().unwrap_or_default();
            let url: http::Uri = text(request, "url").parse().unwrap_or_default();
            let path = url.path_and_query().map_or("/", |path| path.as_str());
            let word = if mirrored(world, backend, path).await { "yes" } else { "no" };
            let _ = writeln!(out, "  mirrored to {backend}: {word}");
        }
    }
    out
}

/// A mirror is sent beside the request: it may come a moment later.
async fn mirrored(world: &dyn World, backend: &str, path: &str) -> bool {
    for _ in 0..15 {
        if world.log(backend).await.contains(&format!("request made to {path} to client")) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

fn title(request: &Value) -> String {
    let mut words = vec![request["method"].as_str().unwrap_or("GET").to_owned()];
    words.push(text(request, "url").to_owned());
    for field in ["kind", "http", "host", "sni", "gateway"] {
        match &request[field] {
            Value::Null => {}
            Value::String(text) => words.push(format!("{field}={text}")),
            other => words.push(format!("{field}={other}")),
        }
    }
    if !request["headers"].is_null() {
        words.push(request["headers"].to_string());
    }
    words.join(" ")
}

/// What came back.
enum Answer {
    /// No HTTP at all: the step that failed, and how.
    Failed(&'static str, String),
    Http {
        status: u16,
        headers: HeaderMap,
        body: Bytes,
        trailers: HeaderMap,
    },
    /// What a WebSocket's echo said.
    WebSocket(String),
}

impl Answer {
    fn failed(step: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                // Whether a peer that leaves is reset or ends is the client's luck.
                let word = match error.kind() {
                    io::ErrorKind::ConnectionReset
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::BrokenPipe => "connection closed".to_owned(),
                    other => format!("{other:?}"),
                };
                return Self::Failed(step, word);
            }
            cause = error.source();
        }
        Self::Failed(step, "connection closed".to_owned())
    }

    /// Status and backend, on one line.
    fn summary(&self) -> String {
        match self {
            Self::Http { status, body, .. } => {
                let echo: Value = serde_json::from_slice(body).unwrap_or_default();
                format!("{status} {}", text(&echo, "service"))
            }
            Self::Failed(step, how) => format!("{step}: {how}"),
            Self::WebSocket(said) => said.clone(),
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let (status, headers, body, trailers) = match self {
            Self::Http { status, headers, body, trailers } => (status, headers, body, trailers),
            Self::Failed(step, how) => return format!("  {step}: {how}\n"),
            Self::WebSocket(said) => return format!("  101, {said}\n"),
        };
        let _ = writeln!(out, "  {status}");
        let is_echo = |value: &Value| value["proto"].is_string() && value["pod"].is_string();
        let echo = serde_json::from_slice::<Value>(body).ok().filter(is_echo);
        for (name, value) in shown(headers) {
            let _ = writeln!(out, "  < {name}: {value}");
        }
        for (name, value) in shown(trailers) {
            let _ = writeln!(out, "  < trailer {name}: {value}");
        }
        if let Some(echo) = echo {
            let place = format!("{}/{}", text(&echo, "namespace"), text(&echo, "service"));
            let _ = writeln!(
                out,
                "  backend {place}: {} {} {} for {}",
                text(&echo, "method"),
                text(&echo, "path"),
                text(&echo, "proto"),
                text(&echo, "host")
            );
            for (name, values) in echo["headers"].as_object().into_iter().flatten() {
                for value in values.as_array().into_iter().flatten() {
                    let name = name.to_lowercase();
                    let value = mask(&name, value.as_str().unwrap_or_default());
                    let _ = writeln!(out, "  > {name}: {value}");
                }
            }
        } else if headers.get("content-type").is_some_and(|kind| kind == "application/grpc") {
            let _ = writeln!(out, "  grpc {}", grpc_text(body));
        } else {
            for line in String::from_utf8_lossy(body).lines() {
                let _ = writeln!(out, "  | {line}");
            }
        }
        out
    }
}

/// Headers in order, masked; what only counts bytes or tells the time is left out.
fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| {
            !matches!(name.as_str(), "date" | "content-length" | "transfer-encoding" | "connection")
        })
        .map(|(name, value)| {
            let name = name.to_string();
            let value = mask(&name, value.to_str().unwrap_or_default());
            (name, value)
        })
        .collect();
    found.sort();
    found
}

/// A value without what differs between worlds and moments.
fn mask(name: &str, value: &str) -> String {
    match name {
        "x-request-id" if value.len() == 36 => "<id>".to_owned(),
        "x-envoy-upstream-service-time" => "<ms>".to_owned(),
        "sec-websocket-accept" | "sec-websocket-key" => "<key>".to_owned(),
        "x-forwarded-for" | "x-envoy-external-address" => {
            let mut parts: Vec<&str> = value.split(',').collect();
            if let Some(last) = parts.last_mut()
                && last.trim().parse::<std::net::IpAddr>().is_ok()
                && !last.starts_with("192.0.2.")
            {
                *last = "<client>";
            }
            parts.join(",")
        }
        _ => value.to_owned(),
    }
}

async fn one(world: &dyn World, request: &Value) -> Answer {
    let url: http::Uri = match text(request, "url").parse() {
        Ok(url) => url,
        Err(error) => return Answer::failed("url", &error),
    };
    let secure = url.scheme_str() == Some("https");
    let host = url.host().unwrap_or_default().to_owned();
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let gateway = request["gateway"].as_str().unwrap_or("edge");
    let stream = match world.dial(gateway, port).await {
        Ok(stream) => stream,
        Err(error) => return Answer::failed("dial", &error),
    };
    let two = request["http"] == 2 || request["kind"] == "grpc";
    let stream = if secure {
        let name = request["sni"].as_str().unwrap_or(&host).to_owned();
        match tls(stream, name, two).await {
            Ok(stream) => stream,
            Err(error) => return Answer::failed("tls", &error),
        }
    } else {
        stream
    };
    if request["kind"] == "websocket" {
        websocket(stream, request, &url).await
    } else {
        send(stream, request, &url, two).await
    }
}

/// Any certificate will do: the one that is shown is what a case looks at.
#[derive(Debug)]
struct Anything(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

async fn tls(stream: Box<dyn Stream>, name: String, two: bool) -> io::Result<Box<dyn Stream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![if two { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(Box::new(stream))
}

fn headers_of(request: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        match value {
            Value::Array(list) => found.extend(
                list.iter().map(|value| (name.clone(), value.as_str().unwrap_or_default().into())),
            ),
            other => found.push((name.clone(), other.as_str().unwrap_or_default().to_owned())),
        }
    }
    found
}

async fn send(stream: Box<dyn Stream>, wanted: &Value, url: &http::Uri, two: bool) -> Answer {
    let is_grpc = wanted["kind"] == "grpc";
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let authority = wanted["host"].as_str().unwrap_or(authority);
    let method = wanted["method"].as_str().unwrap_or(if is_grpc { "POST" } else { "GET" });
    let mut builder = Request::builder().method(method);
    builder = if two {
        let scheme = url.scheme_str().unwrap_or("http");
        builder.version(Version::HTTP_2).uri(format!("{scheme}://{authority}{path}"))
    } else {
        builder.uri(path).header("host", authority)
    };
    if is_grpc {
        builder = builder.header("content-type", "application/grpc").header("te", "trailers");
    }
    for (name, value) in headers_of(wanted) {
        builder = builder.header(name, value);
    }
    // A message of no bytes.
    let body =
        if is_grpc { Bytes::from_static(&[0; 5]) } else { text(wanted, "body").to_owned().into() };
    let request = match builder.body(Full::new(body)) {
        Ok(request) => request,
        Err(error) => return Answer::failed("request", &error),
    };
    let sent = if two {
        match hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
        {
            Ok((mut sender, connection)) => {
                tokio::spawn(connection);
                sender.send_request(request).await
            }
            Err(error) => Err(error),
        }
    } else {
        match hyper::client::conn::http1::handshake(TokioIo::new(stream)).await {
            Ok((mut sender, connection)) => {
                tokio::spawn(connection.with_upgrades());
                sender.send_request(request).await
            }
            Err(error) => Err(error),
        }
    };
    let response = match sent {
        Ok(response) => response,
        Err(error) => return Answer::failed("http", &error),
    };
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(collected) => Answer::Http {
            status: parts.status.as_u16(),
            headers: parts.headers,
            trailers: collected.trailers().cloned().unwrap_or_default(),
            body: collected.to_bytes(),
        },
        Err(error) => Answer::failed("body", &error),
    }
}

async fn websocket(stream: Box<dyn Stream>, wanted: &Value, url: &http::Uri) -> Answer {
    let scheme = if url.scheme_str() == Some("https") { "wss" } else { "ws" };
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = Request::builder()
        .uri(format!("{scheme}://{authority}{path}"))
        .header("host", authority)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (name, value) in headers_of(wanted) {
        builder = builder.header(name, value);
    }
    let Ok(request) = builder.body(()) else {
        return Answer::Failed("request", String::new());
    };
    let mut socket = match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => socket,
        Err(WebSocketError::Http(response)) => {
            let (parts, body) = response.into_parts();
            return Answer::Http {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: body.unwrap_or_default().into(),
                trailers: HeaderMap::new(),
            };
        }
        Err(error) => return Answer::failed("websocket", &error),
    };
    if let Err(error) = socket.send(Message::text("hello")).await {
        return Answer::failed("websocket", &error);
    }
    match socket.next().await {
        Some(Ok(message)) => {
            Answer::WebSocket(format!("echoes {:?}", message.into_text().unwrap_or_default()))
        }
        _ => Answer::Failed("websocket", "no echo".to_owned()),
    }
}

/// The fields of a message of bytes: number and content.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (key, rest) = varint(bytes);
        let (length, rest) = varint(rest);
        let length = usize::try_from(length).unwrap_or(0).min(rest.len());
        found.push((key >> 3, &rest[..length]));
        bytes = &rest[length..];
    }
    found
}

fn varint(bytes: &[u8]) -> (u64, &[u8]) {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (value, &bytes[index + 1..]);
        }
    }
    (value, &[])
}

/// What the gRPC echo says of a call: method, host, backend, headers.
fn grpc_text(body: &Bytes) -> String {
    let Some(message) = body.get(5..) else { return "without a message".to_owned() };
    let mut out = String::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for (_, assertions) in fields(message).into_iter().filter(|(number, _)| *number == 1) {
        let mut headers = BTreeMap::new();
        for (number, content) in fields(assertions) {
            match number {
                1 | 3 => {
                    let _ = write!(out, "{} ", text(content));
                }
                2 => {
                    let pair: Vec<String> =
                        fields(content).into_iter().map(|(_, content)| text(content)).collect();
                    let name = pair.first().cloned().unwrap_or_default();
                    let value = mask(&name, pair.get(1).map_or("", String::as_str));
                    headers.insert(name, value);
                }
                4 => {
                    let names: Vec<String> = fields(content)
                        .into_iter()
                        .filter(|(number, _)| matches!(number, 1 | 3))
                        .map(|(_, content)| text(content))
                        .collect();
                    let _ = write!(out, "backend {} ", names.join("/"));
                }
                _ => {}
            }
        }
        for (name, value) in headers {
            let _ = write!(out, "\n  > {name}: {value}");
        }
    }
    out.trim_end().to_owned()
}
