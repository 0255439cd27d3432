//! What the agent counts and times: kube-proxy's metrics of the mode by their names, and a few of our own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backend::RuleCount;
use config::Mode;
use model::{Family, Route, ServiceView, TrafficPolicy};
use telemetry::{Counter, Gauge, Histogram, Metrics, exponential_bounds};

/// The label that tells the families apart.
const FAMILY: &[&str] = &["ip_family"];

/// Changes of objects, whatever the family.
pub(crate) struct ChangeMetrics {
    services: Changes,
    endpoints: Changes,
    lag: Histogram,
}

struct Changes {
    total: Counter,
    pending: Gauge,
}

impl ChangeMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let make = |what: &str, help: &str| Changes {
            total: metrics
                .counter(
                    &format!("kubeproxy_sync_proxy_rules_{what}_changes_total"),
                    &format!("{help} since the start."),
                    &[],
                )
                .with_label_values::<&str>(&[]),
            pending: metrics
                .gauge(
                    &format!("kubeproxy_sync_proxy_rules_{what}_changes_pending"),
                    &format!("{help} that no sync has taken yet."),
                    &[],
                )
                .with_label_values::<&str>(&[]),
        };
        Self {
            services: make("service", "Changes of Services"),
            endpoints: make("endpoint", "Changes of EndpointSlices"),
            lag: metrics
                .histogram(
                    (
                        "signalbox_watch_lag_seconds",
                        "From the change of a pod or Service, by the word of its EndpointSlice, until it arrives here, in seconds.",
                    ),
                    &[],
                    exponential_bounds(0.001, 2.0, 18),
                )
                .with_label_values::<&str>(&[]),
        }
    }

    pub(crate) fn count(&self, kind: objects::Kind) {
        let changes = match kind {
            objects::Kind::Service => &self.services,
            objects::Kind::EndpointSlice => &self.endpoints,
            objects::Kind::Node | objects::Kind::ServiceCidr => return,
        };
        changes.total.inc();
        changes.pending.inc();
    }

    /// Something arrived that happened then, in milliseconds since 1970.
    pub(crate) fn arrived(&self, changed_at: u64, now: SystemTime) {
        self.lag.observe((seconds(now) - changed_at as f64 / 1000.0).max(0.0));
    }

    pub(crate) fn nothing_is_pending(&self) {
        self.services.pending.set(0.0);
        self.endpoints.pending.set(0.0);
    }
}

/// The metrics of all families, before they are told apart.
pub(crate) struct PlaneMetricsOfAll {
    duration: telemetry::HistogramVec,
    full: telemetry::HistogramVec,
    partial: telemetry::HistogramVec,
    synced: telemetry::GaugeVec,
    queued: telemetry::GaugeVec,
    programming: telemetry::HistogramVec,
    of_mode: ModeMetricsOfAll,
    no_local: telemetry::GaugeVec,
    items: telemetry::GaugeVec,
    refused: telemetry::GaugeVec,
    delay: telemetry::HistogramVec,
}

/// The metrics of one family.
pub(crate) struct PlaneMetrics {
    duration: Histogram,
    full: Histogram,
    partial: Histogram,
    synced: Gauge,
    queued: Gauge,
    programming: Histogram,
    of_mode: ModeMetrics,
    no_local_internal: Gauge,
    no_local_external: Gauge,
    items: Gauge,
    refused: Gauge,
    delay: Histogram,
}

/// What kube-proxy has in one mode only.
enum ModeMetricsOfAll {
    Nftables {
        all: telemetry::CounterVec,
        cleanup: telemetry::CounterVec,
    },
    Iptables {
        all: telemetry::CounterVec,
        partial: telemetry::CounterVec,
        held: telemetry::GaugeVec,
        written: telemetry::GaugeVec,
    },
}

/// The same of one family.
enum ModeMetrics {
    Nftables {
        all: Counter,
    },
    Iptables {
        all: Counter,
        partial: Counter,
        family: String,
        held: telemetry::GaugeVec,
        written: telemetry::GaugeVec,
    },
}

/// How far a pass over the kernel went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everything was compared with what the kernel holds.
    Full,
    /// Only what changed was written.
    Partial,
}

impl PlaneMetricsOfAll {
    pub(crate) fn register(metrics: &Metrics, mode: Mode) -> Self {
        let histogram =
            |name: &str, help: &str, bounds: Vec<f64>| metrics.histogram((name, help), FAMILY, bounds);
        let gauge = |name: &str, help: &str| metrics.gauge(name, help, FAMILY);
        let millis = || exponential_bounds(0.001, 2.0, 15);
        Self {
            duration: histogram(
                "kubeproxy_sync_proxy_rules_duration_seconds",
                "How long a sync of the kernel took, in seconds.",
                millis(),
            ),
            full: histogram(
                "kubeproxy_sync_full_proxy_rules_duration_seconds",
                "How long a sync took that compared everything with the kernel, in seconds.",
                millis(),
            ),
            partial: histogram(
                "kubeproxy_sync_partial_proxy_rules_duration_seconds",
                "How long a sync took that wrote only what changed, in seconds.",
                millis(),
            ),
            synced: gauge(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "When the kernel was last brought in step, in seconds since 1970.",
            ),
            queued: gauge(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                "When a sync was last asked for, in seconds since 1970.",
            ),
            programming: histogram(
                "kubeproxy_network_programming_duration_seconds",
                "From the change of a pod or Service, by the word of its EndpointSlice, until the kernel has it, in seconds.",
                programming_bounds(),
            ),
            of_mode: ModeMetricsOfAll::register(metrics, mode),
            no_local: metrics.gauge(
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                "Ports of Services with the traffic policy Local and endpoints, but none on this node.",
                &["ip_family", "traffic_policy"],
            ),
            items: gauge(
                "signalbox_items",
                "Items of ours in the kernel: elements, chains with their rules, maps and sets.",
            ),
            refused: gauge("signalbox_refused_services", "Services whose last change the kernel refused."),
            delay: histogram(
                "signalbox_change_delay_seconds",
                "From a change's arrival at this process until the kernel has it, in seconds.",
                exponential_bounds(0.0001, 2.0, 20),
            ),
        }
    }

    pub(crate) fn of(&self, family: Family) -> PlaneMetrics {
        let family = family.to_string();
        let labels = [family.as_str()];
        let no_local = |policy: &str| self.no_local.with_label_values(&[family.as_str(), policy]);
        PlaneMetrics {
            duration: self.duration.with_label_values(&labels),
            full: self.full.with_label_values(&labels),
            partial: self.partial.with_label_values(&labels),
            synced: self.synced.with_label_values(&labels),
            queued: self.queued.with_label_values(&labels),
            programming: self.programming.with_label_values(&labels),
            of_mode: self.of_mode.of(&family),
            no_local_internal: no_local("internal"),
            no_local_external: no_local("external"),
            items: self.items.with_label_values(&labels),
            refused: self.refused.with_label_values(&labels),
            delay: self.delay.with_label_values(&labels),
        }
    }
}

impl ModeMetricsOfAll {
    fn register(metrics: &Metrics, mode: Mode) -> Self {
        let counter = |name: &str, help: &str| {
            metrics.counter(&format!("kubeproxy_sync_proxy_rules_{name}"), help, FAMILY)
        };
        let rules = |name: &str, help: &str| {
            metrics.gauge(&format!("kubeproxy_sync_proxy_rules_{name}"), help, &["ip_family", "table"])
        };
        match mode {
            Mode::Iptables => Self::Iptables {
                all: counter("iptables_restore_failures_total", "Syncs that failed."),
                partial: counter(
                    "iptables_partial_restore_failures_total",
                    "Syncs that failed and were to write only what changed.",
                ),
                held: rules("iptables_total", "Rules of ours in a table."),
                written: rules("iptables_last", "Rules that the last sync wrote to a table."),
            },
            Mode::Nftables | Mode::Ipvs => Self::Nftables {
                all: counter("nftables_sync_failures_total", "Syncs that failed."),
                cleanup: counter(
                    "nftables_cleanup_failures_total",
                    "Failures to remove what is not needed any more; stays 0, because that is part of the sync.",
                ),
            },
        }
    }

    fn of(&self, family: &str) -> ModeMetrics {
        match self {
            Self::Nftables { all, cleanup } => {
                cleanup.with_label_values(&[family]);
                ModeMetrics::Nftables { all: all.with_label_values(&[family]) }
            }
            Self::Iptables { all, partial, held, written } => ModeMetrics::Iptables {
                all: all.with_label_values(&[family]),
                partial: partial.with_label_values(&[family]),
                family: family.to_owned(),
                held: held.clone(),
                written: written.clone(),
            },
        }
    }
}

impl PlaneMetrics {
    pub(crate) fn queued(&self, now: SystemTime) {
        self.queued.set(seconds(now));
    }

    pub(crate) fn synced(&self, took: Duration, reach: Reach, now: SystemTime) {
        self.duration.observe(took.as_secs_f64());
        match reach {
            Reach::Full => self.full.observe(took.as_secs_f64()),
            Reach::Partial => self.partial.observe(took.as_secs_f64()),
        }
        self.synced.set(seconds(now));
    }

    pub(crate) fn failed(&self, reach: Reach) {
        match &self.of_mode {
            ModeMetrics::Nftables { all } => all.inc(),
            ModeMetrics::Iptables { all, partial, .. } => {
                all.inc();
                if reach == Reach::Partial {
                    partial.inc();
                }
            }
        }
    }

    pub(crate) fn holds(&self, items: usize, refused: usize, rules: &[RuleCount]) {
        self.items.set(items as f64);
        self.refused.set(refused as f64);
        if let ModeMetrics::Iptables { family, held, written, .. } = &self.of_mode {
            for count in rules {
                let labels = [family.as_str(), count.table];
                held.with_label_values(&labels).set(count.held as f64);
                written.with_label_values(&labels).set(count.written as f64);
            }
        }
    }

    pub(crate) fn delayed(&self, delay: Duration) {
        self.delay.observe(delay.as_secs_f64());
    }

    /// From then, in milliseconds since 1970, until now.
    pub(crate) fn programmed(&self, changed_at: u64, now: SystemTime) {
        self.programming.observe((seconds(now) - changed_at as f64 / 1000.0).max(0.0));
    }

    pub(crate) fn no_local(&self, ports: NoLocal) {
        self.no_local_internal.set(f64::from(ports.internal));
        self.no_local_external.set(f64::from(ports.external));
    }
}

/// How many ports are dropped on this node because their endpoints are on others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NoLocal {
    pub(crate) internal: u32,
    pub(crate) external: u32,
}

impl NoLocal {
    pub(crate) fn of(view: &ServiceView) -> Self {
        let mut found = Self::default();
        for port in &view.ports {
            found.internal += u32::from(port.internal == Route::Drop);
            let is_local = port.external_policy == TrafficPolicy::Local;
            found.external += u32::from(is_local && port.external == Route::Drop);
        }
        found
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Nothing (which kube-proxy has, too), a quarter and a half second, each second to a minute, each five to two minutes, each thirty to five.
fn programming_bounds() -> Vec<f64> {
    let to_a_minute = (1..=59).map(f64::from);
    let to_two_minutes = (60..=115).step_by(5).map(f64::from);
    let to_five_minutes = (120..=300).step_by(30).map(f64::from);
    [0.0, 0.25, 0.5].into_iter().chain(to_a_minute).chain(to_two_minutes).chain(to_five_minutes).collect()
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
