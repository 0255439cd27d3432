//! A kernel that fails: nothing is lost, and in the end it holds what is wanted.

use std::collections::BTreeMap;

use backend::{Backend, Driver, Owner};
use backend_nftables::{Key, NftablesBackend, Value};
use model::{Family, ServiceKey};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::{prop_assert_eq, proptest};
use sys::nftables::{FakeNftables, Fault, Nftables};
use testkit::driven::{Driven, sync_until_done};
use testkit::generate::{cluster, history, options, sample, view};

use crate::specification::driver;

type FakeDriver = Driver<NftablesBackend<FakeNftables>>;

/// What the kernel holds.
fn installed(driver: &mut FakeDriver) -> BTreeMap<Key, Value> {
    driver.backend_mut().read().unwrap().into_iter().collect()
}

fn wanted(driver: &FakeDriver) -> BTreeMap<Key, Value> {
    driver.wanted().into_iter().collect()
}

/// Chance of a tenth, from a seed.
fn a_tenth(seed: u64) -> impl FnMut() -> Fault + Send {
    let mut state = seed | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (state >> 33) % 20 {
            0 => Fault::Fail,
            1 => Fault::LoseAnswer,
            _ => Fault::None,
        }
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 100, ..Default::default() })]
    #[test]
    fn a_tenth_of_all_calls_fails_and_the_kernel_ends_up_as_wanted(
        options in options(),
        v6 in any::<bool>(),
        history in history(80),
        portions in vec(1..6_usize, 30),
        seed in any::<u64>(),
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let mut fake = FakeNftables::new();
        fake.add_foreign_table(family, "kube-proxy");
        fake.add_foreign_table(family, "somebody");
        fake.set_faults(a_tenth(seed));
        let mut node = Driven::new(&options, family, NftablesBackend::new(family, fake));
        let mut events = history.into_iter();
        for portion in portions {
            node.take(events.by_ref().take(portion));
            // Whether it fails or not.
            let _ = node.driver.sync();
        }
        node.driver.backend_mut().kernel_mut().nft_mut().clear_faults();
        sync_until_done(&mut node.driver);
        let wanted = wanted(&node.driver);
        prop_assert_eq!(installed(&mut node.driver), wanted);
        let tables = node.driver.backend_mut().kernel_mut().nft_mut().tables(family).unwrap();
        prop_assert_eq!(tables, ["signalbox", "somebody"]);
    }

    #[test]
    fn a_restart_writes_nothing(options in options(), cluster in cluster()) {
        let family = Family::V4;
        let mut first = Driven::new(&options, family, NftablesBackend::new(family, FakeNftables::new()));
        // One event at a time, so that slots are in the order of history.
        for event in cluster.events() {
            first.take([event]);
            sync_until_done(&mut first.driver);
        }
        let before = installed(&mut first.driver);
        let fake = std::mem::take(first.driver.backend_mut().kernel_mut().nft_mut());
        let mut second = Driven::new(&options, family, NftablesBackend::new(family, fake));
        second.take(cluster.events());
        let synced = second.driver.sync().unwrap();
        prop_assert_eq!((synced.added, synced.removed, synced.replaced), (0, 0, 0));
        prop_assert_eq!(installed(&mut second.driver), before);
    }
}

/// A view with Services that have endpoints, the same each time.
fn some_view() -> model::View {
    let options = sample(&options(), 1);
    let with_slots = |seed: &u64| {
        let view = view(&options, sample(&cluster(), *seed).events(), Family::V4);
        let mut driver = driver(&view);
        driver.sync().unwrap();
        let slots = driver.wanted().iter().filter(|(key, _)| matches!(key, Key::Slot(..))).count();
        view.services.len() > 2 && slots > 4
    };
    let seed = (1..1000).find(with_slots).expect("one of a thousand random clusters has slots");
    view(&options, sample(&cluster(), seed).events(), Family::V4)
}

#[test]
fn a_refused_element_costs_its_service_only_and_is_named() {
    let view = some_view();
    let mut probe = driver(&view);
    probe.sync().unwrap();
    let (owner, slot) = view
        .services
        .iter()
        .find_map(|service| {
            let mut alone = Driver::new(NftablesBackend::new(Family::V4, FakeNftables::new()));
            alone.set_node(&view.node);
            alone.set_service(&service.key, Some(service));
            let slot = alone.wanted().into_iter().find(|(key, _)| matches!(key, Key::Slot(..)))?.0;
            Some((service.key.clone(), slot))
        })
        .unwrap();
    let Key::Slot(_, place, number) = &slot else { panic!("{slot} is no slot") };
    let mut bytes = Vec::new();
    if let Some(std::net::IpAddr::V4(address)) = place.address {
        bytes.extend_from_slice(&address.octets());
    }
    bytes.extend_from_slice(&[place.protocol.number(), 0, 0, 0]);
    bytes.extend_from_slice(&place.port.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&u32::from(*number).to_ne_bytes());

    let mut driver = driver(&view);
    let set = slot.set().unwrap().to_string();
    driver.backend_mut().kernel_mut().nft_mut().refuse(&set, &bytes, 28);
    let synced = driver.sync().unwrap();
    assert_eq!(synced.refused.len(), 1, "{synced:?}");
    assert_eq!(synced.refused[0].owner, Owner::Service(owner.clone()));
    assert!(synced.refused[0].reason.starts_with(&slot.to_string()), "{}", synced.refused[0].reason);
    assert!(synced.refused[0].reason.contains("No space left"), "{}", synced.refused[0].reason);
    assert!(!driver.is_pending(), "a refused Service is not tried again on its own");
    let others: BTreeMap<Key, Value> = {
        let mut others = self::driver(&model::View {
            services: view.services.iter().filter(|s| s.key != owner).cloned().collect(),
            ..view.clone()
        });
        others.sync().unwrap();
        installed(&mut others)
    };
    assert_eq!(installed(&mut driver), others);

    driver.backend_mut().kernel_mut().nft_mut().accept_all();
    driver.retry_refused();
    assert!(driver.sync().unwrap().refused.is_empty());
    assert_eq!(installed(&mut driver), installed(&mut probe));
}

#[test]
fn a_refused_change_leaves_what_the_service_had() {
    let view = some_view();
    let mut driver = driver(&view);
    driver.sync().unwrap();
    let before = installed(&mut driver);
    let service = view
        .services
        .iter()
        .find(|service| driver_items(&view, &service.key).iter().any(|(key, _)| matches!(key, Key::Slot(..))))
        .unwrap();
    // The Service goes and comes back under another name: the new one cannot have the place of the old one.
    let mut other = service.clone();
    other.key = ServiceKey::new("other", "name");
    driver.set_service(&other.key, Some(&other));
    let synced = driver.sync().unwrap();
    assert_eq!(synced.refused.len(), 1);
    assert_eq!(synced.refused[0].owner, Owner::Service(other.key.clone()));
    assert_eq!(installed(&mut driver), before);
    driver.set_service(&other.key, None);
    assert!(driver.sync().unwrap().refused.is_empty());
    assert_eq!(installed(&mut driver), before);
}

fn driver_items(view: &model::View, key: &ServiceKey) -> Vec<(Key, Value)> {
    let only = view.services.iter().filter(|service| service.key == *key).cloned().collect();
    driver(&model::View { services: only, ..view.clone() }).wanted()
}
