//! The seam between what a node wants and how a kernel is told: items, differences, and the [`Driver`] that keeps the
//! kernel in step.
//!
//! A back end compiles a view into small **items**, `(Key, Value)`. The driver compares what is wanted with what is
//! installed and hands the difference to the back end as a [`Delta`], which is carried out as one transaction. What
//! this crate does *not* do: know any rule language, or touch a kernel.

#![deny(missing_docs)]

mod driver;
mod error;
mod items;
mod plan;
mod shared;

use std::fmt::{Debug, Display};
use std::hash::Hash;

use model::{NodeView, ServiceView};

pub use driver::{Driver, Refusal, Synced};
pub use error::{ApplyError, Error, RefusedChange};
pub use items::{Items, Owner};
pub use plan::{Change, Delta};

/// What one of the kernel's tables holds of a back end that writes rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleCount {
    /// The table's name.
    pub table: &'static str,
    /// Rules of ours in it.
    pub held: usize,
    /// Rules that the last write had for it.
    pub written: usize,
}

/// One way to program the kernel, for one address family.
pub trait Backend {
    /// Names an item. No two items have the same key.
    type Key: Clone + Ord + Hash + Debug + Display;
    /// What the kernel holds under a key.
    type Value: Clone + PartialEq + Debug;

    /// What is there whatever the Services are.
    fn node_items(&self, node: &NodeView) -> Vec<(Self::Key, Self::Value)>;

    /// What one Service wants. Must not depend on the node, except through [`Backend::shared_value`].
    fn service_items(&self, service: &ServiceView) -> Items<Self::Key, Self::Value>;

    /// The value of an item that follows from its key and the node, and that several Services may want.
    fn shared_value(&self, key: &Self::Key, node: &NodeView) -> Self::Value;

    /// Rearranges what one Service wants, without changing what it means, so that it differs less from what is there
    /// already.
    fn align(
        &self,
        items: &mut [(Self::Key, Self::Value)],
        there: &dyn Fn(&Self::Key) -> Option<Self::Value>,
    );

    /// Answers whether the item lets packets into the program. Such items are written last when the first sync takes
    /// several transactions, so that no packet ever meets half a program.
    fn is_entrance(&self, key: &Self::Key) -> bool;

    /// Answers whether the next transaction removes what is there, so that it must hold everything.
    fn replaces_everything(&self) -> bool;

    /// Reads everything that is installed, foreign items in our place included.
    #[expect(clippy::type_complexity, reason = "an alias cannot name the types of the trait")]
    fn read(&mut self) -> Result<Vec<(Self::Key, Self::Value)>, Error>;

    /// Carries out a difference, as a whole or not at all.
    fn apply(&mut self, delta: &Delta<'_, Self::Key, Self::Value>) -> Result<(), ApplyError>;

    /// Counts the rules in each table; nothing where the Services are no rules.
    fn rules(&self) -> Vec<RuleCount> {
        Vec::new()
    }
}
