//! What an owner wants, or has.

use std::fmt;

use model::ServiceKey;

/// Who wants an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The node: what is there whatever the Services are.
    Node,
    /// A Service.
    Service(ServiceKey),
    /// The node again, for the items that let packets in.
    Entrances,
    /// Nobody: items that were found installed and that nobody wants.
    Nobody,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("the node"),
            Self::Service(key) => write!(f, "Service {key}"),
            Self::Entrances => f.write_str("the node's entrances"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// The items of one owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Items<K, V> {
    /// Items that it alone has, sorted by key, keys unique.
    own: Box<[(K, V)]>,
    /// Keys of items that others may want as well, sorted, unique.
    shared: Box<[K]>,
}

impl<K, V> Default for Items<K, V> {
    fn default() -> Self {
        Self { own: Box::default(), shared: Box::default() }
    }
}

impl<K: Ord, V> Items<K, V> {
    /// Sorts items. Of several with one key the first stays.
    pub fn new(mut own: Vec<(K, V)>, mut shared: Vec<K>) -> Self {
        own.sort_by(|a, b| a.0.cmp(&b.0));
        own.dedup_by(|b, a| a.0 == b.0);
        shared.sort();
        shared.dedup();
        Self { own: own.into_boxed_slice(), shared: shared.into_boxed_slice() }
    }

    /// Answers whether there are none.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared.is_empty()
    }

    /// Answers the items that this owner alone has, sorted by key.
    pub fn own(&self) -> &[(K, V)] {
        &self.own
    }

    /// Answers the keys of items that others may want as well, sorted.
    pub fn shared(&self) -> &[K] {
        &self.shared
    }

    /// Answers the value of an own item.
    pub fn get(&self, key: &K) -> Option<&V> {
        let at = self.own.binary_search_by(|(own, _)| own.cmp(key)).ok()?;
        Some(&self.own[at].1)
    }

    /// The own items, for values to be rearranged.
    pub(crate) fn own_mut(&mut self) -> &mut [(K, V)] {
        &mut self.own
    }
}
