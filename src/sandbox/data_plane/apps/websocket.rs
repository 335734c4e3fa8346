//! WebSocket: the handshake of a server, and an echo of every message.

use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Body, plain};
use crate::sandbox::data_plane::filters::upgrade_of;

/// Switches the connection to WebSocket and sends every message back.
pub(super) fn echo(mut request: Request<Body>) -> Response<Body> {
    let key = request.headers().get("sec-websocket-key").cloned();
    let wants = upgrade_of(request.headers());
    let (Some("websocket"), Some(key)) = (wants.as_deref(), key) else {
        return plain(StatusCode::BAD_REQUEST, "");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // The client that leaves before its connection has changed gets no echo.
        let Ok(connection) = upgrade.await else { return };
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, None).await;
        let (mut to_client, mut from_client) = socket.split();
        while let Some(Ok(message)) = from_client.next().await {
            let sent = match message {
                Message::Text(_) | Message::Binary(_) => to_client.send(message).await,
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => to_client.flush().await,
            };
            if sent.is_err() {
                break;
            }
        }
        // Whoever closed first is answered; a client that is gone needs no answer.
        let _ = to_client.close().await;
    });
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("connection", HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert("sec-websocket-accept", accept);
    }
    response
}
