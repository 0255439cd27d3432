//! What the program's parts are called: tables, chains, and the trees that lead to frontends.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Family, IpNet, Protocol};
use ring::digest;

use crate::item::Place;

/// A table of iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `filter`.
    Filter,
    /// `nat`.
    Nat,
}

/// Sixteen characters that stand for a port or a frontend in a chain's name, which has at most 28.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(Arc<str>);

/// A chain. Some names exist in both tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// One of the kernel's.
    BuiltIn(Hook),
    /// `KUBE-SERVICES`, where everything begins.
    Services,
    /// `KUBE-EXTERNAL-SERVICES`: what refuses packets for this node.
    ExternalServices,
    /// `KUBE-NODEPORTS` in `filter`: what lets health checks in.
    HealthPorts,
    /// `KUBE-FORWARD`.
    Forward,
    /// `KUBE-LOCALNET`: keeps others from 127.0.0.0/8. kube-proxy's `KUBE-FIREWALL` is kubelet's as well.
    Localnet,
    /// `KUBE-POSTROUTING`.
    Postrouting,
    /// `KUBE-MARK-MASQ`.
    MarkMasq,
    /// `KUBE-MARK-CLUSTER`: marks what is no pod's traffic.
    MarkCluster,
    /// `KUBE-SVC-`: balances over the cluster's endpoints.
    Service(Hash),
    /// `KUBE-SVL-`: balances over this node's endpoints.
    Local(Hash),
    /// `KUBE-EXT-`: external addresses and NodePorts.
    External(Hash),
    /// `KUBE-FW-`: who may use a load-balancer address.
    Ranges(Hash),
    /// A branch of a tree.
    Branch(Tree, Spot),
}

/// A built-in chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Arrived through an interface.
    Prerouting,
    /// For this node.
    Input,
    /// Passing through.
    Forward,
    /// Sent by this node.
    Output,
    /// Leaving.
    Postrouting,
}

/// A tree of chains, whose leaves hold the rules of a few frontends each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tree {
    /// Frontends at addresses.
    Addresses,
    /// NodePorts.
    NodePorts,
    /// Frontends at addresses without endpoints.
    Refused,
    /// NodePorts without endpoints.
    RefusedNodePorts,
    /// Frontends with source ranges.
    Guarded,
}

/// A place in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spot {
    /// Where the tree is entered.
    Root,
    /// Addresses.
    Net(IpNet),
    /// Ports of a protocol, from a first one, with so many bits in common.
    Ports(Protocol, u16, u8),
}

/// How many bits of an address the branches look at. Behind the last one a few addresses are left, each of which may
/// have any number of ports; ClusterIPs of one cluster have the first 12 to 16 bits in common (IPv6: 108 to 112).
const BITS_V4: [u8; 6] = [8, 12, 16, 20, 24, 28];
const BITS_V6: [u8; 10] = [32, 64, 96, 100, 104, 108, 112, 116, 120, 124];
/// How many bits of a port.
const BITS_PORT: [u8; 2] = [8, 12];

impl Table {
    /// Both, in the order in which they are written.
    pub const BOTH: [Self; 2] = [Self::Filter, Self::Nat];

    /// Answers its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

impl Hash {
    /// Answers kube-proxy's hash of a Service port: `namespace/name:port` and the protocol.
    pub fn of_port(port: &str, protocol: Protocol) -> Self {
        Self::of(&format!("{port}{protocol}"))
    }

    /// Reads one.
    pub(crate) fn read(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| Self(text.into()))
    }

    /// Answers the beginning of the SHA-256 of a text, in base32.
    pub fn of(text: &str) -> Self {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let sum = digest::digest(&digest::SHA256, text.as_bytes());
        let bits = sum.as_ref().iter().take(10).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        let letter = |at: u32| char::from(LETTERS[(bits >> (75 - 5 * at) & 31) as usize]);
        Self((0..16).map(letter).collect::<String>().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Hook {
    /// Answers its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
        }
    }
}

impl Tree {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Addresses, Self::NodePorts, Self::Refused, Self::RefusedNodePorts, Self::Guarded];

    /// Answers where it is.
    pub fn table(self) -> Table {
        match self {
            Self::Addresses | Self::NodePorts => Table::Nat,
            Self::Refused | Self::RefusedNodePorts | Self::Guarded => Table::Filter,
        }
    }

    fn root(self) -> &'static str {
        match self {
            Self::Addresses => "KUBE-ADDRESSES",
            Self::NodePorts => "KUBE-NODEPORTS",
            Self::Refused => "KUBE-REFUSED",
            Self::RefusedNodePorts => "KUBE-REFUSED-NODEPORTS",
            Self::Guarded => "KUBE-PROXY-FIREWALL",
        }
    }

    fn branch(self) -> &'static str {
        match self {
            Self::Addresses => "KUBE-IP-",
            Self::NodePorts => "KUBE-NP-",
            Self::Refused => "KUBE-NO-",
            Self::RefusedNodePorts => "KUBE-NN-",
            Self::Guarded => "KUBE-GU-",
        }
    }

    /// Answers the way to a place, from the first branch to the leaf.
    pub(crate) fn path(place: &Place) -> Vec<Spot> {
        match place.address {
            Some(address) => {
                let bits = match address {
                    IpAddr::V4(_) => &BITS_V4[..],
                    IpAddr::V6(_) => &BITS_V6[..],
                };
                bits.iter().map(|bits| Spot::net(address, *bits)).collect()
            }
            None => BITS_PORT.map(|bits| Spot::ports(place, bits)).into(),
        }
    }
}

impl Spot {
    fn net(address: IpAddr, bits: u8) -> Self {
        Self::Net(IpNet::new_assert(address, bits).trunc())
    }

    fn ports(place: &Place, bits: u8) -> Self {
        Self::Ports(place.protocol, place.port >> (16 - bits) << (16 - bits), bits)
    }

    /// Answers the leaf where a place is.
    pub(crate) fn leaf(place: &Place) -> Self {
        Tree::path(place).pop().unwrap_or(Self::Root)
    }

    /// Answers from where a branch is entered.
    pub(crate) fn parent(&self) -> Self {
        let before = |all: &[u8], bits: u8| all.iter().copied().rfind(|before| *before < bits);
        match self {
            Self::Root => Self::Root,
            Self::Net(net) => {
                let all = match Family::of(net.addr()) {
                    Family::V4 => &BITS_V4[..],
                    Family::V6 => &BITS_V6[..],
                };
                before(all, net.prefix_len()).map_or(Self::Root, |bits| Self::net(net.addr(), bits))
            }
            Self::Ports(protocol, port, bits) => {
                let place = Place { address: None, protocol: *protocol, port: *port };
                before(&BITS_PORT, *bits).map_or(Self::Root, |bits| Self::ports(&place, bits))
            }
        }
    }
}

impl Chain {
    /// Answers a number that is greater than those of all chains that this one leads to.
    pub(crate) fn depth(&self) -> u8 {
        match self {
            Self::Service(_) | Self::Local(_) | Self::MarkMasq | Self::MarkCluster | Self::Localnet => 0,
            Self::External(_) => 1,
            Self::Ranges(_) => 2,
            Self::Branch(_, Spot::Net(net)) => 3 + (128 - net.prefix_len()),
            Self::Branch(_, Spot::Ports(_, _, bits)) => 3 + (16 - bits),
            Self::Branch(_, Spot::Root) => 132,
            Self::Services
            | Self::ExternalServices
            | Self::HealthPorts
            | Self::Forward
            | Self::Postrouting => 133,
            Self::BuiltIn(_) => 134,
        }
    }
}

/// Prints its name.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(hook) => f.write_str(hook.name()),
            Self::Services => f.write_str("KUBE-SERVICES"),
            Self::ExternalServices => f.write_str("KUBE-EXTERNAL-SERVICES"),
            Self::HealthPorts => f.write_str("KUBE-NODEPORTS"),
            Self::Forward => f.write_str("KUBE-FORWARD"),
            Self::Localnet => f.write_str("KUBE-LOCALNET"),
            Self::Postrouting => f.write_str("KUBE-POSTROUTING"),
            Self::MarkMasq => f.write_str("KUBE-MARK-MASQ"),
            Self::MarkCluster => f.write_str("KUBE-MARK-CLUSTER"),
            Self::Service(hash) => write!(f, "KUBE-SVC-{hash}"),
            Self::Local(hash) => write!(f, "KUBE-SVL-{hash}"),
            Self::External(hash) => write!(f, "KUBE-EXT-{hash}"),
            Self::Ranges(hash) => write!(f, "KUBE-FW-{hash}"),
            Self::Branch(tree, Spot::Root) => f.write_str(tree.root()),
            Self::Branch(tree, Spot::Net(net)) => match net.addr() {
                IpAddr::V4(address) => write!(f, "{}{address}-{}", tree.branch(), net.prefix_len()),
                IpAddr::V6(_) => write!(f, "{}{}", tree.branch(), Hash::of(&net.to_string())),
            },
            Self::Branch(tree, Spot::Ports(protocol, port, bits)) => {
                write!(f, "{}{protocol}-{port}-{bits}", tree.branch())
            }
        }
    }
}

/// Answers whether a chain of this name is ours or kube-proxy's, in any version and mode.
pub fn is_ours(name: &str) -> bool {
    const NAMES: [&str; 20] = [
        "KUBE-ADDRESSES",
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-FORWARD",
        "KUBE-IPVS-FILTER",
        "KUBE-IPVS-OUT-FILTER",
        "KUBE-LOAD-BALANCER",
        "KUBE-LOCALNET",
        "KUBE-MARK-CLUSTER",
        "KUBE-MARK-MASQ",
        "KUBE-NODE-PORT",
        "KUBE-NODEPORTS",
        "KUBE-POSTROUTING",
        "KUBE-PROXY-CANARY",
        "KUBE-PROXY-FIREWALL",
        "KUBE-PROXY-TRIAL",
        "KUBE-REFUSED",
        "KUBE-REFUSED-NODEPORTS",
        "KUBE-SERVICES",
        "KUBE-SOURCE-RANGES-FIREWALL",
        "KUBE-XLB",
    ];
    const PREFIXES: [&str; 11] = [
        "KUBE-EXT-",
        "KUBE-FW-",
        "KUBE-GU-",
        "KUBE-IP-",
        "KUBE-NN-",
        "KUBE-NO-",
        "KUBE-NP-",
        "KUBE-SEP-",
        "KUBE-SVC-",
        "KUBE-SVL-",
        "KUBE-XLB-",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_kube_proxys() {
        // As in every cluster: `default/kubernetes:https` and `kube-system/kube-dns:dns`.
        assert_eq!(Hash::of_port("default/kubernetes:https", Protocol::Tcp).to_string(), "NPX46M4PTMTKRN6Y");
        assert_eq!(Hash::of_port("kube-system/kube-dns:dns", Protocol::Udp).to_string(), "TCOU7JCQXEZGVUNU");
    }

    #[test]
    fn a_way_leads_from_the_root_to_the_leaf() {
        for address in ["10.96.1.77", "fd00:10:96::1:4d"] {
            for place in [Some(address.parse().unwrap()), None] {
                let place = Place { address: place, protocol: Protocol::Sctp, port: 30_777 };
                let path = Tree::path(&place);
                let mut spot = Spot::leaf(&place);
                for expected in path.iter().rev() {
                    assert_eq!(spot, *expected);
                    for tree in [Tree::Addresses, Tree::NodePorts, Tree::Refused] {
                        let name = Chain::Branch(tree, spot).to_string();
                        assert!(name.len() <= 28 && is_ours(&name), "{name}");
                    }
                    spot = spot.parent();
                }
                assert_eq!(spot, Spot::Root);
            }
        }
    }
}
