//! libFuzzer's door to `server_bodies::frames`.
#![no_main]
#![allow(dead_code, reason = "each target calls one of the bodies")]

#[path = "../server_bodies.rs"]
mod server_bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| server_bodies::frames(input));
