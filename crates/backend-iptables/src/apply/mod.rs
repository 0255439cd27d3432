//! The items' way into the kernel and back: the only part that uses `sys`.
//!
//! Chains are written whole, and only those of which a rule changed. What is there is looked at when a process starts
//! and after an error; what differs from what is wanted is then written in one go for each table, and what nobody wants goes
//! with it.

mod parse;
mod read;
mod restore;
mod saved;
mod tally;

use std::collections::{BTreeMap, BTreeSet};

use backend::{Delta, RuleCount};
use model::Family;
use sys::Error;
use sys::ipset::Element;
pub(crate) use sys::iptables::Xtables;

use crate::item::{Key, Value, rules};
use crate::names::{Chain, Table};
use crate::node::entrances;
use crate::rule::{Counter, HAIRPIN, HAIRPIN_V6, Rule};
use restore::Restore;
use saved::Saved;
use tally::Tally;

pub use tally::{ChainCount, connections};

type Change<'a> = backend::Change<'a, Key, Value>;

/// One family of a kernel's iptables, with what is known about it.
pub struct Kernel<X> {
    xtables: X,
    family: Family,
    /// Whether the next write must hold everything.
    is_first: bool,
    /// The rules of chains to which several items contribute.
    contributed: BTreeMap<(Table, Chain), BTreeMap<Key, Vec<Rule>>>,
    /// Chains that others lead to: they are emptied and stay.
    used_by_others: BTreeSet<(Table, String)>,
    tally: Tally,
}

impl<X: Xtables> Kernel<X> {
    pub(crate) fn new(family: Family, xtables: X) -> Self {
        Self {
            xtables,
            family,
            is_first: true,
            contributed: BTreeMap::new(),
            used_by_others: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    /// Answers the programs through which it works.
    pub fn xtables_mut(&mut self) -> &mut X {
        &mut self.xtables
    }

    /// Answers whether the kernel has counters.
    pub(crate) fn counts(&self) -> bool {
        self.xtables.counts()
    }

    pub(crate) fn rules(&self) -> Vec<RuleCount> {
        self.tally.rules()
    }

    pub(crate) fn replaces_everything(&self) -> bool {
        self.is_first
    }

    pub(crate) fn read(&mut self) -> Result<Vec<(Key, Value)>, Error> {
        let saved = Saved::read(&self.xtables.save()?);
        let mut items = Vec::new();
        let mut wanted = entrances_by_text(self.family);
        items.extend(read::items(&saved, self.family));
        for (table, rule) in saved.entrances {
            let found = wanted.remove(&(table, rule.clone()));
            items.push(found.unwrap_or_else(|| present(Key::FoundEntrance(table, rule.into()))));
        }
        if let Some(elements) = self.xtables.elements(set(self.family))? {
            items.push(present(Key::HairpinSet));
            items.extend(elements.into_iter().map(|element| {
                let endpoint = model::Endpoint { address: element.address, port: element.port };
                present(Key::Hairpin(Box::new((endpoint, element.protocol))))
            }));
        }
        let counters = self.xtables.counters()?;
        let is_there = |counter: &Counter| counters.iter().any(|name| name == counter.name());
        items.extend(Counter::ALL.into_iter().filter(is_there).map(|counter| present(Key::Counter(counter))));
        self.tally.read(&items);
        self.used_by_others = saved.used;
        self.contributed.clear();
        for (key, value) in &items {
            if let Some(made) = key.makes() {
                self.contributed.entry(made).or_default();
            }
            if let Some(at) = key.chain().filter(|(_, chain)| has_many_contributors(chain)) {
                self.contributed.entry(at).or_default().insert(key.clone(), rules(key, value));
            }
        }
        self.is_first = true;
        Ok(items)
    }

    pub(crate) fn apply(&mut self, delta: &Delta<'_, Key, Value>) -> Result<(), Error> {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        let mut restore = Restore::new(self.family, self.xtables.changes_single_rules());
        let mut touched = BTreeMap::new();
        // What goes first: an item may go from one owner to another, and then appears twice.
        let (gone, there): (Vec<&Change<'_>>, Vec<_>) =
            delta.changes.iter().partition(|change| change.after.is_none());
        for change in gone.into_iter().chain(there) {
            match change.key {
                Key::HairpinSet if change.after.is_some() => self.xtables.make_set(set(self.family))?,
                Key::Counter(counter) if change.after.is_some() => {
                    self.xtables.make_counter(counter.name())?;
                }
                Key::HairpinSet | Key::Counter(_) => {}
                Key::Hairpin(of) => {
                    let element = Element { address: of.0.address, protocol: of.1, port: of.0.port };
                    if change.after.is_some() { &mut added } else { &mut removed }.push(element);
                }
                Key::Found(table, name) => restore.remove_chain(*table, name),
                Key::FoundEntrance(table, rule) => restore.remove_entrance(*table, rule),
                Key::Entrance(table, hook, _) => {
                    let values = (change.before, change.after);
                    let of = |value: Option<&Value>| value.map(|value| rules(change.key, value));
                    let (before, after) = (of(values.0), of(values.1));
                    restore.entrance((*table, *hook), before.as_deref(), after.as_deref());
                }
                Key::Chain(..) | Key::External(_) | Key::Branch(..) | Key::Leaf(..) | Key::HealthPort(_) => {
                    self.chain(change, &mut restore, &mut touched);
                }
            }
        }
        for (at, is_new) in touched {
            if let Some(rules) = self.contributed.get(&at) {
                restore.write_chain(&at, rules.values().flatten(), is_new);
            }
        }
        self.xtables.change_set(set(self.family), &added, &[])?;
        let written = restore.rules();
        let text = restore.finish(&self.used_by_others);
        if !text.is_empty() {
            self.xtables.restore(&text)?;
        }
        self.xtables.change_set(set(self.family), &[], &removed)?;
        self.is_first = false;
        self.tally.wrote(delta, written);
        Ok(())
    }

    /// What is touched is written later; it may be new.
    fn chain(
        &mut self,
        change: &Change<'_>,
        restore: &mut Restore,
        touched: &mut BTreeMap<(Table, Chain), bool>,
    ) {
        let (key, is_new) = (change.key, change.before.is_none());
        if let Some(made) = key.makes() {
            if change.after.is_some() {
                self.contributed.entry(made.clone()).or_default();
                *touched.entry(made).or_default() |= is_new;
            } else {
                restore.remove_chain(made.0, &made.1.to_string());
                self.contributed.remove(&made);
            }
        }
        let Some(at) = key.chain() else { return };
        let rules = change.after.map(|value| rules(key, value));
        if has_many_contributors(&at.1) {
            match rules {
                Some(rules) => {
                    drop(self.contributed.entry(at.clone()).or_default().insert(key.clone(), rules))
                }
                None => drop(self.contributed.get_mut(&at).map(|rules| rules.remove(key))),
            }
            touched.entry(at).or_default();
            return;
        }
        match rules {
            Some(rules) => restore.write_chain(&at, &rules, is_new),
            None => restore.remove_chain(at.0, &at.1.to_string()),
        }
    }
}

/// The rules that lead to our chains, as `iptables-save` prints them.
fn entrances_by_text(family: Family) -> BTreeMap<(Table, String), (Key, Value)> {
    let mut all = BTreeMap::new();
    for (key, value) in entrances() {
        if let (Key::Entrance(table, hook, _), Value::Rules(rules)) = (&key, &value) {
            let text = rules.iter().map(|rule| rule.text(family)).collect::<String>();
            all.insert((*table, format!("{} {text}", hook.name())), (key, value));
        }
    }
    all
}

/// Answers whether what `iptables-save` printed has chains that only we make.
pub fn is_of_signalbox(saved: &str) -> bool {
    saved.contains("\n:KUBE-ADDRESSES ")
}

/// Answers whether what `iptables-save` printed has everything that leads to our chains, and chains that lead on.
pub fn is_there(family: Family, saved: &str) -> bool {
    let found = Saved::read(saved);
    let leads_on = |chain: Chain| saved.contains(&format!("\n-A {chain} "));
    let missing = entrances_by_text(family).into_keys().any(|entrance| !found.entrances.contains(&entrance));
    !missing && leads_on(Chain::Services) && leads_on(Chain::Postrouting) && leads_on(Chain::Forward)
}

fn has_many_contributors(chain: &Chain) -> bool {
    matches!(chain, Chain::Branch(..) | Chain::HealthPorts)
}

fn present(key: Key) -> (Key, Value) {
    (key, Value::Present)
}

fn set(family: Family) -> &'static str {
    match family {
        Family::V4 => HAIRPIN,
        Family::V6 => HAIRPIN_V6,
    }
}

/// Removes everything of ours and of kube-proxy's from one family, and nothing else. Answers how many chains there were.
pub fn cleanup(family: Family, xtables: &mut impl Xtables) -> Result<usize, Error> {
    let saved = Saved::read(&xtables.save()?);
    let mut restore = Restore::new(family, xtables.changes_single_rules());
    for (table, rule) in &saved.entrances {
        restore.remove_entrance(*table, rule);
    }
    for (table, name) in &saved.chains {
        restore.remove_chain(*table, name);
    }
    let text = restore.finish(&saved.used);
    if !text.is_empty() {
        xtables.restore(&text)?;
    }
    xtables.remove_set(set(family))?;
    Ok(saved.chains.len())
}
