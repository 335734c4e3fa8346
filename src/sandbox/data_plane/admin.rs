//! What proxies and istiod tell about themselves: Envoy's and ztunnel's admin ports, istiod's debug port, readiness.

use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::body::Body;
use super::http_server::{json as json_response, plain};
use super::{DataPlane, dump};
use crate::sandbox::controllers::kinds::PODS;
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::presence;
use crate::sandbox::node::images::Program;

/// Whether a program answers on a port that is not for traffic. Envoy's and ztunnel's admin ports, and istiod's debug
/// port, listen on the pod's loopback only.
pub(super) fn listens(program: Program, port: u16, loopback: bool) -> bool {
    match program {
        Program::Proxy => matches!(port, 15_020 | 15_021 | 15_090) || (port == 15_000 && loopback),
        Program::Ztunnel => matches!(port, 15_020 | 15_021) || (port == 15_000 && loopback),
        Program::Istiod => matches!(port, 8_080 | 15_014),
        Program::Cni => matches!(port, 8_000 | 15_014),
        Program::MetalLbController | Program::MetalLbSpeaker => port == 7_472,
        Program::Httpbin | Program::EchoBasic | Program::Other => false,
    }
}

/// The request that `pilot-agent request GET PATH` and `pilot-discovery request GET PATH` make.
pub(super) fn agent_request(command: &[String]) -> Option<(u16, String)> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let ["pilot-agent" | "pilot-discovery", "request", "GET" | "POST", path] = words.as_slice()
    else {
        return None;
    };
    let port = if words[0] == "pilot-agent" { 15_000 } else { 8_080 };
    Some((port, format!("/{}", path.trim_start_matches('/'))))
}

/// The answer to a request on an admin port.
pub(super) fn answer<B>(
    plane: &DataPlane,
    pod: &Value,
    program: Program,
    port: u16,
    request: &Request<B>,
) -> Response<Body> {
    // istioctl writes two slashes, which Go's servers take for one.
    let path = request.uri().path().replace("//", "/");
    let path = path.as_str();
    let query = request.uri().query().unwrap_or_default();
    match (program, port, path) {
        (Program::Proxy | Program::Ztunnel, 15_021, "/healthz/ready") => ready(pod),
        (Program::Proxy, 15_000, "/config_dump") => {
            json_response(pretty(&dump::envoy(plane, pod, query)))
        }
        (Program::Proxy, 15_000, "/clusters") if query.contains("format=json") => {
            json_response(pretty(&dump::clusters(plane, pod)))
        }
        (Program::Proxy, 15_000, "/clusters") => {
            plain(StatusCode::OK, &dump::clusters_text(plane, pod))
        }
        (Program::Proxy, 15_000, "/ready") => {
            if object::is_true(pod, "Ready") {
                plain(StatusCode::OK, "LIVE\n")
            } else {
                plain(StatusCode::SERVICE_UNAVAILABLE, "PRE_INITIALIZING\n")
            }
        }
        (Program::Proxy, 15_000, "/server_info") => json_response(pretty(&json!({
            "state": if object::is_true(pod, "Ready") { "LIVE" } else { "PRE_INITIALIZING" },
            "node": { "id": object::name(pod) },
        }))),
        (Program::Proxy, 15_000, "/logging") => plain(StatusCode::OK, "active loggers:\n"),
        (Program::Proxy, 15_020 | 15_090, "/stats/prometheus" | "/metrics") => {
            plain(StatusCode::OK, &dump::envoy_stats(plane, pod))
        }
        (Program::Ztunnel, 15_000, "/config_dump") => {
            json_response(pretty(&dump::ztunnel(plane, pod)))
        }
        (Program::Ztunnel, 15_020, "/metrics") => plain(StatusCode::OK, ""),
        (Program::Istiod, _, "/ready") => ready(pod),
        (Program::Istiod, 8_080 | 15_014, "/debug/syncz") => {
            json_response(syncz(plane, pod).to_string())
        }
        (Program::Istiod, 15_014, "/version") => plain(StatusCode::OK, &version(pod)),
        (Program::Istiod, 15_014, "/metrics") => {
            let info = format!("istio_build{{component=\"pilot\",tag=\"{}\"}} 1\n", version(pod));
            plain(StatusCode::OK, &info)
        }
        (Program::Cni, 8_000, "/readyz" | "/healthz") => ready(pod),
        _ => {
            let what = format!("{path} on port {port} of {}", object::name(pod));
            plane.api.not_modelled(&what);
            plain(StatusCode::NOT_IMPLEMENTED, &format!("the sandbox does not model {what}\n"))
        }
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn ready(pod: &Value) -> Response<Body> {
    if object::is_true(pod, "Ready") {
        plain(StatusCode::OK, "")
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, "")
    }
}

/// The version in the tag of a pod's image.
pub(super) fn version(pod: &Value) -> String {
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let tag = image.rsplit(':').next().unwrap_or_default();
    tag.split('-').next().unwrap_or_default().to_owned()
}

/// Which proxies istiod serves, and that each has acknowledged what it was sent.
fn syncz(plane: &DataPlane, istiod: &Value) -> Value {
    let types = |program: Program| -> &'static [&'static str] {
        match program {
            Program::Ztunnel => &[
                "type.googleapis.com/istio.workload.Address",
                "type.googleapis.com/istio.security.Authorization",
            ],
            _ => &[
                "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
                "type.googleapis.com/envoy.config.listener.v3.Listener",
                "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
                "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            ],
        }
    };
    let istiods: Vec<_> = plane
        .api
        .list(&PODS, object::namespace(istiod))
        .into_iter()
        .filter(|pod| Program::of_pod(pod) == Program::Istiod && object::is_true(pod, "Ready"))
        .collect();
    let own = istiods.iter().position(|pod| object::uid(pod) == object::uid(istiod)).unwrap_or(0);
    let mut proxies = Vec::new();
    let pods = plane.api.list(&PODS, "");
    let served = pods.iter().filter(|pod| {
        matches!(Program::of_pod(pod), Program::Proxy | Program::Ztunnel)
            && object::is_true(pod, "Ready")
    });
    for (index, pod) in served.enumerate() {
        // Each proxy hangs on exactly one istiod.
        if index % istiods.len().max(1) != own {
            continue;
        }
        let program = Program::of_pod(pod);
        let waypoint =
            object::label(pod, "gateway.istio.io/managed") == Some("istio.io-mesh-controller");
        let kind = match program {
            Program::Ztunnel => "ztunnel",
            _ if waypoint => "waypoint",
            _ => "router",
        };
        let sent = format!("{}/1", pod["status"]["startTime"].as_str().unwrap_or_default());
        let resources: serde_json::Map<String, Value> = types(program)
            .iter()
            .map(|kind| {
                (
                    (*kind).to_owned(),
                    json!({ "sent": sent, "acked": sent, "sentTime": pod["status"]["startTime"] }),
                )
            })
            .collect();
        proxies.push(json!({
            "cluster_id": "Kubernetes",
            "proxy": format!("{}.{}", object::name(pod), object::namespace(pod)),
            "proxy_type": kind,
            "istio_version": version(pod),
            "cluster_sent": sent,
            "cluster_acked": sent,
            "listener_sent": sent,
            "listener_acked": sent,
            "route_sent": sent,
            "route_acked": sent,
            "endpoint_sent": sent,
            "endpoint_acked": sent,
            "resources": resources,
        }));
    }
    if presence::istiod(&*plane.api).is_none() {
        return json!([]);
    }
    Value::Array(proxies)
}
