//! The program in the kernel, and the part of it that is about one address.

use std::collections::BTreeSet;

use backend_nftables::{Chain, Expression, Key, Value, VerdictKind};
use model::Family;
use sys::nftables::NftSocket;

/// What the kernel of the calling thread's network namespace holds, in both its elements and its rules.
pub(crate) fn in_kernel(family: Family) -> anyhow::Result<Vec<(Key, Value)>> {
    let read = NftSocket::open().and_then(|mut nft| backend_nftables::installed(&mut nft, family));
    read.map_err(|error| anyhow::anyhow!("failed to {error}"))
}

/// The elements for an address, and the chains that a packet to it passes, in nft's language.
pub(crate) fn about(family: Family, program: &[(Key, Value)], address: &str) -> String {
    let is_about = |key: &Key| key.set().is_some() && key.to_string().contains(&format!("{{ {address} "));
    let mut kept: BTreeSet<Key> = BTreeSet::new();
    let mut chains = vec![Chain::Prerouting];
    for (key, value) in program.iter().filter(|(key, _)| is_about(key)) {
        kept.extend([Some(key.clone()), key.set().map(Key::Set)].into_iter().flatten());
        if let Value::Verdict(verdict) = value
            && let VerdictKind::Goto(chain) = &verdict.kind
        {
            chains.push(chain.clone());
        }
    }
    while let Some(chain) = chains.pop() {
        let key = Key::Chain(chain);
        let body = program.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
        if let (true, Some(Value::Chain(body))) = (kept.insert(key), body) {
            chains.extend(body.rules.iter().flat_map(|rule| &rule.0).filter_map(next_chain));
        }
    }
    let part: Vec<_> = program.iter().filter(|(key, _)| kept.contains(key)).cloned().collect();
    backend_nftables::render(family, &part)
}

fn next_chain(expression: &Expression) -> Option<Chain> {
    if let Expression::Jump(chain) | Expression::Goto(chain) = expression {
        Some(chain.clone())
    } else {
        None
    }
}
