//! The embedded rehearsal cluster: an API server, controllers and a data plane in this process.
//!
//! What clients see are HTTP requests on a `kube::Client`; nothing outside this folder knows that it is no real cluster.
//! Reading order: `schema` (kinds are data), `api` (what controllers see of the API server), `api_server` (the verb
//! pipeline), `controllers`, `data_plane`.

pub mod api;
mod api_server;
pub mod authz;
mod builtin;
pub mod certificates;
mod cluster;
mod control;
pub mod controllers;
pub mod coverage;
pub mod data_plane;
pub mod faults;
mod go_form;
mod limit_range;
mod loopback;
pub mod mesh;
pub mod node;
pub mod patch;
pub mod proto;
mod quantity;
mod quota;
pub mod schema;
mod serve;
pub mod ssa;
mod store;
mod trail;
pub mod validation;
mod wire;

pub use api_server::state::document;
pub use cluster::{Cluster, LoadBalancers, Options, Pace, StartError};
pub use loopback::Traffic;
pub use serve::{CONTEXT, Listening, ServeError};
