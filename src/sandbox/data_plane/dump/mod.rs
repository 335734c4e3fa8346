//! The configuration dumps of simulated proxies, in the shapes of Envoy 1.40 and ztunnel.
//!
//! They are made from the same objects that traffic is answered from, so that a dump and an answer never disagree.

mod listeners;
mod routes;
mod ztunnel;

pub(super) use ztunnel::ztunnel;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::address::{endpoints, ready_pods};
use super::routes::query as parameters;
use super::{DataPlane, gateway, policy};
use crate::sandbox::controllers::kinds::{ENDPOINT_SLICES, SECRETS, SERVICES};
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::attach::{self, Class, Listener};
use crate::sandbox::mesh::presence;
use crate::sandbox::mesh::waypoint::{self, Binding};

const ADMIN: &str = "type.googleapis.com/envoy.admin.v3";

fn dump_type(name: &str) -> String {
    format!("{ADMIN}.{name}ConfigDump")
}

/// `/config_dump`, as a whole or by `mask` and `resource`.
pub(super) fn envoy(plane: &DataPlane, pod: &Value, query: &str) -> Value {
    let mask = parameters(query)
        .into_iter()
        .find(|(key, _)| key == "mask" || key == "resource")
        .map(|(_, value)| value);
    let since = pod["status"]["startTime"].clone();
    let sections: [(&str, Value); 5] = [
        (
            "bootstrap",
            json!({ "@type": dump_type("Bootstrap"), "bootstrap": { "node": node(pod) }, "last_updated": since }),
        ),
        ("clusters", clusters_dump(plane, pod, &since)),
        ("listeners", listeners::dump(plane, pod, &since)),
        ("route_configs", routes::dump(plane, pod, &since)),
        ("secrets", secrets_dump(plane, pod, &since)),
    ];
    let mut configs: Vec<Value> = sections
        .into_iter()
        .filter(|(name, _)| mask.as_ref().is_none_or(|mask| mask.contains(name)))
        .map(|(_, section)| section)
        .collect();
    if query.contains("include_eds") {
        configs.push(json!({ "@type": dump_type("Endpoints"), "dynamic_endpoint_configs": endpoints_dump(plane) }));
    }
    json!({ "configs": configs })
}

fn node(pod: &Value) -> Value {
    let kind = if is_waypoint(pod) { "waypoint" } else { "router" };
    let (namespace, name) = object::key(pod);
    let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
    json!({ "id": format!("{kind}~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local") })
}

fn is_waypoint(pod: &Value) -> bool {
    object::label(pod, "gateway.istio.io/managed") == Some("istio.io-mesh-controller")
}

/// Every Service port as Envoy's cluster, with its hosts.
fn all_clusters(plane: &DataPlane) -> Vec<(String, Value, Vec<Value>)> {
    let api = &*plane.api;
    let mut found = Vec::new();
    for service in api.list(&SERVICES, "") {
        let (namespace, name) = object::key(&service);
        for port in object::items(&service["spec"], "ports") {
            let cluster =
                format!("outbound|{}||{name}.{namespace}.svc.cluster.local", port["port"]);
            found.push((cluster, port["port"].clone(), hosts(plane, &service, port)));
        }
    }
    found
}

/// The hosts of a Service's port for a gateway: through the waypoint, by HBONE, or plain.
fn hosts(plane: &DataPlane, service: &Value, port: &Value) -> Vec<Value> {
    let api = &*plane.api;
    if waypoint::ingress_uses(api, service) == Some(true)
        && let Binding::To(found) = waypoint::of_service(api, service)
    {
        let own = api.get(&SERVICES, object::namespace(&found), object::name(&found));
        return own
            .map(|own| ready_pods(api, &own))
            .unwrap_or_default()
            .iter()
            .map(|pod| {
                let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
                internal("connect_originate", &format!("{ip}:15008"))
            })
            .collect();
    }
    direct_hosts(plane, service, port)
}

/// The address of a listener inside of the proxy.
fn internal(listener: &str, id: &str) -> Value {
    let mut address = json!({ "server_listener_name": listener });
    if !id.is_empty() {
        address["endpoint_id"] = json!(id);
    }
    json!({ "envoy_internal_address": address })
}

/// The endpoints of a Service's port, by HBONE where they speak it, as waypoints do by themselves.
fn direct_hosts(plane: &DataPlane, service: &Value, port: &Value) -> Vec<Value> {
    let api = &*plane.api;
    let socket =
        |ip: &str, port: u64| json!({ "socket_address": { "address": ip, "port_value": port } });
    let selects = service["spec"]["selector"].as_object().is_some_and(|map| !map.is_empty());
    if selects {
        return endpoints(api, service, port)
            .iter()
            .map(|(pod, target)| {
                let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
                if presence::is_captured(pod) || is_waypoint(pod) {
                    internal("connect_originate", &format!("{ip}:{target}"))
                } else {
                    socket(ip, u64::from(*target))
                }
            })
            .collect();
    }
    let mut found = Vec::new();
    for slice in api.list(&ENDPOINT_SLICES, object::namespace(service)) {
        if object::label(&slice, "kubernetes.io/service-name") != Some(object::name(service)) {
            continue;
        }
        let target = object::items(&slice, "ports")
            .iter()
            .find(|found| found["name"].as_str() == port["name"].as_str())
            .and_then(|found| found["port"].as_u64());
        let Some(target) = target else { continue };
        for endpoint in object::items(&slice, "endpoints") {
            let addresses = object::items(endpoint, "addresses").iter().filter_map(Value::as_str);
            found.extend(addresses.map(|address| socket(address, target)));
        }
    }
    found
}

/// The clusters of the proxy's own parts: name, type, hosts.
fn own_clusters(pod: &Value) -> Vec<(&'static str, &'static str, Vec<Value>)> {
    let local =
        |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let pipe = |path: &str| json!({ "pipe": { "path": path } });
    let mut found = vec![
        ("prometheus_stats", "STATIC", vec![local(15_000)]),
        ("agent", "STATIC", vec![local(15_020)]),
        ("sds-grpc", "STATIC", vec![pipe("./var/run/secrets/workload-spiffe-uds/socket")]),
        ("xds-grpc", "STATIC", vec![pipe("./etc/istio/proxy/XDS")]),
        ("connect_originate", "ORIGINAL_DST", Vec::new()),
    ];
    if is_waypoint(pod) {
        found.extend([
            ("encap", "STATIC", vec![internal("connect_originate", "")]),
            ("main_internal", "STATIC", vec![internal("main_internal", "")]),
            ("inner_connect_originate", "STATIC", vec![internal("outer_connect_originate", "")]),
            ("outer_connect_originate", "ORIGINAL_DST", Vec::new()),
        ]);
    } else {
        found.push(("BlackHoleCluster", "STATIC", Vec::new()));
    }
    found
}

/// The clusters that the proxy is born with.
const STATIC: &[&str] = &["prometheus_stats", "agent", "sds-grpc", "xds-grpc"];

fn host_text(host: &Value) -> String {
    if let Some(path) = host["pipe"]["path"].as_str() {
        return format!("unix://{path}");
    }
    let inside = &host["envoy_internal_address"];
    match inside["server_listener_name"].as_str() {
        Some(listener) => {
            format!("envoy://{listener}/{}", inside["endpoint_id"].as_str().unwrap_or_default())
        }
        None => format!(
            "{}:{}",
            host["socket_address"]["address"].as_str().unwrap_or_default(),
            host["socket_address"]["port_value"]
        ),
    }
}

/// A port of a Service that a waypoint guards.
struct Guarded {
    host: String,
    port: String,
    is_http: bool,
    hosts: Vec<Value>,
}

impl Guarded {
    /// `inbound-vip|8000|http|httpbin.sample.svc.cluster.local`
    fn cluster(&self) -> String {
        let protocol = if self.is_http { "http" } else { "tcp" };
        format!("inbound-vip|{}|{protocol}|{}", self.port, self.host)
    }
}

/// What a waypoint guards.
fn guarded(plane: &DataPlane, pod: &Value) -> Vec<Guarded> {
    let api = &*plane.api;
    let place = gateway::gateway_of(plane, pod).map(|found| object::key(&found));
    let mut found = Vec::new();
    for service in api.list(&SERVICES, "") {
        let Binding::To(waypoint) = waypoint::of_service(api, &service) else { continue };
        if Some(object::key(&waypoint)) != place {
            continue;
        }
        let (namespace, name) = object::key(&service);
        for port in object::items(&service["spec"], "ports") {
            found.push(Guarded {
                host: format!("{name}.{namespace}.svc.cluster.local"),
                port: port["port"].to_string(),
                is_http: is_http(port),
                hosts: direct_hosts(plane, &service, port),
            });
        }
    }
    found
}

/// A port speaks HTTP by `appProtocol` or by its name.
fn is_http(port: &Value) -> bool {
    let protocol =
        port["appProtocol"].as_str().or_else(|| port["name"].as_str()).unwrap_or_default();
    let first = protocol.split('-').next().unwrap_or_default();
    matches!(first, "http" | "http2" | "grpc" | "kubernetes.io/h2c")
}

fn clusters_dump(plane: &DataPlane, pod: &Value, since: &Value) -> Value {
    let cluster = |name: &str, kind: &str| {
        json!({
            "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            "name": name,
            "type": kind,
            "connect_timeout": "10s",
        })
    };
    let own = own_clusters(pod);
    let mut names: Vec<(String, &str)> = own
        .iter()
        .filter(|(name, _, _)| !STATIC.contains(name))
        .map(|(name, kind, _)| ((*name).to_owned(), *kind))
        .collect();
    if is_waypoint(pod) {
        names.extend(guarded(plane, pod).iter().map(|guarded| (guarded.cluster(), "EDS")));
    } else {
        names.extend(all_clusters(plane).into_iter().map(|(name, _, _)| (name, "EDS")));
    }
    names.sort();
    let active: Vec<Value> = names
        .iter()
        .map(|(name, kind)| {
            json!({ "version_info": "1", "cluster": cluster(name, kind), "last_updated": since })
        })
        .collect();
    let fixed: Vec<Value> = own
        .iter()
        .filter(|(name, _, _)| STATIC.contains(name))
        .map(|(name, kind, _)| json!({ "cluster": cluster(name, kind), "last_updated": since }))
        .collect();
    json!({
        "@type": dump_type("Clusters"),
        "version_info": "1",
        "static_clusters": fixed,
        "dynamic_active_clusters": active,
    })
}

/// The listeners of the pod's Gateway that have a server, by port.
fn served(plane: &DataPlane, pod: &Value) -> Vec<Listener> {
    let Some(found) = gateway::gateway_of(plane, pod) else { return Vec::new() };
    attach::listeners(&*plane.api, &found, Class::Gateway)
        .into_iter()
        .filter(|listener| listener.is_programmed() && listener.has_server())
        .collect()
}

fn secrets_dump(plane: &DataPlane, pod: &Value, since: &Value) -> Value {
    let secret = |name: &str, content: Value| {
        let mut body = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": name,
        });
        if let (Some(body), Some(content)) = (body.as_object_mut(), content.as_object()) {
            body.extend(content.clone());
        }
        json!({ "name": name, "version_info": "1", "last_updated": since, "secret": body })
    };
    let redacted = STANDARD.encode("[redacted]");
    let pair = |chain: String| {
        json!({ "tls_certificate": {
            "certificate_chain": { "inline_bytes": chain },
            "private_key": { "inline_bytes": redacted },
        } })
    };
    let mut active: Vec<Value> = Vec::new();
    if !is_waypoint(pod) {
        for listener in served(plane, pod) {
            for (namespace, name) in &listener.certificates {
                let resource = format!("kubernetes-gateway://{namespace}/{name}");
                let there = active.iter().any(|found| found["name"] == resource.as_str());
                let Some(found) = plane.api.get(&SECRETS, namespace, name).filter(|_| !there)
                else {
                    continue;
                };
                let data = &found["data"];
                let chain = data["tls.crt"].as_str().or_else(|| data["cert"].as_str());
                active.push(secret(&resource, pair(chain.unwrap_or_default().to_owned())));
            }
        }
    }
    let identity = format!("spiffe://{}", policy::identity(pod));
    if let Ok(own) = plane.workload_certificate(object::uid(pod), &identity) {
        active.push(secret("default", pair(STANDARD.encode(own))));
    }
    if let Ok(root) = plane.authority.root() {
        let roots = STANDARD.encode(&root.certificate);
        active.push(secret(
            "ROOTCA",
            json!({ "validation_context": { "trusted_ca": { "inline_bytes": roots } } }),
        ));
    }
    json!({ "@type": dump_type("Secrets"), "dynamic_active_secrets": active })
}

fn endpoints_dump(plane: &DataPlane) -> Vec<Value> {
    all_clusters(plane)
        .into_iter()
        .map(|(name, _, hosts)| {
            let endpoints: Vec<Value> = hosts
                .into_iter()
                .map(|host| json!({ "endpoint": { "address": host }, "health_status": "HEALTHY" }))
                .collect();
            json!({ "endpoint_config": {
                "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": endpoints }],
            } })
        })
        .collect()
}

/// `/clusters?format=json`
pub(super) fn clusters(plane: &DataPlane, pod: &Value) -> Value {
    let counted = plane.counted(pod);
    let count = |cluster: &str, host: &str| {
        counted
            .iter()
            .find(|(found, at, _)| found == cluster && (at == host || at.is_empty()))
            .map_or(0, |(_, _, count)| *count)
    };
    let status = |name: &str, hosts: Vec<Value>| {
        let hosts: Vec<Value> = hosts
            .into_iter()
            .map(|host| {
                let total = count(name, &host_text(&host)).to_string();
                json!({
                    "address": host,
                    "stats": [
                        { "name": "cx_connect_fail" },
                        { "name": "rq_error" },
                        { "value": total, "name": "rq_success" },
                        { "name": "rq_timeout" },
                        { "value": total, "name": "rq_total" },
                    ],
                    "health_status": { "eds_health_status": "HEALTHY" },
                    "weight": 1,
                    "locality": {},
                })
            })
            .collect();
        let mut status = json!({
            "name": name,
            "added_via_api": true,
            "observability_name": format!("{name};"),
        });
        if !hosts.is_empty() {
            status["host_statuses"] = Value::Array(hosts);
        }
        status
    };
    let mut found: Vec<Value> = own_clusters(pod)
        .into_iter()
        .map(|(name, _, hosts)| {
            let mut own = status(name, hosts);
            if let (true, Some(own)) = (STATIC.contains(&name), own.as_object_mut()) {
                own.remove("added_via_api");
            }
            own
        })
        .collect();
    if is_waypoint(pod) {
        found.extend(
            guarded(plane, pod)
                .into_iter()
                .map(|guarded| status(&guarded.cluster(), guarded.hosts)),
        );
    } else {
        found.extend(all_clusters(plane).into_iter().map(|(name, _, hosts)| status(&name, hosts)));
    }
    json!({ "cluster_statuses": found })
}

/// `/clusters`: one fact a line.
pub(super) fn clusters_text(plane: &DataPlane, pod: &Value) -> String {
    let mut text = String::new();
    for cluster in object::items(&clusters(plane, pod), "cluster_statuses") {
        let name = cluster["name"].as_str().unwrap_or_default();
        text.push_str(&format!("{name}::observability_name::{name};\n"));
        for host in object::items(cluster, "host_statuses") {
            let address = host_text(&host["address"]);
            for stat in object::items(host, "stats") {
                text.push_str(&format!(
                    "{name}::{address}::{}::{}\n",
                    stat["name"].as_str().unwrap_or_default(),
                    stat["value"].as_str().unwrap_or("0")
                ));
            }
            text.push_str(&format!("{name}::{address}::health_flags::healthy\n"));
        }
    }
    text
}

/// Istio's standard metric of requests, as far as they were counted.
pub(super) fn envoy_stats(plane: &DataPlane, pod: &Value) -> String {
    let reporter = if is_waypoint(pod) { "waypoint" } else { "source" };
    let mut text = String::from("# TYPE istio_requests_total counter\n");
    for (cluster, _, count) in plane.counted(pod) {
        let host = cluster.rsplit('|').next().unwrap_or_default();
        text.push_str(&format!(
            "istio_requests_total{{reporter=\"{reporter}\",destination_service=\"{host}\"}} {count}\n"
        ));
    }
    text
}
