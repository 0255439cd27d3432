//! Our tables as the kernel holds them, in a form in which two of the same meaning are equal.

use std::collections::{BTreeMap, BTreeSet};

use model::Family;
use sys::nftables::{ElementData, NftSocket, Nftables};

use crate::node::Node;

const TABLE: &str = "signalbox";

/// Everything in both tables but what packets put there. Endpoints of a frontend have no order: which of them has which
/// slot depends on history, that the slots are numbered without a gap does not.
pub(crate) fn both(node: &Node) -> BTreeSet<String> {
    let read = || {
        let mut nft = NftSocket::open().unwrap();
        Family::BOTH.into_iter().flat_map(|family| lines(&mut nft, family)).collect()
    };
    node.world.world().namespace("node").run(read).unwrap()
}

/// Whether the table of a family is there, and how many base chains it has.
pub(crate) fn base_chains(node: &Node, family: Family) -> Option<usize> {
    let read = || NftSocket::open().unwrap().read_table(family, TABLE).unwrap();
    let table = node.world.world().namespace("node").run(read).unwrap()?;
    Some(table.chains.iter().filter(|chain| chain.hook.is_some()).count())
}

/// What both have that the other has not, for a message.
pub(crate) fn difference(ours: &BTreeSet<String>, fresh: &BTreeSet<String>) -> String {
    let show = |title: &str, lines: Vec<&String>| {
        let some: Vec<&str> = lines.iter().take(20).map(|line| line.as_str()).collect();
        format!("{} {title}:\n{}\n", lines.len(), some.join("\n"))
    };
    show("lines only before", ours.difference(fresh).collect())
        + &show("lines only in a fresh kernel", fresh.difference(ours).collect())
}

fn lines(nft: &mut NftSocket, family: Family) -> Vec<String> {
    let Some(table) = nft.read_table(family, TABLE).unwrap() else { return Vec::new() };
    let mut lines = vec![format!("{family} table {:?}", table.comment)];
    lines.extend(table.chains.iter().map(|chain| format!("{family} {chain:?}")));
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let mut rules = Vec::new();
    let mut each = |chain: &str, expressions: &[sys::nftables::KernelExpression<'_>]| {
        let number = numbers.entry(chain.to_owned()).or_default();
        *number += 1;
        rules.push(format!("{family} rule {number} of {chain}: {expressions:?}"));
    };
    nft.read_rules(family, TABLE, &mut each).unwrap();
    lines.append(&mut rules);
    for set in &table.sets {
        lines.push(format!("{family} {set:?}"));
        if !set.name.starts_with("sticky/") {
            lines.append(&mut elements(nft, family, &set.name));
        }
    }
    lines
}

/// Numbers and endpoints of one frontend's slots.
type Slots = (BTreeSet<u32>, BTreeSet<Vec<u8>>);

fn elements(nft: &mut NftSocket, family: Family, set: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut frontends: BTreeMap<Vec<u8>, Slots> = BTreeMap::new();
    nft.read_elements(family, (TABLE, set), &mut |element| {
        let ElementData::Value(endpoint) = element.data else {
            return lines.push(format!("{family} element of {set}: {element:?}"));
        };
        let (place, number) = element.key.split_last_chunk::<4>().expect("a slot has a number");
        let (numbers, endpoints) = frontends.entry(place.to_vec()).or_default();
        numbers.insert(u32::from_ne_bytes(*number));
        endpoints.insert(endpoint.to_vec());
    })
    .unwrap();
    for (place, slots) in frontends {
        lines.push(format!("{family} slots in {set} of {place:?}: {slots:?}"));
    }
    lines
}
