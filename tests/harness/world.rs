//! Plays a case on a rehearsal cluster: objects are applied in order, steps between them wait, ask and show.
//!
//! A document with `apiVersion: case` is a step. `fixture` plays another file first; `wait` lets the cluster's time pass;
//! `delete`, `patch` and `fault` change the world (`nodes` in the first document gives it several); `certificate` makes a TLS Secret; `show` prints objects, `events` the
//! events of one, `request` what an HTTP client gets, `logs` a container's log.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use libtest_mimic::Failed;
use meshscript::base::clock::Clock as _;
use meshscript::base::net::{Dialer, Stream};
use meshscript::sandbox::api::{LogRequest, Nodes, ProxyTarget};
use meshscript::sandbox::data_plane::DataPlane;
use meshscript::sandbox::node::Fault;
use meshscript::sandbox::{Cluster, Options};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};

/// Plays a case file and returns what it printed.
pub(crate) fn play(path: &Path) -> Result<String, Failed> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let cluster = Cluster::start(&Options { n_nodes: nodes(path)?, ..Options::default() })?;
        let plane = cluster.data_plane();
        let nodes = plane.nodes();
        let mut stage =
            Stage { cluster, plane, nodes, roots: RootCertStore::empty(), out: String::new() };
        stage.file(path).await?;
        for missing in stage.cluster.not_modelled() {
            stage.out.push_str(&format!("not modelled: {missing}\n"));
        }
        Ok(stage.out)
    })
}

/// How many nodes the first document asks for (`nodes: 2`); one if it does not.
fn nodes(path: &Path) -> Result<u8, Failed> {
    let documents = meshscript::base::yaml::parse_documents(&std::fs::read_to_string(path)?)?;
    let wanted = documents.first().and_then(|first| first.value["nodes"].as_u64());
    Ok(u8::try_from(wanted.unwrap_or(1))?)
}

struct Stage {
    cluster: Cluster,
    plane: Arc<DataPlane>,
    nodes: Arc<dyn Nodes>,
    roots: RootCertStore,
    out: String,
}

fn text<'a>(step: &'a Value, field: &str) -> &'a str {
    step[field].as_str().unwrap_or_default()
}

impl Stage {
    async fn file(&mut self, path: &Path) -> Result<(), Failed> {
        let source = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        for document in meshscript::base::yaml::parse_documents(&source)? {
            let value = document.value;
            if value["apiVersion"] == "case" {
                Box::pin(self.step(&value, path)).await?;
            } else {
                self.apply(value);
            }
        }
        Ok(())
    }

    fn apply(&mut self, object: Value) {
        let label = format!(
            "{} {}",
            object["kind"].as_str().unwrap_or_default(),
            object["metadata"]["name"].as_str().unwrap_or_default()
        );
        if let Err(status) = self.cluster.api().apply("case", object) {
            self.out.push_str(&format!("{label}: {} {}\n", status.code, status.message));
        }
    }

    async fn step(&mut self, step: &Value, path: &Path) -> Result<(), Failed> {
        let api = self.cluster.api();
        if let Some(name) = step["fixture"].as_str() {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let file = if name.contains('/') {
                root.join(name)
            } else {
                root.join("tests/cases/fixtures").join(format!("{name}.yaml"))
            };
            return self.file(&file).await;
        }
        if let Some(span) = step["wait"].as_str() {
            let span = meshscript::base::duration::parse(span)?;
            self.cluster.clock().sleep(span).await;
            return Ok(());
        }
        if step["delete"].is_object() {
            let (resource, namespace, name) = self.place(&step["delete"])?;
            let how = step["delete"]["propagation"].as_str().unwrap_or("Background");
            if let Err(status) = api.delete(&resource, &namespace, &name, how) {
                self.out.push_str(&format!("delete {name}: {}\n", status.message));
            }
        }
        if step["patch"].is_object() {
            let (resource, namespace, name) = self.place(&step["patch"])?;
            let patch = step["patch"]["with"].clone();
            let sub = text(&step["patch"], "subresource");
            if let Err(status) = api.merge_patch("case", &resource, &namespace, &name, sub, patch) {
                self.out.push_str(&format!("patch {name}: {}\n", status.message));
            }
        }
        if step["fault"].is_object() {
            self.fault(&step["fault"])?;
        }
        if step["certificate"].is_object() {
            self.certificate(&step["certificate"])?;
        }
        for shown in step["show"].as_array().into_iter().flatten() {
            self.show(shown)?;
        }
        if step["events"].is_object() {
            self.events(&step["events"])?;
        }
        if step["logs"].is_object() {
            self.logs(&step["logs"]).await;
        }
        if step["request"].is_object() {
            self.request(&step["request"]).await;
        }
        if step["forward"].is_object() {
            self.forward(&step["forward"]).await;
        }
        if step["proxy"].is_object() {
            self.proxy(&step["proxy"]).await;
        }
        let known = [
            "apiVersion",
            "kind",
            "nodes",
            "delete",
            "patch",
            "fault",
            "certificate",
            "show",
            "events",
            "logs",
            "request",
            "forward",
            "proxy",
        ];
        match step.as_object().and_then(|map| map.keys().find(|key| !known.contains(&key.as_str())))
        {
            Some(key) => Err(format!("{}: unknown step `{key}`", path.display()).into()),
            None => Ok(()),
        }
    }

    fn place(
        &self,
        wanted: &Value,
    ) -> Result<(meshscript::sandbox::api::Resource, String, String), Failed> {
        let api = self.cluster.api();
        let resource = api
            .resource_of(text(wanted, "version"), text(wanted, "kind"))
            .ok_or_else(|| format!("no resource for {wanted}"))?;
        let namespace = text(wanted, "namespace").to_owned();
        let name = match wanted["prefix"].as_str() {
            Some(prefix) => api
                .list(&resource, &namespace)
                .iter()
                .filter_map(|found| found["metadata"]["name"].as_str().map(str::to_owned))
                .find(|name| name.starts_with(prefix))
                .unwrap_or_default(),
            None => text(wanted, "name").to_owned(),
        };
        Ok((resource, namespace, name))
    }

    fn fault(&mut self, fault: &Value) -> Result<(), Failed> {
        if let Some(node) = fault["node"].as_str() {
            let arguments = json!({ "name": node, "behaviour": fault["how"] });
            let set = self.cluster.control().call("set_node", &arguments);
            return set.map(drop).map_err(|refused| refused.message.into());
        }
        let what = match text(fault, "how") {
            "unpullable" => Some(Fault::Unpullable(String::new())),
            "crash" => Some(Fault::Crash(1)),
            "never-ready" => Some(Fault::NeverReady),
            _ => None,
        };
        let world = self.cluster.world();
        match fault["image"].as_str() {
            Some(image) => world.set_image(image, what),
            None => world.set_pod(text(fault, "namespace"), text(fault, "pod"), what),
        }
        Ok(())
    }

    fn certificate(&mut self, wanted: &Value) -> Result<(), Failed> {
        let hosts: Vec<String> = wanted["hosts"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|host| host.as_str().map(str::to_owned))
            .collect();
        let made = rcgen::generate_simple_self_signed(hosts)?;
        self.roots.add(CertificateDer::from_pem_slice(made.cert.pem().as_bytes())?)?;
        self.apply(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": wanted["name"], "namespace": wanted["namespace"] },
            "type": "kubernetes.io/tls",
            "data": {
                "tls.crt": STANDARD.encode(made.cert.pem()),
                "tls.key": STANDARD.encode(made.signing_key.serialize_pem()),
            },
        }));
        Ok(())
    }

    fn show(&mut self, wanted: &Value) -> Result<(), Failed> {
        let (resource, namespace, name) = self.place(wanted)?;
        let api = self.cluster.api();
        let objects = if name.is_empty() && wanted["prefix"].is_null() {
            api.list(&resource, &namespace)
        } else {
            api.get(&resource, &namespace, &name).into_iter().collect()
        };
        if objects.is_empty() {
            self.out.push_str(&format!("# {} {namespace}/{name}: none\n", text(wanted, "kind")));
        }
        for object in objects {
            let own = object["metadata"]["name"].as_str().unwrap_or_default();
            self.out.push_str(&format!(
                "# {} {namespace}/{}\n",
                text(wanted, "kind"),
                masked_name(own)
            ));
            for field in wanted["fields"].as_array().into_iter().flatten() {
                let path = field.as_str().unwrap_or_default();
                let value = path
                    .split('.')
                    .fold(&*object, |value, key| match key.parse::<usize>() {
                        Ok(index) => &value[index],
                        Err(_) => &value[key],
                    })
                    .clone();
                let printed = meshscript::base::yaml::emit(&json!({ path: masked(value) }));
                self.out.push_str(&printed);
            }
        }
        Ok(())
    }

    fn events(&mut self, wanted: &Value) -> Result<(), Failed> {
        let api = self.cluster.api();
        let resource = api.resource_of("v1", "Event").ok_or("no events")?;
        let mut lines = Vec::new();
        for event in api.list(&resource, text(wanted, "namespace")) {
            let about = &event["involvedObject"];
            let name = about["name"].as_str().unwrap_or_default();
            if about["kind"] == wanted["kind"] && name.starts_with(text(wanted, "name")) {
                let line = format!(
                    "{} {} {}: {}\n",
                    event["type"].as_str().unwrap_or_default(),
                    event["reason"].as_str().unwrap_or_default(),
                    event["source"]["component"].as_str().unwrap_or_default(),
                    masked_text(event["message"].as_str().unwrap_or_default())
                );
                lines.push((event["firstTimestamp"].as_str().map(str::to_owned), line));
            }
        }
        // Events of one second have no order that a client could see.
        lines.sort();
        self.out.extend(lines.into_iter().map(|(_, line)| line));
        Ok(())
    }

    async fn logs(&mut self, wanted: &Value) {
        use futures::StreamExt as _;
        let Ok((_, namespace, name)) = self.place(wanted) else { return };
        let request = LogRequest {
            container: wanted["container"].as_str().map(str::to_owned),
            previous: wanted["previous"] == true,
            ..LogRequest::default()
        };
        match self.nodes.logs(&namespace, &name, &request) {
            Ok(stream) => {
                let chunks: Vec<Bytes> = stream.collect().await;
                self.out.push_str(&masked_text(&String::from_utf8_lossy(&chunks.concat())));
            }
            Err(status) => self.out.push_str(&format!("logs: {}\n", masked_text(&status.message))),
        }
    }

    /// An HTTP request from outside, or from a pod with `from`.
    async fn request(&mut self, wanted: &Value) {
        let url: http::Uri = match text(wanted, "url").parse() {
            Ok(url) => url,
            Err(error) => return self.out.push_str(&format!("{error}\n")),
        };
        let secure = url.scheme_str() == Some("https");
        let host = url.host().unwrap_or_default().to_owned();
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let at = wanted["at"].as_str().unwrap_or(&host).to_owned();
        self.out.push_str(&format!("{} {}\n", wanted["method"].as_str().unwrap_or("GET"), url));
        let dialed = match wanted["from"].as_object() {
            None => self.plane.dialer().dial(&at, port).await,
            Some(_) => {
                let Ok((resource, namespace, name)) = self.place(&wanted["from"]) else { return };
                match self.cluster.api().get(&resource, &namespace, &name) {
                    Some(pod) => self.plane.dialer_of(pod).dial(&at, port).await,
                    None => return self.out.push_str("  no such pod\n"),
                }
            }
        };
        let stream = match dialed {
            Ok(connection) => connection.stream,
            Err(error) => {
                return self.out.push_str(&format!("  dial: {:?}: {error}\n", error.kind()));
            }
        };
        let stream: Box<dyn Stream> = if secure {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let Ok(config) = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
            else {
                return;
            };
            let config = config.with_root_certificates(self.roots.clone()).with_no_client_auth();
            let sni = wanted["sni"].as_str().unwrap_or(&host).to_owned();
            let Ok(name) = ServerName::try_from(sni) else { return };
            match tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await {
                Ok(stream) => Box::new(stream),
                Err(error) => {
                    return self.out.push_str(&format!("  tls: {:?}: {error}\n", error.kind()));
                }
            }
        } else {
            stream
        };
        self.send(stream, wanted, &url).await;
    }

    async fn send(&mut self, stream: Box<dyn Stream>, wanted: &Value, url: &http::Uri) {
        let Ok((mut sender, connection)) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await
        else {
            return self.out.push_str("  no handshake\n");
        };
        tokio::spawn(connection);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let authority = url.authority().map_or("", |authority| authority.as_str());
        let mut builder = http::Request::builder()
            .method(wanted["method"].as_str().unwrap_or("GET"))
            .uri(path)
            .header("host", wanted["host"].as_str().unwrap_or(authority));
        for (name, value) in wanted["headers"].as_object().into_iter().flatten() {
            builder = builder.header(name, value.as_str().unwrap_or_default());
        }
        let body = Full::new(Bytes::from(text(wanted, "body").to_owned()));
        let Ok(request) = builder.body(body) else { return };
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                return self
                    .out
                    .push_str(&format!("  {}\n", cause.unwrap_or_else(|| error.to_string())));
            }
        };
        let (parts, body) = response.into_parts();
        let body =
            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        self.answer(&parts, &body, wanted);
    }

    fn answer(&mut self, parts: &http::response::Parts, body: &Bytes, wanted: &Value) {
        self.out.push_str(&format!("  {}\n", parts.status.as_u16()));
        let mut names: Vec<&str> = vec!["server", "location", "x-envoy-upstream-service-time"];
        names.extend(wanted["expose"].as_array().into_iter().flatten().filter_map(Value::as_str));
        for name in names {
            if let Some(value) = parts.headers.get(name) {
                self.out.push_str(&format!("  {name}: {}\n", value.to_str().unwrap_or_default()));
            }
        }
        if wanted["body_shown"] != false {
            let body = String::from_utf8_lossy(body);
            for line in masked_text(&body).lines() {
                self.out.push_str(&format!("    {line}\n"));
            }
        }
    }

    /// A request through a port-forward.
    async fn forward(&mut self, wanted: &Value) {
        let Ok((_, namespace, name)) = self.place(wanted) else { return };
        let port = wanted["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        self.out.push_str(&format!(
            "forward {}:{port}{}\n",
            masked_name(&name),
            text(wanted, "path")
        ));
        match self.nodes.port_forward(&namespace, &name, port) {
            Ok(stream) => {
                let url =
                    format!("http://localhost{}", text(wanted, "path")).parse().unwrap_or_default();
                self.send(stream, wanted, &url).await;
            }
            Err(error) => self.out.push_str(&format!("  {error}\n")),
        }
    }

    /// A request through the API server's proxy.
    async fn proxy(&mut self, wanted: &Value) {
        let target = ProxyTarget {
            plural: "services".to_owned(),
            namespace: text(wanted, "namespace").to_owned(),
            name: text(wanted, "name").to_owned(),
            scheme: "http".to_owned(),
            port: wanted["port"].to_string(),
        };
        let request = http::Request::builder().uri(text(wanted, "path")).body(Bytes::new());
        let Ok(request) = request else { return };
        self.out.push_str(&format!("proxy {}{}\n", target.name, text(wanted, "path")));
        match self.nodes.proxy(target, request).await {
            Ok(response) => self.out.push_str(&format!("  {}\n", response.status().as_u16())),
            Err(status) => {
                self.out.push_str(&format!("  {} {}\n", status.code, masked_text(&status.message)));
            }
        }
    }
}

/// Values that differ from run to run, masked.
fn masked(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(key, _)| {
                !matches!(
                    key.as_str(),
                    "lastTransitionTime"
                        | "lastUpdateTime"
                        | "lastProbeTime"
                        | "managedFields"
                        | "resourceVersion"
                )
            })
            .map(|(key, value)| {
                let value = match key.as_str() {
                    "uid" => json!("<uid>"),
                    "creationTimestamp" | "startedAt" | "finishedAt" | "startTime" => {
                        json!("<time>")
                    }
                    "containerID" | "imageID" => json!("<id>"),
                    _ => masked(value),
                };
                (key, value)
            })
            .collect(),
        Value::Array(list) => list.into_iter().map(masked).collect(),
        Value::String(text) => Value::String(masked_text(&text)),
        other => other,
    }
}

fn masked_text(text: &str) -> String {
    let patterns = [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
        (
            r"-[bcdfghjklmnpqrstvwxz2456789]{8,10}-[bcdfghjklmnpqrstvwxz2456789]{5}\b",
            "-<hash>-<id>",
        ),
        // Which of two pods comes first is the machine's luck.
        (r"->10\.244\.\d+\.\d+:", "-><pod>:"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    ];
    let mut text = text.to_owned();
    for (pattern, mask) in patterns {
        if let Ok(regex) = regex::Regex::new(pattern) {
            text = regex.replace_all(&text, mask).into_owned();
        }
    }
    text
}

fn masked_name(name: &str) -> String {
    masked_text(name)
}
