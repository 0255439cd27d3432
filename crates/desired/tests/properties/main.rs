//! What holds for all objects: properties of views, of the specification, and of the incremental way to them.

mod claims;
mod incremental;
mod scratch;
mod views;
