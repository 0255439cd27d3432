//! Who has which address in the network of the cases. Names and numbers only; nothing is built here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The nodes, sorted.
pub const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// An IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Every name of the network with its addresses.
#[derive(Debug)]
pub struct Plan {
    hosts: BTreeMap<String, Host>,
    owners: BTreeMap<IpAddr, Owner>,
}

/// Whose address it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Such as `a1`, or `k1.7` for the seventh of the many addresses of `k1`.
    pub name: String,
    /// Whether it is the host's main address, not its second one.
    pub main: bool,
}

#[derive(Debug)]
struct Host {
    main: (Ipv4Addr, Ipv6Addr),
    second: Option<(Ipv4Addr, Ipv6Addr)>,
    node: Option<String>,
}

impl Plan {
    pub fn new() -> Self {
        let mut plan = Self { hosts: BTreeMap::new(), owners: BTreeMap::new() };
        plan.machines();
        for number in 1..=3u8 {
            plan.node(number);
        }
        plan
    }

    /// Answers the main address of a name.
    pub fn address(&self, name: &str, family: Family) -> Option<IpAddr> {
        let (v4, v6) = self.hosts.get(name)?.main;
        Some(match family {
            Family::V4 => v4.into(),
            Family::V6 => v6.into(),
        })
    }

    /// Answers the address that a word of a case means: `a1`, `n1.v6`, `n1.alt`, `n1.alt6`.
    pub fn named(&self, word: &str) -> Option<IpAddr> {
        if let Some(name) = word.strip_suffix(".v6") {
            return self.address(name, Family::V6);
        }
        let second = |name: &str| self.hosts.get(name)?.second;
        if let Some(name) = word.strip_suffix(".alt6") {
            return second(name).map(|(_, v6)| v6.into());
        }
        if let Some(name) = word.strip_suffix(".alt") {
            return second(name).map(|(v4, _)| v4.into());
        }
        self.address(word, Family::V4)
    }

    /// Answers whether there is such a host or address name.
    pub fn has(&self, name: &str) -> bool {
        self.hosts.contains_key(name)
    }

    /// Answers the node that a pod, or the node itself, belongs to.
    pub fn node_of(&self, name: &str) -> Option<&str> {
        self.hosts.get(name)?.node.as_deref()
    }

    /// Answers who has an address; nobody has those of Services.
    pub fn owner(&self, address: IpAddr) -> Option<&Owner> {
        self.owners.get(&address.to_canonical())
    }

    fn machines(&mut self) {
        for (name, last, tail) in [("fabric", 1, 1), ("cp", 2, 2), ("ext", 100, 0x100), ("ext2", 102, 0x102)]
        {
            let second = (name == "ext").then(|| (outside(101), fabric6(0x101)));
            self.put(name, Host { main: (outside(last), fabric6(tail)), second, node: None });
        }
    }

    fn node(&mut self, number: u8) {
        let node = format!("n{number}");
        let low = u16::from(number);
        let second =
            (Ipv4Addr::new(192, 168, 78, 10 + number), Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 0x10 + low));
        let main = (outside(10 + number), fabric6(0x10 + low));
        self.put(&node, Host { main, second: Some(second), node: Some(node.clone()) });
        for (letter, last) in [("a", 2), ("b", 3), ("c", 4), ("d", 5), ("k", 9)] {
            self.put_pod(&format!("{letter}{number}"), number, (last, u16::from(last)));
        }
        for index in 1..=126u8 {
            self.put_pod(&format!("k{number}.{index}"), number, (128 + index, 0x1000 + u16::from(index)));
        }
    }

    fn put_pod(&mut self, name: &str, node: u8, (last4, last6): (u8, u16)) {
        let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x244, u16::from(node), 0, 0, 0, last6);
        let main = (Ipv4Addr::new(10, 244, node, last4), v6);
        self.put(name, Host { main, second: None, node: Some(format!("n{node}")) });
    }

    fn put(&mut self, name: &str, host: Host) {
        for (pair, main) in [(Some(host.main), true), (host.second, false)] {
            let Some((v4, v6)) = pair else { continue };
            let owner = Owner { name: name.to_owned(), main };
            self.owners.insert(v4.into(), owner.clone());
            self.owners.insert(v6.into(), owner);
        }
        self.hosts.insert(name.to_owned(), host);
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

fn outside(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 77, last)
}

fn fabric6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_every_kind_of_address() {
        let plan = Plan::new();
        let cases = [
            ("a1", "10.244.1.2"),
            ("d3.v6", "fd00:10:244:3::5"),
            ("n2", "192.168.77.12"),
            ("n2.v6", "fd77::12"),
            ("n2.alt", "192.168.78.12"),
            ("n3.alt6", "fd78::13"),
            ("k1", "10.244.1.9"),
            ("k1.70", "10.244.1.198"),
            ("k2.126.v6", "fd00:10:244:2::107e"),
            ("ext.alt6", "fd77::101"),
            ("ext2", "192.168.77.102"),
        ];
        for (word, address) in cases {
            assert_eq!(plan.named(word), Some(address.parse().unwrap()), "{word}");
        }
        assert_eq!(plan.named("e9"), None);
        assert_eq!(plan.node_of("k3.5"), Some("n3"));
        assert_eq!(plan.node_of("ext"), None);
        let owner = |text: &str| plan.owner(text.parse().unwrap()).cloned();
        assert_eq!(owner("::ffff:10.244.1.2"), Some(Owner { name: "a1".into(), main: true }));
        assert_eq!(owner("fd78::11"), Some(Owner { name: "n1".into(), main: false }));
        assert_eq!(owner("10.96.0.1"), None);
    }
}
