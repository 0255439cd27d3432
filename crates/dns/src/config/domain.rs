//! Names and zones as a configuration writes them; ranges of addresses are zones too.

use std::net::IpAddr;

use crate::wire::Name;

/// Reads a name, with or without the dot at its end.
pub(super) fn name(text: &str) -> Result<Name, String> {
    let wrong = |why: String| Err(format!("`{text}` is no domain name: it {why}"));
    if text.is_empty() {
        return wrong("is empty".to_owned());
    }
    // Anything can be in a name; what is not usual is a mistake in a configuration.
    let is_usual = |c: char| c.is_ascii_alphanumeric() || "-_*/.".contains(c);
    if let Some(c) = text.chars().find(|c| !is_usual(*c)) {
        return wrong(format!("has `{c}` in it"));
    }
    text.parse::<Name>().or_else(|error| wrong(error.to_string()))
}

/// Answers the zones that a text means: itself, or the names of the addresses in a range such as `10.0.0.0/16`.
pub(super) fn zones(text: &str) -> Result<Vec<Name>, String> {
    let Some((address, length)) = text.split_once('/') else { return Ok(vec![name(text)?]) };
    let wrong = || format!("`{text}` is neither a domain name nor a range of addresses");
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let length: usize = length.parse().map_err(|_| wrong())?;
    reverse_zones(address, length).ok_or_else(wrong)
}

/// Whether it names addresses.
pub(super) fn is_reverse(zone: &Name) -> bool {
    let labels: Vec<&[u8]> = zone.labels().collect();
    labels.ends_with(&[b"in-addr", b"arpa"]) || labels.ends_with(&[b"ip6", b"arpa"])
}

/// The parts of an address that names are made of: bytes of IPv4, half bytes of IPv6.
fn digits(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().iter().flat_map(|byte| [byte >> 4, byte & 15]).collect(),
    }
}

fn reverse(address: IpAddr, digits: &[u8]) -> Name {
    let mut name = String::new();
    for digit in digits.iter().rev() {
        match address {
            IpAddr::V4(_) => name += &format!("{digit}."),
            IpAddr::V6(_) => name += &format!("{digit:x}."),
        }
    }
    name += if address.is_ipv4() { "in-addr.arpa." } else { "ip6.arpa." };
    name.parse().expect("numbers make short labels, at most 34 of them")
}

/// A range that ends within a part is several zones.
fn reverse_zones(address: IpAddr, length: usize) -> Option<Vec<Name>> {
    let digits = digits(address);
    let width = if address.is_ipv4() { 8 } else { 4 };
    let (whole, bits) = (length / width, length % width);
    if length > digits.len() * width {
        return None;
    }
    if bits == 0 {
        return Some(vec![reverse(address, &digits[..whole])]);
    }
    let count = 1u8 << (width - bits);
    let first = digits[whole] & !(count - 1);
    let zone = |at: u8| {
        let mut digits = digits[..whole].to_vec();
        digits.push(first + at);
        reverse(address, &digits)
    };
    Some((0..count).map(zone).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_or_refused() {
        let long = "a".repeat(64);
        for (text, wanted) in [
            ("Example.ORG", "example.org."),
            (".", "."),
            ("_http._tcp.a", "_http._tcp.a."),
            ("a..b", "`a..b` is no domain name: it has an empty label"),
            ("", "`` is no domain name: it is empty"),
            ("a b", "`a b` is no domain name: it has ` ` in it"),
            (&long, &format!("`{long}` is no domain name: it has a label of more than 63 bytes")),
        ] {
            assert_eq!(name(text).map_or_else(|error| error, |name| name.to_string()), wanted, "{text}");
        }
    }

    #[test]
    fn ranges_are_zones() {
        for (text, wanted) in [
            ("10.0.0.0/8", "10.in-addr.arpa."),
            (
                "10.96.0.0/13",
                "96.10.in-addr.arpa. 97.10.in-addr.arpa. 98.10.in-addr.arpa. 99.10.in-addr.arpa. \
                100.10.in-addr.arpa. 101.10.in-addr.arpa. 102.10.in-addr.arpa. 103.10.in-addr.arpa.",
            ),
            ("1.2.3.4/31", "4.3.2.1.in-addr.arpa. 5.3.2.1.in-addr.arpa."),
            ("fd00::/8", "d.f.ip6.arpa."),
            ("2001:db8::/31", "8.b.d.0.1.0.0.2.ip6.arpa. 9.b.d.0.1.0.0.2.ip6.arpa."),
            ("0.0.0.0/0", "in-addr.arpa."),
            ("10.0.0.0/33", ""),
            ("a/8", ""),
        ] {
            let zones = zones(text).unwrap_or_default();
            let zones: Vec<String> = zones.iter().map(Name::to_string).collect();
            assert_eq!(zones.join(" "), wanted, "{text}");
        }
        for (text, wanted) in
            [("3.2.1.10.in-addr.arpa", true), ("ip6.arpa", true), ("arpa", false), ("a.org", false)]
        {
            assert_eq!(is_reverse(&name(text).expect("a name")), wanted, "{text}");
        }
    }
}
