//! What every layer shares and nothing above: diagnostics, time, progress, names, YAML, connections.
//!
//! `base` imports nothing of ours. Reading order: `diagnostic` (how a failure is told), `clock` (the
//! only door to time), `progress` (what a domain tells while it works), `net` (how a connection is
//! opened), then small helpers.

pub mod clock;
pub mod diagnostic;
pub mod duration;
pub mod files;
pub mod jsonpath;
pub mod net;
pub mod object_ref;
pub mod progress;
pub mod secret;
pub mod stack;
pub mod suggest;
pub mod virtual_clock;
pub mod yaml;
