//! One nftables table, written and read over nfnetlink. No `nft` process, no text.
//!
//! What is written is what `nft` writes for the same program, attribute by attribute as far as the kernel keeps it, so
//! that `nft list` shows it and accepts its own listing back.

mod batch;
mod chains;
mod fake;
mod field;
mod monitor;
mod rule;
mod set;
mod socket;
mod wire;

pub use batch::{Batch, Hook, HookKind};
pub use chains::{ChainEvent, ChainMonitor, Happened};
pub use fake::{FakeNftables, Fault};
pub use field::Field;
pub use monitor::Monitor;
pub use rule::Rule;
pub use set::{ElementValue, SetDefinition, SetValue};
pub use socket::{
    ChainDump, CommitError, Element, ElementData, KernelExpression, NftSocket, Nftables, Refused, SetDump,
    TableDump, verdict_of,
};
