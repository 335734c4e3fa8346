//! Which routes hang on which listeners, as istiod decides it: for statuses and for the data plane.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use super::reference_grant::{self, text};
use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::{
    GATEWAY_CLASSES, GATEWAYS, LISTENER_SETS, NAMESPACES, SECRETS, SERVICES,
};
use crate::sandbox::controllers::object;

/// The Gateway API's group.
pub const GROUP: &str = "gateway.networking.k8s.io";

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
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
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
    /// A clash with another listener of the Gateway: `HostnameConflict`, `ProtocolConflict`.
    pub conflict: Option<&'static str>,
}

impl Listener {
    /// Whether Envoy serves it.
    pub fn is_programmed(&self) -> bool {
        self.tls_problem.is_none() && self.protocol_problem.is_none() && self.conflict.is_none()
    }

    /// Whether it has a server at all: TLS without a `tls` section has none.
    pub fn has_server(&self) -> bool {
        let needs_tls = matches!(self.protocol.as_str(), "HTTPS" | "TLS");
        self.conflict.is_none() && !(needs_tls && self.tls_mode.is_empty())
    }
}

/// The listeners of a Gateway: its own, then those of its ListenerSets, oldest first.
pub fn listeners(api: &dyn Api, gateway: &Value, class: Class) -> Vec<Listener> {
    let mut found = own_listeners(api, gateway, class);
    if class == Class::Gateway {
        for set in listener_sets(api, gateway) {
            found.extend(set_listeners(api, &set, class));
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
        .map(|listener| one(api, ("Gateway", &namespace, &name), listener, class))
        .collect();
    mark_conflicts(&mut found);
    found
}

/// The listeners of a ListenerSet.
pub fn set_listeners(api: &dyn Api, set: &Value, class: Class) -> Vec<Listener> {
    let (namespace, name) = object::key(set);
    object::items(&set["spec"], "listeners")
        .iter()
        .map(|listener| one(api, ("ListenerSet", &namespace, &name), listener, class))
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

fn one(
    api: &dyn Api,
    owner: (&'static str, &str, &str),
    listener: &Value,
    class: Class,
) -> Listener {
    let protocol = text(listener, "protocol", "").to_owned();
    let (kinds, kinds_valid) = supported_kinds(listener, &protocol);
    let (certificates, tls_problem) = certificates(api, owner, listener);
    let tls_mode = if listener["tls"].is_null() {
        String::new()
    } else {
        text(&listener["tls"], "mode", "Terminate").to_owned()
    };
    Listener {
        owner: (owner.0, owner.1.to_owned(), owner.2.to_owned()),
        name: text(listener, "name", "").to_owned(),
        port: listener["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        hostname: text(listener, "hostname", "").to_owned(),
        admitted: admitted(api, owner.1, &listener["allowedRoutes"]["namespaces"]),
        kinds,
        kinds_valid,
        tls_mode,
        certificates,
        tls_problem,
        protocol_problem: protocol_problem(&protocol, listener, class),
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

type Found = (Vec<(String, String)>, Option<Problem>);

fn certificates(api: &dyn Api, owner: (&'static str, &str, &str), listener: &Value) -> Found {
    const INVALID: &str = "InvalidCertificateRef";
    let tls = &listener["tls"];
    if tls.is_null() || text(tls, "mode", "Terminate") != "Terminate" {
        return (Vec::new(), None);
    }
    let references = object::items(tls, "certificateRefs");
    if references.len() > 2 {
        let message = "TLS mode can only support up to 2 server certificates";
        return (Vec::new(), Some(Problem::new(INVALID, message)));
    }
    let mut usable = Vec::new();
    let mut problem: Option<Problem> = None;
    for reference in references {
        match certificate(api, owner, reference) {
            Ok(place) => usable.push(place),
            Err(next) => match &mut problem {
                Some(problem) => problem.message = format!("{}; {}", problem.message, next.message),
                None => problem = Some(next),
            },
        }
    }
    if usable.is_empty() { (usable, problem) } else { (usable, None) }
}

fn certificate(
    api: &dyn Api,
    (owner_kind, own_namespace, _): (&'static str, &str, &str),
    reference: &Value,
) -> Result<(String, String), Problem> {
    const INVALID: &str = "InvalidCertificateRef";
    let name = text(reference, "name", "");
    let written = format!(
        "{}/{}/{name}.{}",
        text(reference, "group", ""),
        text(reference, "kind", ""),
        text(reference, "namespace", "")
    );
    if !text(reference, "group", "").is_empty() || text(reference, "kind", "Secret") != "Secret" {
        let message = format!("invalid certificate reference {written}, only secret is allowed");
        return Err(Problem::new(INVALID, message));
    }
    let namespace = text(reference, "namespace", own_namespace);
    let Some(secret) = api.get(&SECRETS, namespace, name) else {
        let message =
            format!("invalid certificate reference {written}, secret {namespace}/{name} not found");
        return Err(Problem::new(INVALID, message));
    };
    if let Err(why) = key_pair(&secret) {
        let message = format!("invalid certificate reference {written}, {why}");
        return Err(Problem::new(INVALID, message));
    }
    let granted = namespace == own_namespace
        || reference_grant::allows(
            api,
            (owner_kind, own_namespace),
            ("", "Secret", name),
            namespace,
        );
    if !granted {
        let message = format!(
            "certificateRef {name}/{namespace} not accessible to a Gateway in namespace \"{own_namespace}\" (missing a \
             ReferenceGrant?)"
        );
        return Err(Problem::new("RefNotPermitted", message));
    }
    Ok((namespace.to_owned(), name.to_owned()))
}

/// Certificate chain and key of a Secret, or istiod's words for what is wrong.
pub fn key_pair(
    secret: &Value,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let data = &secret["data"];
    let decode = |name: &str| {
        data[name]
            .as_str()
            .and_then(|text| STANDARD.decode(text).ok())
            .filter(|found| !found.is_empty())
    };
    let pairs = [("tls.crt", "tls.key"), ("cert", "key")];
    let names = pairs.iter().find(|(cert, key)| !data[*cert].is_null() || !data[*key].is_null());
    let Some((cert_name, key_name)) = names else {
        let found: Vec<_> =
            data.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
        return Err(format!(
            "found keys: {}; expected: (cert, key) or (tls.crt, tls.key)",
            if found.is_empty() { "none".to_owned() } else { found.join(", ") }
        ));
    };
    let missing = |name: &str| format!("found secret, but didn't have expected keys: {name}");
    let certificate = decode(cert_name).ok_or_else(|| missing(cert_name))?;
    let key = decode(key_name).ok_or_else(|| missing(key_name))?;
    let malformed = |why: &str| format!("the certificate is malformed: tls: {why}");
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&certificate).filter_map(Result::ok).collect();
    if chain.is_empty() {
        return Err(malformed("failed to find any PEM data in certificate input"));
    }
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| malformed("failed to find any PEM data in key input"))?;
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| malformed("failed to parse private key"))?;
    let certified = rustls::sign::CertifiedKey::new(chain.clone(), signing);
    if matches!(certified.keys_match(), Err(rustls::Error::InconsistentKeys(_))) {
        return Err(malformed("private key does not match public key"));
    }
    Ok((chain, key))
}

/// Two listeners of a Gateway with the same port must differ in host and agree in protocol.
fn mark_conflicts(listeners: &mut [Listener]) {
    let family = |protocol: &str| match protocol {
        "HTTPS" | "TLS" => "TLS",
        "HTTP" => "HTTP",
        _ => "TCP",
    };
    for later in 1..listeners.len() {
        let (before, after) = listeners.split_at_mut(later);
        let own = &mut after[0];
        for earlier in before.iter_mut().filter(|earlier| earlier.port == own.port) {
            let reason = if family(&earlier.protocol) != family(&own.protocol) {
                "ProtocolConflict"
            } else if earlier.hostname.eq_ignore_ascii_case(&own.hostname) {
                "HostnameConflict"
            } else {
                continue;
            };
            own.conflict = Some(reason);
            if earlier.owner == own.owner {
                earlier.conflict = Some(reason);
            }
        }
    }
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
                if !admits_set(api, &gateway, &set) {
                    continue;
                }
                for listener in set_listeners(api, &set, Class::Gateway) {
                    found.extend(on_listener(route, index, reference, listener, &gateway));
                }
            }
            ("", "Service") => found.push(on_service(api, route, index, parent_namespace, name)),
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
    namespace: &str,
    name: &str,
) -> Attachment {
    let service = api.get(&SERVICES, namespace, name);
    let uses = |object: &Value| {
        object::label(object, "istio.io/use-waypoint")
            .is_some_and(|value| !value.is_empty() && !value.eq_ignore_ascii_case("none"))
    };
    let (denied, waypoint_problem) = match &service {
        None => (
            Some(Problem::new("NoMatchingParent", format!("parent service: \"{name}\" not found"))),
            Some("parent not found"),
        ),
        Some(service) => {
            let enrolled = uses(service)
                || api.get(&NAMESPACES, "", namespace).is_some_and(|found| uses(&found));
            let missing = "istio.io/use-waypoint label missing from parent and parent namespace; in ambient mode, \
                           route will not be respected";
            (None, (!enrolled).then_some(missing))
        }
    };
    Attachment {
        reference: index,
        listener: None,
        gateway: (object::namespace(route).to_owned(), String::new()),
        denied,
        waypoint_problem,
    }
}

/// Why a backend cannot be used, in istiod's words.
pub fn backend_problem(api: &dyn Api, route: &Value, backend: &Value) -> Option<Problem> {
    let own = object::namespace(route);
    let route_kind = text(route, "kind", "HTTPRoute");
    let (group, kind) = (text(backend, "group", ""), text(backend, "kind", "Service"));
    let name = text(backend, "name", "");
    let namespace = text(backend, "namespace", own);
    if namespace != own
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
    match (group, kind) {
        ("", "Service") => {
            let host = format!("{name}.{namespace}.svc.cluster.local");
            if name.contains('.') {
                let message =
                    "service name invalid; the name of the Service must be used, not the hostname.";
                Some(Problem::new("InvalidDestination", message))
            } else if backend["port"].is_null() {
                Some(Problem::new("InvalidDestination", "port is required in backendRef"))
            } else if api.get(&SERVICES, namespace, name).is_none() {
                Some(Problem::new("BackendNotFound", format!("backend({host}) not found")))
            } else {
                None
            }
        }
        _ => Some(Problem::new(
            "InvalidKind",
            format!("referencing unsupported backendRef: group \"{group}\" kind \"{kind}\""),
        )),
    }
}
