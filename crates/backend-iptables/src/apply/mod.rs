//! The items' way into the kernel and back: the only part that uses `sys`.
//!
//! Chains are written whole, and only those of which a rule changed. What is there is looked at when a process starts
//! and after an error; what differs from what is wanted is then written in one go for each table, and what nobody wants goes
//! with it.

mod blame;
mod parse;
mod read;
mod restore;
mod saved;
mod tally;

use std::collections::{BTreeMap, BTreeSet};

use backend::{ApplyError, Delta, RuleCount};
use model::Family;
use sys::Error;
use sys::ipset::Element;
use sys::iptables::RestoreError;
pub(crate) use sys::iptables::Xtables;

use crate::item::{Key, Value, rules};
use crate::names::{Chain, Table};
use crate::node::entrances;
use crate::rule::{Counter, HAIRPIN, HAIRPIN_V6, Rule};
use restore::Restore;
use saved::Saved;
use tally::Tally;

pub use tally::{ChainCount, connections};

pub use saved::digest;

type Change<'a> = backend::Change<'a, Key, Value>;
type Contributions = BTreeMap<Key, Vec<Rule>>;

/// One family of a kernel's iptables, with what is known about it.
pub struct Kernel<X> {
    xtables: X,
    family: Family,
    /// Whether the next write must hold everything.
    is_first: bool,
    /// The rules of chains to which several items contribute.
    contributed: BTreeMap<(Table, Chain), Contributions>,
    /// Those that the write under way changes, as they were; `None`: not there.
    contributed_before: BTreeMap<(Table, Chain), Option<Contributions>>,
    /// A text was refused without a word about where: the next is written a transaction at a time.
    one_by_one: bool,
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
            contributed_before: BTreeMap::new(),
            one_by_one: false,
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
        if saved.is_cut_short {
            return Err(Error::Malformed { what: "what iptables-save printed ends within a table" });
        }
        let mut items = Vec::new();
        let mut wanted = entrances_by_text(self.family);
        items.extend(read::items(&saved, self.family));
        let mut copies: BTreeMap<(Table, String), u32> = BTreeMap::new();
        for entrance in saved.entrances {
            *copies.entry(entrance).or_default() += 1;
        }
        for (entrance, count) in copies {
            // Of several the first would be deleted, which may be the only one in front of everything that others have.
            let found = wanted.remove(&entrance).filter(|_| count == 1);
            let (table, rule) = entrance;
            let copy = |number| present(Key::FoundEntrance(table, rule.as_str().into(), number));
            items.extend(found.map_or_else(|| (0..count).map(copy).collect(), |found| vec![found]));
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
        self.contributed_before.clear();
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

    pub(crate) fn apply(&mut self, delta: &Delta<'_, Key, Value>) -> Result<(), ApplyError> {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        let mut restore = Restore::new(self.family, self.xtables.changes_single_rules());
        let mut touched = BTreeMap::new();
        // What goes first: an item may go from one owner to another, and then appears twice.
        let (gone, there): (Vec<&Change<'_>>, Vec<_>) =
            delta.changes.iter().partition(|change| change.after.is_none());
        for change in gone.into_iter().chain(there) {
            match change.key {
                Key::HairpinSet if change.after.is_some() => {
                    self.xtables.make_set(set(self.family)).map_err(failed)?;
                }
                Key::Counter(counter) if change.after.is_some() => {
                    self.xtables.make_counter(counter.name()).map_err(failed)?;
                }
                Key::HairpinSet | Key::Counter(_) => {}
                Key::Hairpin(of) => {
                    let element = Element { address: of.0.address, protocol: of.1, port: of.0.port };
                    if change.after.is_some() { &mut added } else { &mut removed }.push(element);
                }
                Key::Found(table, name) => restore.remove_chain(*table, name),
                Key::FoundEntrance(table, rule, _) => restore.remove_entrance(*table, rule),
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
        self.xtables.change_set(set(self.family), &added, &[]).map_err(failed)?;
        let written = restore.rules();
        let text = restore.finish(&self.used_by_others, filter_only_lets_through(delta));
        let before = if self.is_first { None } else { self.xtables.entries() };
        if let Err(error) = self.restore(&text, delta) {
            self.take_back();
            if matches!(error, ApplyError::Refused(_)) {
                // Elements that are there but not known to be would never go.
                added.retain(|element| !removed.contains(element));
                self.xtables.change_set(set(self.family), &[], &added).map_err(failed)?;
            }
            return Err(error);
        }
        self.contributed_before.clear();
        self.xtables.change_set(set(self.family), &[], &removed).map_err(failed)?;
        self.is_first = false;
        self.tally.wrote(delta, written);
        let grown =
            before.zip(self.xtables.entries()).map(|(before, after)| i64::from(after) - i64::from(before));
        if grown.is_some_and(|grown| growth(delta).is_some_and(|wanted| wanted != grown)) {
            return Err(partly(Error::Interrupted { what: "iptables while it was written" }));
        }
        Ok(())
    }

    /// Carries a text out. What is refused although nothing has changed yet is traced to its changes.
    fn restore(&mut self, text: &str, delta: &Delta<'_, Key, Value>) -> Result<(), ApplyError> {
        let one_by_one = std::mem::take(&mut self.one_by_one);
        let texts = if one_by_one { blame::transactions(text) } else { vec![text] };
        for (at, text) in texts.into_iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            let (lines, error) = match self.xtables.restore(text) {
                Ok(()) => continue,
                Err(RestoreError::Refused { lines, error }) => (lines, error),
                Err(RestoreError::Failed(error)) => return Err(failed(error)),
            };
            self.one_by_one = lines.is_empty() && blame::transactions(text).len() > 1;
            // What is before the refused transaction is done. The next pass reads that, and then this one is the first.
            if self.one_by_one || at > 0 || blame::is_half_done(text, &lines) {
                return Err(partly(error));
            }
            // Somebody leads to a chain that was nobody's when it was read.
            if blame::names_removal(text, &lines) {
                return Err(failed(error));
            }
            let lines = match blame::names_no_rule(text, &lines) {
                true => blame::bad_rules(text, &mut self.xtables),
                false => blame::with_their_form(text, lines, &mut self.xtables),
            };
            let lines = lines.map_err(failed)?;
            let refused = blame::changes(text, &lines, delta, self.family);
            return Err(if refused.is_empty() { failed(error) } else { ApplyError::Refused(refused) });
        }
        Ok(())
    }

    /// Nothing was written: what is known of chains is what it was.
    fn take_back(&mut self) {
        for (chain, before) in std::mem::take(&mut self.contributed_before) {
            match before {
                Some(before) => self.contributed.insert(chain, before),
                None => self.contributed.remove(&chain),
            };
        }
    }

    fn remember(&mut self, chain: &(Table, Chain)) {
        if !self.contributed_before.contains_key(chain) {
            self.contributed_before.insert(chain.clone(), self.contributed.get(chain).cloned());
        }
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
            self.remember(&made);
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
            self.remember(&at);
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

/// Answers whether what `iptables-save` printed has chains that only we make. When the first or the last write was broken off,
/// these may be any.
pub fn is_of_signalbox(saved: &str) -> bool {
    const CHAINS: [&str; 9] = [
        "KUBE-ADDRESSES ",
        "KUBE-GU-",
        "KUBE-IP-",
        "KUBE-LOCALNET ",
        "KUBE-MARK-CLUSTER ",
        "KUBE-NN-",
        "KUBE-NO-",
        "KUBE-NP-",
        "KUBE-REFUSED",
    ];
    let mut chains = saved.lines().filter_map(|line| line.strip_prefix(':'));
    chains.any(|name| CHAINS.iter().any(|ours| name.starts_with(ours)))
}

fn failed(error: Error) -> ApplyError {
    ApplyError::Failed(backend::Error::new(error))
}

/// Answers whether everything in `filter` that changes goes, so that packets are refused no more.
fn filter_only_lets_through(delta: &Delta<'_, Key, Value>) -> bool {
    let goes = |change: &Change<'_>| change.key.table() != Some(Table::Filter) || change.after.is_none();
    delta.changes.iter().all(goes)
}

/// What is in force is to be read, and the rest can be tried at once.
fn partly(error: Error) -> ApplyError {
    ApplyError::Failed(backend::Error::partly(error))
}

/// By how many entries the tables grow; `None`: that cannot be told.
fn growth(delta: &Delta<'_, Key, Value>) -> Option<i64> {
    // A chain has a beginning and an end besides its rules.
    let entries = |key: &Key, value: &Value| {
        let has_ends = key.makes().is_some() || matches!(key, Key::Chain(..) | Key::External(_));
        rules(key, value).len() as i64 + 2 * i64::from(has_ends)
    };
    let grows = |change: &Change<'_>| {
        let of = |value: Option<&Value>| value.map_or(0, |value| entries(change.key, value));
        let is_known = !matches!(change.key, Key::Found(..) | Key::FoundEntrance(..));
        is_known.then(|| of(change.after) - of(change.before))
    };
    delta.changes.iter().map(grows).sum()
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
    let text = restore.finish(&saved.used, true);
    if !text.is_empty() {
        xtables.restore(&text)?;
    }
    xtables.remove_set(set(family))?;
    Ok(saved.chains.len())
}
