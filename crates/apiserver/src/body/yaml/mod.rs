//! YAML as Kubernetes reads and prints it: sigs.k8s.io/yaml, which speaks YAML 1.1 and goes through JSON.

mod print;
mod read;
mod scalar;

pub use print::encode;
pub(super) use read::parse;
