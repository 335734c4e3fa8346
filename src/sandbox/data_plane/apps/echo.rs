//! The echo that stands in for a program that the sandbox does not know.

use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{Body, Call, authority_of, go_headers, protocol, typed};
use crate::sandbox::controllers::object;

/// What was asked, as JSON.
pub(super) fn respond<B>(call: &Call<'_>, request: &Request<B>) -> Response<Body> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let document = json!({
        "path": path,
        "host": authority_of(request),
        "method": request.method().as_str(),
        "proto": protocol(request),
        "headers": Value::Object(go_headers(request)),
        "namespace": object::namespace(call.pod),
        "ingress": "",
        "service": "",
        "pod": object::name(call.pod),
        "client": call.client,
    });
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    typed(StatusCode::OK, "application/json", text)
}
