//! Subresources that are streams: logs, exec, attach, port-forward, proxy. A registered `Nodes` answers them.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::Request as HttpRequest;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::path::{ObjectPath, Query};
use super::reply::{self, Reply};
use super::spdy;
use crate::sandbox::api::{Ended, ExecStreams, LogRequest, Nodes, ProxyTarget, Status};
use crate::sandbox::api_server::{ApiServer, status};
use crate::sandbox::validation::Cause;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const CLOSE: u8 = 255;
const CHUNKS: usize = 64;
/// The longest body that is carried to a pod; it is held in memory on the way, which a real server need not.
const MAX_PROXIED_BYTES: usize = 32 << 20;

fn nodes(server: &ApiServer, what: &str) -> Result<Arc<dyn Nodes>, Status> {
    server.nodes().ok_or_else(|| server.refuse_not_modelled(what))
}

/// `pods/log`
pub(super) fn logs(server: &ApiServer, at: &ObjectPath, query: &Query) -> Result<Reply, Status> {
    let nodes = nodes(server, "pods/log")?;
    check_log_options(&at.name, query)?;
    let container = query.text("container");
    let request = LogRequest {
        container: (!container.is_empty()).then(|| container.to_owned()),
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines: query.number("tailLines"),
        since_seconds: query.number("sinceSeconds"),
        since_time: query.text("sinceTime").parse().ok(),
        limit_bytes: query.number("limitBytes"),
    };
    let stream = nodes.logs(&at.namespace, &at.name, &request)?;
    Ok(reply::stream("text/plain", stream))
}

/// What the API server refuses before it looks for the pod.
fn check_log_options(pod: &str, query: &Query) -> Result<(), Status> {
    let mut causes = Vec::new();
    for (name, least) in [("tailLines", 0), ("sinceSeconds", 1), ("limitBytes", 1)] {
        let text = query.text(name);
        if text.is_empty() {
            continue;
        }
        let number: i64 = text.parse().map_err(|_| {
            status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
        })?;
        if number < least {
            let why = if least == 0 {
                "must be greater than or equal to 0"
            } else {
                "must be greater than 0"
            };
            causes.push(Cause::invalid(name, &number.into(), why));
        }
    }
    if query.has("sinceSeconds") && query.has("sinceTime") {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        causes.push(Cause::forbidden("[]", why));
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(status::invalid("", "PodLogOptions", pod, causes))
}

/// Accepts a WebSocket with the first of the client's protocols that we speak.
fn accept(
    request: &mut HttpRequest<Incoming>,
    known: &[&str],
) -> Result<(Reply, String, hyper::upgrade::OnUpgrade), Status> {
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let key = header("sec-websocket-key").to_owned();
    if !header("upgrade").eq_ignore_ascii_case("websocket") || key.is_empty() {
        return Err(status::bad_request("Upgrade request required"));
    }
    let offered = header("sec-websocket-protocol");
    let protocol = offered
        .split(',')
        .map(str::trim)
        .find(|protocol| known.contains(protocol))
        .ok_or_else(|| {
            status::bad_request(format!(
                "unable to negotiate protocol: client supports {offered}, server accepts {known:?}"
            ))
        })?
        .to_owned();
    let digest = derive_accept_key(key.as_bytes());
    let mut answer = reply::bytes(101, "text/plain", Bytes::new());
    let headers = answer.headers_mut();
    headers.remove("content-type");
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    for (name, value) in
        [("sec-websocket-accept", digest), ("sec-websocket-protocol", protocol.clone())]
    {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    Ok((answer, protocol, hyper::upgrade::on(request)))
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Sink = SplitSink<Socket, Message>;
type Source = SplitStream<Socket>;

async fn socket(upgrade: hyper::upgrade::OnUpgrade) -> Option<(Sink, Source)> {
    let upgraded = upgrade.await.ok()?;
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    Some(socket.split())
}

fn framed(channel: u8, bytes: &[u8]) -> Message {
    let mut text = BytesMut::with_capacity(bytes.len() + 1);
    text.extend_from_slice(&[channel]);
    text.extend_from_slice(bytes);
    Message::Binary(text.freeze())
}

/// `pods/exec` and `pods/attach` over WebSocket (`v5.channel.k8s.io`, `v4.channel.k8s.io`).
pub(super) fn exec(
    server: &ApiServer,
    at: &ObjectPath,
    query: &Query,
    mut request: HttpRequest<Incoming>,
) -> Result<Reply, Status> {
    let nodes = nodes(server, &format!("pods/{}", at.subresource))?;
    let container = query.text("container");
    let (stdin_sender, stdin) = mpsc::channel(CHUNKS);
    let (stdout, stdout_receiver) = mpsc::channel(CHUNKS);
    let (stderr, stderr_receiver) = mpsc::channel(CHUNKS);
    let (answer, protocol, upgrade) =
        accept(&mut request, &["v5.channel.k8s.io", "v4.channel.k8s.io"])?;
    let container = (!container.is_empty()).then_some(container);
    let streams = ExecStreams { stdin, stdout, stderr, tty: query.flag("tty") };
    let ended = if at.subresource == "attach" {
        nodes.attach(&at.namespace, &at.name, container, streams)?
    } else {
        nodes.exec(&at.namespace, &at.name, container, query.all("command"), streams)?
    };
    let wants_stdin = query.flag("stdin");
    let v5 = protocol.starts_with("v5");
    tokio::spawn(async move {
        let Some((sink, source)) = socket(upgrade).await else { return };
        let stdin_sender = wants_stdin.then_some(stdin_sender);
        let input = tokio::spawn(read_stdin(source, stdin_sender, v5));
        write_output(sink, stdout_receiver, stderr_receiver, ended).await;
        input.abort();
    });
    Ok(answer)
}

async fn read_stdin(mut source: Source, sender: Option<mpsc::Sender<Bytes>>, v5: bool) {
    let mut sender = sender;
    while let Some(Ok(message)) = source.next().await {
        let Message::Binary(bytes) = message else { continue };
        match bytes.first() {
            Some(&STDIN) => {
                if let Some(open) = &sender
                    && open.send(bytes.slice(1..)).await.is_err()
                {
                    sender = None;
                }
            }
            Some(&CLOSE) if v5 && bytes.get(1) == Some(&STDIN) => sender = None,
            _ => {}
        }
    }
}

async fn write_output(
    mut sink: Sink,
    mut stdout: mpsc::Receiver<Bytes>,
    mut stderr: mpsc::Receiver<Bytes>,
    ended: Ended,
) {
    let code = tokio::spawn(ended);
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let message = tokio::select! {
            chunk = stdout.recv(), if out_open => match chunk {
                Some(chunk) => framed(STDOUT, &chunk),
                None => { out_open = false; continue }
            },
            chunk = stderr.recv(), if err_open => match chunk {
                Some(chunk) => framed(STDERR, &chunk),
                None => { err_open = false; continue }
            },
        };
        if sink.send(message).await.is_err() {
            code.abort();
            return;
        }
    }
    let result = match code.await.unwrap_or(Ok(255)) {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}
        }),
        Err(refused) => status::to_json(&refused),
    };
    // The client may be gone already.
    let _ = sink.send(framed(ERROR, result.to_string().as_bytes())).await;
    // client-go takes a close without a status for a broken stream.
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = sink.send(Message::Close(Some(normal))).await;
    let _ = sink.close().await;
}

/// How client-go carries SPDY over a WebSocket.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// `pods/portforward` by SPDY: over a WebSocket, or by an upgrade of its own.
fn port_forward_spdy(
    nodes: Arc<dyn Nodes>,
    at: &ObjectPath,
    mut request: HttpRequest<Incoming>,
    tunnelled: bool,
) -> Result<Reply, Status> {
    let place = (at.namespace.clone(), at.name.clone());
    let (sender, incoming) = mpsc::channel::<Bytes>(CHUNKS);
    let (outgoing, mut frames) = mpsc::channel::<Bytes>(CHUNKS);
    if tunnelled {
        let (answer, _, upgrade) = accept(&mut request, &[TUNNEL])?;
        tokio::spawn(async move {
            let Some((mut sink, mut source)) = socket(upgrade).await else { return };
            let writing = tokio::spawn(async move {
                while let Some(frame) = frames.recv().await {
                    if sink.send(Message::Binary(frame)).await.is_err() {
                        return;
                    }
                }
                // Whoever closed first is answered; a client that is gone needs no answer.
                let _ = sink.close().await;
            });
            let forwarding = tokio::spawn(spdy::forward(nodes, place, incoming, outgoing));
            while let Some(Ok(message)) = source.next().await {
                let bytes = match message {
                    Message::Binary(bytes) => bytes,
                    Message::Close(_) => break,
                    _ => continue,
                };
                if sender.send(bytes).await.is_err() {
                    break;
                }
            }
            forwarding.abort();
            writing.abort();
        });
        return Ok(answer);
    }
    let mut answer = reply::bytes(101, "text/plain", Bytes::new());
    let headers = answer.headers_mut();
    headers.remove("content-type");
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert("x-stream-protocol-version", HeaderValue::from_static("portforward.k8s.io"));
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
        let writing = tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                if writer.write_all(&frame).await.is_err() {
                    return;
                }
            }
        });
        let forwarding = tokio::spawn(spdy::forward(nodes, place, incoming, outgoing));
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            if sender.send(Bytes::copy_from_slice(&buffer[..length])).await.is_err() {
                break;
            }
        }
        forwarding.abort();
        writing.abort();
    });
    Ok(answer)
}

/// `pods/portforward` over WebSocket (`v4.channel.k8s.io`): two channels for each port, data and error, each opened by
/// the port's number; or by SPDY, if the client offers that.
pub(super) fn port_forward(
    server: &ApiServer,
    at: &ObjectPath,
    query: &Query,
    mut request: HttpRequest<Incoming>,
) -> Result<Reply, Status> {
    let nodes = nodes(server, "pods/portforward")?;
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let tunnelled =
        header("sec-websocket-protocol").split(',').any(|offered| offered.trim() == TUNNEL);
    if tunnelled || header("upgrade").eq_ignore_ascii_case("SPDY/3.1") {
        return port_forward_spdy(nodes, at, request, tunnelled);
    }
    let ports: Vec<u16> = query
        .all("ports")
        .iter()
        .flat_map(|list| list.split(','))
        .filter_map(|port| port.parse().ok())
        .collect();
    if ports.is_empty() {
        return Err(status::bad_request("query parameter \"ports\" is required"));
    }
    let (answer, _, upgrade) = accept(&mut request, &["v4.channel.k8s.io", "portforward.k8s.io"])?;
    let (namespace, name) = (at.namespace.clone(), at.name.clone());
    tokio::spawn(async move {
        let Some((sink, source)) = socket(upgrade).await else { return };
        forward(nodes, namespace, name, ports, sink, source).await;
    });
    Ok(answer)
}

async fn forward(
    nodes: Arc<dyn Nodes>,
    namespace: String,
    name: String,
    ports: Vec<u16>,
    mut sink: Sink,
    mut source: Source,
) {
    let (outgoing, mut messages) = mpsc::channel::<Message>(CHUNKS);
    let mut inputs: Vec<Option<mpsc::Sender<Bytes>>> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let channel = u8::try_from(index * 2).unwrap_or(u8::MAX - 1);
        let number = port.to_le_bytes();
        for channel in [channel, channel + 1] {
            if outgoing.send(framed(channel, &number)).await.is_err() {
                return;
            }
        }
        match nodes.port_forward(&namespace, &name, *port) {
            Ok(stream) => {
                let (sender, receiver) = mpsc::channel(CHUNKS);
                inputs.push(Some(sender));
                tokio::spawn(pump(stream, channel, receiver, outgoing.clone()));
            }
            Err(error) => {
                inputs.push(None);
                let text = format!("an error occurred forwarding {port}: {error}");
                let _ = outgoing.send(framed(channel + 1, text.as_bytes())).await;
            }
        }
    }
    drop(outgoing);
    let writer = tokio::spawn(async move {
        while let Some(message) = messages.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    });
    while let Some(Ok(message)) = source.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Close(_) => break,
            _ => continue,
        };
        let Some(channel) = bytes.first() else { continue };
        let input = inputs.get_mut(usize::from(*channel) / 2);
        if let Some(slot) = input
            && let Some(sender) = slot
            && sender.send(bytes.slice(1..)).await.is_err()
        {
            *slot = None;
        }
    }
    inputs.clear();
    writer.abort();
}

/// Carries one forwarded connection.
async fn pump(
    stream: Box<dyn crate::base::net::Stream>,
    channel: u8,
    mut input: mpsc::Receiver<Bytes>,
    outgoing: mpsc::Sender<Message>,
) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sending = tokio::spawn(async move {
        while let Some(bytes) = input.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    });
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = reader.read(&mut buffer).await {
        if length == 0 || outgoing.send(framed(channel, &buffer[..length])).await.is_err() {
            break;
        }
    }
    sending.abort();
}

/// `pods/proxy` and `services/proxy`: `https:name:port`, `name:port` or `name`.
pub(super) async fn proxy(
    server: &ApiServer,
    at: ObjectPath,
    request: HttpRequest<Incoming>,
) -> Result<Reply, Status> {
    let nodes = nodes(server, &format!("{}/proxy", at.plural))?;
    let parts: Vec<&str> = at.name.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("http", *name, ""),
        [name, port] => ("http", *name, *port),
        [scheme, name, port] => (if *scheme == "https" { "https" } else { "http" }, *name, *port),
        _ => return Err(status::bad_request(format!("invalid proxy target \"{}\"", at.name))),
    };
    let target = ProxyTarget {
        plural: at.plural.clone(),
        namespace: at.namespace.clone(),
        name: name.to_owned(),
        scheme: scheme.to_owned(),
        port: port.to_owned(),
    };
    let (mut head, body) = request.into_parts();
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    head.uri = format!("/{}{query}", at.rest)
        .parse()
        .map_err(|_| status::bad_request("the proxied path is no URL"))?;
    let body = Limited::new(body, MAX_PROXIED_BYTES).collect().await.map_err(|_| {
        let why = format!("the sandbox proxies bodies of at most {MAX_PROXIED_BYTES} bytes");
        status::too_large(&why)
    })?;
    let answer = nodes.proxy(target, HttpRequest::from_parts(head, body.to_bytes())).await?;
    let (head, body) = answer.into_parts();
    let mut reply = reply::bytes(head.status.as_u16(), "application/octet-stream", body);
    for (name, value) in &head.headers {
        reply.headers_mut().insert(name.clone(), value.clone());
    }
    Ok(reply)
}
