//! What a configuration means, checked.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use desired::{DetectLocal, NodePortAddresses, Options};
use model::Manners;

/// Everything the node agent is told. Made by [`Settings::new`](crate::Settings::new).
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// This node's name, in lower case.
    pub node_name: String,
    /// `None`: no file.
    pub kubeconfig: Option<PathBuf>,
    /// This node's primary addresses, where the Node object shall not decide; at most one of each family.
    pub bind_addresses: Vec<IpAddr>,
    /// Where `/healthz` and `/livez` are served; `None`: nowhere.
    pub healthz_bind_address: Option<SocketAddr>,
    /// Where `/metrics` and its like are served; `None`: nowhere.
    pub metrics_bind_address: Option<SocketAddr>,
    /// Whether a port that cannot be served ends the process.
    pub bind_address_hard_fail: bool,
    /// Whether profiles are served.
    pub enable_profiling: bool,
    /// How the kernel is programmed.
    pub mode: Mode,
    /// How traffic of pods is recognised.
    pub detect_local: DetectLocal,
    /// Whether all traffic to ClusterIPs is masqueraded.
    pub masquerade_all: bool,
    /// The bit of the packet mark that says "masquerade this", 0 to 31.
    pub masquerade_bit: u8,
    /// Where NodePorts answer.
    pub node_port_addresses: NodePortAddresses,
    /// Whether NodePorts answer on 127.0.0.0/8, in iptables mode.
    pub localhost_node_ports: bool,
    /// A change that has waited twice as long is a failure.
    pub sync_period: Duration,
    /// No change waits longer than this for the pace alone.
    pub min_sync_period: Duration,
    /// Settings of the kernel.
    pub kernel: KernelSettings,
    /// What is logged.
    pub log: LogSettings,
}

/// How the kernel is programmed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Maps in a table of our own, over netlink.
    #[default]
    Nftables,
    /// Rules of iptables.
    Iptables,
    /// The kernel's IP virtual servers.
    Ipvs,
}

impl Mode {
    /// Answers its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::Ipvs => "ipvs",
        }
    }
}

/// What the operator wants of the kernel. 0 leaves a setting as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelSettings {
    /// Tracked connections for each CPU.
    pub conntrack_max_per_core: u32,
    /// Tracked connections at least.
    pub conntrack_min: u32,
    /// How long an idle TCP connection is remembered.
    pub tcp_established_timeout: Duration,
    /// How long a TCP connection that was closed on one side is.
    pub tcp_close_wait_timeout: Duration,
    /// Whether TCP packets outside of the window still belong to their connection.
    pub tcp_be_liberal: bool,
    /// How long a UDP flow without an answer is remembered.
    pub udp_timeout: Duration,
    /// How long one with answers is.
    pub udp_stream_timeout: Duration,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: i16,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// The shape of a line.
    pub format: LogFormat,
    /// 0 state changes, 2 reasons, 5 everything.
    pub verbosity: u8,
}

/// The shape of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

impl Settings {
    fn manners(&self) -> Manners {
        match self.mode {
            Mode::Iptables => Manners {
                guards_service_addresses: false,
                localhost_node_ports: self.localhost_node_ports,
                drops_invalid: !self.kernel.tcp_be_liberal,
            },
            Mode::Nftables | Mode::Ipvs => Manners::default(),
        }
    }

    /// Answers what decides about traffic.
    pub fn options(&self) -> Options {
        Options {
            node_name: self.node_name.as_str().into(),
            node_addresses: self.bind_addresses.clone(),
            fallback_addresses: Vec::new(),
            detect_local: self.detect_local.clone(),
            masquerade_all: self.masquerade_all,
            masquerade_bit: self.masquerade_bit,
            node_port_addresses: self.node_port_addresses.clone(),
            manners: self.manners(),
        }
    }
}
