//! The rules of the specification one by one, and the zone against one that is built from scratch.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::object::{Change, Key, Kind, Object};
use crate::script::{ASKING, ask, object, settings, zone};
use crate::zone::Entry;

const CLUSTER: &str = "
    namespace default
    namespace empty
    service default/web 10.96.0.7 http/tcp:80 /tcp:81
    slice default/web-1 web http/tcp:8080 | 10.0.0.1
    service default/dual 10.96.0.8,fd00::8 dns/udp:53 dns/tcp:53
    service default/bare 10.96.0.9
    service default/pending none http/tcp:80
    headless default/db pg/tcp:5432
    slice default/db-1 db pg/tcp:5432 | 10.0.0.11 one=10.0.0.12 one=10.0.0.13
    slice default/db-2 db pg/tcp:5432 | fd00::11
    headless default/silent pg/tcp:5432
    slice default/silent-1 silent pg/tcp:5432 |
    headless default/portless
    slice default/portless-1 portless | 10.0.0.21
    alias default/www www.example.org
    alias default/own web.default.svc.cluster.local
    alias default/chain own.default.svc.cluster.local
    alias default/lost nothing.default.svc.cluster.local
    alias default/round about.default.svc.cluster.local
    alias default/about round.default.svc.cluster.local
    alias default/number not..a..name
    slice default/lone - http/tcp:80 | 10.0.0.31
    service Early/web 10.96.0.33 http/tcp:80
";

const SOA: &str =
    "\n; cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5";

fn check_in(zone: &Zone, question: &str, expected: &str) {
    let lines: Vec<&str> = expected.lines().map(str::trim).collect();
    let expected = lines.join("\n").replace("\nSOA", SOA).replace("NODATA", &format!("NOERROR aa{SOA}"));
    let expected = expected.replace("ABSENT", &format!("NXDOMAIN aa{SOA}"));
    assert_eq!(ask(zone, &ASKING, question), expected, "{question}");
}

fn check(questions: &[(&str, &str)]) {
    let zone = zone(settings(), CLUSTER);
    for (question, expected) in questions {
        check_in(&zone, question, expected);
    }
}

#[test]
fn schema_version_2_2() {
    check(&[
        ("TXT dns-version.cluster.local", "NOERROR aa\ndns-version.cluster.local. 28800 TXT \"1.1.0\""),
        ("A dns-version.cluster.local", "NODATA"),
    ]);
}

#[test]
fn cluster_ip_2_3() {
    check(&[
        ("A web.default.svc.cluster.local", "NOERROR aa\nweb.default.svc.cluster.local. 5 A 10.96.0.7"),
        ("AAAA web.default.svc.cluster.local", "NODATA"),
        ("MX web.default.svc.cluster.local", "NODATA"),
        ("CNAME web.default.svc.cluster.local", "NODATA"),
        ("TXT web.default.svc.cluster.local", "NODATA"),
        ("ANY web.default.svc.cluster.local", "NODATA"),
        ("A dual.default.svc.cluster.local", "NOERROR aa\ndual.default.svc.cluster.local. 5 A 10.96.0.8"),
        ("AAAA dual.default.svc.cluster.local", "NOERROR aa\ndual.default.svc.cluster.local. 5 AAAA fd00::8"),
        ("A bare.default.svc.cluster.local", "NOERROR aa\nbare.default.svc.cluster.local. 5 A 10.96.0.9"),
        ("SRV bare.default.svc.cluster.local", "NODATA"),
        ("A pending.default.svc.cluster.local", "NODATA"),
        // The question keeps its case, and records point to it.
        ("A wEb.Default.SVC.cluster.LOCAL", "NOERROR aa\nwEb.Default.SVC.cluster.LOCAL. 5 A 10.96.0.7"),
        (
            "SRV _http._tcp.web.default.svc.cluster.local",
            "NOERROR aa
             _http._tcp.web.default.svc.cluster.local. 5 SRV 0 100 80 web.default.svc.cluster.local.
             + web.default.svc.cluster.local. 5 A 10.96.0.7",
        ),
        (
            "SRV _dns._udp.dual.default.svc.cluster.local",
            "NOERROR aa
             _dns._udp.dual.default.svc.cluster.local. 5 SRV 0 50 53 dual.default.svc.cluster.local.
             + dual.default.svc.cluster.local. 5 A 10.96.0.8
             + dual.default.svc.cluster.local. 5 AAAA fd00::8",
        ),
        // Every port, those without a name too.
        (
            "SRV web.default.svc.cluster.local",
            "NOERROR aa
             web.default.svc.cluster.local. 5 SRV 0 50 80 web.default.svc.cluster.local.
             web.default.svc.cluster.local. 5 SRV 0 50 81 web.default.svc.cluster.local.
             + web.default.svc.cluster.local. 5 A 10.96.0.7",
        ),
        ("A _http._tcp.web.default.svc.cluster.local", "NODATA"),
        ("SRV _http._udp.web.default.svc.cluster.local", "ABSENT"),
        ("SRV _https._tcp.web.default.svc.cluster.local", "ABSENT"),
        (
            "A 10-0-0-1.web.default.svc.cluster.local",
            "NOERROR aa\n10-0-0-1.web.default.svc.cluster.local. 5 A 10.0.0.1",
        ),
        (
            "PTR 7.0.96.10.in-addr.arpa",
            "NOERROR aa\n7.0.96.10.in-addr.arpa. 5 PTR web.default.svc.cluster.local.",
        ),
        (
            "A 7.0.96.10.in-addr.arpa",
            "NOERROR aa\n; in-addr.arpa. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5",
        ),
        (
            "PTR 1.0.0.10.in-addr.arpa",
            "NOERROR aa\n1.0.0.10.in-addr.arpa. 5 PTR 10-0-0-1.web.default.svc.cluster.local.",
        ),
        ("PTR 99.0.96.10.in-addr.arpa", "elsewhere"),
    ]);
}

#[test]
fn headless_2_4() {
    check(&[
        (
            "A db.default.svc.cluster.local",
            "NOERROR aa
             db.default.svc.cluster.local. 5 A 10.0.0.11
             db.default.svc.cluster.local. 5 A 10.0.0.12
             db.default.svc.cluster.local. 5 A 10.0.0.13",
        ),
        ("AAAA db.default.svc.cluster.local", "NOERROR aa\ndb.default.svc.cluster.local. 5 AAAA fd00::11"),
        (
            "A one.db.default.svc.cluster.local",
            "NOERROR aa
             one.db.default.svc.cluster.local. 5 A 10.0.0.12
             one.db.default.svc.cluster.local. 5 A 10.0.0.13",
        ),
        ("AAAA one.db.default.svc.cluster.local", "NODATA"),
        (
            "A 10-0-0-11.db.default.svc.cluster.local",
            "NOERROR aa\n10-0-0-11.db.default.svc.cluster.local. 5 A 10.0.0.11",
        ),
        (
            "AAAA fd00--11.db.default.svc.cluster.local",
            "NOERROR aa\nfd00--11.db.default.svc.cluster.local. 5 AAAA fd00::11",
        ),
        // One with a hostname has no other name.
        ("A 10-0-0-12.db.default.svc.cluster.local", "ABSENT"),
        (
            "SRV _pg._tcp.db.default.svc.cluster.local",
            "NOERROR aa
             _pg._tcp.db.default.svc.cluster.local. 5 SRV 0 25 5432 10-0-0-11.db.default.svc.cluster.local.
             _pg._tcp.db.default.svc.cluster.local. 5 SRV 0 25 5432 one.db.default.svc.cluster.local.
             _pg._tcp.db.default.svc.cluster.local. 5 SRV 0 25 5432 fd00--11.db.default.svc.cluster.local.
             + 10-0-0-11.db.default.svc.cluster.local. 5 A 10.0.0.11
             + one.db.default.svc.cluster.local. 5 A 10.0.0.12
             + one.db.default.svc.cluster.local. 5 A 10.0.0.13
             + fd00--11.db.default.svc.cluster.local. 5 AAAA fd00::11",
        ),
        (
            "SRV 10-0-0-11.db.default.svc.cluster.local",
            "NOERROR aa
             10-0-0-11.db.default.svc.cluster.local. 5 SRV 0 100 5432 10-0-0-11.db.default.svc.cluster.local.
             + 10-0-0-11.db.default.svc.cluster.local. 5 A 10.0.0.11",
        ),
        (
            "A portless.default.svc.cluster.local",
            "NOERROR aa\nportless.default.svc.cluster.local. 5 A 10.0.0.21",
        ),
        ("SRV portless.default.svc.cluster.local", "NODATA"),
        ("A silent.default.svc.cluster.local", "ABSENT"),
        ("SRV _pg._tcp.silent.default.svc.cluster.local", "ABSENT"),
        ("A _tcp.silent.default.svc.cluster.local", "ABSENT"),
        (
            "PTR 13.0.0.10.in-addr.arpa",
            "NOERROR aa\n13.0.0.10.in-addr.arpa. 5 PTR one.db.default.svc.cluster.local.",
        ),
        (
            "PTR 1.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            "NOERROR aa
             1.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 5 PTR \
             fd00--11.db.default.svc.cluster.local.",
        ),
        ("PTR 31.0.0.10.in-addr.arpa", "elsewhere"),
    ]);
}

#[test]
fn external_names_2_5() {
    check(&[
        ("A www.default.svc.cluster.local", "alias of www.example.org."),
        (
            "CNAME www.default.svc.cluster.local",
            "NOERROR aa\nwww.default.svc.cluster.local. 5 CNAME www.example.org.",
        ),
        ("A x.www.default.svc.cluster.local", "ABSENT"),
        (
            "A own.default.svc.cluster.local",
            "NOERROR aa
             own.default.svc.cluster.local. 5 CNAME web.default.svc.cluster.local.
             web.default.svc.cluster.local. 5 A 10.96.0.7",
        ),
        (
            "A chain.default.svc.cluster.local",
            "NOERROR aa
             chain.default.svc.cluster.local. 5 CNAME own.default.svc.cluster.local.
             own.default.svc.cluster.local. 5 CNAME web.default.svc.cluster.local.
             web.default.svc.cluster.local. 5 A 10.96.0.7",
        ),
        (
            "AAAA own.default.svc.cluster.local",
            "NOERROR aa\nown.default.svc.cluster.local. 5 CNAME web.default.svc.cluster.local.\nSOA",
        ),
        (
            "A lost.default.svc.cluster.local",
            "NXDOMAIN aa\nlost.default.svc.cluster.local. 5 CNAME nothing.default.svc.cluster.local.\nSOA",
        ),
        ("A number.default.svc.cluster.local", "ABSENT"),
    ]);
    let zone = zone(settings(), CLUSTER);
    assert!(ask(&zone, &ASKING, "A round.default.svc.cluster.local").starts_with("SERVFAIL"));
    let stranger = crate::answer::Asking { may_recurse: false, ..ASKING };
    assert_eq!(
        ask(&zone, &stranger, "A www.default.svc.cluster.local"),
        "NOERROR aa\nwww.default.svc.cluster.local. 5 CNAME www.example.org."
    );
}

#[test]
fn what_is_between_names() {
    check(&[
        ("A cluster.local", "NODATA"),
        ("A svc.cluster.local", "NODATA"),
        ("A pod.cluster.local", "NODATA"),
        ("A dns.cluster.local", "NODATA"),
        ("A default.svc.cluster.local", "NODATA"),
        ("A empty.svc.cluster.local", "NODATA"),
        ("A _tcp.web.default.svc.cluster.local", "NODATA"),
        ("A _udp.dual.default.svc.cluster.local", "NODATA"),
        ("A none.svc.cluster.local", "ABSENT"),
        ("A web.none.svc.cluster.local", "ABSENT"),
        ("A web.empty.svc.cluster.local", "ABSENT"),
        ("A web.default.cluster.local", "ABSENT"),
        ("A x.y.z.web.default.svc.cluster.local", "ABSENT"),
        // A Service may be told before its Namespace.
        ("A web.early.svc.cluster.local", "NOERROR aa\nweb.early.svc.cluster.local. 5 A 10.96.0.33"),
        ("A early.svc.cluster.local", "NODATA"),
        // Wildcards are no more.
        ("A *.default.svc.cluster.local", "ABSENT"),
        ("A any.default.svc.cluster.local", "ABSENT"),
        ("SRV *.*.web.default.svc.cluster.local", "ABSENT"),
        ("A web.*.svc.cluster.local", "ABSENT"),
        (
            "SOA cluster.local",
            "NOERROR aa
             cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5",
        ),
        (
            "NS cluster.local",
            "NOERROR aa\ncluster.local. 5 NS ns.dns.cluster.local.\n+ ns.dns.cluster.local. 5 A 10.96.0.10",
        ),
        ("A ns.dns.cluster.local", "NOERROR aa\nns.dns.cluster.local. 5 A 10.96.0.10"),
        ("NS default.svc.cluster.local", "NODATA"),
        ("A www.example.org", "elsewhere"),
        ("A cluster.local.example.org", "elsewhere"),
        ("A xcluster.local", "elsewhere"),
        ("A .", "elsewhere"),
        ("AXFR cluster.local", "REFUSED"),
        ("IXFR cluster.local", "REFUSED"),
    ]);
}

#[test]
fn names_of_pods() {
    let with = |pods: Pods| {
        zone(
            Settings { pods, ..settings() },
            &format!("{CLUSTER}\npod default/p 10.0.0.9 fd00::9\npod default/q 10.0.0.9"),
        )
    };
    let disabled = with(Pods::Disabled);
    check_in(&disabled, "A 10-0-0-9.default.pod.cluster.local", "ABSENT");
    check_in(&disabled, "A default.pod.cluster.local", "ABSENT");
    check_in(&disabled, "A pod.cluster.local", "NODATA");

    let insecure = with(Pods::Insecure);
    check_in(
        &insecure,
        "A 1-2-3-4.default.pod.cluster.local",
        "NOERROR aa\n1-2-3-4.default.pod.cluster.local. 5 A 1.2.3.4",
    );
    check_in(&insecure, "AAAA 1-2-3-4.default.pod.cluster.local", "NODATA");
    check_in(
        &insecure,
        "AAAA fd00--5.empty.pod.cluster.local",
        "NOERROR aa\nfd00--5.empty.pod.cluster.local. 5 AAAA fd00::5",
    );
    check_in(&insecure, "A 1-2-3.default.pod.cluster.local", "ABSENT");
    check_in(&insecure, "A 1-2-3-256.default.pod.cluster.local", "ABSENT");
    check_in(&insecure, "A 1-2-3-4.none.pod.cluster.local", "ABSENT");
    check_in(&insecure, "A x.1-2-3-4.default.pod.cluster.local", "ABSENT");
    check_in(&insecure, "A default.pod.cluster.local", "NODATA");
    check_in(&insecure, "A none.pod.cluster.local", "ABSENT");

    let verified = with(Pods::Verified);
    check_in(
        &verified,
        "A 10-0-0-9.default.pod.cluster.local",
        "NOERROR aa\n10-0-0-9.default.pod.cluster.local. 5 A 10.0.0.9",
    );
    check_in(
        &verified,
        "AAAA fd00--9.default.pod.cluster.local",
        "NOERROR aa\nfd00--9.default.pod.cluster.local. 5 AAAA fd00::9",
    );
    check_in(&verified, "A 10-0-0-9.empty.pod.cluster.local", "ABSENT");
    check_in(&verified, "A 1-2-3-4.default.pod.cluster.local", "ABSENT");
    check_in(&verified, "A default.pod.cluster.local", "NODATA");
}

#[test]
fn settings_matter() {
    let pods = Settings { names_endpoints_after_pods: true, ..settings() };
    let zone_of_pods =
        zone(pods, "headless a/b x/tcp:1\nslice a/b-1 b x/tcp:1 | web-7@10.0.0.1 p@h=10.0.0.2");
    check_in(
        &zone_of_pods,
        "A web-7.b.a.svc.cluster.local",
        "NOERROR aa\nweb-7.b.a.svc.cluster.local. 5 A 10.0.0.1",
    );
    check_in(&zone_of_pods, "A h.b.a.svc.cluster.local", "NOERROR aa\nh.b.a.svc.cluster.local. 5 A 10.0.0.2");

    let full = Settings { ignores_empty_services: true, ..settings() };
    let full = zone(
        full,
        "service a/b 10.0.0.1 x/tcp:1\nservice a/c 10.0.0.2 x/tcp:1\nslice a/c-1 c x/tcp:1 | 10.1.0.1",
    );
    check_in(&full, "A b.a.svc.cluster.local", "ABSENT");
    check_in(&full, "A c.a.svc.cluster.local", "NOERROR aa\nc.a.svc.cluster.local. 5 A 10.0.0.2");

    let shown = Settings { namespaces: ["a".into()].into(), ..settings() };
    let shown = zone(shown, "service a/b 10.0.0.1\nservice c/d 10.0.0.2\nnamespace e");
    check_in(&shown, "A b.a.svc.cluster.local", "NOERROR aa\nb.a.svc.cluster.local. 5 A 10.0.0.1");
    check_in(&shown, "A d.c.svc.cluster.local", "ABSENT");
    check_in(&shown, "A e.svc.cluster.local", "ABSENT");

    let ranges = Settings {
        reverse: vec!["96.10.in-addr.arpa".parse().unwrap()],
        fallthrough: vec![],
        ttl: 30,
        ..settings()
    };
    let ranges = zone(ranges, "service a/b 10.96.0.1\nslice a/b-1 b x/tcp:1 | 10.1.0.1");
    let soa =
        "; 96.10.in-addr.arpa. 30 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 30";
    check_in(
        &ranges,
        "PTR 1.0.96.10.in-addr.arpa",
        "NOERROR aa\n1.0.96.10.in-addr.arpa. 30 PTR b.a.svc.cluster.local.",
    );
    check_in(&ranges, "PTR 2.0.96.10.in-addr.arpa", &format!("NXDOMAIN aa\n{soa}"));
    check_in(&ranges, "PTR 0.96.10.in-addr.arpa", &format!("NOERROR aa\n{soa}"));
    check_in(&ranges, "PTR x.96.10.in-addr.arpa", &format!("NXDOMAIN aa\n{soa}"));
    check_in(&ranges, "PTR 1.0.1.10.in-addr.arpa", "elsewhere");
}

#[test]
fn a_cluster_ip_has_one_name() {
    let claims = "
        service a/b 10.96.0.1 x/tcp:1
        headless a/c x/tcp:1
        slice a/c-1 c x/tcp:1 | 10.96.0.1 10.1.0.1
        headless a/d x/tcp:1
        slice a/d-1 d x/tcp:1 | 10.1.0.1";
    let zone = zone(settings(), claims);
    check_in(
        &zone,
        "PTR 1.0.96.10.in-addr.arpa",
        "NOERROR aa\n1.0.96.10.in-addr.arpa. 5 PTR b.a.svc.cluster.local.",
    );
    check_in(
        &zone,
        "PTR 1.0.1.10.in-addr.arpa",
        "NOERROR aa
         1.0.1.10.in-addr.arpa. 5 PTR 10-1-0-1.c.a.svc.cluster.local.
         1.0.1.10.in-addr.arpa. 5 PTR 10-1-0-1.d.a.svc.cluster.local.",
    );
}

#[test]
fn nothing_is_denied_before_everything_was_told() {
    let mut builder = Builder::new(settings(), 1);
    let check = |builder: &Builder, expected: [&str; 3]| {
        let questions =
            ["A web.a.svc.cluster.local", "A b.a.svc.cluster.local", "PTR 1.0.96.10.in-addr.arpa"];
        let found =
            questions.map(|text| ask(&builder.zone(), &ASKING, text).lines().next().unwrap().to_owned());
        assert_eq!(found, expected);
    };
    builder.apply(Change::Put(object("service a/web 10.96.0.1")), 2);
    check(&builder, ["SERVFAIL", "SERVFAIL", "SERVFAIL"]);
    for kind in [Kind::Service, Kind::Slice] {
        builder.apply(Change::Synced(kind), 2);
        check(&builder, ["SERVFAIL", "SERVFAIL", "SERVFAIL"]);
    }
    assert!(builder.apply(Change::Synced(Kind::Namespace), 2));
    check(&builder, ["NOERROR aa", "NXDOMAIN aa", "NOERROR aa"]);
    // A later list changes nothing, and a picture stays as it was.
    let before = builder.zone();
    assert!(!builder.apply(Change::Synced(Kind::Service), 3));
    assert!(!builder.apply(Change::Put(object("service a/web 10.96.0.1")), 3));
    assert_eq!(builder.zone().serial(), 2);
    assert!(builder.apply(Change::Gone(Kind::Service, Key::new("a", "web")), 4));
    check(&builder, ["NXDOMAIN aa", "NXDOMAIN aa", "elsewhere"]);
    assert!(ask(&before, &ASKING, "A web.a.svc.cluster.local").starts_with("NOERROR"));
}

/// A change out of few objects, so that histories meet themselves.
fn any_change() -> impl Strategy<Value = Change> {
    let namespace = || prop::sample::select(vec!["a", "b"]);
    let name = || prop::sample::select(vec!["web", "db"]);
    let address = prop::sample::select(vec![
        "10.0.0.1",
        "10.0.0.2",
        "fd00::1",
        "h=10.0.0.1",
        "h=fd00::2",
        "p@10.0.0.3",
    ]);
    let target = prop::sample::select(vec![
        "service 10.96.0.1",
        "service 10.96.0.1,fd00::1",
        "service none",
        "headless",
        "alias web.a.svc.cluster.local",
        "alias .",
    ]);
    let ports = prop::sample::select(vec!["", "x/tcp:1", "x/tcp:1 y/udp:2", "x/udp:1 /tcp:3"]);
    let service =
        (namespace(), name(), target, ports.clone()).prop_map(|(namespace, name, target, ports)| {
            let (kind, rest) = target.split_once(' ').unwrap_or((target, ""));
            Change::Put(object(&format!("{kind} {namespace}/{name} {rest} {ports}")))
        });
    let slice = (namespace(), 0..3, name(), ports, prop::collection::vec(address, 0..4)).prop_map(
        |(namespace, number, service, ports, addresses)| {
            let service = if number == 2 && ports.is_empty() { "-" } else { service };
            let line = format!("slice {namespace}/s{number} {service} {ports} | {}", addresses.join(" "));
            Change::Put(object(&line))
        },
    );
    let pod = (namespace(), 0..2, prop::sample::select(vec!["10.0.0.1", "10.0.0.2 fd00::1", ""])).prop_map(
        |(namespace, number, addresses)| {
            Change::Put(object(&format!("pod {namespace}/p{number} {addresses}")))
        },
    );
    let gone = (namespace(), prop::sample::select(vec!["web", "db", "s0", "s1", "s2", "p0", "p1"])).prop_map(
        |(namespace, name)| {
            let kind = match name.as_bytes()[0] {
                b's' => Kind::Slice,
                b'p' => Kind::Pod,
                _ => Kind::Service,
            };
            Change::Gone(kind, Key::new(namespace, name))
        },
    );
    let namespaces = (namespace(), any::<bool>()).prop_map(|(name, is_there)| match is_there {
        true => Change::Put(object(&format!("namespace {name}"))),
        false => Change::Gone(Kind::Namespace, Key::new("", name)),
    });
    prop_oneof![4 => service, 5 => slice, 2 => pod, 4 => gone, 1 => namespaces]
}

fn key_of(change: &Change) -> Option<(Kind, Key)> {
    let Change::Put(object) = change else { return None };
    let key = match object {
        Object::Service(service) => service.key.clone(),
        Object::Slice(slice) => slice.key.clone(),
        Object::Pod(pod) => pod.key.clone(),
        Object::Namespace(name) => Key::new("", name),
    };
    Some((object.kind(), key))
}

proptest! {
    #[test]
    fn incremental_equals_from_scratch(history in prop::collection::vec(any_change(), 0..60)) {
        let settings = Settings { pods: Pods::Verified, ..settings() };
        let mut builder = Builder::new(settings.clone(), 1);
        let mut objects = BTreeMap::new();
        for change in history {
            match &change {
                Change::Gone(kind, key) => { objects.remove(&(*kind, key.clone())); }
                Change::Put(_) | Change::Synced(_) | Change::Servers(_) => {
                    objects.extend(key_of(&change).map(|key| (key, change.clone())));
                }
            }
            let before = builder.zone();
            let contents: BTreeMap<Vec<u8>, Entry> = contents(&before);
            let is_changed = builder.apply(change, 2);
            // What a reader holds stays, and a change that is said to be none is none.
            prop_assert_eq!(&self::contents(&before), &contents);
            prop_assert!(is_changed || self::contents(&builder.zone()) == contents);
        }
        let mut scratch = Builder::new(settings, 1);
        for change in objects.into_values() {
            scratch.apply(change, 2);
        }
        prop_assert_eq!(contents(&builder.zone()), contents(&scratch.zone()));
        prop_assert_eq!(builder.zone().len(), contents(&builder.zone()).len());
    }
}

fn contents(zone: &Zone) -> BTreeMap<Vec<u8>, Entry> {
    zone.names.iter().map(|entry| (entry.name().to_vec(), entry.clone())).collect()
}
