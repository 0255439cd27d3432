//! Addresses of Services: an IPAddress object each, named like the address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::{Owner, free, kept_for_requests, ranges};
use crate::body::time::Precision;
use crate::kinds::Kind;
use crate::range::Range;
use crate::writing::Writing;

/// Who made an IPAddress object, in a label of it.
pub(super) const MANAGED_BY: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");

/// The kind IPAddress.
pub(super) fn kind() -> &'static Kind {
    Kind::find("networking.k8s.io", "v1", "ipaddresses").expect("it is served")
}

/// Why no address is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAddress {
    #[error("the provided network does not match the current range")]
    OutOfRange,
    #[error("provided IP is already allocated")]
    Taken,
    #[error("range is full")]
    Full,
}

/// Answers the families that Services can have, the usual one first.
pub(crate) fn families(writing: &Writing<'_>) -> Vec<&'static str> {
    ranges::own(writing).iter().map(|range| family(range.address)).collect()
}

/// The family of an address, as Services name it.
pub(crate) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Takes this address.
pub(crate) fn take_address(
    writing: &mut Writing<'_>,
    address: IpAddr,
    owner: &Owner,
) -> Result<(), NoAddress> {
    if !ranges::usable(writing).iter().any(|range| holds(*range, address)) {
        return Err(NoAddress::OutOfRange);
    }
    if writing.has(kind().table, &address.to_string()) {
        return Err(NoAddress::Taken);
    }
    put(writing, address, owner);
    Ok(())
}

/// Takes any address of a family: of the ranges in turn, beginning with one by chance.
pub(crate) fn take_any_address(
    writing: &mut Writing<'_>,
    of_family: &str,
    owner: &Owner,
) -> Result<IpAddr, NoAddress> {
    let mut ranges = ranges::usable(writing);
    ranges.retain(|range| family(range.address) == of_family);
    if ranges.is_empty() {
        return Err(NoAddress::Full);
    }
    let mut chance = writing.chance.clone();
    let start = chance.below(ranges.len() as u64) as usize;
    ranges.rotate_left(start);
    let found = ranges.into_iter().find_map(|range| {
        let is_taken = |number| writing.has(kind().table, &address(number, range.address).to_string());
        let [upper, lower] = bands(range);
        let number = free(&mut chance, upper, is_taken).or_else(|| free(&mut chance, lower, is_taken))?;
        Some(address(number, range.address))
    });
    writing.chance = chance;
    let address = found.ok_or(NoAddress::Full)?;
    put(writing, address, owner);
    Ok(address)
}

/// Gives an address back. One that somebody else has stays.
pub(crate) fn give_address_back(writing: &mut Writing<'_>, address: IpAddr, owner: &Owner) {
    let key = address.to_string();
    if writing.object(kind(), &key).is_some_and(|object| owner_of(&object).as_ref() == Some(owner)) {
        writing.delete(kind().table, &key);
    }
}

/// Answers the Service that an IPAddress object is for.
pub(super) fn owner_of(object: &Value) -> Option<Owner> {
    let text = |field: &str| object["spec"]["parentRef"][field].as_str().unwrap_or_default();
    let is_service = text("group").is_empty() && text("resource") == "services";
    is_service.then(|| Owner { namespace: text("namespace").to_owned(), name: text("name").to_owned() })
}

/// Writes the IPAddress object.
pub(super) fn put(writing: &mut Writing<'_>, address: IpAddr, owner: &Owner) {
    let now = writing.now.print(Precision::Seconds);
    let labels = json!({"ipaddress.kubernetes.io/ip-family": family(address), MANAGED_BY.0: MANAGED_BY.1});
    let fields = json!({
        "f:metadata": {"f:labels": {".": {}, "f:ipaddress.kubernetes.io/ip-family": {},
                                    format!("f:{}", MANAGED_BY.0): {}}},
        "f:spec": {"f:parentRef": {".": {}, "f:name": {}, "f:namespace": {}, "f:resource": {}}},
    });
    let mut object = json!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address.to_string(),
            "uid": writing.chance.uid(),
            "creationTimestamp": now,
            "labels": labels,
            "managedFields": [{"manager": "apiserver", "operation": "Update", "apiVersion": "networking.k8s.io/v1",
                               "time": now, "fieldsType": "FieldsV1", "fieldsV1": fields}],
        },
        "spec": {"parentRef": {"resource": "services", "namespace": owner.namespace, "name": owner.name}},
    });
    writing.put_object(kind(), &mut object);
}

/// The first address that Services can have.
pub(super) fn first(range: Range) -> Option<IpAddr> {
    let all = all(range);
    (!all.is_empty()).then(|| address(*all.start(), range.address))
}

/// Whether a Service can have an address out of a range.
pub(super) fn holds(range: Range, address: IpAddr) -> bool {
    range.address.is_ipv4() == address.is_ipv4() && all(range).contains(&number(address))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// The address of a number, in the family of another.
fn address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(number as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

/// What Services can have of a range: not its first address, and of IPv4 not its last.
fn all(range: Range) -> RangeInclusive<u128> {
    let (bits, broadcast) = if range.address.is_ipv4() { (32, 1) } else { (128, 0) };
    let hosts = u128::MAX.checked_shr(128 - (bits - u32::from(range.length))).unwrap_or(0);
    let base = number(range.masked().address);
    RangeInclusive::new(base.saturating_add(1), (base + hosts).saturating_sub(broadcast))
}

/// Where any address is taken from, in this order.
fn bands(range: Range) -> [RangeInclusive<u128>; 2] {
    let (first, last) = all(range).into_inner();
    let size = last.saturating_sub(first).saturating_add(if range.address.is_ipv4() { 3 } else { 2 });
    super::bands(first, last, kept_for_requests(size, 16, 256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_bands() {
        for (range, wanted) in [
            ("10.96.0.0/12", "10.96.1.1-10.111.255.254 10.96.0.1-10.96.1.0"),
            ("10.0.0.0/24", "10.0.0.17-10.0.0.254 10.0.0.1-10.0.0.16"),
            ("fd00:10:96::/112", "fd00:10:96::101-fd00:10:96::ffff fd00:10:96::1-fd00:10:96::100"),
            ("fd00::/64", "fd00::101-fd00::ffff:ffff:ffff:ffff fd00::1-fd00::100"),
            ("10.0.0.0/28", "10.0.0.1-10.0.0.14 -"),
            ("10.0.0.0/30", "10.0.0.1-10.0.0.2 -"),
            ("10.0.0.0/31", "- -"),
            ("10.0.0.0/32", "- -"),
            ("fd00::/128", "- -"),
        ] {
            let range = Range::parse(range).unwrap();
            let shown = bands(range).map(|band| match band.is_empty() {
                true => "-".to_owned(),
                false => {
                    format!(
                        "{}-{}",
                        address(*band.start(), range.address),
                        address(*band.end(), range.address)
                    )
                }
            });
            assert_eq!(shown.join(" "), wanted, "{range}");
        }
    }
}
