//! The gRPC server of echo-basic: `Echo` and `EchoTwo` answer with what they were asked.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;

use super::super::body::{self, Body, BodyError};
use super::{Call, authority_of};

const SERVICE: &str = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/";

/// What the server answers to a call.
pub(super) async fn respond(
    call: &Call<'_>,
    environment: &BTreeMap<String, String>,
    request: Request<Body>,
) -> Response<Body> {
    let method = request.uri().path().to_owned();
    let headers = fields(&request);
    let authority = authority_of(&request);
    // A unary call is answered when its message is there.
    let _ = body::whole(request.into_body()).await;
    let rpc = method.strip_prefix(SERVICE);
    if !matches!(rpc, Some("Echo" | "EchoTwo")) {
        let why = match rpc {
            Some("EchoThree") => "method EchoThree not implemented".to_owned(),
            Some(other) => {
                format!("unknown method {other} for service {}", SERVICE.trim_matches('/'))
            }
            None => format!(
                "unknown service {}",
                method.trim_start_matches('/').rsplit_once('/').map_or("", |(service, _)| service)
            ),
        };
        return status(12, &why);
    }
    let of = |name: &str| environment.get(name).cloned().unwrap_or_default();
    let context = message(&[
        (1, of("NAMESPACE").as_bytes()),
        (2, of("INGRESS_NAME").as_bytes()),
        (3, of("SERVICE_NAME").as_bytes()),
        (4, of("POD_NAME").as_bytes()),
    ]);
    let mut assertions = BytesMut::new();
    field(&mut assertions, 1, method.as_bytes());
    for (name, value) in headers {
        let header = message(&[(1, name.as_bytes()), (2, value.as_bytes())]);
        field(&mut assertions, 2, &header);
    }
    field(&mut assertions, 3, authority.as_bytes());
    field(&mut assertions, 4, &context);
    if let Some(secure) = &call.secure {
        let facts = message(&[
            (1, secure.version.as_bytes()),
            (2, secure.protocol.as_bytes()),
            (3, secure.server_name.as_bytes()),
            (4, secure.cipher.as_bytes()),
        ]);
        field(&mut assertions, 5, &facts);
    }
    let mut answer = BytesMut::new();
    field(&mut answer, 1, &assertions);
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(answer.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&answer);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("grpc-message", HeaderValue::from_static(""));
    let frames: [Result<Frame<Bytes>, BodyError>; 2] =
        [Ok(Frame::data(framed.freeze())), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(body::pieces(stream::iter(frames)));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    response
}

/// An answer without a message.
fn status(code: u8, why: &str) -> Response<Body> {
    let mut response = Response::new(body::full(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    if let Ok(why) = HeaderValue::from_str(why) {
        headers.insert("grpc-message", why);
    }
    response
}

/// The metadata of a call as grpc-go shows it.
fn fields(request: &Request<Body>) -> Vec<(String, String)> {
    let mut found = vec![(":authority".to_owned(), authority_of(request))];
    for (name, value) in request.headers() {
        if name != "host" && name != "te" {
            found.push((name.to_string(), value.to_str().unwrap_or_default().to_owned()));
        }
    }
    found
}

fn varint(buffer: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        buffer.put_u8((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// A field of bytes; empty texts are left out, as proto3 does.
fn field(buffer: &mut BytesMut, number: u64, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    varint(buffer, number << 3 | 2);
    varint(buffer, value.len() as u64);
    buffer.extend_from_slice(value);
}

fn message(fields: &[(u64, &[u8])]) -> BytesMut {
    let mut buffer = BytesMut::new();
    for (number, value) in fields {
        field(&mut buffer, *number, value);
    }
    buffer
}
