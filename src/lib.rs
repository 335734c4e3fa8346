//! meshscript: a scripting workspace to install, verify and grow an Istio ambient mesh.
//!
//! Modules in reading order; `src/README.md` is the code map, `tests/architecture.rs` holds who may import whom.

pub mod base;
pub mod cert;
pub mod cli;
pub mod config;
pub mod engine;
pub mod helm;
pub mod http;
pub mod k8s;
pub mod repl;
pub mod report;
pub mod sandbox;

/// Runs the command line of this process and returns the exit code that design section 3 names.
pub fn run() -> u8 {
    cli::main()
}
