//! The streams that the API server asks nodes for: port-forward and proxy; `streams` has logs, exec and attach.

use std::io;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{Request, Response};
use serde_json::{Value, json};

use super::address::{ready_pods, service_port};
use super::upstream::Reached;
use super::{DataPlane, Origin, body};
use crate::base::net::Stream;
use crate::sandbox::api::{Ended, ExecStreams, LogRequest, Nodes, ProxyTarget, Status};
use crate::sandbox::controllers::endpoints::target_port;
use crate::sandbox::controllers::kinds::{PODS, SERVICES};
use crate::sandbox::controllers::object;

pub(super) fn refusal(code: u16, reason: &str, message: String) -> Status {
    Status { code, reason: reason.to_owned(), message, details: Value::Null }
}

impl DataPlane {
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Value>, Status> {
        self.api.get(&PODS, namespace, name).ok_or_else(|| Status {
            details: json!({ "kind": "pods", "name": name }),
            ..refusal(404, "NotFound", format!("pods \"{name}\" not found"))
        })
    }
}

/// The container that a request means: the one it names, the annotated one, or the only one.
pub(super) fn container_of<'a>(
    pod: &'a Value,
    wanted: Option<&str>,
    what: &str,
) -> Result<&'a Value, Status> {
    let containers = object::items(&pod["spec"], "containers");
    let inits = object::items(&pod["spec"], "initContainers");
    let name = object::name(pod);
    let names = |list: &[Value]| {
        list.iter().filter_map(|found| found["name"].as_str()).collect::<Vec<_>>().join(" ")
    };
    if let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) {
        let ephemeral = object::items(&pod["spec"], "ephemeralContainers");
        let mut all = containers.iter().chain(inits).chain(ephemeral);
        return all.find(|found| found["name"] == wanted).ok_or_else(|| {
            let text = format!("container {wanted} is not valid for pod {name}");
            refusal(400, "BadRequest", text)
        });
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

pub(super) fn container_status<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"]
        .iter()
        .flat_map(|field| object::items(&pod["status"], field))
        .find(|status| status["name"] == name)
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
    ) -> Result<Ended, Status> {
        self.plane()?.exec(namespace, pod, container, command, streams)
    }

    fn attach(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        streams: ExecStreams,
    ) -> Result<Ended, Status> {
        self.plane()?.attach(namespace, pod, container, streams)
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
