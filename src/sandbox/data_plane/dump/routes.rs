//! The routes of a proxy, in Envoy's shape: those of its Gateway's routes, and those that its listeners hold themselves.

use serde_json::{Value, json};

use super::super::routes::{self, Entry, PathMatch, VirtualHost};
use super::super::{DataPlane, gateway};
use super::listeners::route_name;
use super::{dump_type, guarded, is_waypoint};
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::attach::Listener;

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
            "retry_policy": retries(),
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

pub(super) fn dump(plane: &DataPlane, pod: &Value, since: &Value) -> Value {
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
    let fixed = |config: Value| {
        let mut config = config;
        config["@type"] = json!("type.googleapis.com/envoy.config.route.v3.RouteConfiguration");
        json!({ "route_config": config, "last_updated": since })
    };
    let mut inline = vec![
        fixed(backend("/healthz/ready", "agent")),
        fixed(backend("/stats/prometheus", "prometheus_stats")),
    ];
    if is_waypoint(pod) {
        inline.push(fixed(terminated()));
        inline.push(fixed(inbound("encap", "", "0")));
        for guarded in guarded(plane, pod).iter().filter(|guarded| guarded.is_http) {
            inline.push(fixed(inbound(&guarded.cluster(), &guarded.host, &guarded.port)));
        }
    }
    json!({
        "@type": dump_type("Routes"),
        "static_route_configs": inline,
        "dynamic_route_configs": dynamic,
    })
}

/// The routes of a listener that serves the proxy's own endpoints.
pub(super) fn backend(prefix: &str, cluster: &str) -> Value {
    json!({
        "virtual_hosts": [{
            "name": "backend",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": prefix }, "route": { "cluster": cluster } }],
        }],
    })
}

/// The routes of a waypoint's HBONE listener.
pub(super) fn terminated() -> Value {
    json!({
        "name": "default",
        "virtual_hosts": [{
            "name": "default",
            "domains": ["*"],
            "routes": [{
                "match": { "connect_matcher": {} },
                "route": {
                    "cluster": "main_internal",
                    "upgrade_configs": [{ "upgrade_type": "CONNECT", "connect_config": {} }],
                },
            }],
        }],
    })
}

/// What istiod retries by default.
fn retries() -> Value {
    json!({
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2,
        "retry_host_predicate": [{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            },
        }],
        "host_selection_retry_max_attempts": "5",
    })
}

/// The routes of a waypoint to a Service that it guards.
pub(super) fn inbound(cluster: &str, host: &str, port: &str) -> Value {
    json!({
        "name": cluster,
        "virtual_hosts": [{
            "name": format!("inbound|http|{port}"),
            "domains": ["*"],
            "routes": [{
                "match": { "prefix": "/" },
                "route": {
                    "cluster": cluster,
                    "timeout": "0s",
                    "retry_policy": retries(),
                    "max_grpc_timeout": "0s",
                },
                "decorator": { "operation": format!("{host}:{port}/*") },
                "name": "default",
            }],
        }],
        "validate_clusters": false,
        "max_direct_response_body_size_bytes": 1_048_576,
    })
}
