//! Ranges of addresses, and what has to be written in the one canonical way, in Kubernetes' words
//! (`validation/ip.go` of k8s.io/apimachinery).

use std::net::IpAddr;

use crate::address;
use crate::body::quoted;
use crate::mistake::{Mistake, Path};

/// A range of addresses, with the address that was written: its bits beyond the length may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The address.
    pub address: IpAddr,
    /// How many of its bits count.
    pub length: u8,
}

impl Range {
    /// Answers the address behind the first one: that of the Service `kubernetes`, where the range is the cluster's.
    pub fn first(self) -> IpAddr {
        match self.masked().address {
            IpAddr::V4(address) => IpAddr::V4(u32::from(address).saturating_add(1).into()),
            IpAddr::V6(address) => IpAddr::V6(u128::from(address).saturating_add(1).into()),
        }
    }

    /// Reads a range, leniently. One that is written as IPv6 and is IPv4 is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = address::lenient_range(text)?;
        let range = Self { address, length };
        (length <= range.bits()).then_some(range)
    }

    /// Answers how many addresses it has, as far as that can be said.
    pub fn size(self) -> u128 {
        1_u128.checked_shl(u32::from(self.bits() - self.length)).unwrap_or(u128::MAX)
    }

    fn bits(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Answers it without bits beyond its length.
    pub fn masked(self) -> Self {
        Self { address: address::first_of(self.address, self.length), ..self }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Answers what is wrong with a text that is an address in its canonical form.
pub fn canonical_address(text: &str) -> Vec<String> {
    let wrong = address::address(text, &Path::default());
    match address::lenient(text) {
        Some(address) if wrong.is_empty() => not_canonical(text, &address.to_string()).into_iter().collect(),
        Some(_) | None => wrong.into_iter().map(|mistake| mistake.detail).collect(),
    }
}

/// Answers what is wrong with a text that is a range in its canonical form.
pub fn canonical(text: &str, path: &Path) -> Vec<Mistake> {
    let wrong = address::range(text, path);
    match Range::parse(text) {
        Some(range) if wrong.is_empty() => {
            let wrong = not_canonical(text, &range.to_string());
            wrong.into_iter().map(|why| Mistake::invalid(path, text, why)).collect()
        }
        Some(_) | None => wrong,
    }
}

fn not_canonical(text: &str, canonical: &str) -> Option<String> {
    (text != canonical).then(|| format!("must be in canonical form ({})", quoted(canonical)))
}

/// Answers how a range should rather be written.
pub fn warnings(text: &str, path: &Path) -> Vec<String> {
    let Some(range) = Range::parse(text) else { return Vec::new() };
    let (shown, better) = (quoted(text), quoted(&range.masked().to_string()));
    let mut warnings = Vec::new();
    if range.masked() != range {
        let single = quoted(&Range { length: range.bits(), ..range }.to_string());
        let words = "is ambiguous in this context (should be";
        warnings.push(format!("{path}: CIDR value {shown} {words} {better} or {single}?)"));
    }
    let is_standard = address::range(text, path).iter().all(|wrong| wrong.detail.contains("bits set"));
    if !is_standard {
        let future = "will be considered invalid in a future Kubernetes release";
        warnings.push(format!("{path}: non-standard CIDR value {shown} {future}: use {better}"));
    }
    if warnings.is_empty() && range.to_string() != text {
        let canonical = quoted(&range.to_string());
        let words = "should be in RFC 5952 canonical format";
        warnings.push(format!("{path}: IPv6 CIDR value {shown} {words} ({canonical})"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_canonical_way() {
        assert_eq!(canonical_address("fd00::1"), [] as [&str; 0]);
        assert_eq!(canonical_address("::1.2.3.4"), ["must be in canonical form (\"::102:304\")"]);
        assert_eq!(canonical_address("FD00:0::1"), ["must be in canonical form (\"fd00::1\")"]);
        assert_eq!(canonical_address("01.2.3.4"), ["must not have leading 0s"]);
        for (text, wanted) in [
            ("10.0.0.0/8", ""),
            ("fd00:0::/112", "must be in canonical form (\"fd00::/112\")"),
            ("10.0.0.1/8", "must not have bits set beyond the prefix length"),
            ("10.0.0.0", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        ] {
            let found: Vec<String> =
                canonical(text, &Path::new("a")).into_iter().map(|mistake| mistake.detail).collect();
            assert_eq!(found.concat(), wanted, "{text}");
        }
    }

    #[test]
    fn warnings_are_worded_as_kubernetes_words_them() {
        for (text, wanted) in [
            ("192.12.2.0/24", ""),
            (
                "192.12.2.8/24",
                "a: CIDR value \"192.12.2.8/24\" is ambiguous in this context (should be \"192.12.2.0/24\" or \"192.12.2.8/32\"?)",
            ),
            (
                "192.12.2.0/024",
                "a: non-standard CIDR value \"192.12.2.0/024\" will be considered invalid in a future Kubernetes release: use \"192.12.2.0/24\"",
            ),
            (
                "fd00:0::/64",
                "a: IPv6 CIDR value \"fd00:0::/64\" should be in RFC 5952 canonical format (\"fd00::/64\")",
            ),
            ("nope", ""),
        ] {
            assert_eq!(warnings(text, &Path::new("a")).join("; "), wanted, "{text}");
        }
    }
}
