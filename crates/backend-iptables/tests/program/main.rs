//! The program against its two other witnesses: the specification, and the kernel.

#![allow(clippy::unwrap_used, reason = "tests")]

mod cost;
mod faults;
mod kernel;
mod precedence;
mod specification;
