//! How a connection to an address of the target's world is opened.
//!
//! A real cluster's addresses are dialled over TCP; a sandbox answers on streams in memory; a port-forward
//! carries a connection over the API server. HTTP speaks over whatever a `Dialer` returns.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream of any transport.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection.
pub struct Connection {
    pub stream: Box<dyn Stream>,
    /// What the connection really leads to, such as `172.18.255.200:443` or
    /// `port-forward networking/shared-istio-5d4b:443`.
    pub peer: String,
}

/// Opens connections.
pub trait Dialer: Send + Sync + fmt::Debug {
    /// Connects to a host name or an address. Errors are those of the transport: refused, reset,
    /// unreachable, unknown name. The caller sets the time-out.
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'_, io::Result<Connection>>;
    /// The addresses of a name, in the order to try; empty when `dial` takes names itself.
    fn lookup(&self, _host: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// A dialer shared by the parts of one run.
pub type SharedDialer = Arc<dyn Dialer>;

/// Dials over TCP with the machine's resolver.
#[derive(Debug)]
pub struct TcpDialer;

impl Dialer for TcpDialer {
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'_, io::Result<Connection>> {
        let host = host.to_owned();
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            let peer = stream.peer_addr()?.to_string();
            Ok(Connection { stream: Box::new(stream), peer })
        })
    }

    fn lookup(&self, host: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found {
                if !addresses.contains(&address.ip()) {
                    addresses.push(address.ip());
                }
            }
            Ok(addresses)
        })
    }
}
