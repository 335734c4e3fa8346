//! The programs behind Services: go-httpbin, and an echo for everything else.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::http_server::{authority_of, plain};
use super::routes::query;
use crate::sandbox::api::Api;
use crate::sandbox::controllers::object;
use crate::sandbox::node::images::Program;

/// Whether a program listens on a port.
pub(super) fn listens(pod: &Value, program: Program, port: u16) -> bool {
    let declared = object::items(&pod["spec"], "containers")
        .iter()
        .flat_map(|container| object::items(container, "ports"))
        .any(|found| found["containerPort"].as_u64() == Some(u64::from(port)));
    match program {
        Program::Httpbin => declared || port == 8080,
        Program::Other => declared,
        _ => false,
    }
}

/// What the program answers. Delays pass on the cluster's clock.
pub(super) async fn respond(
    api: &dyn Api,
    pod: &Value,
    request: Request<Bytes>,
    client: &str,
) -> Response<Bytes> {
    let mut response = match Program::of_pod(pod) {
        Program::Httpbin => httpbin(api, pod, &request, client).await,
        _ => echo(pod, &request, client),
    };
    if Program::of_pod(pod) == Program::Httpbin {
        let headers = response.headers_mut();
        headers.insert("access-control-allow-credentials", HeaderValue::from_static("true"));
        headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    }
    response
}

/// Headers as Go prints them: canonical names, lists of values.
fn go_headers(request: &Request<Bytes>) -> Value {
    let mut found: Map<String, Value> = Map::new();
    let mut add = |name: &str, value: &str| {
        let list = found.entry(canonical(name)).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(json!(value));
        }
    };
    add("host", &authority_of(request));
    for (name, value) in request.headers() {
        if name != "host" {
            add(name.as_str(), value.to_str().unwrap_or_default());
        }
    }
    Value::Object(found)
}

/// `x-request-id` as `X-Request-Id`.
fn canonical(name: &str) -> String {
    name.split('-')
        .map(|part| {
            let mut chars = part.chars();
            chars
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
                .unwrap_or_default()
        })
        .collect::<Vec<_>>()
        .join("-")
}

fn arguments(request: &Request<Bytes>) -> Value {
    let mut found: Map<String, Value> = Map::new();
    for (key, value) in query(request.uri().query().unwrap_or_default()) {
        let list = found.entry(key).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(json!(value));
        }
    }
    Value::Object(found)
}

/// The client that the application believes to see.
fn origin(headers: &HeaderMap, client: &str) -> String {
    headers
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(',').next())
        .map_or_else(|| client.to_owned(), |first| first.trim().to_owned())
}

fn url(request: &Request<Bytes>) -> String {
    let scheme = request
        .headers()
        .get("x-forwarded-proto")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("http");
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    format!("{scheme}://{}{path}", authority_of(request))
}

/// A document in go-httpbin's order and indentation.
fn document(fields: &[(&str, Value)]) -> Response<Bytes> {
    let mut text = String::from("{\n");
    for (index, (name, value)) in fields.iter().enumerate() {
        let pretty = serde_json::to_string_pretty(value).unwrap_or_default().replace('\n', "\n  ");
        let comma = if index + 1 < fields.len() { "," } else { "" };
        text.push_str(&format!("  \"{name}\": {pretty}{comma}\n"));
    }
    text.push_str("}\n");
    typed(StatusCode::OK, "application/json; charset=utf-8", text)
}

fn typed(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    response
}

fn not_found() -> Response<Bytes> {
    let text = "404 page not found\n";
    let mut response = typed(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

fn data_uri(body: &Bytes) -> String {
    match std::str::from_utf8(body) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("data:application/octet-stream;base64,{}", STANDARD.encode(body)),
    }
}

fn get_fields(request: &Request<Bytes>, client: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("args", arguments(request)),
        ("headers", go_headers(request)),
        ("method", json!(request.method().as_str())),
        ("origin", json!(origin(request.headers(), client))),
        ("url", json!(url(request))),
    ]
}

fn body_fields(request: &Request<Bytes>, client: &str) -> Vec<(&'static str, Value)> {
    let mut fields = get_fields(request, client);
    let kind = request.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("");
    let mut form = Map::new();
    if kind.starts_with("application/x-www-form-urlencoded") {
        for (key, value) in query(&String::from_utf8_lossy(request.body())) {
            if let Some(list) = form.entry(key).or_insert_with(|| json!([])).as_array_mut() {
                list.push(json!(value));
            }
        }
    }
    let parsed = if kind.contains("json") {
        serde_json::from_slice(request.body()).unwrap_or_default()
    } else {
        Value::Null
    };
    fields.push(("data", json!(data_uri(request.body()))));
    fields.push(("files", json!({})));
    fields.push(("form", Value::Object(form)));
    fields.push(("json", parsed));
    fields
}

async fn httpbin(
    api: &dyn Api,
    pod: &Value,
    request: &Request<Bytes>,
    client: &str,
) -> Response<Bytes> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        [""] => typed(
            StatusCode::OK,
            "text/html; charset=utf-8",
            "<!DOCTYPE html>\n<html><body>go-httpbin</body></html>\n",
        ),
        ["headers"] => document(&[("headers", go_headers(request))]),
        ["ip"] => document(&[("origin", json!(origin(request.headers(), client)))]),
        ["user-agent"] => {
            let agent = request.headers().get("user-agent").and_then(|v| v.to_str().ok());
            document(&[("user-agent", json!(agent.unwrap_or_default()))])
        }
        ["hostname"] => document(&[("hostname", json!(object::name(pod)))]),
        ["uuid"] => document(&[("uuid", json!(api.random_uid()))]),
        ["get"] if matches!(*request.method(), Method::GET | Method::HEAD) => {
            document(&get_fields(request, client))
        }
        ["post"] if request.method() == Method::POST => document(&body_fields(request, client)),
        ["put"] if request.method() == Method::PUT => document(&body_fields(request, client)),
        ["patch"] if request.method() == Method::PATCH => document(&body_fields(request, client)),
        ["delete"] if request.method() == Method::DELETE => document(&body_fields(request, client)),
        ["get" | "post" | "put" | "patch" | "delete"] => typed(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain; charset=utf-8",
            "Method Not Allowed\n",
        ),
        ["anything", ..] => document(&body_fields(request, client)),
        ["status", codes] => status(codes),
        ["delay", span] => delay(api, span, request, client).await,
        ["bytes", count] => bytes(count),
        ["html"] => {
            typed(StatusCode::OK, "text/html; charset=utf-8", "<!DOCTYPE html>\n<html>\n</html>\n")
        }
        ["response-headers"] => response_headers(request),
        ["redirect-to"] => redirect_to(request),
        ["basic-auth", user, password] => basic_auth(request, user, password),
        _ => not_found(),
    }
}

fn status(codes: &str) -> Response<Bytes> {
    let code = codes.split([',', ':']).next().unwrap_or_default();
    let Ok(status) =
        code.parse::<u16>().map_err(drop).and_then(|code| StatusCode::from_u16(code).map_err(drop))
    else {
        return typed(
            StatusCode::BAD_REQUEST,
            "application/json; charset=utf-8",
            "{\n  \"status_code\": 400,\n  \"error\": \"Bad Request\",\n  \"detail\": \"invalid status code\"\n}\n",
        );
    };
    let text = if status == StatusCode::IM_A_TEAPOT { "I'm a teapot!" } else { "" };
    let mut response = typed(status, "text/plain; charset=utf-8", text);
    let extra = match status.as_u16() {
        418 => Some(("x-more-info", "http://tools.ietf.org/html/rfc2324")),
        301 | 302 | 303 | 307 | 308 => Some(("location", "/redirect/1")),
        401 => Some(("www-authenticate", "Basic realm=\"Fake Realm\"")),
        _ => None,
    };
    if let Some((name, value)) = extra {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn delay(
    api: &dyn Api,
    span: &str,
    request: &Request<Bytes>,
    client: &str,
) -> Response<Bytes> {
    let seconds: f64 = span.trim_end_matches('s').parse().unwrap_or(0.0);
    let Ok(span) = Duration::try_from_secs_f64(seconds.min(10.0)) else {
        return typed(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", "invalid duration\n");
    };
    api.clock().event_in(span).await;
    let mut response = document(&body_fields(request, client));
    let timing =
        format!("initial_delay;dur={:.2};desc=\"initial delay\"", span.as_secs_f64() * 1_000.0);
    if let Ok(value) = HeaderValue::from_str(&timing) {
        response.headers_mut().insert("server-timing", value);
    }
    response
}

fn bytes(count: &str) -> Response<Bytes> {
    let count = count.parse::<usize>().unwrap_or(0).min(10 * 1024 * 1024);
    let data: Vec<u8> = (0..count).map(|index| (index * 31 % 251) as u8).collect();
    typed(StatusCode::OK, "application/octet-stream", data)
}

fn response_headers(request: &Request<Bytes>) -> Response<Bytes> {
    let mut response = document(&[("headers", arguments(request))]);
    for (name, value) in query(request.uri().query().unwrap_or_default()) {
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::try_from(name.as_str()), HeaderValue::from_str(&value))
        {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn redirect_to(request: &Request<Bytes>) -> Response<Bytes> {
    let arguments = query(request.uri().query().unwrap_or_default());
    let of =
        |name: &str| arguments.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let code = of("status_code").and_then(|code| code.parse().ok()).unwrap_or(302);
    let mut response = plain(StatusCode::from_u16(code).unwrap_or(StatusCode::FOUND), "");
    if let Some(Ok(value)) = of("url").map(|url| HeaderValue::from_str(&url)) {
        response.headers_mut().insert("location", value);
    }
    response
}

fn basic_auth(request: &Request<Bytes>, user: &str, password: &str) -> Response<Bytes> {
    let wanted = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if given == Some(wanted.as_str()) {
        return document(&[("authenticated", json!(true)), ("user", json!(user))]);
    }
    let mut response = plain(StatusCode::UNAUTHORIZED, "");
    let realm = HeaderValue::from_static("Basic realm=\"Fake Realm\"");
    response.headers_mut().insert("www-authenticate", realm);
    response
}

/// What the conformance suite's echo-basic answers, for any other program.
fn echo(pod: &Value, request: &Request<Bytes>, client: &str) -> Response<Bytes> {
    let mut headers = go_headers(request);
    if let Some(map) = headers.as_object_mut() {
        map.remove("Host");
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let document = json!({
        "path": path,
        "host": authority_of(request),
        "method": request.method().as_str(),
        "proto": "HTTP/1.1",
        "headers": headers,
        "namespace": object::namespace(pod),
        "ingress": "",
        "service": "",
        "pod": object::name(pod),
        "client": client,
    });
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    typed(StatusCode::OK, "application/json", text)
}
