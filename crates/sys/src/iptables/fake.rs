//! An iptables in memory that reads the very texts the programs would get.
//!
//! It keeps the promises that callers rely on: a table changes as a whole or not at all, one after the other; a rule leads to a
//! chain that exists; a chain that something leads to cannot go. What it does not do: look into rules beyond the chains and
//! sets they name.

use std::collections::{BTreeMap, BTreeSet};

use super::{RefusedLine, RestoreError, Xtables};
use crate::Error;
use crate::ipset::Element;

/// What a fake does to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Carries it out.
    None,
    /// Fails before anything is done, as without the program or with an exit code 4.
    Fail,
    /// Somebody else holds the lock.
    Locked,
    /// Carries out the first table of a text and dies; everything else fails before anything is done.
    Die,
    /// Carries it out and loses the answer.
    LoseAnswer,
    /// Answers half of what it should.
    CutShort,
}

/// What it says about a rule that the kernel refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// Its line, as the nft flavour does.
    #[default]
    Line,
    /// The line of the table's `COMMIT`, as the legacy flavour does.
    Commit,
    /// Nothing.
    Nothing,
}

type Chains = BTreeMap<String, Vec<String>>;

/// The fake.
#[derive(Default)]
pub struct FakeXtables {
    tables: BTreeMap<String, Chains>,
    sets: BTreeMap<String, BTreeSet<Element>>,
    /// Asked before each call.
    faults: Option<Box<dyn FnMut() -> Fault + Send>>,
    refused: Vec<String>,
    naming: Naming,
    /// How often something was listed, and how often a text was carried out or refused.
    pub saves: usize,
    /// See `saves`.
    pub restores: usize,
}

impl FakeXtables {
    /// Makes an empty kernel.
    pub fn new(naming: Naming) -> Self {
        Self { naming, ..Self::default() }
    }

    /// Asks this before each call from now on.
    pub fn set_faults(&mut self, faults: impl FnMut() -> Fault + Send + 'static) {
        self.faults = Some(Box::new(faults));
    }

    /// Does every call right from now on.
    pub fn clear_faults(&mut self) {
        self.faults = None;
    }

    /// Refuses rules with this in them from now on.
    pub fn refuse(&mut self, part: &str) {
        self.refused.push(part.to_owned());
    }

    /// Accepts every rule again.
    pub fn accept_all(&mut self) {
        self.refused.clear();
    }

    /// Carries out a text as somebody else would.
    pub fn meddle(&mut self, text: &str) {
        let tables = sections(text).into_iter().map(|section| self.changed(&section));
        let tables: Vec<_> = tables.collect::<Result<_, _>>().expect("a right text");
        self.tables.extend(tables);
    }

    /// Empties every table, as a restart of a firewall does.
    pub fn flush(&mut self) {
        self.tables.clear();
    }

    fn fault(&mut self) -> Fault {
        self.faults.as_mut().map_or(Fault::None, |next| next())
    }

    fn fail_or_go_on(&mut self) -> Result<(), Error> {
        match self.fault() {
            Fault::None | Fault::CutShort => Ok(()),
            Fault::Locked => Err(locked()),
            Fault::Fail | Fault::Die | Fault::LoseAnswer => Err(injected()),
        }
    }

    /// What becomes of the table of a section.
    fn changed(&self, section: &Section<'_>) -> Result<(String, Chains), Refusal> {
        let mut chains = self.tables.get(section.table).cloned().unwrap_or_else(|| built_in(section.table));
        for (number, line) in &section.lines {
            let refuse = |reason: &str| Refusal { line: *number, reason: reason.to_owned() };
            self.carry_out(line, &mut chains).map_err(refuse)?;
        }
        Ok((section.table.to_owned(), chains))
    }

    fn carry_out(&self, line: &str, chains: &mut Chains) -> Result<(), &'static str> {
        const NO_CHAIN: &str = "No chain/target/match by that name";
        if let Some(declared) = line.strip_prefix(':') {
            let name = declared.split(' ').next().unwrap_or_default();
            chains.insert(name.to_owned(), Vec::new());
            return Ok(());
        }
        let (action, rest) = line.split_once(' ').ok_or("Bad argument")?;
        let (chain, rule) = rest.split_once(' ').unwrap_or((rest, ""));
        if action == "-X" {
            let is_used = chains.values().flatten().any(|rule| target(rule) == Some(chain));
            let is_empty = chains.get(chain).ok_or(NO_CHAIN)?.is_empty();
            chains.remove(chain);
            return if is_used || !is_empty { Err("Device or resource busy") } else { Ok(()) };
        }
        let is_known = |name: &str| !name.starts_with("KUBE-") || chains.contains_key(name);
        if !target(rule).is_none_or(is_known) {
            return Err(NO_CHAIN);
        }
        let mut set = rule.split(' ').skip_while(|word| *word != "--match-set").skip(1);
        if set.next().is_some_and(|set| !self.sets.contains_key(set)) {
            return Err("Set does not exist");
        }
        if action != "-D" && self.refused.iter().any(|part| line.contains(part.as_str())) {
            return Err("Invalid argument");
        }
        let rules = chains.get_mut(chain).ok_or(NO_CHAIN)?;
        match action {
            "-A" => rules.push(rule.to_owned()),
            "-I" => rules.insert(0, rule.to_owned()),
            "-D" => {
                let at = rules
                    .iter()
                    .position(|known| known == rule)
                    .ok_or("Bad rule (does a matching rule exist?)")?;
                rules.remove(at);
            }
            _ => return Err("Bad argument"),
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Refusal {
    line: usize,
    reason: String,
}

/// What a text says of one table.
struct Section<'a> {
    table: &'a str,
    lines: Vec<(usize, &'a str)>,
    commit: usize,
}

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(table) = line.strip_prefix('*') {
            sections.push(Section { table, lines: Vec::new(), commit: 0 });
        } else if let Some(section) = sections.last_mut() {
            match line {
                "COMMIT" => section.commit = number,
                line => section.lines.push((number, line)),
            }
        }
    }
    // What is not committed does not happen.
    sections.retain(|section| section.commit > 0);
    sections
}

fn built_in(table: &str) -> Chains {
    let names: &[&str] = match table {
        "nat" => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
        "filter" => &["INPUT", "FORWARD", "OUTPUT"],
        _ => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
    };
    names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect()
}

fn target(rule: &str) -> Option<&str> {
    let mut words = rule.rsplit(' ');
    let last = words.next()?;
    matches!(words.next(), Some("-j" | "-g")).then_some(last)
}

fn injected() -> Error {
    Error::Program { program: "iptables".to_owned(), reason: "fails on purpose".to_owned() }
}

fn locked() -> Error {
    Error::Busy { what: "/run/xtables.lock".to_owned() }
}

impl Xtables for FakeXtables {
    fn save(&mut self) -> Result<String, Error> {
        let fault = self.fault();
        match fault {
            Fault::None | Fault::CutShort => {}
            Fault::Locked => return Err(locked()),
            Fault::Fail | Fault::Die | Fault::LoseAnswer => return Err(injected()),
        }
        self.saves += 1;
        let mut text = String::new();
        for (table, chains) in &self.tables {
            text += &format!("*{table}\n");
            let names: Vec<String> = chains.keys().map(|name| format!(":{name} - [0:0]\n")).collect();
            text += &names.concat();
            for (name, rules) in chains {
                text.extend(rules.iter().map(|rule| format!("-A {name} {rule}\n")));
            }
            text += "COMMIT\n";
        }
        if fault == Fault::CutShort {
            text.truncate(text.len() / 2);
        }
        Ok(text)
    }

    fn restore(&mut self, text: &str) -> Result<(), RestoreError> {
        let fault = self.fault();
        match fault {
            Fault::Fail => return Err(injected().into()),
            Fault::Locked => return Err(locked().into()),
            Fault::None | Fault::Die | Fault::LoseAnswer | Fault::CutShort => {}
        }
        self.restores += 1;
        for section in sections(text) {
            let (table, chains) = self.changed(&section).map_err(|refusal| {
                let line = |number, reason: &str| RefusedLine { number, reason: reason.to_owned() };
                let lines = match self.naming {
                    Naming::Line => vec![line(refusal.line, &refusal.reason)],
                    Naming::Commit => vec![line(section.commit, "failed")],
                    Naming::Nothing => Vec::new(),
                };
                let error = Error::Program { program: "iptables-restore".to_owned(), reason: refusal.reason };
                RestoreError::Refused { lines, error }
            })?;
            self.tables.insert(table, chains);
            if fault == Fault::Die {
                return Err(injected().into());
            }
        }
        if fault == Fault::LoseAnswer { Err(injected().into()) } else { Ok(()) }
    }

    fn changes_single_rules(&self) -> bool {
        self.naming != Naming::Commit
    }

    fn elements(&mut self, set: &str) -> Result<Option<Vec<Element>>, Error> {
        self.fail_or_go_on()?;
        Ok(self.sets.get(set).map(|elements| elements.iter().copied().collect()))
    }

    fn make_set(&mut self, set: &str) -> Result<(), Error> {
        self.fail_or_go_on()?;
        self.sets.entry(set.to_owned()).or_default();
        Ok(())
    }

    fn change_set(&mut self, set: &str, added: &[Element], removed: &[Element]) -> Result<(), Error> {
        if added.is_empty() && removed.is_empty() {
            return Ok(());
        }
        self.fail_or_go_on()?;
        let elements = self.sets.get_mut(set).ok_or_else(injected)?;
        elements.retain(|element| !removed.contains(element));
        elements.extend(added);
        Ok(())
    }

    fn remove_set(&mut self, set: &str) -> Result<(), Error> {
        self.fail_or_go_on()?;
        self.sets.remove(set);
        Ok(())
    }
}
