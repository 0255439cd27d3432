//! The flags of `signalbox proxy`, as typed, and their validation: every mistake is listed at once.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use agent::KernelSettings;
use clap::{Args, ValueEnum};
use desired::{DetectLocal, NodePortAddresses, Options};
use model::{Family, IpNet};

use crate::duration::duration;

/// The flags of `signalbox proxy`. Names, meanings and defaults are kube-proxy's where it has them.
#[derive(Debug, Args)]
pub(crate) struct ProxyFlags {
    /// Read kube-proxy's configuration file; flags beside it mean nothing, but for --hostname-override, --master,
    /// --manifests and -v
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Read Services and EndpointSlices from the API server of this kubeconfig file
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Address of the API server, overriding the one in the kubeconfig
    #[arg(long, value_name = "URL", conflicts_with = "manifests")]
    pub(crate) master: Option<String>,
    /// Read the same objects from the YAML and JSON files of this directory and follow them: no API server needed
    #[arg(long, value_name = "DIR")]
    pub(crate) manifests: Option<PathBuf>,
    /// This node's name [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname_override: Option<String>,
    /// This node's primary address per family, where the Node object should not decide (may be repeated)
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub(crate) bind_address: Vec<IpAddr>,
    /// How the kernel is programmed
    #[arg(long, value_enum, default_value_t = Mode::Nftables)]
    pub(crate) proxy_mode: Mode,
    /// The pods' address range, at most one of each family; other sources are masqueraded at ClusterIPs
    #[arg(long, value_name = "CIDR[,CIDR]", default_value = "")]
    pub(crate) cluster_cidr: String,
    /// How traffic of pods is recognised
    #[arg(long, value_enum, default_value_t = DetectLocalMode::ClusterCidr)]
    pub(crate) detect_local_mode: DetectLocalMode,
    /// The pods' bridge, for the mode BridgeInterface
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) pod_bridge_interface: String,
    /// How the names of the pods' interfaces begin, for the mode InterfaceNamePrefix
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub(crate) pod_interface_name_prefix: String,
    /// Masquerade all traffic to ClusterIPs, that of pods too
    #[arg(long)]
    pub(crate) masquerade_all: bool,
    /// The bit of the packet mark that says "masquerade this", 0 to 31
    #[arg(long, value_name = "BIT", default_value_t = 14)]
    pub(crate) masquerade_bit: u8,
    /// Where NodePorts answer: `primary`, or ranges of local addresses
    #[arg(long, value_name = "primary|CIDR[,CIDR]", default_value = "primary")]
    pub(crate) nodeport_addresses: String,
    /// Where /healthz and /livez are served; empty: nowhere
    #[arg(long, value_name = "IP[:PORT]", default_value = "0.0.0.0:10256", value_parser = health_address)]
    pub(crate) healthz_bind_address: Address,
    /// Where /proxyMode is served; empty: nowhere
    #[arg(long, value_name = "IP[:PORT]", default_value = "127.0.0.1:10249", value_parser = status_address)]
    pub(crate) metrics_bind_address: Address,
    #[command(flatten)]
    pub(crate) settings: SettingsFlags,
    /// How much to log: 0 state changes, 2 reasons, 5 everything
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0)]
    pub(crate) verbosity: u8,
}

/// The flags of a command line without any.
pub(crate) fn defaults() -> ProxyFlags {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        flags: ProxyFlags,
    }
    let line = <Line as clap::Parser>::try_parse_from(["proxy"]);
    line.expect("no flag is required").flags
}

/// The kernel settings; 0 leaves one as it is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kernel settings (0 leaves one as it is)")]
pub(crate) struct SettingsFlags {
    /// Tracked connections for each CPU
    #[arg(long, value_name = "COUNT", default_value_t = 32_768)]
    pub(crate) conntrack_max_per_core: u32,
    /// Tracked connections at least
    #[arg(long, value_name = "COUNT", default_value_t = 131_072)]
    pub(crate) conntrack_min: u32,
    /// How long an idle TCP connection is remembered
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub(crate) conntrack_tcp_timeout_established: Duration,
    /// How long a TCP connection that was closed on one side is remembered
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(crate) conntrack_tcp_timeout_close_wait: Duration,
    /// Let TCP packets outside of the window belong to their connection
    #[arg(long)]
    pub(crate) conntrack_tcp_be_liberal: bool,
    /// How long a UDP flow without an answer is remembered
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(crate) conntrack_udp_timeout: Duration,
    /// How long a UDP flow with answers is remembered
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(crate) conntrack_udp_timeout_stream: Duration,
    /// This process's own oom_score_adj, -1000 to 1000
    #[arg(long, value_name = "SCORE", default_value_t = -999, allow_hyphen_values = true,
          value_parser = clap::value_parser!(i16).range(-1000..=1000))]
    pub(crate) oom_score_adj: i16,
}

impl SettingsFlags {
    /// Answers them in the agent's words.
    pub(crate) fn settings(&self) -> KernelSettings {
        KernelSettings {
            conntrack_max_per_core: self.conntrack_max_per_core,
            conntrack_min: self.conntrack_min,
            tcp_established_timeout: self.conntrack_tcp_timeout_established,
            tcp_close_wait_timeout: self.conntrack_tcp_timeout_close_wait,
            tcp_be_liberal: self.conntrack_tcp_be_liberal,
            udp_timeout: self.conntrack_udp_timeout,
            udp_stream_timeout: self.conntrack_udp_timeout_stream,
            oom_score_adj: self.oom_score_adj,
        }
    }
}

/// Where a port is served; `None`: nowhere. (Named, because clap takes an `Option` for a flag that may be missing.)
pub(crate) type Address = std::option::Option<SocketAddr>;

/// Reads the address for `/healthz`.
pub(crate) fn health_address(text: &str) -> Result<Address, String> {
    address(text, 10_256)
}

/// Reads the address for `/proxyMode`.
pub(crate) fn status_address(text: &str) -> Result<Address, String> {
    address(text, 10_249)
}

fn address(text: &str, port: u16) -> Result<Address, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let alone = || text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    let address = text.parse().or_else(|_| alone());
    address.map(Some).map_err(|_| format!("`{text}` is no address such as 0.0.0.0:{port}"))
}

/// How the kernel is programmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Hash maps in a table of our own, over netlink
    Nftables,
}

/// How traffic of pods is told from other traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DetectLocalMode {
    /// By source address, inside --cluster-cidr
    #[value(name = "ClusterCIDR")]
    ClusterCidr,
    /// By source address, inside this Node's podCIDRs
    #[value(name = "NodeCIDR")]
    NodeCidr,
    /// By arrival through --pod-bridge-interface
    #[value(name = "BridgeInterface")]
    BridgeInterface,
    /// By arrival through an interface named --pod-interface-name-prefix...
    #[value(name = "InterfaceNamePrefix")]
    InterfaceNamePrefix,
}

/// Turns flags into options, or lists everything that is wrong with them, flag first.
pub(crate) fn options(flags: &ProxyFlags, host_name: &str) -> Result<Options, Vec<String>> {
    let mut mistakes = Vec::new();
    let detect_local = detect_local(flags, &mut mistakes);
    let node_port_addresses = node_port_addresses(&flags.nodeport_addresses, &mut mistakes);
    let node_name = node_name(flags.hostname_override.as_deref(), host_name, &mut mistakes);
    let node_addresses = one_per_family(&flags.bind_address, &mut mistakes);
    if flags.masquerade_bit > 31 {
        mistakes
            .push(format!("--masquerade-bit: {} is not a bit of the mark, 0 to 31", flags.masquerade_bit));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Options {
        node_name: node_name.into(),
        node_addresses,
        fallback_addresses: Vec::new(),
        detect_local,
        masquerade_all: flags.masquerade_all,
        masquerade_bit: flags.masquerade_bit,
        node_port_addresses,
    })
}

fn detect_local(flags: &ProxyFlags, mistakes: &mut Vec<String>) -> DetectLocal {
    match flags.detect_local_mode {
        DetectLocalMode::ClusterCidr => {
            DetectLocal::ClusterCidr(cluster_cidrs(&flags.cluster_cidr, mistakes))
        }
        DetectLocalMode::NodeCidr => DetectLocal::NodeCidr,
        DetectLocalMode::BridgeInterface => {
            let name = interface("--pod-bridge-interface", &flags.pod_bridge_interface, mistakes);
            DetectLocal::BridgeInterface(name)
        }
        DetectLocalMode::InterfaceNamePrefix => {
            let prefix = interface("--pod-interface-name-prefix", &flags.pod_interface_name_prefix, mistakes);
            DetectLocal::InterfaceNamePrefix(prefix)
        }
    }
}

fn cluster_cidrs(text: &str, mistakes: &mut Vec<String>) -> Vec<IpNet> {
    let found = prefixes("--cluster-cidr", text, mistakes);
    for family in Family::BOTH {
        if found.iter().filter(|net| Family::of(net.addr()) == family).count() > 1 {
            mistakes.push(format!("--cluster-cidr: more than one {family} range in `{text}`"));
        }
    }
    found
}

/// The kernel keeps at most 15 bytes of an interface's name.
fn interface(flag: &str, name: &str, mistakes: &mut Vec<String>) -> String {
    if name.is_empty() {
        mistakes.push(format!("{flag}: must be set for this --detect-local-mode"));
    } else if name.len() > 15 {
        mistakes.push(format!("{flag}: `{name}` is longer than 15 bytes, no interface has such a name"));
    }
    name.to_owned()
}

fn node_port_addresses(text: &str, mistakes: &mut Vec<String>) -> NodePortAddresses {
    if text.trim() == "primary" {
        return NodePortAddresses::Primary;
    }
    if text.split(',').any(|part| part.trim() == "primary") {
        mistakes.push(format!("--nodeport-addresses: `primary` stands alone or not at all, not in `{text}`"));
        return NodePortAddresses::Primary;
    }
    let found = prefixes("--nodeport-addresses", text, mistakes);
    if found.is_empty() { NodePortAddresses::Primary } else { NodePortAddresses::Within(found) }
}

fn node_name(given: Option<&str>, host_name: &str, mistakes: &mut Vec<String>) -> String {
    let name = given.unwrap_or(host_name).trim().to_lowercase();
    if name.is_empty() {
        mistakes.push("--hostname-override: empty, and the host has no name either".to_owned());
    }
    name
}

fn one_per_family(addresses: &[IpAddr], mistakes: &mut Vec<String>) -> Vec<IpAddr> {
    for family in Family::BOTH {
        if addresses.iter().filter(|a| Family::of(**a) == family).count() > 1 {
            mistakes.push(format!("--bind-address: more than one {family} address"));
        }
    }
    // kube-proxy's default 0.0.0.0 means "not given".
    addresses.iter().copied().filter(|a| !a.is_unspecified()).collect()
}

fn prefixes(flag: &str, text: &str, mistakes: &mut Vec<String>) -> Vec<IpNet> {
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.parse::<IpNet>() {
            Ok(net) => found.push(net.trunc()),
            Err(_) => {
                mistakes.push(format!("{flag}: `{part}` is not an address range such as 10.244.0.0/16"))
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: ProxyFlags,
    }

    fn check(line: &str) -> Result<Options, Vec<String>> {
        let words = std::iter::once("proxy").chain(line.split_whitespace());
        options(&Line::try_parse_from(words).expect("flags of this test parse").flags, "Node-1")
    }

    #[test]
    fn defaults_are_kube_proxys_of_nftables_mode() {
        let options = check("").expect("no flag is no mistake");
        assert_eq!(&*options.node_name, "node-1");
        assert_eq!(options.detect_local, DetectLocal::ClusterCidr(Vec::new()));
        assert_eq!(options.node_port_addresses, NodePortAddresses::Primary);
        assert_eq!((options.masquerade_all, options.masquerade_bit), (false, 14));
    }

    #[test]
    fn every_mistake_is_listed_at_once() {
        let mistakes = check(
            "--cluster-cidr 10.0.0.0/8,11.0.0.0/8,x --masquerade-bit 32 --nodeport-addresses primary,10.0.0.0/8",
        )
        .expect_err("four flags are wrong");
        assert_eq!(
            mistakes,
            [
                "--cluster-cidr: `x` is not an address range such as 10.244.0.0/16",
                "--cluster-cidr: more than one IPv4 range in `10.0.0.0/8,11.0.0.0/8,x`",
                "--nodeport-addresses: `primary` stands alone or not at all, not in `primary,10.0.0.0/8`",
                "--masquerade-bit: 32 is not a bit of the mark, 0 to 31",
            ]
        );
    }

    #[test]
    fn the_interface_modes_need_their_interface() {
        let mistakes = check("--detect-local-mode BridgeInterface").expect_err("no bridge named");
        assert_eq!(mistakes, ["--pod-bridge-interface: must be set for this --detect-local-mode"]);
        let options = check("--detect-local-mode InterfaceNamePrefix --pod-interface-name-prefix veth")
            .expect("complete");
        assert_eq!(options.detect_local, DetectLocal::InterfaceNamePrefix("veth".to_owned()));
    }

    #[test]
    fn the_unspecified_bind_address_means_not_given() {
        assert!(check("--bind-address 0.0.0.0").expect("kube-proxy's default").node_addresses.is_empty());
        assert_eq!(check("--bind-address 10.0.0.1,fd00::1").expect("one of each").node_addresses.len(), 2);
    }
}
