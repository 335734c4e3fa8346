//! Bodies of requests: objects, patches and the options of a deletion, decoded with the API server's own complaints.

use bytes::Bytes;
use http::Request as HttpRequest;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::base::yaml;
use crate::sandbox::api::Status;
use crate::sandbox::api_server::json::{self as json_body, Body};
use crate::sandbox::api_server::kinds::Kind;
use crate::sandbox::api_server::verbs::patch::PatchType;
use crate::sandbox::api_server::{go_json, status};
use crate::sandbox::patch::DEEPEST;
use crate::sandbox::proto;

/// The API server's limit for a request body.
const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// The media type of a request, and its body.
pub(super) async fn raw(request: HttpRequest<Incoming>) -> Result<(String, Bytes), Status> {
    let media = request
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_owned();
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await.map_err(|_| {
        status::too_large(&format!("Request entity too large: limit is {MAX_BODY_BYTES}"))
    })?;
    Ok((media, body.to_bytes()))
}

/// How many bytes of a body a complaint shows.
const SHOWN: usize = 30;

/// The object that a request carries, in the kind of its path.
///
/// # Errors
/// What is no object of JSON, YAML or protobuf, in the server's words.
pub(super) async fn object(kind: &Kind, request: HttpRequest<Incoming>) -> Result<Body, Status> {
    let (media, text) = raw(request).await?;
    let refused = |why: String| {
        let start = match text.first() {
            None => "<empty>".to_owned(),
            Some(b'{') => String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned(),
            Some(_) => hex::encode(&text[..text.len().min(SHOWN)]),
        };
        let dots = if text.len() > SHOWN { " ..." } else { "" };
        status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({start}{dots})",
            kind.kind
        ))
    };
    let unrecognized =
        |why: String| refused(format!("couldn't get version/kind; json parse error: {why}"));
    let body = match media.as_str() {
        "" | "application/json" => {
            let mut body = json_body::parse(&text)
                .map_err(|error| unrecognized(go_json_error(&text, &error)))?;
            body.text = text.clone();
            body
        }
        "application/yaml" | "application/x-yaml" | "text/yaml" => {
            let utf8 = std::str::from_utf8(&text)
                .map_err(|_| status::bad_request("the body is not UTF-8"))?;
            let (value, duplicates) =
                yaml::parse_within(utf8, DEEPEST).map_err(|error| refused(error.bare_go_text()))?;
            Body { value, duplicates, text: Bytes::new() }
        }
        media if proto::is_protobuf(media) => {
            let value =
                proto::decode(&text).map_err(|error| status::bad_request(error.to_string()))?;
            Body { value, duplicates: Vec::new(), text: Bytes::new() }
        }
        _ => {
            return Err(status::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
                    .to_owned(),
            ));
        }
    };
    // Nothing decodes into an object with nothing in it.
    let body = if body.value.is_null() { Body { value: json!({}), ..body } } else { body };
    let body = body.storable()?;
    if !body.value.is_object() {
        let found = match &body.value {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) | Value::Null | Value::Object(_) => "bool",
        };
        return Err(unrecognized(format!(
            "json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        )));
    }
    // Custom objects have no Go type that would stand in for a kind that is not named.
    if kind.custom.is_some() && body.value["kind"].is_null() {
        let shown = String::from_utf8_lossy(&text);
        return Err(status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{shown}' ({}{})",
            kind.kind,
            &shown.chars().take(SHOWN).collect::<String>(),
            if shown.len() > SHOWN { " ..." } else { "" }
        )));
    }
    for field in ["apiVersion", "kind"] {
        let found = match &body.value[field] {
            Value::Null | Value::String(_) => continue,
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        return Err(unrecognized(format!(
            "json: cannot unmarshal {found} into Go struct field .{field} of type string"
        )));
    }
    Ok(body)
}

fn go_json_error(text: &[u8], error: &serde_json::Error) -> String {
    go_json::syntax_error(text).unwrap_or_else(|| error.to_string())
}

/// A body that may leave out `apiVersion` and `kind`, as the server's decoder allows for the kind of the path.
pub(super) fn with_kind(kind: &Kind, mut body: Body) -> Body {
    if let Some(fields) = body.value.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| kind.api_version().into());
        fields.entry("kind").or_insert_with(|| kind.kind.clone().into());
    }
    body
}

/// A patch and how it is to be laid upon its object.
pub(super) struct Patch {
    pub(super) patch_type: PatchType,
    pub(super) body: Body,
}

/// The patch that a request carries.
///
/// # Errors
/// Forms of patches that the kind does not take, and bodies that are none.
pub(super) async fn patch(kind: &Kind, request: HttpRequest<Incoming>) -> Result<Patch, Status> {
    let (media, text) = raw(request).await?;
    let custom = kind.custom.is_some();
    let known =
        PatchType::of(&media).filter(|patch_type| !(custom && *patch_type == PatchType::Strategic));
    let Some(patch_type) = known else {
        if !custom && PatchType::of(&media).is_none() {
            let mut refused =
                status::unsupported_media_type("415: Unsupported Media Type".to_owned());
            refused.details = json!({});
            return Err(refused);
        }
        return Err(status::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            PatchType::accepted(custom)
        )));
    };
    let body = if patch_type == PatchType::Apply {
        // YAML includes JSON, but JSON is what nearly everybody sends.
        match json_body::parse(&text) {
            Ok(body) => body,
            Err(_) => {
                let text = std::str::from_utf8(&text)
                    .map_err(|_| status::bad_request("the body is not UTF-8"))?;
                let (value, _) = yaml::parse_within(text, DEEPEST).map_err(|error| {
                    status::bad_request(format!("error decoding YAML: {error}"))
                })?;
                Body { value, duplicates: Vec::new(), text: Bytes::new() }
            }
        }
    } else {
        let prefix = if patch_type == PatchType::Strategic { "" } else { "error decoding patch: " };
        let mut body = json_body::parse(&text).map_err(|error| {
            status::bad_request(format!("{prefix}{}", go_json_error(&text, &error)))
        })?;
        if patch_type == PatchType::Strategic && body.value.is_null() {
            // Nothing decodes into a patch that changes nothing.
            body.value = json!({});
        }
        body
    };
    if patch_type == PatchType::Apply && !body.value.is_object() {
        return Err(status::bad_request("error decoding YAML: an object is expected"));
    }
    Ok(Patch { patch_type, body: body.storable()? })
}

/// The body of a deletion; null without one.
pub(super) fn delete_options(media: &str, text: &[u8]) -> Result<Value, Status> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    if proto::is_protobuf(media) {
        return proto::decode(text).map_err(|error| status::bad_request(error.to_string()));
    }
    let body = json_body::parse(text).map_err(|error| {
        let why = go_json_error(text, &error);
        status::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
    })?;
    let text = |field: &str| body.value[field].as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if !matches!(kind.as_str(), "" | "DeleteOptions") {
        return Err(status::bad_request(format!(
            "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\""
        )));
    }
    Ok(body.value)
}
