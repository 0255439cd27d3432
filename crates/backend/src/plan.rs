//! From what is installed and what is wanted to differences: pure.

use std::cmp::Ordering;

use crate::items::Items;

/// One item that becomes another, appears or disappears.
#[derive(Debug, PartialEq)]
pub struct Change<'a, K, V> {
    /// Which item.
    pub key: &'a K,
    /// What is installed; `None`: nothing.
    pub before: Option<&'a V>,
    /// What shall be; `None`: nothing.
    pub after: Option<&'a V>,
}

impl<K, V> Clone for Change<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Change<'_, K, V> {}

/// What one transaction has to do.
#[derive(Debug, PartialEq)]
pub struct Delta<'a, K, V> {
    /// The changes; no key appears twice.
    pub changes: Vec<Change<'a, K, V>>,
    /// Whether everything that is wanted is in force afterwards; else more transactions follow.
    pub is_last: bool,
}

/// Appends what turns one owner's installed items into the wanted ones; shared items are left out.
pub(crate) fn compare<'a, K: Ord, V: PartialEq>(
    installed: &'a Items<K, V>,
    wanted: &'a Items<K, V>,
    changes: &mut Vec<Change<'a, K, V>>,
) {
    let (mut old, mut new) = (installed.own().iter().peekable(), wanted.own().iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((was, _)), Some((is, _))) => was.cmp(is),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let Some((key, _)) = before.or(after) else { return };
        let (before, after) = (before.map(|(_, value)| value), after.map(|(_, value)| value));
        if before != after {
            changes.push(Change { key, before, after });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Items<char, char> {
        let own =
            text.split_whitespace().map(|pair| (pair.as_bytes()[0] as char, pair.as_bytes()[1] as char));
        Items::new(own.collect(), Vec::new())
    }

    fn difference(installed: &str, wanted: &str) -> String {
        let (installed, wanted) = (items(installed), items(wanted));
        let mut changes = Vec::new();
        compare(&installed, &wanted, &mut changes);
        let shown = changes.iter().map(|change| {
            let value = |value: Option<&char>| value.copied().unwrap_or('-');
            format!("{}:{}{}", change.key, value(change.before), value(change.after))
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn differences_are_what_appears_disappears_and_becomes_another() {
        assert_eq!(difference("", ""), "");
        assert_eq!(difference("", "a1 b2"), "a:-1 b:-2");
        assert_eq!(difference("a1 b2", ""), "a:1- b:2-");
        assert_eq!(difference("a1 b2 d4", "b3 c5 d4"), "a:1- b:23 c:-5");
    }
}
