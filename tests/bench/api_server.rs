//! The sandbox's API server beside kube-apiserver with etcd: writes, reads and lists per second, watch fan-out; and the
//! sandbox alone: its start, its memory at 10,000 and 100,000 objects, the cost of a write as the store grows.
//!
//! One client for both, over loopback HTTPS, turn by turn in one run. `testbed/in cargo bench --bench api_server`; without the
//! test bed only the sandbox's own figures are measured. `OBJECTS` is how large its store gets (100,000).

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};

/// Connections that write or read at once.
const CONNECTIONS: usize = 8;
const ROUNDS: usize = 3;
const WATCHERS: usize = 200;
const WATCHED_WRITES: usize = 50;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let folder = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let sandbox = Sandbox::start(folder.path());
    let ours = Server::of(&sandbox.kubeconfig);
    ours.connect().await.ask("GET", "/api/v1/namespaces/default", None).await;
    println!("start until the first answer: {:.1?}", began.elapsed());
    println!("memory when empty: {} MB", sandbox.megabytes());
    if let Some(kubeconfig) = std::env::var_os("MESHBED_KUBECONFIG") {
        beside(&ours, &Server::of(Path::new(&kubeconfig))).await;
    } else {
        println!("skipped beside the real server: no test bed");
    }
    drop(sandbox);
    growth(folder.path()).await;
}

/// The same work on both, turn by turn.
async fn beside(ours: &Server, theirs: &Server) {
    let namespace = json!({"metadata": {"name": "bench-api"}});
    for server in [ours, theirs] {
        server.connect().await.ask("POST", "/api/v1/namespaces", Some(&namespace)).await;
    }
    type Work = (&'static str, usize, fn(usize, usize) -> (String, String, Option<Value>));
    let works: [Work; 4] = [
        ("writes of ConfigMaps (strict)", 1_500, |round, at| {
            let path =
                "/api/v1/namespaces/bench-api/configmaps?fieldManager=bench&fieldValidation=Strict";
            ("POST".to_owned(), path.to_owned(), Some(config_map(&format!("c{round}-{at}"))))
        }),
        ("writes of pod templates (strict)", 1_000, |round, at| {
            let path = "/api/v1/namespaces/bench-api/podtemplates?fieldManager=bench&fieldValidation=Strict";
            ("POST".to_owned(), path.to_owned(), Some(pod_template(&format!("t{round}-{at}"))))
        }),
        ("reads of one object", 4_000, |_, at| {
            let path = format!("/api/v1/namespaces/bench-api/configmaps/c0-{}", at % 1_000);
            ("GET".to_owned(), path, None)
        }),
        ("lists of 500 objects", 60, |_, _| {
            ("GET".to_owned(), "/api/v1/namespaces/bench-api/configmaps?limit=500".to_owned(), None)
        }),
    ];
    for (what, count, make) in works {
        let mut rates = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for (server, rates) in [ours, theirs].into_iter().zip(&mut rates) {
                rates.push(rate(server, round, count, make).await);
            }
        }
        let [mine, other] = rates.map(median);
        println!(
            "{what}: sandbox {mine:.0}/s, kube-apiserver {other:.0}/s: {:.1} times",
            mine / other
        );
    }
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for (server, times) in [ours, theirs].into_iter().zip(&mut times) {
            times.push(fan_out(server, round).await.as_secs_f64());
        }
    }
    let [mine, other] = times.map(median);
    println!(
        "{WATCHED_WRITES} writes told to {WATCHERS} watchers: sandbox {:.0} ms, kube-apiserver {:.0} ms: {:.1} times faster",
        mine * 1e3,
        other * 1e3,
        other / mine
    );
    theirs.connect().await.ask("DELETE", "/api/v1/namespaces/bench-api", None).await;
}

/// Requests per second, over several connections.
async fn rate(
    server: &Server,
    round: usize,
    count: usize,
    make: fn(usize, usize) -> (String, String, Option<Value>),
) -> f64 {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(server.connect().await);
    }
    let mut requests: Vec<Vec<_>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
    for at in 0..count {
        requests[at % CONNECTIONS].push(make(round, at));
    }
    let began = Instant::now();
    let working =
        connections.into_iter().zip(requests).map(|(mut connection, requests)| async move {
            for (method, path, body) in requests {
                connection.ask(&method, &path, body.as_ref()).await;
            }
        });
    futures::future::join_all(working).await;
    count as f64 / began.elapsed().as_secs_f64()
}

/// How long it takes until every watcher knows of every write.
async fn fan_out(server: &Server, round: usize) -> Duration {
    let label = format!("w{round}");
    let path = format!("/api/v1/namespaces/bench-api/configmaps?watch=true&labelSelector={label}");
    let mut watches = Vec::new();
    for _ in 0..WATCHERS {
        watches.push(server.connect().await.watch(&path).await);
    }
    let mut writer = server.connect().await;
    let began = Instant::now();
    let writing = async {
        for at in 0..WATCHED_WRITES {
            let mut object = config_map(&format!("w{round}-{at}"));
            object["metadata"]["labels"] = json!({label.as_str(): "x"});
            writer.ask("POST", "/api/v1/namespaces/bench-api/configmaps", Some(&object)).await;
        }
    };
    let watching = watches.into_iter().map(|mut body| async move {
        let mut lines = 0;
        while lines < WATCHED_WRITES {
            let frame = body.frame().await.expect("the watch goes on").expect("a frame");
            if let Ok(bytes) = frame.into_data() {
                lines += bytes.iter().filter(|byte| **byte == b'\n').count();
            }
        }
    });
    futures::future::join(writing, futures::future::join_all(watching)).await;
    began.elapsed()
}

/// The sandbox alone, as its store grows.
async fn growth(folder: &Path) {
    let most: usize =
        std::env::var("OBJECTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let sandbox = Sandbox::start(folder);
    let server = Server::of(&sandbox.kubeconfig);
    let mut connection = server.connect().await;
    let path = "/api/v1/namespaces/default/configmaps?fieldManager=bench";
    let mut began = Instant::now();
    let mut first = None;
    for at in 1..=most {
        connection.ask("POST", path, Some(&config_map(&format!("o{at}")))).await;
        if at % 1_000 != 0 {
            continue;
        }
        let cost = began.elapsed().as_secs_f64() * 1e3;
        let first = *first.get_or_insert(cost);
        if [1_000, 10_000, 50_000, 100_000].contains(&at) || at == most {
            println!(
                "{at} objects: {} MB, {:.0} us a write ({:.2} of the first thousand's)",
                sandbox.megabytes(),
                cost,
                cost / first
            );
        }
        began = Instant::now();
    }
}

fn config_map(name: &str) -> Value {
    let value = "0123456789abcdef".repeat(12);
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app": "bench", "tier": "one"}},
        "data": {"first": value, "second": value, "third": value}
    })
}

fn pod_template(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name},
        "template": {
            "metadata": {"labels": {"app": "bench"}},
            "spec": {"containers": [{
                "name": "web", "image": "docker.io/mccutchen/go-httpbin:v2.15.0",
                "ports": [{"containerPort": 8080, "name": "http"}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"port": "http", "path": "/status/200"}}
            }]}
        }
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// `meshscript sandbox` as a process.
struct Sandbox {
    process: Child,
    kubeconfig: PathBuf,
}

impl Sandbox {
    fn start(folder: &Path) -> Self {
        let kubeconfig = folder.join("kubeconfig");
        let mut process = Command::new(env!("CARGO_BIN_EXE_meshscript"))
            .args(["sandbox", "--kubeconfig"])
            .arg(&kubeconfig)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let output = process.stdout.take().expect("its output");
        let mut ready = String::new();
        BufReader::new(output).read_line(&mut ready).expect("a line");
        Self { process, kubeconfig }
    }

    /// Resident memory.
    fn megabytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) / 1024
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// Where an API server is and how to be let in.
struct Server {
    address: String,
    tls: Arc<rustls::ClientConfig>,
    token: Option<String>,
}

impl Server {
    fn of(kubeconfig: &Path) -> Self {
        let text = std::fs::read_to_string(kubeconfig).expect("a kubeconfig");
        let config: Value = serde_yaml::from_str(&text).expect("YAML");
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let bytes = |owner: &Value, field: &str| -> Option<Vec<u8>> {
            if let Some(data) = owner[format!("{field}-data").as_str()].as_str() {
                return base64::engine::general_purpose::STANDARD.decode(data).ok();
            }
            std::fs::read(owner[field].as_str()?).ok()
        };
        let mut roots = rustls::RootCertStore::empty();
        let authority = bytes(cluster, "certificate-authority").expect("an authority");
        for certificate in CertificateDer::pem_slice_iter(&authority) {
            roots.add(certificate.expect("a certificate")).expect("an authority");
        }
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let tls = match (bytes(user, "client-certificate"), bytes(user, "client-key")) {
            (Some(certificate), Some(key)) => {
                let chain = CertificateDer::pem_slice_iter(&certificate);
                let chain = chain.map(|certificate| certificate.expect("a certificate")).collect();
                let key = PrivateKeyDer::from_pem_slice(&key).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
            _ => builder.with_no_client_auth(),
        };
        let server = cluster["server"].as_str().expect("an address");
        Self {
            address: server.trim_start_matches("https://").trim_end_matches('/').to_owned(),
            tls: Arc::new(tls),
            token: user["token"].as_str().map(str::to_owned),
        }
    }

    async fn connect(&self) -> Connection {
        let stream = tokio::net::TcpStream::connect(&self.address).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let connector = tokio_rustls::TlsConnector::from(self.tls.clone());
        let stream = connector.connect(name, stream).await.expect("a handshake");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        Connection { sender, host: self.address.clone(), token: self.token.clone() }
    }
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    token: Option<String>,
}

impl Connection {
    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("accept", "application/json")
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        request.body(Full::new(body)).expect("a request")
    }

    async fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) {
        let request = self.request(method, path, body);
        let answer = self.sender.send_request(request).await.expect("an answer");
        let code = answer.status();
        let mut body = answer.into_body();
        if !code.is_success() {
            let body = body.collect().await.expect("a body").to_bytes();
            panic!("{method} {path}: {}", String::from_utf8_lossy(&body));
        }
        // Read to its end, but kept nowhere: the client is to cost as little as it can.
        while let Some(frame) = body.frame().await {
            frame.expect("a frame");
        }
    }

    async fn watch(&mut self, path: &str) -> hyper::body::Incoming {
        let request = self.request("GET", path, None);
        self.sender.send_request(request).await.expect("an answer").into_body()
    }
}
