//! Texts in, settings or mistakes out.

use super::super::words::fallthrough;
use super::super::{
    Api, Cache, Fallthrough, Forward, Kubernetes, PodMode, Policy, Rewrite, RewriteRule, Upstream,
};
use super::*;

/// As `kubeadm init` of Kubernetes 1.36 writes it.
pub(super) const KUBEADM: &str = r#".:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"#;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn read(text: &str) -> Result<Settings, String> {
    Settings::parse(text, &|_| None).map_err(|mistakes| mistakes.to_string())
}

fn kubeadm() -> Settings {
    let zones = ["cluster.local", "in-addr.arpa", "ip6.arpa"].map(name).to_vec();
    let mut cache = Cache { zones: vec![Name::root()], ..Cache::default() };
    cache.success.longest = 30;
    cache.denial.longest = 30;
    cache.not_success = vec![name("cluster.local")];
    cache.not_denial = vec![name("cluster.local")];
    let mut forward = Forward::new(Name::root());
    forward.to = vec![Upstream::File("/etc/resolv.conf".into())];
    forward.max_concurrent = 1000;
    let kubernetes = Kubernetes {
        fallthrough: fallthrough(zones[1..].to_vec()),
        pods: PodMode::Insecure,
        ttl: 30,
        ..Kubernetes::new(zones)
    };
    let server = Server {
        zones: vec![Name::root()],
        port: 53,
        kubernetes: Some(kubernetes),
        cache: Some(cache),
        forwards: vec![forward],
        logs_errors: true,
        finds_loops: true,
        shuffles: true,
        is_counted: true,
        ..Server::default()
    };
    Settings {
        servers: vec![server],
        health: Some(Health {
            address: "[::]:8080".parse().expect("an address"),
            lameduck: Duration::from_secs(5),
        }),
        ready: Some("[::]:8181".parse().expect("an address")),
        metrics: vec!["[::]:9153".parse().expect("an address")],
        reload: Some(RELOAD),
        has_cookies: false,
    }
}

#[test]
fn the_corefile_of_kubeadm_is_understood() {
    assert_eq!(read(KUBEADM), Ok(kubeadm()));
    let indented = KUBEADM.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let map = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: coredns\ndata:\n  Corefile: |\n{indented}"
    );
    assert_eq!(read(&map), Ok(kubeadm()));
    let json = serde_json::json!({"kind": "ConfigMap", "data": {"Corefile": KUBEADM}}).to_string();
    assert_eq!(read(&json), Ok(kubeadm()));
    assert_eq!(
        read("kind: ConfigMap\ndata: {}"),
        Err("data.Corefile: is missing from this ConfigMap".to_owned())
    );
}

#[test]
fn the_corefile_of_a_node_is_understood() {
    let settings = read(
        "cluster.local:53 {\n errors\n cache {\n  success 9984 30\n  denial 9984 5\n }\n reload\n loop\n \
         bind 169.254.20.10 10.96.0.10\n forward . 10.96.0.11 {\n  force_tcp\n }\n prometheus :9253\n \
         health 169.254.20.10:8080\n}\n\
         in-addr.arpa:53 {\n errors\n cache 30\n reload\n loop\n bind 169.254.20.10 10.96.0.10\n \
         forward . 10.96.0.11 {\n  force_tcp\n }\n prometheus :9253\n}\n\
         .:53 {\n errors\n cache 30\n reload\n loop\n bind 169.254.20.10 10.96.0.10\n forward . 1.1.1.1\n prometheus :9253\n}\n",
    );
    let settings = settings.expect("it is right");
    assert_eq!(settings.servers.len(), 3);
    assert_eq!(settings.metrics.len(), 1);
    let server = &settings.servers[0];
    assert_eq!(server.addresses.len(), 2);
    assert!(server.forwards[0].force_tcp && server.forwards[0].from == Name::root());
    let cache = server.cache.as_ref().expect("there is one");
    assert_eq!((cache.success.longest, cache.denial.longest, &cache.zones), (30, 5, &server.zones));
}

/// The one server of a text.
fn server(line: &str) -> Server {
    let settings =
        read(&format!("a.org {{\n{line}\n}}")).unwrap_or_else(|mistakes| panic!("{line}: {mistakes}"));
    settings.servers.into_iter().next().expect("there is one")
}

#[test]
fn properties_mean_what_they_mean_there() {
    let server_of = |line| server(line).kubernetes.expect("there is one");
    let found = server_of(
        "kubernetes k.local 10.0.0.0/8 {\n endpoint https://10.0.0.1:6443\n namespaces a b\n \
         endpoint_pod_names\n ignore empty_service\n fallthrough\n pods verified\n ttl 0\n labels a=b, c in (d, e)\n \
         noendpoints\n tls /cert /key /ca\n startup_timeout 7s\n apiserver_qps 5.5\n apiserver_burst 10\n \
         apiserver_max_inflight 3\n}",
    );
    let tls = Some(["/cert", "/key", "/ca"].map(Into::into));
    let wanted = Kubernetes {
        zones: vec![name("k.local"), name("10.in-addr.arpa")],
        api: Some(Api::Endpoint { url: "https://10.0.0.1:6443".into(), tls }),
        pods: PodMode::Verified,
        ttl: 0,
        namespaces: vec!["a".into(), "b".into()],
        endpoint_pod_names: true,
        ignores_empty_services: true,
        fallthrough: Fallthrough::Always,
        labels: "a=b, c in (d, e)".to_owned(),
        has_endpoints: false,
        patience: Duration::from_secs(7),
    };
    assert_eq!(found, wanted);
    let completes = |line: &str| {
        let kubernetes = "kubernetes b {\npods verified\n}";
        server(&format!("{line}\n{kubernetes}"))
            .completes
            .map(|found| format!("{:?} {:?}", found.zones, found.by))
    };
    assert_eq!(completes("autopath @kubernetes"), Some("[a.org.] OfPods".to_owned()));
    assert_eq!(completes("autopath b c /etc/search"), Some("[b., c.] File(\"/etc/search\")".to_owned()));
    let api = server_of("kubernetes {\n kubeconfig /k\n}").api;
    assert_eq!(api, Some(Api::Kubeconfig("/k".into())));

    let forward = server(
        "forward b.org 1.1.1.1 tls://9.9.9.9 {\n except c.b.org\n policy sequential\n max_fails 0\n max_concurrent 7\n \
         health_check 1s no_rec domain x.org\n expire 3s\n tls ca\n tls_servername dns.quad9.net\n prefer_udp\n force_tcp\n}",
    );
    let mut wanted = Forward::new(name("b.org"));
    wanted.to = ["1.1.1.1", "tls://9.9.9.9"].map(|text| words::upstream(text).expect("an upstream")).to_vec();
    wanted.except = vec![name("c.b.org")];
    wanted.policy = Policy::Sequential;
    (wanted.max_fails, wanted.max_concurrent) = (0, 7);
    wanted.health_check.interval = Duration::from_secs(1);
    wanted.health_check.recursion_desired = false;
    wanted.health_check.domain = name("x.org");
    wanted.expire = Duration::from_secs(3);
    wanted.tls_authority = Some("ca".into());
    wanted.tls_server_name = Some("dns.quad9.net".into());
    (wanted.prefer_udp, wanted.force_tcp) = (true, true);
    assert_eq!(forward.forwards, [wanted]);
}

#[test]
fn names_and_caches_are_read() {
    let hosts = server(
        "hosts {\n 10.0.0.1 x.org y.org\n fd00::1 x.org\n ttl 60\n no_reverse\n reload 0\n fallthrough b.org\n}",
    );
    let hosts = hosts.hosts.expect("there are some");
    assert_eq!(hosts.file.as_deref(), Some(std::path::Path::new("/etc/hosts")));
    assert_eq!(
        hosts.entries[0],
        ("10.0.0.1".parse().expect("an address"), vec![name("x.org"), name("y.org")])
    );
    assert_eq!(
        (hosts.entries.len(), hosts.ttl, hosts.has_reverse, hosts.reload),
        (2, 60, false, Duration::ZERO)
    );
    assert_eq!(hosts.fallthrough, Fallthrough::Within(vec![name("b.org")]));

    let exact = |from, to| RewriteRule::Exact { from: name(from), to: name(to) };
    let suffix = |from: &str, to: &str| RewriteRule::Suffix { from: from.into(), to: to.into() };
    for (line, rule, answers, continues) in [
        ("rewrite name X.org y.org", exact("x.org", "y.org"), false, false),
        ("rewrite stop name exact x.org y.org", exact("x.org", "y.org"), false, false),
        ("rewrite continue name suffix .x.org .y.org. answer auto", suffix(".x.org.", ".y.org."), true, true),
    ] {
        assert_eq!(server(line).rewrites, [Rewrite { rule, answers, continues }], "{line}");
    }

    let cache = server(
        "cache 60 c.org {\n success 10 20 3\n denial 5\n prefetch 2 1m 20%\n serve_stale 2h verify\n servfail 1m\n keepttl\n disable denial\n}",
    );
    let cache = cache.cache.expect("there is one");
    assert_eq!(format!("{:?}", cache.success), "Share { entries: 10, longest: 20, shortest: 3 }");
    assert_eq!(format!("{:?}", cache.denial), "Share { entries: 5, longest: 60, shortest: 5 }");
    assert_eq!(format!("{:?}", cache.prefetch), "Some(Prefetch { amount: 2, within: 60s, percentage: 20 })");
    assert_eq!(format!("{:?}", cache.stale), "Some(Stale { age: 7200s, verifies: true })");
    assert_eq!((cache.failure, cache.keeps_ttl), (Duration::from_secs(60), true));
    assert_eq!((cache.not_denial, cache.zones), (vec![name("c.org")], vec![name("c.org")]));
}

#[test]
fn keys_are_zones_and_ports() {
    for (text, wanted) in [
        (".", ". 53"),
        (":1053", ". 1053"),
        ("a.org:54", "a.org. 54"),
        ("dns://a.org", "a.org. 53"),
        ("10.0.0.0/8:54", "10.in-addr.arpa. 54"),
        ("fd00::/8", "d.f.ip6.arpa. 53"),
        ("fd00::/8:54", "d.f.ip6.arpa. 54"),
        ("tls://a.org", "tls:// is not served, only dns://"),
        ("a.org:0", "`0` is no port from 1 to 65535"),
        ("(snippet)", "snippets are not understood: the text must stand where it is used"),
    ] {
        let found = key(text).map_or_else(|why| why, |(zones, port)| format!("{} {port}", zones[0]));
        assert_eq!(found, wanted, "{text}");
    }
    let settings = read("a.org b.org:54 c.org {\n log\n}").expect("it is right");
    let shown: Vec<String> =
        settings.servers.iter().map(|server| format!("{:?} {}", server.zones, server.port)).collect();
    assert_eq!(shown, ["[a.org., c.org.] 53", "[b.org.] 54"]);
}

/// Mistakes of a text whose lines these are.
fn check(lines: &str, wanted: &str) {
    let found = read(lines).map(|_| String::new()).unwrap_or_else(|mistakes| mistakes);
    assert_eq!(found, wanted, "{lines}");
}

#[test]
fn what_is_not_understood_is_refused_where_it_stands() {
    for (line, wanted) in [
        ("template IN A", "2:1: the plugin `template` is not understood"),
        ("import x", "2:1: `import` is not understood: the text must stand here"),
        ("errors x", "2:8: `errors` takes no argument, this is one too many"),
        ("errors {\nconsolidate 5m x\n}", "3:1: `consolidate` is no property of errors that is understood"),
        ("log . combined", "2:5: `log` takes no argument, this is one too many"),
        ("cache\ncache", "3:1: `cache` stands in this server block twice"),
        ("bind eth0", "2:6: `eth0` is not an IP address; names of interfaces are not understood"),
        ("health x", "2:8: `x` is no address with a port, such as :8080 or 127.0.0.1:8080"),
        ("health {\nlameduck x\n}", "3:10: `x` is no time such as 30s, 1h30m or 250ms"),
        ("reload 1s", "2:8: is shorter than 2s"),
        ("loadbalance weighted f", "2:22: `loadbalance` takes at most an argument, this is one too many"),
        ("loadbalance weighted", "2:13: `weighted` is not understood, only round_robin"),
        (
            "kubernetes {\nnamespace_labels a=b\n}",
            "3:1: `namespace_labels` is not understood: namespaces are selected by `namespaces`",
        ),
        ("kubernetes {\nnoendpoints x\n}", "3:13: `noendpoints` takes no argument, this is one too many"),
        ("kubernetes {\napiserver_qps x\n}", "3:15: `x` is no number"),
        ("autopath @kubernetes", "1:1: searches are completed through `kubernetes`, which is missing"),
        (
            "autopath @kubernetes\nkubernetes",
            "1:1: searches of pods are known by their addresses: `kubernetes` needs `pods verified`",
        ),
        ("autopath @erratic\nkubernetes", "2:10: `@erratic` is not understood, only @kubernetes"),
        ("autopath\nkubernetes", "2:1: `autopath` needs an argument"),
        ("kubernetes {\npods some\n}", "3:6: `some` is none of disabled, insecure, verified"),
        ("kubernetes {\nttl 3601\n}", "3:5: `3601` is no whole number from 0 to 3600"),
        ("kubernetes {\ntls a b\n}", "3:1: `tls` needs 3 arguments"),
        ("kubernetes in-addr.arpa", "1:1: kubernetes needs a zone for its names, such as cluster.local"),
        ("forward .", "2:1: `forward` needs 2 arguments"),
        ("forward . https://1.1.1.1", "2:11: `https://1.1.1.1`: only dns:// and tls:// are spoken"),
        (
            "forward . 1.1.1.1 {\nfailover SERVFAIL\n}",
            "3:1: `failover` is no property of forward that is understood",
        ),
        (
            "forward 10.0.0.0/9 1.1.1.1",
            "2:9: `10.0.0.0/9` is several zones; each needs a `forward` of its own",
        ),
        ("forward . 0.0.0.0", "1:1: forwarding `.` to Plain(0.0.0.0:53): nobody can be asked there"),
        ("rewrite type A AAAA", "2:9: rewriting `type` is not understood, only `name`"),
        ("rewrite name regex a b", "2:14: rewriting by regex is not understood, only by exact and suffix"),
        ("rewrite name a", "2:9: `rewrite name` needs what becomes what"),
        ("rewrite name a b answer name c d", "2:18: after a rule only `answer auto` is understood"),
        ("cache 0", "2:7: `0` is no whole number from 1 on"),
        ("cache {\nprefetch 1 1m 5%\n}", "3:15: `5%` is no percentage from 10% to 90%"),
        ("hosts {\nexample.org 10.0.0.1\n}", "3:1: `example.org` is no property of hosts that is understood"),
        ("hosts {\n10.0.0.1 a b {\nc\n}\n}", "4:1: `10.0.0.1` has no properties here"),
    ] {
        check(&format!("a.org {{\n{line}\n}}"), wanted);
    }
}

#[test]
fn every_mistake_is_listed() {
    check(
        "a.org a.org:x {\n ttl\n cache x y. {\n  success a\n }\n forward . x\n}\nb.org:54 a.org {\n}",
        "1:7: `x` is no port from 1 to 65535\n2:2: the plugin `ttl` is not understood\n\
         4:11: `a` is no whole number from 0 on\n\
         6:12: `x` is neither an IP address, with or without port, nor the path of a file, which begins with /\n\
         8:10: `a.org.` at port 53 is served by an earlier server",
    );
    check("", "1:1: there is no server");
    check(
        "a. {\n health :1\n}\nb. {\n health :2\n ready :3\n}",
        "5:2: another server block says something else about `health`",
    );
    check("a. {\n bind 10.0.0.1\n}\na. {\n bind 10.0.0.2\n}", "");
}
