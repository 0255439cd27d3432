//! Any bytes as a DNS message, answered out of a zone: what must hold stands in `play`.

#![no_main]

#[path = "../../crates/dns/tests/hostile/messages.rs"]
#[allow(dead_code, reason = "the seeds use the rest")]
mod messages;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    messages::play(input);
});
