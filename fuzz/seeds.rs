//! Writes what fuzzing begins with into `corpus/`: the recorded requests, their bodies in every language, and queries of DNS.

use std::path::Path;

#[path = "../crates/dns/tests/hostile/messages.rs"]
#[allow(dead_code, reason = "the targets use the rest")]
mod messages;
#[path = "../crates/apiserver/tests/hostile/recorded.rs"]
mod recorded;
#[path = "../crates/apiserver/tests/hostile/requests.rs"]
#[allow(dead_code, reason = "the targets use the rest")]
mod requests;

fn main() -> std::io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let inputs = recorded::inputs();
    write(&here.join("corpus/requests"), inputs.iter().map(|(_, input)| input.clone()))?;
    let requests = inputs.iter().flat_map(|(_, input)| recorded::bodies(input));
    write(&here.join("corpus/bodies"), requests)?;
    write(&here.join("corpus/messages"), messages::queries().into_iter())
}

fn write(folder: &Path, inputs: impl Iterator<Item = Vec<u8>>) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    inputs
        .enumerate()
        .try_for_each(|(number, input)| std::fs::write(folder.join(format!("seed-{number}")), input))
}
