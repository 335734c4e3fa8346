//! From a proxy to a pod: the Service's endpoints, its waypoint, ztunnel's verdict, the program's answer.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use serde_json::Value;

use super::address::{endpoints, ready_pods, service_port};
use super::body::Body;
use super::forward::Outcome;
use super::http_server::plain;
use super::policy::{self, Peer};
use super::{DataPlane, apps, backend_tls};
use crate::sandbox::controllers::kinds::SERVICES;
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::presence;
use crate::sandbox::mesh::waypoint::{self, Binding};
use crate::sandbox::node::images::Program;

/// How often a request is sent at most: istiod's default policy has two retries, for backends that refuse the connection.
const MAX_ATTEMPTS: u16 = 3;

/// Envoy's words when all attempts to connect have failed.
const NOT_CONNECTED: &str = "upstream connect error or disconnect/reset before headers. retried and the latest reset \
                             reason: remote connection failure";

/// Gives a request the protocol that Envoy speaks to a Service's port: what its name or `appProtocol` says; the client's
/// own where they say nothing.
fn as_upstream(request: &mut Request<Body>, port: &Value) {
    let written = port["appProtocol"].as_str().or_else(|| port["name"].as_str()).unwrap_or("");
    let is_app = port["appProtocol"].is_string();
    let first = if is_app { written } else { written.split('-').next().unwrap_or_default() };
    let version = match first {
        "http2" | "grpc" | "grpc-web" | "kubernetes.io/h2c" => Version::HTTP_2,
        "http" | "https" | "tcp" | "tls" | "kubernetes.io/ws" | "kubernetes.io/wss" => {
            Version::HTTP_11
        }
        _ => request.version(),
    };
    *request.version_mut() = version;
    // HTTP/1.1 says of a request that could have a body that it has none.
    let bare = matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE);
    if version == Version::HTTP_11
        && !bare
        && request.body().is_end_stream()
        && !request.headers().contains_key("content-length")
    {
        request.headers_mut().insert("content-length", HeaderValue::from(0));
    }
}

/// What happens to a connection to a pod.
pub(super) enum Reached {
    Response(Response<Body>),
    /// ztunnel refused: the client's connection is reset, and the reason is in ztunnel's log.
    Denied,
    /// Nobody listens.
    Refused,
}

impl DataPlane {
    /// A gateway's request to a Service, as Envoy answers for it.
    pub(super) async fn call_service(
        self: &Arc<Self>,
        caller: &Peer,
        proxy: &Value,
        (namespace, name): (&str, &str),
        port: u16,
        mut request: Request<Body>,
    ) -> Outcome {
        const ERROR: &str = "upstream connect error or disconnect/reset before headers.";
        let Some(service) = self.api.get(&SERVICES, namespace, name) else {
            return Outcome::local(StatusCode::INTERNAL_SERVER_ERROR, "");
        };
        let Some(service_port) = service_port(&service, &port.to_string()).cloned() else {
            return Outcome::local(StatusCode::INTERNAL_SERVER_ERROR, "");
        };
        let cluster = format!("outbound|{port}||{name}.{namespace}.svc.cluster.local");
        let mut caller = caller.clone();
        let mut endpoints = endpoints(&*self.api, &service, &service_port);
        if waypoint::ingress_uses(&*self.api, &service) == Some(true)
            && let Binding::To(gateway) = waypoint::of_service(&*self.api, &service)
        {
            match self.at_waypoint(&gateway, &service, port, &caller, &request) {
                Ok(pod) => {
                    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
                    self.count(
                        proxy,
                        &cluster,
                        &format!("envoy://connect_originate/{address}:15008"),
                    );
                    let inbound =
                        format!("inbound-vip|{port}|http|{name}.{namespace}.svc.cluster.local");
                    self.count(&pod, &inbound, "");
                    caller = Peer {
                        identity: Some(policy::identity(&pod)),
                        address: address.to_owned(),
                    };
                }
                Err(refusal) => return *refusal,
            }
        } else if let Some((pod, target)) = endpoints.first() {
            let address = pod["status"]["podIP"].as_str().unwrap_or_default();
            let host = if presence::is_captured(pod) {
                format!("envoy://connect_originate/{address}:{target}")
            } else {
                format!("{address}:{target}")
            };
            self.count(proxy, &cluster, &host);
        }
        as_upstream(&mut request, &service_port);
        for attempt in 1..=MAX_ATTEMPTS {
            let Some((pod, target)) = self.turn.choose(&endpoints) else {
                // Whoever refused is not asked again; the first one refused, though.
                if attempt > 1 {
                    break;
                }
                return Outcome::local(StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream");
            };
            if self.admitted(&caller, &pod, target).is_err() {
                let text = format!("{ERROR} reset reason: connection termination");
                return Outcome::local(StatusCode::SERVICE_UNAVAILABLE, &text);
            }
            if !apps::listens(&pod, Program::of_pod(&pod), target) {
                endpoints.retain(|(other, _)| object::uid(other) != object::uid(&pod));
                continue;
            }
            if let Some(tls) = backend_tls::of_port(&*self.api, &service, &service_port) {
                request.headers_mut().insert("x-envoy-attempt-count", HeaderValue::from(attempt));
                let answer = tls.call(self, &pod, target, &caller.address, request).await;
                return answer.map_or_else(
                    |_| Outcome::local(StatusCode::SERVICE_UNAVAILABLE, NOT_CONNECTED),
                    Outcome::of_upstream,
                );
            }
            if !apps::speaks(&pod, target, request.version()) {
                let text = format!("{ERROR} reset reason: protocol error");
                return Outcome::local(StatusCode::BAD_GATEWAY, &text);
            }
            request.headers_mut().insert("x-envoy-attempt-count", HeaderValue::from(attempt));
            let call = apps::Call {
                plane: self,
                pod: &pod,
                port: target,
                client: &caller.address,
                secure: None,
            };
            return Outcome::of_upstream(apps::respond(&call, request).await);
        }
        Outcome::local(StatusCode::SERVICE_UNAVAILABLE, NOT_CONNECTED)
    }

    /// The waypoint's pod when it lets the request pass; else what it, or the way to it, answers.
    fn at_waypoint(
        &self,
        gateway: &Value,
        service: &Value,
        port: u16,
        caller: &Peer,
        request: &Request<Body>,
    ) -> Result<Arc<Value>, Box<Outcome>> {
        let (namespace, name) = object::key(gateway);
        let own = self.api.get(&SERVICES, &namespace, &name);
        let pods = own.map(|own| ready_pods(&*self.api, &own)).unwrap_or_default();
        let Some(pod) = self.turn.choose(&pods) else {
            let text = "no healthy upstream";
            return Err(Box::new(Outcome::local(StatusCode::SERVICE_UNAVAILABLE, text)));
        };
        let mut policies = policy::targeting(
            &*self.api,
            object::namespace(service),
            "Service",
            object::name(service),
        );
        policies.extend(policy::targeting(&*self.api, &namespace, "Gateway", &name));
        if let Some(root) = presence::root_namespace(&*self.api) {
            policies.extend(policy::targeting(&*self.api, &root, "GatewayClass", "istio-waypoint"));
        }
        if policy::at_proxy(&policies, request, caller, port) {
            return Ok(pod);
        }
        // To the gateway it is an upstream's answer.
        let mut refusal = plain(StatusCode::FORBIDDEN, "RBAC: access denied");
        let server = HeaderValue::from_static("istio-envoy");
        refusal.headers_mut().insert("server", server);
        Err(Box::new(Outcome::of_upstream(refusal)))
    }

    /// A request to a pod's port: ztunnel's verdict if the pod is captured, then the program.
    pub(super) async fn call_pod(
        &self,
        caller: &Peer,
        pod: &Arc<Value>,
        port: u16,
        request: Request<Body>,
    ) -> Reached {
        if self.admitted(caller, pod, port).is_err() {
            return Reached::Denied;
        }
        let program = Program::of_pod(pod);
        if !apps::listens(pod, program, port) {
            return Reached::Refused;
        }
        let call = apps::Call { plane: self, pod, port, client: &caller.address, secure: None };
        Reached::Response(apps::respond(&call, request).await)
    }

    /// What the ztunnel of a captured pod says; its refusal is in its log.
    pub(super) fn admitted(&self, caller: &Peer, pod: &Value, port: u16) -> Result<(), String> {
        if !presence::is_captured(pod) {
            return Ok(());
        }
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let Some(ztunnel) = presence::ztunnel(&*self.api, node) else {
            return Err("no ztunnel on the node".to_owned());
        };
        let verdict = policy::at_ztunnel(&*self.api, pod, port, caller);
        self.log_access(&ztunnel, caller, pod, port, verdict.as_ref().err());
        verdict
    }

    fn log_access(
        &self,
        ztunnel: &Value,
        caller: &Peer,
        pod: &Value,
        port: u16,
        refusal: Option<&String>,
    ) {
        let time = object::now(&*self.api);
        let address = pod["status"]["podIP"].as_str().unwrap_or_default();
        let from = caller
            .identity
            .as_ref()
            .map(|identity| format!(" src.identity=\"spiffe://{identity}\""))
            .unwrap_or_default();
        let line = format!(
            "{time}\t{}\taccess\tconnection complete\tsrc.addr={}:40000{from} dst.addr={address}:{} \
             dst.hbone_addr={address}:{port} dst.workload=\"{}\" dst.namespace=\"{}\" \
             dst.identity=\"spiffe://{}\" direction=\"inbound\"{}",
            if refusal.is_some() { "error" } else { "info" },
            caller.address,
            if caller.identity.is_some() { 15_008 } else { port },
            object::name(pod),
            object::namespace(pod),
            policy::identity(pod),
            refusal
                .map(|why| {
                    format!(" error=\"connection closed due to policy rejection: {why}\"")
                })
                .unwrap_or_default(),
        );
        let container = ztunnel["spec"]["containers"][0]["name"].as_str().unwrap_or("istio-proxy");
        self.world.log(object::uid(ztunnel), container, &time, &[line]);
    }
}
