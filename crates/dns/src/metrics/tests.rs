//! Names, types and labels, as a scrape shows them.

use super::*;
use crate::cache::{Kept, Key, response};
use crate::wire::{Query, Type, write_query};

#[test]
fn a_scrape_shows_coredns_names() {
    let metrics = Metrics::default();
    let dns = DnsMetrics::register(&metrics, "1.0");
    let zones = [("dns://:53".to_owned(), ".".to_owned()), ("dns://:53".to_owned(), "b.".to_owned())];
    let client = "10.0.0.1".parse().expect("an address");
    let cores = [dns.queries.core(0, &zones), dns.queries.core(1, &zones), dns.queries.core(0, &zones)];
    for core in &cores {
        core.request(0, (Protocol::Udp, client), (Type::A, 40));
        core.response(0, (Protocol::Udp, Duration::from_millis(1)), (Rcode::NO_ERROR, 512));
    }
    cores[0].request(7, (Protocol::Tcp, client), (Type::A, 40));
    let to = "10.0.0.2:53".parse().expect("an address");
    dns.forward.answered(to, Rcode::NX_DOMAIN, Duration::from_millis(1));
    dns.forward.health_check_failed(to);
    dns.forward.connection(to, "tcp", true);
    dns.forward.connection(to, "tcp", false);
    let cache = Arc::new(Cache::new(crate::config::Cache {
        zones: vec![crate::wire::Name::root()],
        ..Default::default()
    }));
    dns.caches.follow(&cache, "dns://:53", ".");
    fill(&cache);
    let first = metrics.text();
    assert_eq!(metrics.text(), first);
    let shown: Vec<&str> = first
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket") || line.contains("le=\"+Inf\""))
        .collect();
    let wanted = r#"coredns_build_info{goversion="",revision="",version="1.0"} 1
coredns_cache_entries{server="dns://:53",type="denial",view="",zones="."} 0
coredns_cache_entries{server="dns://:53",type="success",view="",zones="."} 1
coredns_cache_evictions_total{server="dns://:53",type="denial",view="",zones="."} 0
coredns_cache_evictions_total{server="dns://:53",type="success",view="",zones="."} 0
coredns_cache_hits_total{server="dns://:53",type="denial",view="",zones="."} 0
coredns_cache_hits_total{server="dns://:53",type="success",view="",zones="."} 1
coredns_cache_misses_total{server="dns://:53",view="",zones="."} 1
coredns_cache_prefetch_total{server="dns://:53",view="",zones="."} 0
coredns_cache_requests_total{server="dns://:53",view="",zones="."} 2
coredns_cache_served_stale_total{server="dns://:53",view="",zones="."} 0
coredns_dns_request_duration_seconds_bucket{server="dns://:53",view="",zone=".",le="+Inf"} 3
coredns_dns_request_duration_seconds_sum{server="dns://:53",view="",zone="."} 0.003
coredns_dns_request_duration_seconds_count{server="dns://:53",view="",zone="."} 3
coredns_dns_request_size_bytes_bucket{proto="udp",server="dns://:53",view="",zone=".",le="+Inf"} 3
coredns_dns_request_size_bytes_sum{proto="udp",server="dns://:53",view="",zone="."} 120
coredns_dns_request_size_bytes_count{proto="udp",server="dns://:53",view="",zone="."} 3
coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="A",view="",zone="."} 3
coredns_dns_response_size_bytes_bucket{proto="udp",server="dns://:53",view="",zone=".",le="+Inf"} 3
coredns_dns_response_size_bytes_sum{proto="udp",server="dns://:53",view="",zone="."} 1536
coredns_dns_response_size_bytes_count{proto="udp",server="dns://:53",view="",zone="."} 3
coredns_dns_responses_total{plugin="",rcode="NOERROR",server="dns://:53",view="",zone="."} 3
coredns_forward_healthcheck_broken_total 0
coredns_forward_max_concurrent_rejects_total 0
coredns_health_request_failures_total 0
coredns_panics_total 0
coredns_proxy_conn_cache_hits_total{proto="tcp",proxy_name="forward",to="10.0.0.2:53"} 1
coredns_proxy_conn_cache_misses_total{proto="tcp",proxy_name="forward",to="10.0.0.2:53"} 1
coredns_proxy_healthcheck_failures_total{proxy_name="forward",to="10.0.0.2:53"} 1
coredns_proxy_request_duration_seconds_bucket{proxy_name="forward",rcode="NXDOMAIN",to="10.0.0.2:53",le="+Inf"} 1
coredns_proxy_request_duration_seconds_sum{proxy_name="forward",rcode="NXDOMAIN",to="10.0.0.2:53"} 0.001
coredns_proxy_request_duration_seconds_count{proxy_name="forward",rcode="NXDOMAIN",to="10.0.0.2:53"} 1
coredns_reload_failed_total 0"#;
    let without_bytes: Vec<&str> = shown.into_iter().filter(|line| !line.starts_with("signalbox")).collect();
    assert_eq!(without_bytes.join("\n"), wanted);
}

fn fill(cache: &Cache) {
    let name = b"\x01a\x03org\x00";
    let mut asked = [0; 300];
    let len = write_query(&mut asked, (1, 0), (name, Type::A), None).expect("it fits");
    let query = Query::read(&asked[..len]).expect("it is one");
    cache.find(&query, Duration::ZERO);
    let response = response(1, ("a.org", Type::A), Rcode::NO_ERROR, "answer a.org A 30 1.2.3.4");
    let kept = Kept::read((name, Type::A), &response).expect("it is read");
    cache.insert(&Key::of(&query), &Arc::new(kept), Duration::ZERO);
    cache.find(&query, Duration::ZERO);
}
