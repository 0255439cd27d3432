//! One node with pods, for demonstrations and tests of a whole node agent.

use std::net::IpAddr;

use ipnet::IpNet;
use sys::Error;
use sys::link::{End, Links, Towards};

use super::{Pod, World, connect_pod, everywhere, make_router};

/// The node's own addresses.
pub const NODE_ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 77, 11)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x11)),
];

/// The client outside the cluster.
const OUTSIDE: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 77, 100)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100)),
];

/// A node `node`, a machine `outside` that reaches everything through it, and pods that can come and go.
#[derive(Debug)]
pub struct OneNode {
    world: World,
    pods: u8,
}

/// Builds the node and the machine outside. Needs root, no programs.
pub fn one_node(prefix: &str) -> Result<OneNode, Error> {
    let world = World::new(prefix);
    let node = world.add("node")?;
    make_router(&node)?;
    let outside = world.add("outside")?;
    let fd = outside.open()?;
    node.run(|| {
        let mut links = Links::open()?;
        let [near, far] = ["uplink", "eth0"].map(|name| End { name, address: None });
        links.add_veth(near, far, Some(std::os::fd::AsFd::as_fd(&fd)))?;
        links.set_up("uplink")?;
        NODE_ADDRESSES.into_iter().zip(OUTSIDE).try_for_each(|(address, gateway)| {
            links.add_address("uplink", in_network(address), true)?;
            // What no rule takes care of goes outside and is lost there, as on a real node.
            links.add_route(everywhere(address), Towards::Gateway(gateway))
        })
    })??;
    outside.run(|| {
        let mut links = Links::open()?;
        links.set_up("eth0")?;
        OUTSIDE.into_iter().zip(NODE_ADDRESSES).try_for_each(|(address, gateway)| {
            links.add_address("eth0", in_network(address), true)?;
            links.add_route(everywhere(address), Towards::Gateway(gateway))
        })
    })??;
    node.run(|| Links::open()?.await_running("uplink"))??;
    Ok(OneNode { world, pods: 0 })
}

impl OneNode {
    /// Answers the namespaces.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Adds a pod with these addresses, in a namespace of this name.
    pub fn add_pod(&mut self, name: &str, addresses: &[IpAddr]) -> Result<(), Error> {
        let namespace = self.world.add(name)?;
        self.pods += 1;
        let link = format!("pod-{name}");
        let pod = Pod { namespace: &namespace, link: &link, addresses, number: (1, self.pods) };
        self.world.namespace("node").run(|| connect_pod(&mut Links::open()?, &pod))?
    }

    /// Removes a pod. Its processes, its links and its node's routes to it go with it.
    pub fn remove_pod(&self, name: &str) -> Result<(), Error> {
        let link = format!("pod-{name}");
        self.world.namespace("node").run(|| Links::open()?.delete(&link))??;
        let namespace = self.world.namespace(name);
        sys::netns::kill_processes(std::slice::from_ref(&namespace));
        namespace.remove();
        Ok(())
    }
}

fn in_network(address: IpAddr) -> IpNet {
    IpNet::new_assert(address, if address.is_ipv4() { 24 } else { 64 })
}
