//! Any bytes as the configuration of the DNS server: what must hold stands in `play`.

#![no_main]

#[path = "../../crates/dns/tests/hostile/configurations.rs"]
mod configurations;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    configurations::play(input);
});
