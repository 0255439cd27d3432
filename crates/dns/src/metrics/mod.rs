//! What is counted, by CoreDNS' names, so that its dashboards show this server. Where a name has no meaning here it is
//! missing rather than zero.

mod queries;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use telemetry::{Counter, CounterVec, GaugeVec, HistogramVec, Metrics, exponential_bounds};

pub use queries::{CoreCounts, Protocol, Queries};

use crate::cache::{Cache, Tally};
use crate::wire::Rcode;

/// What CoreDNS calls the one who asks others in `forward`.
const PROXY: &str = "forward";

/// CoreDNS' bounds for times.
fn time_bounds() -> Vec<f64> {
    exponential_bounds(0.00025, 2.0, 16)
}

/// All metrics of the DNS server, made once for the process. Clones are the same.
#[derive(Clone)]
pub struct DnsMetrics {
    /// Queries and their answers.
    pub queries: Arc<Queries>,
    /// What others are asked.
    pub forward: ForwardMetrics,
    /// What is kept of their answers.
    pub caches: CacheMetrics,
    /// What API servers are asked.
    pub api: ApiMetrics,
    /// Tasks that ended by a panic.
    pub panics: Counter,
    /// Files that were wrong when they were read again.
    pub reloads_failed: Counter,
    /// Names that stand in files and in the configuration.
    pub hosts_entries: GaugeVec,
    reload_version: GaugeVec,
    plugins: GaugeVec,
    health_times: HistogramVec,
    health_failures: Counter,
}

impl std::fmt::Debug for DnsMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsMetrics").finish_non_exhaustive()
    }
}

impl DnsMetrics {
    /// Makes them all.
    pub fn register(metrics: &Metrics, version: &str) -> Self {
        let bare = |name: &str, help: &str| metrics.counter(name, help, &[]).with_label_values::<&str>(&[]);
        let build = metrics.gauge(
            "coredns_build_info",
            "Always 1; what was built, by its labels.",
            &["version", "revision", "goversion"],
        );
        build.with_label_values(&[version, "", ""]).set(1.0);
        Self {
            queries: Queries::register(metrics),
            forward: ForwardMetrics::register(metrics),
            caches: CacheMetrics::register(metrics),
            api: ApiMetrics::register(metrics),
            panics: bare("coredns_panics_total", "Panics."),
            reloads_failed: bare("coredns_reload_failed_total", "Changed configurations that were wrong."),
            hosts_entries: metrics.gauge("coredns_hosts_entries", "Names with addresses in hosts.", &[]),
            reload_version: metrics.gauge(
                "coredns_reload_version_info",
                "Always 1; the hash of the configuration in force, by its labels.",
                &["hash", "value"],
            ),
            plugins: metrics.gauge(
                "coredns_plugin_enabled",
                "Always 1; what a server does with queries, by its labels.",
                &["server", "zone", "view", "name"],
            ),
            health_times: metrics.histogram(
                (
                    "coredns_health_request_duration_seconds",
                    "How long this server takes to answer its own /health, in seconds.",
                ),
                &[],
                // From a quarter of a millisecond to 2.5 seconds.
                exponential_bounds(0.00025, 10.0, 5),
            ),
            health_failures: bare(
                "coredns_health_request_failures_total",
                "Times that this server did not answer its own /health.",
            ),
        }
    }

    /// Notes that a configuration, written in one way, is in force from now on.
    pub(crate) fn taken_over(&self, configuration: &str) {
        let hash = ring::digest::digest(&ring::digest::SHA512, configuration.as_bytes());
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.reload_version.reset();
        self.reload_version.with_label_values(&["sha512", &hash]).set(1.0);
        self.plugins.reset();
    }

    /// Notes what a zone's queries meet at a server.
    pub(crate) fn enabled(&self, (server, zone): (&str, &str), plugins: &[&str]) {
        for plugin in plugins {
            self.plugins.with_label_values(&[server, zone, "", plugin]).set(1.0);
        }
    }

    /// Notes how the server did when it asked itself.
    pub(crate) fn checked_itself(&self, time: Duration, is_well: bool) {
        self.health_times.with_label_values::<&str>(&[]).observe(time.as_secs_f64());
        if !is_well {
            self.health_failures.inc();
        }
    }
}

/// What others are asked. Clones are the same.
#[derive(Clone)]
pub struct ForwardMetrics {
    times: HistogramVec,
    checks_failed: CounterVec,
    connections: CounterVec,
    new_connections: CounterVec,
    all_down: Counter,
    rejected: Counter,
}

impl ForwardMetrics {
    fn register(metrics: &Metrics) -> Self {
        let bare = |name: &str, help: &str| metrics.counter(name, help, &[]).with_label_values::<&str>(&[]);
        let protocol = ["proxy_name", "to", "proto"];
        Self {
            times: metrics.histogram(
                (
                    "coredns_proxy_request_duration_seconds",
                    "From a query to another server until its answer, in seconds.",
                ),
                &["proxy_name", "to", "rcode"],
                time_bounds(),
            ),
            checks_failed: metrics.counter(
                "coredns_proxy_healthcheck_failures_total",
                "Times that another server was looked at and did not answer.",
                &["proxy_name", "to"],
            ),
            connections: metrics.counter(
                "coredns_proxy_conn_cache_hits_total",
                "Queries over a connection that was open.",
                &protocol,
            ),
            new_connections: metrics.counter(
                "coredns_proxy_conn_cache_misses_total",
                "Queries that needed a new connection.",
                &protocol,
            ),
            all_down: bare(
                "coredns_forward_healthcheck_broken_total",
                "Queries for which no server seemed alive, so that all were tried.",
            ),
            rejected: bare(
                "coredns_forward_max_concurrent_rejects_total",
                "Queries that were refused because too many were under way.",
            ),
        }
    }

    pub(crate) fn answered(&self, to: SocketAddr, rcode: Rcode, time: Duration) {
        let labels = [PROXY, &to.to_string(), &rcode.to_string()];
        self.times.with_label_values(&labels).observe(time.as_secs_f64());
    }

    pub(crate) fn health_check_failed(&self, to: SocketAddr) {
        self.checks_failed.with_label_values(&[PROXY, &to.to_string()]).inc();
    }

    pub(crate) fn connection(&self, to: SocketAddr, protocol: &str, is_reused: bool) {
        let counters = if is_reused { &self.connections } else { &self.new_connections };
        counters.with_label_values(&[PROXY, &to.to_string(), protocol]).inc();
    }

    pub(crate) fn all_down(&self) {
        self.all_down.inc();
    }

    pub(crate) fn rejected(&self) {
        self.rejected.inc();
    }
}

/// What API servers are asked. Clones are the same.
#[derive(Clone)]
pub struct ApiMetrics {
    requests: CounterVec,
    times: HistogramVec,
}

impl ApiMetrics {
    fn register(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counter(
                "coredns_kubernetes_rest_client_requests_total",
                "Requests to API servers.",
                &["code", "method", "host"],
            ),
            times: metrics.histogram(
                (
                    "coredns_kubernetes_rest_client_request_duration_seconds",
                    "From a request to an API server until its answer begins, in seconds.",
                ),
                &["verb", "host"],
                vec![0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0],
            ),
        }
    }

    /// Answers what counts the requests to a server, which is given by its URL.
    pub(crate) fn observer(&self, server: &str) -> watch::client::Observer {
        let host = server.split_once("://").map_or(server, |(_, host)| host);
        let (host, counted) = (host.trim_end_matches('/').to_owned(), self.clone());
        Arc::new(move |method, code, time| {
            let code = code.map_or_else(|| "<error>".to_owned(), |code| code.to_string());
            counted.requests.with_label_values(&[&code, method.as_str(), &host]).inc();
            counted.times.with_label_values(&[method.as_str(), &host]).observe(time.as_secs_f64());
        })
    }
}

/// What caches did. Clones are the same.
#[derive(Clone)]
pub struct CacheMetrics {
    followed: Arc<Mutex<Vec<Followed>>>,
}

/// A cache, its labels, and what was counted of it so far.
struct Followed {
    cache: Weak<Cache>,
    labels: [String; 2],
    counted: Tally,
}

struct CacheCounters {
    entries: GaugeVec,
    hits: CounterVec,
    misses: CounterVec,
    requests: CounterVec,
    prefetches: CounterVec,
    stale: CounterVec,
    evictions: CounterVec,
    bytes: GaugeVec,
}

impl CacheMetrics {
    fn register(metrics: &Metrics) -> Self {
        let of_server = ["server", "zones", "view"];
        let of_type = ["server", "type", "zones", "view"];
        let counter = |name: &str, help: &str, labels: &[&str]| metrics.counter(name, help, labels);
        let counters = CacheCounters {
            entries: metrics.gauge("coredns_cache_entries", "Answers that are kept.", &of_type),
            hits: counter("coredns_cache_hits_total", "Queries that a kept answer was given to.", &of_type),
            misses: counter("coredns_cache_misses_total", "Queries without a kept answer.", &of_server),
            requests: counter(
                "coredns_cache_requests_total",
                "Queries that could have had a kept answer.",
                &of_server,
            ),
            prefetches: counter(
                "coredns_cache_prefetch_total",
                "Answers asked for again before their end.",
                &of_server,
            ),
            stale: counter("coredns_cache_served_stale_total", "Answers given after their end.", &of_server),
            evictions: counter(
                "coredns_cache_evictions_total",
                "Answers that had to go for others.",
                &of_type,
            ),
            bytes: metrics.gauge(
                "signalbox_dns_cache_bytes",
                "Memory of kept answers, in bytes.",
                &of_server,
            ),
        };
        let followed: Arc<Mutex<Vec<Followed>>> = Arc::default();
        let caches = followed.clone();
        metrics.before_scrape(move || {
            caches
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain_mut(|followed| counters.count(followed));
        });
        Self { followed }
    }

    /// Counts what a cache does from now on, until it is no more.
    pub fn follow(&self, cache: &Arc<Cache>, server: &str, zones: &str) {
        let labels = [server.to_owned(), zones.to_owned()];
        let followed = Followed { cache: Arc::downgrade(cache), labels, counted: Tally::default() };
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).push(followed);
    }
}

impl CacheCounters {
    /// Answers whether the cache is there still.
    fn count(&self, followed: &mut Followed) -> bool {
        let Some(cache) = followed.cache.upgrade() else { return false };
        let (now, before) = (cache.tally(), followed.counted);
        let [server, zones] = [followed.labels[0].as_str(), followed.labels[1].as_str()];
        let add = |counters: &CounterVec, (now, before): (u64, u64)| {
            counters.with_label_values(&[server, zones, ""]).inc_by((now - before) as f64);
        };
        let hits = |tally: Tally| tally.hits_success + tally.hits_denial;
        add(&self.misses, (now.misses, before.misses));
        add(&self.requests, (now.misses + hits(now), before.misses + hits(before)));
        add(&self.prefetches, (now.prefetches, before.prefetches));
        add(&self.stale, (now.stale, before.stale));
        self.bytes.with_label_values(&[server, zones, ""]).set(now.bytes as f64);
        let kinds = [
            ("success", now.hits_success - before.hits_success),
            ("denial", now.hits_denial - before.hits_denial),
        ];
        for (at, (kind, hits)) in kinds.into_iter().enumerate() {
            let labels = [server, kind, zones, ""];
            self.hits.with_label_values(&labels).inc_by(hits as f64);
            self.evictions
                .with_label_values(&labels)
                .inc_by((now.evictions[at] - before.evictions[at]) as f64);
            self.entries.with_label_values(&labels).set(now.entries[at] as f64);
        }
        followed.counted = now;
        true
    }
}

#[cfg(test)]
mod tests;
