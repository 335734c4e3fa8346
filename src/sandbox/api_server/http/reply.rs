//! How answers are written: JSON or YAML, whole or metadata only, failures as `Status`.

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::Value;

use crate::base::yaml;
use crate::sandbox::api::Status;
use crate::sandbox::api_server::kinds::Kind;
use crate::sandbox::api_server::{openapi_v2, status};

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;
pub(crate) type Reply = Response<Body>;

/// What a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Yaml,
    /// `as=PartialObjectMetadata` or `…List`.
    Metadata,
    /// `as=Table`
    Table,
    /// Aggregated discovery.
    Discovery,
}

/// The first form of the `Accept` header that we write; none of them is a 406.
pub(crate) fn accepted(headers: &HeaderMap) -> Result<Form, Status> {
    let header = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header.trim().is_empty() {
        return Ok(Form::Json);
    }
    for range in header.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<&str> = parts.collect();
        let kind = parameters.iter().find_map(|parameter| parameter.strip_prefix("as="));
        match (media, kind) {
            ("application/json", Some("PartialObjectMetadata" | "PartialObjectMetadataList")) => {
                return Ok(Form::Metadata);
            }
            ("application/json", Some("Table"))
                if parameters.contains(&"v=v1") || parameters.contains(&"v=v1beta1") =>
            {
                return Ok(Form::Table);
            }
            ("application/json", Some("APIGroupDiscoveryList")) if parameters.contains(&"v=v2") => {
                return Ok(Form::Discovery);
            }
            ("application/json", Some(_)) => {}
            ("application/json" | "*/*" | "text/plain", None) => {
                return Ok(Form::Json);
            }
            ("application/yaml" | "application/x-yaml" | "text/yaml", None) => {
                return Ok(Form::Yaml);
            }
            _ => {}
        }
    }
    Err(only_plain())
}

/// The refusal of a form that a document does not come in.
pub(crate) fn only_plain() -> Status {
    status::not_acceptable(
        "application/json, application/yaml, application/vnd.kubernetes.protobuf",
    )
}

/// As [`accepted`] for requests on objects: the refusal lists what there is, and metadata alone is asked for as a list
/// where the answer is one (`is_list`).
pub(crate) fn accepted_object(
    headers: &HeaderMap,
    kind: &Kind,
    is_list: bool,
) -> Result<Form, Status> {
    let watched = if is_list {
        ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        ""
    };
    let header = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = accepted(headers).map_err(|refused| {
        if header.contains("as=") {
            return refused;
        }
        let mut refused = status::not_acceptable("");
        refused.message = format!(
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf{watched}"
        );
        refused.details = serde_json::json!({});
        refused
    })?;
    let accept = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let asks_list = accept.contains("as=PartialObjectMetadataList");
    if form == Form::Metadata && asks_list != is_list && !accept.contains(',') {
        let list = if is_list { "List" } else { "" };
        let of = match kind.custom {
            Some(_) => format!("unstructured.Unstructured{list}"),
            None => format!("{}.{}{list}", kind.go_package(), kind.kind),
        };
        let (asked, what) = if is_list { ("", "a list") } else { ("List", "not a list") };
        let mut refused = status::not_acceptable("");
        refused.message = format!(
            "you requested PartialObjectMetadata{asked}, but the requested object is {what} (*{of})"
        );
        return Err(refused);
    }
    Ok(form)
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// An answer with a body in memory.
pub(crate) fn bytes(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(full(body));
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// The document of `/openapi/v2` in the form that was asked for; nothing but a 406 where that is none of both.
pub(crate) fn openapi_v2(headers: &HeaderMap, document: &Value) -> Reply {
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let header = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut ranges = header.split(',').map(|range| range.split(';').next().unwrap_or("").trim());
    let found = ranges.find_map(|media| match media {
        PROTOBUF | "application/com.github.proto-openapi.spec.v2@v1.0+protobuf" => Some(true),
        "" | "*/*" | "application/*" | "application/json" => Some(false),
        _ => None,
    });
    match found {
        Some(true) => bytes(200, PROTOBUF, openapi_v2::encode(document)),
        Some(false) => json(200, Form::Json, document),
        None => bytes(406, "text/plain; charset=utf-8", ""),
    }
}

/// JSON text, or the same as YAML where that was asked for.
pub(crate) fn json_text(code: u16, form: Form, text: Vec<u8>) -> Reply {
    match form {
        Form::Yaml => {
            let value: Value = serde_json::from_slice(&text).unwrap_or_default();
            bytes(code, "application/yaml", yaml::emit(&value))
        }
        Form::Discovery => bytes(
            code,
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            text,
        ),
        Form::Json | Form::Metadata | Form::Table => bytes(code, "application/json", text),
    }
}

pub(crate) fn json(code: u16, form: Form, value: &Value) -> Reply {
    let mut text = value.to_string().into_bytes();
    text.push(b'\n');
    json_text(code, form, text)
}

/// A stream of chunks.
pub(crate) fn stream(content_type: &'static str, chunks: BoxStream<'static, Bytes>) -> Reply {
    let frames = chunks.map(|chunk| Ok(Frame::data(chunk)));
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A refusal.
pub(crate) fn failure(refused: &Status) -> Reply {
    let mut reply = json(refused.code, Form::Json, &status::to_json(refused));
    let retry = refused.details.get("retryAfterSeconds").and_then(Value::as_u64);
    let retry = if refused.code == 429 { Some(retry.unwrap_or(1)) } else { retry };
    if let Some(seconds) = retry {
        reply.headers_mut().insert("retry-after", HeaderValue::from(seconds));
    }
    reply
}

/// A refusal that a rehearsal asked for. Without a message 429 is the plain text of a real server that is overloaded.
pub(crate) fn refused_by_fault(code: u16, message: &str, retry_after: Option<u64>) -> Reply {
    let mut reply = if code == 429 && message.is_empty() {
        let text = "Too many requests, please try again later.\n";
        bytes(429, "text/plain; charset=utf-8", text)
    } else {
        let known = StatusCode::from_u16(code).ok().and_then(|code| code.canonical_reason());
        let words = if message.is_empty() { known.unwrap_or("refused") } else { message };
        let refused = match code {
            500 => status::internal(words),
            _ => Status {
                code,
                reason: reason_of(code).to_owned(),
                message: words.to_owned(),
                details: Value::Null,
            },
        };
        failure(&refused)
    };
    if let Some(seconds) = retry_after {
        reply.headers_mut().insert("retry-after", HeaderValue::from(seconds));
    }
    reply
}

/// `metav1.StatusReason` of an HTTP status.
fn reason_of(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    }
}

/// `404 page not found`, for paths that are nothing.
pub(crate) fn no_page() -> Reply {
    bytes(404, "text/plain; charset=utf-8", "404 page not found\n")
}

/// Adds `Warning: 299 - "…"` headers.
pub(crate) fn warn(reply: &mut Reply, warnings: &[String]) {
    let mut seen: Vec<&String> = Vec::new();
    for warning in warnings {
        if seen.contains(&warning) {
            continue;
        }
        seen.push(warning);
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        let clean: String = quoted.chars().filter(|c| !c.is_control()).collect();
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{clean}\"")) {
            reply.headers_mut().append(HeaderName::from_static("warning"), value);
        }
    }
}

/// Kind, version and metadata of an object alone.
pub(crate) fn metadata_only(object: &Value) -> Value {
    serde_json::json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"]
    })
}
