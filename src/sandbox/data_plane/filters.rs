//! What a rule changes on a request and its answer, as Envoy does it with the configuration that istiod makes of the rule.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use regex::Regex;
use serde_json::Value;

use super::body::Body;
use super::http_server::{authority_of, plain};
use super::routes::{Entry, PathMatch};
use crate::sandbox::controllers::object;

/// Headers that speak of one connection, which no proxy hands on.
const HOP_BY_HOP: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// The filter of a kind in a list; of several the last one counts.
pub(super) fn filter<'a>(filters: &'a [Value], kind: &str, field: &str) -> Option<&'a Value> {
    filters.iter().rev().find(|found| found["type"] == kind).map(|found| &found[field])
}

/// Takes away what speaks of the connection, and what it says that belongs to it; an upgrade to WebSocket keeps it.
pub(super) fn strip_connection(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all("connection")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|token| token.trim().to_lowercase())
        .filter(|token| !token.is_empty() && token != "te")
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
    let trailers = headers.get("te").is_some_and(|value| value == "trailers");
    if !trailers {
        headers.remove("te");
    }
}

/// The protocol that a request wants its connection to change to.
pub(super) fn upgrade_of(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let wants =
        text("connection")?.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    text("upgrade").filter(|_| wants).map(str::to_lowercase)
}

fn pairs(modifier: &Value, field: &str) -> Vec<(HeaderName, HeaderValue)> {
    let mut found: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for header in object::items(modifier, field) {
        let name = header["name"].as_str().and_then(|name| HeaderName::try_from(name).ok());
        let value = header["value"].as_str().and_then(|value| HeaderValue::from_str(value).ok());
        let (Some(name), Some(value)) = (name, value) else { continue };
        // Of several with one name the first counts.
        if !found.iter().any(|(earlier, _)| *earlier == name) {
            found.push((name, value));
        }
    }
    found.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
    found
}

/// What modifiers together do: all of them remove, then each sets and adds. The host is not a header that this changes.
pub(super) fn modify(headers: &mut HeaderMap, modifiers: &[&Value]) {
    let removed = modifiers.iter().flat_map(|modifier| object::items(modifier, "remove"));
    for name in removed.filter_map(Value::as_str) {
        if !name.eq_ignore_ascii_case("host") {
            headers.remove(name);
        }
    }
    for modifier in modifiers {
        for (name, value) in pairs(modifier, "set") {
            if name != "host" {
                headers.insert(name, value);
            }
        }
        for (name, value) in pairs(modifier, "add") {
            if name != "host" {
                headers.append(name, value);
            }
        }
    }
}

/// The modifiers of a rule and of the backend that was chosen, in the order in which Envoy applies them: istiod joins them
/// where there is one backend; of several, the backend's own come before the rule's.
pub(super) fn modify_both(
    headers: &mut HeaderMap,
    rule: Option<&Value>,
    backend: Option<&Value>,
    only: bool,
) {
    if only {
        let both: Vec<&Value> = rule.into_iter().chain(backend).collect();
        return modify(headers, &both);
    }
    for modifier in backend.into_iter().chain(rule) {
        modify(headers, &[modifier]);
    }
}

/// The host that a header modifier asks for: one that is set goes before one that is added.
pub(super) fn host_of_modifier(modifier: &Value) -> Option<String> {
    let of = |field: &str| {
        pairs(modifier, field)
            .into_iter()
            .find(|(name, _)| name == "host")
            .and_then(|(_, value)| value.to_str().ok().map(str::to_owned))
    };
    of("set").or_else(|| of("add"))
}

/// The prefix that the match ate, as Envoy's configuration holds it.
fn eaten(entry: &Entry) -> &str {
    match &entry.path {
        PathMatch::Prefix(prefix) | PathMatch::Exact(prefix) => prefix,
        PathMatch::Regex(_) | PathMatch::Any => "/",
    }
}

/// The path after a rewrite's `path`.
fn rewritten(modifier: &Value, entry: &Entry, path: &str) -> String {
    if let Some(full) = modifier["replaceFullPath"].as_str() {
        return full.to_owned();
    }
    let Some(replacement) = modifier["replacePrefixMatch"].as_str() else { return path.to_owned() };
    let prefix = eaten(entry);
    let replacement = replacement.strip_suffix('/').unwrap_or(replacement);
    if !replacement.is_empty() {
        return match path.strip_prefix(prefix) {
            Some(rest) => format!("{replacement}{rest}"),
            None => path.to_owned(),
        };
    }
    // istiod writes the removal of a prefix as an expression; a prefix of `/` is none to it.
    let prefix = if prefix == "/" { "" } else { prefix };
    let pattern = format!("^{}(/?)(.*)", regex::escape(prefix));
    Regex::new(&pattern)
        .map_or_else(|_| path.to_owned(), |regex| regex.replace(path, "/$2").into_owned())
}

fn with_query(path: &str, uri: &Uri) -> String {
    match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// Puts another path and query in the place of a request's.
pub(super) fn set_path<B>(request: &mut Request<B>, path: &str) {
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(path).ok().or(parts.path_and_query);
    if parts.authority.is_some() && parts.scheme.is_none() {
        parts.scheme = Some(Scheme::HTTP);
    }
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// Puts another host in the place of a request's.
pub(super) fn set_host<B>(request: &mut Request<B>, host: &str) {
    if let Ok(value) = HeaderValue::from_str(host) {
        request.headers_mut().insert("host", value);
    }
    let mut parts = request.uri().clone().into_parts();
    if parts.authority.is_some() {
        parts.authority = Authority::try_from(host).ok();
        if parts.scheme.is_none() {
            parts.scheme = Some(Scheme::HTTP);
        }
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
}

/// `URLRewrite`: the path; Envoy tells the backend what it was.
pub(super) fn rewrite_path<B>(rewrite: &Value, entry: &Entry, request: &mut Request<B>) {
    if !rewrite["path"].is_object() {
        return;
    }
    let original = request.uri().path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
    let path = rewritten(&rewrite["path"], entry, request.uri().path());
    let path = with_query(&path, request.uri());
    if let Ok(value) = HeaderValue::from_str(&original) {
        request.headers_mut().insert("x-envoy-original-path", value);
    }
    set_path(request, &path);
}

/// Where a redirect leads to.
fn location<B>(
    redirect: &Value,
    entry: &Entry,
    port: u16,
    secure: bool,
    request: &Request<B>,
) -> String {
    let own_scheme = if secure { "https" } else { "http" };
    let scheme = redirect["scheme"].as_str().unwrap_or(own_scheme);
    let wanted = match redirect["port"].as_u64() {
        Some(port) => Some(port),
        None if redirect["scheme"].is_string() => None,
        None => Some(u64::from(port)),
    };
    let is_default = |port: u64| matches!((scheme, port), ("http", 80) | ("https", 443));
    let wanted = wanted.filter(|port| !is_default(*port));
    let host = redirect["hostname"].as_str().map_or_else(
        || {
            let host = authority_of(request);
            let (name, own) = match host.rsplit_once(':') {
                Some((name, own)) if own.bytes().all(|b| b.is_ascii_digit()) => (name, Some(own)),
                _ => (host.as_str(), None),
            };
            // The client's port goes when another is named, or when it is the usual one of the scheme that is left.
            let usual = matches!((own_scheme, own), ("http", Some("80")) | ("https", Some("443")));
            let leaves = scheme != own_scheme && usual;
            if wanted.is_some() || leaves { name.to_owned() } else { host.clone() }
        },
        str::to_owned,
    );
    let port = wanted.map(|port| format!(":{port}")).unwrap_or_default();
    let modifier = &redirect["path"];
    let path = request.uri().path();
    let path = if let Some(full) = modifier["replaceFullPath"].as_str() {
        full.to_owned()
    } else if let Some(prefix) = modifier["replacePrefixMatch"].as_str().filter(|to| !to.is_empty())
    {
        match path.strip_prefix(eaten(entry)) {
            Some(rest) => format!("{prefix}{rest}"),
            None => path.to_owned(),
        }
    } else {
        path.to_owned()
    };
    let path = if path.contains('?') { path } else { with_query(&path, request.uri()) };
    format!("{scheme}://{host}{port}{path}")
}

/// `RequestRedirect`
pub(super) fn redirect<B>(
    redirect: &Value,
    entry: &Entry,
    port: u16,
    secure: bool,
    request: &Request<B>,
) -> Response<Body> {
    let code = redirect["statusCode"].as_u64().and_then(|code| u16::try_from(code).ok());
    let status = StatusCode::from_u16(code.unwrap_or(302)).unwrap_or(StatusCode::FOUND);
    let mut response = plain(status, "");
    if let Ok(location) = HeaderValue::from_str(&location(redirect, entry, port, secure, request)) {
        response.headers_mut().insert("location", location);
    }
    response
}

/// What the `CORS` filter decides on a request that names its origin.
pub(super) enum Cors {
    /// No cross-origin request, or one of an origin that is not admitted: nothing is added.
    Nothing,
    /// The answer to a preflight.
    Preflight(Box<Response<Body>>),
    /// The origin that the answer names.
    Admitted(HeaderValue),
}

/// Whether an origin is one of those that the filter admits, which may hold wildcards.
fn admits(origins: &[Value], origin: &str) -> bool {
    origins.iter().filter_map(Value::as_str).any(|wanted| {
        if wanted == "*" {
            return full(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s?#]+", origin);
        }
        if !wanted.contains('*') {
            return wanted == origin;
        }
        match wanted.strip_suffix('*') {
            Some(prefix) if !prefix.contains('*') => origin.starts_with(prefix),
            _ => full(&regex::escape(wanted).replace(r"\*", ".*"), origin),
        }
    })
}

fn full(pattern: &str, text: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(text))
}

fn list(cors: &Value, field: &str) -> Option<HeaderValue> {
    let items: Vec<&str> = object::items(cors, field).iter().filter_map(Value::as_str).collect();
    if items.is_empty() { None } else { HeaderValue::from_str(&items.join(",")).ok() }
}

/// The `CORS` filter on a request.
pub(super) fn cors<B>(cors: &Value, request: &Request<B>) -> Cors {
    let headers = request.headers();
    let Some(origin) = headers.get("origin").filter(|origin| !origin.is_empty()).cloned() else {
        return Cors::Nothing;
    };
    let admitted =
        origin.to_str().is_ok_and(|origin| admits(object::items(cors, "allowOrigins"), origin));
    let preflight = request.method() == Method::OPTIONS
        && headers.contains_key("access-control-request-method");
    if !preflight {
        return if admitted { Cors::Admitted(origin) } else { Cors::Nothing };
    }
    let mut response = plain(StatusCode::OK, "");
    let answer = response.headers_mut();
    if admitted {
        answer.insert("access-control-allow-origin", origin);
        if let Some(value) = list(cors, "exposeHeaders") {
            answer.insert("access-control-expose-headers", value);
        }
    }
    if cors["allowCredentials"] == true {
        answer.insert("access-control-allow-credentials", HeaderValue::from_static("true"));
    }
    for (name, field, asked) in [
        ("access-control-allow-methods", "allowMethods", "access-control-request-method"),
        ("access-control-allow-headers", "allowHeaders", "access-control-request-headers"),
    ] {
        // A wildcard is answered with what was asked for.
        let value = match list(cors, field) {
            Some(all) if all == "*" => headers.get(asked).cloned(),
            other => other,
        };
        if let Some(value) = value {
            answer.insert(name, value);
        }
    }
    answer
        .insert("access-control-max-age", HeaderValue::from(cors["maxAge"].as_u64().unwrap_or(5)));
    Cors::Preflight(Box::new(response))
}

/// What the `CORS` filter adds to the answer to an admitted origin.
pub(super) fn cors_answer(cors: &Value, origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert("access-control-allow-origin", origin);
    if cors["allowCredentials"] == true {
        headers.insert("access-control-allow-credentials", HeaderValue::from_static("true"));
    }
    if let Some(value) = list(cors, "exposeHeaders") {
        headers.insert("access-control-expose-headers", value);
    }
}
