//! kube-proxy's configuration file, `KubeProxyConfiguration` of `kubeproxy.config.k8s.io/v1alpha1`.
//!
//! It becomes flags: both ways to configure are validated by the same code, and mean the same. Unknown fields are named
//! and left out, as kube-proxy does; fields of modes and systems that are not ours are read and mean nothing.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::duration::duration;
use crate::flags::{DetectLocalMode, Mode, ProxyFlags, health_address, status_address};

/// What a file says, as far as it means something to us.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Configuration {
    api_version: Option<String>,
    kind: Option<String>,
    bind_address: Option<String>,
    client_connection: Option<ClientConnection>,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: Option<String>,
    conntrack: Option<Conntrack>,
    detect_local: Option<DetectLocal>,
    detect_local_mode: Option<String>,
    healthz_bind_address: Option<String>,
    hostname_override: Option<String>,
    logging: Option<Logging>,
    metrics_bind_address: Option<String>,
    mode: Option<String>,
    nftables: Option<Nftables>,
    node_port_addresses: Option<Vec<String>>,
    oom_score_adj: Option<i16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClientConnection {
    kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conntrack {
    max_per_core: Option<u32>,
    min: Option<u32>,
    tcp_be_liberal: Option<bool>,
    tcp_established_timeout: Option<String>,
    tcp_close_wait_timeout: Option<String>,
    udp_timeout: Option<String>,
    udp_stream_timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DetectLocal {
    bridge_interface: Option<String>,
    interface_name_prefix: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Logging {
    verbosity: Option<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Nftables {
    masquerade_all: Option<bool>,
    masquerade_bit: Option<u8>,
}

/// Every field there is, by the object it is in; those of `featureGates` and of logging options have no fixed names.
const KNOWN: [(&str, &[&str]); 9] = [
    (
        "",
        &[
            "apiVersion",
            "kind",
            "bindAddress",
            "bindAddressHardFail",
            "clientConnection",
            "clusterCIDR",
            "configSyncPeriod",
            "conntrack",
            "detectLocal",
            "detectLocalMode",
            "enableProfiling",
            "featureGates",
            "healthzBindAddress",
            "hostnameOverride",
            "iptables",
            "ipvs",
            "logging",
            "metricsBindAddress",
            "mode",
            "nftables",
            "nodePortAddresses",
            "oomScoreAdj",
            "portRange",
            "showHiddenMetricsForVersion",
            "windowsRunAsService",
            "winkernel",
        ],
    ),
    ("clientConnection", &["acceptContentTypes", "burst", "contentType", "kubeconfig", "qps"]),
    (
        "conntrack",
        &[
            "maxPerCore",
            "min",
            "tcpBeLiberal",
            "tcpCloseWaitTimeout",
            "tcpEstablishedTimeout",
            "udpStreamTimeout",
            "udpTimeout",
        ],
    ),
    ("detectLocal", &["bridgeInterface", "interfaceNamePrefix"]),
    ("iptables", &["localhostNodePorts", "masqueradeAll", "masqueradeBit", "minSyncPeriod", "syncPeriod"]),
    (
        "ipvs",
        &[
            "excludeCIDRs",
            "minSyncPeriod",
            "scheduler",
            "strictARP",
            "syncPeriod",
            "tcpFinTimeout",
            "tcpTimeout",
            "udpTimeout",
        ],
    ),
    ("logging", &["flushFrequency", "format", "options", "verbosity", "vmodule"]),
    ("nftables", &["masqueradeAll", "masqueradeBit", "minSyncPeriod", "syncPeriod"]),
    ("winkernel", &["enableDSR", "forwardHealthCheckVip", "networkName", "rootHnsEndpointName", "sourceVip"]),
];

/// Fills flags from a file. Answers what is to be warned about; or every mistake, field first.
pub(crate) fn read(path: &Path, flags: &mut ProxyFlags) -> Result<Vec<String>, Vec<String>> {
    let named = |error: String| vec![format!("--config {}: {error}", path.display())];
    let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    fill(&text, flags).map_err(|mistakes| mistakes.into_iter().flat_map(&named).collect())
}

fn fill(text: &str, flags: &mut ProxyFlags) -> Result<Vec<String>, Vec<String>> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| vec![error.to_string()])?;
    let file: Configuration = serde_path_to_error::deserialize(&value)
        .map_err(|error| vec![format!("{}: {}", error.path(), error.inner())])?;
    let mut filling = Filling { mistakes: Vec::new(), warnings: unknown_fields(&value) };
    filling.fill(file, flags);
    if filling.mistakes.is_empty() { Ok(filling.warnings) } else { Err(filling.mistakes) }
}

fn unknown_fields(value: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    for (object, known) in KNOWN {
        let fields = if object.is_empty() { Some(value) } else { value.get(object) };
        for name in fields.and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys()) {
            if !known.contains(&name.as_str()) {
                let dot = if object.is_empty() { "" } else { "." };
                unknown.push(format!("{object}{dot}{name}: is no field of KubeProxyConfiguration; left out"));
            }
        }
    }
    unknown
}

struct Filling {
    mistakes: Vec<String>,
    warnings: Vec<String>,
}

impl Filling {
    fn fill(&mut self, file: Configuration, flags: &mut ProxyFlags) {
        self.expect("apiVersion", file.api_version.as_deref(), "kubeproxy.config.k8s.io/v1alpha1");
        self.expect("kind", file.kind.as_deref(), "KubeProxyConfiguration");
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(kubeconfig) = file.client_connection.and_then(|client| client.kubeconfig) {
            flags.kubeconfig = Some(kubeconfig).filter(|path| !path.as_os_str().is_empty());
        }
        // The flag is what a DaemonSet uses to tell each node its name.
        flags.hostname_override = flags.hostname_override.take().or(some(file.hostname_override));
        if let Some(address) =
            some(file.bind_address).and_then(|text| self.parsed::<IpAddr>("bindAddress", &text))
        {
            flags.bind_address = vec![address];
        }
        flags.cluster_cidr = file.cluster_cidr.unwrap_or_default();
        self.mode(some(file.mode), flags);
        self.detect_local(some(file.detect_local_mode), file.detect_local.unwrap_or_default(), flags);
        let addresses = file.node_port_addresses.filter(|addresses| !addresses.is_empty());
        flags.nodeport_addresses =
            addresses.map_or_else(|| "primary".to_owned(), |addresses| addresses.join(","));
        let nftables = file.nftables.unwrap_or_default();
        flags.masquerade_all = nftables.masquerade_all.unwrap_or(false);
        flags.masquerade_bit = nftables.masquerade_bit.unwrap_or(flags.masquerade_bit);
        flags.verbosity =
            flags.verbosity.max(file.logging.and_then(|logging| logging.verbosity).unwrap_or(0));
        if let Some(text) = some(file.healthz_bind_address) {
            flags.healthz_bind_address = self.checked("healthzBindAddress", health_address(&text)).flatten();
        }
        if let Some(text) = some(file.metrics_bind_address) {
            flags.metrics_bind_address = self.checked("metricsBindAddress", status_address(&text)).flatten();
        }
        self.settings(file.conntrack.unwrap_or_default(), file.oom_score_adj, flags);
    }

    fn mode(&mut self, mode: Option<String>, flags: &mut ProxyFlags) {
        flags.proxy_mode = Mode::Nftables;
        match mode.as_deref() {
            Some("nftables") => {}
            None => self
                .warnings
                .push("mode: is empty; kube-proxy would choose iptables, signalbox uses nftables".to_owned()),
            Some(other) => self.mistakes.push(format!("mode: `{other}` is not there yet, only nftables is")),
        }
    }

    fn detect_local(&mut self, mode: Option<String>, settings: DetectLocal, flags: &mut ProxyFlags) {
        flags.detect_local_mode = match mode.as_deref() {
            None | Some("ClusterCIDR") => DetectLocalMode::ClusterCidr,
            Some("NodeCIDR") => DetectLocalMode::NodeCidr,
            Some("BridgeInterface") => DetectLocalMode::BridgeInterface,
            Some("InterfaceNamePrefix") => DetectLocalMode::InterfaceNamePrefix,
            Some(other) => {
                let all = "ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix";
                self.mistakes.push(format!("detectLocalMode: `{other}` is none of {all}"));
                return;
            }
        };
        flags.pod_bridge_interface = settings.bridge_interface.unwrap_or_default();
        flags.pod_interface_name_prefix = settings.interface_name_prefix.unwrap_or_default();
    }

    fn settings(&mut self, file: Conntrack, oom_score_adj: Option<i16>, flags: &mut ProxyFlags) {
        let settings = &mut flags.settings;
        settings.conntrack_max_per_core = file.max_per_core.unwrap_or(settings.conntrack_max_per_core);
        settings.conntrack_min = file.min.unwrap_or(settings.conntrack_min);
        settings.conntrack_tcp_be_liberal = file.tcp_be_liberal.unwrap_or(false);
        let timeouts: [(&str, Option<String>, &mut Duration); 4] = [
            (
                "tcpEstablishedTimeout",
                file.tcp_established_timeout,
                &mut settings.conntrack_tcp_timeout_established,
            ),
            (
                "tcpCloseWaitTimeout",
                file.tcp_close_wait_timeout,
                &mut settings.conntrack_tcp_timeout_close_wait,
            ),
            ("udpTimeout", file.udp_timeout, &mut settings.conntrack_udp_timeout),
            ("udpStreamTimeout", file.udp_stream_timeout, &mut settings.conntrack_udp_timeout_stream),
        ];
        for (name, text, place) in timeouts {
            let Some(text) = text else { continue };
            if let Some(time) = self.checked(&format!("conntrack.{name}"), duration(&text)) {
                *place = time;
            }
        }
        match oom_score_adj {
            Some(score) if !(-1000..=1000).contains(&score) => {
                self.mistakes.push(format!("oomScoreAdj: {score} is not between -1000 and 1000"));
            }
            Some(score) => settings.oom_score_adj = score,
            None => {}
        }
    }

    fn expect(&mut self, field: &str, found: Option<&str>, wanted: &str) {
        match found {
            Some(found) if found == wanted => {}
            Some(found) => self.mistakes.push(format!("{field}: is `{found}`, not `{wanted}`")),
            None => self.mistakes.push(format!("{field}: is required, `{wanted}`")),
        }
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self, field: &str, text: &str) -> Option<T> {
        self.checked(field, text.parse().map_err(|error| format!("`{text}`: {error}")))
    }

    fn checked<T>(&mut self, field: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|error| self.mistakes.push(format!("{field}: {error}"))).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::options;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: ProxyFlags,
    }

    fn flags(line: &str) -> ProxyFlags {
        let words = std::iter::once("proxy").chain(line.split_whitespace());
        Line::try_parse_from(words).expect("flags of this test parse").flags
    }

    /// As kubeadm writes it.
    const KUBEADM: &str = include_str!("../tests/kubeadm.yaml");

    #[test]
    fn kubeadms_file_means_the_defaults() {
        let mut filled = flags("");
        let warnings = fill(KUBEADM, &mut filled).expect("kubeadm makes no mistakes");
        assert_eq!(warnings, ["mode: is empty; kube-proxy would choose iptables, signalbox uses nftables"]);
        let usual = flags(
            "--cluster-cidr=10.244.0.0/16 --kubeconfig=/var/lib/kube-proxy/kubeconfig.conf --bind-address=0.0.0.0",
        );
        assert_eq!(format!("{filled:?}"), format!("{usual:?}"));
    }

    #[test]
    fn every_field_that_means_something_is_taken() {
        let text = "
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
bindAddress: 192.0.2.1
clientConnection: {kubeconfig: /k}
clusterCIDR: 10.0.0.0/8,fd00::/64
conntrack: {maxPerCore: 1, min: 2, tcpBeLiberal: true, tcpEstablishedTimeout: 1h0m0s, tcpCloseWaitTimeout: 2s, udpTimeout: 3s, udpStreamTimeout: 4s}
detectLocalMode: InterfaceNamePrefix
detectLocal: {interfaceNamePrefix: veth}
healthzBindAddress: 0.0.0.0
metricsBindAddress: '[::1]:1234'
hostnameOverride: ignored
logging: {verbosity: 3}
nftables: {masqueradeAll: true, masqueradeBit: 3}
nodePortAddresses: [10.0.0.0/8, fd00::/64]
oomScoreAdj: -5
somethingNew: 1
ipvs: {typo: 2}
";
        let mut filled = flags("--hostname-override=n1");
        let warnings = fill(text, &mut filled).expect("no mistakes");
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].starts_with("somethingNew: ") && warnings[1].starts_with("ipvs.typo: "),
            "{warnings:?}"
        );
        let same = flags(
            "--hostname-override=n1 --bind-address=192.0.2.1 --kubeconfig=/k --cluster-cidr=10.0.0.0/8,fd00::/64 \
             --conntrack-max-per-core=1 --conntrack-min=2 --conntrack-tcp-be-liberal --conntrack-tcp-timeout-established=1h \
             --conntrack-tcp-timeout-close-wait=2s --conntrack-udp-timeout=3s --conntrack-udp-timeout-stream=4s \
             --detect-local-mode=InterfaceNamePrefix --pod-interface-name-prefix=veth --healthz-bind-address=0.0.0.0:10256 \
             --metrics-bind-address=[::1]:1234 --v=3 --masquerade-all --masquerade-bit=3 \
             --nodeport-addresses=10.0.0.0/8,fd00::/64 --oom-score-adj=-5",
        );
        assert_eq!(format!("{filled:?}"), format!("{same:?}"));
        assert!(options(&filled, "host").is_ok());
    }

    #[test]
    fn every_mistake_is_listed_with_its_field() {
        let mistakes = |text: &str| fill(text, &mut flags("")).expect_err("mistakes");
        assert_eq!(
            mistakes(
                "kind: Other\nmode: ipvs\nbindAddress: x\noomScoreAdj: 2000\ndetectLocalMode: Magic\nconntrack: {udpTimeout: soon}\n"
            ),
            [
                "apiVersion: is required, `kubeproxy.config.k8s.io/v1alpha1`",
                "kind: is `Other`, not `KubeProxyConfiguration`",
                "bindAddress: `x`: invalid IP address syntax",
                "mode: `ipvs` is not there yet, only nftables is",
                "detectLocalMode: `Magic` is none of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix",
                "conntrack.udpTimeout: `soon` is no duration such as 30s, 1h30m or 250ms",
                "oomScoreAdj: 2000 is not between -1000 and 1000",
            ]
        );
        let wrong_type = mistakes("conntrack: {min: many}\n");
        assert!(wrong_type[0].starts_with("conntrack.min: invalid type"), "{wrong_type:?}");
        assert!(!mistakes("{").is_empty());
    }
}
