//! libFuzzer's door to `patch_bodies::patch`.
#![no_main]
#![allow(dead_code, reason = "each target calls one of the bodies")]

#[path = "../patch_bodies.rs"]
mod patch_bodies;

libfuzzer_sys::fuzz_target!(|input: &str| patch_bodies::patch(input));
