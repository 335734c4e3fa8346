//! go-httpbin 2.15: what scripts, demonstrations and tests ask of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use serde_json::{Map, Value, json};

use super::super::body::{self, BodyError};
use super::super::routes::query;
use super::{Body, Call, authority_of, plain, typed, websocket};
use crate::sandbox::controllers::object;

/// Paths that look into the body.
const READS_BODY: &[&str] = &["post", "put", "patch", "delete", "anything", "delay"];

/// What the program answers.
pub(super) async fn respond(call: &Call<'_>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().trim_matches('/').to_owned();
    if path == "websocket/echo" {
        return websocket::echo(request);
    }
    let (parts, sent) = request.into_parts();
    let first = path.split('/').next().unwrap_or_default();
    let sent = if READS_BODY.contains(&first) {
        body::whole(sent).await.unwrap_or_default()
    } else {
        Bytes::new()
    };
    let mut response = answer(call, &Request::from_parts(parts, sent)).await;
    let headers = response.headers_mut();
    headers.insert("access-control-allow-credentials", HeaderValue::from_static("true"));
    headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    response
}

/// Headers as Go prints them, the host among them.
fn go_headers(request: &Request<Bytes>) -> Value {
    let mut found = super::go_headers(request);
    found.insert("Host".to_owned(), json!([authority_of(request)]));
    Value::Object(found)
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
fn document(fields: &[(&str, Value)]) -> Response<Body> {
    let mut text = String::from("{\n");
    for (index, (name, value)) in fields.iter().enumerate() {
        let pretty = serde_json::to_string_pretty(value).unwrap_or_default().replace('\n', "\n  ");
        let comma = if index + 1 < fields.len() { "," } else { "" };
        text.push_str(&format!("  \"{name}\": {pretty}{comma}\n"));
    }
    text.push_str("}\n");
    typed(StatusCode::OK, "application/json; charset=utf-8", text)
}

fn not_found() -> Response<Body> {
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

async fn answer(call: &Call<'_>, request: &Request<Bytes>) -> Response<Body> {
    let (api, pod, client) = (&*call.plane.api, call.pod, call.client);
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
        ["delay", span] => delay(call, span, request).await,
        ["sse"] => events(call, request),
        ["drip"] => drip(call, request).await,
        ["stream", count] => lines(count, request, client),
        ["redirect" | "relative-redirect", count] => redirects(count),
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

fn status(codes: &str) -> Response<Body> {
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

async fn delay(call: &Call<'_>, span: &str, request: &Request<Bytes>) -> Response<Body> {
    let seconds: f64 = span.trim_end_matches('s').parse().unwrap_or(0.0);
    let Ok(span) = Duration::try_from_secs_f64(seconds.min(10.0)) else {
        return typed(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", "invalid duration\n");
    };
    call.plane.api.clock().event_in(span).await;
    let mut response = document(&body_fields(request, call.client));
    let timing =
        format!("initial_delay;dur={:.2};desc=\"initial delay\"", span.as_secs_f64() * 1_000.0);
    if let Ok(value) = HeaderValue::from_str(&timing) {
        response.headers_mut().insert("server-timing", value);
    }
    response
}

fn bytes(count: &str) -> Response<Body> {
    let count = count.parse::<usize>().unwrap_or(0).min(10 * 1024 * 1024);
    let data: Vec<u8> = (0..count).map(|index| (index * 31 % 251) as u8).collect();
    typed(StatusCode::OK, "application/octet-stream", data)
}

fn response_headers(request: &Request<Bytes>) -> Response<Body> {
    let mut response = document(&[("headers", arguments(request))]);
    for (name, value) in query(request.uri().query().unwrap_or_default()) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name.as_str()), HeaderValue::from_str(&value))
        {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn redirect_to(request: &Request<Bytes>) -> Response<Body> {
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

fn basic_auth(request: &Request<Bytes>, user: &str, password: &str) -> Response<Body> {
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

/// `1`, `0.5`, `500ms`: seconds, or a span as Go writes it.
fn span_of(text: &str) -> Option<Duration> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => crate::base::duration::parse(text).ok(),
    }
}

/// Pieces that are sent one after the other, `gap` apart on the cluster's clock.
fn paced(call: &Call<'_>, gap: Duration, pieces: Vec<Bytes>) -> Body {
    let clock = call.plane.api.clock();
    let begin = (clock, pieces.into_iter().enumerate());
    body::pieces(stream::unfold(begin, move |(clock, mut left)| async move {
        let (index, piece) = left.next()?;
        if index > 0 {
            clock.event_in(gap).await;
        }
        Some((Ok::<_, BodyError>(Frame::data(piece)), (clock, left)))
    }))
}

/// `/sse`: events with a number and a moment.
fn events(call: &Call<'_>, request: &Request<Bytes>) -> Response<Body> {
    use crate::base::clock::Clock as _;
    let asked = query(request.uri().query().unwrap_or_default());
    let of =
        |name: &str| asked.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let count = of("count").and_then(|text| text.parse().ok()).unwrap_or(10_usize).min(100);
    let duration = of("duration").and_then(span_of).unwrap_or(Duration::from_secs(5));
    let gap = duration / u32::try_from(count.saturating_sub(1).max(1)).unwrap_or(1);
    let now = call.plane.api.clock().now();
    let pieces = (0..count).map(|index| {
        let time = now.as_millisecond();
        Bytes::from(format!("event: ping\ndata: {{\"id\":{index},\"timestamp\":{time}}}\n\n"))
    });
    let mut response = Response::new(paced(call, gap, pieces.collect()));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

/// `/drip`: some bytes over some time, after a delay.
async fn drip(call: &Call<'_>, request: &Request<Bytes>) -> Response<Body> {
    let asked = query(request.uri().query().unwrap_or_default());
    let of =
        |name: &str| asked.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let count = of("numbytes").and_then(|text| text.parse().ok()).unwrap_or(10_usize);
    let count = count.clamp(1, 1024 * 1024);
    let duration = of("duration").and_then(span_of).unwrap_or(Duration::from_secs(2));
    if let Some(delay) = of("delay").and_then(span_of) {
        call.plane.api.clock().event_in(delay).await;
    }
    let code = of("code").and_then(|code| code.parse().ok()).unwrap_or(200);
    // Beyond a hundred pieces the gaps are too short to be told apart.
    let n_pieces = count.min(100);
    let gap = duration / u32::try_from(n_pieces.saturating_sub(1).max(1)).unwrap_or(1);
    let pieces = (0..n_pieces).map(|index| {
        let size = count * (index + 1) / n_pieces - count * index / n_pieces;
        Bytes::from(vec![b'*'; size])
    });
    let mut response = Response::new(paced(call, gap, pieces.collect()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("content-length", HeaderValue::from(count));
    response
}

/// `/stream/N`: a line of JSON for each.
fn lines(count: &str, request: &Request<Bytes>, client: &str) -> Response<Body> {
    let count = count.parse::<usize>().unwrap_or(1).clamp(1, 100);
    let pieces: Vec<Result<Frame<Bytes>, BodyError>> = (0..count)
        .map(|index| {
            let mut line: Map<String, Value> = Map::from_iter([("id".to_owned(), json!(index))]);
            for (name, value) in get_fields(request, client) {
                line.insert(name.to_owned(), value);
            }
            Ok(Frame::data(Bytes::from(format!("{}\n", Value::Object(line)))))
        })
        .collect();
    let mut response = Response::new(body::pieces(stream::iter(pieces)));
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert("content-type", kind);
    response
}

/// `/redirect/N`: through as many redirects to `/get`.
fn redirects(count: &str) -> Response<Body> {
    let Ok(count @ 1..) = count.parse::<u32>() else {
        return typed(
            StatusCode::BAD_REQUEST,
            "text/plain; charset=utf-8",
            "invalid redirect count\n",
        );
    };
    let to =
        if count == 1 { "/get".to_owned() } else { format!("/relative-redirect/{}", count - 1) };
    let mut response = plain(StatusCode::FOUND, "");
    if let Ok(to) = HeaderValue::from_str(&to) {
        response.headers_mut().insert("location", to);
    }
    response
}
