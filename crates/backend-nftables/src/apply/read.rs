//! The kernel's table as items.

use std::collections::BTreeMap;

use model::Family;
use sys::Error;
use sys::nftables::{Element, ElementData, Nftables, SetDefinition, SetDump, TableDump};

use super::encode::Counting;
use super::{PROGRAM, TABLE, decode, encode};
use crate::item::{ChainBody, Foreign, Key, Value, Verdict, VerdictKind};
use crate::names::{Chain, LeadsTo, Set};
use crate::rule::Rule;

/// A table that changes while it is read is read again, so many times at most.
const ATTEMPTS: usize = 10;

/// What is in the place of our table.
pub(super) enum Found {
    Nothing,
    /// It cannot become ours item by item.
    SomethingElse,
    Program(Vec<(Key, Value)>),
}

pub(super) fn table(nft: &mut impl Nftables, family: Family, counting: Counting) -> Result<Found, Error> {
    let mut attempt = 1;
    loop {
        match read(nft, family, counting) {
            Err(Error::Interrupted { .. }) if attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

fn read(nft: &mut impl Nftables, family: Family, counting: Counting) -> Result<Found, Error> {
    let Some(dump) = nft.read_table(family, TABLE)? else { return Ok(Found::Nothing) };
    if dump.comment.as_deref() != Some(PROGRAM) || !has_our_shape(&dump, family, counting) {
        return Ok(Found::SomethingElse);
    }
    let mut rules = rules(nft, family)?;
    let mut items = Vec::new();
    for chain in &dump.chains {
        items.push(match Chain::from_name(&chain.name) {
            Some(chain) => {
                let rules = rules.remove(&chain).unwrap_or_else(|| Some(Vec::new()));
                let body = rules.map(|rules| ChainBody { hook: chain.hook(), rules });
                (Key::Chain(chain), body.map_or(Value::Odd, |body| Value::Chain(Box::new(body))))
            }
            None => (Key::Foreign(Box::new(Foreign::Chain(chain.name.clone()))), Value::Odd),
        });
    }
    for found in &dump.sets {
        let Some(set) = Set::from_name(&found.name) else {
            items.push((Key::Foreign(Box::new(Foreign::Set(found.name.clone()))), Value::Odd));
            continue;
        };
        if !set.is_dynamic() {
            nft.read_elements(family, (TABLE, &found.name), &mut |element| {
                let key = encode::key(&set, family, element.key, element.key_end);
                items.push((key, value(&set, family, &element)));
            })?;
        }
        items.push((Key::Set(set), Value::Present));
    }
    Ok(Found::Program(items))
}

/// The rules of our chains; `None` for chains with a rule that is none of ours.
fn rules(nft: &mut impl Nftables, family: Family) -> Result<BTreeMap<Chain, Option<Vec<Rule>>>, Error> {
    let mut rules: BTreeMap<Chain, Option<Vec<Rule>>> = BTreeMap::new();
    nft.read_rules(family, TABLE, &mut |chain, expressions| {
        let Some(chain) = Chain::from_name(chain) else { return };
        let known = rules.entry(chain).or_insert_with(|| Some(Vec::new()));
        match (&mut *known, decode::rule(expressions, family)) {
            (Some(known), Some(rule)) => known.push(rule),
            (_, _) => *known = None,
        }
    })?;
    Ok(rules)
}

/// Hooks of chains and declarations of sets cannot be changed in place.
fn has_our_shape(dump: &TableDump, family: Family, counting: Counting) -> bool {
    let chain_fits = |found: &sys::nftables::ChainDump| {
        let chain = Chain::from_name(&found.name);
        chain.is_none_or(|chain| encode::is_hooked_like(&chain, found.hook))
    };
    let set_fits = |found: &SetDump| {
        Set::from_name(&found.name)
            .is_none_or(|set| is_declared_like(&encode::definition(&set, counting), found, family))
    };
    dump.chains.iter().all(chain_fits) && dump.sets.iter().all(set_fits)
}

fn is_declared_like(own: &SetDefinition, found: &SetDump, family: Family) -> bool {
    (found.flags, found.key_len as usize, found.data_len as usize, found.timeout_ms, found.counted)
        == (own.flags(), own.key_len(family), own.data_len(family), 0, own.counted)
}

fn value(set: &Set, family: Family, element: &Element<'_>) -> Value {
    match set.leads_to() {
        LeadsTo::Nothing => Value::Present,
        LeadsTo::Endpoint => match element.data {
            ElementData::Value(bytes) => {
                encode::read_endpoint(family, bytes).map_or(Value::Odd, Value::Endpoint)
            }
            ElementData::None | ElementData::Verdict(..) => Value::Odd,
        },
        LeadsTo::Verdict => {
            let comment = element.comment().unwrap_or_default().into_boxed_str();
            let goto = || element.goto().and_then(Chain::from_name).map(VerdictKind::Goto);
            let kind = if element.is_drop() { Some(VerdictKind::Drop) } else { goto() };
            kind.map_or(Value::Odd, |kind| Value::Verdict(Box::new(Verdict { kind, comment })))
        }
    }
}
