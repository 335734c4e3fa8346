//! The Rhai host: what a script can call, how it runs, how it fails.
//!
//! Reading order: `catalog` (a function is one table row), `call` (how a row's implementation gets its
//! arguments), `host` (what all functions share; the only `block_on`), `api` (the rows, one file per namespace),
//! `register` (rows into an engine), `session` (an engine that runs scripts), `scripts` (where scripts and imports come
//! from), `error` (script errors and diagnostics), `target` (which cluster).

pub mod api;
mod brackets;
pub mod builtin;
pub mod call;
pub mod cancel;
pub mod catalog;
pub mod check;
pub mod convert;
pub mod definitions;
pub mod docs;
pub mod error;
pub mod files;
mod flow;
pub mod host;
pub mod interactive;
pub mod outline;
mod params;
mod prompt;
mod register;
pub mod rehearsal;
pub mod run;
pub mod scripts;
pub mod serve;
pub mod session;
pub mod target;
pub mod text;
