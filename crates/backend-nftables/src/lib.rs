//! Services as hash-map elements in one nftables table per address family: the slot program.
//!
//! The [README](../README.md) draws the program. Read in this order: `names` (chains, maps), `item` (what the program
//! is made of), `rule`, `node` (what is there whatever the Services are), `service` (what one Service adds),
//! [`simulate`] (what the items do to a packet), `apply` (how they get into the kernel and back). What this crate does
//! *not* do: decide anything about traffic (`desired` did), or keep what is installed (`backend` does).

#![deny(missing_docs)]

mod apply;
mod item;
mod names;
mod node;
mod rule;
mod service;
mod simulate;

use apply::Nftables;
use backend::{ApplyError, Backend, Delta, Error, Items};
use model::{Family, NodeView, ServiceView};

pub use apply::{
    Counting, FrontendCount, Kernel, TABLE, cleanup, cleanup_kube_proxy, connections, has_rules, installed,
};
pub use item::{ChainBody, Foreign, Key, Place, Slots, Value, Verdict, VerdictKind, Verdicts};
pub use names::{At, Chain, Hook, Kind, Set, StickyName};
pub use rule::{Expression, Rule};
pub use simulate::Program;

/// The nftables back end for one family.
pub struct NftablesBackend<N> {
    kernel: Kernel<N>,
}

impl<N: Nftables> NftablesBackend<N> {
    /// Programs this family of the kernel behind `nft`.
    pub fn new(family: Family, nft: N) -> Self {
        Self::counting(family, nft, Counting::Nothing)
    }

    /// Programs it so that the kernel counts. A program that counted something else is replaced as a whole.
    pub fn counting(family: Family, nft: N, counting: Counting) -> Self {
        Self { kernel: Kernel::new(family, nft, counting) }
    }

    /// Answers its way to the kernel.
    pub fn kernel_mut(&mut self) -> &mut Kernel<N> {
        &mut self.kernel
    }
}

impl<N: Nftables> Backend for NftablesBackend<N> {
    type Key = Key;
    type Value = Value;

    fn node_items(&self, node: &NodeView) -> Vec<(Key, Value)> {
        node::items(node)
    }

    fn service_items(&self, service: &ServiceView) -> Items<Key, Value> {
        service::items(service)
    }

    fn shared_value(&self, key: &Key, node: &NodeView) -> Value {
        node::shared_value(key, node)
    }

    fn align(&self, items: &mut [(Key, Value)], there: &dyn Fn(&Key) -> Option<Value>) {
        service::align(items, there);
    }

    fn is_entrance(&self, key: &Key) -> bool {
        matches!(key, Key::Chain(chain) if chain.hook().is_some())
    }

    fn replaces_everything(&self) -> bool {
        self.kernel.replaces_everything()
    }

    fn read(&mut self) -> Result<Vec<(Key, Value)>, Error> {
        self.kernel.read().map_err(Error::new)
    }

    fn apply(&mut self, delta: &Delta<'_, Key, Value>) -> Result<(), ApplyError> {
        self.kernel.apply(delta)
    }
}

/// Writes a whole program in nft's language, as `nft list table` would in substance.
pub fn render(family: Family, items: &[(Key, Value)]) -> String {
    item::render(family, items)
}
