//! Bodies of requests and answers: JSON, YAML and protobuf to objects and back, by the [`schema`](crate::schema).
//!
//! Nothing here says whether an object is valid, and nothing fills in defaults.

mod base64;
mod canonical;
mod go;
pub mod protobuf;
mod quantity;
#[cfg(test)]
mod tests;
mod time;

pub use canonical::canonical;
