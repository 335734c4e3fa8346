//! Cases of the kind `http`: servers in memory, requests to them, what the client says; `NAME.yaml` gives `NAME.out`.
//!
//! The clock is virtual and begins at noon of 23 November 2026. The servers speak real TLS and real HTTP; only the transport
//! is a pipe. `http/over_tcp` does the same over loopback, where the operating system makes the errors.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use libtest_mimic::{Failed, Trial};
use meshscript::base::clock::{SharedClock, SystemClock};
use meshscript::base::duration;
use meshscript::base::net::{Connection, Dialer, Stream, TcpDialer};
use meshscript::base::virtual_clock::VirtualClock;
use meshscript::cert::issue::{self, AuthorityOptions, LeafOptions, Serial, Usage};
use meshscript::cert::{Credential, Facts};
use meshscript::http::error::Failure;
use meshscript::http::expect::Expectation;
use meshscript::http::load::{LoadOptions, load};
use meshscript::http::probe::{ProbeOptions, probe};
use meshscript::http::request::Version;
use meshscript::http::tls::Trust;
use meshscript::http::{Client, HttpError, Request, Response};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsAcceptor;

use crate::harness;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = harness::each("http", Some("yaml"), run);
    trials.push(Trial::test("http/over_tcp", over_tcp));
    trials.push(Trial::test("http/a_script_shows_where_and_why_a_server_is_not_trusted", shown));
    trials.push(Trial::test("http/load_counts_from_the_intended_start", stalled));
    trials.push(Trial::test("http/a_long_wait_costs_no_real_time_and_no_answer", patient));
    trials
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[expect(dead_code, reason = "for the reader of the case")]
    about: String,
    servers: BTreeMap<String, Server>,
    steps: Vec<Step>,
}

/// What answers at an address.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    does: Does,
    /// Names in its certificate; none: no TLS.
    #[serde(default)]
    tls: Vec<String>,
    #[serde(default)]
    certificate: Certificate,
    /// ALPN names offered.
    #[serde(default = "both")]
    speaks: Vec<String>,
    #[serde(default)]
    wants_client: bool,
    location: Option<String>,
}

fn both() -> Vec<String> {
    vec!["h2".to_owned(), "http/1.1".to_owned()]
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Certificate {
    #[default]
    Good,
    Expired,
    Early,
    OtherCa,
    TwinCa,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Does {
    /// Tells in JSON what it got.
    Echo,
    Refuse,
    /// Answers no packet.
    Silent,
    /// Takes the connection and resets it at the first byte.
    Reset,
    /// Takes the connection and closes it.
    Close,
    /// Reads the request and closes.
    Empty,
    /// Reads the request and resets.
    ResetRequest,
    /// Takes the connection and says nothing more.
    Hang,
    /// Reads the request and says nothing.
    Mute,
    /// Sends the head and a part of the body.
    Truncate,
    /// Sends the head and a part of the body and says nothing more.
    Stall,
    Garbage,
    Redirect,
    /// 503 twice, then as `Echo`.
    Warming,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    get: Option<String>,
    post: Option<String>,
    head: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    host: Option<String>,
    sni: Option<String>,
    #[serde(default)]
    resolve: BTreeMap<String, String>,
    /// `good` (default), `other`, `nobody` checks nothing.
    ca: Option<String>,
    #[serde(default)]
    with_certificate: bool,
    version: Option<String>,
    #[serde(default)]
    redirects: u32,
    timeout: Option<String>,
    expect: Option<Expect>,
    load: Option<Load>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    #[serde(default)]
    status: Vec<String>,
    #[serde(default)]
    contains: Vec<String>,
    matches: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    json: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    serial: bool,
    #[serde(default)]
    fails: Vec<String>,
    consecutive: Option<u32>,
    within: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    rate: f64,
    duration: String,
    concurrency: usize,
}

fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().expect("a time")
}

/// The authorities and the servers of a case; dials them.
struct World {
    servers: BTreeMap<String, (Server, Arc<AtomicUsize>)>,
    certificates: BTreeMap<String, Credential>,
    good: Credential,
    other: Credential,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

fn authority(name: &str) -> Credential {
    let options = AuthorityOptions { common_name: name.to_owned(), ..AuthorityOptions::default() };
    let begin = noon() - jiff::SignedDuration::from_hours(24 * 200);
    issue::authority(&options, None, &Serial::random().expect("randomness"), begin)
        .expect("an authority")
}

fn leaf(ca: &Credential, names: &[String], usage: Usage, begin: Timestamp) -> Credential {
    let options = LeafOptions {
        names: names.iter().map(|name| name.parse().expect("a name")).collect(),
        usages: vec![usage],
        ..LeafOptions::default()
    };
    issue::leaf(&options, ca, &Serial::random().expect("randomness"), begin).expect("a leaf")
}

impl World {
    fn new(servers: BTreeMap<String, Server>) -> Self {
        let (good, other, twin) =
            (authority("Good CA"), authority("Other CA"), authority("Good CA"));
        let days = |days: i64| noon() + jiff::SignedDuration::from_hours(24 * days);
        let certificates = servers
            .iter()
            .filter(|(_, server)| !server.tls.is_empty())
            .map(|(at, server)| {
                let (ca, begin) = match server.certificate {
                    Certificate::Good => (&good, noon()),
                    Certificate::Expired => (&good, days(-100)),
                    Certificate::Early => (&good, days(2)),
                    Certificate::OtherCa => (&other, noon()),
                    Certificate::TwinCa => (&twin, noon()),
                };
                (at.clone(), leaf(ca, &server.tls, Usage::Server, begin))
            })
            .collect();
        let servers =
            servers.into_iter().map(|(at, server)| (at, (server, Arc::default()))).collect();
        Self { servers, certificates, good, other }
    }

    fn acceptor(&self, at: &str, server: &Server) -> Option<TlsAcceptor> {
        let certificate = self.certificates.get(at)?;
        let key = certificate.key.as_ref().expect("a key").pem();
        let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).expect("a key in PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if server.wants_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add_parsable_certificates(self.good.roots.clone());
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let mut config =
            builder.with_single_cert(certificate.chain.clone(), key).expect("a certificate");
        config.alpn_protocols =
            server.speaks.iter().map(|name| name.clone().into_bytes()).collect();
        Some(TlsAcceptor::from(Arc::new(config)))
    }
}

impl Dialer for World {
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'_, io::Result<Connection>> {
        let at = format!("{host}:{port}");
        Box::pin(async move {
            let Some((server, count)) = self.servers.get(&at) else {
                return Err(if host_is_known(&self.servers, &at) {
                    io::ErrorKind::ConnectionRefused.into()
                } else {
                    io::Error::new(io::ErrorKind::NotFound, "no such host in this world")
                });
            };
            match server.does {
                Does::Refuse => return Err(io::ErrorKind::ConnectionRefused.into()),
                Does::Silent => std::future::pending::<()>().await,
                _ => {}
            }
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let resets = matches!(server.does, Does::Reset | Does::ResetRequest);
            let acceptor = self.acceptor(&at, server);
            tokio::spawn(serve(theirs, acceptor, server.clone(), Arc::clone(count)));
            let stream = Pipe { inner: ours, resets };
            Ok(Connection { stream: Box::new(stream), peer: at })
        })
    }
}

fn host_is_known<T>(servers: &BTreeMap<String, T>, at: &str) -> bool {
    let host = |at: &str| at.rsplit_once(':').map(|(host, _)| host.to_owned());
    servers.keys().any(|known| host(known) == host(at))
}

/// A pipe whose end looks like a reset.
struct Pipe {
    inner: tokio::io::DuplexStream,
    resets: bool,
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if self.resets && matches!(poll, Poll::Ready(Ok(()))) && buffer.filled().len() == before {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        poll
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Serves one connection.
async fn serve(
    mut stream: impl Stream + 'static,
    acceptor: Option<TlsAcceptor>,
    server: Server,
    count: Arc<AtomicUsize>,
) {
    match server.does {
        Does::Close => return,
        Does::Reset => {
            let _ = stream.read(&mut [0; 1024]).await;
            return;
        }
        Does::Hang => std::future::pending::<()>().await,
        _ => {}
    }
    let mut stream: Box<dyn Stream> = match acceptor {
        None => Box::new(stream),
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => Box::new(stream),
            Err(_) => return,
        },
    };
    let raw: Option<&[u8]> = match server.does {
        Does::Empty | Does::ResetRequest | Does::Mute => Some(b""),
        Does::Truncate | Does::Stall => {
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes.")
        }
        Does::Garbage => Some(b"220 smtp.example.com ESMTP\r\n"),
        _ => None,
    };
    if let Some(raw) = raw {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(raw).await;
        let _ = stream.flush().await;
        if matches!(server.does, Does::Mute | Does::Stall) {
            std::future::pending::<()>().await;
        }
        return;
    }
    let service = service_fn(move |request| answer(request, server.clone(), Arc::clone(&count)));
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: http::Request<Incoming>,
    server: Server,
    count: Arc<AtomicUsize>,
) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let number = count.fetch_add(1, Ordering::SeqCst);
    let response = http::Response::builder().header("server", "istio-envoy");
    let response = match server.does {
        Does::Redirect if head.uri.path() != "/done" => {
            let location = server.location.unwrap_or_default();
            response.status(301).header("location", location).body(Full::default())
        }
        Does::Warming if number < 2 => response.status(503).body(Full::from("no healthy upstream")),
        _ => {
            let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
            let told = serde_json::json!({
                "method": head.method.as_str(),
                "path": head.uri.path_and_query().map(ToString::to_string),
                "host": head.uri.authority().map(|host| host.as_str()).or(header("host")),
                "id": header("x-id"),
                "agent": header("user-agent").is_some_and(|agent| agent.starts_with("meshscript/")),
                "authorization": header("authorization"),
                "body": String::from_utf8_lossy(&body),
                "list": [1, 2.5],
            });
            response
                .header("x-many", "one")
                .header("x-many", "two")
                .body(Full::from(told.to_string()))
        }
    };
    Ok(response.expect("a response"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[expect(clippy::disallowed_methods, reason = "a test is its own host")]
fn run(path: &Path) -> Result<(), Failed> {
    let case: Case = serde_yaml::from_str(&fs::read_to_string(path)?)?;
    let world = Arc::new(World::new(case.servers));
    let mut out = String::new();
    runtime().block_on(async {
        let clock = VirtualClock::starting_at(noon());
        let driver = tokio::spawn(VirtualClock::run(Arc::downgrade(&clock)));
        let client = Client { dialer: Arc::clone(&world) as _, clock };
        for step in &case.steps {
            take(step, &world, &client, &mut out).await?;
        }
        driver.abort();
        Ok::<(), Failed>(())
    })?;
    harness::expect(&path.with_extension("out"), &out)
}

async fn take(step: &Step, world: &World, client: &Client, out: &mut String) -> Result<(), Failed> {
    let began = client.clock.monotonic();
    let request = match request(step, world) {
        Ok(request) => request,
        Err(error) => return Ok(writeln!(out, "error: {error}")?),
    };
    writeln!(out, "{} {}", request.method, request.url)?;
    if let Some(wanted) = &step.load {
        let options = LoadOptions {
            rate: wanted.rate,
            duration: duration::parse(&wanted.duration)?,
            concurrency: wanted.concurrency,
        };
        match load(client, &request, &options).await {
            Ok(report) => {
                writeln!(
                    out,
                    "  sent {} answered {} statuses {:?} lost {:?}",
                    report.sent, report.answered, report.statuses, report.lost
                )?;
                for (name, reason) in &report.reasons {
                    writeln!(out, "  {name}: {reason}")?;
                }
            }
            Err(error) => writeln!(out, "  error: {error}")?,
        }
        return Ok(());
    }
    let Some(expect) = &step.expect else {
        match client.send(&request).await {
            Ok(response) => show(&response, out)?,
            Err(error) => fail(&error, out)?,
        }
        let spent = client.clock.monotonic().saturating_sub(began);
        if spent > Duration::ZERO {
            writeln!(out, "  after {}", duration::human(spent))?;
        }
        return Ok(());
    };
    let options = ProbeOptions {
        expectation: expectation(expect, world)?,
        consecutive: expect.consecutive.unwrap_or(1),
        timeout: duration::parse(expect.within.as_deref().unwrap_or("10s"))?,
        ..ProbeOptions::default()
    };
    let told = parking_lot::Mutex::new(String::new());
    let watch = |reason: &str| {
        let _ = writeln!(told.lock(), "  waits: {reason}");
    };
    let probed = probe(client, &request, &options, &watch).await;
    let told = told.into_inner();
    // Pauses are many when a probe fails: the first ones and the last one show the course.
    let lines: Vec<&str> = told.lines().collect();
    for line in lines.iter().take(3) {
        writeln!(out, "{line}")?;
    }
    match probed {
        Ok(probed) => {
            writeln!(
                out,
                "  holds after {} attempts and {}",
                probed.attempts,
                duration::human(probed.waited)
            )?;
            match &probed.outcome {
                Ok(response) => show(response, out)?,
                Err(error) => fail(error, out)?,
            }
        }
        Err(error) => fail(&error, out)?,
    }
    Ok(())
}

fn request(step: &Step, world: &World) -> Result<Request, HttpError> {
    let (method, url) = match (&step.get, &step.post, &step.head) {
        (Some(url), _, _) => (http::Method::GET, url),
        (_, Some(url), _) => (http::Method::POST, url),
        (_, _, Some(url)) => (http::Method::HEAD, url),
        (None, None, None) => panic!("a step names a URL"),
    };
    let mut request = Request::new(method, url.parse()?);
    for (name, value) in &step.headers {
        request.header(name, value)?;
    }
    request.body = Bytes::from(step.body.clone());
    request.host.clone_from(&step.host);
    request.sni.clone_from(&step.sni);
    request.resolve.clone_from(&step.resolve);
    request.redirects = step.redirects;
    request.trust = match step.ca.as_deref() {
        Some("other") => Trust::Only(world.other.roots.clone()),
        Some("nobody checks") => Trust::Anybody,
        _ => Trust::Only(world.good.roots.clone()),
    };
    if step.with_certificate {
        let names = ["client.example.com".to_owned()];
        request.identity = Some(leaf(&world.good, &names, Usage::Client, noon()));
    }
    request.version = match step.version.as_deref() {
        Some("1.1") => Version::Http1,
        Some("2") => Version::Http2,
        _ => Version::Auto,
    };
    if let Some(timeout) = &step.timeout {
        request.timeout = duration::parse(timeout).expect("a span");
    }
    Ok(request)
}

fn expectation(expect: &Expect, world: &World) -> Result<Expectation, Failed> {
    let failure = |name: &String| {
        Failure::ALL.into_iter().find(|failure| failure.name() == name).ok_or("no such failure")
    };
    let serial = world.certificates.values().next().filter(|_| expect.serial);
    Ok(Expectation {
        status: expect.status.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
        contains: expect.contains.clone(),
        matches: expect.matches.as_deref().map(regex::Regex::new).transpose()?,
        headers: expect.headers.clone().into_iter().collect(),
        json: expect.json.clone().into_iter().collect(),
        serial: serial
            .map(|leaf| leaf.facts().map(|facts| facts.serial.to_uppercase()))
            .transpose()?,
        fails: expect.fails.iter().map(failure).collect::<Result<_, _>>()?,
    })
}

fn show(response: &Response, out: &mut String) -> Result<(), Failed> {
    writeln!(out, "  {:?} {} from {}", response.version, response.status, response.peer)?;
    if response.redirects > 0 {
        writeln!(out, "  after {} redirects at {}", response.redirects, response.url)?;
    }
    if let Some(tls) = &response.tls {
        let leaf = tls.chain.first().map(Facts::of).transpose()?;
        let subject = leaf.map(|facts| facts.subject).unwrap_or_default();
        let verified = if tls.verified { "verified" } else { "not verified" };
        writeln!(
            out,
            "  {} {} alpn={} sni={} {verified} {subject}",
            tls.version, tls.cipher, tls.alpn, tls.sni
        )?;
    }
    if !response.body.is_empty() {
        writeln!(out, "  {}", String::from_utf8_lossy(&response.body))?;
    }
    Ok(())
}

fn fail(error: &HttpError, out: &mut String) -> Result<(), Failed> {
    let kind = error.failure().map_or("-", Failure::name);
    Ok(writeln!(out, "  error ({kind}): {error}")?)
}

#[expect(clippy::disallowed_methods, reason = "a test is its own host")]
fn over_tcp() -> Result<(), Failed> {
    runtime().block_on(async {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let client = Client { dialer: Arc::new(TcpDialer), clock };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let echo = Server {
            does: Does::Echo,
            tls: Vec::new(),
            certificate: Certificate::Good,
            speaks: both(),
            wants_client: false,
            location: None,
        };
        let serving = tokio::spawn(async move {
            // The first connection is answered, the second closed, the third reset.
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(serve(stream, None, echo, Arc::default()));
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.read(&mut [0; 4096]).await;
            drop(stream);
            let (stream, _) = listener.accept().await.expect("a connection");
            // Closing with unread data makes the kernel send a reset.
            stream.peek(&mut [0; 1]).await.expect("data");
            drop(stream);
        });
        let url = format!("http://localhost:{port}/");
        let mut request = Request::new(http::Method::GET, url.parse()?);
        request.resolve.insert("localhost".to_owned(), "127.0.0.1".to_owned());
        let response = client.send(&request).await?;
        assert_eq!(response.peer, format!("127.0.0.1:{port}"), "the peer is the address");
        assert!(
            response.timings.total >= response.timings.connect,
            "phases are parts of the whole"
        );
        let failures = [client.send(&request).await, client.send(&request).await];
        serving.await?;
        let refused = client.send(&request).await;
        let kinds: Vec<_> = failures
            .iter()
            .chain([&refused])
            .map(|outcome| outcome.as_ref().err().and_then(HttpError::failure))
            .collect();
        assert_eq!(
            kinds,
            [Some(Failure::EmptyReply), Some(Failure::Reset), Some(Failure::Refused)],
            "what the kernel said"
        );
        request = Request::new(http::Method::GET, "http://meshscript.invalid/".parse()?);
        let unknown = client.send(&request).await.err().and_then(|error| error.failure());
        assert_eq!(unknown, Some(Failure::NameNotFound), "a name that does not exist");
        Ok(())
    })
}

/// A server that stalls for 300 ms while 100 requests per second are due: a closed loop would see one slow request, the truth is
/// some thirty.
#[expect(clippy::disallowed_methods, reason = "a test is its own host")]
fn stalled() -> Result<(), Failed> {
    runtime().block_on(async {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let gate = Arc::clone(&clock);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let served = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (served, gate) = (Arc::clone(&served), Arc::clone(&gate));
                let service = service_fn(move |_: http::Request<Incoming>| {
                    let (served, gate) = (Arc::clone(&served), Arc::clone(&gate));
                    async move {
                        if served.fetch_add(1, Ordering::SeqCst) == 20 {
                            gate.sleep(Duration::from_millis(300)).await;
                        }
                        Ok::<_, hyper::Error>(http::Response::new(Full::<Bytes>::default()))
                    }
                });
                tokio::spawn(async move {
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let client = Client { dialer: Arc::new(TcpDialer), clock };
        let request = Request::new(http::Method::GET, format!("http://127.0.0.1:{port}/").parse()?);
        let options = LoadOptions { rate: 100.0, duration: Duration::from_secs(1), concurrency: 1 };
        let report = load(&client, &request, &options).await?;
        assert_eq!(
            (report.sent, report.answered, report.losses()),
            (100, 100, 0),
            "all are answered"
        );
        assert_eq!(report.connections, 1, "the connection is kept");
        let slow =
            report.latencies.iter().filter(|latency| **latency > Duration::from_millis(50)).count();
        assert!((15..60).contains(&slow), "{slow} of 100 requests were due during the stall");
        assert!(report.percentile(0.99) > Duration::from_millis(200), "the tail shows it");
        assert!(report.percentile(0.5) < Duration::from_millis(200), "the middle does not");
        assert!(
            report.lag > Duration::from_millis(200),
            "and the report says that the client was late"
        );
        Ok(())
    })
}

/// A client that is given an hour waits no real hour; an answer that comes is not overtaken by the time-out.
#[expect(clippy::disallowed_methods, reason = "a test is its own host")]
fn patient() -> Result<(), Failed> {
    let real = SystemClock::new();
    runtime().block_on(async {
        let servers: BTreeMap<String, Server> = serde_yaml::from_str(
            "{'a:80': {does: mute}, 'b:443': {does: echo, tls: [b.example.com]}}",
        )?;
        let world = Arc::new(World::new(servers));
        let clock = VirtualClock::starting_at(noon());
        tokio::spawn(VirtualClock::run(Arc::downgrade(&clock)));
        let client = Client { dialer: Arc::clone(&world) as _, clock };
        let mut mute = Request::new(http::Method::GET, "http://a/".parse()?);
        mute.timeout = Duration::from_secs(3_600);
        let mut echo = Request::new(http::Method::GET, "https://b.example.com/".parse()?);
        echo.resolve.insert("b.example.com".to_owned(), "b".to_owned());
        echo.trust = Trust::Only(world.good.roots.clone());
        echo.timeout = Duration::from_millis(1);
        let answers = async {
            for _ in 0..20 {
                client.send(&echo).await?;
            }
            Ok::<(), HttpError>(())
        };
        let (timed_out, answered) = futures::join!(client.send(&mute), answers);
        answered?;
        match timed_out {
            Err(HttpError::Timeout { after, .. }) if after == Duration::from_secs(3_600) => Ok(()),
            other => Err(Failed::from(format!("{other:?}"))),
        }
    })?;
    use meshscript::base::clock::Clock as _;
    let spent = real.monotonic();
    assert!(spent < Duration::from_secs(20), "an hour took {spent:?}");
    Ok(())
}

/// The program on real servers: message, script window, hint and exit code for each way not to be trusted.
fn shown() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let real = runtime();
    let now = meshscript::base::clock::Clock::now(&SystemClock::new());
    let past = now - jiff::SignedDuration::from_hours(24 * 100);
    let make = |name: &str| {
        let options =
            AuthorityOptions { common_name: name.to_owned(), ..AuthorityOptions::default() };
        issue::authority(&options, None, &Serial::random().expect("randomness"), past)
            .expect("an authority")
    };
    let (good, other) = (make("Good CA"), make("Other CA"));
    std::fs::write(folder.path().join("ca.crt"), good.roots_pem())?;
    let kubeconfig = "{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x, user: x}}], \
                      clusters: [{name: x, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: x, user: {}}]}";
    std::fs::write(folder.path().join("kubeconfig"), kubeconfig)?;
    let host = vec!["shop.example.com".to_owned()];
    let elsewhere = vec!["other.example.com".to_owned()];
    let cases = [
        (leaf(&good, &host, Usage::Server, now), Ok("200")),
        (
            leaf(&good, &host, Usage::Server, past),
            Err("certificate `CN=shop.example.com` expired at "),
        ),
        (
            leaf(&good, &elsewhere, Usage::Server, now),
            Err("not valid for `shop.example.com`: it is valid for `other.example.com`"),
        ),
        (
            leaf(&other, &host, Usage::Server, now),
            Err("was issued by `CN=Other CA`, which is not trusted; trusted: `CN=Good CA`"),
        ),
    ];
    for (certificate, wanted) in cases {
        let server: Server = serde_yaml::from_str("{does: echo, tls: [shop.example.com]}")?;
        let world = World {
            servers: BTreeMap::new(),
            certificates: BTreeMap::from([("here".to_owned(), certificate)]),
            good: good.clone(),
            other: other.clone(),
        };
        let acceptor = world.acceptor("here", &server);
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let serving = real.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), server.clone(), Arc::default()));
            }
        });
        let script = format!(
            "let ca = fs::read(\"ca.crt\");\nhttp::get(\"https://shop.example.com:{port}/\", #{{ ca: ca, resolve: #{{ \"shop.example.com\": \"127.0.0.1\" }} }}).status"
        );
        let program = env!("CARGO_BIN_EXE_meshscript");
        let work = folder.path().to_owned();
        let output = block(&real, async move {
            tokio::task::spawn_blocking(move || {
                std::process::Command::new(program)
                    .args(["eval", "--kubeconfig", "kubeconfig", &script])
                    .current_dir(&work)
                    .env_clear()
                    .env("HOME", &work)
                    .output()
            })
            .await
        })??;
        serving.abort();
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let told = format!("{:?}\n{out}{err}", output.status.code());
        let holds = match wanted {
            Ok(status) => output.status.code() == Some(0) && out.trim() == status,
            Err(reason) => {
                output.status.code() == Some(1)
                    && err.contains(reason)
                    && err.contains("<input>:2:")
                    && err.contains("^^^")
                    && err.contains("help: ")
            }
        };
        if !holds {
            return Err(told.into());
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a test is its own host")]
fn block<T>(runtime: &tokio::runtime::Runtime, work: impl Future<Output = T>) -> T {
    runtime.block_on(work)
}
