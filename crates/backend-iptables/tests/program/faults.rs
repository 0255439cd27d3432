//! Programs that fail, and rules that are refused: nothing is lost, and in the end the kernel holds what is wanted.

use std::collections::BTreeMap;

use backend::{Backend, Driver, Owner, Synced};
use backend_iptables::{IptablesBackend, Key, Value, render};
use desired::{Desired, Options};
use model::{Family, ServiceKey, View};
use objects::{Event, Objects, Touched};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::{prop_assert_eq, proptest};
use sys::iptables::{FakeXtables, Fault, Naming, Xtables};
use testkit::generate::{cluster, history, sample, view};

use crate::specification::{driver, options};

type FakeDriver = Driver<IptablesBackend<FakeXtables>>;

const NAMINGS: [Naming; 3] = [Naming::Line, Naming::Commit, Naming::Nothing];
/// kube-proxy's rules, and somebody's that lead to one of its chains.
const FOREIGN: &str = "*filter\n:KUBE-FORWARD - [0:0]\n-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\n\
    -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\nCOMMIT\n*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-ABCDEFGHIJKLMNOP - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n\
    :THEIRS - [0:0]\n-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
    -A PREROUTING -j THEIRS\n-A THEIRS -j KUBE-MARK-MASQ\n-A KUBE-SERVICES -j KUBE-SVC-ABCDEFGHIJKLMNOP\nCOMMIT\n";

fn fake(driver: &mut FakeDriver) -> &mut FakeXtables {
    driver.backend_mut().kernel_mut().xtables_mut()
}

fn installed(driver: &mut FakeDriver) -> BTreeMap<Key, Value> {
    driver.backend_mut().read().unwrap().into_iter().collect()
}

fn wanted(driver: &FakeDriver) -> BTreeMap<Key, Value> {
    driver.wanted().into_iter().collect()
}

/// Objects with everything behind them.
struct Node {
    objects: Objects,
    desired: Desired,
    driver: FakeDriver,
    family: Family,
}

impl Node {
    fn new(options: &Options, family: Family, fake: FakeXtables) -> Self {
        let driver = Driver::new(IptablesBackend::new(family, fake));
        Self { objects: Objects::default(), desired: Desired::new(options.clone()), driver, family }
    }

    fn take(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut touched = Touched::default();
        for event in events {
            touched.merge(self.objects.apply(event));
        }
        let changes = self.desired.changed(&self.objects, &touched);
        if changes.node {
            self.driver.set_node(&self.desired.node_view(&self.objects, self.family));
        }
        for key in changes.services {
            let view = self.desired.service_view(&self.objects, &key, self.family);
            self.driver.set_service(&key, view.as_ref());
        }
    }
}

fn sync_until_done(driver: &mut FakeDriver) {
    for _ in 0..10 {
        if driver.sync().is_ok() && !driver.is_pending() {
            return;
        }
    }
    panic!("ten passes without a fault were not enough: {:?}", driver.sync());
}

/// Syncs until a pass is whole: one that found that a table was written already is followed by one that looks.
#[track_caller]
fn settle(driver: &mut FakeDriver) -> Synced {
    let mut errors = Vec::new();
    for _ in 0..4 {
        match driver.sync() {
            Ok(synced) => return synced,
            Err(error) => errors.push(error.to_string()),
        }
    }
    panic!("never: {errors:?}");
}

/// Faults of every kind, a tenth of all calls together, from a seed.
fn a_tenth(seed: u64) -> impl FnMut() -> Fault + Send {
    let mut state = seed | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (state >> 33) % 50 {
            0 => Fault::Fail,
            1 => Fault::Locked,
            2 => Fault::Die,
            3 => Fault::LoseAnswer,
            4 => Fault::CutShort,
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
        let mut kernel = FakeXtables::new(Naming::Line);
        kernel.meddle(FOREIGN);
        kernel.set_faults(a_tenth(seed));
        let mut node = Node::new(&options, family, kernel);
        let mut events = history.into_iter();
        for portion in portions {
            node.take(events.by_ref().take(portion));
            // Whether it fails or not.
            let _ = node.driver.sync();
        }
        fake(&mut node.driver).clear_faults();
        // What a listing that was cut short between two tables hid is found by the next.
        node.driver.forget_installed();
        sync_until_done(&mut node.driver);
        let wanted = wanted(&node.driver);
        prop_assert_eq!(installed(&mut node.driver), wanted);
        let saved = fake(&mut node.driver).save().unwrap();
        prop_assert_eq!(saved.matches("THEIRS").count(), 3, "{}", saved);
        prop_assert_eq!(saved.matches("ABCDEFGHIJKLMNOP").count(), 0, "{}", saved);
    }
}

/// A view with Services that have endpoints, the same each time.
fn some_view() -> View {
    let options = sample(&options(), 1);
    let view = |seed: u64| view(&options, sample(&cluster(), seed).events(), Family::V4);
    let balances = |view: &View| {
        let program = render(Family::V4, &driver(view, FakeXtables::default()).wanted());
        view.services.len() > 2 && program.matches("-j DNAT").count() > 4
    };
    let seed = (1..1000).find(|seed| balances(&view(*seed))).expect("one of a thousand has endpoints");
    view(seed)
}

/// A Service of the view that balances, and the text of one of its rules that no other has.
fn victim(view: &View) -> (ServiceKey, String) {
    let find = |service: &model::ServiceView| {
        let alone = View { services: vec![service.clone()], ..view.clone() };
        let program = render(Family::V4, &driver(&alone, FakeXtables::default()).wanted());
        let line = program.lines().find(|line| line.contains("-j DNAT"))?;
        Some((service.key.clone(), line.split_once(" -m comment")?.1.to_owned()))
    };
    view.services.iter().find_map(find).expect("some Service balances")
}

fn without(view: &View, key: &ServiceKey) -> View {
    let services = view.services.iter().filter(|service| service.key != *key).cloned().collect();
    View { services, ..view.clone() }
}

#[test]
fn a_refused_rule_costs_its_service_only_and_is_named_however_little_is_said() {
    let view = some_view();
    let (owner, rule) = victim(&view);
    for naming in NAMINGS {
        for takes_over in [false, true] {
            let mut kernel = FakeXtables::new(naming);
            if takes_over {
                kernel.meddle(FOREIGN);
            }
            kernel.refuse(&rule);
            let mut driver = driver(&view, kernel);
            let refused = settle(&mut driver).refused;
            assert_eq!(refused.len(), 1, "{naming:?}: {refused:?}");
            assert_eq!(refused[0].owner, Owner::Service(owner.clone()));
            assert!(refused[0].reason.contains(&rule), "{naming:?}: {}", refused[0].reason);
            assert!(!driver.is_pending(), "a refused Service is not tried again on its own");
            let mut others = self::driver(&without(&view, &owner), FakeXtables::default());
            others.sync().unwrap();
            let (left, right) = (installed(&mut driver), installed(&mut others));
            // Its rules of the table that was written before stay.
            let missing: Vec<_> = right.iter().filter(|(key, value)| left.get(key) != Some(value)).collect();
            assert!(missing.is_empty(), "{naming:?}: {missing:?}");
            assert!(!fake(&mut driver).save().unwrap().contains("TRIAL"));
            let listed = fake(&mut driver).saves;
            assert!(listed <= 4, "{naming:?}: {listed} listings");

            fake(&mut driver).accept_all();
            driver.retry_refused();
            assert!(driver.sync().unwrap().refused.is_empty());
            assert_eq!(installed(&mut driver), wanted(&driver));
        }
    }
}

#[test]
fn a_refused_change_leaves_what_the_service_had_and_everybody_else_follows() {
    let view = some_view();
    let (owner, _) = victim(&view);
    for naming in NAMINGS {
        let mut driver = driver(&view, FakeXtables::new(naming));
        driver.sync().unwrap();
        let before = installed(&mut driver);
        fake(&mut driver).refuse("10.9.9.9:99");
        let mut changed = view.services.iter().find(|service| service.key == owner).unwrap().clone();
        let added = model::Endpoint { address: [10, 9, 9, 9].into(), port: 99 };
        for port in &mut changed.ports {
            for route in [&mut port.internal, &mut port.external, &mut port.external_from_cluster] {
                if let model::Route::Balance(_, endpoints) = route {
                    endpoints.push(added);
                }
            }
        }
        driver.set_service(&owner, Some(&changed));
        let mut gone = view.services.iter().filter(|service| service.key != owner);
        let gone = gone.next().unwrap().key.clone();
        driver.set_service(&gone, None);
        let synced = settle(&mut driver);
        assert_eq!(synced.refused.len(), 1, "{naming:?}: {synced:?}");
        assert_eq!(synced.refused[0].owner, Owner::Service(owner.clone()));
        let mut wanted = self::driver(&without(&view, &gone), FakeXtables::default());
        wanted.sync().unwrap();
        assert_eq!(installed(&mut driver), installed(&mut wanted), "{naming:?}");
        assert_ne!(installed(&mut driver), before);
        // A neighbour in the same branch of a tree is written without what was refused.
        let back = view.services.iter().find(|service| service.key == gone);
        driver.set_service(&gone, back);
        let synced = settle(&mut driver);
        assert!(synced.refused.len() <= usize::from(synced.read_back), "{naming:?}: {synced:?}");
        assert_eq!(installed(&mut driver), before, "{naming:?}");
    }
}

/// Many Services that need what the kernel does not have, among many.
#[test]
fn what_one_form_of_rules_lacks_is_found_by_few_restores() {
    let view = some_view();
    let (owner, _) = victim(&view);
    let model = view.services.iter().find(|service| service.key == owner).unwrap();
    let mut services = Vec::new();
    for number in 0..200_u8 {
        let mut service = model.clone();
        service.key = ServiceKey::new("many", &format!("s{number}"));
        for port in &mut service.ports {
            port.frontends.retain(|frontend| frontend.kind == model::FrontendKind::ClusterIp);
            port.frontends
                .iter_mut()
                .for_each(|frontend| frontend.address = Some([10, 200, 1, number].into()));
            port.protocol = if number % 2 == 0 { model::Protocol::Sctp } else { model::Protocol::Tcp };
        }
        service.ports.truncate(1);
        services.push(service);
    }
    let view = View { services, ..view };
    let mut kernel = FakeXtables::new(Naming::Commit);
    kernel.refuse("-m sctp");
    let mut driver = driver(&view, kernel);
    let refused = settle(&mut driver).refused;
    assert_eq!(refused.len(), 100);
    let restores = fake(&mut driver).restores;
    assert!(restores < 40, "{restores} restores");
    assert_eq!(fake(&mut driver).save().unwrap().matches("-m tcp --dport").count() % 100, 0);
}

#[test]
fn what_is_of_the_node_and_refused_is_told_as_it_is() {
    let view = some_view();
    for naming in NAMINGS {
        let mut kernel = FakeXtables::new(naming);
        kernel.refuse("-j MASQUERADE");
        let mut driver = driver(&view, kernel);
        for _ in 0..5 {
            let error = driver.sync().unwrap_err().to_string();
            assert!(
                error.contains("Invalid argument") || error.contains("-j MASQUERADE"),
                "{naming:?}: {error}"
            );
        }
        fake(&mut driver).accept_all();
        sync_until_done(&mut driver);
        assert_eq!(installed(&mut driver), wanted(&driver));
    }
}
