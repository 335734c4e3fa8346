//! The streams that the API server asks nodes for: logs, exec, port-forward, proxy.

use std::io;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::{Request, Response};
use serde_json::{Value, json};

use super::address::{ready_pods, service_port};
use super::upstream::Reached;
use super::{DataPlane, Origin, admin, body};
use crate::base::net::Stream;
use crate::sandbox::api::{ExecStreams, LogRequest, Nodes, ProxyTarget, Status};
use crate::sandbox::controllers::endpoints::target_port;
use crate::sandbox::controllers::kinds::{PODS, SERVICES};
use crate::sandbox::controllers::object;
use crate::sandbox::node::images::Program;
use crate::sandbox::node::{LogLine, shell};

fn refusal(code: u16, reason: &str, message: String) -> Status {
    Status { code, reason: reason.to_owned(), message, details: Value::Null }
}

impl DataPlane {
    fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Value>, Status> {
        self.api.get(&PODS, namespace, name).ok_or_else(|| Status {
            details: json!({ "kind": "pods", "name": name }),
            ..refusal(404, "NotFound", format!("pods \"{name}\" not found"))
        })
    }
}

/// The container that a request means: the one it names, the annotated one, or the only one.
fn container_of<'a>(pod: &'a Value, wanted: Option<&str>, what: &str) -> Result<&'a Value, Status> {
    let containers = object::items(&pod["spec"], "containers");
    let inits = object::items(&pod["spec"], "initContainers");
    let name = object::name(pod);
    let names = |list: &[Value]| {
        list.iter().filter_map(|found| found["name"].as_str()).collect::<Vec<_>>().join(" ")
    };
    if let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) {
        return containers.iter().chain(inits).find(|found| found["name"] == wanted).ok_or_else(
            || {
                refusal(
                    400,
                    "BadRequest",
                    format!("container {wanted} is not valid for pod {name}"),
                )
            },
        );
    }
    match containers {
        [only] => Ok(only),
        _ => {
            let default = object::annotation(pod, "kubectl.kubernetes.io/default-container");
            if let Some(found) =
                default.and_then(|name| containers.iter().find(|found| found["name"] == name))
            {
                return Ok(found);
            }
            let init_text = if inits.is_empty() {
                String::new()
            } else {
                format!(" or one of the init containers: [{}]", names(inits))
            };
            let list = names(containers);
            Err(refusal(
                400,
                "BadRequest",
                format!(
                    "a container name must be specified for pod {name}, choose one of: [{list}]{init_text}{what}"
                ),
            ))
        }
    }
}

fn container_status<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    ["containerStatuses", "initContainerStatuses"]
        .iter()
        .flat_map(|field| object::items(&pod["status"], field))
        .find(|status| status["name"] == name)
}

fn lines_text(lines: Vec<LogLine>, request: &LogRequest) -> Bytes {
    let skip = request.tail_lines.map_or(0, |tail| lines.len().saturating_sub(tail));
    let mut text = String::new();
    for line in lines.into_iter().skip(skip) {
        if request.timestamps {
            text.push_str(&line.time);
            text.push(' ');
        }
        text.push_str(&line.text);
        text.push('\n');
    }
    if let Some(limit) = request.limit_bytes {
        let mut end = limit.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    Bytes::from(text)
}

/// The streams as the API server holds them: without keeping the data plane alive, which keeps the API server alive.
struct PlaneNodes(Weak<DataPlane>);

impl DataPlane {
    /// What answers the API server's subresources while this data plane lives.
    pub fn nodes(self: &Arc<Self>) -> Arc<dyn Nodes> {
        Arc::new(PlaneNodes(Arc::downgrade(self)))
    }
}

impl PlaneNodes {
    fn plane(&self) -> Result<Arc<DataPlane>, Status> {
        self.0.upgrade().ok_or_else(|| {
            refusal(503, "ServiceUnavailable", "the rehearsal cluster has ended".to_owned())
        })
    }
}

impl Nodes for PlaneNodes {
    fn logs(
        &self,
        namespace: &str,
        pod: &str,
        request: &LogRequest,
    ) -> Result<BoxStream<'static, Bytes>, Status> {
        self.plane()?.logs(namespace, pod, request)
    }

    fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        command: &[String],
        streams: ExecStreams,
    ) -> Result<BoxFuture<'static, i32>, Status> {
        self.plane()?.exec(namespace, pod, container, command, streams)
    }

    fn port_forward(&self, namespace: &str, pod: &str, port: u16) -> io::Result<Box<dyn Stream>> {
        let plane = self.0.upgrade().ok_or(io::ErrorKind::ConnectionAborted)?;
        let pod = plane.api.get(&PODS, namespace, pod).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("pod `{pod}` not found"))
        })?;
        plane.open(pod, port, &Origin::Loopback)
    }

    fn proxy(
        &self,
        target: ProxyTarget,
        request: Request<Bytes>,
    ) -> BoxFuture<'static, Result<Response<Bytes>, Status>> {
        let plane = self.plane();
        Box::pin(async move { plane?.proxied(&target, request).await })
    }
}

impl DataPlane {
    fn logs(
        &self,
        namespace: &str,
        pod: &str,
        request: &LogRequest,
    ) -> Result<BoxStream<'static, Bytes>, Status> {
        let pod = self.pod(namespace, pod)?;
        let container = container_of(&pod, request.container.as_deref(), "")?;
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        let status = container_status(&pod, &name);
        let state = status.map(|status| status["state"].clone()).unwrap_or_default();
        let began = !state["running"].is_null()
            || !state["terminated"].is_null()
            || status.is_some_and(|status| status["restartCount"].as_u64() > Some(0));
        if request.previous
            && status.is_none_or(|status| status["lastState"]["terminated"].is_null())
        {
            let text = format!(
                "previous terminated container \"{name}\" in pod \"{}\" not found",
                object::name(&pod)
            );
            return Err(refusal(400, "BadRequest", text));
        }
        if !began {
            let reason = state["waiting"]["reason"].as_str().unwrap_or("ContainerCreating");
            let why = match reason {
                "ErrImagePull" | "ImagePullBackOff" => {
                    "trying and failing to pull image".to_owned()
                }
                other => other.to_owned(),
            };
            let text = format!(
                "container \"{name}\" in pod \"{}\" is waiting to start: {why}",
                object::name(&pod)
            );
            return Err(refusal(400, "BadRequest", text));
        }
        let id = object::uid(&pod).to_owned();
        let lines = self.world.log_of(&id, &name, request.previous).unwrap_or_default();
        let since = request.since_seconds.and_then(|seconds| {
            use crate::base::clock::Clock as _;
            let span = std::time::Duration::from_secs(seconds);
            self.api.clock().now().checked_sub(span).ok()
        });
        let lines: Vec<LogLine> = lines
            .into_iter()
            .filter(|line| {
                since.is_none_or(|since| {
                    line.time.parse().is_ok_and(|time: jiff::Timestamp| time >= since)
                })
            })
            .collect();
        let seen = lines.len();
        let first = stream::iter([lines_text(lines, request)]).filter(|text| {
            let some = !text.is_empty();
            async move { some }
        });
        if !request.follow {
            return Ok(first.boxed());
        }
        let follow = Follow {
            world: Arc::clone(&self.world),
            api: Arc::clone(&self.api),
            pod: object::key(&pod),
            id,
            container: name,
            seen,
            timestamps: request.timestamps,
        };
        Ok(first.chain(stream::unfold(follow, Follow::next)).boxed())
    }

    fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        command: &[String],
        mut streams: ExecStreams,
    ) -> Result<BoxFuture<'static, i32>, Status> {
        let pod = self.pod(namespace, pod)?;
        let container = container_of(&pod, container, "")?.clone();
        let name = container["name"].as_str().unwrap_or_default();
        let running = container_status(&pod, name)
            .is_some_and(|status| !status["state"]["running"].is_null());
        if !running {
            let text = format!("container not found (\"{name}\")");
            return Err(refusal(500, "InternalError", text));
        }
        let environment = shell::environment(&pod, &container);
        let command = command.to_vec();
        let own = admin::agent_request(&command).map(|(port, path)| {
            let request = Request::builder().uri(path).body(()).unwrap_or_default();
            admin::answer(self, &pod, Program::of_pod(&pod), port, &request)
        });
        let clock = self.api.clock();
        Ok(Box::pin(async move {
            if let Some(response) = own {
                let answer = body::whole(response.into_body()).await.unwrap_or_default();
                let _ = streams.stdout.send(answer).await;
                return 0;
            }
            let interactive = matches!(
                command.first().map(|word| word.rsplit('/').next().unwrap_or(word)),
                Some("sh" | "bash" | "ash")
            ) && command.len() == 1;
            if !interactive {
                let run = shell::run(&command, &environment);
                if !run.slept.is_zero() {
                    clock.event_in(run.slept).await;
                }
                let _ = streams.stdout.send(Bytes::from(run.stdout)).await;
                let _ = streams.stderr.send(Bytes::from(run.stderr)).await;
                return run.code;
            }
            let mut code = 0;
            while let Some(input) = streams.stdin.recv().await {
                for line in String::from_utf8_lossy(&input).lines() {
                    let mut run = shell::Run { code, ..shell::Run::default() };
                    shell::script(line, &environment, &mut run);
                    code = run.code;
                    let _ = streams.stdout.send(Bytes::from(run.stdout)).await;
                    let _ = streams.stderr.send(Bytes::from(run.stderr)).await;
                    if line.trim_start().starts_with("exit") {
                        return code;
                    }
                }
            }
            code
        }))
    }
}

/// A log that is followed: new lines as they come, until the container's pod is gone or has ended.
struct Follow {
    world: Arc<crate::sandbox::node::World>,
    api: Arc<dyn crate::sandbox::api::Api>,
    pod: (String, String),
    id: String,
    container: String,
    seen: usize,
    timestamps: bool,
}

/// How often a followed log is looked at, in the cluster's time.
const FOLLOW_STEP: std::time::Duration = std::time::Duration::from_secs(1);

impl Follow {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        use crate::base::clock::Clock as _;
        loop {
            let lines = self.world.log_of(&self.id, &self.container, false).unwrap_or_default();
            if lines.len() > self.seen {
                let fresh = lines[self.seen..].to_vec();
                self.seen = lines.len();
                let request = LogRequest { timestamps: self.timestamps, ..LogRequest::default() };
                return Some((lines_text(fresh, &request), self));
            }
            let pod = self.api.get(&PODS, &self.pod.0, &self.pod.1)?;
            let status = container_status(&pod, &self.container)?;
            if object::uid(&pod) != self.id || !status["state"]["terminated"].is_null() {
                return None;
            }
            // A follower only listens: it must not keep the simulated world moving by itself.
            self.api.clock().sleep(FOLLOW_STEP).await;
        }
    }
}

impl DataPlane {
    async fn proxied(
        self: &Arc<Self>,
        target: &ProxyTarget,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Status> {
        let (pod, port) = if target.plural == "services" {
            self.behind_service(target)?
        } else {
            let pod = self.pod(&target.namespace, &target.name)?;
            let declared = object::items(&pod["spec"]["containers"][0], "ports");
            let first = declared.first().and_then(|port| port["containerPort"].as_u64());
            let port = target.port.parse().ok().or(first.and_then(|port| u16::try_from(port).ok()));
            (pod, port.unwrap_or(80))
        };
        let address = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        let error = |why: &str| {
            let text = format!("error trying to reach service: {why}");
            refusal(503, "ServiceUnavailable", text)
        };
        match self.request_pod(&Origin::ApiServer, &pod, port, request.map(body::full)).await {
            Reached::Response(response) => {
                let (parts, body) = response.into_parts();
                let body = body::whole(body).await.map_err(|why| error(&why.to_string()))?;
                Ok(Response::from_parts(parts, body))
            }
            Reached::Denied => Err(error(&format!(
                "read tcp 172.18.0.2:40000->{address}:{port}: read: connection reset by peer"
            ))),
            Reached::Refused => {
                Err(error(&format!("dial tcp {address}:{port}: connect: connection refused")))
            }
        }
    }

    fn behind_service(&self, target: &ProxyTarget) -> Result<(Arc<Value>, u16), Status> {
        let service =
            self.api.get(&SERVICES, &target.namespace, &target.name).ok_or_else(|| Status {
                details: json!({ "kind": "services", "name": target.name }),
                ..refusal(404, "NotFound", format!("services \"{}\" not found", target.name))
            })?;
        let Some(port) = service_port(&service, &target.port) else {
            let text =
                format!("no service port {:?} found for service {:?}", target.port, target.name);
            return Err(refusal(503, "ServiceUnavailable", text));
        };
        let pod = self.turn.choose(&ready_pods(&*self.api, &service)).ok_or_else(|| {
            let text = format!("no endpoints available for service \"{}\"", target.name);
            refusal(503, "ServiceUnavailable", text)
        })?;
        let target = target_port(port, &pod).unwrap_or(80);
        Ok((pod, target))
    }
}
