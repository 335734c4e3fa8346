//! Which routes hang on which listeners, as istiod decides it: for statuses and for the data plane.

use std::sync::Arc;

use serde_json::Value;

use super::listener_tls;
pub use super::listener_tls::key_pair;
use super::reference_grant::{self, text};
use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::{
    GATEWAY_CLASSES, GATEWAYS, LISTENER_SETS, NAMESPACES, SERVICES,
};
use crate::sandbox::controllers::object;

/// The Gateway API's group.
pub const GROUP: &str = "gateway.networking.k8s.io";
/// The group of ServiceEntries.
const ISTIO_NETWORKING: &str = "networking.istio.io";

/// The object that holds a listener: kind, namespace, name.
pub(super) type Owner<'a> = (&'static str, &'a str, &'a str);

/// Which of istiod's controllers a class belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `istio`: a gateway at the edge.
    Gateway,
    /// `istio-waypoint`
    Waypoint,
    /// `istio-remote`: described, never deployed.
    Remote,
}

impl Class {
    /// `istio.io/gateway-controller`, …
    pub fn controller(self) -> &'static str {
        match self {
            Self::Gateway => "istio.io/gateway-controller",
            Self::Waypoint => "istio.io/mesh-controller",
            Self::Remote => "istio.io/unmanaged-gateway",
        }
    }

    /// The class that istiod makes by this name.
    pub fn built_in(name: &str) -> Option<Self> {
        match name {
            "istio" => Some(Self::Gateway),
            "istio-waypoint" => Some(Self::Waypoint),
            "istio-remote" => Some(Self::Remote),
            _ => None,
        }
    }

    /// The class of a Gateway, by its GatewayClass's controller or the built-in name.
    pub fn of(api: &dyn Api, gateway: &Value) -> Option<Self> {
        let name = gateway["spec"]["gatewayClassName"].as_str()?;
        match api.get(&GATEWAY_CLASSES, "", name) {
            Some(class) => [Self::Gateway, Self::Waypoint, Self::Remote]
                .into_iter()
                .find(|found| class["spec"]["controllerName"] == found.controller()),
            None => Self::built_in(name),
        }
    }
}

/// A reason and a message of a condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub reason: &'static str,
    pub message: String,
}

impl Problem {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Which namespaces a listener admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    All,
    Names(Vec<String>),
}

impl Admitted {
    /// Whether a namespace is admitted.
    pub fn admits(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.iter().any(|name| name == namespace),
        }
    }
}

/// A listener of a Gateway or of a ListenerSet on it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The object that holds it: kind, namespace, name.
    pub owner: (&'static str, String, String),
    pub name: String,
    pub port: u16,
    pub protocol: String,
    /// As written; empty for any host.
    pub hostname: String,
    pub admitted: Admitted,
    /// `(group, kind)` of the routes that it takes.
    pub kinds: Vec<(&'static str, &'static str)>,
    /// Whether all kinds that it asks for exist for its protocol.
    pub kinds_valid: bool,
    /// `Terminate`, `Passthrough`; empty without TLS.
    pub tls_mode: String,
    /// The Secrets of its certificates that can be used.
    pub certificates: Vec<(String, String)>,
    pub tls_problem: Option<Problem>,
    pub protocol_problem: Option<Problem>,
    /// Whether that problem is only that a waypoint should not have this listener.
    is_unexpected: bool,
    /// A clash with another listener of the Gateway: `HostnameConflict`, `ProtocolConflict`.
    pub conflict: Option<&'static str>,
}

impl Listener {
    /// Whether Envoy serves it.
    pub fn is_programmed(&self) -> bool {
        self.is_valid() && self.protocol_problem.is_none()
    }

    /// Whether istiod counts it among the valid ones: an unexpected listener of a waypoint is not accepted, yet valid.
    pub fn is_valid(&self) -> bool {
        let of_protocol = self.protocol_problem.is_some() && !self.is_unexpected;
        self.tls_problem.is_none() && !of_protocol && self.conflict.is_none()
    }

    /// Whether it has a server at all: TLS without a `tls` section has none.
    pub fn has_server(&self) -> bool {
        self.conflict.is_none() && !self.lacks_tls()
    }

    /// Whether its protocol needs a `tls` section that it does not have.
    pub fn lacks_tls(&self) -> bool {
        matches!(self.protocol.as_str(), "HTTPS" | "TLS") && self.tls_mode.is_empty()
    }

    /// The hostname, `*` if there is none.
    fn any_hostname(&self) -> &str {
        if self.hostname.is_empty() { "*" } else { &self.hostname }
    }
}

/// The listeners of a Gateway: its own, then those of its ListenerSets, oldest first.
pub fn listeners(api: &dyn Api, gateway: &Value, class: Class) -> Vec<Listener> {
    let mut found = own_listeners(api, gateway, class);
    if class == Class::Gateway {
        for set in listener_sets(api, gateway) {
            found.extend(set_listeners(api, &set, gateway, class));
        }
    }
    mark_conflicts(&mut found);
    found
}

/// The listeners that the Gateway itself names.
pub fn own_listeners(api: &dyn Api, gateway: &Value, class: Class) -> Vec<Listener> {
    let (namespace, name) = object::key(gateway);
    let mut found: Vec<_> = object::items(&gateway["spec"], "listeners")
        .iter()
        .map(|listener| one(api, ("Gateway", &namespace, &name), gateway, listener, class))
        .collect();
    mark_conflicts(&mut found);
    found
}

/// The listeners of a ListenerSet on a Gateway.
fn set_listeners(api: &dyn Api, set: &Value, gateway: &Value, class: Class) -> Vec<Listener> {
    let (namespace, name) = object::key(set);
    object::items(&set["spec"], "listeners")
        .iter()
        .map(|listener| one(api, ("ListenerSet", &namespace, &name), gateway, listener, class))
        .collect()
}

/// The ListenerSets that a Gateway admits, oldest first.
pub fn listener_sets(api: &dyn Api, gateway: &Value) -> Vec<Arc<Value>> {
    if !super::presence::reads(api, "listenersets") {
        return Vec::new();
    }
    let mut sets: Vec<_> = api
        .list(&LISTENER_SETS, "")
        .into_iter()
        .filter(|set| is_parent(set, gateway) && admits_set(api, gateway, set))
        .collect();
    sets.sort_by_key(|set| {
        (set["metadata"]["creationTimestamp"].as_str().map(str::to_owned), object::key(set))
    });
    sets
}

fn is_parent(set: &Value, gateway: &Value) -> bool {
    let parent = &set["spec"]["parentRef"];
    parent["name"] == object::name(gateway)
        && text(parent, "namespace", object::namespace(set)) == object::namespace(gateway)
}

/// `spec.allowedListeners` of a Gateway; nobody by default.
pub fn admits_set(api: &dyn Api, gateway: &Value, set: &Value) -> bool {
    let allowed = &gateway["spec"]["allowedListeners"]["namespaces"];
    match text(allowed, "from", "None") {
        "All" => true,
        "Same" => object::namespace(set) == object::namespace(gateway),
        "Selector" => api
            .get(&NAMESPACES, "", object::namespace(set))
            .is_some_and(|ns| object::selects(&allowed["selector"], &ns["metadata"]["labels"])),
        _ => false,
    }
}

/// What the Gateway asks of the clients of a port: `spec.tls.frontend`.
fn frontend(gateway: &Value, port: u16) -> &Value {
    let frontend = &gateway["spec"]["tls"]["frontend"];
    object::items(frontend, "perPort")
        .iter()
        .find(|entry| entry["port"].as_u64() == Some(u64::from(port)))
        .map_or(&frontend["default"], |entry| &entry["tls"])
}

fn one(
    api: &dyn Api,
    owner: Owner<'_>,
    gateway: &Value,
    listener: &Value,
    class: Class,
) -> Listener {
    let protocol = text(listener, "protocol", "").to_owned();
    let (kinds, kinds_valid) = supported_kinds(listener, &protocol);
    let port = listener["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    // A ListenerSet may leave out the usual port.
    let port = match (port, protocol.as_str()) {
        (0, "HTTP") => 80,
        (0, "HTTPS") => 443,
        (port, _) => port,
    };
    let (certificates, tls_problem) =
        listener_tls::certificates(api, owner, listener, frontend(gateway, port));
    let tls_mode = if listener["tls"].is_null() {
        String::new()
    } else {
        text(&listener["tls"], "mode", "Terminate").to_owned()
    };
    let mut protocol_problem = protocol_problem(&protocol, listener, class);
    let lacks_tls = matches!(protocol.as_str(), "HTTPS" | "TLS") && tls_mode.is_empty();
    if owner.0 == "ListenerSet" && lacks_tls {
        let message = format!("protocol is {protocol} but no TLS section is defined");
        protocol_problem = Some(Problem::new("UnsupportedProtocol", message));
    }
    let is_unexpected = class == Class::Waypoint
        && matches!(protocol.as_str(), "HTTP" | "HTTPS" | "TLS" | "TCP" | "HBONE");
    Listener {
        owner: (owner.0, owner.1.to_owned(), owner.2.to_owned()),
        name: text(listener, "name", "").to_owned(),
        port,
        hostname: text(listener, "hostname", "").to_owned(),
        admitted: admitted(api, owner.1, &listener["allowedRoutes"]["namespaces"]),
        kinds,
        kinds_valid,
        tls_mode,
        certificates,
        tls_problem,
        protocol_problem,
        is_unexpected,
        conflict: None,
        protocol,
    }
}

fn admitted(api: &dyn Api, own: &str, namespaces: &Value) -> Admitted {
    match text(namespaces, "from", "Same") {
        "All" => Admitted::All,
        "Selector" if !namespaces["selector"].is_null() => Admitted::Names(
            api.list(&NAMESPACES, "")
                .iter()
                .filter(|found| {
                    object::selects(&namespaces["selector"], &found["metadata"]["labels"])
                })
                .map(|found| object::name(found).to_owned())
                .collect(),
        ),
        "Selector" => Admitted::All,
        _ => Admitted::Names(vec![own.to_owned()]),
    }
}

fn supported_kinds(listener: &Value, protocol: &str) -> (Vec<(&'static str, &'static str)>, bool) {
    let mut supported = match protocol {
        "HTTP" | "HTTPS" => vec![(GROUP, "HTTPRoute"), (GROUP, "GRPCRoute")],
        "TCP" => vec![(GROUP, "TCPRoute")],
        "TLS" => vec![(GROUP, "TLSRoute")],
        _ => Vec::new(),
    };
    if protocol == "TLS" && listener["tls"]["mode"] == "Terminate" {
        supported.push((GROUP, "TCPRoute"));
    }
    let asked = object::items(&listener["allowedRoutes"], "kinds");
    if asked.is_empty() {
        return (supported, true);
    }
    supported.retain(|(group, kind)| {
        asked.iter().any(|asked| text(asked, "group", GROUP) == *group && asked["kind"] == *kind)
    });
    let valid = supported.len() == asked.len();
    (supported, valid)
}

fn protocol_problem(protocol: &str, listener: &Value, class: Class) -> Option<Problem> {
    const UNSUPPORTED: &str = "UnsupportedProtocol";
    let waypoint = class == Class::Waypoint;
    match protocol {
        "HBONE" if !waypoint => Some(Problem::new(
            UNSUPPORTED,
            "protocol \"HBONE\" is only supported for waypoint proxies",
        )),
        "HTTP" | "HTTPS" | "TLS" | "TCP" | "HBONE" => {
            let unexpected = protocol != "HBONE" || listener["port"] != 15_008;
            (waypoint && unexpected).then(|| {
                Problem::new(
                    UNSUPPORTED,
                    "Expected a single listener on port 15008 with protocol \"HBONE\"",
                )
            })
        }
        other => {
            let upper = other.to_uppercase();
            let known = ["HTTP", "HTTPS", "TLS", "TCP", "HBONE"].contains(&upper.as_str());
            Some(Problem::new(
                UNSUPPORTED,
                if known {
                    format!(
                        "protocol \"{other}\" is unsupported. hint: \"{upper}\" (uppercase) may be supported"
                    )
                } else {
                    format!("protocol \"{other}\" is unsupported")
                },
            ))
        }
    }
}

/// A listener that clashes with an earlier one, of the Gateway or of an older ListenerSet, loses; one that lost blocks nobody.
fn mark_conflicts(listeners: &mut [Listener]) {
    for at in 1..listeners.len() {
        let (before, after) = listeners.split_at_mut(at);
        let own = &mut after[0];
        own.conflict = before
            .iter()
            .filter(|earlier| earlier.conflict.is_none())
            .find_map(|earlier| conflict(own, earlier));
    }
}

/// Why two listeners cannot stand side by side, if so. HTTP, HTTPS and TLS share a port as long as their hostnames differ.
fn conflict(own: &Listener, earlier: &Listener) -> Option<&'static str> {
    if own.port != earlier.port {
        return None;
    }
    let is_raw = |listener: &Listener| matches!(listener.protocol.as_str(), "TCP" | "UDP");
    let has_hosts =
        |listener: &Listener| matches!(listener.protocol.as_str(), "HTTP" | "HTTPS" | "TLS");
    let same_protocol = own.protocol == earlier.protocol;
    let clash = if has_hosts(own) && has_hosts(earlier) {
        own.any_hostname() == earlier.any_hostname()
    } else if (is_raw(own) || has_hosts(own)) && (is_raw(earlier) || has_hosts(earlier)) {
        true
    } else {
        same_protocol
    };
    let reason =
        if same_protocol && !is_raw(own) { "HostnameConflict" } else { "ProtocolConflict" };
    clash.then_some(reason)
}

/// Whether two names match, either of which may begin with a wildcard: as strings, like Istio does it.
pub fn hosts_match(one: &str, other: &str) -> bool {
    match (one.strip_prefix('*'), other.strip_prefix('*')) {
        (Some(one), Some(other)) => one.ends_with(other) || other.ends_with(one),
        (Some(one), None) => other.ends_with(one),
        (None, Some(other)) => one.ends_with(other),
        (None, None) => one.eq_ignore_ascii_case(other),
    }
}

/// What became of one parent reference on one listener.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The place of the reference in the route's `parentRefs`.
    pub reference: usize,
    /// The listener; `None` for a Service as parent.
    pub listener: Option<Listener>,
    /// The Gateway behind it: namespace and name.
    pub gateway: (String, String),
    pub denied: Option<Problem>,
    /// For a Service as parent: why no waypoint will read the route.
    pub waypoint_problem: Option<&'static str>,
}

/// The attachments of a route, denied ones included. A parent that does not exist, or is none of Istio's, has none.
pub fn attachments(api: &dyn Api, route: &Value) -> Vec<Attachment> {
    let namespace = object::namespace(route);
    let mut found = Vec::new();
    for (index, reference) in object::items(&route["spec"], "parentRefs").iter().enumerate() {
        let kind = text(reference, "kind", "Gateway");
        let parent_namespace = text(reference, "namespace", namespace);
        let name = text(reference, "name", "");
        match (text(reference, "group", GROUP), kind) {
            (GROUP, "Gateway") => {
                let Some(gateway) = api.get(&GATEWAYS, parent_namespace, name) else { continue };
                if Class::of(api, &gateway) != Some(Class::Gateway) {
                    continue;
                }
                for listener in own_listeners(api, &gateway, Class::Gateway) {
                    found.extend(on_listener(route, index, reference, listener, &gateway));
                }
            }
            (GROUP, "ListenerSet") => {
                let Some(set) = api.get(&LISTENER_SETS, parent_namespace, name) else { continue };
                let parent = &set["spec"]["parentRef"];
                let gateway_namespace = text(parent, "namespace", parent_namespace);
                let gateway = api.get(&GATEWAYS, gateway_namespace, text(parent, "name", ""));
                let Some(gateway) = gateway else { continue };
                if Class::of(api, &gateway) != Some(Class::Gateway) {
                    continue;
                }
                let (own_namespace, own_name) = object::key(&set);
                let own = ("ListenerSet", own_namespace, own_name);
                // Of a set, only what is valid is there for routes.
                for listener in listeners(api, &gateway, Class::Gateway) {
                    if listener.owner == own && listener.is_valid() {
                        found.extend(on_listener(route, index, reference, listener, &gateway));
                    }
                }
            }
            ("", "Service") | (ISTIO_NETWORKING, "ServiceEntry") => {
                found.extend(on_service(api, route, index, kind, (parent_namespace, name)));
            }
            _ => {}
        }
    }
    found
}

fn on_listener(
    route: &Value,
    index: usize,
    reference: &Value,
    listener: Listener,
    gateway: &Value,
) -> Option<Attachment> {
    if !listener.has_server() {
        return None;
    }
    let denied = denial(route, reference, &listener);
    Some(Attachment {
        reference: index,
        listener: Some(listener),
        gateway: object::key(gateway),
        denied,
        waypoint_problem: None,
    })
}

fn denial(route: &Value, reference: &Value, listener: &Listener) -> Option<Problem> {
    let namespace = object::namespace(route);
    if let Some(port) = reference["port"].as_u64().filter(|port| *port != u64::from(listener.port))
    {
        return Some(Problem::new("NoMatchingParent", format!("port {port} not found")));
    }
    if let Some(section) = reference["sectionName"].as_str().filter(|name| *name != listener.name) {
        return Some(Problem::new(
            "NoMatchingParent",
            format!("sectionName \"{section}\" not found"),
        ));
    }
    let any = ["*".to_owned()];
    let own: Vec<String> = object::items(&route["spec"], "hostnames")
        .iter()
        .filter_map(|host| host.as_str().map(str::to_owned))
        .collect();
    let hosts: &[String] = if own.is_empty() { &any } else { &own };
    let parent_host = if listener.hostname.is_empty() { "*" } else { listener.hostname.as_str() };
    let host_matches = hosts.iter().any(|host| hosts_match(parent_host, host));
    if !host_matches {
        return Some(Problem::new(
            "NoMatchingListenerHostname",
            format!("no hostnames matched parent hostname \"{}\"", listener.hostname),
        ));
    }
    if !listener.admitted.admits(namespace) {
        return Some(Problem::new(
            "NotAllowedByListeners",
            format!(
                "hostnames matched parent hostname \"{}\", but namespace \"{namespace}\" is not allowed by the parent",
                listener.hostname
            ),
        ));
    }
    let kind = text(route, "kind", "");
    let allowed = listener.kinds.iter().any(|(group, found)| *group == GROUP && *found == kind);
    (!allowed).then(|| {
        let version = text(route, "apiVersion", "gateway.networking.k8s.io/v1");
        Problem::new("NotAllowedByListeners", format!("kind {version}/{kind} is not allowed"))
    })
}

fn on_service(
    api: &dyn Api,
    route: &Value,
    index: usize,
    kind: &str,
    (namespace, name): (&str, &str),
) -> Option<Attachment> {
    let (resource, noun) = match kind {
        "Service" => (&*SERVICES, "service"),
        _ => (&*super::kinds::SERVICE_ENTRIES, "service entry"),
    };
    let parent = api.get(resource, namespace, name);
    if parent.as_ref().is_some_and(|parent| super::waypoint::is_of_another(api, parent)) {
        return None;
    }
    let uses = |object: &Value| {
        object::label(object, "istio.io/use-waypoint")
            .is_some_and(|value| !value.is_empty() && !value.eq_ignore_ascii_case("none"))
    };
    let (denied, waypoint_problem) = match &parent {
        None => (
            Some(Problem::new("NoMatchingParent", format!("parent {noun}: \"{name}\" not found"))),
            Some("parent not found"),
        ),
        Some(parent) => {
            let enrolled = uses(parent)
                || api.get(&NAMESPACES, "", namespace).is_some_and(|found| uses(&found));
            let missing = "istio.io/use-waypoint label missing from parent and parent namespace; in ambient mode, \
                           route will not be respected";
            (None, (!enrolled).then_some(missing))
        }
    };
    Some(Attachment {
        reference: index,
        listener: None,
        gateway: (object::namespace(route).to_owned(), String::new()),
        denied,
        waypoint_problem,
    })
}

/// Why a backend of a gateway's route cannot be used, in istiod's words.
pub fn backend_problem(api: &dyn Api, route: &Value, backend: &Value) -> Option<Problem> {
    backend_problem_in(api, route, backend, true)
}

/// Why a backend cannot be used. Routes in the mesh need no grant: what is called decides there.
pub(super) fn backend_problem_in(
    api: &dyn Api,
    route: &Value,
    backend: &Value,
    needs_grant: bool,
) -> Option<Problem> {
    let own = object::namespace(route);
    let route_kind = text(route, "kind", "HTTPRoute");
    let (group, kind) = (text(backend, "group", ""), text(backend, "kind", "Service"));
    let name = text(backend, "name", "");
    let namespace = text(backend, "namespace", own);
    if needs_grant
        && namespace != own
        && !reference_grant::allows(api, (route_kind, own), (group, kind, name), namespace)
    {
        return Some(Problem::new(
            "RefNotPermitted",
            format!(
                "backendRef {name}/{namespace} not accessible to a {route_kind} in namespace \"{own}\" (missing a \
                 ReferenceGrant?)"
            ),
        ));
    }
    let is_service = || api.get(&SERVICES, namespace, name).is_some();
    let (host, found) = match (group, kind) {
        ("", "Service") if name.contains('.') => {
            let message =
                "service name invalid; the name of the Service must be used, not the hostname.";
            return Some(Problem::new("InvalidDestination", message));
        }
        ("", "Service") | ("multicluster.x-k8s.io", "ServiceImport") => {
            (format!("{name}.{namespace}.svc.cluster.local"), is_service())
        }
        (ISTIO_NETWORKING, "Hostname") if !backend["namespace"].is_null() => {
            let message = "namespace may not be set with Hostname type";
            return Some(Problem::new("InvalidDestination", message));
        }
        (ISTIO_NETWORKING, "Hostname") => (name.to_owned(), is_known_host(api, name, namespace)),
        ("inference.networking.k8s.io", "InferencePool") => {
            let message = "InferencePool is not enabled. To enable, set ENABLE_GATEWAY_API_INFERENCE_EXTENSION to true \
                           in istiod";
            return Some(Problem::new("InvalidKind", message));
        }
        _ => {
            let message =
                format!("referencing unsupported backendRef: group \"{group}\" kind \"{kind}\"");
            return Some(Problem::new("InvalidKind", message));
        }
    };
    if backend["port"].is_null() {
        return Some(Problem::new("InvalidDestination", "port is required in backendRef"));
    }
    (!found).then(|| Problem::new("BackendNotFound", format!("backend({host}) not found")))
}

/// Whether a ServiceEntry or a Service of the namespace has this host.
fn is_known_host(api: &dyn Api, host: &str, namespace: &str) -> bool {
    let of_entry = api
        .list(&super::kinds::SERVICE_ENTRIES, namespace)
        .iter()
        .any(|entry| object::items(&entry["spec"], "hosts").iter().any(|found| found == host));
    let of_service = || {
        let suffix = format!(".{namespace}.svc.cluster.local");
        host.strip_suffix(&suffix).is_some_and(|name| api.get(&SERVICES, namespace, name).is_some())
    };
    of_entry || of_service()
}
