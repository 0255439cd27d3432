//! What is written is what `nft` reads: programs written here are listed by `nft`, and its listing is accepted back.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::process::{Command, Stdio};

use model::{Endpoint, Family, Protocol};
use sys::nftables::{
    Batch, ElementValue, Field, Hook, HookKind, NftSocket, Nftables, Rule, SetDefinition, SetValue,
};
use sys::testing::in_new_network_namespace;

const TABLE: &str = "signalbox";
const FRONTEND: [Field; 3] = [Field::Daddr, Field::L4Proto, Field::Dport];

fn set(name: &str, key: &[Field], value: SetValue) -> SetDefinition {
    let (interval, timeout_seconds, size) = (false, None, None);
    SetDefinition {
        name: name.to_owned(),
        key: key.to_vec(),
        value,
        interval,
        timeout_seconds,
        size,
        counted: false,
    }
}

fn slots() -> SetDefinition {
    set("slots", &[Field::Daddr, Field::L4Proto, Field::Dport, Field::Random(65536)], SetValue::Endpoint)
}

fn sticky(name: &str) -> SetDefinition {
    let plain = set(name, &[Field::Saddr], SetValue::Endpoint);
    SetDefinition { timeout_seconds: Some(0), size: Some(65_535), ..plain }
}

fn allowed() -> SetDefinition {
    let key = [Field::Daddr, Field::L4Proto, Field::Dport, Field::Saddr];
    SetDefinition { interval: true, ..set("allowed", &key, SetValue::None) }
}

fn program(family: Family) -> Batch {
    let mut batch = Batch::new(family, TABLE);
    batch.add_table("signalbox program 1");
    let nat = |kind, priority| Some(Hook { kind, nat: true, priority });
    batch.add_chain("prerouting", nat(HookKind::Prerouting, -100));
    batch.add_chain("postrouting", nat(HookKind::Postrouting, 100));
    batch.add_chain("filter-forward", Some(Hook { kind: HookKind::Forward, nat: false, priority: 0 }));
    batch.add_chain("firewall-output", Some(Hook { kind: HookKind::Output, nat: false, priority: -110 }));
    for chain in ["cluster-3", "sticky/shop/web/http", "local", "refuse"] {
        batch.add_chain(chain, None);
    }
    batch.add_set(&set("protocols", &[Field::L4Proto], SetValue::None));
    batch.add_set(&set("frontends", &FRONTEND, SetValue::Verdict));
    batch.add_set(&set("nodeports", &FRONTEND[1..], SetValue::Verdict));
    batch.add_set(&slots());
    batch.add_set(&allowed());
    batch.add_set(&set("hairpin", &[Field::Saddr, Field::Daddr], SetValue::None));
    batch.add_set(&set("cluster-ips", &[Field::Daddr], SetValue::None));
    batch.add_set(&sticky("sticky/shop/web/http"));
    for number in [6, 17, 132] {
        batch.add_element("protocols", (&[number, 0, 0, 0][..1], None), (ElementValue::None, None));
    }
    rules(&mut batch, family);
    batch
}

fn rules(batch: &mut Batch, family: Family) {
    let rule = || Rule::new(family);
    let (pods, odd, endpoint) = match family {
        Family::V4 => ("10.244.0.0/16", "10.244.0.0/15", "10.244.1.5"),
        Family::V6 => ("fd00:10:244::/48", "fd00:10:244::/47", "fd00:10:244::5"),
    };
    let endpoint = Endpoint { address: endpoint.parse().unwrap(), port: 8080 };
    let slot = [Field::Daddr, Field::L4Proto, Field::Dport, Field::Random(3)];
    batch.add_rule("prerouting", &rule().vmap(&FRONTEND, "frontends"));
    let here = rule().prefix(Field::Daddr, odd.parse().unwrap(), true).fib_local(Field::Daddr);
    batch.add_rule("prerouting", &here.vmap(&FRONTEND[1..], "nodeports").comment("NodePorts"));
    batch.add_rule("cluster-3", &rule().prefix(Field::Saddr, pods.parse().unwrap(), false).mark_or(0x4000));
    batch.add_rule("cluster-3", &rule().interface("cbr0", false).mark_or(0x4000));
    batch.add_rule("cluster-3", &rule().interface_prefix("veth", false).mark_or(0x4000));
    batch.add_rule("cluster-3", &rule().lookup(&[Field::L4Proto], "protocols", true).dnat(&slot, "slots"));
    let name = "sticky/shop/web/http";
    batch.add_rule(name, &rule().one_in(2).remember(name, endpoint, 10_800));
    batch.add_rule(name, &rule().remember(name, endpoint, 3600));
    batch.add_rule(name, &rule().l4proto(Protocol::Tcp).dnat(&[Field::Saddr], name));
    batch.add_rule("local", &rule().fib_local(Field::Saddr).goto("cluster-3"));
    let guarded = [Field::Daddr, Field::L4Proto, Field::Dport, Field::Saddr];
    batch.add_rule("firewall-output", &rule().ct_state_new().lookup(&guarded, "allowed", false).drop());
    batch.add_rule(
        "filter-forward",
        &rule().ct_state_new().lookup(&[Field::Daddr], "cluster-ips", true).goto("refuse"),
    );
    batch.add_rule("refuse", &rule().reject());
    batch.add_rule("postrouting", &rule().mark_has(0x4000).mark_xor(0x4000).masquerade());
    let hairpin = rule().ct_status_dnat().lookup(&[Field::Saddr, Field::Daddr], "hairpin", true);
    batch.add_rule("postrouting", &hairpin.masquerade());
}

fn nft(words: &[&str], input: &str) -> Result<String, String> {
    let run = Command::new("nft")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = run else { return Err("no nft".to_owned()) };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn has_nft() -> bool {
    let found = Command::new("nft").arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED (needs nft): comparing with what nft lists");
    }
    found
}

#[test]
fn nft_lists_what_was_written_and_accepts_it_back() {
    for family in Family::BOTH {
        let listed = in_new_network_namespace(|| {
            NftSocket::open().unwrap().commit(program(family)).unwrap();
            let word = if family == Family::V4 { "ip" } else { "ip6" };
            has_nft().then(|| nft(&["list", "table", word, TABLE], "").unwrap())
        });
        let Some(Some(listed)) = listed else { continue };
        if family == Family::V4 {
            // How an unusual priority is printed depends on the version of nft.
            for line in include_str!("listing.nft").lines().filter(|line| !line.contains(" priority ")) {
                assert!(listed.contains(line), "{line}\nis not in\n{listed}");
            }
            let accepted = in_new_network_namespace(|| nft(&["-c", "-f", "-"], &listed));
            assert_eq!(accepted, Some(Ok(String::new())));
        } else {
            assert!(
                listed.contains(
                    "update @sticky/shop/web/http { ip6 saddr timeout 3h : fd00:10:244::5 . 8080 }"
                ),
                "{listed}"
            );
            assert!(
                listed.contains(
                    "dnat ip6 to ip6 daddr . meta l4proto . th dport . numgen random mod 3 map @slots"
                ),
                "{listed}"
            );
        }
    }
}
