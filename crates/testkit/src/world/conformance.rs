//! The network of the recorded cases.
//!
//! - `fabric`: a bridge, the default gateway of everybody. It knows no route to Service addresses, so a packet that no
//!   proxy took care of comes back as "unreachable", while one that a proxy dropped is a timeout.
//! - `cp`: the API server. `n1`, `n2`, `n3`: nodes, each with a second address on another link.
//! - `ext`, `ext2`: clients outside the cluster; they reach Service addresses through `n1` and `n3`.
//! - `a1` to `d3`: pods, by letter and node. `k1` to `k3`: pods that answer at many addresses.

use std::io::Write;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::Stdio;

use ipnet::IpNet;
use sys::Error;
use sys::link::{End, Links, Towards};
use sys::sysctl;

use super::{Pod, World, connect_pod, everywhere, make_router, set_if_there};
use crate::cases::{Family, NODES, Plan};

const MACHINES: [&str; 3] = ["cp", "ext", "ext2"];
const LETTERS: [&str; 5] = ["a", "b", "c", "d", "k"];
/// Where Services are: ClusterIPs, and addresses outside the cluster.
const SERVICES: [&str; 6] = [
    "10.96.0.0/16",
    "fd00:10:96::/112",
    "203.0.113.0/24",
    "198.51.100.0/24",
    "2001:db8:113::/64",
    "2001:db8:51::/64",
];

/// The kernel's own "no route" answers are limited to a few a second for each sender, and that limit cannot be set for
/// a namespace; a reject rule answers every time.
const NO_ROUTE: &str = "
table inet fabric {
    chain noroute {
        type filter hook prerouting priority 0; policy accept;
        ip daddr { 192.168.77.0/24, 192.168.78.0/24, 10.244.0.0/16, 255.255.255.255, 224.0.0.0/4 } accept
        ip6 daddr { fd77::/64, fd78::/64, fd00:10:244::/48, fe80::/10, ff00::/8 } accept
        meta nfproto ipv4 reject with icmp type net-unreachable
        meta nfproto ipv6 reject with icmpv6 type no-route
    }
}
";

/// Builds it. Needs root and the program `nft`.
pub fn conformance(prefix: &str) -> Result<World, Error> {
    let builder = Builder { world: World::new(prefix), plan: Plan::new() };
    builder.fabric()?;
    for name in MACHINES.into_iter().chain(NODES) {
        builder.host(name)?;
    }
    for node in NODES {
        builder.pods(node)?;
    }
    Ok(builder.world)
}

struct Builder {
    world: World,
    plan: Plan,
}

/// Both addresses of a name of the plan, the second ones with `alt` in front of the family.
const MAIN: [&str; 2] = ["", ".v6"];
const SECOND: [&str; 2] = [".alt", ".alt6"];

impl Builder {
    fn fabric(&self) -> Result<(), Error> {
        let fabric = self.world.add("fabric")?;
        make_router(&fabric)?;
        fabric.run(|| {
            set_if_there("net/bridge/bridge-nf-call-iptables", "0");
            set_if_there("net/bridge/bridge-nf-call-ip6tables", "0");
            let mut links = Links::open()?;
            links.add_bridge("br0")?;
            for name in MACHINES.into_iter().chain(NODES) {
                let namespace = self.world.add(name)?.open()?;
                let port = format!("p-{name}");
                let far = End { name: "eth0", address: None };
                links.add_veth(End { name: &port, address: None }, far, Some(namespace.as_fd()))?;
                links.set_master(&port, "br0")?;
                links.set_up(&port)?;
            }
            links.set_up("br0")?;
            for address in self.addresses("fabric", MAIN) {
                links.add_address("br0", in_network(address), true)?;
            }
            NODES.into_iter().try_for_each(|node| self.routes_to(&mut links, node))
        })??;
        self.no_route()
    }

    fn no_route(&self) -> Result<(), Error> {
        let run = || {
            let mut nft = self.world.command("fabric", "nft".as_ref());
            let mut child = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
            if let Some(mut input) = child.stdin.take() {
                input.write_all(NO_ROUTE.as_bytes())?;
            }
            if child.wait()?.success() {
                Ok(())
            } else {
                Err(std::io::Error::other("it ended with an error"))
            }
        };
        run().map_err(|source| Error::Call { call: "run nft for the fabric", source })
    }

    fn host(&self, name: &str) -> Result<(), Error> {
        let is_node = NODES.contains(&name);
        let namespace = self.world.namespace(name);
        if is_node {
            make_router(&namespace)?;
        }
        namespace.run(|| {
            let mut links = Links::open()?;
            links.set_up("eth0")?;
            for (address, gateway) in
                self.addresses(name, MAIN).into_iter().zip(self.addresses("fabric", MAIN))
            {
                links.add_address("eth0", in_network(address), true)?;
                links.add_route(everywhere(address), Towards::Gateway(gateway))?;
            }
            if is_node {
                sysctl::write("net/ipv4/conf/all/rp_filter", "2")?;
                self.second_link(&mut links, name)?;
            } else {
                for address in self.addresses(name, SECOND) {
                    links.add_address("eth0", in_network(address), address.is_ipv4())?;
                }
            }
            for node in NODES.into_iter().filter(|node| *node != name) {
                self.routes_to(&mut links, node)?;
            }
            let via = match name {
                "ext" => "n1",
                "ext2" => "n3",
                _ => return Ok(()),
            };
            self.routes_to_services(&mut links, via)
        })?
    }

    /// Not every kernel has dummy links; a veth pair with both ends here will do.
    fn second_link(&self, links: &mut Links, node: &str) -> Result<(), Error> {
        let [near, far] = ["alt0", "alt0x"].map(|name| End { name, address: None });
        links.add_veth(near, far, None)?;
        links.set_up("alt0")?;
        links.set_up("alt0x")?;
        let addresses = self.addresses(node, SECOND);
        addresses.into_iter().try_for_each(|address| links.add_address("alt0", address.into(), true))
    }

    /// Routes to a node's pods and to its second addresses.
    fn routes_to(&self, links: &mut Links, node: &str) -> Result<(), Error> {
        let number = node.trim_start_matches('n');
        let pods = [format!("10.244.{number}.0/24"), format!("fd00:10:244:{number}::/64")];
        let gateways = self.addresses(node, MAIN);
        for ((pods, second), gateway) in pods.into_iter().zip(self.addresses(node, SECOND)).zip(gateways) {
            links.add_route(network(&pods), Towards::Gateway(gateway))?;
            links.add_route(second.into(), Towards::Gateway(gateway))?;
        }
        Ok(())
    }

    fn routes_to_services(&self, links: &mut Links, via: &str) -> Result<(), Error> {
        let [v4, v6] = [Family::V4, Family::V6].map(|family| self.plan.address(via, family));
        for range in SERVICES.map(network) {
            let gateway = if range.addr().is_ipv4() { v4 } else { v6 };
            if let Some(gateway) = gateway {
                links.add_route(range, Towards::Gateway(gateway))?;
            }
        }
        Ok(())
    }

    fn pods(&self, node: &str) -> Result<(), Error> {
        let number: u8 = node.trim_start_matches('n').parse().unwrap_or(0);
        for (index, letter) in (1..).zip(LETTERS) {
            let name = format!("{letter}{number}");
            let namespace = self.world.add(&name)?;
            let addresses = self.addresses(&name, MAIN);
            let link = format!("v{name}");
            let pod =
                Pod { namespace: &namespace, link: &link, addresses: &addresses, number: (number, index) };
            self.world.namespace(node).run(|| {
                let mut links = Links::open()?;
                connect_pod(&mut links, &pod)?;
                if letter != "k" {
                    return Ok(());
                }
                let many = many(number).into_iter().zip(&addresses);
                { many }.try_for_each(|(range, address)| {
                    links.add_route(range, Towards::GatewayAt(*address, &link))
                })
            })??;
            if letter == "k" {
                let here = || {
                    // Lets datagrams be answered from addresses that only a route makes local.
                    sysctl::write("net/ipv6/ip_nonlocal_bind", "1")?;
                    let mut links = Links::open()?;
                    many(number)
                        .into_iter()
                        .try_for_each(|range| links.add_route(range, Towards::Local("lo")))
                };
                namespace.run(here)??;
            }
        }
        Ok(())
    }

    /// The addresses of a name that there are, IPv4 first.
    fn addresses(&self, name: &str, kinds: [&str; 2]) -> Vec<IpAddr> {
        kinds.iter().filter_map(|kind| self.plan.named(&format!("{name}{kind}"))).collect()
    }
}

/// The many addresses of a node's pod `k`.
fn many(node: u8) -> [IpNet; 2] {
    [format!("10.244.{node}.128/25"), format!("fd00:10:244:{node}::1000/121")].map(|text| network(&text))
}

fn network(text: &str) -> IpNet {
    text.parse().expect("every range here is written by hand")
}

fn in_network(address: IpAddr) -> IpNet {
    IpNet::new_assert(address, if address.is_ipv4() { 24 } else { 64 })
}
