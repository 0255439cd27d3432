//! Kernel settings that a node agent is expected to make: room for connections, their timeouts, and its own chance of
//! survival when memory is short. None is worth failing a start for.

use std::fs;
use std::time::Duration;

use config::KernelSettings;
use sys::conntrack::Conntrack;
use sys::sysctl;
use tracing::{debug, info, warn};

/// No table of connections is made larger than this (kubernetes#137002).
const MOST_CONNECTIONS: u32 = 1 << 20;

/// Makes the settings; what cannot be made is said.
pub fn apply_settings(settings: &KernelSettings) {
    // Where connection tracking is a module its settings only exist when it is loaded, which this question has done.
    if let Err(error) = Conntrack::open().and_then(|mut conntrack| conntrack.count()) {
        debug!(%error, "connection tracking does not answer");
    }
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    for (name, value) in sysctls(settings, cpus) {
        set(name, value);
    }
    if let Some(connections) = most_connections(settings, cpus) {
        make_hash_table(connections);
    }
    let score = settings.oom_score_adj.to_string();
    if let Err(error) = fs::write("/proc/self/oom_score_adj", &score) {
        warn!(file = "/proc/self/oom_score_adj", wanted = score, %error, "a kernel setting stays as it is");
    }
}

/// Lets packets from loopback leave the node, as NodePorts on 127.0.0.1 need it.
pub fn route_localnet() {
    set("net/ipv4/conf/all/route_localnet", 1);
}

fn sysctls(settings: &KernelSettings, cpus: u32) -> Vec<(&'static str, u64)> {
    let timeout = |name, time: Duration| (!time.is_zero()).then_some((name, time.as_secs()));
    let all = [
        most_connections(settings, cpus).map(|most| ("net/netfilter/nf_conntrack_max", u64::from(most))),
        timeout("net/netfilter/nf_conntrack_tcp_timeout_established", settings.tcp_established_timeout),
        timeout("net/netfilter/nf_conntrack_tcp_timeout_close_wait", settings.tcp_close_wait_timeout),
        settings.tcp_be_liberal.then_some(("net/netfilter/nf_conntrack_tcp_be_liberal", 1)),
        timeout("net/netfilter/nf_conntrack_udp_timeout", settings.udp_timeout),
        timeout("net/netfilter/nf_conntrack_udp_timeout_stream", settings.udp_stream_timeout),
    ];
    all.into_iter().flatten().collect()
}

/// `None`: the table stays as it is.
fn most_connections(settings: &KernelSettings, cpus: u32) -> Option<u32> {
    let scaled = settings.conntrack_max_per_core.saturating_mul(cpus);
    (scaled > 0).then(|| scaled.max(settings.conntrack_min).min(MOST_CONNECTIONS))
}

fn set(name: &'static str, value: u64) {
    let current = match sysctl::read(name) {
        Ok(current) => current,
        Err(error) => return warn!(name, wanted = value, %error, "a kernel setting stays as it is"),
    };
    if current == value.to_string() {
        return;
    }
    match sysctl::write(name, &value.to_string()) {
        Ok(()) => info!(name, was = current, is = value, "changed a kernel setting"),
        Err(error) => warn!(name, is = current, wanted = value, %error, "a kernel setting stays as it is"),
    }
}

/// Four connections a bucket at most.
fn make_hash_table(connections: u32) {
    const FILE: &str = "/sys/module/nf_conntrack/parameters/hashsize";
    let wanted = connections / 4;
    let Some(current) = fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse::<u32>().ok()) else {
        return;
    };
    if current >= wanted {
        return;
    }
    match fs::write(FILE, wanted.to_string()) {
        Ok(()) => info!(file = FILE, was = current, is = wanted, "changed a kernel setting"),
        Err(error) => warn!(file = FILE, is = current, wanted, %error, "a kernel setting stays as it is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: KernelSettings = KernelSettings {
        conntrack_max_per_core: 32_768,
        conntrack_min: 131_072,
        tcp_established_timeout: Duration::from_secs(86_400),
        tcp_close_wait_timeout: Duration::from_secs(3600),
        tcp_be_liberal: false,
        udp_timeout: Duration::ZERO,
        udp_stream_timeout: Duration::ZERO,
        oom_score_adj: -999,
    };

    #[test]
    fn the_table_grows_with_the_machine_between_a_minimum_and_a_cap() {
        assert_eq!(most_connections(&USUAL, 2), Some(131_072));
        assert_eq!(most_connections(&USUAL, 8), Some(262_144));
        assert_eq!(most_connections(&USUAL, 200), Some(1_048_576));
        assert_eq!(most_connections(&KernelSettings { conntrack_max_per_core: 0, ..USUAL }, 8), None);
    }

    #[test]
    fn zeros_leave_settings_alone() {
        let usual: Vec<_> =
            sysctls(&USUAL, 2).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            usual,
            [
                "net/netfilter/nf_conntrack_max=131072",
                "net/netfilter/nf_conntrack_tcp_timeout_established=86400",
                "net/netfilter/nf_conntrack_tcp_timeout_close_wait=3600",
            ]
        );
        let none = KernelSettings {
            conntrack_max_per_core: 0,
            tcp_established_timeout: Duration::ZERO,
            tcp_close_wait_timeout: Duration::ZERO,
            tcp_be_liberal: true,
            udp_timeout: Duration::from_secs(30),
            ..USUAL
        };
        let names: Vec<_> = sysctls(&none, 2).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["net/netfilter/nf_conntrack_tcp_be_liberal", "net/netfilter/nf_conntrack_udp_timeout"]
        );
    }
}
