//! libFuzzer's door to `bodies::yaml`.
#![no_main]
#![allow(dead_code, reason = "each target calls one of the bodies")]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &str| bodies::yaml(input));
