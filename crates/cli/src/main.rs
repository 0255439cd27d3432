//! The binary `signalbox`: flags and wiring only.
fn main() {}
