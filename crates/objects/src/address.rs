//! Addresses and prefixes as Kubernetes reads them: leading zeros are decimal, host bits are cut off.
//!
//! <https://github.com/kubernetes/utils/blob/master/internal/third_party/forked/golang/net/parse.go> keeps the reading of
//! Go before 1.17, in which "172.30.0.041" is 172.30.0.41.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::IpNet;

/// Reads an address; an IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is an IPv4 address.
pub(crate) fn parse_address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical());
    }
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = decimal(parts.next()?)?;
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

/// Reads a prefix; blanks around it do not matter. The length of an IPv4 prefix written as IPv6
/// (`::ffff:10.0.0.0/104`) counts from the first bit of the IPv6 address.
pub(crate) fn parse_prefix(text: &str) -> Option<IpNet> {
    let (address, length) = text.trim().split_once('/')?;
    let (read, length) = (parse_address(address)?, decimal(length)?);
    let mapped = read.is_ipv4() && address.contains(':');
    let net = match read {
        IpAddr::V4(v4) if mapped && length < 96 => IpNet::new(v4.to_ipv6_mapped().into(), length),
        IpAddr::V4(_) if mapped => IpNet::new(read, length - 96),
        IpAddr::V4(_) | IpAddr::V6(_) => IpNet::new(read, length),
    };
    Some(net.ok()?.trunc())
}

fn decimal(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_kubernetes_reads_them() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_address(text).map(|a| a.to_string()).as_deref(), expected, "{text}");
        };
        check("10.0.0.1", Some("10.0.0.1"));
        check("172.30.0.041", Some("172.30.0.41"));
        check("fd00::1", Some("fd00::1"));
        check("::ffff:10.0.0.1", Some("10.0.0.1"));
        for wrong in
            ["", "10.0.0", "10.0.0.256", "10.0.0.1.2", "+1.0.0.1", "a.b.c.d", "fd00::g", "10.0.0.1/8"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn prefixes_are_canonical() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_prefix(text).map(|n| n.to_string()).as_deref(), expected, "{text}");
        };
        check("203.0.113.000/025", Some("203.0.113.0/25"));
        check(" 10.1.2.3/8 ", Some("10.0.0.0/8"));
        check("fd00::1/64", Some("fd00::/64"));
        check("::ffff:10.1.2.3/104", Some("10.0.0.0/8"));
        check("::ffff:10.1.2.3/128", Some("10.1.2.3/32"));
        check("::ffff:10.1.2.3/24", Some("::/24"));
        for wrong in
            ["10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "/8", "10.0.0.0/-1", "::ffff:10.0.0.0/129"]
        {
            check(wrong, None);
        }
    }
}
