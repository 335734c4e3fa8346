//! One request to the API server: built, counted, bounded in time, repeated where that is safe.
//!
//! Repeated are answers that ask for it (429, 503 with `Retry-After`), lost connections and server errors of requests
//! that may run twice (reads, server-side apply, deletes); never a create whose fate is unknown.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::core::Status;
use serde_json::Value;

use super::cluster::Cluster;
use super::error::{Error, is_typed_patch_failure};
use crate::base::clock;

/// Attempts for a request that the server asks to repeat.
const PATIENCE: u32 = 10;
/// Attempts for a request whose connection was lost or whose answer was a server error.
const ATTEMPTS: u32 = 5;
/// The longest pause that a server can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A request, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: Method,
    path: String,
    query: String,
    body: Bytes,
    content_type: Option<&'static str>,
    accept: &'static str,
    /// What it does, to stand after `cannot`: `list pods in namespace sample`.
    action: String,
    /// Running it twice does what running it once does.
    idempotent: bool,
    attempts: u32,
}

/// A successful answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) value: Value,
}

impl Request {
    fn new(method: Method, path: &str, action: impl Into<String>, idempotent: bool) -> Self {
        Self {
            method,
            path: path.to_owned(),
            query: String::new(),
            body: Bytes::new(),
            content_type: None,
            accept: "application/json",
            action: action.into(),
            idempotent,
            attempts: ATTEMPTS,
        }
    }

    /// What a read asks for, if its answer is small enough to be kept: not a whole collection.
    fn narrow_read(&self) -> Option<String> {
        let whole = self.query.contains("limit=") && !self.query.contains("Selector=");
        (self.method == Method::GET && !whole).then(|| format!("{}?{}", self.path, self.query))
    }

    pub(super) fn get(path: &str, action: impl Into<String>) -> Self {
        Self::new(Method::GET, path, action, true)
    }

    /// A create: sent again only if it cannot have arrived.
    pub(super) fn post(path: &str, action: impl Into<String>, body: &Value) -> Self {
        let mut request = Self::new(Method::POST, path, action, false);
        request.body = to_bytes(body);
        request.content_type = Some("application/json");
        request
    }

    /// A replace; the object's resource version makes it safe to repeat.
    pub(super) fn put(path: &str, action: impl Into<String>, body: &Value) -> Self {
        let mut request = Self::new(Method::PUT, path, action, true);
        request.body = to_bytes(body);
        request.content_type = Some("application/json");
        request
    }

    pub(super) fn patch(
        path: &str,
        action: impl Into<String>,
        content_type: &'static str,
        body: &Value,
    ) -> Self {
        // A JSON patch may add to a list; the others set what they say.
        let idempotent = content_type != "application/json-patch+json";
        let mut request = Self::new(Method::PATCH, path, action, idempotent);
        request.body = to_bytes(body);
        request.content_type = Some(content_type);
        request
    }

    pub(super) fn delete(path: &str, action: impl Into<String>, options: &Value) -> Self {
        let mut request = Self::new(Method::DELETE, path, action, true);
        request.body = to_bytes(options);
        request.content_type = Some("application/json");
        request
    }

    /// Adds a query parameter; one with an empty value is left out.
    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            if !self.query.is_empty() {
                self.query.push('&');
            }
            self.query.push_str(name);
            self.query.push('=');
            escape(value, "", &mut self.query);
        }
        self
    }

    pub(super) fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    /// Is not repeated.
    pub(super) fn once(mut self) -> Self {
        self.attempts = 1;
        self
    }

    /// A dry run writes nothing.
    fn writes(&self) -> bool {
        self.method != Method::GET
            && !self.query.contains("dryRun=All")
            && !self.path.ends_with("accessreviews")
    }

    fn build(&self) -> Result<http::Request<Body>, Error> {
        let uri = if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query)
        };
        let mut builder = http::Request::builder()
            .method(self.method.clone())
            .uri(uri)
            .header(http::header::USER_AGENT, concat!("meshscript/", env!("CARGO_PKG_VERSION")))
            .header(http::header::ACCEPT, self.accept);
        if let Some(content_type) = self.content_type {
            builder = builder.header(http::header::CONTENT_TYPE, content_type);
        }
        builder.body(Body::from(self.body.clone())).map_err(|error| Error::InvalidInput {
            reason: format!("cannot {}: {error}", self.action),
            hint: None,
        })
    }
}

fn to_bytes(value: &Value) -> Bytes {
    if value.is_null() { Bytes::new() } else { Bytes::from(value.to_string()) }
}

/// Percent-encodes everything but unreserved characters and `also`.
pub(super) fn escape(text: &str, also: &str, into: &mut String) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || (c.is_ascii() && also.contains(c)) {
            into.push(c);
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

/// How one attempt went wrong.
enum Failed {
    /// No connection was made: nothing arrived.
    Connect(String),
    /// The connection broke: it may have arrived.
    Lost(String),
    /// No answer in time: it may have arrived.
    Late,
    /// The server refused.
    Refused { status: Box<Status>, retry_after: Option<Duration> },
    /// It cannot even be sent, or the answer is no JSON.
    Broken(Error),
}

impl Cluster {
    /// Sends a request and reads its JSON answer.
    ///
    /// # Errors
    /// `Refused` with the server's `Status`, `Unreachable`, `RequestTimeout`.
    pub(super) async fn send(&self, request: &Request) -> Result<Answer, Error> {
        let question = request.narrow_read();
        if let Some(kept) = question.as_deref().and_then(|question| self.kept_answer(question)) {
            return Ok(Answer { status: 200, value: (*kept).clone() });
        }
        let mut attempt = 1;
        loop {
            let failed = match self.attempt(request).await {
                Ok(answer) => {
                    if let Some(question) = &question {
                        self.keep_answer(question, &answer.value);
                    }
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            match pause(&failed, request, attempt) {
                Some(pause) => {
                    tracing::debug!(attempt, ?pause, "will {} again", request.action);
                    self.clock().pause(pause).await;
                    attempt += 1;
                }
                None => return Err(self.give_up(failed, request)),
            }
        }
    }

    /// Opens a stream (watch, followed log); only what comes before the body is bounded in time.
    pub(super) async fn open(&self, request: &Request) -> Result<http::Response<Body>, Error> {
        let response = self.begin(request).await;
        response.map_err(|failed| self.give_up(failed, request))
    }

    async fn attempt(&self, request: &Request) -> Result<Answer, Failed> {
        // The semaphore is never closed; without a permit there is just no limit.
        let _permit = self.permits().acquire().await.ok();
        let work = async {
            let response = self.exchange(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await;
            let bytes = body.map_err(|error| Failed::Lost(innermost(&error)))?.to_bytes();
            let value = if bytes.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(&bytes).map_err(|error| {
                    Failed::Broken(Error::BadAnswer {
                        action: request.action.clone(),
                        reason: error.to_string(),
                    })
                })?
            };
            Ok(Answer { status, value })
        };
        clock::timeout(self.clock().as_ref(), self.request_timeout(), work)
            .await
            .unwrap_or(Err(Failed::Late))
    }

    async fn begin(&self, request: &Request) -> Result<http::Response<Body>, Failed> {
        clock::timeout(self.clock().as_ref(), self.request_timeout(), self.exchange(request))
            .await
            .unwrap_or(Err(Failed::Late))
    }

    async fn exchange(&self, request: &Request) -> Result<http::Response<Body>, Failed> {
        let http_request = request.build().map_err(Failed::Broken)?;
        self.counter().count(request.writes());
        let response = self.client().send(http_request).await.map_err(|error| classify(&error))?;
        self.tell_warnings(response.headers());
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let bytes = response.into_body().collect().await.map(|body| body.to_bytes());
        let bytes = bytes.map_err(|error| Failed::Lost(innermost(&error)))?;
        Err(Failed::Refused { status: Box::new(status_of(code, &bytes)), retry_after })
    }

    /// `Warning: 299 - "text"`
    fn tell_warnings(&self, headers: &HeaderMap) {
        for warning in headers.get_all(http::header::WARNING) {
            let text = String::from_utf8_lossy(warning.as_bytes());
            let quoted = text.find('"').zip(text.rfind('"')).filter(|(from, to)| from < to);
            if let Some((from, to)) = quoted {
                self.warn(&text[from + 1..to].replace("\\\"", "\""));
            }
        }
    }

    fn give_up(&self, failed: Failed, request: &Request) -> Error {
        match failed {
            Failed::Connect(reason) | Failed::Lost(reason) => {
                Error::Unreachable { server: self.info().server, reason }
            }
            Failed::Late => Error::RequestTimeout {
                action: request.action.clone(),
                limit: self.request_timeout(),
            },
            Failed::Refused { status, .. } => {
                Error::Refused { action: request.action.clone(), status }
            }
            Failed::Broken(error) => error,
        }
    }
}

/// How long to wait before the next attempt; `None` gives up.
fn pause(failed: &Failed, request: &Request, attempt: u32) -> Option<Duration> {
    if request.attempts == 1 {
        return None;
    }
    let back_off = Duration::from_millis(200 << attempt.min(5));
    match failed {
        Failed::Connect(_) => (attempt < request.attempts).then_some(back_off),
        Failed::Lost(_) => (request.idempotent && attempt < request.attempts).then_some(back_off),
        Failed::Late => (request.idempotent && attempt < 2).then_some(back_off),
        Failed::Refused { status, retry_after } => {
            let asked = retry_after.map(|span| span.min(LONGEST_PAUSE));
            match status.code {
                429 => (attempt < PATIENCE).then(|| asked.unwrap_or(back_off)),
                503 if asked.is_some() => (attempt < PATIENCE).then_some(asked).flatten(),
                500 if is_permanent(&status.message) => None,
                500 | 502 | 503 | 504 => {
                    (request.idempotent && attempt < request.attempts).then_some(back_off)
                }
                _ => None,
            }
        }
        Failed::Broken(_) => None,
    }
}

/// Server errors that come back however often one asks. A webhook that does not answer is the caller's to judge.
fn is_permanent(message: &str) -> bool {
    is_typed_patch_failure(message) || message.contains("webhook")
}

/// The `Status` of a refusal; plain text is wrapped into one.
fn status_of(code: u16, bytes: &[u8]) -> Status {
    match serde_json::from_slice::<Status>(bytes) {
        Ok(mut status) if !status.message.is_empty() || !status.reason.is_empty() => {
            status.code = code;
            status
        }
        _ => {
            let text = String::from_utf8_lossy(bytes);
            let text: String = text.trim().chars().take(500).collect();
            Status::failure(&text, "").with_code(code)
        }
    }
}

fn classify(error: &kube::Error) -> Failed {
    let reason = innermost(error);
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(error) = current.downcast_ref::<hyper_util::client::legacy::Error>()
            && error.is_connect()
        {
            return Failed::Connect(reason);
        }
        source = current.source();
    }
    Failed::Lost(reason)
}

/// The last link of a chain of errors says what really happened.
pub(super) fn innermost(error: &dyn StdError) -> String {
    let mut last = error.to_string();
    let mut source = error.source();
    while let Some(current) = source {
        let text = current.to_string();
        if !text.is_empty() {
            last = text;
        }
        source = current.source();
    }
    match last.find(" (os error") {
        Some(at) => last[..at].to_lowercase(),
        None => last,
    }
}
