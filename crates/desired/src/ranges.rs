//! Lists of address prefixes.

use model::{Family, IpNet};

/// The prefixes of one family: canonical, sorted, without those that others contain.
pub(crate) fn of_family<'a>(prefixes: impl IntoIterator<Item = &'a IpNet>, family: Family) -> Vec<IpNet> {
    minimal(prefixes.into_iter().filter(|net| Family::of(net.addr()) == family).map(IpNet::trunc))
}

/// The same set of addresses without prefixes that others contain. All are of one family.
pub(crate) fn minimal(prefixes: impl IntoIterator<Item = IpNet>) -> Vec<IpNet> {
    let mut all: Vec<IpNet> = prefixes.into_iter().collect();
    // Address first, then length: whatever contains a prefix stands before it.
    all.sort_unstable();
    let mut kept: Vec<IpNet> = Vec::with_capacity(all.len());
    for net in all {
        if !kept.last().is_some_and(|last| last.contains(&net)) {
            kept.push(net);
        }
    }
    kept
}

/// The prefix that contains every address of a family.
pub(crate) fn everything(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(family: Family, given: &str) -> String {
        let given: Vec<IpNet> =
            given.split_whitespace().map(|net| net.parse().expect("prefixes of this test parse")).collect();
        of_family(&given, family).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn contained_prefixes_host_bits_duplicates_and_the_other_family_go() {
        let given = "10.1.2.3/16 10.1.0.0/16 10.1.4.0/24 9.0.0.0/8 10.2.0.0/16 fd00::1/64 fd00::/48";
        assert_eq!(check(Family::V4, given), "9.0.0.0/8 10.1.0.0/16 10.2.0.0/16");
        assert_eq!(check(Family::V6, given), "fd00::/48");
        assert_eq!(check(Family::V4, "10.0.0.0/8 0.0.0.0/0 192.168.0.1/32"), "0.0.0.0/0");
    }

    #[test]
    fn everything_contains_everything() {
        assert_eq!(everything(Family::V4).to_string(), "0.0.0.0/0");
        assert_eq!(everything(Family::V6).to_string(), "::/0");
    }
}
