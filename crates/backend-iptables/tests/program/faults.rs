//! Programs that fail, and rules that are refused: nothing is lost, and in the end the kernel holds what is wanted.

use std::collections::BTreeMap;

use backend::{Backend, Driver, Owner, Synced};
use backend_iptables::{HAIRPIN, IptablesBackend, Key, Value, is_of_signalbox, render};
use model::{Family, ServiceKey, View};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::{prop_assert_eq, proptest};
use sys::iptables::{FakeXtables, Fault, Naming, Xtables};
use testkit::driven::{Driven, sync_until_done};
use testkit::generate::{cluster, history, sample, view};

use crate::cost;
use crate::specification::{Nowhere, driver, options};

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
        let mut node = Driven::new(&options, family, IptablesBackend::new(family, kernel));
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
    for naming in NAMINGS {
        let mut kernel = FakeXtables::new(naming);
        kernel.refuse("-m sctp");
        let mut driver = driver(&view, kernel);
        let refused = settle(&mut driver).refused;
        assert_eq!(refused.len(), 100, "{naming:?}");
        let restores = fake(&mut driver).restores;
        assert!(restores < 40, "{naming:?}: {restores} restores");
        let saved = fake(&mut driver).save().unwrap();
        assert_eq!(saved.matches("-m tcp --dport").count() % 100, 0, "{naming:?}");
        assert!(!saved.contains("TRIAL"), "{naming:?}");
    }
}

/// Whatever somebody does to our chains is seen, and what we wrote comes back.
#[test]
fn what_is_not_as_we_wrote_it_is_written_anew() {
    let view = some_view();
    let mut driver = driver(&view, FakeXtables::default());
    driver.sync().unwrap();
    let before = fake(&mut driver).save().unwrap();
    let line = |with: &str, without: &str| {
        let is_it = |line: &&str| line.contains(with) && !(without.len() > 1 && line.contains(without));
        before.lines().find(is_it).unwrap_or_else(|| panic!("no {with}: {before}"))
    };
    let rule_of = |line: &str| line.splitn(3, ' ').nth(2).unwrap().to_owned();
    let leaf = line("-j KUBE-SVC-", "KUBE-EXT-");
    let branch = line("-24 -d", "KUBE-NO-");
    let check = "-p tcp -m comment --comment \"allow health checks\" -m tcp --dport 30999";
    let entrance = line("-A PREROUTING", "");
    let meddling = [
        "*filter\n-I KUBE-NODEPORTS -j DROP\n".to_owned(),
        format!("*filter\n-I KUBE-NODEPORTS {check} -j DROP\n"),
        format!("*filter\n-I KUBE-NODEPORTS {} -j ACCEPT\n", check.replace("30999", "30999:31000")),
        format!("*nat\n-A KUBE-ADDRESSES {}\n", rule_of(leaf)),
        format!("*nat\n-A KUBE-ADDRESSES {}\n", rule_of(branch)),
        format!("*nat\n{entrance}\n"),
        format!("*nat\n{entrance}\n{entrance}\n{entrance}\n"),
        format!("*nat\n{0}\n{0}\n{0}\n", entrance.replace("portals", "doors")),
    ];
    for text in meddling {
        fake(&mut driver).meddle(&format!("{text}COMMIT\n"));
        assert_ne!(fake(&mut driver).save().unwrap(), before, "{text}");
        driver.forget_installed();
        driver.sync().unwrap();
        assert_eq!(fake(&mut driver).save().unwrap(), before, "{text}");
    }
}

/// A chain that somebody leads to since it was read stays, and nobody's Service is left out for that.
#[test]
fn a_chain_that_somebody_uses_is_emptied_and_the_rest_is_written() {
    let view = some_view();
    let (owner, _) = victim(&view);
    for naming in NAMINGS {
        let mut driver = driver(&view, FakeXtables::new(naming));
        driver.sync().unwrap();
        let saved = fake(&mut driver).save().unwrap();
        driver.set_service(&owner, None);
        let mut gone = self::driver(&without(&view, &owner), FakeXtables::default());
        gone.sync().unwrap();
        let left = fake(&mut gone).save().unwrap();
        let chain = |line: &&str| line.starts_with(":KUBE-SV") && !left.contains(*line);
        let chain = saved.lines().find(chain).and_then(|line| line.split([':', ' ']).nth(1)).unwrap();
        let theirs = format!("*nat\n:THEIRS - [0:0]\n-A THEIRS -j {chain}\nCOMMIT\n");
        fake(&mut driver).meddle(&theirs);
        let synced = settle(&mut driver);
        assert!(synced.refused.is_empty(), "{naming:?}: {synced:?}");
        let now = fake(&mut driver).save().unwrap();
        assert!(now.contains(&format!(":{chain} ")) && !now.contains(&format!("-A {chain} ")), "{now}");
        let rest = now.replace(&format!(":{chain} - [0:0]\n"), "").replace(":THEIRS - [0:0]\n", "");
        assert_eq!(rest.replace(&format!("-A THEIRS -j {chain}\n"), ""), left, "{naming:?}");
    }
}

#[test]
fn what_a_process_leaves_that_dies_in_its_first_write_is_known_as_ours() {
    let mut refused = cost::view(700, (3, true));
    refused.services.iter_mut().flat_map(|service| &mut service.ports).for_each(cost::refuse);
    for view in [cost::view(700, (3, true)), refused] {
        let mut driver = self::driver(&view, Nowhere { is_nft: true, ..Nowhere::default() });
        driver.sync().unwrap();
        let text = driver.backend_mut().kernel_mut().xtables_mut().restored.concat();
        let mut kernel = FakeXtables::default();
        kernel.make_set(HAIRPIN).unwrap();
        let parts: Vec<&str> = text.split_inclusive("COMMIT\n").collect();
        assert!(parts.len() > 3, "{} transactions", parts.len());
        for part in parts {
            kernel.meddle(part);
            assert!(is_of_signalbox(&kernel.save().unwrap()), "{part}");
        }
    }
}

/// Of two refused Services in one leaf: what gets an endpoint is led there before it is refused no more.
#[test]
fn a_frontend_that_is_refused_no_more_leads_on_before_and_the_other_way_round() {
    let mut view = cost::view(2, (1, false));
    for (service, last) in view.services.iter_mut().zip(1..) {
        service.ports[0].frontends[0].address = Some([10, 96, 0, last].into());
    }
    let there = view.services[0].clone();
    view.services.iter_mut().flat_map(|service| &mut service.ports).for_each(cost::refuse);
    let refused = view.services[0].clone();
    let mut driver = self::driver(&view, Nowhere::default());
    driver.sync().unwrap();
    for (service, first) in [(&there, "*nat"), (&refused, "*filter")] {
        driver.set_service(&service.key, Some(service));
        driver.sync().unwrap();
        let text = driver.backend_mut().kernel_mut().xtables_mut().restored.pop().unwrap();
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("-A KUBE-NO-10.96.0.0-28 -d 10.96.0.2/32"), "they share no leaf: {text}");
    }
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
