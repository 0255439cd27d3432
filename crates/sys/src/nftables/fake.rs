//! An nftables in memory that reads the very bytes the kernel would get.
//!
//! It keeps the kernel's promises that callers rely on: a transaction happens as a whole or not at all, an element that
//! exists with another value cannot be added, what is missing cannot be deleted, what is in use cannot be deleted. What
//! it does not do: look into rules beyond the chains and sets they lead to.

use std::collections::{BTreeMap, BTreeSet};

use model::Family;

use super::batch::Batch;
use super::socket::{
    ChainDump, CommitError, Element, ElementData, KernelExpression, Nftables, Refused, SetDump, TableDump,
    is_counted, read_element, read_expressions,
};
use super::wire;
use crate::Error;
use crate::netlink::{attributes, messages, number, text};

/// What a fake does to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Carries it out.
    None,
    /// Fails before anything is done.
    Fail,
    /// Carries it out and loses the answer.
    LoseAnswer,
}

/// The fake.
#[derive(Default)]
pub struct FakeNftables {
    tables: BTreeMap<(u8, String), Table>,
    /// Asked before each call.
    faults: Option<Box<dyn FnMut() -> Fault + Send>>,
    /// Elements that are refused, by set and key, with the error number.
    refused: BTreeMap<(String, Vec<u8>), i32>,
    /// How many transactions were carried out, and how many element operations they had.
    pub commits: usize,
    /// See `commits`.
    pub element_operations: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table {
    comment: Option<String>,
    chains: BTreeMap<String, Chain>,
    sets: BTreeMap<String, Set>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chain {
    hook: Option<(u32, i32)>,
    rules: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Set {
    dump: SetDump,
    /// Key to the raw attributes of the element.
    elements: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl FakeNftables {
    /// Makes an empty kernel.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks this before each call from now on.
    pub fn set_faults(&mut self, faults: impl FnMut() -> Fault + Send + 'static) {
        self.faults = Some(Box::new(faults));
    }

    /// Does every call right from now on.
    pub fn clear_faults(&mut self) {
        self.faults = None;
    }

    /// Refuses to add this element from now on.
    pub fn refuse(&mut self, set: &str, key: &[u8], errno: i32) {
        self.refused.insert((set.to_owned(), key.to_vec()), errno);
    }

    /// Accepts every element again.
    pub fn accept_all(&mut self) {
        self.refused.clear();
    }

    /// Adds an empty table, as somebody else would.
    pub fn add_foreign_table(&mut self, family: Family, name: &str) {
        self.tables.entry((wire::number(family), name.to_owned())).or_default();
    }

    /// Deletes a table, as somebody else would.
    pub fn delete_foreign_table(&mut self, family: Family, name: &str) {
        self.tables.remove(&(wire::number(family), name.to_owned()));
    }

    /// Answers how many rules a chain has; `None`: there is no such chain.
    pub fn rules(&self, family: Family, table: &str, chain: &str) -> Option<usize> {
        let table = self.tables.get(&(wire::number(family), table.to_owned()))?;
        table.chains.get(chain).map(|chain| chain.rules.len())
    }

    fn fault(&mut self) -> Fault {
        self.faults.as_mut().map_or(Fault::None, |next| next())
    }

    fn fail_or_go_on(&mut self) -> Result<(), Error> {
        if self.fault() == Fault::None { Ok(()) } else { Err(injected()) }
    }
}

fn injected() -> Error {
    Error::Refused {
        what: "use a kernel that fails on purpose".to_owned(),
        errno: libc::EIO,
        text: String::new(),
    }
}

impl Nftables for FakeNftables {
    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        let fault = self.fault();
        if fault == Fault::Fail {
            return Err(injected().into());
        }
        let sealed = batch.seal();
        let before = self.tables.clone();
        let mut refused = Vec::new();
        let mut operations = 0;
        for message in messages(&sealed.bytes) {
            let message = message?;
            if message.kind >> 8 != wire::SUBSYSTEM {
                continue;
            }
            let Some(first) = sealed.operation(message.sequence, None) else { continue };
            let mut counted = 0;
            if let Err(errno) = self.carry_out(message.kind & 0xff, message.payload, &mut counted) {
                refused.push(Refused { operation: first + counted, errno, text: String::new() });
            }
            operations += counted;
        }
        refused.extend(self.dangling().map(|errno| Refused { operation: 0, errno, text: String::new() }));
        if !refused.is_empty() {
            self.tables = before;
            return Err(CommitError::Refused { refused });
        }
        self.commits += 1;
        self.element_operations += operations;
        if fault == Fault::LoseAnswer { Err(Error::Lost.into()) } else { Ok(()) }
    }

    fn tables(&mut self, family: Family) -> Result<Vec<String>, Error> {
        self.fail_or_go_on()?;
        let family = wire::number(family);
        Ok(self.tables.keys().filter(|(f, _)| *f == family).map(|(_, name)| name.clone()).collect())
    }

    fn read_table(&mut self, family: Family, name: &str) -> Result<Option<TableDump>, Error> {
        self.fail_or_go_on()?;
        let Some(table) = self.tables.get(&(wire::number(family), name.to_owned())) else { return Ok(None) };
        let chains =
            table.chains.iter().map(|(name, chain)| ChainDump { name: name.clone(), hook: chain.hook });
        let sets = table.sets.values().map(|set| set.dump.clone());
        Ok(Some(TableDump { comment: table.comment.clone(), chains: chains.collect(), sets: sets.collect() }))
    }

    fn read_elements(
        &mut self,
        family: Family,
        (table, set): (&str, &str),
        each: &mut dyn FnMut(Element<'_>),
    ) -> Result<(), Error> {
        self.fail_or_go_on()?;
        let missing =
            || Error::Refused { what: format!("read set {set}"), errno: libc::ENOENT, text: String::new() };
        let table = self.tables.get(&(wire::number(family), table.to_owned())).ok_or_else(missing)?;
        for element in table.sets.get(set).ok_or_else(missing)?.elements.values() {
            each(read_element(element));
        }
        Ok(())
    }

    fn read_rules(
        &mut self,
        family: Family,
        table: &str,
        each: &mut dyn FnMut(&str, &[KernelExpression<'_>]),
    ) -> Result<(), Error> {
        self.fail_or_go_on()?;
        let Some(table) = self.tables.get(&(wire::number(family), table.to_owned())) else { return Ok(()) };
        for (name, chain) in &table.chains {
            chain.rules.iter().for_each(|rule| each(name, &read_expressions(rule)));
        }
        Ok(())
    }

    fn can_destroy(&self) -> bool {
        true
    }
}

impl FakeNftables {
    /// Carries one message out; counts the element operations before the one that failed.
    fn carry_out(&mut self, kind: u16, payload: &[u8], counted: &mut usize) -> Result<(), i32> {
        let (Some(family), Some(body)) = (payload.first(), payload.get(4..)) else {
            return Err(libc::EINVAL);
        };
        let value = |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let name = |wanted| value(wanted).map(|v| text(v).to_owned()).ok_or(libc::EINVAL);
        let key = (*family, name(1)?);
        match kind {
            wire::NEW_TABLE => {
                let comment = value(6).and_then(|v| wire::read_comment(0, v));
                self.tables.entry(key).or_default().comment = comment;
                return Ok(());
            }
            wire::DEL_TABLE => return self.tables.remove(&key).map(drop).ok_or(libc::ENOENT),
            _ => {}
        }
        let refusals = &self.refused;
        let table = self.tables.get_mut(&key).ok_or(libc::ENOENT)?;
        match kind {
            wire::NEW_CHAIN => table.add_chain(name(3)?, value(4)),
            wire::DEL_CHAIN => table.chains.remove(&name(3)?).map(drop).ok_or(libc::ENOENT),
            wire::NEW_RULE => {
                let rule = value(4).unwrap_or_default().to_vec();
                table.chains.get_mut(&name(2)?).ok_or(libc::ENOENT)?.rules.push(rule);
                Ok(())
            }
            wire::DEL_RULE => {
                table.chains.get_mut(&name(2)?).ok_or(libc::ENOENT)?.rules.clear();
                Ok(())
            }
            wire::NEW_SET => table.add_set(name(2)?, &value),
            wire::DEL_SET => table.sets.remove(&name(2)?).map(drop).ok_or(libc::ENOENT),
            wire::NEW_ELEMENT | wire::DEL_ELEMENT | wire::DESTROY_ELEMENT => {
                let name = name(2)?;
                let set = table.sets.get_mut(&name).ok_or(libc::ENOENT)?;
                for (_, element) in attributes(value(3).unwrap_or_default()) {
                    let refused = |key: &[u8]| refusals.get(&(name.clone(), key.to_vec())).copied();
                    set.change(kind, element, &refused)?;
                    *counted += 1;
                }
                Ok(())
            }
            _ => Err(libc::EOPNOTSUPP),
        }
    }

    /// Finds a verdict or rule that leads to something that does not exist.
    fn dangling(&self) -> Option<i32> {
        for table in self.tables.values() {
            let verdicts = table.sets.values().flat_map(|set| set.elements.values()).filter_map(|element| {
                let ElementData::Verdict(_, chain) = read_element(element).data else { return None };
                chain.map(str::to_owned)
            });
            let mut chains: BTreeSet<String> = verdicts.collect();
            let mut sets = BTreeSet::new();
            for rule in table.chains.values().flat_map(|chain| &chain.rules) {
                collect_targets(rule, &mut chains, &mut sets);
            }
            let missing_chain = chains.iter().any(|chain| !table.chains.contains_key(chain));
            let missing_set = sets.iter().any(|set| !table.sets.contains_key(set));
            if missing_chain || missing_set {
                return Some(libc::EBUSY);
            }
        }
        None
    }
}

/// Collects the chains and sets that a rule's expressions name.
fn collect_targets(rule: &[u8], chains: &mut BTreeSet<String>, sets: &mut BTreeSet<String>) {
    for (_, expression) in attributes(rule) {
        let value = |wanted| attributes(expression).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let data = value(2).unwrap_or_default();
        match value(1).map(text) {
            Some("lookup" | "dynset") => {
                sets.extend(attributes(data).find(|(kind, _)| *kind == 1).map(|(_, v)| text(v).to_owned()));
            }
            Some("immediate") => {
                if let ElementData::Verdict(_, Some(chain)) = read_element(data).data {
                    chains.insert(chain.to_owned());
                }
            }
            _ => {}
        }
    }
}

impl Table {
    fn add_chain(&mut self, name: String, hook: Option<&[u8]>) -> Result<(), i32> {
        let hook = hook.map(|hook| {
            let value = |wanted| attributes(hook).find(|(k, _)| *k == wanted).map_or(0, |(_, v)| number(v));
            (value(1), value(2).cast_signed())
        });
        let chain = self.chains.entry(name).or_insert(Chain { hook, rules: Vec::new() });
        if chain.hook == hook { Ok(()) } else { Err(libc::EEXIST) }
    }

    fn add_set<'a>(&mut self, name: String, value: &dyn Fn(u16) -> Option<&'a [u8]>) -> Result<(), i32> {
        let word = |wanted| value(wanted).map_or(0, number);
        let timeout_ms = value(11).and_then(|v| v.first_chunk::<8>()).map_or(0, |b| u64::from_be_bytes(*b));
        let dump = SetDump {
            name: name.clone(),
            flags: word(3),
            key_len: word(5),
            data_len: word(7),
            timeout_ms,
            counted: is_counted(value),
        };
        let set = self.sets.entry(name).or_insert(Set { dump: dump.clone(), elements: BTreeMap::new() });
        if set.dump == dump { Ok(()) } else { Err(libc::EEXIST) }
    }
}

impl Set {
    fn change(
        &mut self,
        kind: u16,
        element: &[u8],
        refused: &dyn Fn(&[u8]) -> Option<i32>,
    ) -> Result<(), i32> {
        let read = read_element(element);
        if read.key.len() != self.dump.key_len as usize {
            return Err(libc::EINVAL);
        }
        let mut key = read.key.to_vec();
        key.extend_from_slice(read.key_end.unwrap_or_default());
        if kind == wire::NEW_ELEMENT {
            if let Some(errno) = refused(read.key) {
                return Err(errno);
            }
            // Batches are written with NLM_F_EXCL: an element that exists is an error even with the same value.
            return match self.elements.insert(key, element.to_vec()) {
                None => Ok(()),
                Some(_) => Err(libc::EEXIST),
            };
        }
        match self.elements.remove(&key) {
            None if kind == wire::DEL_ELEMENT => Err(libc::ENOENT),
            _ => Ok(()),
        }
    }
}
