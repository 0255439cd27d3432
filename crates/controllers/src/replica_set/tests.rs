//! Objects in, actions out.
