//! The text for `iptables-restore --noflush`.

use std::collections::{BTreeMap, BTreeSet};

use model::Family;

use crate::names::{Chain, Hook, Table};
use crate::rule::Rule;

/// A text that grows.
pub(super) struct Restore {
    family: Family,
    filter: Section,
    nat: Section,
}

/// What is done to one table.
#[derive(Default)]
struct Section {
    /// Chains with their rules.
    written: BTreeMap<String, String>,
    removed: BTreeSet<String>,
    /// Rules of built-in chains, beginning with the chain.
    entrances: Vec<String>,
    removed_entrances: Vec<String>,
}

impl Restore {
    pub(super) fn new(family: Family) -> Self {
        Self { family, filter: Section::default(), nat: Section::default() }
    }

    pub(super) fn write_chain<'r>(
        &mut self,
        table: Table,
        chain: &Chain,
        rules: impl IntoIterator<Item = &'r Rule>,
    ) {
        let name = chain.to_string();
        let line = |rule: &Rule| format!("-A {name} {}\n", rule.text(self.family));
        let text = rules.into_iter().map(line).collect();
        self.section(table).written.insert(name, text);
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
            let lines = section.written.values().map(|text| text.lines().count()).sum::<usize>();
            lines + section.entrances.len()
        };
        [(Table::Filter, count(&self.filter)), (Table::Nat, count(&self.nat))].into()
    }

    /// Writes it; empty: nothing is to be done. A table at a time changes: packets that are refused no more are let
    /// through by `nat` before `filter` stops refusing, and the other way round.
    pub(super) fn finish(self, used_by_others: &BTreeSet<(Table, String)>) -> String {
        let text = |table: Table, section: &Section| section.text(table, used_by_others);
        let (filter, nat) = (text(Table::Filter, &self.filter), text(Table::Nat, &self.nat));
        if self.filter.only_removes() { nat + &filter } else { filter + &nat }
    }

    fn section(&mut self, table: Table) -> &mut Section {
        match table {
            Table::Filter => &mut self.filter,
            Table::Nat => &mut self.nat,
        }
    }
}

impl Section {
    /// Answers whether no chain gets rules.
    fn only_removes(&self) -> bool {
        self.written.values().all(String::is_empty)
    }

    fn text(&self, table: Table, used_by_others: &BTreeSet<(Table, String)>) -> String {
        let removed = || self.removed.iter().filter(|name| !self.written.contains_key(*name));
        let nothing = self.entrances.is_empty() && self.removed_entrances.is_empty();
        if nothing && self.written.is_empty() && removed().next().is_none() {
            return String::new();
        }
        let mut text = format!("*{}\n", table.name());
        for name in self.written.keys().chain(removed()) {
            text += &format!(":{name} - [0:0]\n");
        }
        for rule in &self.removed_entrances {
            text += &format!("-D {rule}\n");
        }
        text.extend(self.written.values().map(String::as_str));
        // Each gets in front of the one before.
        for rule in self.entrances.iter().rev() {
            text += &format!("-I {rule}\n");
        }
        for name in removed().filter(|name| !used_by_others.contains(&(table, (*name).clone()))) {
            text += &format!("-X {name}\n");
        }
        text + "COMMIT\n"
    }
}
