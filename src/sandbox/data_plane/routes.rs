//! The routing table of a gateway: virtual hosts and rules in Envoy's order, from HTTPRoutes and GRPCRoutes.
//!
//! istiod makes a VirtualService of each parent and hostname, sorts its rules, and leaves out what stands behind a rule
//! that takes everything; the listeners of plain HTTP on one port share one table.

use std::sync::Arc;

use http::Request;
use regex::Regex;
use serde_json::Value;

use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::{GRPC_ROUTES, HTTP_ROUTES};
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::attach::{self, Class, Listener};

/// How a path is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathMatch {
    Exact(String),
    /// Whole segments; without a slash at its end, but for `/` itself.
    Prefix(String),
    Regex(String),
    /// A GRPCRoute without a method.
    Any,
}

impl PathMatch {
    fn rank(&self) -> (i8, usize) {
        match self {
            Self::Exact(text) => (3, text.len()),
            Self::Prefix(text) => (2, text.len()),
            Self::Regex(text) => (1, text.len()),
            Self::Any => (-1, 0),
        }
    }

    /// What a trace of a request calls the path.
    pub(super) fn operation(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Regex(path) => path,
            Self::Prefix(_) | Self::Any => "/*",
        }
    }

    fn takes(&self, path: &str) -> bool {
        match self {
            Self::Exact(wanted) => path == wanted,
            Self::Prefix(prefix) if prefix == "/" => true,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(pattern) => full_match(pattern, path),
            Self::Any => true,
        }
    }
}

/// How a header or a query parameter is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextMatch {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) is_regex: bool,
}

impl TextMatch {
    fn all(matcher: &Value, field: &str) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for item in object::items(matcher, field) {
            let name = item["name"].as_str().unwrap_or_default().to_owned();
            let value = item["value"].as_str().unwrap_or_default().to_owned();
            let own = Self { name, value, is_regex: item["type"] == "RegularExpression" };
            // istiod keeps them by name: the last one stays.
            match found.iter_mut().find(|earlier| earlier.name == own.name) {
                Some(earlier) => *earlier = own,
                None => found.push(own),
            }
        }
        found
    }

    fn takes(&self, found: Option<&str>) -> bool {
        match found {
            // `*` is no expression: istiod takes it for "is there".
            Some(found) if self.is_regex => self.value == "*" || full_match(&self.value, found),
            Some(found) => self.value == found,
            None => false,
        }
    }
}

/// One match of one rule of one route.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) route: Arc<Value>,
    /// The place of the rule in the route.
    pub(super) rule: usize,
    pub(super) path: PathMatch,
    pub(super) method: Option<String>,
    pub(super) headers: Vec<TextMatch>,
    pub(super) query: Vec<TextMatch>,
    /// The VirtualService that istiod makes of the route and the others of its parent and host name.
    pub(super) virtual_service: Arc<str>,
}

impl Entry {
    /// The rule that the entry belongs to.
    pub(super) fn rule(&self) -> &Value {
        &self.route["spec"]["rules"][self.rule]
    }

    fn of_http(route: &Arc<Value>, rule: usize, matcher: &Value) -> Self {
        let path = &matcher["path"];
        let value = path["value"].as_str().unwrap_or("/");
        let path = match path["type"].as_str().unwrap_or("PathPrefix") {
            "Exact" => PathMatch::Exact(value.to_owned()),
            "RegularExpression" => PathMatch::Regex(value.to_owned()),
            _ if value == "/" => PathMatch::Prefix("/".to_owned()),
            _ => PathMatch::Prefix(value.strip_suffix('/').unwrap_or(value).to_owned()),
        };
        Self {
            route: Arc::clone(route),
            rule,
            path,
            method: matcher["method"].as_str().map(str::to_owned),
            headers: TextMatch::all(matcher, "headers"),
            query: TextMatch::all(matcher, "queryParams"),
            virtual_service: Arc::default(),
        }
    }

    fn of_grpc(route: &Arc<Value>, rule: usize, matcher: &Value) -> Self {
        let method = &matcher["method"];
        let is_regex = method["type"] == "RegularExpression";
        let path = match (method["service"].as_str(), method["method"].as_str()) {
            (None, None) => PathMatch::Any,
            (None, Some(method)) => PathMatch::Regex(format!("/[^/]+/{method}")),
            (Some(service), None) if is_regex => PathMatch::Regex(format!("/{service}/.+")),
            (Some(service), None) => PathMatch::Prefix(format!("/{service}")),
            (Some(service), Some(method)) if is_regex => {
                PathMatch::Regex(format!("/{service}/{method}"))
            }
            (Some(service), Some(method)) => PathMatch::Exact(format!("/{service}/{method}")),
        };
        Self {
            route: Arc::clone(route),
            rule,
            path,
            method: None,
            headers: TextMatch::all(matcher, "headers"),
            query: Vec::new(),
            virtual_service: Arc::default(),
        }
    }

    /// Whether nothing that stands behind it is ever reached.
    fn takes_all(&self) -> bool {
        let path = match &self.path {
            PathMatch::Prefix(prefix) => prefix == "/",
            PathMatch::Regex(pattern) => pattern == ".*",
            PathMatch::Any => true,
            PathMatch::Exact(_) => false,
        };
        path && self.method.is_none() && self.headers.is_empty() && self.query.is_empty()
    }

    /// Exact paths, then prefixes, then expressions; longer first; then method, headers and query parameters.
    fn rank(&self) -> ((i8, usize), bool, usize, usize) {
        (self.path.rank(), self.method.is_some(), self.headers.len(), self.query.len())
    }

    /// Whether a request fulfils the match.
    fn takes<B>(&self, request: &Request<B>) -> bool {
        self.path.takes(request.uri().path())
            && self.method.as_deref().is_none_or(|method| request.method().as_str() == method)
            && self.headers.iter().all(|header| {
                let values = request.headers().get_all(&header.name);
                values.iter().any(|value| header.takes(value.to_str().ok()))
            })
            && self.query.iter().all(|wanted| {
                let query = request.uri().query().unwrap_or_default();
                let found = raw_query(query).find(|(name, _)| *name == wanted.name);
                wanted.takes(found.map(|(_, value)| value))
            })
    }
}

/// The rules of one host name.
#[derive(Clone, Debug)]
pub(super) struct VirtualHost {
    /// `a.example.com`, `*.example.com` or `*`.
    pub(super) host: String,
    pub(super) entries: Vec<Entry>,
}

/// The listeners that share a routing table: those of plain HTTP on one port, or one with TLS.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) listeners: Vec<Listener>,
}

impl Server {
    pub(super) fn first(&self) -> &Listener {
        &self.listeners[0]
    }
}

/// What the Envoy of a gateway serves, in the order of its spec.
pub(super) fn servers(api: &dyn Api, gateway: &Value) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for listener in attach::listeners(api, gateway, Class::Gateway) {
        if !listener.is_programmed() || !listener.has_server() {
            continue;
        }
        let shared = servers.iter_mut().find(|server| {
            listener.protocol == "HTTP"
                && server.first().protocol == "HTTP"
                && server.first().port == listener.port
        });
        match shared {
            Some(server) => server.listeners.push(listener),
            None => servers.push(Server { listeners: vec![listener] }),
        }
    }
    servers
}

/// The servers of one port.
pub(super) fn servers_on(api: &dyn Api, gateway: &Value, port: u16) -> Vec<Server> {
    let mut found = servers(api, gateway);
    found.retain(|server| server.first().port == port);
    found
}

/// The server with TLS that takes a name: the most telling hostname wins.
pub(super) fn server_for<'a>(servers: &'a [Server], name: &str) -> Option<&'a Server> {
    let of = |server: &'a Server| server.first().hostname.to_lowercase();
    servers
        .iter()
        .filter(|server| of(server).is_empty() || host_takes(&of(server), name))
        .max_by_key(|server| (is_exact(&of(server)), of(server).len()))
}

fn is_exact(host: &str) -> bool {
    !host.is_empty() && !host.starts_with('*')
}

fn host_takes(host: &str, name: &str) -> bool {
    match host.strip_prefix('*') {
        Some(suffix) => name.ends_with(suffix) && name.len() > suffix.len(),
        None => host == name,
    }
}

/// The virtual hosts of a server.
pub(super) fn virtual_hosts(api: &dyn Api, gateway: &Value, server: &Server) -> Vec<VirtualHost> {
    let place = object::key(gateway);
    let mut routes = api.list(&HTTP_ROUTES, "");
    routes.extend(api.list(&GRPC_ROUTES, ""));
    routes.retain(|route| {
        !object::is_deleting(route)
            && object::items(&route["spec"], "parentRefs")
                .iter()
                .any(|parent| parent["kind"] == "ListenerSet" || parent["name"] == place.1.as_str())
    });
    // Older routes win ties, then the order of names.
    routes.sort_by_key(|route| {
        (route["metadata"]["creationTimestamp"].as_str().map(str::to_owned), object::key(route))
    });
    let all = attach::listeners(api, gateway, Class::Gateway);
    let attached: Vec<_> = routes
        .into_iter()
        .map(|route| {
            let attachments = attach::attachments(api, &route);
            (route, attachments)
        })
        .collect();
    let mut hosts: Vec<VirtualHost> = Vec::new();
    for listener in &server.listeners {
        let mut tables: Vec<(String, bool, Vec<Entry>)> = Vec::new();
        for (route, attachments) in &attached {
            let bound = attachments.iter().any(|attachment| {
                attachment.denied.is_none()
                    && attachment.gateway == place
                    && attachment.listener.as_ref().is_some_and(|found| {
                        found.name == listener.name && found.owner == listener.owner
                    })
            });
            if !bound {
                continue;
            }
            let grpc = route["kind"] == "GRPCRoute";
            for (written, host) in served_hosts(route, listener, &all) {
                let (_, namespace, name) = &listener.owner;
                let section = &listener.name;
                let service = Arc::from(format!(
                    "{namespace}~{name}~istio-autogenerated-k8s-gateway~{section}~{written}"
                ));
                let key = format!("{written} {host}");
                let at = tables.iter().position(|(found, kind, _)| *found == key && *kind == grpc);
                let at = at.unwrap_or_else(|| {
                    tables.push((key, grpc, Vec::new()));
                    tables.len() - 1
                });
                tables[at].2.extend(entries(route, grpc, &service));
            }
        }
        for (key, _, mut entries) in tables {
            let host = key.rsplit(' ').next().unwrap_or_default().to_lowercase();
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.rank()));
            if let Some(last) = entries.iter().position(Entry::takes_all) {
                entries.truncate(last + 1);
            }
            match hosts.iter_mut().find(|found| found.host == host) {
                Some(found) => found.entries.extend(entries),
                None => hosts.push(VirtualHost { host, entries }),
            }
        }
    }
    for host in &mut hosts {
        host.entries.sort_by_key(Entry::takes_all);
    }
    hosts.sort_by(|a, b| a.host.cmp(&b.host));
    hosts
}

/// Whether all that one name covers is covered by another.
fn is_subset(name: &str, of: &str) -> bool {
    match (name.strip_prefix('*'), of.strip_prefix('*')) {
        (Some(name), Some(of)) => name.len() >= of.len() && name.ends_with(of),
        (Some(_), None) => false,
        (None, Some(of)) => name.ends_with(of),
        (None, None) => name == of,
    }
}

/// A route's names that the listener serves: as the route writes them, and as they are served.
fn served_hosts(route: &Value, listener: &Listener, all: &[Listener]) -> Vec<(String, String)> {
    let mut own: Vec<&str> =
        object::items(&route["spec"], "hostnames").iter().filter_map(Value::as_str).collect();
    if own.is_empty() {
        own.push("*");
    }
    let of_listener = if listener.hostname.is_empty() { "*" } else { listener.hostname.as_str() };
    own.into_iter()
        .filter(|host| !is_isolated(host, listener, all))
        .filter_map(|host| {
            let served = if is_subset(of_listener, host) {
                of_listener
            } else if is_subset(host, of_listener) {
                host
            } else {
                return None;
            };
            Some((host.to_owned(), served.to_owned()))
        })
        .collect()
}

/// Whether another listener of the same port serves a name better: then only that one does.
fn is_isolated(host: &str, listener: &Listener, all: &[Listener]) -> bool {
    let own = listener.hostname.as_str();
    if is_exact(own) {
        return false;
    }
    all.iter()
        .filter(|other| {
            other.port == listener.port
                && other.protocol == listener.protocol
                && other.hostname != own
                && !other.hostname.is_empty()
        })
        .any(|other| own.len() <= other.hostname.len() && is_subset(host, &other.hostname))
}

fn entries(route: &Arc<Value>, grpc: bool, virtual_service: &Arc<str>) -> Vec<Entry> {
    let make = if grpc { Entry::of_grpc } else { Entry::of_http };
    let mut found = Vec::new();
    for (index, rule) in object::items(&route["spec"], "rules").iter().enumerate() {
        let matches = object::items(rule, "matches");
        if matches.is_empty() {
            found.push(make(route, index, &Value::Null));
        }
        found.extend(matches.iter().map(|matcher| make(route, index, matcher)));
    }
    for entry in &mut found {
        entry.virtual_service = Arc::clone(virtual_service);
    }
    found
}

/// The virtual host of a name: the exact one, else the longest wildcard.
pub(super) fn host_for<'a>(hosts: &'a [VirtualHost], name: &str) -> Option<&'a VirtualHost> {
    hosts
        .iter()
        .filter(|found| host_takes(&found.host, name))
        .max_by_key(|found| (is_exact(&found.host), found.host.len()))
}

/// The entry that takes a request.
pub(super) fn entry_for<'a, B>(host: &'a VirtualHost, request: &Request<B>) -> Option<&'a Entry> {
    host.entries.iter().find(|entry| entry.takes(request))
}

/// Whether an expression matches the whole text; one that does not compile matches nothing.
fn full_match(pattern: &str, text: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(text))
}

/// The parameters of a query as written.
fn raw_query(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// The parameters of a query, decoded.
pub(super) fn query(text: &str) -> Vec<(String, String)> {
    raw_query(text).map(|(key, value)| (decode(key), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, next)) = rest.split_first() {
        let pair = next.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &next[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = next;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = next;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
