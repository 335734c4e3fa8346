//! HTTP as a client of the mesh sees it: requests, probes, load.
//!
//! A request goes over whatever connection a `Dialer` opens: TCP, a port-forward, a stream in memory. hyper's connection
//! level carries it over rustls, because the name asked for apart from the host, trust in one given CA, the peer's chain
//! and a time for each phase are the point here. Nothing is retried, and no proxy is used but for downloads (`proxy`): what is
//! seen is what happened.
//!
//! Reading order: `request` (what is asked), `client` (one exchange), `connect` and `tls` (how it gets there), `response`,
//! `error` (what went wrong, and in which phase), `expect` and `probe` (until it holds), `load` (how fast, how reliably).

pub mod client;
pub mod connect;
pub mod error;
pub mod expect;
pub mod load;
pub mod probe;
pub mod proxy;
pub mod request;
pub mod response;
pub mod tls;

pub use client::Client;
pub use error::HttpError;
pub use request::Request;
pub use response::Response;
