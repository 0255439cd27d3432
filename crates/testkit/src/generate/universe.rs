//! The few names, addresses and numbers that everything random is made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Family, IpNet, Protocol};

/// This node. Its zone, when it has one, is one of [`ZONES`].
pub const NODE: &str = "n1";
/// All zones.
pub const ZONES: [&str; 2] = ["z1", "z2"];
/// All nodes that hints and endpoints name.
pub const NODES: [&str; 3] = [NODE, "n2", "n3"];
/// The namespace of all Services.
pub const NAMESPACE: &str = "shop";
/// The names of all Services.
pub const SERVICES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// The names of ports, each with the protocol that it usually has.
pub const PORT_NAMES: [(&str, Protocol); 4] =
    [("", Protocol::Tcp), ("http", Protocol::Tcp), ("dns", Protocol::Udp), ("extra", Protocol::Sctp)];
/// Port numbers of addresses; the last one is a NodePort too, for Services at an address of the node.
pub const PORTS: [u16; 4] = [80, 81, 53, 30080];
/// NodePorts.
pub const NODE_PORTS: [u16; 3] = [30080, 30081, 30082];
/// The endpoints' port numbers. None is a frontend's: a rewritten packet must not look like one to a Service again.
pub const ENDPOINT_PORTS: [u16; 3] = [8080, 8081, 9090];
/// The interface of this node's pods, in the modes that tell pods by it.
pub const POD_INTERFACE: &str = "cni0";
/// The interface to everybody else.
pub const OUTER_INTERFACE: &str = "eth0";

/// An address of the universe: a group and a number in it.
fn address(family: Family, v4: [u8; 3], v6: [u16; 4], number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(v4[0], v4[1], v4[2], number).into(),
        Family::V6 => Ipv6Addr::new(v6[0], v6[1], v6[2], v6[3], 0, 0, 0, u16::from(number)).into(),
    }
}

/// An address of the range that ClusterIPs are taken from, see [`service_range`].
pub fn cluster_ip(family: Family, number: u8) -> IpAddr {
    address(family, [10, 96, 0], [0xfd00, 0x10, 0x96, 0], number)
}

/// An address that Services may have as an external IP; it exists nowhere.
pub fn external_ip(family: Family, number: u8) -> IpAddr {
    address(family, [198, 51, 100], [0x2001, 0xdb8, 0x51, 0], number)
}

/// An address that a load balancer may have given to a Service.
pub fn load_balancer_ip(family: Family, number: u8) -> IpAddr {
    address(family, [203, 0, 113], [0x2001, 0xdb8, 0x113, 0], number)
}

/// A primary address of node 1 to 3; 1 is this node.
pub fn node_address(family: Family, node: u8) -> IpAddr {
    address(family, [192, 168, 77], [0xfd77, 0, 0, 0], 10 + node)
}

/// A second address of node 1 to 3.
pub fn second_node_address(family: Family, node: u8) -> IpAddr {
    address(family, [192, 168, 78], [0xfd78, 0, 0, 0], 10 + node)
}

/// A pod of node 1 to 3; those of "node" 9 run where no slice says it.
pub fn pod(family: Family, node: u8, number: u8) -> IpAddr {
    address(family, [10, 244, node], [0xfd00, 0x10, 0x244, u16::from(node)], number)
}

/// A machine outside the cluster. Numbers below 128 are inside [`source_ranges`]' narrow ones.
pub fn outside(family: Family, number: u8) -> IpAddr {
    address(family, [192, 0, 2], [0x2001, 0xdb8, 0, 0], number)
}

/// The range of all pods.
pub fn pod_range(family: Family) -> IpNet {
    prefix(pod(family, 0, 0), 16, 48)
}

/// The range of this node's pods.
pub fn own_pod_range(family: Family) -> IpNet {
    prefix(pod(family, 1, 0), 24, 64)
}

/// The range of all ClusterIPs.
pub fn service_range(family: Family) -> IpNet {
    prefix(cluster_ip(family, 0), 24, 112)
}

/// Ranges that a Service may be restricted to: outsiders, half of them, this node alone, all pods, everybody.
pub fn source_ranges(family: Family) -> Vec<IpNet> {
    vec![
        prefix(outside(family, 0), 24, 64),
        prefix(outside(family, 0), 25, 121),
        prefix(node_address(family, 1), 32, 128),
        pod_range(family),
        prefix(outside(family, 0), 0, 0),
    ]
}

/// The prefix around an address with a length for each family.
fn prefix(address: IpAddr, v4: u8, v6: u8) -> IpNet {
    let length = match Family::of(address) {
        Family::V4 => v4,
        Family::V6 => v6,
    };
    IpNet::new_assert(address, length).trunc()
}
