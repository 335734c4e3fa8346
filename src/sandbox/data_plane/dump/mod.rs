//! The configuration dumps of simulated proxies, in the shapes of Envoy 1.40 and ztunnel.
//!
//! They are made from the same objects that traffic is answered from, so that a dump and an answer never disagree.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::address::{endpoints, ready_pods};
use super::policy;
use super::routes::{self, Entry, PathMatch, VirtualHost};
use super::{DataPlane, gateway};
use crate::sandbox::controllers::endpoints::target_port;
use crate::sandbox::controllers::kinds::{
    AUTHORIZATION_POLICIES, PEER_AUTHENTICATIONS, PODS, SECRETS, SERVICES,
};
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::attach::{self, Class, Listener};
use crate::sandbox::mesh::policy_status;
use crate::sandbox::mesh::presence;
use crate::sandbox::mesh::waypoint::{self, Binding};

const ADMIN: &str = "type.googleapis.com/envoy.admin.v3";

fn dump_type(name: &str) -> String {
    format!("{ADMIN}.{name}ConfigDump")
}

/// `/config_dump`, as a whole or by `mask` and `resource`.
pub(super) fn envoy(plane: &DataPlane, pod: &Value, query: &str) -> Value {
    let mask = routes::query(query)
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
        ("listeners", listeners_dump(plane, pod, &since)),
        ("route_configs", routes_dump(plane, pod, &since)),
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
    let internal = |id: String| json!({ "envoy_internal_address": { "server_listener_name": "connect_originate", "endpoint_id": id } });
    if waypoint::ingress_uses(api, service) == Some(true)
        && let Binding::To(found) = waypoint::of_service(api, service)
    {
        let own = api.get(&SERVICES, object::namespace(&found), object::name(&found));
        return own
            .map(|own| ready_pods(api, &own))
            .unwrap_or_default()
            .iter()
            .map(|pod| {
                internal(format!("{}:15008", pod["status"]["podIP"].as_str().unwrap_or_default()))
            })
            .collect();
    }
    endpoints(api, service, port)
        .iter()
        .map(|(pod, target)| {
            let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
            if presence::is_captured(pod) {
                internal(format!("{ip}:{target}"))
            } else {
                json!({ "socket_address": { "address": ip, "port_value": target } })
            }
        })
        .collect()
}

fn host_text(host: &Value) -> String {
    match host["envoy_internal_address"]["endpoint_id"].as_str() {
        Some(id) => format!("envoy://connect_originate/{id}"),
        None => format!(
            "{}:{}",
            host["socket_address"]["address"].as_str().unwrap_or_default(),
            host["socket_address"]["port_value"]
        ),
    }
}

/// The clusters of a waypoint: one inbound for each Service that it guards.
fn guarded(plane: &DataPlane, pod: &Value) -> Vec<String> {
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
            let protocol = if is_http(port) { "http" } else { "tcp" };
            found.push(format!(
                "inbound-vip|{}|{protocol}|{name}.{namespace}.svc.cluster.local",
                port["port"]
            ));
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
    let mut names = vec!["BlackHoleCluster".to_owned(), "connect_originate".to_owned()];
    if is_waypoint(pod) {
        names.push("encap".to_owned());
        names.push("main_internal".to_owned());
        names.extend(guarded(plane, pod));
    } else {
        names.extend(all_clusters(plane).into_iter().map(|(name, _, _)| name));
    }
    names.sort();
    let active: Vec<Value> = names
        .iter()
        .map(|name| {
            let kind = if name.starts_with("outbound") { "EDS" } else { "STATIC" };
            json!({
                "version_info": "1",
                "cluster": {
                    "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                    "name": name,
                    "type": kind,
                    "connect_timeout": "10s",
                },
                "last_updated": since,
            })
        })
        .collect();
    let fixed: Vec<Value> = ["prometheus_stats", "agent", "sds-grpc", "xds-grpc"]
        .iter()
        .map(|name| json!({ "cluster": { "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": name }, "last_updated": since }))
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

fn route_name(listener: &Listener) -> String {
    if listener.protocol == "HTTPS" {
        let (_, namespace, name) = &listener.owner;
        format!(
            "https.{}.default.{name}~istio-autogenerated-k8s-gateway~{}.{namespace}",
            listener.port, listener.name
        )
    } else {
        format!("http.{}", listener.port)
    }
}

fn filter_chain(listener: &Listener) -> Value {
    let manager = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": format!("outbound_0.0.0.0_{};", listener.port),
            "rds": {
                "config_source": { "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" },
                "route_config_name": route_name(listener),
            },
        },
    });
    let mut chain = json!({ "filters": [manager] });
    if listener.protocol == "HTTPS" {
        let names: Vec<&str> =
            if listener.hostname.is_empty() { Vec::new() } else { vec![&listener.hostname] };
        if !names.is_empty() {
            chain["filter_chain_match"] = json!({ "server_names": names });
        }
        let secrets: Vec<Value> = listener
            .certificates
            .iter()
            .map(|(namespace, name)| json!({ "name": format!("kubernetes-gateway://{namespace}/{name}") }))
            .collect();
        chain["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_certificate_sds_secret_configs": secrets,
                },
                "require_client_certificate": false,
            },
        });
    }
    chain
}

fn listeners_dump(plane: &DataPlane, pod: &Value, since: &Value) -> Value {
    let mut dynamic: Vec<Value> = Vec::new();
    let entry = |name: &str, listener: Value| {
        json!({
            "name": name,
            "active_state": { "version_info": "1", "listener": listener, "last_updated": since },
        })
    };
    let internal = |name: &str| {
        json!({
            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
            "name": name,
            "internal_listener": {},
        })
    };
    if is_waypoint(pod) {
        for name in ["connect_terminate", "main_internal", "connect_originate"] {
            let mut listener = internal(name);
            if name == "connect_terminate" {
                listener["address"] =
                    json!({ "socket_address": { "address": "0.0.0.0", "port_value": 15_008 } });
                if let Some(map) = listener.as_object_mut() {
                    map.remove("internal_listener");
                }
            }
            dynamic.push(entry(name, listener));
        }
    } else {
        let listeners = served(plane, pod);
        let mut ports: Vec<u16> = listeners.iter().map(|listener| listener.port).collect();
        ports.sort_unstable();
        ports.dedup();
        for port in ports {
            let own: Vec<&Listener> = listeners.iter().filter(|found| found.port == port).collect();
            let chains: Vec<Value> = if own[0].protocol == "HTTP" {
                vec![filter_chain(own[0])]
            } else {
                own.iter().map(|listener| filter_chain(listener)).collect()
            };
            let name = format!("0.0.0.0_{port}");
            dynamic.push(entry(
                &name,
                json!({
                    "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
                    "name": name,
                    "address": { "socket_address": { "address": "0.0.0.0", "port_value": port } },
                    "filter_chains": chains,
                    "traffic_direction": "OUTBOUND",
                }),
            ));
        }
        dynamic.push(entry("connect_originate", internal("connect_originate")));
    }
    let fixed = |port: u16| {
        json!({
            "listener": {
                "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
                "address": { "socket_address": { "address": "0.0.0.0", "port_value": port } },
            },
            "last_updated": since,
        })
    };
    json!({
        "@type": dump_type("Listeners"),
        "version_info": "1",
        "static_listeners": [fixed(15_090), fixed(15_021)],
        "dynamic_listeners": dynamic,
    })
}

fn route(plane: &DataPlane, entry: &Entry, host: &str, gateway: &Value) -> Value {
    let (namespace, name) = object::key(&entry.route);
    let mut matcher = json!({ "case_sensitive": true });
    match &entry.path {
        PathMatch::Exact(path) => matcher["path"] = json!(path),
        PathMatch::Regex(regex) => matcher["safe_regex"] = json!({ "regex": regex }),
        PathMatch::Prefix(prefix) if prefix != "/" => {
            matcher["path_separated_prefix"] = json!(prefix);
        }
        PathMatch::Prefix(_) | PathMatch::Any => matcher["prefix"] = json!("/"),
    }
    let rule = entry.rule();
    let backends = object::items(rule, "backendRefs");
    let cluster = |backend: &Value| {
        format!(
            "outbound|{}||{}.{}.svc.cluster.local",
            backend["port"],
            backend["name"].as_str().unwrap_or_default(),
            backend["namespace"].as_str().unwrap_or(&namespace)
        )
    };
    let mut route = json!({ "match": matcher });
    let redirects =
        object::items(rule, "filters").iter().any(|found| found["type"] == "RequestRedirect");
    if redirects {
        route["redirect"] = json!({});
    } else if backends.iter().all(|backend| backend["weight"].as_u64() == Some(0)) {
        route["direct_response"] = json!({ "status": 500 });
    } else {
        let mut action = json!({
            "timeout": "0s",
            "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR",
            "max_grpc_timeout": "0s",
        });
        let usable: Vec<&Value> =
            backends.iter().filter(|backend| backend["weight"].as_u64() != Some(0)).collect();
        if let [only] = usable.as_slice() {
            action["cluster"] = json!(cluster(only));
        } else {
            let weighted: Vec<Value> = usable
                .iter()
                .map(|backend| json!({ "name": cluster(backend), "weight": backend["weight"].as_u64().unwrap_or(1) }))
                .collect();
            action["weighted_clusters"] = json!({ "clusters": weighted });
        }
        route["route"] = action;
        let first = usable.first().map(|backend| cluster(backend)).unwrap_or_default();
        let service = first.rsplit('|').next().unwrap_or_default();
        let port = usable.first().map(|backend| backend["port"].clone()).unwrap_or_default();
        route["decorator"] = json!({ "operation": format!("{service}:{port}/*") });
    }
    let oldest = oldest_namespace(plane, gateway, host).unwrap_or_else(|| namespace.clone());
    let config = format!(
        "/apis/networking.istio.io/v1/namespaces/{oldest}/virtual-service/{}",
        entry.virtual_service
    );
    route["metadata"] = json!({ "filter_metadata": { "istio": { "config": config } } });
    route["name"] = json!(format!("{namespace}.{name}.{}", entry.rule));
    route
}

/// Merged routes bear the namespace of the oldest.
fn oldest_namespace(plane: &DataPlane, gateway: &Value, host: &str) -> Option<String> {
    let kinds = &crate::sandbox::controllers::kinds::HTTP_ROUTES;
    plane
        .api
        .list(kinds, "")
        .into_iter()
        .filter(|route| {
            object::items(&route["spec"], "hostnames").iter().any(|found| found == host)
                && object::items(&route["spec"], "parentRefs")
                    .iter()
                    .any(|parent| parent["name"] == object::name(gateway))
        })
        .min_by_key(|route| {
            (route["metadata"]["creationTimestamp"].as_str().map(str::to_owned), object::key(route))
        })
        .map(|route| object::namespace(&route).to_owned())
}

fn virtual_host(
    plane: &DataPlane,
    host: &VirtualHost,
    listener: &Listener,
    gateway: &Value,
) -> Value {
    let routes: Vec<Value> =
        host.entries.iter().map(|entry| route(plane, entry, &host.host, gateway)).collect();
    json!({
        "name": format!("{}:{}", host.host, listener.port),
        "domains": [host.host],
        "routes": routes,
        "include_request_attempt_count": true,
    })
}

fn routes_dump(plane: &DataPlane, pod: &Value, since: &Value) -> Value {
    let mut configs: Vec<(String, Vec<Value>)> = Vec::new();
    if let (false, Some(gateway)) = (is_waypoint(pod), gateway::gateway_of(plane, pod)) {
        for server in routes::servers(&*plane.api, &gateway) {
            let listener = server.first();
            let hosts: Vec<Value> = routes::virtual_hosts(&*plane.api, &gateway, &server)
                .iter()
                .map(|host| virtual_host(plane, host, listener, &gateway))
                .collect();
            let name = route_name(listener);
            match configs.iter_mut().find(|(found, _)| *found == name) {
                Some((_, all)) => all.extend(hosts),
                None => configs.push((name, hosts)),
            }
        }
    }
    configs.sort_by(|a, b| a.0.cmp(&b.0));
    let dynamic: Vec<Value> = configs
        .into_iter()
        .map(|(name, mut hosts)| {
            if hosts.is_empty() {
                let port = name.split('.').nth(1).unwrap_or("80").to_owned();
                hosts.push(json!({ "name": format!("blackhole:{port}"), "domains": ["*"] }));
            }
            json!({
                "version_info": "1",
                "route_config": {
                    "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
                    "name": name,
                    "virtual_hosts": hosts,
                    "validate_clusters": false,
                    "max_direct_response_body_size_bytes": 1_048_576,
                    "ignore_port_in_host_matching": true,
                },
                "last_updated": since,
            })
        })
        .collect();
    let fixed = |prefix: &str, cluster: &str| {
        json!({
            "route_config": {
                "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
                "virtual_hosts": [{
                    "name": "backend",
                    "domains": ["*"],
                    "routes": [{ "match": { "prefix": prefix }, "route": { "cluster": cluster } }],
                }],
            },
            "last_updated": since,
        })
    };
    json!({
        "@type": dump_type("Routes"),
        "static_route_configs": [
            fixed("/stats/prometheus", "prometheus_stats"),
            fixed("/healthz/ready", "agent"),
        ],
        "dynamic_route_configs": dynamic,
    })
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
    let mut active = Vec::new();
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
    let found: Vec<Value> = if is_waypoint(pod) {
        guarded(plane, pod)
            .iter()
            .map(|name| {
                let internal = json!({ "envoy_internal_address": { "server_listener_name": "connect_originate" } });
                status(name, vec![internal])
            })
            .collect()
    } else {
        all_clusters(plane).into_iter().map(|(name, _, hosts)| status(&name, hosts)).collect()
    };
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

/// ztunnel's `/config_dump` for its node.
pub(super) fn ztunnel(plane: &DataPlane, ztunnel: &Value) -> Value {
    let api = &*plane.api;
    let node = ztunnel["spec"]["nodeName"].as_str().unwrap_or_default();
    let root = presence::root_namespace(api).unwrap_or_else(|| "istio-system".to_owned());
    let pods: Vec<_> = api
        .list(&PODS, "")
        .into_iter()
        .filter(|pod| {
            pod["status"]["podIP"].is_string()
                && pod["spec"]["hostNetwork"] != true
                && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
        })
        .collect();
    let workloads: Vec<Value> = pods.iter().map(|pod| workload(plane, pod, &root)).collect();
    let services: Vec<Value> =
        api.list(&SERVICES, "").iter().map(|service| service_entry(plane, service)).collect();
    let mut certificates = Vec::new();
    for pod in
        pods.iter().filter(|pod| presence::is_captured(pod) && pod["spec"]["nodeName"] == node)
    {
        let identity = format!("spiffe://{}", policy::identity(pod));
        if certificates.iter().any(|found: &Value| found["identity"] == identity.as_str()) {
            continue;
        }
        certificates.push(certificate(plane, pod, &identity));
    }
    json!({
        "workloads": workloads,
        "services": services,
        "policies": policies(plane, &root),
        "certificates": certificates,
    })
}

fn workload(plane: &DataPlane, pod: &Value, root: &str) -> Value {
    let (namespace, name) = object::key(pod);
    let captured = presence::is_captured(pod);
    let owner = object::controller_of(pod);
    let owner_name = owner.and_then(|owner| owner["name"].as_str()).unwrap_or(&name);
    let hash = object::label(pod, "pod-template-hash").unwrap_or_default();
    let workload_name = owner_name.trim_end_matches(hash).trim_end_matches('-');
    let canonical = object::label(pod, "service.istio.io/canonical-name")
        .or_else(|| object::label(pod, "app.kubernetes.io/name"))
        .or_else(|| object::label(pod, "app"))
        .unwrap_or(workload_name);
    let services: Vec<String> = plane
        .api
        .list(&SERVICES, &namespace)
        .iter()
        .filter(|service| {
            object::selects_map(&service["spec"]["selector"], &pod["metadata"]["labels"])
        })
        .map(|service| {
            format!("{namespace}/{}.{namespace}.svc.cluster.local", object::name(service))
        })
        .collect();
    let mut found = json!({
        "workloadIps": [pod["status"]["podIP"]],
        "protocol": if captured { "HBONE" } else { "TCP" },
        "networkMode": "Standard",
        "uid": format!("Kubernetes//Pod/{namespace}/{name}"),
        "name": name,
        "namespace": namespace,
        "trustDomain": "cluster.local",
        "serviceAccount": pod["spec"]["serviceAccountName"].as_str().unwrap_or("default"),
        "workloadName": workload_name,
        "workloadType": match owner.and_then(|owner| owner["kind"].as_str()) {
            Some("ReplicaSet") => "deployment",
            Some("DaemonSet") => "daemonset",
            Some("StatefulSet") => "statefulset",
            Some("Job") => "job",
            _ => "pod",
        },
        "canonicalName": canonical,
        "canonicalRevision": object::label(pod, "version").unwrap_or("latest"),
        "clusterId": "Kubernetes",
        "node": pod["spec"]["nodeName"],
        "status": if object::is_true(pod, "Ready") { "Healthy" } else { "Unhealthy" },
        "services": services,
    });
    let policies = policies_of(plane, pod, root);
    if captured && !policies.is_empty() {
        found["authorizationPolicies"] = json!(policies);
    }
    found
}

/// The policies that ztunnel holds a workload to by selector; namespace and mesh wide ones apply without a name.
fn policies_of(plane: &DataPlane, pod: &Value, root: &str) -> Vec<String> {
    let namespace = object::namespace(pod);
    let mut found = Vec::new();
    if strict_somewhere(plane, namespace, root) {
        found.push(format!("{root}/istio_converted_static_strict"));
    }
    for policy in plane.api.list(&AUTHORIZATION_POLICIES, namespace) {
        let selector = &policy["spec"]["selector"]["matchLabels"];
        if policy_status::targets(&policy).is_empty()
            && object::selects_map(selector, &pod["metadata"]["labels"])
        {
            found.push(format!("{namespace}/{}", object::name(&policy)));
        }
    }
    found
}

fn strict_somewhere(plane: &DataPlane, namespace: &str, root: &str) -> bool {
    let mode = |namespace: &str| {
        plane.api.list(&PEER_AUTHENTICATIONS, namespace).iter().find_map(|policy| {
            let wide = policy["spec"]["selector"].is_null();
            policy["spec"]["mtls"]["mode"].as_str().filter(|_| wide).map(str::to_owned)
        })
    };
    mode(namespace).or_else(|| mode(root)).as_deref() == Some("STRICT")
}

fn service_entry(plane: &DataPlane, service: &Value) -> Value {
    let api = &*plane.api;
    let (namespace, name) = object::key(service);
    let mut ports = Map::new();
    let mut endpoints = Map::new();
    let pods: Vec<_> = api
        .list(&PODS, &namespace)
        .into_iter()
        .filter(|pod| {
            object::selects_map(&service["spec"]["selector"], &pod["metadata"]["labels"])
                && pod["status"]["podIP"].is_string()
        })
        .collect();
    for port in object::items(&service["spec"], "ports") {
        let target = pods.first().and_then(|pod| target_port(port, pod));
        let fallback = port["targetPort"].as_u64().or_else(|| port["port"].as_u64()).unwrap_or(0);
        let number = target.map_or(fallback, u64::from);
        ports.insert(port["port"].to_string(), json!(number));
    }
    for pod in &pods {
        let uid = format!("Kubernetes//Pod/{namespace}/{}", object::name(pod));
        let status = if object::is_true(pod, "Ready") { "Healthy" } else { "Unhealthy" };
        endpoints
            .insert(uid.clone(), json!({ "workloadUid": uid, "port": ports, "status": status }));
    }
    let vips: Vec<String> = object::items(&service["spec"], "clusterIPs")
        .iter()
        .filter_map(Value::as_str)
        .filter(|ip| *ip != "None")
        .map(|ip| format!("/{ip}"))
        .collect();
    let mut found = json!({
        "name": name,
        "namespace": namespace,
        "hostname": format!("{name}.{namespace}.svc.cluster.local"),
        "vips": vips,
        "ports": ports,
        "endpoints": endpoints,
        "subjectAltNames": [],
        "ipFamilies": "IPv4",
    });
    if let Binding::To(waypoint) = waypoint::of_service(api, service) {
        let (namespace, name) = object::key(&waypoint);
        found["waypoint"] = json!({
            "destination": format!("{namespace}/{name}.{namespace}.svc.cluster.local"),
            "hboneMtlsPort": 15_008,
        });
    }
    found
}

fn policies(plane: &DataPlane, root: &str) -> Vec<Value> {
    let mut found = vec![json!({
        "name": "istio_converted_static_strict",
        "namespace": root,
        "scope": "WorkloadSelector",
        "action": "Deny",
        "rules": [[[{ "notPrincipals": [{ "Presence": {} }] }]]],
    })];
    for policy in plane.api.list(&AUTHORIZATION_POLICIES, "") {
        let action = policy["spec"]["action"].as_str().unwrap_or("ALLOW");
        if !policy_status::targets(&policy).is_empty() || !matches!(action, "ALLOW" | "DENY") {
            continue;
        }
        let scope = if policy["spec"]["selector"].is_object() {
            "WorkloadSelector"
        } else if object::namespace(&policy) == root {
            "Global"
        } else {
            "Namespace"
        };
        found.push(json!({
            "name": object::name(&policy),
            "namespace": object::namespace(&policy),
            "scope": scope,
            "action": if action == "DENY" { "Deny" } else { "Allow" },
            "rules": object::items(&policy["spec"], "rules"),
        }));
    }
    found
}

fn certificate(plane: &DataPlane, pod: &Value, identity: &str) -> Value {
    let entry = |pem: &str| {
        let parsed = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok();
        let facts = parsed.as_ref().and_then(|(_, pem)| pem.parse_x509().ok()).map(|certificate| {
            let time = |seconds: i64| {
                jiff::Timestamp::from_second(seconds).map(object::time_text).unwrap_or_default()
            };
            (
                certificate.raw_serial_as_string().replace(':', ""),
                time(certificate.validity().not_before.timestamp()),
                time(certificate.validity().not_after.timestamp()),
            )
        });
        let (serial, from, to) = facts.unwrap_or_default();
        json!({
            "pem": STANDARD.encode(pem),
            "serialNumber": serial,
            "validFrom": from,
            "expirationTime": to,
        })
    };
    match (plane.workload_certificate(object::uid(pod), identity), plane.authority.root()) {
        (Ok(own), Ok(root)) => json!({
            "identity": identity,
            "state": "Available",
            "certChain": [entry(&own)],
            "rootCerts": [entry(&root.certificate)],
        }),
        _ => json!({ "identity": identity, "state": "Initializing" }),
    }
}
