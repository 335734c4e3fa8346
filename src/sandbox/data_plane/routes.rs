//! The routing table of a gateway: virtual hosts and rules in Envoy's order, from HTTPRoutes.

use std::sync::Arc;

use http::Request;
use regex::Regex;
use serde_json::Value;

use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::HTTP_ROUTES;
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::attach::{self, Class, Listener, hosts_match};

/// One match of one rule of one route.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) route: Arc<Value>,
    /// The place of the rule in the route.
    pub(super) rule: usize,
    /// The match; `Null` matches everything.
    pub(super) matcher: Value,
}

impl Entry {
    /// The rule that the entry belongs to.
    pub(super) fn rule(&self) -> &Value {
        &self.route["spec"]["rules"][self.rule]
    }

    /// The prefix that the match ate, for rewrites.
    pub(super) fn prefix(&self) -> Option<&str> {
        let path = &self.matcher["path"];
        match path["type"].as_str().unwrap_or("PathPrefix") {
            "PathPrefix" => Some(path["value"].as_str().unwrap_or("/")),
            _ => None,
        }
    }
}

/// The rules of one host name.
#[derive(Clone, Debug)]
pub(super) struct VirtualHost {
    /// `a.example.com`, `*.example.com` or `*`.
    pub(super) host: String,
    pub(super) entries: Vec<Entry>,
}

/// The virtual hosts of one listener.
pub(super) fn virtual_hosts(
    api: &dyn Api,
    gateway: &Value,
    listener: &Listener,
) -> Vec<VirtualHost> {
    let mut hosts: Vec<VirtualHost> = Vec::new();
    let place = object::key(gateway);
    let mut routes = api.list(&HTTP_ROUTES, "");
    routes.retain(|route| !object::is_deleting(route));
    // Older routes win ties, then the order of names.
    routes.sort_by_key(|route| {
        (route["metadata"]["creationTimestamp"].as_str().map(str::to_owned), object::key(route))
    });
    for route in routes {
        let bound = attach::attachments(api, &route).into_iter().any(|attachment| {
            attachment.denied.is_none()
                && attachment.gateway == place
                && attachment.listener.is_some_and(|found| {
                    found.name == listener.name && found.owner == listener.owner
                })
        });
        if !bound {
            continue;
        }
        for host in effective_hosts(&route, listener) {
            let at = hosts.iter().position(|found| found.host == host).unwrap_or_else(|| {
                hosts.push(VirtualHost { host, entries: Vec::new() });
                hosts.len() - 1
            });
            hosts[at].entries.extend(entries(&route));
        }
    }
    for host in &mut hosts {
        host.entries.sort_by_key(|entry| std::cmp::Reverse(rank(&entry.matcher)));
    }
    hosts.sort_by(|a, b| a.host.cmp(&b.host));
    hosts
}

/// The route's names that the listener serves.
fn effective_hosts(route: &Value, listener: &Listener) -> Vec<String> {
    let own: Vec<&str> =
        object::items(&route["spec"], "hostnames").iter().filter_map(Value::as_str).collect();
    let of_listener = if listener.hostname.is_empty() { "*" } else { listener.hostname.as_str() };
    if own.is_empty() {
        return vec![of_listener.to_lowercase()];
    }
    own.into_iter()
        .filter(|host| hosts_match(of_listener, host))
        .map(|host| {
            // The narrower of two wildcards is served.
            let narrower = host.starts_with('*') && of_listener.len() > host.len();
            if narrower { of_listener } else { host }.to_lowercase()
        })
        .collect()
}

fn entries(route: &Arc<Value>) -> Vec<Entry> {
    let mut found = Vec::new();
    for (index, rule) in object::items(&route["spec"], "rules").iter().enumerate() {
        let matches = object::items(rule, "matches");
        if matches.is_empty() {
            found.push(Entry { route: Arc::clone(route), rule: index, matcher: Value::Null });
        }
        for matcher in matches {
            found.push(Entry { route: Arc::clone(route), rule: index, matcher: matcher.clone() });
        }
    }
    found
}

/// Exact paths, then prefixes, then expressions; longer first; then method, headers and query parameters.
fn rank(matcher: &Value) -> (u8, usize, bool, usize, usize) {
    let path = &matcher["path"];
    let value = path["value"].as_str().unwrap_or("/");
    let kind = match path["type"].as_str().unwrap_or("PathPrefix") {
        "Exact" => 3,
        "PathPrefix" if value != "/" => 2,
        "RegularExpression" => 1,
        _ => 0,
    };
    (
        kind,
        value.len(),
        matcher["method"].is_string(),
        object::items(matcher, "headers").len(),
        object::items(matcher, "queryParams").len(),
    )
}

/// The virtual host of a name: the exact one, else the longest wildcard.
pub(super) fn host_for<'a>(hosts: &'a [VirtualHost], name: &str) -> Option<&'a VirtualHost> {
    hosts
        .iter()
        .filter(|found| match found.host.strip_prefix('*') {
            Some(suffix) => name.ends_with(suffix) && name.len() > suffix.len(),
            None => found.host == name,
        })
        .max_by_key(|found| (!found.host.starts_with('*'), found.host.len()))
}

/// The entry that takes a request.
pub(super) fn entry_for<'a, B>(host: &'a VirtualHost, request: &Request<B>) -> Option<&'a Entry> {
    host.entries.iter().find(|entry| matches(&entry.matcher, request))
}

/// Whether an expression matches the whole text; one that does not compile matches nothing.
fn full_match(pattern: &str, text: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(text))
}

fn value_matches(matcher: &Value, found: Option<&str>) -> bool {
    let Some(found) = found else { return false };
    let wanted = matcher["value"].as_str().unwrap_or_default();
    match matcher["type"].as_str().unwrap_or("Exact") {
        "RegularExpression" => full_match(wanted, found),
        _ => wanted == found,
    }
}

/// Whether a request fulfils a match.
pub(super) fn matches<B>(matcher: &Value, request: &Request<B>) -> bool {
    let path = request.uri().path();
    let wanted = matcher["path"]["value"].as_str().unwrap_or("/");
    let path_matches = match matcher["path"]["type"].as_str().unwrap_or("PathPrefix") {
        "Exact" => path == wanted,
        "RegularExpression" => full_match(wanted, path),
        _ => {
            let prefix = wanted.trim_end_matches('/');
            path.strip_prefix(prefix)
                .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
        }
    };
    let method = matcher["method"].as_str();
    path_matches
        && method.is_none_or(|method| request.method().as_str() == method)
        && object::items(matcher, "headers").iter().all(|header| {
            let name = header["name"].as_str().unwrap_or_default();
            let found = request.headers().get(name).and_then(|value| value.to_str().ok());
            value_matches(header, found)
        })
        && object::items(matcher, "queryParams").iter().all(|parameter| {
            let name = parameter["name"].as_str().unwrap_or_default();
            let found = query(request.uri().query().unwrap_or_default())
                .into_iter()
                .find(|(key, _)| key == name);
            value_matches(parameter, found.as_ref().map(|(_, value)| value.as_str()))
        })
}

/// The parameters of a query, decoded.
pub(super) fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(key), decode(value))
        })
        .collect()
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

/// The HTTP listeners of a gateway on a port, in the order of its spec.
pub(super) fn listeners_on(api: &dyn Api, gateway: &Value, port: u16) -> Vec<Listener> {
    attach::listeners(api, gateway, Class::Gateway)
        .into_iter()
        .filter(|listener| {
            listener.port == port && listener.is_programmed() && listener.has_server()
        })
        .collect()
}

/// The listener of a port that serves a name: the most telling hostname wins.
pub(super) fn listener_for<'a>(listeners: &'a [Listener], name: &str) -> Option<&'a Listener> {
    listeners
        .iter()
        .filter(|listener| match listener.hostname.strip_prefix('*') {
            Some(suffix) => name.ends_with(suffix) && name.len() > suffix.len(),
            None => listener.hostname.is_empty() || listener.hostname.eq_ignore_ascii_case(name),
        })
        .max_by_key(|listener| {
            (
                !listener.hostname.starts_with('*') && !listener.hostname.is_empty(),
                listener.hostname.len(),
            )
        })
}
