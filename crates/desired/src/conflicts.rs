//! Who has an address or NodePort that several Services want: the oldest.
//!
//! kube-proxy programs whatever it happens to handle last. Here the outcome is the same on every node and after every
//! restart, and the loser is told. It takes over as soon as the winner lets go.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Family, Protocol, ServiceKey};
use objects::Service;
use rustc_hash::FxHashMap;

use crate::frontends::{cluster_ip, frontends, ports};

/// Something that only one Service can have. NodePorts and addresses are claimed apart, so an address frontend never
/// takes a NodePort away, not even at a node's own address (it only comes first there).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// An address, protocol and port.
    Address(IpAddr, Protocol, u16),
    /// A NodePort. Families are independent: a Service of the other one may have the same.
    NodePort(Family, Protocol, u16),
}

/// The claims of all Services.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    services: FxHashMap<ServiceKey, Claimed>,
    holders: FxHashMap<Claim, Arc<Claimant>>,
    /// Everybody but the holder, where there is anybody else.
    waiting: FxHashMap<Claim, BTreeSet<Arc<Claimant>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Claimed {
    by: Arc<Claimant>,
    /// Sorted, no duplicates.
    claims: Box<[Claim]>,
}

/// Orders Services by age; the names only break ties.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    created: i64,
    uid: Box<str>,
    key: ServiceKey,
}

impl Claims {
    /// Answers the Service that has it.
    pub fn holder(&self, claim: &Claim) -> Option<&ServiceKey> {
        self.holders.get(claim).map(|claimant| &claimant.key)
    }

    /// Takes a Service as it is now, `None` when it is gone, and answers the *other* Services for which something has
    /// a different holder now.
    pub fn update(&mut self, key: &ServiceKey, service: Option<&Service>) -> BTreeSet<ServiceKey> {
        let after = service.and_then(Claimed::by);
        if self.services.get(key) == after.as_ref() {
            return BTreeSet::new();
        }
        let before = self.services.remove(key);
        let claims: BTreeSet<Claim> =
            before.iter().chain(&after).flat_map(|claimed| claimed.claims.iter().copied()).collect();
        let holders: Vec<(Claim, Option<ServiceKey>)> =
            claims.into_iter().map(|claim| (claim, self.holder(&claim).cloned())).collect();

        if let Some(claimed) = before {
            claimed.claims.iter().for_each(|claim| self.withdraw(*claim, &claimed.by));
        }
        if let Some(claimed) = after {
            claimed.claims.iter().for_each(|claim| self.enter(*claim, &claimed.by));
            self.services.insert(key.clone(), claimed);
        }

        let moved = holders.into_iter().filter(|(claim, holder)| self.holder(claim) != holder.as_ref());
        let concerned = moved.flat_map(|(claim, _)| self.claimants(claim));
        concerned.filter(|other| *other != key).cloned().collect()
    }

    fn enter(&mut self, claim: Claim, by: &Arc<Claimant>) {
        let Some(holder) = self.holders.get_mut(&claim) else {
            self.holders.insert(claim, Arc::clone(by));
            return;
        };
        let loser = if by < holder { std::mem::replace(holder, Arc::clone(by)) } else { Arc::clone(by) };
        self.waiting.entry(claim).or_default().insert(loser);
    }

    fn withdraw(&mut self, claim: Claim, by: &Arc<Claimant>) {
        let mut others = self.waiting.remove(&claim).unwrap_or_default();
        if self.holders.get(&claim) == Some(by) {
            match others.pop_first() {
                Some(next) => self.holders.insert(claim, next),
                None => self.holders.remove(&claim),
            };
        } else {
            others.remove(by);
        }
        if !others.is_empty() {
            self.waiting.insert(claim, others);
        }
    }

    fn claimants(&self, claim: Claim) -> impl Iterator<Item = &ServiceKey> {
        let holder = self.holders.get(&claim);
        holder.into_iter().chain(self.waiting.get(&claim).into_iter().flatten()).map(|claimant| &claimant.key)
    }
}

impl Claimed {
    /// What a Service claims in both families; `None` when that is nothing.
    fn by(service: &Service) -> Option<Self> {
        let mut claims = BTreeSet::new();
        for family in Family::BOTH {
            let Some(cluster_ip) = cluster_ip(service, family) else { continue };
            for port in ports(service) {
                claims.extend(frontends(service, port.spec, cluster_ip).iter().map(|f| f.claim(family)));
            }
        }
        if claims.is_empty() {
            return None;
        }
        let (created, uid, key) = (service.created, service.uid.clone(), service.key.clone());
        Some(Self { by: Arc::new(Claimant { created, uid, key }), claims: claims.into_iter().collect() })
    }
}
