//! Services as rules of iptables: a tree of chains that leads to each frontend in a few steps.
//!
//! The [README](../README.md) draws the program. Read in this order: `names` (chains, trees), `item` (what the program
//! is made of), `rule`, `node` (what is there whatever the Services are), `service` (what one Service adds),
//! [`simulate`] (what the rules do to a packet), `apply` (how they get into the kernel). What this crate does *not* do:
//! decide anything about traffic (`desired` did), or keep what is installed (`backend` does).

#![deny(missing_docs)]

mod apply;
mod item;
mod names;
mod node;
mod rule;
mod service;
mod simulate;

use apply::Xtables;
use backend::{ApplyError, Backend, Delta, Error, Items, RuleCount};
use model::{Family, NodeView, ServiceView};

pub use apply::{ChainCount, Kernel, cleanup, connections, digest, is_of_signalbox};
pub use item::{Balance, External, Key, Leaf, Place, Value};
pub use names::is_ours;
pub use names::{Chain, Hash, Hook, Spot, Table, Tree};
pub use rule::{Counter, HAIRPIN, HAIRPIN_V6, Match, Rule, Target};
pub use simulate::Program;

/// The iptables back end for one family.
pub struct IptablesBackend<X> {
    kernel: Kernel<X>,
}

impl<X: Xtables> IptablesBackend<X> {
    /// Programs this family through these programs.
    pub fn new(family: Family, xtables: X) -> Self {
        Self { kernel: Kernel::new(family, xtables) }
    }

    /// Answers its way to the kernel.
    pub fn kernel_mut(&mut self) -> &mut Kernel<X> {
        &mut self.kernel
    }
}

impl<X: Xtables> Backend for IptablesBackend<X> {
    type Key = Key;
    type Value = Value;

    fn node_items(&self, node: &NodeView) -> Vec<(Key, Value)> {
        node::items(node, self.kernel.counts())
    }

    fn service_items(&self, service: &ServiceView) -> Items<Key, Value> {
        service::items(service)
    }

    fn shared_value(&self, key: &Key, node: &NodeView) -> Value {
        node::shared_value(key, node)
    }

    /// A chain is written as a whole, whatever the order of its endpoints.
    fn align(&self, _items: &mut [(Key, Value)], _there: &dyn Fn(&Key) -> Option<Value>) {}

    fn is_entrance(&self, key: &Key) -> bool {
        matches!(key, Key::Entrance(..))
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

    fn rules(&self) -> Vec<RuleCount> {
        self.kernel.rules()
    }
}

/// Writes a whole program as `iptables-restore --noflush` takes it. The set of hairpin elements must be there.
pub fn render(family: Family, items: &[(Key, Value)]) -> String {
    item::render(family, items)
}
