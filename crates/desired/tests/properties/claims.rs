//! [`Claims`] against the simplest thing that could be right.

use std::collections::{BTreeMap, BTreeSet};

use desired::{Claim, Claims};
use model::{Family, Protocol, ServiceKey};
use objects::Service;
use proptest::collection::vec;
use proptest::option;
use proptest::sample::select;
use proptest::strategy::Strategy;
use proptest::{prop_assert_eq, proptest};
use testkit::generate::{service, universe};

/// Every claim that Services of the universe could make.
fn all_claims() -> Vec<Claim> {
    let mut claims = Vec::new();
    for (family, protocol) in
        Family::BOTH.into_iter().flat_map(|f| Protocol::ALL.map(|protocol| (f, protocol)))
    {
        claims.extend(universe::NODE_PORTS.map(|port| Claim::NodePort(family, protocol, port)));
        let numbers = (1..10).map(|number| universe::cluster_ip(family, number));
        let others = [
            universe::external_ip(family, 1),
            universe::external_ip(family, 2),
            universe::load_balancer_ip(family, 1),
            universe::load_balancer_ip(family, 2),
            universe::node_address(family, 1),
        ];
        for address in numbers.chain(others) {
            claims.extend(universe::PORTS.map(|port| Claim::Address(address, protocol, port)));
        }
    }
    claims
}

fn holders(claims: &Claims) -> BTreeMap<Claim, ServiceKey> {
    all_claims().into_iter().filter_map(|claim| Some((claim, claims.holder(&claim)?.clone()))).collect()
}

/// The claims of one Service alone.
fn wanted(service: &Service) -> BTreeSet<Claim> {
    let mut alone = Claims::default();
    alone.update(&service.key, Some(service));
    holders(&alone).into_keys().collect()
}

/// The oldest that wants it has it.
fn expected(services: &BTreeMap<ServiceKey, Service>) -> BTreeMap<Claim, ServiceKey> {
    let mut by_age: Vec<&Service> = services.values().collect();
    by_age.sort_by_key(|service| (service.created, service.uid.clone(), service.key.clone()));
    let mut holders = BTreeMap::new();
    for service in by_age {
        for claim in wanted(service) {
            holders.entry(claim).or_insert_with(|| service.key.clone());
        }
    }
    holders
}

fn step() -> impl Strategy<Value = (&'static str, Option<Service>)> {
    select(universe::SERVICES.to_vec())
        .prop_flat_map(|name| option::weighted(0.8, service(name)).prop_map(move |service| (name, service)))
}

proptest! {
    #[test]
    fn the_oldest_has_it_and_whoever_is_concerned_is_told(steps in vec(step(), 1..20)) {
        let mut claims = Claims::default();
        let mut services = BTreeMap::new();
        for (name, now) in steps {
            let key = ServiceKey::new(universe::NAMESPACE, name);
            let before = holders(&claims);
            let told = claims.update(&key, now.as_ref());
            match now {
                Some(service) => services.insert(key.clone(), service),
                None => services.remove(&key),
            };
            let after = holders(&claims);
            prop_assert_eq!(&after, &expected(&services));

            let moved = all_claims().into_iter().filter(|claim| before.get(claim) != after.get(claim));
            let moved: BTreeSet<Claim> = moved.collect();
            let others = services.values().filter(|service| service.key != key);
            let concerned = others.filter(|service| !wanted(service).is_disjoint(&moved));
            prop_assert_eq!(told, concerned.map(|service| service.key.clone()).collect());
        }
    }
}
