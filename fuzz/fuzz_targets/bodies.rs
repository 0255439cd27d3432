//! Any bytes as bodies: what one language accepts, every language can say.

#![no_main]

#[path = "../../crates/apiserver/tests/hostile/bodies.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod bodies;
#[path = "../../crates/apiserver/tests/hostile/requests.rs"]
#[allow(dead_code, reason = "the seeds use the rest")]
mod requests;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    bodies::read(input);
});
