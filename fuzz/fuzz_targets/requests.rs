//! Any bytes as requests, played against a server without sockets: what must hold stands in `play`.

#![no_main]

#[path = "../../crates/apiserver/tests/hostile/requests.rs"]
#[allow(dead_code, reason = "the seeds use the rest")]
mod requests;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    requests::play(input);
});
