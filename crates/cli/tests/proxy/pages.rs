//! What the proxy's own ports answer: metrics, and the pages that describe a process.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::apiserver::{WEB, slice, start};
use crate::node::{Mode, Node, in_modes, service};

in_modes! {
    metrics_are_kube_proxys_by_name_type_and_labels_and_mean_something: Nftables Legacy Nft;
    pages_describe_the_process: Nftables Legacy;
    connections_are_counted_for_each_service_when_they_are_wanted: Nftables Legacy Nft;
}

const METRICS: &str = "127.0.0.1:10249";
const HEALTH: &str = "127.0.0.1:10256";

/// Every metric of all modes: name, type, labels, and the bounds of a histogram's buckets: how many, the first, the
/// last. Those of kube-proxy 1.36 are like its own.
const TABLE: &str = "
kubeproxy_conntrack_reconciler_deleted_entries_total          counter   ip_family
kubeproxy_conntrack_reconciler_sync_duration_seconds          histogram ip_family 15 0.001 16.384
kubeproxy_network_programming_duration_seconds                histogram ip_family 81 0 300
kubeproxy_proxy_healthz_total                                 counter   code
kubeproxy_proxy_livez_total                                   counter   code
kubeproxy_sync_full_proxy_rules_duration_seconds              histogram ip_family 15 0.001 16.384
kubeproxy_sync_partial_proxy_rules_duration_seconds           histogram ip_family 15 0.001 16.384
kubeproxy_sync_proxy_rules_duration_seconds                   histogram ip_family 15 0.001 16.384
kubeproxy_sync_proxy_rules_endpoint_changes_pending           gauge     -
kubeproxy_sync_proxy_rules_endpoint_changes_total             counter   -
kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds      gauge     ip_family
kubeproxy_sync_proxy_rules_last_timestamp_seconds             gauge     ip_family
kubeproxy_sync_proxy_rules_no_local_endpoints_total           gauge     ip_family,traffic_policy
kubeproxy_sync_proxy_rules_service_changes_pending            gauge     -
kubeproxy_sync_proxy_rules_service_changes_total              counter   -
process_cpu_seconds_total                                     counter   -
process_max_fds                                               gauge     -
process_open_fds                                              gauge     -
process_resident_memory_bytes                                 gauge     -
process_start_time_seconds                                    gauge     -
process_threads                                               gauge     -
process_virtual_memory_bytes                                  gauge     -
signalbox_build_info                                          gauge     emulates,version
signalbox_change_delay_seconds                                histogram ip_family 20 0.0001 52.4288
signalbox_items                                               gauge     ip_family
signalbox_peak_memory_bytes                                   gauge     -
signalbox_refused_services                                    gauge     ip_family
signalbox_transaction_duration_seconds                        histogram ip_family 16 0.0001 3.2768
signalbox_watch_errors_total                                  counter   kind
signalbox_watch_events_total                                  counter   kind
signalbox_watch_lag_seconds                                   histogram - 18 0.001 131.072
signalbox_watch_last_heard_timestamp_seconds                  gauge     kind
signalbox_watch_lists_total                                   counter   kind
signalbox_watch_synced                                        gauge     kind
";

/// Those of nftables mode alone.
const TABLE_OF_NFTABLES: &str = "
kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total    counter   ip_family
kubeproxy_sync_proxy_rules_nftables_sync_failures_total       counter   ip_family
";

/// Those of iptables mode alone.
const TABLE_OF_IPTABLES: &str = "
kubeproxy_iptables_ct_state_invalid_dropped_packets_total     counter   -
kubeproxy_iptables_localhost_nodeports_accepted_packets_total counter   -
kubeproxy_sync_proxy_rules_iptables_last                      gauge     ip_family,table
kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total counter ip_family
kubeproxy_sync_proxy_rules_iptables_restore_failures_total    counter   ip_family
kubeproxy_sync_proxy_rules_iptables_total                     gauge     ip_family,table
";

/// A text in Prometheus' format as the rows of the table.
fn rows(text: &str) -> Vec<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let row = |(name, kind): (&str, &str)| {
        let (mut labels, mut bounds) = (BTreeSet::new(), Vec::new());
        let bucket = format!("{name}_bucket");
        let samples = text.lines().filter_map(|line| line.split_once('{'));
        for (_, rest) in samples.filter(|(of, _)| *of == name || *of == bucket) {
            let pairs = rest.split('}').next().unwrap().split(',').filter_map(|pair| pair.split_once('='));
            for (label, value) in pairs {
                if label == "le" {
                    bounds.extend(
                        value.trim_matches('"').parse::<f64>().ok().filter(|bound| bound.is_finite()),
                    );
                } else {
                    labels.insert(label);
                }
            }
        }
        bounds.dedup();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let labels: Vec<&str> = labels.into_iter().collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(",") };
        match bounds[..] {
            [first, .., last] => format!("{name} {kind} {labels} {} {first} {last}", bounds.len()),
            _ => format!("{name} {kind} {labels}"),
        }
    };
    types.map(row).collect()
}

/// The samples without buckets.
fn values(text: &str) -> BTreeMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

fn metrics_are_kube_proxys_by_name_type_and_labels_and_mean_something(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let server = start(&node);
    let kubeconfig = node.folder.join("kubeconfig").display().to_string();
    let proxy = node.proxy_with(&["--kubeconfig", &kubeconfig]);
    proxy.await_log(&["IPv6", "in step"]);
    node.await_page((HEALTH, "/healthz"), |answer| answer.code == Some(200));
    assert_eq!(node.page(HEALTH, "/livez").code, Some(200));
    let page = node.page(METRICS, "/metrics");
    assert_eq!(page.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let of_mode = match mode {
        Mode::Nftables => TABLE_OF_NFTABLES,
        Mode::Legacy | Mode::Nft => TABLE_OF_IPTABLES,
    };
    let mut wanted: Vec<String> = { TABLE.lines().chain(of_mode.lines()) }
        .filter(|line| !line.is_empty())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    wanted.sort();
    assert_eq!(rows(&page.body), wanted);

    let before = values(&page.body);
    let at = |values: &BTreeMap<String, f64>, name: &str| {
        *values.get(name).unwrap_or_else(|| panic!("{name}: {values:?}"))
    };
    let v4 = |name: &str| format!("{name}{{ip_family=\"IPv4\"}}");
    assert_eq!(at(&before, "kubeproxy_proxy_livez_total{code=\"200\"}"), 1.0);
    assert!(at(&before, "process_resident_memory_bytes") > 1e6);
    assert!(at(&before, &v4("signalbox_items")) > 10.0);
    assert_eq!(at(&before, "signalbox_watch_synced{kind=\"EndpointSlice\"}"), 1.0);

    // A pod that became ready a second ago, and a Service that wants local pods where there are none.
    let mut changed = slice(&["10.244.1.12"]);
    changed["metadata"]["annotations"] = json!({"endpoints.kubernetes.io/last-change-trigger-time": soon()});
    std::thread::sleep(std::time::Duration::from_millis(1100));
    server.apply(changed);
    server.apply(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "local", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.12", "internalTrafficPolicy": "Local", "ports": [{"port": 80}]}}),
    );
    server.apply(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "local", "namespace": "shop", "labels": {"kubernetes.io/service-name": "local"}},
        "ports": [{"name": "", "port": 8080}], "endpoints": [{"addresses": ["10.244.2.1"], "nodeName": "other"}]}));
    node.await_answers(WEB, &["pod2"]);
    let no_local =
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",traffic_policy=\"internal\"}";
    let page = node.await_page((METRICS, "/metrics"), |page| values(&page.body).get(no_local) == Some(&1.0));
    let after = values(&page.body);
    let grew = |name: &str| at(&after, name) - at(&before, name);
    assert_eq!(grew(&v4("kubeproxy_network_programming_duration_seconds_count")), 1.0);
    let took = grew(&v4("kubeproxy_network_programming_duration_seconds_sum"));
    assert!((0.0..15.0).contains(&took), "{took}");
    assert_eq!(grew("kubeproxy_sync_proxy_rules_endpoint_changes_total"), 2.0);
    assert_eq!(grew("kubeproxy_sync_proxy_rules_service_changes_total"), 1.0);
    assert_eq!(at(&after, "kubeproxy_sync_proxy_rules_service_changes_pending"), 0.0);
    assert!(grew(&v4("kubeproxy_sync_proxy_rules_duration_seconds_count")) >= 1.0);
    assert!(grew(&v4("kubeproxy_sync_partial_proxy_rules_duration_seconds_count")) >= 1.0);
    assert_eq!(grew(&v4("kubeproxy_sync_full_proxy_rules_duration_seconds_count")), 0.0);
    assert!(grew(&v4("kubeproxy_sync_proxy_rules_last_timestamp_seconds")) > 0.0);
    assert!(grew(&v4("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds")) > 0.0);
    assert!(grew(&v4("signalbox_change_delay_seconds_count")) >= 1.0);
    assert!(grew(&v4("signalbox_items")) > 0.0);
    assert!(grew(&v4("signalbox_transaction_duration_seconds_count")) >= 1.0);
    assert_eq!(grew("signalbox_watch_lag_seconds_count"), 1.0);
    assert!((1.0..15.0).contains(&grew("signalbox_watch_lag_seconds_sum")));
    assert_eq!(grew("signalbox_watch_events_total{kind=\"Service\"}"), 1.0);
    if mode != Mode::Nftables {
        for (family, program) in [("IPv4", "iptables-save"), ("IPv6", "ip6tables-save")] {
            for table in ["filter", "nat"] {
                let count = |metric: &str| {
                    let labels = format!("{{ip_family=\"{family}\",table=\"{table}\"}}");
                    at(&after, &format!("kubeproxy_sync_proxy_rules_iptables_{metric}{labels}"))
                };
                let saved = String::from_utf8(node.run(program, &["-t", table]).stdout).unwrap();
                let rules = saved.lines().filter(|line| line.starts_with("-A ")).count();
                assert_eq!(count("total"), rules as f64, "{family} {table}: {saved}");
                assert!((0.0..=count("total")).contains(&count("last")), "{family} {table}");
            }
        }
    }

    // What needs nothing of the kernel is not waited for: the next change would look slow.
    let mut unused = slice(&["10.244.1.12"]);
    unused["metadata"] = json!({"name": "nobodys", "namespace": "shop", "labels": {"kubernetes.io/service-name": "nobody"},
        "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": soon()}});
    server.apply(unused);
    let lag = |page: &testkit::traffic::HttpAnswer| values(&page.body)["signalbox_watch_lag_seconds_count"];
    node.await_page((METRICS, "/metrics"), |page| lag(page) == 2.0);
    server.apply(slice(&["10.244.1.13"]));
    node.await_answers(WEB, &["pod3"]);
    let last = values(&node.page(METRICS, "/metrics").body);
    assert_eq!(
        at(&last, &v4("kubeproxy_network_programming_duration_seconds_count")),
        at(&after, &v4("kubeproxy_network_programming_duration_seconds_count"))
    );
}

/// The time now, as Kubernetes writes it.
fn soon() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%NZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn pages_describe_the_process(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    node.write("service.yaml", &service("web", "{clusterIP: 10.96.0.10, ports: [{port: 80}]}"));
    node.write("node.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: node}\n");
    let manifests = node.folder.join("manifests").display().to_string();
    let proxy = node.proxy_with(&["--manifests", &manifests, "--conntrack_min=4711"]);
    proxy.await_log(&["IPv6", "in step"]);
    let text = |path: &str| node.page(METRICS, path).body;
    assert_eq!((text("/healthz"), text("/proxyMode")), ("ok".to_owned(), mode.name().to_owned()));
    let configuration: Value = serde_json::from_str(&text("/configz")).unwrap();
    let configuration = &configuration["kubeproxy.config.k8s.io"];
    assert_eq!(configuration["conntrack"]["min"], 4711);
    assert_eq!(configuration["clusterCIDR"], "10.244.0.0/16,fd00:10:244::/48");
    assert_eq!(configuration[mode.name()]["syncPeriod"], "30s");
    assert!(text("/flagz").contains("\nconntrack-min=4711\n"));
    assert!(text("/statusz").contains("Binary version: signalbox") && text("/statusz").contains("/metrics"));
    let json = |path: &str| -> Value {
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
        );
        serde_json::from_str(&node.request(METRICS, &text).body).unwrap()
    };
    assert_eq!(
        (&json("/statusz")["kind"], &json("/flagz")["flags"]["conntrack-min"]),
        (&json!("Statusz"), &json!("4711"))
    );
    assert!(text("/metrics/slis").contains("kubernetes_healthcheck{name=\"proxier\",type=\"healthz\"} 1"));
    for path in ["/debug/pprof/profile?seconds=1", "/debug/flags/v", "/nothing"] {
        assert_eq!(node.page(METRICS, path).code, Some(404), "{path}");
    }
    // A listener for all addresses takes both families, as kube-proxy's does.
    assert_eq!(node.page("[::1]:10256", "/livez").code, Some(200));
    assert_eq!(node.page("[::1]:10256", "/metrics").code, Some(404));
}

#[test]
fn profiles_are_served_when_they_are_wanted() {
    let Some(mut node) = Node::build() else { return };
    let manifests = node.folder.join("manifests").display().to_string();
    let proxy = node.proxy_with(&["--manifests", &manifests, "--profiling"]);
    proxy.await_log(&["IPv6", "in step"]);
    assert!(node.page(METRICS, "/debug/pprof/").body.contains("/debug/pprof/profile"));
    assert!(node.page(METRICS, "/debug/pprof/threads").body.contains("\tagent\t"));
    let profile = node.page(METRICS, "/debug/pprof/profile?seconds=1");
    assert!(profile.code == Some(200) && profile.body.contains("nanoseconds"), "{profile:?}");
    assert_eq!(node.page(METRICS, "/debug/pprof/profile?seconds=x").code, Some(400));
    let put = |body: &str| {
        let length = body.len();
        let text = format!(
            "PUT /debug/flags/v HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        node.request(METRICS, &text).code
    };
    assert_eq!((put("x"), put("4")), (Some(400), Some(200)));
    node.write("service.yaml", &service("web", "{clusterIP: 10.96.0.10, ports: [{port: 80}]}"));
    proxy.await_log(&["DEBUG", "wrote a change"]);
    // A profile that is being taken does not hold up the end.
    std::thread::scope(|scope| {
        scope.spawn(|| node.page(METRICS, "/debug/pprof/profile?seconds=15"));
        std::thread::sleep(std::time::Duration::from_millis(300));
        let begin = std::time::Instant::now();
        proxy.terminate();
        assert!(begin.elapsed() < std::time::Duration::from_secs(10), "{:?}", begin.elapsed());
    });
}

fn connections_are_counted_for_each_service_when_they_are_wanted(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    node.write(
        "service.yaml",
        &service(
            "web",
            "{type: NodePort, clusterIP: 10.96.0.10, ports: [{name: http, port: 80, nodePort: 30080}]}",
        ),
    );
    node.write("slice.yaml", &crate::node::slice("web", &["10.244.1.11"]).replace("name: ''", "name: http"));
    let manifests = node.folder.join("manifests").display().to_string();
    let plain = node.proxy();
    node.await_answers(WEB, &["pod1"]);
    assert!(!node.page(METRICS, "/metrics").body.contains("signalbox_service_connections_total"));
    plain.terminate();
    let proxy = node.proxy_with(&["--manifests", &manifests, "--count-connections"]);
    proxy.await_log(&["IPv6", "in step"]);
    let sample = "signalbox_service_connections_total{namespace=\"shop\",port=\"http\",service=\"web\"}";
    let count = || values(&node.page(METRICS, "/metrics").body).get(sample).copied().unwrap_or(0.0);
    let before = count();
    assert_eq!(node.ask(WEB, 7).len(), 7);
    assert_eq!(node.ask_from("outside", "tcp/192.168.77.11:30080", 3).len(), 3);
    assert_eq!(count() - before, 10.0);
    // Another number of endpoints is another element, with a counter of its own.
    node.write(
        "slice.yaml",
        &crate::node::slice("web", &["10.244.1.11", "10.244.1.12"]).replace("name: ''", "name: http"),
    );
    node.await_answers(WEB, &["pod1", "pod2"]);
    let before = count();
    assert!(before >= 10.0, "a sum never shrinks");
    assert_eq!(node.ask(WEB, 5).len(), 5);
    assert_eq!(count() - before, 5.0);
    // Restarted, it finds its program, and the counters that the kernel kept.
    proxy.terminate();
    let proxy = node.proxy_with(&["--manifests", &manifests, "--count-connections"]);
    proxy.await_log(&["IPv4", "in step", "added=0 removed=0 replaced=0"]);
    assert!(node.page(METRICS, "/metrics").body.contains(sample));
}
