//! Functions of the namespace `http`.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use rhai::{Array, Dynamic, Map};
use serde_json::Value;

use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::net::SharedDialer;
use crate::base::progress::Waiting;
use crate::base::suggest;
use crate::cert::Facts;
use crate::engine::call::Call;
use crate::engine::catalog::{Effect, Function, Kind, Param};
use crate::engine::convert::to_json;
use crate::http::error::Failure;
use crate::http::expect::{Expectation, StatusRange};
use crate::http::load::LoadOptions;
use crate::http::probe::{ProbeOptions, Probed};
use crate::http::request::Version;
use crate::http::response::TlsFacts;
use crate::http::tls::Trust;
use crate::http::{Client, HttpError, Request, Response, load, probe};

const URL: Param = Param::required("url", Kind::String, "an absolute `http` or `https` URL");
const RESPONSE: &str = "`#{ ok: bool, status: int, reason: string, version: string, headers: map, body: string, size: int, url: string, \
                        redirects: int, peer: string, timings: #{ lookup, connect, tls, first_byte, total: float }, tls: #{ version, \
                        cipher, alpn, sni: string, verified: bool, serial: string, chain: array } }`: `ok` is a status of 200 to 299; a header that \
                        came more than once is an array; `size` counts bytes; timings are in milliseconds; `peer` is what the connection \
                        led to; `tls` is `()` without TLS and its `chain` holds facts as of `cert::parse`, leaf first";
const ERRORS: &str = "`Unreachable` when no response came (refused, reset, empty reply, unknown name, no TLS), `Timeout` with the phase, \
                      `Invalid` for a server that is not trusted, with the facts of its certificate; a status such as 404 is not an error.";

const HEADERS: Param = Param::optional(
    "headers",
    Kind::Map,
    "#{}",
    "headers by name: a string or an array of strings",
);
const HOST: Param = Param::optional(
    "host",
    Kind::String,
    "that of the URL",
    "the `Host` header or `:authority`, and without `sni` the name in TLS",
);
const SNI: Param = Param::optional(
    "sni",
    Kind::String,
    "`host`",
    "the name asked for in TLS and verified; `\"\"` sends none",
);
const RESOLVE: Param = Param::optional(
    "resolve",
    Kind::Map,
    "#{}",
    "addresses for `\"host:port\"` or `\"host\"`, as `curl --resolve`",
);
const VIA: Param = Param::optional(
    "via",
    Kind::Any,
    "the network",
    "a port-forward of `k8s::port_forward` that carries the connection",
);
const CA: Param = Param::optional(
    "ca",
    Kind::Any,
    "the machine's",
    "the only authorities trusted: PEM text or a certificate of `cert`",
);
const INSECURE: Param =
    Param::optional("insecure", Kind::Bool, "false", "whether any certificate is accepted");
const CERTIFICATE: Param = Param::optional(
    "certificate",
    Kind::Any,
    "none",
    "the client's certificate with its key, as of `cert::issue`",
);
const HTTP: Param = Param::optional(
    "http",
    Kind::String,
    "\"auto\"",
    "`1.1`, `2`, or `auto`: as the server chooses",
);
const REDIRECTS: Param =
    Param::optional("redirects", Kind::Int, "0", "how many redirects are followed");
const TIMEOUT: Param = Param::optional(
    "timeout",
    Kind::Duration,
    "\"30s\"",
    "the limit from the look-up to the end of the body",
);
const BODY: Param = Param::optional("body", Kind::String, "none", "the body");
const JSON: Param = Param::optional(
    "json",
    Kind::Any,
    "none",
    "data to send as JSON, with its content type, instead of `body`",
);
const METHOD: Param = Param::optional("method", Kind::String, "\"GET\"", "the method");

/// The rows.
pub static FUNCTIONS: &[Function] = &[
    Function {
        module: "http",
        name: "get",
        doc: "Sends a GET request and returns the response.\n\nOne connection, no retry, no proxy, redirects only when asked for.",
        params: &[URL],
        options: &[
            HEADERS,
            HOST,
            SNI,
            RESOLVE,
            VIA,
            CA,
            INSECURE,
            CERTIFICATE,
            HTTP,
            REDIRECTS,
            TIMEOUT,
        ],
        returns: RESPONSE,
        errors: ERRORS,
        effect: Effect::Read,
        example: "let answer = attempt(|| http::get(\"http://192.0.2.1/\", #{ host: \"shop.example.com\", timeout: \"2s\" }));\nif answer.ok { answer.value.status } else { answer.error.kind }",
        run: get,
    },
    Function {
        module: "http",
        name: "head",
        doc: "Sends a HEAD request and returns the response, which has no body.",
        params: &[URL],
        options: &[
            HEADERS,
            HOST,
            SNI,
            RESOLVE,
            VIA,
            CA,
            INSECURE,
            CERTIFICATE,
            HTTP,
            REDIRECTS,
            TIMEOUT,
        ],
        returns: "as of `http::get`",
        errors: ERRORS,
        effect: Effect::Read,
        example: "attempt(|| http::head(\"http://192.0.2.1/\", #{ timeout: \"2s\" })).error.kind == \"Unreachable\"",
        run: head,
    },
    Function {
        module: "http",
        name: "post",
        doc: "Sends a POST request and returns the response.",
        params: &[URL],
        options: &[
            BODY,
            JSON,
            HEADERS,
            HOST,
            SNI,
            RESOLVE,
            VIA,
            CA,
            INSECURE,
            CERTIFICATE,
            HTTP,
            REDIRECTS,
            TIMEOUT,
        ],
        returns: "as of `http::get`",
        errors: ERRORS,
        effect: Effect::Write,
        example: "attempt(|| http::post(\"http://192.0.2.1/post\", #{ json: #{ name: \"shop\" }, timeout: \"2s\" })).error.kind == \"Unreachable\"",
        run: post,
    },
    Function {
        module: "http",
        name: "request",
        doc: "Sends a request with any method and returns the response.",
        params: &[URL],
        options: &[
            METHOD,
            BODY,
            JSON,
            HEADERS,
            HOST,
            SNI,
            RESOLVE,
            VIA,
            CA,
            INSECURE,
            CERTIFICATE,
            HTTP,
            REDIRECTS,
            TIMEOUT,
        ],
        returns: "as of `http::get`",
        errors: ERRORS,
        effect: Effect::Write,
        example: "attempt(|| http::request(\"http://192.0.2.1/\", #{ method: \"DELETE\", timeout: \"2s\" })).error.kind == \"Unreachable\"",
        run: request,
    },
    Function {
        module: "http",
        name: "probe",
        doc: "Asks again and again until the answer is the expected one, with growing pauses up to `interval`.\n\nEverything that is \
              named must hold; without any expectation a status of 200 to 299 is one. With `fails` the probe holds when the exchange fails in \
              one of these ways: `name`, `refused`, `unreachable`, `reset`, `empty`, `timeout`, `untrusted`, `tls`, `protocol`.",
        params: &[URL],
        options: &[
            Param::optional(
                "status",
                Kind::Any,
                "\"2xx\"",
                "a status such as `200`, `\"4xx\"`, `\"200-299\"`, or an array of them",
            ),
            Param::optional("contains", Kind::Strings, "none", "texts that the body holds"),
            Param::optional(
                "matches",
                Kind::String,
                "none",
                "a regular expression that the body matches",
            ),
            Param::optional(
                "has_headers",
                Kind::Map,
                "none",
                "texts that response headers hold, by name; `\"\"`: any value",
            ),
            Param::optional(
                "has_json",
                Kind::Map,
                "none",
                "values in the JSON of the body by path, as `#{ \"headers.X-Id\": \"7\" }`",
            ),
            Param::optional(
                "serial",
                Kind::String,
                "none",
                "the serial number of the server's certificate, in hex",
            ),
            Param::optional(
                "fails",
                Kind::Strings,
                "none",
                "the ways in which the exchange is to fail",
            ),
            Param::optional(
                "consecutive",
                Kind::Int,
                "1",
                "how many answers in a row must be as expected",
            ),
            Param::optional(
                "interval",
                Kind::Duration,
                "\"1s\"",
                "the longest pause between two attempts",
            ),
            Param::optional("timeout", Kind::Duration, "\"60s\"", "the limit of the whole probe"),
            Param::optional(
                "attempt_timeout",
                Kind::Duration,
                "\"5s\"",
                "the limit of one attempt",
            ),
            METHOD,
            BODY,
            JSON,
            HEADERS,
            HOST,
            SNI,
            RESOLVE,
            VIA,
            CA,
            INSECURE,
            CERTIFICATE,
            HTTP,
            REDIRECTS,
        ],
        returns: "as of `http::get`, with `attempts: int` and `waited: float` in seconds; with `fails` `#{ failed: string, reason: string, attempts, waited }`",
        errors: "`Timeout` with the last reason why it did not hold; `Argument` for an expectation that cannot be.",
        effect: Effect::Read,
        example: "http::probe(\"http://192.0.2.1/\", #{ fails: [\"refused\", \"unreachable\", \"timeout\", \"name\"], attempt_timeout: \"2s\" }).attempts",
        run: run_probe,
    },
    Function {
        module: "http",
        name: "load",
        doc: "Sends requests at a fixed rate and reports latencies and losses.\n\nThe rate does not follow the server: a latency counts from the \
              time at which its request was due, also when it could not be sent in time. Connections are kept open.",
        params: &[URL],
        options: &[
            Param::optional("rate", Kind::Float, "10", "requests per second"),
            Param::optional("duration", Kind::Duration, "\"10s\"", "how long"),
            Param::optional(
                "concurrency",
                Kind::Int,
                "32",
                "how many requests may be out at a time",
            ),
            METHOD,
            BODY,
            JSON,
            HEADERS,
            HOST,
            SNI,
            RESOLVE,
            VIA,
            CA,
            INSECURE,
            CERTIFICATE,
            HTTP,
            Param::optional("timeout", Kind::Duration, "\"30s\"", "the limit of one request"),
        ],
        returns: "`#{ sent, answered, lost: int, statuses: map, losses: map, reasons: map, p50, p90, p99, max, lag: float, rate: float, \
                  connections: int }`: statuses and losses are counts by status and by the words of `http::probe`, `reasons` one example of each loss; \
                  latencies in milliseconds; `lag` says how late the latest request was sent: above a few, raise `concurrency`",
        errors: "`Argument` for a rate or duration that is not possible; losses are not an error.",
        effect: Effect::Write,
        example: "http::load(\"http://192.0.2.1/\", #{ rate: 5, duration: \"1s\", timeout: \"1s\" }).sent",
        run: run_load,
    },
];

fn get(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    send(call, Method::GET)
}

fn head(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    send(call, Method::HEAD)
}

fn post(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    send(call, Method::POST)
}

fn request(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    send(call, method(call)?)
}

fn send(call: &Call<'_>, method: Method) -> Result<Dynamic, Diagnostic> {
    let request = build(call, method, "timeout")?;
    let client = client(call)?;
    let response = call.block_on(client.send(&request))?;
    Ok(response_map(&response)?.into())
}

fn run_probe(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let mut request = build(call, method(call)?, "attempt_timeout")?;
    if !call.given("attempt_timeout") {
        request.timeout = Duration::from_secs(5);
    }
    let default = ProbeOptions::default();
    let options = ProbeOptions {
        expectation: expectation(call)?,
        consecutive: count(call, "consecutive", default.consecutive)?,
        interval: call.duration("interval").unwrap_or(default.interval),
        timeout: call.duration("timeout").unwrap_or(default.timeout),
    };
    let client = client(call)?;
    let progress = &call.host.progress;
    let what = format!("{} to answer as expected", request.url);
    let began = client.clock.monotonic();
    let watch = |reason: &str| {
        let since = client.clock.monotonic().saturating_sub(began);
        progress.waiting(&Waiting { what: what.clone(), reason: reason.to_owned(), since });
    };
    let probed = call.block_on(probe::probe(&client, &request, &options, &watch));
    progress.waited(&what);
    let probed = probed?;
    Ok(probed_map(&probed)?.into())
}

fn run_load(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let request = build(call, method(call)?, "timeout")?;
    let options = LoadOptions {
        rate: call.float("rate").unwrap_or(10.0),
        duration: call.duration("duration").unwrap_or(Duration::from_secs(10)),
        concurrency: count(call, "concurrency", 32)? as usize,
    };
    let client = client(call)?;
    let report = call.block_on(load::load(&client, &request, &options))?;
    let mut map = Map::new();
    let mut int = |name: &str, value: u64| map.insert(name.into(), whole(value));
    int("sent", report.sent);
    int("answered", report.answered);
    int("lost", report.losses());
    int("connections", report.connections);
    let statuses: Map =
        report.statuses.iter().map(|(status, n)| (status.to_string().into(), whole(*n))).collect();
    let losses: Map = report.lost.iter().map(|(name, n)| ((*name).into(), whole(*n))).collect();
    let reasons: Map =
        report.reasons.iter().map(|(name, text)| ((*name).into(), text.clone().into())).collect();
    map.insert("statuses".into(), statuses.into());
    map.insert("losses".into(), losses.into());
    map.insert("reasons".into(), reasons.into());
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
        map.insert(name.into(), milliseconds(report.percentile(share)));
    }
    map.insert("lag".into(), milliseconds(report.lag));
    map.insert("rate".into(), options.rate.into());
    Ok(map.into())
}

/// The client of a call: over the target's world, or through a port-forward.
fn client(call: &Call<'_>) -> Result<Client, Diagnostic> {
    let dialer = match call.value("via") {
        Some(via) => dialer_of(via).ok_or_else(|| {
            Diagnostic::new(ErrorKind::Argument, "`via` is not a port-forward")
                .hint("give what `k8s::port_forward` returned")
        })?,
        None => call.host.dialer()?,
    };
    Ok(Client { dialer, clock: call.host.clock()? })
}

/// The dialer that a value is or holds.
fn dialer_of(value: &Dynamic) -> Option<SharedDialer> {
    if let Some(dialer) = value.clone().try_cast::<SharedDialer>() {
        return Some(dialer);
    }
    let map = value.read_lock::<Map>()?;
    map.values().find_map(|entry| entry.clone().try_cast::<SharedDialer>())
}

fn build(call: &Call<'_>, method: Method, timeout: &str) -> Result<Request, Diagnostic> {
    let mut request =
        Request::new(method, call.string("url").parse::<crate::http::request::Url>()?);
    let takes = |name: &str| call.function.options.iter().any(|option| option.name == name);
    for (name, value) in entries(call, "headers") {
        let values = match value.clone().into_array() {
            Ok(values) => values,
            Err(_) => vec![value],
        };
        for value in values {
            request.header(&name, &header_value(call, &value))?;
        }
    }
    if takes("body") {
        request.body = body(call, &mut request)?;
    }
    request.host = call.opt_string("host");
    request.sni = call.opt_string("sni");
    request.resolve = entries(call, "resolve")
        .into_iter()
        .map(|(name, value)| (name.to_lowercase(), value.to_string()))
        .collect();
    request.trust = match call.value("ca") {
        _ if call.flag("insecure") => Trust::Anybody,
        Some(value) => Trust::Only(super::cert::trusted(call, value, "ca")?),
        None => Trust::System,
    };
    request.identity = call
        .value("certificate")
        .map(|value| super::cert::credential(call, value, "certificate"))
        .transpose()?;
    request.version = match call.opt_string("http").as_deref() {
        None | Some("auto") => Version::Auto,
        Some("1.1" | "1") => Version::Http1,
        Some("2") => Version::Http2,
        Some(other) => {
            return Err(Diagnostic::new(
                ErrorKind::Argument,
                format!("`http` is `{other}`: use `1.1`, `2` or `auto`"),
            ));
        }
    };
    if takes("redirects") {
        request.redirects = count(call, "redirects", 0)?;
    }
    if let Some(limit) = call.duration(timeout) {
        request.timeout = limit;
    }
    Ok(request)
}

/// A header's value. A secret such as a token goes out as its text.
fn header_value(call: &Call<'_>, value: &Dynamic) -> String {
    match value.clone().try_cast::<crate::base::secret::Secret>() {
        Some(secret) => {
            call.host.redactor.learn(secret.reveal());
            secret.reveal().to_owned()
        }
        None => value.to_string(),
    }
}

fn body(call: &Call<'_>, request: &mut Request) -> Result<Bytes, Diagnostic> {
    if !call.given("json") {
        return Ok(Bytes::from(call.string("body")));
    }
    if call.given("body") {
        return Err(Diagnostic::new(ErrorKind::Argument, "`body` and `json` exclude each other"));
    }
    if !request.headers.contains_key(http::header::CONTENT_TYPE) {
        request.header("content-type", "application/json")?;
    }
    Ok(Bytes::from(call.json("json")?.to_string()))
}

fn method(call: &Call<'_>) -> Result<Method, Diagnostic> {
    let text = call.opt_string("method").unwrap_or_else(|| "GET".to_owned());
    text.to_uppercase().parse().map_err(|_| {
        Diagnostic::new(ErrorKind::Argument, format!("`{text}` cannot be the method of a request"))
    })
}

fn expectation(call: &Call<'_>) -> Result<Expectation, Diagnostic> {
    let statuses = match call.value("status") {
        None => Vec::new(),
        Some(value) => value.clone().into_array().unwrap_or_default(),
    };
    let status = match call.value("status") {
        Some(value) if !value.is_array() => vec![value.to_string().parse::<StatusRange>()?],
        _ => statuses
            .iter()
            .map(|value| value.to_string().parse())
            .collect::<Result<_, HttpError>>()?,
    };
    let pattern = |text: String| {
        regex::Regex::new(&text).map_err(|error| {
            Diagnostic::new(ErrorKind::Argument, "`matches` is not a regular expression")
                .cause(error.to_string())
        })
    };
    let json = |(path, value): (String, Dynamic)| -> Result<(String, Value), Diagnostic> {
        let value = to_json(&value, &format!("has_json.{path}"))?;
        Ok((path, value))
    };
    Ok(Expectation {
        status,
        contains: call.strings("contains"),
        matches: call.opt_string("matches").map(pattern).transpose()?,
        headers: entries(call, "has_headers")
            .into_iter()
            .map(|(name, value)| (name.to_lowercase(), value.to_string()))
            .collect(),
        json: entries(call, "has_json").into_iter().map(json).collect::<Result<_, _>>()?,
        serial: call.opt_string("serial"),
        fails: call.strings("fails").iter().map(|name| failure(name)).collect::<Result<_, _>>()?,
    })
}

fn failure(name: &str) -> Result<Failure, Diagnostic> {
    let names = || Failure::ALL.into_iter().map(Failure::name);
    Failure::ALL.into_iter().find(|failure| failure.name() == name).ok_or_else(|| {
        let known: Vec<&str> = names().collect();
        let diagnostic = Diagnostic::new(
            ErrorKind::Argument,
            format!("`{name}` is not a way to fail: use {}", known.join(", ")),
        );
        match suggest::near(name, names()) {
            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
            None => diagnostic,
        }
    })
}

fn entries(call: &Call<'_>, name: &str) -> Vec<(String, Dynamic)> {
    call.value(name)
        .and_then(|value| value.clone().try_cast::<Map>())
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect()
}

fn count(call: &Call<'_>, name: &str, default: u32) -> Result<u32, Diagnostic> {
    match call.int(name) {
        None => Ok(default),
        Some(given) => u32::try_from(given).map_err(|_| {
            Diagnostic::new(
                ErrorKind::Argument,
                format!("`{name}` is {given}: it cannot be negative"),
            )
        }),
    }
}

fn probed_map(probed: &Probed) -> Result<Map, Diagnostic> {
    let mut map = match &probed.outcome {
        Ok(response) => response_map(response)?,
        Err(error) => {
            let failed = error.failure().map_or("", Failure::name);
            let mut map = Map::new();
            map.insert("failed".into(), failed.into());
            map.insert("reason".into(), error.to_string().into());
            map
        }
    };
    map.insert("attempts".into(), i64::from(probed.attempts).into());
    map.insert("waited".into(), probed.waited.as_secs_f64().into());
    Ok(map)
}

fn response_map(response: &Response) -> Result<Map, Diagnostic> {
    let mut map = Map::new();
    let mut set = |name: &str, value: Dynamic| map.insert(name.into(), value);
    set("ok", response.status.is_success().into());
    set("status", i64::from(response.status.as_u16()).into());
    set("reason", response.status.canonical_reason().unwrap_or_default().into());
    set("version", version(response.version).into());
    set("headers", headers(response).into());
    set("body", String::from_utf8_lossy(&response.body).into_owned().into());
    set("size", whole(response.body.len() as u64));
    set("url", response.url.to_string().into());
    set("redirects", i64::from(response.redirects).into());
    set("peer", response.peer.clone().into());
    let timings: Map = [
        ("lookup", response.timings.lookup),
        ("connect", response.timings.connect),
        ("tls", response.timings.handshake),
        ("first_byte", response.timings.first_byte),
        ("total", response.timings.total),
    ]
    .into_iter()
    .map(|(name, span)| (name.into(), milliseconds(span)))
    .collect();
    set("timings", timings.into());
    set("tls", response.tls.as_ref().map(tls_map).transpose()?.map_or(Dynamic::UNIT, Into::into));
    Ok(map)
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn headers(response: &Response) -> Map {
    response
        .headers
        .keys()
        .map(|name| {
            let mut values: Array = response
                .headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned().into())
                .collect();
            let value = if values.len() == 1 { values.remove(0) } else { values.into() };
            (name.as_str().into(), value)
        })
        .collect()
}

fn tls_map(tls: &TlsFacts) -> Result<Map, Diagnostic> {
    let facts = tls.chain.iter().map(Facts::of).collect::<Result<Vec<_>, _>>()?;
    let serial = facts.first().map(|facts| facts.serial.clone()).unwrap_or_default();
    let chain: Array = facts.iter().map(|facts| super::cert::facts_map(facts).into()).collect();
    let mut map = Map::new();
    for (name, text) in
        [("version", &tls.version), ("cipher", &tls.cipher), ("alpn", &tls.alpn), ("sni", &tls.sni)]
    {
        map.insert(name.into(), text.clone().into());
    }
    map.insert("verified".into(), tls.verified.into());
    map.insert("serial".into(), serial.into());
    map.insert("chain".into(), chain.into());
    Ok(map)
}

fn milliseconds(span: Duration) -> Dynamic {
    (span.as_secs_f64() * 1_000.0).into()
}

fn whole(value: u64) -> Dynamic {
    i64::try_from(value).unwrap_or(i64::MAX).into()
}
