//! The functions of the host, one file per script namespace. A row converts, calls one domain function and
//! converts back; no logic lives here.

use super::catalog::Function;

pub mod cert;
pub mod core;
pub mod helm;
pub mod http;
pub mod k8s;
pub mod sandbox;

/// The tables in the order of the reference.
pub static TABLES: &[&[Function]] = &[
    core::FUNCTIONS,
    k8s::FUNCTIONS,
    helm::FUNCTIONS,
    cert::FUNCTIONS,
    http::FUNCTIONS,
    sandbox::FUNCTIONS,
];
