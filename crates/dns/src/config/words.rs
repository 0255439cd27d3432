//! Values as both kinds of file write them: numbers, times, addresses, upstreams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::wire::Name;

use super::domain;
use super::{Fallthrough, PodMode, Policy, RewriteRule, Upstream};

/// The port of DNS.
pub(super) const DNS_PORT: u16 = 53;
/// The port of DNS over TLS.
const TLS_PORT: u16 = 853;
/// As many upstreams in one block, as in CoreDNS.
pub(super) const MOST_UPSTREAMS: usize = 15;
/// The time to live of what is in the configuration.
pub(super) const TTLS: RangeInclusive<u32> = 0..=3600;
/// Go's longest time.
const LONGEST: Duration = Duration::from_nanos(i64::MAX as u64);

/// Reads a whole number.
pub(super) fn number(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let (start, end) = (range.start(), range.end());
    let wrong = || match *end {
        u32::MAX => format!("`{text}` is no whole number from {start} on"),
        _ => format!("`{text}` is no whole number from {start} to {end}"),
    };
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(wrong)
}

/// Reads a time as Go writes it, such as `1h30m`, `250ms` or `0`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time such as 30s, 1h30m or 250ms");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit =
            [("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("ns", 1e-9)];
        let (_, seconds) = unit.iter().find(|(unit, _)| *unit == &rest[..end]).ok_or_else(wrong)?;
        total += number * seconds;
        rest = &rest[end..];
    }
    let time = Duration::try_from_secs_f64(total).ok().filter(|time| *time <= LONGEST);
    time.filter(|_| !text.is_empty()).ok_or_else(wrong)
}

/// Reads where something is served: `:8080`, `localhost:8080`, `10.0.0.1:8080` or `[fd00::1]:8080`.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("`{text}` is no address with a port, such as :8080 or 127.0.0.1:8080");
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    match host {
        "" => Ok((Ipv6Addr::UNSPECIFIED, port).into()),
        "localhost" => Ok((Ipv4Addr::LOCALHOST, port).into()),
        _ => Err(wrong()),
    }
}

/// Reads who is asked: `10.0.0.1`, `10.0.0.1:53`, `dns://10.0.0.1`, `tls://10.0.0.1`, or a file such as `/etc/resolv.conf`.
pub(super) fn upstream(text: &str) -> Result<Upstream, String> {
    if text.starts_with('/') {
        return Ok(Upstream::File(PathBuf::from(text)));
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("dns", text));
    let is_tls = match scheme {
        "dns" => false,
        "tls" => true,
        _ => return Err(format!("`{text}`: only dns:// and tls:// are spoken")),
    };
    if rest.contains('%') {
        return Err(format!("`{text}`: an address with % in it is not understood"));
    }
    let port = if is_tls { TLS_PORT } else { DNS_PORT };
    let alone = || rest.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
    let address = rest.parse().ok().or_else(alone).filter(|address| address.port() != 0);
    let address = address.ok_or_else(|| {
        format!("`{text}` is neither an IP address, with or without port, nor the path of a file, which begins with /")
    })?;
    Ok(if is_tls { Upstream::Tls(address) } else { Upstream::Plain(address) })
}

/// Reads which upstream is asked first.
pub(super) fn policy(text: &str) -> Result<Policy, String> {
    match text {
        "random" => Ok(Policy::Random),
        "round_robin" => Ok(Policy::RoundRobin),
        "sequential" => Ok(Policy::Sequential),
        _ => Err(format!("`{text}` is none of random, round_robin, sequential")),
    }
}

/// Reads how names of pods' addresses are answered.
pub(super) fn pod_mode(text: &str) -> Result<PodMode, String> {
    match text {
        "disabled" => Ok(PodMode::Disabled),
        "insecure" => Ok(PodMode::Insecure),
        "verified" => Ok(PodMode::Verified),
        _ => Err(format!("`{text}` is none of disabled, insecure, verified")),
    }
}

/// Reads a rule of rewriting.
pub(super) fn rewrite(kind: &str, from: &str, to: &str) -> Result<RewriteRule, String> {
    match kind {
        "exact" => Ok(RewriteRule::Exact { from: domain::name(from)?, to: domain::name(to)? }),
        "suffix" => Ok(RewriteRule::Suffix { from: suffix(from)?, to: suffix(to)? }),
        "prefix" | "substring" | "regex" => {
            Err(format!("rewriting by {kind} is not understood, only by exact and suffix"))
        }
        _ => Err(format!("`{kind}` is neither exact nor suffix")),
    }
}

/// The end of a name may begin with a dot.
fn suffix(text: &str) -> Result<String, String> {
    let (dot, rest) = if text.len() > 1 && text.starts_with('.') { (".", &text[1..]) } else { ("", text) };
    Ok(format!("{dot}{}", domain::name(rest)?))
}

/// What zones after the word `fallthrough` mean.
pub(super) fn fallthrough(zones: Vec<Name>) -> Fallthrough {
    if zones.is_empty() || zones.contains(&Name::root()) {
        Fallthrough::Always
    } else {
        Fallthrough::Within(zones)
    }
}

/// Reads a percentage of prefetching.
pub(super) fn percentage(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no percentage from 10% to 90%");
    text.strip_suffix('%').and_then(|text| number(text, 10..=90).ok()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        for (text, millis) in
            [("0", Some(0)), ("1h30m", Some(5_400_000)), ("1.5s", Some(1500)), ("", None), ("5", None)]
        {
            assert_eq!(time(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
        for (text, wanted) in [
            (":9153", Some("[::]:9153")),
            ("localhost:9153", Some("127.0.0.1:9153")),
            ("169.254.20.10:8080", Some("169.254.20.10:8080")),
            ("9153", None),
            ("node:9153", None),
        ] {
            assert_eq!(listen(text).ok().map(|at| at.to_string()).as_deref(), wanted, "{text}");
        }
        for (text, wanted) in [
            ("1.1.1.1", Some("Plain(1.1.1.1:53)")),
            ("dns://1.1.1.1:5353", Some("Plain(1.1.1.1:5353)")),
            ("fd00::1", Some("Plain([fd00::1]:53)")),
            ("tls://[fd00::1]", Some("Tls([fd00::1]:853)")),
            ("/etc/resolv.conf", Some("File(\"/etc/resolv.conf\")")),
            ("https://1.1.1.1", None),
            ("fe80::1%eth0", None),
            ("dns.example.org", None),
        ] {
            assert_eq!(upstream(text).ok().map(|to| format!("{to:?}")).as_deref(), wanted, "{text}");
        }
    }
}
