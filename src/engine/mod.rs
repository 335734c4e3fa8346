//! The Rhai host: what a script can call, how it runs, how it fails.
//!
//! Reading order: `catalog` (a function is one table row), `call` (how a row's implementation gets its
//! arguments), `host` (what all functions share; the only `block_on`), `api` (the rows, one file per namespace).

pub mod api;
pub mod builtin;
pub mod call;
pub mod catalog;
pub mod convert;
pub mod error;
pub mod host;
