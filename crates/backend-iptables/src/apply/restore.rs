//! The text for `iptables-restore --noflush`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use model::Family;

use crate::names::{Chain, Hook, Table};
use crate::rule::Rule;

/// How many chains come or go in one transaction where tables are changed rule by rule: the program of the nft flavour keeps
/// the chains of a transaction in a list and walks it for each rule, so its time grows with the square of their number.
const CHAINS_AT_ONCE: usize = 500;

/// A text that grows.
pub(super) struct Restore {
    family: Family,
    /// Whether chains that nothing leads to yet, or any more, may have transactions of their own.
    in_parts: bool,
    filter: Section,
    nat: Section,
}

/// What is done to one table.
#[derive(Default)]
struct Section {
    written: BTreeMap<String, Written>,
    removed: BTreeSet<String>,
    /// Rules of built-in chains, beginning with the chain.
    entrances: Vec<String>,
    removed_entrances: Vec<String>,
}

/// A chain.
struct Written {
    depth: u8,
    rules: String,
    /// Whether it was not there, and so nothing leads to it.
    is_new: bool,
}

impl Restore {
    /// Legacy tables are replaced as a whole, however small the change; there `in_parts` would take longer.
    pub(super) fn new(family: Family, in_parts: bool) -> Self {
        Self { family, in_parts, filter: Section::default(), nat: Section::default() }
    }

    pub(super) fn write_chain<'r>(
        &mut self,
        (table, chain): &(Table, Chain),
        rules: impl IntoIterator<Item = &'r Rule>,
        is_new: bool,
    ) {
        let name = chain.to_string();
        let line = |rule: &Rule| format!("-A {name} {}\n", rule.text(self.family));
        let rules = rules.into_iter().map(line).collect();
        self.section(*table).written.insert(name, Written { depth: chain.depth(), rules, is_new });
    }

    pub(super) fn remove_chain(&mut self, table: Table, name: &str) {
        self.section(table).removed.insert(name.to_owned());
    }

    pub(super) fn remove_entrance(&mut self, table: Table, rule: &str) {
        self.section(table).removed_entrances.push(rule.to_owned());
    }

    pub(super) fn entrance(
        &mut self,
        (table, hook): (Table, Hook),
        before: Option<&[Rule]>,
        after: Option<&[Rule]>,
    ) {
        let family = self.family;
        let texts = |rules: Option<&[Rule]>| -> Vec<String> {
            { rules.unwrap_or_default().iter() }
                .map(|rule| format!("{} {}", hook.name(), rule.text(family)))
                .collect()
        };
        let (before, after) = (texts(before), texts(after));
        let section = self.section(table);
        section.removed_entrances.extend(before);
        section.entrances.extend(after);
    }

    /// Answers how many rules it gives to each table.
    pub(super) fn rules(&self) -> BTreeMap<Table, usize> {
        let count = |section: &Section| {
            let lines = section.written.values().map(|chain| chain.rules.lines().count()).sum::<usize>();
            lines + section.entrances.len()
        };
        [(Table::Filter, count(&self.filter)), (Table::Nat, count(&self.nat))].into()
    }

    /// Writes it; empty: nothing is to be done. A table at a time changes: packets that are refused no more are led
    /// on by `nat` before `filter` stops refusing, and the other way round.
    pub(super) fn finish(self, used_by_others: &BTreeSet<(Table, String)>, nat_first: bool) -> String {
        let most = if self.in_parts { CHAINS_AT_ONCE } else { usize::MAX };
        let text = |table: Table, section: &Section| section.text(table, used_by_others, most);
        let (filter, nat) = (text(Table::Filter, &self.filter), text(Table::Nat, &self.nat));
        if nat_first { nat + &filter } else { filter + &nat }
    }

    fn section(&mut self, table: Table) -> &mut Section {
        match table {
            Table::Filter => &mut self.filter,
            Table::Nat => &mut self.nat,
        }
    }
}

impl Section {
    /// The last transaction but for what only gets rid of chains changes what packets meet; those before make chains.
    fn text(&self, table: Table, used_by_others: &BTreeSet<(Table, String)>, most: usize) -> String {
        let removed: Vec<&String> =
            self.removed.iter().rev().filter(|name| !self.written.contains_key(*name)).collect();
        let nothing = self.entrances.is_empty() && self.removed_entrances.is_empty();
        if nothing && self.written.is_empty() && removed.is_empty() {
            return String::new();
        }
        let mut written: Vec<(&String, &Written)> = self.written.iter().collect();
        // What others lead to first. Of names, those that come last in that list first.
        written.sort_by_key(|(name, chain)| (chain.depth, Reverse(*name)));
        let is_new = |(name, chain): &(&String, &Written)| chain.is_new && !self.removed.contains(*name);
        let (mut new, mut rest): (Vec<_>, Vec<_>) = written.iter().copied().partition(is_new);
        if new.len() <= most {
            (new, rest) = (Vec::new(), written);
        }
        let chains = |chains: &[(&String, &Written)]| -> String {
            chains.iter().map(|(name, chain)| format!(":{name} - [0:0]\n{}", chain.rules)).collect()
        };
        let lines = |before: &str, lines: &[String]| -> String {
            lines.iter().map(|line| format!("{before} {line}\n")).collect()
        };
        let transaction = |body: String| format!("*{}\n{body}COMMIT\n", table.name());
        let mut text: String = new.chunks(most).map(|new| transaction(chains(new))).collect();
        let mut main = lines("-D", &self.removed_entrances);
        main.extend(removed.iter().map(|name| format!(":{name} - [0:0]\n")));
        main += &chains(&rest);
        // Each gets in front of the one before.
        let entrances: Vec<String> = self.entrances.iter().rev().cloned().collect();
        main += &lines("-I", &entrances);
        let gone = removed.into_iter().filter(|name| !used_by_others.contains(&(table, (*name).clone())));
        let gone: Vec<String> = gone.cloned().collect();
        if gone.len() <= most {
            return text + &transaction(main + &lines("-X", &gone));
        }
        text += &transaction(main);
        text.extend(gone.chunks(most).map(|gone| transaction(lines("-X", gone))));
        text
    }
}
