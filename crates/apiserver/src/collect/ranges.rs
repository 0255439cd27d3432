//! How ranges of addresses (ServiceCIDRs) are held while addresses need them, and what their condition says.

use std::net::IpAddr;

use serde_json::Value;

use super::{Action, Condition, Object, What};

/// What holds a range.
pub(crate) const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// Answers what is to be done about a range. The last action must wait for those before it.
pub(crate) fn decide(object: &Object, range: &Value, is_needed: &dyn Fn() -> bool) -> Vec<Action> {
    let uid = range["metadata"]["uid"].as_str().unwrap_or_default();
    let act = |what: What| Action { object: object.clone(), uid: uid.to_owned(), what };
    let is_held =
        range["metadata"]["finalizers"].as_array().into_iter().flatten().any(|one| one == FINALIZER);
    let report = |condition: Condition| (!condition.is_in(range)).then(|| act(What::Report(vec![condition])));
    if !range["metadata"]["deletionTimestamp"].is_string() {
        let hold = (!is_held).then(|| act(What::Hold(FINALIZER)));
        // Kubernetes gives no reason.
        let ready = ready(true, "", "Kubernetes Service CIDR is ready");
        return hold.into_iter().chain(report(ready)).collect();
    }
    if !is_held {
        return Vec::new();
    }
    if is_needed() {
        let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new \
                       ServiceCIDR";
        return report(ready(false, "Terminating", message)).into_iter().collect();
    }
    vec![act(What::ReleaseRange)]
}

fn ready(is_true: bool, reason: &'static str, message: &str) -> Condition {
    Condition { name: "Ready", is_true, reason, message: message.to_owned() }
}

/// Whether some address that a Service got is in this range and in no other.
pub(crate) fn is_needed(range: &Value, ranges: &[Value], addresses: impl IntoIterator<Item = Value>) -> bool {
    let name = |range: &Value| range["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let others: Vec<Prefix> =
        ranges.iter().filter(|other| name(other) != name(range)).flat_map(prefixes).collect();
    let own: Vec<Prefix> = prefixes(range).collect();
    let is_of_service = |address: &Value| {
        address["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"] == "ipallocator.k8s.io"
    };
    let address = |object: Value| object["metadata"]["name"].as_str()?.parse().ok();
    let mut addresses = addresses.into_iter().filter(is_of_service).filter_map(address);
    addresses.any(|address| {
        let has = |prefixes: &[Prefix]| prefixes.iter().any(|prefix| prefix.has(address));
        has(&own) && !has(&others)
    })
}

fn prefixes(range: &Value) -> impl Iterator<Item = Prefix> {
    let list = range["spec"]["cidrs"].as_array().into_iter().flatten();
    list.filter_map(|text| Prefix::parse(text.as_str()?))
}

/// A range of addresses.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    first: IpAddr,
    length: u32,
}

impl Prefix {
    fn parse(text: &str) -> Option<Self> {
        let (first, length) = text.split_once('/')?;
        Some(Self { first: first.parse().ok()?, length: length.parse().ok()? })
    }

    /// Whether an address can be had from the range: not its first, and of IPv4 not its last.
    fn has(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32_u32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let ((first, width), (address, own_width)) = (bits(self.first), bits(address));
        let Some(host) = width.checked_sub(self.length) else { return false };
        let mask = 1_u128.checked_shl(host).map_or(u128::MAX, |size| size - 1);
        let is_end = address & mask == 0 || (width == 32 && address & mask == mask);
        width == own_width && first & !mask == address & !mask && !is_end
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::Kind;

    fn range(name: &str, cidrs: &str, meta: Value, status: Value) -> Value {
        let mut range = json!({"metadata": meta, "spec": {"cidrs": cidrs.split(' ').collect::<Vec<_>>()},
                               "status": status});
        range["metadata"]["name"] = name.into();
        range
    }

    #[test]
    fn a_range_is_held_and_reported() {
        let check = |meta: Value, status: Value, is_needed: bool, wanted: &[What]| {
            let kind = Kind::find("networking.k8s.io", "v1", "servicecidrs").expect("it is served");
            let range = range("r", "10.0.0.0/24", meta, status);
            let actions = decide(&Object::new(kind, "r"), &range, &|| is_needed);
            assert_eq!(actions.into_iter().map(|action| action.what).collect::<Vec<_>>(), wanted);
        };
        let fine = ready(true, "", "Kubernetes Service CIDR is ready");
        let text = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
        let ends = ready(false, "Terminating", text);
        let status = |condition: &Condition| {
            json!({"conditions": [{"type": "Ready", "status": if condition.is_true { "True" } else { "False" },
                                   "reason": condition.reason, "message": condition.message}]})
        };
        let held = json!({"finalizers": [FINALIZER]});
        let deleted = json!({"finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"});
        check(json!({}), json!({}), true, &[What::Hold(FINALIZER), What::Report(vec![fine.clone()])]);
        check(held.clone(), status(&ends), true, &[What::Report(vec![fine.clone()])]);
        check(held, status(&fine), true, &[]);
        check(deleted.clone(), status(&fine), true, &[What::Report(vec![ends.clone()])]);
        check(deleted.clone(), status(&ends), true, &[]);
        check(deleted, status(&ends), false, &[What::ReleaseRange]);
        check(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), json!({}), false, &[]);
    }

    #[test]
    fn addresses_need_the_only_range_they_are_in() {
        let check = |cidrs: &str, others: &str, addresses: &str, wanted: bool| {
            let own = range("own", cidrs, json!({}), json!({}));
            let all = [own.clone(), range("other", others, json!({}), json!({}))];
            let address = |text: &str| {
                let (name, manager) = text.split_once('=').unwrap_or((text, "ipallocator.k8s.io"));
                json!({"metadata": {"name": name, "labels": {"ipaddress.kubernetes.io/managed-by": manager}}})
            };
            assert_eq!(
                is_needed(&own, &all, addresses.split(' ').map(address)),
                wanted,
                "{cidrs} {others} {addresses}"
            );
        };
        check("10.0.0.0/24", "", "10.0.0.1", true);
        check("10.0.0.0/24", "", "10.0.1.1", false);
        check("10.0.0.0/24", "", "10.0.0.1=somebody", false);
        check("10.0.0.0/24", "10.0.0.0/16", "10.0.0.1", false);
        check("10.0.0.0/24", "10.0.0.0/28", "10.0.0.1 10.0.0.17", true);
        check("10.0.0.0/24", "", "10.0.0.0 10.0.0.255", false);
        check("10.0.0.0/24 fd00::/112", "10.0.0.0/24", "10.0.0.1 fd00::1", true);
        check("fd00::/112", "", "fd00::ffff", true);
        check("fd00::/112", "::/0", "fd00::ffff", false);
        check("0.0.0.0/0", "", "fd00::1", false);
        check("0.0.0.0/0", "x 10.0.0.0/33", "10.0.0.1", true);
    }
}
