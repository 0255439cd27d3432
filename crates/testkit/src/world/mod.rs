//! Laboratory networks out of network namespaces: no link to the machine's own network, nothing left behind.
//!
//! [`World`] makes and removes namespaces; [`conformance`] is the network of the recorded cases, [`one_node`] a node
//! with a few pods. What they do *not* do: run anything in them.

mod conformance;
mod one_node;

use std::path::{Path, PathBuf};
use std::process::Command;

use ipnet::IpNet;
use sys::Error;
use sys::link::{End, Links, Towards};
use sys::netns::{self, Namespace};
use sys::sysctl;

pub use conformance::conformance;
pub use one_node::{NODE_ADDRESSES, OneNode, one_node};

/// Network namespaces whose names begin with the same prefix. Dropping it kills the processes in them, whoever started
/// those, and removes them with everything in them.
#[derive(Debug)]
pub struct World {
    prefix: String,
}

impl World {
    /// Begins a world; what an earlier one of this prefix left is killed and removed.
    ///
    /// Panics unless the prefix is like `sb...-`: another one could be the beginning of somebody else's names.
    pub fn new(prefix: &str) -> Self {
        let is_ours = prefix.strip_prefix("sb").is_some_and(|rest| rest.len() > 1 && rest.ends_with('-'));
        assert!(is_ours, "the prefix {prefix:?} of a world is not like \"sb...-\"");
        let world = Self { prefix: prefix.to_owned() };
        world.remove();
        world
    }

    /// Makes the namespace of this name, quiet and without delays: no router advertisements, no duplicate address
    /// detection, and every refusal is answered.
    pub fn add(&self, name: &str) -> Result<Namespace, Error> {
        let namespace = Namespace::create(&format!("{}{name}", self.prefix))?;
        namespace.run(|| {
            SETTINGS.into_iter().for_each(|(name, value)| set_if_there(name, value));
            Links::open()?.set_up("lo")
        })??;
        Ok(namespace)
    }

    /// Answers the namespace of this name.
    pub fn namespace(&self, name: &str) -> Namespace {
        Namespace::named(&format!("{}{name}", self.prefix))
    }

    /// Answers a command that runs there, no longer than the thread that starts it and than the world.
    pub fn command(&self, name: &str, program: &Path) -> Command {
        self.namespace(name).command(program)
    }

    /// Answers what the paths of all namespaces begin with.
    pub fn path_prefix(&self) -> PathBuf {
        Path::new(netns::FOLDER).join(&self.prefix)
    }

    /// Kills the processes in all namespaces and removes those. A thread of this program that has entered one goes on.
    pub fn remove(&self) {
        let all: Vec<_> = netns::names(&self.prefix).iter().map(|name| Namespace::named(name)).collect();
        netns::kill_processes(&all);
        all.iter().for_each(Namespace::remove);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Settings of every namespace; a kernel without some of them needs them not.
const SETTINGS: [(&str, &str); 19] = [
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_msgs_per_sec", "100000"),
    ("net/ipv4/icmp_msgs_burst", "10000"),
    ("net/ipv6/icmp/ratelimit", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "2"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/tcp_no_metrics_save", "1"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
];

/// What a namespace needs in addition to forward packets.
const ROUTER: [(&str, &str); 3] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/forwarding", "1"),
];

fn set_if_there(name: &str, value: &str) {
    // Not every kernel has every setting.
    drop(sysctl::write(name, value));
}

/// Lets a namespace forward packets.
fn make_router(namespace: &Namespace) -> Result<(), Error> {
    namespace.run(|| ROUTER.into_iter().try_for_each(|(name, value)| sysctl::write(name, value)))?
}

/// A pod at a node: a veth pair with fixed hardware addresses, so that nobody has to ask for them.
struct Pod<'a> {
    namespace: &'a Namespace,
    /// The node's end.
    link: &'a str,
    addresses: &'a [std::net::IpAddr],
    /// Tells the pods of a node apart, with the number of the node.
    number: (u8, u8),
}

/// Connects a pod to the node of the calling thread's namespace.
fn connect_pod(links: &mut Links, pod: &Pod<'_>) -> Result<(), Error> {
    let (node, number) = pod.number;
    let [inner, outer] = [1, 2].map(|end| [2, 0, 0, node, number, end]);
    let fd = pod.namespace.open()?;
    let near = End { name: pod.link, address: Some(outer) };
    links.add_veth(near, End { name: "eth0", address: Some(inner) }, Some(std::os::fd::AsFd::as_fd(&fd)))?;
    links.set_up(pod.link)?;
    for address in pod.addresses {
        links.add_route(IpNet::from(*address), Towards::Link(pod.link))?;
        links.add_neighbour(pod.link, *address, inner)?;
    }
    pod.namespace.run(|| {
        let mut links = Links::open()?;
        links.set_up("eth0")?;
        for (index, address) in pod.addresses.iter().enumerate() {
            links.add_address("eth0", IpNet::from(*address), true)?;
            if pod.addresses[..index].iter().any(|earlier| earlier.is_ipv4() == address.is_ipv4()) {
                continue;
            }
            // An address that no link has: the neighbour entry makes it the node.
            let gateway: std::net::IpAddr = match address {
                std::net::IpAddr::V4(_) => [169, 254, 1, 1].into(),
                std::net::IpAddr::V6(_) => [0xfe80, 0, 0, 0, 0, 0, 0, 1].into(),
            };
            links.add_route(everywhere(*address), Towards::GatewayAt(gateway, "eth0"))?;
            links.add_neighbour("eth0", gateway, outer)?;
        }
        Ok::<_, Error>(())
    })??;
    links.await_running(pod.link)
}

/// The default route's destination, in the family of an address.
fn everywhere(like: std::net::IpAddr) -> IpNet {
    let nowhere: std::net::IpAddr = match like {
        std::net::IpAddr::V4(_) => [0, 0, 0, 0].into(),
        std::net::IpAddr::V6(_) => [0_u16; 8].into(),
    };
    IpNet::new_assert(nowhere, 0)
}
