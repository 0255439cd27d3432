//! `KubeProxyConfiguration` of `kubeproxy.config.k8s.io/v1alpha1`, as written: nothing in it has been checked.
//!
//! Fields and defaults are those of kube-proxy 1.36 on Linux.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The version that is read and written.
pub(crate) const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// The kind that is read and written.
pub(crate) const KIND: &str = "KubeProxyConfiguration";
/// The port of `/healthz`.
pub(crate) const HEALTH_PORT: u16 = 10_256;
/// The port of `/metrics`.
pub(crate) const METRICS_PORT: u16 = 10_249;

/// Everything that kube-proxy can be told. Numbers are wide, durations and addresses are texts, so that whatever stands
/// in a file can be held until it is checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Configuration {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) bind_address: String,
    pub(crate) bind_address_hard_fail: bool,
    pub(crate) client_connection: ClientConnection,
    #[serde(rename = "clusterCIDR")]
    pub(crate) cluster_cidr: String,
    pub(crate) config_sync_period: String,
    pub(crate) conntrack: Conntrack,
    pub(crate) detect_local: DetectLocal,
    pub(crate) detect_local_mode: String,
    pub(crate) enable_profiling: bool,
    pub(crate) feature_gates: BTreeMap<String, bool>,
    pub(crate) healthz_bind_address: String,
    pub(crate) hostname_override: String,
    pub(crate) iptables: Iptables,
    pub(crate) ipvs: Ipvs,
    pub(crate) logging: Logging,
    pub(crate) metrics_bind_address: String,
    pub(crate) mode: String,
    pub(crate) nftables: Nftables,
    pub(crate) node_port_addresses: Vec<String>,
    pub(crate) oom_score_adj: i64,
    pub(crate) port_range: String,
    pub(crate) show_hidden_metrics_for_version: String,
    pub(crate) windows_run_as_service: bool,
    pub(crate) winkernel: Winkernel,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClientConnection {
    pub(crate) accept_content_types: String,
    pub(crate) burst: i64,
    pub(crate) content_type: String,
    pub(crate) kubeconfig: String,
    pub(crate) qps: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Conntrack {
    pub(crate) max_per_core: i64,
    pub(crate) min: i64,
    pub(crate) tcp_be_liberal: bool,
    pub(crate) tcp_close_wait_timeout: String,
    pub(crate) tcp_established_timeout: String,
    pub(crate) udp_stream_timeout: String,
    pub(crate) udp_timeout: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DetectLocal {
    pub(crate) bridge_interface: String,
    pub(crate) interface_name_prefix: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Iptables {
    pub(crate) localhost_node_ports: bool,
    pub(crate) masquerade_all: bool,
    pub(crate) masquerade_bit: i64,
    pub(crate) min_sync_period: String,
    pub(crate) sync_period: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Ipvs {
    #[serde(rename = "excludeCIDRs")]
    pub(crate) exclude_cidrs: Vec<String>,
    pub(crate) min_sync_period: String,
    pub(crate) scheduler: String,
    #[serde(rename = "strictARP")]
    pub(crate) strict_arp: bool,
    pub(crate) sync_period: String,
    pub(crate) tcp_fin_timeout: String,
    pub(crate) tcp_timeout: String,
    pub(crate) udp_timeout: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Logging {
    /// Nanoseconds as a number, or a duration as a text.
    pub(crate) flush_frequency: Value,
    pub(crate) format: String,
    /// Of each format; Kubernetes' own, none means anything here.
    pub(crate) options: Map<String, Value>,
    pub(crate) verbosity: i64,
    /// Levels by name pattern of Go's source files; none means anything here.
    pub(crate) vmodule: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Nftables {
    pub(crate) masquerade_all: bool,
    pub(crate) masquerade_bit: i64,
    pub(crate) min_sync_period: String,
    pub(crate) sync_period: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Winkernel {
    #[serde(rename = "enableDSR")]
    pub(crate) enable_dsr: bool,
    pub(crate) forward_health_check_vip: bool,
    pub(crate) network_name: String,
    pub(crate) root_hns_endpoint_name: String,
    pub(crate) source_vip: String,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            bind_address: "0.0.0.0".to_owned(),
            bind_address_hard_fail: false,
            client_connection: ClientConnection::default(),
            cluster_cidr: String::new(),
            config_sync_period: "15m0s".to_owned(),
            conntrack: Conntrack::default(),
            detect_local: DetectLocal::default(),
            detect_local_mode: "ClusterCIDR".to_owned(),
            enable_profiling: false,
            feature_gates: BTreeMap::new(),
            healthz_bind_address: format!("0.0.0.0:{HEALTH_PORT}"),
            hostname_override: String::new(),
            iptables: Iptables::default(),
            ipvs: Ipvs::default(),
            logging: Logging::default(),
            metrics_bind_address: format!("127.0.0.1:{METRICS_PORT}"),
            mode: String::new(),
            nftables: Nftables::default(),
            node_port_addresses: Vec::new(),
            oom_score_adj: -999,
            port_range: String::new(),
            show_hidden_metrics_for_version: String::new(),
            windows_run_as_service: false,
            winkernel: Winkernel::default(),
        }
    }
}

impl Default for ClientConnection {
    fn default() -> Self {
        Self {
            accept_content_types: String::new(),
            burst: 10,
            content_type: "application/vnd.kubernetes.protobuf".to_owned(),
            kubeconfig: String::new(),
            qps: 5.0,
        }
    }
}

impl Default for Conntrack {
    fn default() -> Self {
        Self {
            max_per_core: 32_768,
            min: 131_072,
            tcp_be_liberal: false,
            tcp_close_wait_timeout: "1h0m0s".to_owned(),
            tcp_established_timeout: "24h0m0s".to_owned(),
            udp_stream_timeout: "0s".to_owned(),
            udp_timeout: "0s".to_owned(),
        }
    }
}

impl Default for Iptables {
    fn default() -> Self {
        Self {
            localhost_node_ports: true,
            masquerade_all: false,
            masquerade_bit: 14,
            min_sync_period: "1s".to_owned(),
            sync_period: "30s".to_owned(),
        }
    }
}

impl Default for Ipvs {
    fn default() -> Self {
        Self {
            exclude_cidrs: Vec::new(),
            min_sync_period: "0s".to_owned(),
            scheduler: String::new(),
            strict_arp: false,
            sync_period: "30s".to_owned(),
            tcp_fin_timeout: "0s".to_owned(),
            tcp_timeout: "0s".to_owned(),
            udp_timeout: "0s".to_owned(),
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            flush_frequency: "5s".into(),
            format: "text".to_owned(),
            options: Map::new(),
            verbosity: 0,
            vmodule: Vec::new(),
        }
    }
}

impl Default for Nftables {
    fn default() -> Self {
        Self {
            masquerade_all: false,
            masquerade_bit: 14,
            min_sync_period: "1s".to_owned(),
            sync_period: "30s".to_owned(),
        }
    }
}

impl Configuration {
    /// Answers it as JSON, as `/configz` shows it.
    pub fn json(&self) -> Value {
        serde_json::to_value(self).expect("texts, numbers and maps with text keys are JSON")
    }

    /// Answers whether the choice of the mode is left to the program.
    pub fn leaves_mode_open(&self) -> bool {
        self.mode.is_empty()
    }

    /// In a file, nothing and zero mean the default, where kube-proxy has it so.
    pub(crate) fn with_defaults(mut self) -> Self {
        let usual = Self::default();
        let or = |text: &mut String, usual: &str| {
            if text.is_empty() {
                usual.clone_into(text);
            }
        };
        or(&mut self.bind_address, &usual.bind_address);
        let (health, metrics) = default_addresses(&self.bind_address);
        or(&mut self.healthz_bind_address, &health);
        or(&mut self.metrics_bind_address, &metrics);
        or(&mut self.detect_local_mode, &usual.detect_local_mode);
        or(&mut self.logging.format, &usual.logging.format);
        or(&mut self.client_connection.content_type, &usual.client_connection.content_type);
        if self.client_connection.qps == 0.0 {
            self.client_connection.qps = usual.client_connection.qps;
        }
        if self.client_connection.burst == 0 {
            self.client_connection.burst = usual.client_connection.burst;
        }
        let or = |period: &mut String, usual: &str| {
            if is_zero(period) {
                usual.clone_into(period);
            }
        };
        or(&mut self.config_sync_period, &usual.config_sync_period);
        or(&mut self.iptables.sync_period, &usual.iptables.sync_period);
        or(&mut self.iptables.min_sync_period, &usual.iptables.min_sync_period);
        or(&mut self.ipvs.sync_period, &usual.ipvs.sync_period);
        or(&mut self.nftables.sync_period, &usual.nftables.sync_period);
        or(&mut self.nftables.min_sync_period, &usual.nftables.min_sync_period);
        if self.logging.flush_frequency == 0 || self.logging.flush_frequency.as_str().is_some_and(is_zero) {
            self.logging.flush_frequency = usual.logging.flush_frequency;
        }
        self
    }
}

/// Where the two ports are served unless something else is said: IPv6 for a node that is bound to IPv6.
pub(crate) fn default_addresses(bind_address: &str) -> (String, String) {
    if bind_address.contains(':') && !bind_address.contains('.') {
        return (format!("[::]:{HEALTH_PORT}"), format!("[::1]:{METRICS_PORT}"));
    }
    (format!("0.0.0.0:{HEALTH_PORT}"), format!("127.0.0.1:{METRICS_PORT}"))
}

fn is_zero(text: &str) -> bool {
    text.is_empty() || crate::duration::parse(text).is_ok_and(|period| period.is_zero())
}
