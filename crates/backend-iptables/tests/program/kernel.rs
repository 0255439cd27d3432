//! The program in a real kernel, in a network namespace of its own, by both flavours.

use std::collections::BTreeSet;

use backend::{Backend, Driver};
use backend_iptables::{HAIRPIN, HAIRPIN_V6, IptablesBackend, Key, cleanup, render};
use model::{Family, View};
use sys::iptables::{Host, Iptables, Xtables};
use sys::testing::in_new_network_namespace;
use testkit::generate::{cluster, sample, view};

use crate::cost;
use crate::specification::{Nowhere, driver, options};

fn views(family: Family) -> impl Iterator<Item = View> {
    (0..12).map(move |seed| view(&sample(&options(), seed), sample(&cluster(), seed).events(), family))
}

/// Each flavour of each family in a namespace of its own.
fn each(run: impl Fn(Family, Iptables) + Send + Copy) {
    for family in Family::BOTH {
        let installed = Iptables::installed(family);
        if installed.is_empty() {
            eprintln!("SKIPPED (needs iptables): {family}");
        }
        for flavour in installed {
            in_new_network_namespace(move || run(family, flavour));
        }
    }
}

fn host(family: Family, flavour: &Iptables) -> Host {
    Host::with(family, flavour.clone()).unwrap()
}

/// The rules of all chains, each with its table; those of built-in chains too. Chains whose rules come in any order
/// make sets of lines.
fn rules(text: &str) -> BTreeSet<String> {
    let mut table = "";
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('*') {
            table = line;
        } else if line.starts_with("-A ") || line.starts_with(":KUBE-") {
            assert!(found.insert(format!("{table} {line}")), "twice: {line}");
        }
    }
    found
}

#[track_caller]
fn assert_holds(driver: &mut Driver<IptablesBackend<Host>>, family: Family) {
    let wanted = driver.wanted();
    let saved = driver.backend_mut().kernel_mut().xtables_mut().save().unwrap();
    let (saved, rendered) = (rules(&saved), rules(&render(family, &wanted)));
    let (missing, foreign): (Vec<_>, Vec<_>) =
        (rendered.difference(&saved).collect(), saved.difference(&rendered).collect());
    assert!(missing.is_empty() && foreign.is_empty(), "missing: {missing:#?}\nforeign: {foreign:#?}");
    let mut counted = [("filter", 0), ("nat", 0)];
    for line in saved.iter().filter(|line| line.contains(" -A ")) {
        let table = counted.iter_mut().find(|(table, _)| line.starts_with(&format!("*{table} ")));
        table.unwrap().1 += 1;
    }
    let mut told = driver.backend().rules();
    told.sort_by_key(|count| count.table);
    assert_eq!(told.iter().map(|count| (count.table, count.held)).collect::<Vec<_>>(), counted);
    let set = if family == Family::V4 { HAIRPIN } else { HAIRPIN_V6 };
    let elements = driver.backend_mut().kernel_mut().xtables_mut().elements(set).unwrap().unwrap();
    let hairpin = wanted.iter().filter(|(key, _)| matches!(key, Key::Hairpin(_))).count();
    assert_eq!(elements.len(), hairpin);
}

#[test]
fn the_kernel_holds_what_is_wanted_after_every_change() {
    each(|family, flavour| {
        let mut views = views(family);
        let mut before = views.next().unwrap();
        let mut driver = driver(&before, host(family, &flavour));
        driver.sync().unwrap();
        assert_holds(&mut driver, family);
        for view in views {
            driver.set_node(&view.node);
            for service in &before.services {
                driver.set_service(&service.key, view.services.iter().find(|new| new.key == service.key));
            }
            for service in &view.services {
                driver.set_service(&service.key, Some(service));
            }
            driver.sync().unwrap();
            assert_holds(&mut driver, family);
            before = view;
        }
        let mut restarted = self::driver(&before, host(family, &flavour));
        let synced = restarted.sync().unwrap();
        assert_eq!((synced.added, synced.removed, synced.replaced), (0, 0, 0), "{synced:?}");
        assert_holds(&mut restarted, family);
        // And goes on from there.
        restarted.set_service(&before.services[0].key, None);
        restarted.sync().unwrap();
        assert_holds(&mut restarted, family);
        restarted.set_service(&before.services[0].key, Some(&before.services[0]));
        restarted.sync().unwrap();
        assert_holds(&mut restarted, family);
        assert!(cleanup(family, &mut host(family, &flavour)).unwrap() > 10);
        let saved = host(family, &flavour).save().unwrap();
        assert!(!saved.contains("KUBE-"), "{saved}");
    });
}

/// A timeout that no API server allows is refused by `recent`.
#[test]
fn a_service_that_the_programs_refuse_is_left_out_and_the_rest_is_in_force() {
    each(|family, flavour| {
        let is_balanced = |view: &View, service: &model::ServiceView| {
            let alone = View { services: vec![service.clone()], ..view.clone() };
            render(family, &self::driver(&alone, Nowhere::default()).wanted()).contains("-j DNAT")
        };
        let find = |view: View| {
            let found = view.services.iter().find(|service| is_balanced(&view, service)).cloned()?;
            Some((view, found))
        };
        let (view, mut odd) = views(family).find_map(find).unwrap();
        let mut driver = driver(&view, host(family, &flavour));
        driver.sync().unwrap();
        driver.set_service(&odd.key, None);
        let gone = odd.key.clone();
        odd.key = model::ServiceKey::new("odd", "timeout");
        for port in &mut odd.ports {
            port.affinity = model::Affinity::ClientIp { timeout_seconds: 0 };
        }
        driver.set_service(&odd.key, Some(&odd));
        let refused = (0..3).find_map(|_| driver.sync().ok()).unwrap().refused;
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!(refused[0].owner, backend::Owner::Service(odd.key.clone()));
        let reason = &refused[0].reason;
        assert!(reason.contains("KUBE-SV") && reason.contains("--seconds"), "{reason}");
        driver.set_service(&odd.key, None);
        driver.sync().unwrap();
        assert_holds(&mut driver, family);
        driver.set_service(&gone, view.services.iter().find(|service| service.key == gone));
        driver.sync().unwrap();
        assert_holds(&mut driver, family);
    });
}

/// So many that the nft flavour makes and removes their chains in several transactions.
#[test]
fn many_services_come_change_and_go() {
    each(|family, flavour| {
        // Their addresses are of one family.
        if family == Family::V6 {
            return;
        }
        let (view, other) = (cost::view(700, (3, true)), cost::view(700, (2, false)));
        let mut driver = driver(&view, host(family, &flavour));
        driver.sync().unwrap();
        assert_holds(&mut driver, family);
        for services in [&other.services, &view.services] {
            for service in services {
                driver.set_service(&service.key, Some(service));
            }
            driver.sync().unwrap();
            assert_holds(&mut driver, family);
        }
        for service in &view.services[1..] {
            driver.set_service(&service.key, None);
        }
        driver.sync().unwrap();
        assert_holds(&mut driver, family);
        for service in &view.services {
            driver.set_service(&service.key, Some(service));
        }
        driver.sync().unwrap();
        assert_holds(&mut driver, family);
        assert!(cleanup(family, &mut host(family, &flavour)).unwrap() > 1400);
        assert!(!host(family, &flavour).save().unwrap().contains("KUBE-"));
    });
}

/// A packet meets the old program or the new one: what others lead to is there before, and nothing leads to it.
#[test]
fn only_one_transaction_of_a_text_changes_what_is_reachable() {
    let view = cost::view(700, (3, true));
    let mut driver = driver(&view, Nowhere { is_nft: true, ..Nowhere::default() });
    driver.sync().unwrap();
    let text = driver.backend_mut().kernel_mut().xtables_mut().restored.concat();
    let nat: Vec<&str> = text.split("COMMIT\n").filter(|part| part.starts_with("*nat")).collect();
    assert!(nat.len() > 3, "{} transactions", nat.len());
    let mut there = BTreeSet::new();
    for (number, part) in nat.iter().enumerate() {
        for line in part.lines() {
            if let Some(declared) = line.strip_prefix(':') {
                assert!(there.insert(declared.split(' ').next().unwrap()), "twice: {line}");
            }
            let leads_to = line.split([' ']).skip_while(|word| !matches!(*word, "-j" | "-g")).nth(1);
            if let Some(chain) = leads_to.filter(|target| target.starts_with("KUBE-")) {
                assert!(there.contains(chain), "not there yet: {line}");
            }
            assert!(!line.starts_with("-I") || number + 1 == nat.len(), "not the last: {line}");
        }
    }
}

#[test]
fn kube_proxys_rules_are_replaced_and_others_stay() {
    each(|family, flavour| {
        let mut host = host(family, &flavour);
        host.restore(
            "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-ABCDEFGHIJKLMNOP - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:THEIRS - [0:0]\n\
             -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A OUTPUT -m comment --comment \"an older text\" -j KUBE-SERVICES\n\
             -A OUTPUT -j THEIRS\n-A THEIRS -p tcp -j KUBE-MARK-MASQ\n\
             -A KUBE-SERVICES -p tcp -j KUBE-SVC-ABCDEFGHIJKLMNOP\n-A KUBE-SVC-ABCDEFGHIJKLMNOP -p tcp -j ACCEPT\nCOMMIT\n",
        )
        .unwrap();
        let view = views(family).nth(3).unwrap();
        let mut driver = driver(&view, host);
        driver.sync().unwrap();
        let saved = driver.backend_mut().kernel_mut().xtables_mut().save().unwrap();
        let has = |text: &str| saved.matches(text).count();
        assert_eq!((has("ABCDEFGHIJKLMNOP"), has("an older text")), (0, 0), "{saved}");
        assert_eq!(
            (has("-A OUTPUT -j THEIRS"), has("-A THEIRS -p tcp -j KUBE-MARK-MASQ")),
            (1, 1),
            "{saved}"
        );
        assert_eq!(has("-A PREROUTING"), 1, "{saved}");
        cleanup(family, driver.backend_mut().kernel_mut().xtables_mut()).unwrap();
        let saved = driver.backend_mut().kernel_mut().xtables_mut().save().unwrap();
        assert_eq!(saved.matches(":KUBE-").count(), 1, "{saved}");
        assert!(saved.contains("-A THEIRS -p tcp -j KUBE-MARK-MASQ"), "{saved}");
    });
}
