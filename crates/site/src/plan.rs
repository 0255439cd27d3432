//! What network there is to be: names, addresses and steps, from a wish. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::IpNet;

use crate::step::{Place, Step};

/// The end of a node's link to the LAN.
const NODE_LINK: &str = "eth0";
/// How many addresses of pods a node has, as bits: 254 pods of IPv4.
const POD_BITS_V4: u8 = 8;
const POD_BITS_V6: u8 = 64;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Whether the machine's own network is left alone.
    pub is_isolated: bool,
    /// The names of the nodes.
    pub nodes: Vec<String>,
    /// A few letters that tell this network from another one on the same machine; may be empty.
    pub tag: String,
    /// The ranges of all pods' addresses, at most one of each family.
    pub pods: Vec<IpNet>,
    /// The ranges of the nodes' addresses, one for each of those.
    pub hosts: Vec<IpNet>,
    /// The ranges of the Services' addresses.
    pub services: Vec<IpNet>,
}

/// A network of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// What the nodes hang on.
    pub lan: Lan,
    /// The nodes.
    pub nodes: Vec<Node>,
    is_isolated: bool,
    pods: Vec<IpNet>,
    hosts: Vec<IpNet>,
    services: Vec<IpNet>,
}

/// The router between the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lan {
    /// The name of its network namespace; `None`: the machine's own.
    pub netns: Place,
    /// Its addresses, one of each family.
    pub addresses: Vec<IpAddr>,
    link: String,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The name of its network namespace; `None`: the machine's own.
    pub netns: Place,
    /// Its addresses, one of each family.
    pub addresses: Vec<IpAddr>,
    /// The ranges of its pods' addresses.
    pub pods: Vec<IpNet>,
    /// The LAN's end of its link; `None`: it is the LAN itself.
    link: Option<String>,
}

/// A wish that cannot be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A range is too small.
    #[error("{range}: too small for {nodes} nodes")]
    TooSmall {
        /// The range.
        range: IpNet,
        /// How many nodes there are to be.
        nodes: usize,
    },
    /// Two ranges share addresses.
    #[error("{0} and {1} overlap")]
    Overlap(IpNet, IpNet),
    /// There is a range of pods of a family without one of nodes, or two of one family.
    #[error("one range of pods and one of nodes is wanted for each family, not {0}")]
    Families(String),
    /// There is no node.
    #[error("there is no node")]
    NoNode,
}

impl Site {
    /// Plans a network.
    pub fn new(wish: &Wish) -> Result<Self, Mistake> {
        check(wish)?;
        let count = wish.nodes.len();
        let is_machine_a_node = !wish.is_isolated && count == 1;
        let name = |what: &str| {
            let tag = if wish.tag.is_empty() { String::new() } else { format!("{}-", wish.tag) };
            format!("sb-{tag}{what}")
        };
        let mut nodes = Vec::with_capacity(count);
        for (index, node) in wish.nodes.iter().enumerate() {
            let number = index as u128 + 1;
            let pods =
                wish.pods.iter().map(|range| subnet(*range, number, count)).collect::<Result<_, _>>()?;
            let addresses =
                wish.hosts.iter().map(|range| nth(*range, number, count)).collect::<Result<_, _>>()?;
            nodes.push(Node {
                name: node.clone(),
                netns: (!is_machine_a_node).then(|| name(node)),
                addresses,
                pods,
                link: (!is_machine_a_node).then(|| format!("sb{}n{number}", wish.tag)),
            });
        }
        let addresses = match nodes.first() {
            Some(node) if is_machine_a_node => node.addresses.clone(),
            _ => wish.hosts.iter().map(|range| last(*range)).collect(),
        };
        let lan =
            Lan { netns: wish.is_isolated.then(|| name("lan")), addresses, link: format!("sb{}0", wish.tag) };
        let Wish { is_isolated, pods, hosts, services, .. } = wish.clone();
        Ok(Self { lan, nodes, is_isolated, pods, hosts, services })
    }

    /// Answers the steps that make it.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        steps.extend(self.lan.netns.clone().map(Step::Namespace));
        let (place, link) = (&self.lan.netns, &self.lan.link);
        // A link that leads nowhere: an address on it is there whatever else is up, and what it is asked to send to an
        // address that nobody has is unreachable, not lost as it would be on `lo`.
        let peer = format!("{link}p");
        steps.push(pair((place, link), (place, &peer)));
        for address in &self.lan.addresses {
            steps.push(Step::Address(place.clone(), link.clone(), IpNet::from(*address)));
            steps.push(forwarding(place, *address));
        }
        if place.is_none() {
            // Without a route the kernel finds no source address, before any rule has seen the packet.
            let of_family = |range: &&IpNet| self.has_family(range.addr());
            let services = self.services.iter().filter(of_family);
            steps.extend(services.map(|range| Step::Route(None, *range, link.clone())));
        }
        for node in &self.nodes {
            self.connect(node, &mut steps);
        }
        if !self.is_isolated {
            steps.push(Step::Masquerade(self.inside()));
        }
        steps
    }

    /// Connects a node to the LAN.
    fn connect(&self, node: &Node, steps: &mut Vec<Step>) {
        let (Some(netns), Some(link)) = (&node.netns, &node.link) else { return };
        let (lan, here) = (&self.lan.netns, Some(netns.clone()));
        steps.push(Step::Namespace(netns.clone()));
        steps.push(pair((lan, link), (&here, NODE_LINK)));
        for ((address, pods), router) in node.addresses.iter().zip(&node.pods).zip(&self.lan.addresses) {
            steps.push(Step::Address(here.clone(), NODE_LINK.to_owned(), IpNet::from(*address)));
            steps.push(Step::Router(here.clone(), everything(*address), (*router, NODE_LINK.to_owned())));
            steps.push(Step::Route(lan.clone(), IpNet::from(*address), link.clone()));
            steps.push(Step::Router(lan.clone(), *pods, (*address, link.clone())));
        }
    }

    /// Answers the links that it makes in the machine's own network.
    pub fn links(&self) -> Vec<String> {
        if self.lan.netns.is_some() {
            return Vec::new();
        }
        let nodes = self.nodes.iter().filter_map(|node| node.link.clone());
        nodes.chain([self.lan.link.clone()]).collect()
    }

    /// Answers the namespaces that it makes.
    pub fn namespaces(&self) -> Vec<String> {
        self.nodes.iter().filter_map(|node| node.netns.clone()).chain(self.lan.netns.clone()).collect()
    }

    /// Answers the ranges of all pods' addresses.
    pub fn pods(&self) -> &[IpNet] {
        &self.pods
    }

    /// Answers the ranges of all addresses there are, of the families that pods have.
    pub fn everywhere(&self) -> Vec<String> {
        self.pods.iter().map(|range| everything(range.addr()).to_string()).collect()
    }

    /// Answers the ranges of pods and nodes.
    pub fn inside(&self) -> Vec<IpNet> {
        self.pods.iter().chain(&self.hosts).copied().collect()
    }

    /// Answers every range that it needs for itself.
    pub(crate) fn ranges(&self) -> Vec<IpNet> {
        self.inside().into_iter().chain(self.services.iter().copied()).collect()
    }

    fn has_family(&self, address: IpAddr) -> bool {
        self.pods.iter().any(|range| range.addr().is_ipv4() == address.is_ipv4())
    }
}

fn check(wish: &Wish) -> Result<(), Mistake> {
    let families = |ranges: &[IpNet]| ranges.iter().map(|range| range.addr().is_ipv4()).collect::<Vec<_>>();
    let (pods, hosts) = (families(&wish.pods), families(&wish.hosts));
    if pods != hosts || pods.is_empty() || pods.len() > 2 || (pods.len() == 2 && pods[0] == pods[1]) {
        let all: Vec<_> = wish.pods.iter().chain(&wish.hosts).map(ToString::to_string).collect();
        return Err(Mistake::Families(all.join(", ")));
    }
    if wish.nodes.is_empty() {
        return Err(Mistake::NoNode);
    }
    let all: Vec<IpNet> = wish.pods.iter().chain(&wish.hosts).chain(&wish.services).copied().collect();
    for (index, one) in all.iter().enumerate() {
        if let Some(other) = all.iter().skip(index + 1).find(|other| overlap(one, other)) {
            return Err(Mistake::Overlap(*one, *other));
        }
    }
    Ok(())
}

pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn pair((place, near): (&Place, &str), (far_place, far): (&Place, &str)) -> Step {
    Step::Pair {
        place: place.clone(),
        near: near.to_owned(),
        far_place: far_place.clone(),
        far: far.to_owned(),
    }
}

fn forwarding(place: &Place, address: IpAddr) -> Step {
    let name = if address.is_ipv4() { "net/ipv4/ip_forward" } else { "net/ipv6/conf/all/forwarding" };
    Step::Setting(place.clone(), name.to_owned(), "1".to_owned())
}

fn everything(address: IpAddr) -> IpNet {
    let nothing = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    IpNet::new(nothing, 0).expect("no prefix is shorter")
}

/// The address of a node: never the first of the range, which is its name, nor the last two.
fn nth(range: IpNet, number: u128, nodes: usize) -> Result<IpAddr, Mistake> {
    let too_small = Mistake::TooSmall { range, nodes };
    if number.saturating_add(2) >= size(host_bits(range)) {
        Err(too_small)
    } else {
        Ok(plus(range.network(), number))
    }
}

/// The last address that is not for all.
fn last(range: IpNet) -> IpAddr {
    plus(range.network(), size(host_bits(range)).saturating_sub(2))
}

/// The part of a range that is one node's.
fn subnet(range: IpNet, number: u128, nodes: usize) -> Result<IpNet, Mistake> {
    let too_small = || Mistake::TooSmall { range, nodes };
    let bits = if range.addr().is_ipv4() { POD_BITS_V4 } else { POD_BITS_V6 };
    let parts = host_bits(range).checked_sub(bits).ok_or_else(too_small)?;
    if number >= size(parts) {
        return Err(too_small());
    }
    let prefix = range.max_prefix_len() - bits;
    IpNet::new(plus(range.network(), number << bits), prefix).map_err(|_| too_small())
}

fn host_bits(range: IpNet) -> u8 {
    range.max_prefix_len() - range.prefix_len()
}

fn size(bits: u8) -> u128 {
    1_u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX)
}

fn plus(address: IpAddr, number: u128) -> IpAddr {
    match address {
        // Whoever asks has seen that the range is large enough.
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).wrapping_add(number as u32)).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).wrapping_add(number)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(nodes: usize, is_isolated: bool) -> Wish {
        let ranges = |text: &str| text.split(',').map(|range| range.parse().unwrap()).collect();
        Wish {
            is_isolated,
            nodes: (1..=nodes).map(|number| format!("node-{number}")).collect(),
            tag: String::new(),
            pods: ranges("10.244.0.0/16"),
            hosts: ranges("10.243.0.0/24"),
            services: ranges("10.96.0.0/12,fd00:10:96::/112"),
        }
    }

    fn check_steps(wish: &Wish, expected: &str) {
        let steps: Vec<_> = Site::new(wish).unwrap().steps().iter().map(ToString::to_string).collect();
        let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(steps, expected);
    }

    #[test]
    fn the_machine_itself_can_be_the_only_node() {
        check_steps(
            &wish(1, false),
            "ip link add sb0 up type veth peer sb0p up
             ip address add 10.243.0.1/32 dev sb0
             sysctl net/ipv4/ip_forward=1
             ip route add 10.96.0.0/12 dev sb0
             masquerade 10.244.0.0/16,10.243.0.0/24 to others",
        );
    }

    #[test]
    fn several_nodes_hang_on_the_machine() {
        let mut wish = wish(2, false);
        wish.tag = "7f".to_owned();
        check_steps(
            &wish,
            "ip link add sb7f0 up type veth peer sb7f0p up
             ip address add 10.243.0.254/32 dev sb7f0
             sysctl net/ipv4/ip_forward=1
             ip route add 10.96.0.0/12 dev sb7f0
             ip netns add sb-7f-node-1
             ip link add sb7fn1 up type veth peer eth0 up netns sb-7f-node-1
             ip -n sb-7f-node-1 address add 10.243.0.1/32 dev eth0
             ip -n sb-7f-node-1 route add 0.0.0.0/0 via 10.243.0.254 dev eth0 onlink
             ip route add 10.243.0.1/32 dev sb7fn1
             ip route add 10.244.1.0/24 via 10.243.0.1 dev sb7fn1 onlink
             ip netns add sb-7f-node-2
             ip link add sb7fn2 up type veth peer eth0 up netns sb-7f-node-2
             ip -n sb-7f-node-2 address add 10.243.0.2/32 dev eth0
             ip -n sb-7f-node-2 route add 0.0.0.0/0 via 10.243.0.254 dev eth0 onlink
             ip route add 10.243.0.2/32 dev sb7fn2
             ip route add 10.244.2.0/24 via 10.243.0.2 dev sb7fn2 onlink
             masquerade 10.244.0.0/16,10.243.0.0/24 to others",
        );
    }

    #[test]
    fn an_isolated_site_touches_nothing_of_the_machine() {
        let mut wish = wish(1, true);
        wish.pods.push("fd00:10:244::/48".parse().unwrap());
        wish.hosts.push("fd00:10:243::/112".parse().unwrap());
        let site = Site::new(&wish).unwrap();
        assert!(site.links().is_empty());
        assert_eq!(site.namespaces(), ["sb-node-1", "sb-lan"]);
        check_steps(
            &wish,
            "ip netns add sb-lan
             ip -n sb-lan link add sb0 up type veth peer sb0p up netns sb-lan
             ip -n sb-lan address add 10.243.0.254/32 dev sb0
             sysctl -n sb-lan net/ipv4/ip_forward=1
             ip -n sb-lan address add fd00:10:243::fffe/128 dev sb0
             sysctl -n sb-lan net/ipv6/conf/all/forwarding=1
             ip netns add sb-node-1
             ip -n sb-lan link add sbn1 up type veth peer eth0 up netns sb-node-1
             ip -n sb-node-1 address add 10.243.0.1/32 dev eth0
             ip -n sb-node-1 route add 0.0.0.0/0 via 10.243.0.254 dev eth0 onlink
             ip -n sb-lan route add 10.243.0.1/32 dev sbn1
             ip -n sb-lan route add 10.244.1.0/24 via 10.243.0.1 dev sbn1 onlink
             ip -n sb-node-1 address add fd00:10:243::1/128 dev eth0
             ip -n sb-node-1 route add ::/0 via fd00:10:243::fffe dev eth0 onlink
             ip -n sb-lan route add fd00:10:243::1/128 dev sbn1
             ip -n sb-lan route add fd00:10:244:1::/64 via fd00:10:243::1 dev sbn1 onlink",
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |change: fn(&mut Wish), expected: &str| {
            let mut wish = wish(3, true);
            change(&mut wish);
            assert_eq!(Site::new(&wish).unwrap_err().to_string(), expected);
        };
        check(|wish| wish.nodes.clear(), "there is no node");
        check(
            |wish| wish.hosts = vec!["10.243.0.0/30".parse().unwrap()],
            "10.243.0.0/30: too small for 3 nodes",
        );
        check(
            |wish| wish.pods = vec!["10.244.0.0/23".parse().unwrap()],
            "10.244.0.0/23: too small for 3 nodes",
        );
        check(
            |wish| wish.pods = vec!["10.244.0.0/25".parse().unwrap()],
            "10.244.0.0/25: too small for 3 nodes",
        );
        check(
            |wish| wish.pods = vec!["10.100.0.0/16".parse().unwrap()],
            "10.100.0.0/16 and 10.96.0.0/12 overlap",
        );
        check(
            |wish| wish.hosts.push("fd00::/64".parse().unwrap()),
            "one range of pods and one of nodes is wanted for each family, not 10.244.0.0/16, 10.243.0.0/24, fd00::/64",
        );
    }
}
