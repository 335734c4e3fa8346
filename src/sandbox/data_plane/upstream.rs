//! From a proxy to a pod: the Service's endpoints, its waypoint, ztunnel's verdict, the program's answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use serde_json::Value;

use super::address::{ready_pods, service_port};
use super::http_server::plain;
use super::policy::{self, Peer};
use super::{DataPlane, apps};
use crate::sandbox::controllers::endpoints::target_port;
use crate::sandbox::controllers::kinds::SERVICES;
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::presence;
use crate::sandbox::mesh::waypoint::{self, Binding};
use crate::sandbox::node::images::Program;

/// What happens to a connection to a pod.
pub(super) enum Reached {
    Response(Response<Bytes>),
    /// ztunnel refused: the client's connection is reset, and the reason is in ztunnel's log.
    Denied,
    /// Nobody listens.
    Refused,
}

impl DataPlane {
    /// A gateway's request to a Service, as Envoy answers for it.
    pub(super) async fn call_service(
        &self,
        caller: &Peer,
        proxy: &Value,
        (namespace, name): (&str, &str),
        port: u16,
        request: Request<Bytes>,
    ) -> Response<Bytes> {
        let Some(service) = self.api.get(&SERVICES, namespace, name) else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "");
        };
        let Some(service_port) = service_port(&service, &port.to_string()).cloned() else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "");
        };
        let cluster = format!("outbound|{port}||{name}.{namespace}.svc.cluster.local");
        let mut caller = caller.clone();
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
        } else if let Some(pod) = ready_pods(&*self.api, &service).first() {
            let address = pod["status"]["podIP"].as_str().unwrap_or_default();
            let target = target_port(&service_port, pod).unwrap_or(port);
            let host = if presence::is_captured(pod) {
                format!("envoy://connect_originate/{address}:{target}")
            } else {
                format!("{address}:{target}")
            };
            self.count(proxy, &cluster, &host);
        }
        let Some(pod) = self.turn.choose(&ready_pods(&*self.api, &service)) else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream");
        };
        let Some(target) = target_port(&service_port, &pod) else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream");
        };
        match self.call_pod(&caller, &pod, target, request).await {
            Reached::Response(response) => response,
            Reached::Denied => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            ),
            Reached::Refused => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote \
                 connection failure, transport failure reason: delayed connect error: Connection refused",
            ),
        }
    }

    /// The waypoint's pod when it lets the request pass; else what it, or the way to it, answers.
    fn at_waypoint(
        &self,
        gateway: &Value,
        service: &Value,
        port: u16,
        caller: &Peer,
        request: &Request<Bytes>,
    ) -> Result<Arc<Value>, Box<Response<Bytes>>> {
        let (namespace, name) = object::key(gateway);
        let own = self.api.get(&SERVICES, &namespace, &name);
        let pods = own.map(|own| ready_pods(&*self.api, &own)).unwrap_or_default();
        let Some(pod) = self.turn.choose(&pods) else {
            let text = "no healthy upstream";
            return Err(Box::new(plain(StatusCode::SERVICE_UNAVAILABLE, text)));
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
        let mut refusal = plain(StatusCode::FORBIDDEN, "RBAC: access denied");
        let server = HeaderValue::from_static("istio-envoy");
        refusal.headers_mut().insert("server", server);
        Err(Box::new(refusal))
    }

    /// A request to a pod's port: ztunnel's verdict if the pod is captured, then the program.
    pub(super) async fn call_pod(
        &self,
        caller: &Peer,
        pod: &Value,
        port: u16,
        request: Request<Bytes>,
    ) -> Reached {
        if self.admitted(caller, pod, port).is_err() {
            return Reached::Denied;
        }
        let program = Program::of_pod(pod);
        if !apps::listens(pod, program, port) {
            return Reached::Refused;
        }
        Reached::Response(apps::respond(&*self.api, pod, request, &caller.address).await)
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
