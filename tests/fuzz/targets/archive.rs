//! libFuzzer's door to `bodies::archive`.
#![no_main]
#![allow(dead_code, reason = "each target calls one of the bodies")]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::archive(input));
