//! Clients that stick to an endpoint that left.
//!
//! A sticky map is filled by packets, so nobody but the kernel knows what is in it. When the endpoints of a port
//! change it is read, and clients of endpoints that are gone are taken out in the same transaction; once more after it
//! for those that came in between. A client that is taken out chooses anew.

use std::collections::BTreeSet;

use backend::{Change, Delta};
use model::{Endpoint, Family};
use sys::Error;
use sys::nftables::{Batch, CommitError, ElementData, Nftables};

use super::{TABLE, encode};
use crate::item::{Key, Value};
use crate::names::Chain;
use crate::rule::Expression;

/// What is to be taken out of sticky maps.
#[derive(Debug, Default)]
pub(super) struct LostClients {
    maps: Vec<Map>,
}

#[derive(Debug)]
struct Map {
    set: String,
    kept: BTreeSet<Endpoint>,
    clients: Vec<Vec<u8>>,
}

impl LostClients {
    /// Answers set and key of each element.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.maps
            .iter()
            .flat_map(|map| map.clients.iter().map(|client| (map.set.as_str(), client.as_slice())))
    }
}

/// Finds the clients that a delta leaves without their endpoint.
pub(super) fn lost_clients(
    nft: &mut impl Nftables,
    family: Family,
    delta: &Delta<'_, Key, Value>,
) -> Result<LostClients, Error> {
    let mut lost = LostClients::default();
    for change in &delta.changes {
        let Some((set, kept)) = narrowed(change) else { continue };
        let clients = clients(nft, family, &set, &kept)?;
        lost.maps.push(Map { set, kept, clients });
    }
    Ok(lost)
}

/// Takes out who came in between reading and writing, and everybody where the kernel cannot do that in a transaction.
pub(super) fn sweep(nft: &mut impl Nftables, family: Family, lost: &LostClients) -> Result<(), CommitError> {
    for map in &lost.maps {
        let clients = clients(nft, family, &map.set, &map.kept)?;
        if nft.can_destroy() {
            let mut batch = Batch::new(family, TABLE);
            clients.iter().for_each(|client| batch.destroy_element(&map.set, client));
            nft.commit(batch)?;
            continue;
        }
        for client in clients {
            let mut batch = Batch::new(family, TABLE);
            batch.delete_element(&map.set, (&client, None));
            match nft.commit(batch) {
                // It expired meanwhile.
                Ok(()) | Err(CommitError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Answers map and remaining endpoints of a sticky chain that exists and goes on existing with fewer or unknown ones.
fn narrowed(change: &Change<'_, Key, Value>) -> Option<(String, BTreeSet<Endpoint>)> {
    let (Key::Chain(Chain::Sticky(name)), Some(before), Some(after)) =
        (change.key, change.before, change.after)
    else {
        return None;
    };
    let kept = endpoints(after);
    let nothing_lost = matches!(before, Value::Chain(_)) && endpoints(before).is_subset(&kept);
    let set = crate::names::Set::Sticky(name.clone()).to_string();
    (!nothing_lost).then_some((set, kept))
}

/// The endpoints that a sticky chain hands out.
fn endpoints(chain: &Value) -> BTreeSet<Endpoint> {
    let Value::Chain(body) = chain else { return BTreeSet::new() };
    let expressions = body.rules.iter().flat_map(|rule| &rule.0);
    let remembered = expressions.filter_map(|expression| {
        if let Expression::Remember(_, endpoint, _) = expression { Some(*endpoint) } else { None }
    });
    remembered.collect()
}

/// The clients in a map that stick to none of these.
fn clients(
    nft: &mut impl Nftables,
    family: Family,
    set: &str,
    kept: &BTreeSet<Endpoint>,
) -> Result<Vec<Vec<u8>>, Error> {
    const ATTEMPTS: usize = 10;
    let mut attempt = 1;
    loop {
        let mut found = Vec::new();
        let result = nft.read_elements(family, (TABLE, set), &mut |element| {
            let ElementData::Value(value) = element.data else { return };
            if encode::read_endpoint(family, value).is_none_or(|endpoint| !kept.contains(&endpoint)) {
                found.push(element.key.to_vec());
            }
        });
        match result {
            // Packets add elements while the map is read.
            Err(Error::Interrupted { .. }) if attempt < ATTEMPTS => attempt += 1,
            result => return result.map(|()| found),
        }
    }
}
