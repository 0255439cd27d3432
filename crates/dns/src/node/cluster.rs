//! Which Service is the cluster's DNS, and who answers behind it: seen in the changes that the zone is made of. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::object::{Change, Key, Kind, Object, Port, Service, Slice, Target};

/// The port of DNS.
pub const PORT: u16 = 53;

/// The cluster's DNS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ClusterDns {
    /// Its ClusterIPs, if port 53 is one of its ports.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Who answers there when nobody does on the node: ready endpoints, sorted.
    pub(super) endpoints: Vec<SocketAddr>,
}

/// What is known of one Service.
#[derive(Debug)]
pub(super) struct Observer {
    service: Key,
    addresses: BTreeSet<IpAddr>,
    /// By the names of slices.
    endpoints: BTreeMap<Box<str>, BTreeSet<SocketAddr>>,
}

impl Observer {
    pub(super) fn new(service: Key) -> Self {
        Self { service, addresses: BTreeSet::new(), endpoints: BTreeMap::new() }
    }

    /// Looks at a change. Answers what is known then, if the change is about the Service.
    pub(super) fn look(&mut self, change: &Change) -> Option<ClusterDns> {
        match change {
            Change::Put(Object::Service(service)) if service.key == self.service => {
                self.addresses = addresses(service);
            }
            Change::Gone(Kind::Service, key) if *key == self.service => self.addresses.clear(),
            Change::Put(Object::Slice(slice)) if slice.key.namespace == self.service.namespace => {
                self.look_at_slice(slice);
            }
            Change::Gone(Kind::Slice, key) if key.namespace == self.service.namespace => {
                self.endpoints.remove(&key.name)?;
            }
            Change::Put(Object::Service(_) | Object::Slice(_) | Object::Namespace(_) | Object::Pod(_))
            | Change::Gone(Kind::Service | Kind::Slice | Kind::Namespace | Kind::Pod, _)
            | Change::Synced(_)
            | Change::Servers(_) => return None,
        }
        let endpoints: BTreeSet<SocketAddr> = self.endpoints.values().flatten().copied().collect();
        Some(ClusterDns { addresses: self.addresses.clone(), endpoints: endpoints.into_iter().collect() })
    }

    fn look_at_slice(&mut self, slice: &Slice) {
        if slice.service.as_deref() != Some(&*self.service.name) {
            self.endpoints.remove(&slice.key.name);
            return;
        }
        let endpoints = ports(&slice.ports).flat_map(|port| {
            let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
            addresses.map(move |address| SocketAddr::new(*address, port))
        });
        self.endpoints.insert(slice.key.name.clone(), endpoints.collect());
    }
}

fn addresses(service: &Service) -> BTreeSet<IpAddr> {
    let Target::Addresses(addresses) = &service.target else { return BTreeSet::new() };
    let has_port = service.ports.iter().any(|port| &*port.protocol == "udp" && port.number == PORT);
    addresses.iter().copied().filter(|_| has_port).collect()
}

/// Whatever is asked over UDP; what else such a Service has is metrics.
fn ports(ports: &[Port]) -> impl Iterator<Item = u16> {
    ports.iter().filter(|port| &*port.protocol == "udp").map(|port| port.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::object;

    #[test]
    fn the_service_is_found_among_others() {
        let mut observer = Observer::new(Key::new("kube-system", "kube-dns"));
        let mut look = |change: Change| {
            let ClusterDns { addresses, endpoints } = observer.look(&change)?;
            Some(format!("{addresses:?} {endpoints:?}"))
        };
        let mut put = |line: &str, expected: Option<&str>| {
            assert_eq!(look(Change::Put(object(line))).as_deref(), expected, "{line}");
        };
        put("service a/kube-dns 10.0.0.1 dns/udp:53", None);
        put("slice a/kube-dns-1 kube-dns dns/udp:53 | 10.1.0.1", None);
        let slice = "slice kube-system/kube-dns-1 kube-dns dns/udp:5353 dns-tcp/tcp:5353 metrics/tcp:9153 | 10.1.0.2 10.1.0.1";
        put(slice, Some("{} [10.1.0.1:5353, 10.1.0.2:5353]"));
        let both = "{10.0.0.10, fd00::a} [10.1.0.1:5353, 10.1.0.2:5353]";
        put("service kube-system/kube-dns 10.0.0.10,fd00::a dns/udp:53 dns-tcp/tcp:53", Some(both));
        put("slice kube-system/kube-dns-1 other dns/udp:5353 | 10.1.0.1", Some("{10.0.0.10, fd00::a} []"));
        put("service kube-system/kube-dns 10.0.0.10 dns/udp:54", Some("{} []"));
        put("headless kube-system/kube-dns dns/udp:53", Some("{} []"));
        let gone = |kind, name: &str| Change::Gone(kind, Key::new("kube-system", name));
        assert_eq!(look(gone(Kind::Slice, "kube-dns-1")), None);
        assert_eq!(look(gone(Kind::Service, "kube-dns")).as_deref(), Some("{} []"));
        assert_eq!(look(Change::Synced(Kind::Service)), None);
    }
}
