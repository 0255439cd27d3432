//! From what was typed to what is meant, in one place for the file and the flags. The rules are those of kube-proxy's
//! validation.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use desired::{DetectLocal, NodePortAddresses};
use model::{Family, IpNet};

use crate::configuration::{Configuration, HEALTH_PORT, METRICS_PORT};
use crate::duration;
use crate::settings::{KernelSettings, LogFormat, LogSettings, Mode, Settings};
use crate::{Mistakes, Remark};

/// `/proc/self/oom_score_adj` takes no others.
const OOM_SCORES: std::ops::RangeInclusive<i64> = -1000..=1000;
/// The kernel's IFNAMSIZ, without the zero at the end.
const LONGEST_INTERFACE: usize = 15;

impl Settings {
    /// Checks a configuration. Answers what it means and what of it means nothing here; or every mistake in it.
    pub fn new(written: &Configuration, host_name: &str) -> Result<(Self, Vec<Remark>), Mistakes> {
        let mut check = Check::default();
        let settings = check.settings(written, host_name);
        check.other_modes(written);
        if !check.mistakes.is_empty() {
            return Err(Mistakes(check.mistakes));
        }
        check.meaningless(written);
        Ok((settings, check.warnings))
    }
}

#[derive(Default)]
struct Check {
    mistakes: Vec<Remark>,
    warnings: Vec<Remark>,
}

impl Check {
    fn settings(&mut self, written: &Configuration, host_name: &str) -> Settings {
        let (sync_period, min_sync_period) =
            self.sync_periods("nftables", &written.nftables.sync_period, &written.nftables.min_sync_period);
        let mut settings = Settings {
            node_name: self.node_name(&written.hostname_override, host_name),
            kubeconfig: Some(PathBuf::from(&written.client_connection.kubeconfig))
                .filter(|path| !path.as_os_str().is_empty()),
            bind_addresses: self.bind_addresses(&written.bind_address),
            healthz_bind_address: self.socket(
                "healthzBindAddress",
                &written.healthz_bind_address,
                HEALTH_PORT,
            ),
            metrics_bind_address: self.socket(
                "metricsBindAddress",
                &written.metrics_bind_address,
                METRICS_PORT,
            ),
            bind_address_hard_fail: written.bind_address_hard_fail,
            enable_profiling: written.enable_profiling,
            mode: self.mode(&written.mode),
            detect_local: self.detect_local(written),
            masquerade_all: written.nftables.masquerade_all,
            masquerade_bit: self.mark_bit("nftables.masqueradeBit", written.nftables.masquerade_bit),
            node_port_addresses: self.node_port_addresses(&written.node_port_addresses),
            localhost_node_ports: written.iptables.localhost_node_ports,
            sync_period,
            min_sync_period,
            kernel: self.kernel(written),
            log: self.log(written),
        };
        if settings.mode == Mode::Iptables {
            as_iptables_mode_has_it(&mut settings, written);
        }
        settings
    }

    fn node_name(&mut self, given: &str, host_name: &str) -> String {
        if !given.is_empty() && given.trim().is_empty() {
            self.wrong("hostnameOverride", "is nothing but blanks");
        }
        let name = if given.is_empty() { host_name } else { given }.trim().to_lowercase();
        if name.is_empty() && given.is_empty() {
            self.wrong("hostnameOverride", "must be set, because this host has no name");
        }
        name
    }

    fn bind_addresses(&mut self, text: &str) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for part in text.split(',').map(str::trim) {
            match part.parse::<IpAddr>() {
                Ok(address) => addresses.push(address),
                Err(_) => self.wrong("bindAddress", format!("`{part}` is not an IP address")),
            }
        }
        for family in Family::BOTH {
            if addresses.iter().filter(|address| Family::of(**address) == family).count() > 1 {
                self.wrong("bindAddress", format!("more than one {family} address in `{text}`"));
            }
        }
        // The default means "not given".
        addresses.retain(|address| !address.is_unspecified());
        addresses
    }

    fn socket(&mut self, field: &str, text: &str, port: u16) -> Option<SocketAddr> {
        if text.is_empty() {
            return None;
        }
        let alone =
            || text.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        let address = text.parse().ok().or_else(alone).filter(|address| address.port() != 0);
        if address.is_none() {
            let reason =
                format!("`{text}` is no address with a port from 1 to 65535, such as 0.0.0.0:{port}");
            self.wrong(field, reason);
        }
        address
    }

    fn mode(&mut self, mode: &str) -> Mode {
        match mode {
            "nftables" | "" => {}
            "iptables" => return Mode::Iptables,
            "ipvs" => return Mode::Ipvs,
            other => self.wrong("mode", format!("`{other}` is none of iptables, ipvs, nftables")),
        }
        Mode::Nftables
    }

    fn detect_local(&mut self, written: &Configuration) -> DetectLocal {
        let ranges = self.cluster_cidrs(&written.cluster_cidr);
        match written.detect_local_mode.as_str() {
            "ClusterCIDR" => DetectLocal::ClusterCidr(ranges),
            "NodeCIDR" => DetectLocal::NodeCidr,
            "BridgeInterface" => {
                let name = &written.detect_local.bridge_interface;
                DetectLocal::BridgeInterface(self.interface("detectLocal.bridgeInterface", name))
            }
            "InterfaceNamePrefix" => {
                let prefix = &written.detect_local.interface_name_prefix;
                DetectLocal::InterfaceNamePrefix(self.interface("detectLocal.interfaceNamePrefix", prefix))
            }
            other => {
                let all = "ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix";
                self.wrong("detectLocalMode", format!("`{other}` is none of {all}"));
                DetectLocal::NodeCidr
            }
        }
    }

    fn cluster_cidrs(&mut self, text: &str) -> Vec<IpNet> {
        let parts: Vec<&str> =
            if text.is_empty() { Vec::new() } else { text.split(',').map(str::trim).collect() };
        let found: Vec<IpNet> = parts.iter().filter_map(|part| self.range("clusterCIDR", part)).collect();
        for family in Family::BOTH {
            if found.iter().filter(|net| Family::of(net.addr()) == family).count() > 1 {
                self.wrong("clusterCIDR", format!("more than one {family} range in `{text}`"));
            }
        }
        found
    }

    fn interface(&mut self, field: &str, name: &str) -> String {
        if name.is_empty() {
            self.wrong(field, "must be set for this detectLocalMode");
        } else if name.len() > LONGEST_INTERFACE {
            let reason =
                format!("`{name}` is longer than {LONGEST_INTERFACE} bytes, no interface has such a name");
            self.wrong(field, reason);
        }
        name.to_owned()
    }

    fn node_port_addresses(&mut self, texts: &[String]) -> NodePortAddresses {
        let usual = NodePortAddresses::Primary;
        if texts.is_empty() || texts.iter().map(|text| text.trim()).eq(["primary"]) {
            return usual;
        }
        let mut found = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            let field = format!("nodePortAddresses[{at}]");
            if text.trim() == "primary" {
                self.wrong(&field, "`primary` stands alone or not at all");
            } else {
                found.extend(self.range(&field, text.trim()));
            }
        }
        if found.is_empty() { usual } else { NodePortAddresses::Within(found) }
    }

    fn range(&mut self, field: &str, text: &str) -> Option<IpNet> {
        match text.parse::<IpNet>() {
            Ok(net) => Some(net.trunc()),
            Err(_) => {
                self.wrong(field, format!("`{text}` is not an address range such as 10.244.0.0/16"));
                None
            }
        }
    }

    fn mark_bit(&mut self, field: &str, bit: i64) -> u8 {
        match u8::try_from(bit) {
            Ok(bit @ 0..=31) => bit,
            Ok(_) | Err(_) => {
                self.wrong(field, format!("{bit} is not a bit of the mark, 0 to 31"));
                0
            }
        }
    }

    fn kernel(&mut self, written: &Configuration) -> KernelSettings {
        let file = &written.conntrack;
        let mut time = |name: &str, text: &str| self.period(&format!("conntrack.{name}"), text);
        let tcp_established_timeout = time("tcpEstablishedTimeout", &file.tcp_established_timeout);
        let tcp_close_wait_timeout = time("tcpCloseWaitTimeout", &file.tcp_close_wait_timeout);
        let udp_timeout = time("udpTimeout", &file.udp_timeout);
        let udp_stream_timeout = time("udpStreamTimeout", &file.udp_stream_timeout);
        let score = written.oom_score_adj;
        if !OOM_SCORES.contains(&score) {
            self.wrong("oomScoreAdj", format!("{score} is not between -1000 and 1000"));
        }
        KernelSettings {
            conntrack_max_per_core: self.count("conntrack.maxPerCore", file.max_per_core),
            conntrack_min: self.count("conntrack.min", file.min),
            tcp_established_timeout,
            tcp_close_wait_timeout,
            tcp_be_liberal: file.tcp_be_liberal,
            udp_timeout,
            udp_stream_timeout,
            oom_score_adj: i16::try_from(score).unwrap_or_default(),
        }
    }

    fn log(&mut self, written: &Configuration) -> LogSettings {
        let format = match written.logging.format.as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => {
                self.wrong("logging.format", format!("`{other}` is neither text nor json"));
                LogFormat::Text
            }
        };
        let verbosity = self.count("logging.verbosity", written.logging.verbosity);
        LogSettings { format, verbosity: u8::try_from(verbosity).unwrap_or(u8::MAX) }
    }

    /// What is checked although nftables mode does not use it: a mistake is a mistake.
    fn other_modes(&mut self, written: &Configuration) {
        let (iptables, ipvs) = (&written.iptables, &written.ipvs);
        self.mark_bit("iptables.masqueradeBit", iptables.masquerade_bit);
        self.sync_periods("iptables", &iptables.sync_period, &iptables.min_sync_period);
        self.sync_periods("ipvs", &ipvs.sync_period, &ipvs.min_sync_period);
        self.period("ipvs.tcpTimeout", &ipvs.tcp_timeout);
        self.period("ipvs.tcpFinTimeout", &ipvs.tcp_fin_timeout);
        self.period("ipvs.udpTimeout", &ipvs.udp_timeout);
        for (at, text) in ipvs.exclude_cidrs.iter().enumerate() {
            self.range(&format!("ipvs.excludeCIDRs[{at}]"), text);
        }
        if self.period("configSyncPeriod", &written.config_sync_period).is_zero() {
            self.wrong("configSyncPeriod", "must be longer than 0");
        }
        let flush = &written.logging.flush_frequency;
        if let Some(text) = flush.as_str() {
            self.period("logging.flushFrequency", text);
        }
        let version = &written.show_hidden_metrics_for_version;
        let is_version = version
            .split_once('.')
            .is_some_and(|(major, minor)| major.parse::<u16>().is_ok() && minor.parse::<u16>().is_ok());
        if !version.is_empty() && !is_version {
            self.wrong("showHiddenMetricsForVersion", format!("`{version}` is no version such as 1.35"));
        }
        let (burst, qps) = (written.client_connection.burst, written.client_connection.qps);
        self.count("clientConnection.burst", burst);
        if qps.is_nan() {
            self.wrong("clientConnection.qps", "is not a number");
        }
    }

    /// Answers `syncPeriod` and `minSyncPeriod` of one mode.
    fn sync_periods(&mut self, mode: &str, period: &str, least: &str) -> (Duration, Duration) {
        let mistakes = self.mistakes.len();
        let field = format!("{mode}.syncPeriod");
        let (sync, min) = (self.period(&field, period), self.period(&format!("{mode}.minSyncPeriod"), least));
        if self.mistakes.len() > mistakes {
            return (sync, min);
        }
        if sync.is_zero() {
            self.wrong(&field, "must be longer than 0");
        } else if sync < min {
            self.wrong(&field, format!("{period} is less than minSyncPeriod, {least}"));
        }
        (sync, min)
    }

    fn period(&mut self, field: &str, text: &str) -> Duration {
        duration::parse(text).unwrap_or_else(|reason| {
            self.wrong(field, reason);
            Duration::ZERO
        })
    }

    fn count(&mut self, field: &str, number: i64) -> u32 {
        // As Go's int32.
        let in_range = i32::try_from(number).ok().and_then(|number| u32::try_from(number).ok());
        in_range.unwrap_or_else(|| {
            self.wrong(field, format!("{number} is not between 0 and {}", i32::MAX));
            0
        })
    }

    fn wrong(&mut self, field: &str, reason: impl Into<String>) {
        self.mistakes.push(Remark::new(field, reason));
    }

    /// Names what was asked for and cannot have an effect.
    fn meaningless(&mut self, written: &Configuration) {
        let is_iptables = written.mode == "iptables";
        let usual = Configuration::default();
        let client = (&written.client_connection, &usual.client_connection);
        let (windows, gates) = ("Windows only", "signalbox has no feature gates");
        let limit = "a node agent sends a handful of requests; they are not limited";
        let logging = (&written.logging, &usual.logging);
        let asked = [
            ("featureGates", !written.feature_gates.is_empty(), gates),
            (
                "clientConnection.acceptContentTypes",
                client.0.accept_content_types != client.1.accept_content_types,
                "protobuf is asked for, and JSON taken",
            ),
            (
                "clientConnection.contentType",
                client.0.content_type != client.1.content_type,
                "protobuf is asked for, and JSON taken",
            ),
            ("clientConnection.qps", client.0.qps != client.1.qps, limit),
            ("clientConnection.burst", client.0.burst != client.1.burst, limit),
            (
                "configSyncPeriod",
                written.config_sync_period != usual.config_sync_period,
                "objects are not looked at again when nothing changed",
            ),
            ("portRange", !written.port_range.is_empty(), "kube-proxy has not used it since 1.26"),
            (
                "showHiddenMetricsForVersion",
                !written.show_hidden_metrics_for_version.is_empty(),
                "no metric is hidden",
            ),
            (
                "iptables.masqueradeBit",
                !is_iptables && written.iptables.masquerade_bit != usual.iptables.masquerade_bit,
                "iptables mode only",
            ),
            (
                "iptables.localhostNodePorts",
                !is_iptables && !written.iptables.localhost_node_ports,
                "iptables mode only",
            ),
            (
                "nftables.masqueradeBit",
                is_iptables && written.nftables.masquerade_bit != usual.nftables.masquerade_bit,
                "nftables mode only",
            ),
            ("ipvs", written.ipvs != usual.ipvs, "IPVS mode only"),
            ("windowsRunAsService", written.windows_run_as_service, windows),
            ("winkernel", written.winkernel != usual.winkernel, windows),
            ("logging.vmodule", !logging.0.vmodule.is_empty(), "there are no source files of Go here"),
            (
                "logging.flushFrequency",
                logging.0.flush_frequency != logging.1.flush_frequency,
                "nothing is held back",
            ),
        ];
        let asked = asked.into_iter().filter(|(_, asked, _)| *asked);
        self.warnings
            .extend(asked.map(|(field, _, reason)| Remark::new(field, format!("has no effect: {reason}"))));
    }
}

/// What that mode has fields of its own for, and NodePorts on every address unless told otherwise.
fn as_iptables_mode_has_it(settings: &mut Settings, written: &Configuration) {
    // Mistakes are listed with those of the other modes.
    let mut aside = Check::default();
    let iptables = &written.iptables;
    settings.masquerade_all = iptables.masquerade_all;
    settings.masquerade_bit = aside.mark_bit("iptables.masqueradeBit", iptables.masquerade_bit);
    (settings.sync_period, settings.min_sync_period) =
        aside.sync_periods("iptables", &iptables.sync_period, &iptables.min_sync_period);
    if written.node_port_addresses.is_empty() {
        settings.node_port_addresses = NodePortAddresses::Within(Vec::new());
    }
    settings.localhost_node_ports &= has_loopback(&settings.node_port_addresses);
}

/// Whether NodePorts answer on addresses of 127.0.0.0/8.
fn has_loopback(addresses: &NodePortAddresses) -> bool {
    let NodePortAddresses::Within(ranges) = addresses else { return false };
    let mut of_v4 = ranges.iter().filter(|range| range.addr().is_ipv4()).peekable();
    let everywhere = of_v4.peek().is_none();
    everywhere
        || of_v4.any(|range| range.addr().is_loopback() || range.contains(&IpAddr::from(Ipv4Addr::LOCALHOST)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::File;

    /// Answers the mistakes, or the warnings, of a file with these lines.
    #[track_caller]
    fn check(lines: &str, wanted: &[&str]) {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        let text = format!("{head}{lines}");
        let said = match File::parse(&text) {
            Err(Mistakes(mistakes)) => mistakes,
            Ok(file) => match Settings::new(&file.configuration, "host") {
                Ok((_, warnings)) => file.warnings.into_iter().chain(warnings).collect(),
                Err(Mistakes(mistakes)) => mistakes,
            },
        };
        let said: Vec<String> = said.iter().map(ToString::to_string).collect();
        assert_eq!(said, wanted, "{lines}");
    }

    #[test]
    fn the_defaults_are_kube_proxys_of_nftables_mode() {
        let (settings, warnings) = Settings::new(&Configuration::default(), "Host-1\n").expect("no mistakes");
        assert_eq!(warnings, []);
        assert_eq!(settings.node_name, "host-1");
        assert_eq!(settings.detect_local, DetectLocal::ClusterCidr(Vec::new()));
        assert_eq!(settings.node_port_addresses, NodePortAddresses::Primary);
        assert_eq!((settings.masquerade_all, settings.masquerade_bit), (false, 14));
        assert_eq!(settings.healthz_bind_address, "0.0.0.0:10256".parse().ok());
        assert_eq!(settings.metrics_bind_address, "127.0.0.1:10249".parse().ok());
        assert_eq!(
            (settings.sync_period, settings.min_sync_period),
            (Duration::from_secs(30), Duration::from_secs(1))
        );
        assert!(settings.bind_addresses.is_empty(), "0.0.0.0 means not given");
        assert_eq!(settings.kubeconfig, None);
    }

    #[test]
    fn iptables_mode_has_fields_of_its_own() {
        let mut written = Configuration { mode: "iptables".to_owned(), ..Configuration::default() };
        written.iptables.masquerade_bit = 3;
        written.iptables.masquerade_all = true;
        written.iptables.min_sync_period = "5s".to_owned();
        written.iptables.localhost_node_ports = false;
        let (settings, warnings) = Settings::new(&written, "host-1").expect("no mistakes");
        assert_eq!(warnings, []);
        assert_eq!((settings.masquerade_all, settings.masquerade_bit), (true, 3));
        assert_eq!(settings.min_sync_period, Duration::from_secs(5));
        assert_eq!(settings.node_port_addresses, NodePortAddresses::Within(Vec::new()));
        let manners = settings.options().manners;
        assert_eq!((manners.guards_service_addresses, manners.localhost_node_ports), (false, false));
        assert!(manners.drops_invalid);
    }

    #[test]
    fn node_ports_on_loopback_are_where_node_ports_are() {
        for (addresses, on_loopback) in [
            (&[][..], true),
            (&["primary"], false),
            (&["0.0.0.0/0"], true),
            (&["10.0.0.0/8"], false),
            (&["10.0.0.0/8", "127.0.0.0/8"], true),
            (&["127.0.0.64/26"], true),
            (&["fd00::/8"], true),
            (&["10.0.0.0/8", "::/0"], false),
        ] {
            let written = Configuration {
                mode: "iptables".to_owned(),
                node_port_addresses: addresses.iter().map(ToString::to_string).collect(),
                ..Configuration::default()
            };
            let (settings, _) = Settings::new(&written, "host-1").expect("no mistakes");
            assert_eq!(settings.options().manners.localhost_node_ports, on_loopback, "{addresses:?}");
        }
    }

    #[test]
    fn every_mistake_is_listed_at_once() {
        check(
            "
hostnameOverride: ' '
bindAddress: 10.0.0.1,10.0.0.2,x
healthzBindAddress: 1.2.3.4:0
metricsBindAddress: '[::1]:99999'
mode: magic
clusterCIDR: 10.0.0.0/8,11.0.0.0/8,x
detectLocalMode: BridgeInterface
detectLocal: {bridgeInterface: a-name-of-sixteen}
nodePortAddresses: [primary, 10.0.0.0/8, w]
conntrack: {min: -1, udpTimeout: soon, tcpEstablishedTimeout: -1s}
oomScoreAdj: 1001
nftables: {masqueradeBit: 32, syncPeriod: 1s, minSyncPeriod: 2s}
iptables: {masqueradeBit: -1, syncPeriod: never}
ipvs: {excludeCIDRs: [z], tcpTimeout: x}
configSyncPeriod: x
clientConnection: {burst: -1}
logging: {format: xml, verbosity: -1}
",
            &[
                "nftables.syncPeriod: 1s is less than minSyncPeriod, 2s",
                "hostnameOverride: is nothing but blanks",
                "bindAddress: `x` is not an IP address",
                "bindAddress: more than one IPv4 address in `10.0.0.1,10.0.0.2,x`",
                "healthzBindAddress: `1.2.3.4:0` is no address with a port from 1 to 65535, such as 0.0.0.0:10256",
                "metricsBindAddress: `[::1]:99999` is no address with a port from 1 to 65535, such as 0.0.0.0:10249",
                "mode: `magic` is none of iptables, ipvs, nftables",
                "clusterCIDR: `x` is not an address range such as 10.244.0.0/16",
                "clusterCIDR: more than one IPv4 range in `10.0.0.0/8,11.0.0.0/8,x`",
                "detectLocal.bridgeInterface: `a-name-of-sixteen` is longer than 15 bytes, no interface has such a name",
                "nftables.masqueradeBit: 32 is not a bit of the mark, 0 to 31",
                "nodePortAddresses[0]: `primary` stands alone or not at all",
                "nodePortAddresses[2]: `w` is not an address range such as 10.244.0.0/16",
                "conntrack.tcpEstablishedTimeout: `-1s` is no duration such as 30s, 1h30m or 250ms",
                "conntrack.udpTimeout: `soon` is no duration such as 30s, 1h30m or 250ms",
                "oomScoreAdj: 1001 is not between -1000 and 1000",
                "conntrack.min: -1 is not between 0 and 2147483647",
                "logging.format: `xml` is neither text nor json",
                "logging.verbosity: -1 is not between 0 and 2147483647",
                "iptables.masqueradeBit: -1 is not a bit of the mark, 0 to 31",
                "iptables.syncPeriod: `never` is no duration such as 30s, 1h30m or 250ms",
                "ipvs.tcpTimeout: `x` is no duration such as 30s, 1h30m or 250ms",
                "ipvs.excludeCIDRs[0]: `z` is not an address range such as 10.244.0.0/16",
                "configSyncPeriod: `x` is no duration such as 30s, 1h30m or 250ms",
                "configSyncPeriod: must be longer than 0",
                "clientConnection.burst: -1 is not between 0 and 2147483647",
            ],
        );
    }

    #[test]
    fn single_fields_are_checked() {
        check(
            "clusterCIDR: '10.0.0.0/8,'",
            &["clusterCIDR: `` is not an address range such as 10.244.0.0/16"],
        );
        check(
            "logging: {flushFrequency: bogus}\nshowHiddenMetricsForVersion: zzz\nconntrack: {maxPerCore: 3000000000}",
            &[
                "conntrack.maxPerCore: 3000000000 is not between 0 and 2147483647",
                "logging.flushFrequency: `bogus` is no duration such as 30s, 1h30m or 250ms",
                "showHiddenMetricsForVersion: `zzz` is no version such as 1.35",
            ],
        );
        check(
            "detectLocalMode: BridgeInterface",
            &["detectLocal.bridgeInterface: must be set for this detectLocalMode"],
        );
        check(
            "detectLocalMode: Magic",
            &[
                "detectLocalMode: `Magic` is none of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix",
            ],
        );
        check("clusterCIDR: '10.0.0.0/8,fd00::/64'\nnodePortAddresses: [primary]", &[]);
    }

    #[test]
    fn what_has_no_effect_is_said() {
        check(
            "featureGates: {A: true}\nportRange: 1-2\nwinkernel: {enableDSR: true}\nclientConnection: {qps: 50}",
            &[
                "featureGates: has no effect: signalbox has no feature gates",
                "clientConnection.qps: has no effect: a node agent sends a handful of requests; they are not limited",
                "portRange: has no effect: kube-proxy has not used it since 1.26",
                "winkernel: has no effect: Windows only",
            ],
        );
    }
}
