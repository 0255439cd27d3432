//! Which UDP flows must be ended: those that connection tracking keeps sending where no Service sends them any more.
//!
//! A UDP client that goes on using one port is one flow for as long as it is not silent, and a flow keeps the endpoint
//! it once got. TCP is left alone: its connections end by themselves, and a pod that terminates shall finish them. What
//! this file does *not* do: look at the table of flows, or end any.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use model::{Flow, Protocol, ServiceKey, ServiceView};

/// Address and port of a UDP frontend; without an address it is a NodePort.
type Place = (Option<IpAddr>, u16);

/// The endpoints that serve at a place, sorted, whatever policies and hints say: a flow to one of them may go on.
type Serving = Vec<SocketAddr>;

/// The UDP frontends of all Services of one family, and which of them may have stale flows.
#[derive(Debug, Clone, Default)]
pub struct UdpFrontends {
    known: BTreeMap<ServiceKey, BTreeMap<Place, Serving>>,
    check: FlowCheck,
}

/// What to look for in the table of flows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowCheck {
    /// Places whose endpoints changed, with those that serve now; `None`: there is no such frontend any more.
    places: BTreeMap<Place, Option<Serving>>,
    /// This node's own addresses.
    node_addresses: Vec<IpAddr>,
}

impl UdpFrontends {
    /// Takes what a Service is now; `None`: nothing.
    pub fn set_service(&mut self, key: &ServiceKey, view: Option<&ServiceView>) {
        let new = view.map(places).unwrap_or_default();
        let old =
            if new.is_empty() { self.known.remove(key) } else { self.known.insert(key.clone(), new.clone()) };
        let old = old.unwrap_or_default();
        for place in old.keys().filter(|place| !new.contains_key(*place)) {
            self.check.places.insert(*place, None);
        }
        for (place, serving) in new {
            if old.get(&place).is_none_or(|before| may_leave_stale_flows(before, &serving)) {
                self.check.places.insert(place, Some(serving));
            } else if let Some(waiting) = self.check.places.get_mut(&place) {
                *waiting = Some(serving);
            }
        }
    }

    /// Takes the node's own addresses.
    pub fn set_node_addresses(&mut self, addresses: &[IpAddr]) {
        self.check.node_addresses = addresses.to_vec();
    }

    /// Answers what there is to look for, once; `None`: nothing. To be asked when the rules are in force: a flow that is
    /// ended before would come back as it was.
    pub fn take_check(&mut self) -> Option<FlowCheck> {
        let places = std::mem::take(&mut self.check.places);
        let node_addresses = self.check.node_addresses.clone();
        (!places.is_empty()).then_some(FlowCheck { places, node_addresses })
    }
}

/// Flows are stale when their endpoint left, or when they found none and there is one now.
fn may_leave_stale_flows(before: &Serving, now: &Serving) -> bool {
    before.is_empty() != now.is_empty() || before.iter().any(|endpoint| now.binary_search(endpoint).is_err())
}

fn places(view: &ServiceView) -> BTreeMap<Place, Serving> {
    let mut places = BTreeMap::new();
    for port in view.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
        let serving = port.endpoints.iter().filter(|endpoint| endpoint.serving);
        let mut serving: Serving =
            serving.map(|view| SocketAddr::new(view.endpoint.address, view.endpoint.port)).collect();
        serving.sort_unstable();
        for frontend in port.frontends.iter().filter(|frontend| frontend.shadowed_by.is_none()) {
            places.entry((frontend.address, frontend.port)).or_insert_with(|| serving.clone());
        }
    }
    places
}

impl FlowCheck {
    /// Adds a later check, which knows better about the same places.
    pub fn merge(&mut self, later: Self) {
        self.places.extend(later.places);
        self.node_addresses = later.node_addresses;
    }

    /// Answers whether a UDP flow goes where it should not.
    pub fn is_stale(&self, flow: &Flow) -> bool {
        let Some(serving) = self.serving(flow) else { return false };
        match serving {
            // Nobody is behind the place any more, so what is rewritten goes where nobody should.
            None => flow.is_rewritten(),
            // Not rewritten, it found no endpoint; as long as there is none, ending it would change nothing.
            Some(serving) if !flow.is_rewritten() => !serving.is_empty(),
            Some(serving) => serving.binary_search(&flow.answers).is_err(),
        }
    }

    /// What is known about the place to which a flow goes. A NodePort is meant when the address is this node's or was
    /// rewritten: a flow to the same port of somebody else is none of ours.
    fn serving(&self, flow: &Flow) -> Option<Option<&Serving>> {
        let (address, port) = (flow.destination.ip(), flow.destination.port());
        let at_address = self.places.get(&(Some(address), port));
        let at_node = || {
            let is_ours = flow.is_rewritten() || self.node_addresses.contains(&address);
            self.places.get(&(None, port)).filter(|_| is_ours)
        };
        at_address.or_else(at_node).map(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: &str = "10.96.0.10:53";

    fn flow(destination: &str, answers: &str) -> Flow {
        Flow { destination: destination.parse().unwrap(), answers: answers.parse().unwrap() }
    }

    /// A check of one place with these endpoints; `-`: the frontend is gone.
    fn check(place: &str, serving: &str) -> FlowCheck {
        let place: SocketAddr = place.parse().unwrap();
        let address = (!place.ip().is_unspecified()).then_some(place.ip());
        let serving =
            (serving != "-").then(|| serving.split_whitespace().map(|one| one.parse().unwrap()).collect());
        FlowCheck {
            places: BTreeMap::from([((address, place.port()), serving)]),
            node_addresses: vec!["192.168.1.1".parse().unwrap()],
        }
    }

    #[test]
    fn flows_to_serving_endpoints_stay_and_others_go() {
        let now = check(VIP, "10.244.1.5:53 10.244.1.6:53");
        assert!(!now.is_stale(&flow(VIP, "10.244.1.5:53")));
        assert!(now.is_stale(&flow(VIP, "10.244.1.7:53")));
        assert!(now.is_stale(&flow(VIP, "10.244.1.5:54")), "the endpoint's port changed");
        assert!(now.is_stale(&flow(VIP, VIP)), "it found no endpoint, and there is one now");
        assert!(!now.is_stale(&flow("10.96.0.10:54", "10.244.1.7:53")), "another port");
        assert!(!now.is_stale(&flow("10.96.0.11:53", "10.244.1.7:53")), "another address");
    }

    #[test]
    fn without_serving_endpoints_only_what_was_rewritten_goes() {
        for serving in ["", "-"] {
            let now = check(VIP, serving);
            assert!(now.is_stale(&flow(VIP, "10.244.1.5:53")), "{serving}");
            assert!(!now.is_stale(&flow(VIP, VIP)), "{serving}");
        }
    }

    #[test]
    fn node_ports_are_at_the_nodes_own_addresses() {
        let now = check("0.0.0.0:30053", "10.244.1.5:53");
        assert!(now.is_stale(&flow("192.168.1.1:30053", "192.168.1.1:30053")));
        assert!(now.is_stale(&flow("192.168.1.1:30053", "10.244.1.9:53")));
        assert!(
            now.is_stale(&flow("172.16.0.9:30053", "10.244.1.9:53")),
            "an address the Node object does not tell"
        );
        assert!(!now.is_stale(&flow("8.8.8.8:30053", "8.8.8.8:30053")), "somebody else's port");
    }

    #[test]
    fn more_endpoints_are_no_reason_to_look() {
        let parse =
            |text: &str| -> Serving { text.split_whitespace().map(|one| one.parse().unwrap()).collect() };
        let may = |before: &str, now: &str| may_leave_stale_flows(&parse(before), &parse(now));
        assert!(!may("10.0.0.1:1", "10.0.0.1:1 10.0.0.2:1"));
        assert!(may("10.0.0.1:1 10.0.0.2:1", "10.0.0.1:1"));
        assert!(may("", "10.0.0.1:1"));
        assert!(may("10.0.0.1:1", ""));
        assert!(!may("", ""));
    }
}
