//! Connections to a pod's port, carried over the API server.
//!
//! A [`PortForward`] is a `Dialer`: HTTP speaks over it as over TCP. For everything else it can listen on loopback until
//! the run ends.

use std::fmt;
use std::io;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use tokio::net::TcpListener;

use super::cluster::Cluster;
use super::error::Error;
use super::exec::from_kube;
use super::pods;
use super::read::require;
use crate::base::net::{Connection, Dialer};

/// A port of a pod that connections lead to, whatever address they ask for.
#[derive(Clone)]
pub struct PortForward {
    cluster: Cluster,
    pub namespace: String,
    pub pod: String,
    pub port: u16,
}

impl fmt::Debug for PortForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port-forward {}/{}:{}", self.namespace, self.pod, self.port)
    }
}

/// A forward that listens on loopback.
#[derive(Clone, Debug)]
pub struct Listening {
    pub forward: PortForward,
    pub local_port: u16,
}

/// A forward to a port of a pod, named as `POD`, `deploy/NAME`, `svc/NAME`, …. The port of a Service is its own, which leads to
/// its target port.
///
/// # Errors
/// `NotFound` for the target, `InvalidInput` for a port that a Service does not have.
pub async fn forward(
    cluster: &Cluster,
    target: &str,
    namespace: Option<&str>,
    port: u16,
) -> Result<PortForward, Error> {
    let pod = pods::pick(cluster, target, namespace).await?;
    let (kind, name) = pods::split(target);
    let is_service = cluster.resolve(kind).await?.kind == "Service";
    let port = if is_service {
        let service = require(cluster, kind, name, namespace).await?;
        target_port(&service, &pod, port)?
    } else {
        port
    };
    let text = |name: &str| pod["metadata"][name].as_str().unwrap_or_default().to_owned();
    Ok(PortForward {
        cluster: cluster.clone(),
        namespace: text("namespace"),
        pod: text("name"),
        port,
    })
}

/// A forward to a pod that is already known.
pub fn to_pod(cluster: &Cluster, namespace: &str, pod: &str, port: u16) -> PortForward {
    PortForward {
        cluster: cluster.clone(),
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        port,
    }
}

/// The port of the pod behind a port of the Service; names of ports are looked up in the pod.
fn target_port(service: &Value, pod: &Value, port: u16) -> Result<u16, Error> {
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(found) = ports.iter().find(|found| found["port"] == port) else {
        let all: Vec<String> = ports.iter().map(|found| found["port"].to_string()).collect();
        return Err(Error::InvalidInput {
            reason: format!("the Service has no port {port}"),
            hint: Some(format!("its ports are {}", all.join(", "))),
        });
    };
    let target = &found["targetPort"];
    let number = match target {
        Value::String(name) => {
            let containers = pod["spec"]["containers"].as_array().map(Vec::as_slice);
            containers
                .unwrap_or_default()
                .iter()
                .flat_map(|container| container["ports"].as_array().into_iter().flatten())
                .find(|port| port["name"] == name.as_str())
                .and_then(|port| port["containerPort"].as_u64())
        }
        Value::Number(number) => number.as_u64(),
        _ => Some(u64::from(port)),
    };
    number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| Error::InvalidInput {
        reason: format!("the pod has no port {target} behind the Service's port {port}"),
        hint: None,
    })
}

impl PortForward {
    /// Opens one connection.
    ///
    /// # Errors
    /// Refusals of the server, `Stream` when the pod does not answer on the port.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let peer = format!("{self:?}");
        let api: Api<Pod> = Api::namespaced(self.cluster.client().clone(), &self.namespace);
        self.cluster.counter().count(false);
        let mut forwarder = api.portforward(&self.pod, &[self.port]).await.map_err(|error| {
            let action = format!("forward port {} of `{}/{}`", self.port, self.namespace, self.pod);
            from_kube(error, action, &peer)
        })?;
        let stream = forwarder.take_stream(self.port).ok_or_else(|| Error::Stream {
            peer: peer.clone(),
            reason: "the server opened no stream for the port".to_owned(),
        })?;
        Ok(Connection { stream: Box::new(stream), peer })
    }

    /// Listens on a loopback port (0: a free one) for as long as the run lasts.
    ///
    /// # Errors
    /// `Listen` when the port is taken.
    pub async fn listen(self, local_port: u16) -> Result<Listening, Error> {
        let refused = |error: io::Error| Error::Listen {
            port: local_port,
            reason: super::request::innermost(&error),
        };
        let listener = TcpListener::bind(("127.0.0.1", local_port)).await.map_err(refused)?;
        let local_port = listener.local_addr().map_err(refused)?.port();
        let forward = self.clone();
        // Ends with the runtime, which ends with the run.
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let forward = forward.clone();
                tokio::spawn(async move {
                    match forward.connect().await {
                        Ok(mut connection) => {
                            // Either side may close at any time; the other one then sees it.
                            let _ =
                                tokio::io::copy_bidirectional(&mut client, &mut connection.stream)
                                    .await;
                        }
                        Err(error) => tracing::debug!(%error, "{forward:?}"),
                    }
                });
            }
        });
        Ok(Listening { forward: self, local_port })
    }
}

impl Dialer for PortForward {
    fn dial(&self, _host: &str, _port: u16) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            self.connect().await.map_err(|error| {
                let kind = match &error {
                    Error::Refused { .. } => io::ErrorKind::ConnectionRefused,
                    _ => io::ErrorKind::ConnectionReset,
                };
                let diagnostic = crate::base::diagnostic::Diagnostic::from(error);
                io::Error::new(kind, diagnostic.to_string())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_port_of_a_service_leads_to_its_target_port() {
        let service = json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81}, {"port": 82, "targetPort": 8082}]}});
        let pod = json!({"spec": {"containers": [{}, {"ports": [{"name": "http", "containerPort": 8080}]}]}});
        assert_eq!(target_port(&service, &pod, 80).ok(), Some(8080));
        assert_eq!(target_port(&service, &pod, 81).ok(), Some(81));
        assert_eq!(target_port(&service, &pod, 82).ok(), Some(8082));
        assert!(target_port(&service, &pod, 83).is_err());
        assert!(target_port(&service, &json!({}), 80).is_err());
    }
}
