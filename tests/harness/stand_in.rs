//! A server on a loopback port for cases that start the program: it answers by a table, over HTTP or HTTPS.
//!
//! Each line of the table is `METHOD PATH STATUS BODY`; the first line whose method (`*` is any) and path (a prefix) fit answers. The
//! status `hang` never answers; the body `echo` gives back what was sent. A line `tls expired`, `tls other-host` or `tls other-ca`
//! makes a certificate of that kind for `shop.example.com`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use libtest_mimic::Failed;
use meshscript::cert::credential::Credential;
use meshscript::cert::issue::{self, AuthorityOptions, LeafOptions, Serial, Usage};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

/// A server that runs until the test ends.
pub(crate) struct StandIn {
    pub(crate) port: u16,
    /// The authority that a client of it should trust, as PEM.
    pub(crate) ca: String,
    /// Requests that were answered or are being held.
    pub(crate) requests: Arc<AtomicUsize>,
}

struct Rule {
    method: String,
    path: String,
    status: String,
    body: String,
}

impl StandIn {
    /// Starts a server of a table.
    pub(crate) fn start(table: &str) -> Result<Self, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let mut rules = Vec::new();
        let mut tls = None;
        let good = authority("Good CA");
        for line in table.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["tls", kind] => tls = Some(Arc::new(config(kind, &good)?)),
                [method, path, status] | [method, path, status, ""] => {
                    rules.push(rule(method, path, status, ""));
                }
                [method, path, status, body] => rules.push(rule(method, path, status, body)),
                _ => return Err(format!("not a line of a server: {line}").into()),
            }
        }
        let rules = Arc::new(rules);
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (rules, tls, count) = (Arc::clone(&rules), tls.clone(), Arc::clone(&count));
                std::thread::spawn(move || connection(stream, tls, &rules, &count));
            }
        });
        Ok(Self { port, ca: good.roots_pem(), requests })
    }
}

fn rule(method: &str, path: &str, status: &str, body: &str) -> Rule {
    Rule {
        method: method.to_owned(),
        path: path.to_owned(),
        status: status.to_owned(),
        body: body.to_owned(),
    }
}

fn connection(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    rules: &[Rule],
    count: &AtomicUsize,
) {
    // Whatever breaks a connection is the client's to tell.
    let _ = match tls.and_then(|config| rustls::ServerConnection::new(config).ok()) {
        Some(session) => serve(rustls::StreamOwned::new(session, stream), rules, count),
        None => serve(stream, rules, count),
    };
}

fn serve(stream: impl Read + Write, rules: &[Rule], count: &AtomicUsize) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        if stream.read_line(&mut head)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut sent = vec![0; length];
        stream.read_exact(&mut sent)?;
        count.fetch_add(1, Ordering::SeqCst);
        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let found = rules.iter().find(|rule| {
            (rule.method == "*" || rule.method == method) && path.starts_with(&rule.path)
        });
        let (status, body) = match found {
            Some(rule) if rule.status == "hang" => loop {
                std::thread::park();
            },
            Some(rule) if rule.body == "echo" => (rule.status.as_str(), sent),
            Some(rule) => (rule.status.as_str(), rule.body.clone().into_bytes()),
            None => ("404", b"{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"not found\",\"reason\":\"NotFound\",\"code\":404}".to_vec()),
        };
        let kind = if body.starts_with(b"<") { "text/html" } else { "application/json" };
        let head = format!(
            "HTTP/1.1 {status} Text\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let writer = stream.get_mut();
        writer.write_all(head.as_bytes())?;
        writer.write_all(&body)?;
        writer.flush()?;
    }
}

fn authority(name: &str) -> Credential {
    let options = AuthorityOptions {
        common_name: name.to_owned(),
        days: 36_500,
        ..AuthorityOptions::default()
    };
    issue::authority(&options, None, &Serial::random().expect("randomness"), time("2020-01-01"))
        .expect("an authority")
}

fn time(day: &str) -> Timestamp {
    format!("{day}T00:00:00Z").parse().expect("a time")
}

/// The program's clock is the real one, and so is that of its certificates.
fn now() -> Timestamp {
    Timestamp::now() - jiff::SignedDuration::from_hours(1)
}

fn config(kind: &str, good: &Credential) -> Result<ServerConfig, Failed> {
    let other = authority("Other CA");
    let (ca, host, begin) = match kind {
        "expired" => (good, "shop.example.com", time("2020-02-01")),
        "other-host" => (good, "other.example.com", now()),
        "other-ca" => (&other, "shop.example.com", now()),
        _ => return Err(format!("no such certificate: {kind}").into()),
    };
    let options = LeafOptions {
        names: vec![host.parse().expect("a name")],
        usages: vec![Usage::Server],
        ..LeafOptions::default()
    };
    let serial = Serial::random().expect("randomness");
    let leaf = issue::leaf(&options, ca, &serial, begin).expect("a leaf");
    let key = leaf.key.as_ref().expect("a key").pem();
    let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).expect("a key in PEM");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(leaf.chain.clone(), key)?)
}
