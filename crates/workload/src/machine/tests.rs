//! Histories of pods: what happened, what was done about it, and what the status said.
#![cfg(test)]
