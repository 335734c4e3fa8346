//! A rule at work: its filters, the choice of a backend, mirrors and timeouts.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use serde_json::Value;

use super::DataPlane;
use super::body::{Body, Timed, full, read_ahead, whole};
use super::filters::{self, Cors};
use super::http_server::{authority_of, plain};
use super::policy::{self, Peer};
use super::routes::Entry;
use crate::base::clock::Clock as _;
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::attach;

/// What of a body is kept so that a mirror gets it, too.
const MIRRORED: usize = 1024 * 1024;

/// Where a request came in.
#[derive(Clone, Copy)]
pub(super) struct Entrance<'a> {
    /// The gateway's pod.
    pub(super) pod: &'a Arc<Value>,
    pub(super) port: u16,
    pub(super) secure: bool,
}

/// The filters that `follow` knows.
const KNOWN: &[&str] = &[
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestRedirect",
    "RequestMirror",
    "URLRewrite",
    "CORS",
];

/// What a proxy answers, and whether an upstream said so or it itself.
pub(super) struct Outcome {
    pub(super) response: Response<Body>,
    pub(super) upstream: bool,
}

impl Outcome {
    /// An answer of the proxy's own.
    pub(super) fn local(status: StatusCode, text: &str) -> Self {
        Self { response: plain(status, text), upstream: false }
    }

    /// An upstream's answer.
    pub(super) fn of_upstream(response: Response<Body>) -> Self {
        Self { response, upstream: true }
    }
}

/// Applies a rule.
pub(super) async fn follow(
    plane: &Arc<DataPlane>,
    entrance: Entrance<'_>,
    entry: &Entry,
    request: Request<Body>,
) -> Outcome {
    let rule = entry.rule();
    let own = object::items(rule, "filters");
    for other in own.iter().filter_map(|filter| filter["type"].as_str()) {
        if !KNOWN.contains(&other) {
            plane.api.not_modelled(&format!("the HTTPRoute filter {other}"));
        }
    }
    let cors = filters::filter(own, "CORS", "cors");
    let origin = match cors.map_or(Cors::Nothing, |cors| filters::cors(cors, &request)) {
        Cors::Nothing => None,
        Cors::Admitted(origin) => Some(origin),
        Cors::Preflight(response) => return Outcome { response: *response, upstream: false },
    };
    let backend = choose(plane, entry);
    let mut outcome = match filters::filter(own, "RequestRedirect", "requestRedirect") {
        Some(redirect) => {
            let (port, secure) = (entrance.port, entrance.secure);
            let response = filters::redirect(redirect, entry, port, secure, &request);
            Outcome { response, upstream: false }
        }
        None => match backend {
            Some(backend) => to_backend(plane, entrance, entry, backend, request).await,
            None => Outcome::local(StatusCode::INTERNAL_SERVER_ERROR, ""),
        },
    };
    let of = |filters| filters::filter(filters, "ResponseHeaderModifier", "responseHeaderModifier");
    let of_backend = backend.and_then(|backend| of(object::items(backend, "filters")));
    let headers = outcome.response.headers_mut();
    filters::modify_both(headers, of(own), of_backend, is_only(entry));
    if let (Some(origin), Some(cors)) = (origin, cors) {
        filters::cors_answer(cors, origin, headers);
    }
    outcome
}

/// Whether a rule has one backend that is ever asked.
fn is_only(entry: &Entry) -> bool {
    let backends = object::items(entry.rule(), "backendRefs");
    backends.iter().filter(|backend| backend["weight"] != 0).count() <= 1
}

/// Sends a request to the backend that was chosen, changed as rule and backend ask.
async fn to_backend(
    plane: &Arc<DataPlane>,
    entrance: Entrance<'_>,
    entry: &Entry,
    backend: &Value,
    mut request: Request<Body>,
) -> Outcome {
    if attach::backend_problem(&*plane.api, &entry.route, backend).is_some() {
        return Outcome::local(StatusCode::INTERNAL_SERVER_ERROR, "");
    }
    let rule = entry.rule();
    let own = object::items(rule, "filters");
    let of = |filters| filters::filter(filters, "RequestHeaderModifier", "requestHeaderModifier");
    let (of_rule, of_backend) = (of(own), of(object::items(backend, "filters")));
    let place = Place::of(entry, backend);
    let operation = if is_only(entry) {
        let Place { namespace, name, port } = &place;
        format!("{name}.{namespace}.svc.cluster.local:{port}{}", entry.path.operation())
    } else {
        format!("{}:{}{}", entry.virtual_service, entrance.port, entry.path.operation())
    };
    let limit = limit(rule);
    let waits = limit.map(|limit| limit.as_millis().to_string());
    for (name, value) in [
        ("x-envoy-decorator-operation", Some(operation)),
        ("x-envoy-expected-rq-timeout-ms", waits),
    ] {
        if let Some(Ok(value)) = value.map(|value| HeaderValue::from_str(&value)) {
            request.headers_mut().insert(name, value);
        }
    }
    filters::modify_both(request.headers_mut(), of_rule, of_backend, is_only(entry));
    let rewrite = filters::filter(own, "URLRewrite", "urlRewrite");
    let host = rewrite
        .and_then(|rewrite| rewrite["hostname"].as_str().map(str::to_owned))
        .or_else(|| of_rule.and_then(filters::host_of_modifier))
        .or_else(|| of_backend.and_then(filters::host_of_modifier));
    if let Some(host) = host {
        if let Ok(original) = HeaderValue::from_str(&authority_of(&request)) {
            request.headers_mut().insert("x-envoy-original-host", original);
        }
        filters::set_host(&mut request, &host);
    }
    if let Some(rewrite) = rewrite {
        filters::rewrite_path(rewrite, entry, &mut request);
    }
    let mirrors: Vec<&Value> = own
        .iter()
        .filter(|filter| filter["type"] == "RequestMirror")
        .map(|filter| &filter["requestMirror"])
        .collect();
    let request = mirrored(plane, entrance.pod, entry, &mirrors, request).await;
    timed(plane, limit, call(plane, entrance.pod, place, request)).await
}

/// The Service and port that a backend names.
#[derive(Clone, Debug)]
struct Place {
    namespace: String,
    name: String,
    port: u16,
}

impl Place {
    fn of(entry: &Entry, backend: &Value) -> Self {
        let own = object::namespace(&entry.route);
        Self {
            namespace: backend["namespace"].as_str().unwrap_or(own).to_owned(),
            name: backend["name"].as_str().unwrap_or_default().to_owned(),
            port: backend["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        }
    }
}

async fn call(
    plane: &Arc<DataPlane>,
    pod: &Arc<Value>,
    place: Place,
    request: Request<Body>,
) -> Outcome {
    let caller = Peer {
        identity: Some(policy::identity(pod)),
        address: pod["status"]["podIP"].as_str().unwrap_or_default().to_owned(),
    };
    plane.call_service(&caller, pod, (&place.namespace, &place.name), place.port, request).await
}

/// `timeouts.request` and `timeouts.backendRequest`: istiod sets the latter in the place of the former, and without
/// retries of the route's own there is but one.
fn limit(rule: &Value) -> Option<Duration> {
    let span = |field: &str| {
        let text = rule["timeouts"][field].as_str()?;
        crate::base::duration::parse(text).ok().filter(|span| *span > Duration::ZERO)
    };
    span("backendRequest").or_else(|| span("request"))
}

async fn timed(
    plane: &DataPlane,
    limit: Option<Duration>,
    work: impl Future<Output = Outcome>,
) -> Outcome {
    let Some(limit) = limit else { return work.await };
    let clock = plane.api.clock();
    let began = clock.monotonic();
    tokio::select! {
        biased;
        outcome = work => {
            let left = limit.saturating_sub(clock.monotonic().saturating_sub(began));
            let response = outcome.response.map(|body| Timed::wrap(body, clock.event_in(left)));
            Outcome { response, ..outcome }
        }
        () = clock.event_in(limit) => {
            Outcome::local(StatusCode::GATEWAY_TIMEOUT, "upstream request timeout")
        }
    }
}

/// A backend by weight: the shares come out exactly, spread evenly over the requests.
fn choose<'a>(plane: &DataPlane, entry: &'a Entry) -> Option<&'a Value> {
    let backends = object::items(entry.rule(), "backendRefs");
    let weight = |backend: &Value| backend["weight"].as_u64().unwrap_or(1);
    let total: u64 = backends.iter().map(weight).sum();
    if total == 0 {
        return None;
    }
    if backends.len() == 1 {
        return backends.first();
    }
    // A stride that shares no factor with the total visits every slot once per round.
    let turn = plane.next_turn(object::uid(&entry.route), entry.rule);
    let mut stride = (total * 618 / 1_000).max(1);
    while gcd(stride, total) != 1 {
        stride += 1;
    }
    let mut slot = turn.wrapping_mul(stride) % total;
    backends.iter().find(|backend| {
        let own = weight(backend);
        let found = slot < own;
        slot = slot.saturating_sub(own);
        found
    })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Sends copies of the request to other backends, whose answers nobody reads, and gives the request back. What a mirror
/// gets of a long body is its beginning.
async fn mirrored(
    plane: &Arc<DataPlane>,
    pod: &Arc<Value>,
    entry: &Entry,
    mirrors: &[&Value],
    request: Request<Body>,
) -> Request<Body> {
    let wanted: Vec<Value> = mirrors
        .iter()
        .filter(|mirror| {
            attach::backend_problem(&*plane.api, &entry.route, &mirror["backendRef"]).is_none()
                && is_drawn(plane, mirror)
        })
        .map(|mirror| mirror["backendRef"].clone())
        .collect();
    if wanted.is_empty() {
        return request;
    }
    let (parts, body) = request.into_parts();
    let (begin, _, body) = read_ahead(body, MIRRORED).await;
    for backend in wanted {
        let mut copy = Request::builder()
            .method(parts.method.clone())
            .uri(parts.uri.clone())
            .version(parts.version)
            .body(full(begin.clone()))
            .unwrap_or_else(|_| Request::new(full(begin.clone())));
        *copy.headers_mut() = shadow_headers(&parts.headers);
        let (plane, pod, place) = (Arc::clone(plane), Arc::clone(pod), Place::of(entry, &backend));
        tokio::spawn(async move {
            let answer = call(&plane, &pod, place, copy).await;
            // A backend that streams is read to its end, as Envoy does.
            let _ = whole(answer.response.into_body()).await;
        });
    }
    Request::from_parts(parts, body)
}

/// A mirrored request is no request to upgrade a connection.
fn shadow_headers(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    filters::strip_connection(&mut headers);
    headers
}

/// Whether a request is one of the share that is mirrored.
fn is_drawn(plane: &DataPlane, mirror: &Value) -> bool {
    let (numerator, denominator) = match (&mirror["percent"], &mirror["fraction"]) {
        (_, Value::Object(fraction)) => (
            fraction.get("numerator").and_then(Value::as_u64).unwrap_or(0),
            fraction.get("denominator").and_then(Value::as_u64).unwrap_or(100),
        ),
        (Value::Number(percent), _) => (percent.as_u64().unwrap_or(100), 100),
        _ => return true,
    };
    plane.draw() % denominator.max(1) < numerator
}
