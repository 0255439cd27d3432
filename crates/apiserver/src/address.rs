//! IP addresses and ranges in objects, judged in Kubernetes' words (`validation/ip.go` of k8s.io/apimachinery).
//!
//! Two readers: the lenient one is Go's from before 1.17, which old objects may still need; the strict one decides what
//! may be written today. Whether an address fits its place in a cluster is not said here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::mistake::{Mistake, Path};

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Reads an address leniently: zeros may lead. IPv4 in IPv6's clothes is IPv4.
pub fn lenient(text: &str) -> Option<IpAddr> {
    if !text.contains(':') {
        return lenient_v4(text).map(IpAddr::V4);
    }
    let group = |group: &str| -> Option<String> {
        if group.contains('.') {
            return lenient_v4(group).map(|address| address.to_string());
        }
        let digits = group.trim_start_matches('0');
        Some(if digits.is_empty() && !group.is_empty() { "0" } else { digits }.to_owned())
    };
    let groups: Option<Vec<String>> = text.split(':').map(group).collect();
    let address: Ipv6Addr = groups?.join(":").parse().ok()?;
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

fn lenient_v4(text: &str) -> Option<Ipv4Addr> {
    let part = |part: &str| -> Option<u8> {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.trim_start_matches('0')).and_then(|digits| match digits {
            "" => Some(0),
            digits => digits.parse().ok(),
        })
    };
    let parts: Option<Vec<u8>> = text.split('.').map(part).collect();
    let parts: [u8; 4] = parts?.try_into().ok()?;
    Some(Ipv4Addr::from(parts))
}

/// Reads a range leniently: its address and the length of its prefix. The address may have more bits.
pub fn lenient_range(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let most = if address.contains(':') { 128 } else { 32 };
    let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let length = is_number.then(|| length.trim_start_matches('0'))?;
    let length: u8 = if length.is_empty() { 0 } else { length.parse().ok()? };
    (length <= most).then_some((lenient(address)?, length))
}

/// Whether it is IPv4 that is written as IPv6.
fn is_mapped(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.to_ipv4_mapped().is_some(),
    }
}

/// Answers what is wrong with a text as an address.
pub fn address(text: &str, path: &Path) -> Vec<Mistake> {
    let wrong = |why: &str| vec![Mistake::invalid(path, text, why)];
    if lenient(text).is_none() {
        return wrong(NO_ADDRESS);
    }
    match text.parse::<IpAddr>() {
        Err(_) => wrong("must not have leading 0s"),
        Ok(address) if is_mapped(address) => wrong("must not be an IPv4-mapped IPv6 address"),
        Ok(_) => Vec::new(),
    }
}

/// Answers what is wrong with a text as a range.
pub fn range(text: &str, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    let mut wrong = |why: &str| found.push(Mistake::invalid(path, text, why));
    let (Some((_, length)), Some((address, length_text))) = (lenient_range(text), text.split_once('/'))
    else {
        wrong(NO_RANGE);
        return found;
    };
    match address.parse::<IpAddr>() {
        Ok(address) if length_text == length.to_string() => {
            if is_mapped(address) {
                wrong("must not have an IPv4-mapped IPv6 address");
            }
            if first_of(address, length) != address {
                wrong("must not have bits set beyond the prefix length");
            }
        }
        Ok(_) | Err(_) => wrong("must not have leading 0s in IP or prefix length"),
    }
    found
}

/// Answers the first address of a range.
pub fn first_of(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
        }
    }
}

/// Answers why an address cannot be that of an endpoint.
pub fn endpoint(text: &str, path: &Path) -> Vec<Mistake> {
    let Some(address) = lenient(text) else {
        return vec![Mistake::invalid(path, text, "must be a valid IP address")];
    };
    let (is_link_local, is_link_local_multicast) = match address {
        IpAddr::V4(address) => (address.is_link_local(), address.octets().starts_with(&[224, 0, 0])),
        IpAddr::V6(address) => (address.is_unicast_link_local(), address.segments()[0] & 0xff0f == 0xff02),
    };
    let mut found = Vec::new();
    let mut forbid = |is_so: bool, why: String| {
        if is_so {
            found.push(Mistake::invalid(path, text, why));
        }
    };
    forbid(address.is_unspecified(), format!("may not be unspecified ({text})"));
    forbid(address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    forbid(is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    forbid(
        is_link_local_multicast,
        "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned(),
    );
    found
}

/// Answers how an address should rather be written.
pub fn warning(text: &str, path: &Path) -> Option<String> {
    let read = lenient(text)?;
    let quoted = crate::body::quoted;
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => None,
        Ok(strict @ IpAddr::V6(_)) if !is_mapped(strict) => {
            let wanted = strict.to_string();
            (wanted != text).then(|| {
                let (is, wanted) = (quoted(text), quoted(&wanted));
                format!("{path}: IPv6 address {is} should be in RFC 5952 canonical format ({wanted})")
            })
        }
        Ok(IpAddr::V6(_)) | Err(_) => {
            let (is, wanted) = (quoted(text), quoted(&read.to_string()));
            let future = "will be considered invalid in a future Kubernetes release";
            Some(format!("{path}: non-standard IP address {is} {future}: use {wanted}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(mistakes: Vec<Mistake>) -> Vec<String> {
        mistakes.into_iter().map(|mistake| mistake.detail).collect()
    }

    #[test]
    fn zeros_may_lead_for_the_lenient_only() {
        for (text, read, strict) in [
            ("10.1.2.3", Some("10.1.2.3"), true),
            ("010.001.2.0003", Some("10.1.2.3"), false),
            ("10.1.2", None, false),
            ("10.1.2.256", None, false),
            ("10.1.2.3 ", None, false),
            ("fd00::1", Some("fd00::1"), true),
            ("fd00::00001", Some("fd00::1"), false),
            ("::ffff:1.2.3.4", Some("1.2.3.4"), false),
            ("::ffff:01.2.3.4", Some("1.2.3.4"), false),
            ("::", Some("::"), true),
            ("0:0:0:0:0:0:0:0", Some("::"), true),
            ("fe80::1%eth0", None, false),
            (":::", None, false),
            ("", None, false),
        ] {
            assert_eq!(lenient(text).map(|address| address.to_string()).as_deref(), read, "{text}");
            assert_eq!(address(text, &Path::new("a")).is_empty(), strict, "{text}");
        }
        assert_eq!(details(address("01.2.3.4", &Path::new("a"))), ["must not have leading 0s"]);
    }

    #[test]
    fn ranges_are_judged() {
        let check = |text: &str, wanted: &[&str]| {
            assert_eq!(details(range(text, &Path::new("a"))), wanted, "{text}");
        };
        check("10.0.0.0/8", &[]);
        check("::/0", &[]);
        check("10.0.0.1/8", &["must not have bits set beyond the prefix length"]);
        check("10.0.0.0/08", &["must not have leading 0s in IP or prefix length"]);
        check("::ffff:10.0.0.0/128", &["must not have an IPv4-mapped IPv6 address"]);
        for wrong in ["10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8"] {
            check(wrong, &[NO_RANGE]);
        }
    }

    #[test]
    fn addresses_are_better_written_as_they_are_printed() {
        let check = |text: &str, wanted: Option<&str>| {
            assert_eq!(warning(text, &Path::new("a")).as_deref(), wanted, "{text}");
        };
        check("fd00::1", None);
        check("nobody", None);
        check(
            "fd00:0::1",
            Some("a: IPv6 address \"fd00:0::1\" should be in RFC 5952 canonical format (\"fd00::1\")"),
        );
        check(
            "010.1.2.3",
            Some(
                "a: non-standard IP address \"010.1.2.3\" will be considered invalid in a future Kubernetes release: \
                 use \"10.1.2.3\"",
            ),
        );
    }

    #[test]
    fn endpoints_are_somewhere() {
        for wrong in ["0.0.0.0", "127.1.1.1", "::1", "169.254.0.9", "fe80::1", "224.0.0.9", "ff02::1", "x"] {
            assert_eq!(endpoint(wrong, &Path::new("a")).len(), 1, "{wrong}");
        }
        for right in ["10.0.0.1", "fd00::1", "224.0.1.9", "ff05::1"] {
            assert!(endpoint(right, &Path::new("a")).is_empty(), "{right}");
        }
    }
}
