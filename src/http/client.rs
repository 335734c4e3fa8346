//! One exchange, with its redirects.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderValue, LOCATION,
    PROXY_AUTHORIZATION, USER_AGENT,
};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::connect::{self, Channel, Progress, Sender};
use super::error::{HttpError, Phase};
use super::proxy::Proxy;
use super::request::{MAX_BODY, Request};
use super::response::Response;
use crate::base::clock::{SharedClock, timeout};
use crate::base::net::SharedDialer;

/// Sends requests over a dialer, on a clock.
#[derive(Clone, Debug)]
pub struct Client {
    pub dialer: SharedDialer,
    pub clock: SharedClock,
}

impl Client {
    /// Sends a request on a connection of its own and reads the whole response.
    pub async fn send(&self, request: &Request) -> Result<Response, HttpError> {
        let began = self.clock.monotonic();
        let mut current = request.clone();
        let mut redirects = 0;
        loop {
            let mut limited = current.clone();
            limited.timeout = connect::left(&self.clock, began, request.timeout);
            let mut response = self.once(&limited, request.timeout).await?;
            response.redirects = redirects;
            response.timings.total = self.clock.monotonic().saturating_sub(began);
            let Some(next) = redirected(&current, &response)? else { return Ok(response) };
            if request.redirects == 0 {
                return Ok(response);
            }
            if redirects == request.redirects {
                let url = next.url.to_string();
                return Err(HttpError::TooManyRedirects { limit: request.redirects, url });
            }
            redirects += 1;
            current = next;
        }
    }

    async fn once(&self, request: &Request, whole: Duration) -> Result<Response, HttpError> {
        let mut progress = Progress { phase: Phase::Lookup, peer: request.url.authority() };
        let work = async {
            let mut channel =
                connect::connect(request, &*self.dialer, &self.clock, &mut progress).await?;
            self.exchange(request, &mut channel, &mut progress.phase).await
        };
        timeout(&*self.clock, request.timeout, work).await.unwrap_or_else(|_| {
            Err(HttpError::Timeout { peer: progress.peer, phase: progress.phase, after: whole })
        })
    }

    /// Opens a connection for several exchanges.
    pub(super) async fn open(&self, request: &Request) -> Result<Channel, HttpError> {
        let mut progress = Progress { phase: Phase::Lookup, peer: request.url.authority() };
        let work = connect::connect(request, &*self.dialer, &self.clock, &mut progress);
        timeout(&*self.clock, request.timeout, work).await.unwrap_or_else(|_| {
            Err(HttpError::Timeout {
                peer: progress.peer,
                phase: progress.phase,
                after: request.timeout,
            })
        })
    }

    /// Sends a request on an open connection.
    pub(super) async fn exchange(
        &self,
        request: &Request,
        channel: &mut Channel,
        phase: &mut Phase,
    ) -> Result<Response, HttpError> {
        channel.wire.received.store(0, std::sync::atomic::Ordering::SeqCst);
        let began = self.clock.monotonic();
        let reply = match &mut channel.sender {
            Sender::Http1(sender) => {
                let message = message(request, false)?;
                match sender.ready().await {
                    Ok(()) => sender.send_request(message).await,
                    Err(error) => Err(error),
                }
            }
            Sender::Http2(sender) => {
                let message = message(request, true)?;
                match sender.ready().await {
                    Ok(()) => sender.send_request(message).await,
                    Err(error) => Err(error),
                }
            }
        };
        let reply =
            reply.map_err(|error| connect::classify(&error, &channel.wire, &channel.peer))?;
        let first_byte = self.clock.monotonic().saturating_sub(began);
        *phase = Phase::Body;
        let (head, body) = reply.into_parts();
        let body = read(body, channel).await?;
        let mut timings = channel.timings;
        timings.first_byte = first_byte;
        timings.total = self.clock.monotonic().saturating_sub(began);
        Ok(Response {
            url: request.url.clone(),
            status: head.status,
            version: head.version,
            headers: head.headers,
            body,
            timings,
            tls: channel.tls.clone(),
            peer: channel.peer.clone(),
            redirects: 0,
        })
    }
}

async fn read(mut body: Incoming, channel: &Channel) -> Result<Bytes, HttpError> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| connect::classify(&error, &channel.wire, &channel.peer))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > MAX_BODY {
            return Err(HttpError::TooLong { peer: channel.peer.clone(), limit: MAX_BODY });
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn message(request: &Request, http2: bool) -> Result<http::Request<Full<Bytes>>, HttpError> {
    let authority = request.host.clone().unwrap_or_else(|| request.url.authority());
    let absolute = request.url.with_authority(&authority)?;
    let bad_host = || HttpError::BadOption {
        what: "the host of a request",
        value: authority.clone(),
        reason: "it holds characters that no host has".to_owned(),
    };
    let mut message = http::Request::new(Full::new(request.body.clone()));
    *message.method_mut() = request.method.clone();
    // HTTP/1 asks for the path alone, but a proxy for all; HTTP/2 has a field for the authority.
    let proxy = request.proxy()?.filter(|_| !request.url.is_secure());
    let is_absolute = http2 || proxy.is_some();
    *message.uri_mut() =
        if is_absolute { absolute } else { http::Uri::from(request.url.path().clone()) };
    let headers = message.headers_mut();
    if let Some(authorization) = proxy.and_then(Proxy::authorization) {
        let value = HeaderValue::from_str(authorization).map_err(|_| bad_host())?;
        headers.insert(PROXY_AUTHORIZATION, value);
    }
    if !http2 {
        headers.insert(HOST, HeaderValue::from_str(&authority).map_err(|_| bad_host())?);
    }
    headers.insert("accept", HeaderValue::from_static("*/*"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("meshscript/", env!("CARGO_PKG_VERSION"))),
    );
    for name in request.headers.keys() {
        if http2 && *name == HOST {
            continue;
        }
        headers.remove(name);
        for value in request.headers.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    Ok(message)
}

/// The request that a redirect asks for (RFC 9110 section 15.4).
fn redirected(request: &Request, response: &Response) -> Result<Option<Request>, HttpError> {
    let rewritten = match response.status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => request.method == Method::POST,
        StatusCode::SEE_OTHER => request.method != Method::HEAD,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
        _ => return Ok(None),
    };
    let Some(location) = response.headers.get(LOCATION) else { return Ok(None) };
    let location = String::from_utf8_lossy(location.as_bytes());
    let mut next = request.clone();
    let own = request.host.as_deref().unwrap_or(request.url.host());
    // Relative to the name that was asked for, not to the address that it was asked at.
    next.url = request.url.join(&location)?;
    if next.url.host() == own.split(':').next().unwrap_or(own) {
        // The same site under its own name: it stays at the address that was given for it.
        let (host, port) = (next.url.host().to_owned(), next.url.port());
        next.resolve.entry(format!("{host}:{port}")).or_insert(request.destination()?.0);
        next.host = None;
    } else if next.url.host() != request.url.host() {
        next.host = None;
        next.sni = None;
        next.headers.remove(AUTHORIZATION);
        next.headers.remove(COOKIE);
        next.headers.remove(HOST);
    }
    if request.url.is_secure() && !next.url.is_secure() {
        // What was said over TLS is not repeated without.
        next.headers.remove(AUTHORIZATION);
        next.headers.remove(COOKIE);
    }
    if rewritten {
        next.method = Method::GET;
        next.body = Bytes::new();
        next.headers.remove(CONTENT_TYPE);
        next.headers.remove(CONTENT_LENGTH);
    }
    Ok(Some(next))
}
