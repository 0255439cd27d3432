//! The network of a pod: a namespace with one link, whose other end is in the node's namespace with a route to the pod's
//! addresses. No bridge: the node forwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use model::IpNet;
use sys::link::{End, Links, Towards};
use sys::netns::{Namespace, kill_processes};
use sys::{Error, sysctl};

use crate::folder::Kept;

/// Whom pods send everything to. It is nobody's address; its neighbour entry is permanent.
const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const GATEWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
/// The hardware address of the node's ends.
const NODE_HARDWARE: [u8; 6] = [0xee; 6];
/// The hardware address of the pods' ends. Each is alone with the node at its link.
const POD_HARDWARE: [u8; 6] = [0xea, 0xee, 0xee, 0xee, 0xee, 0xee];
const POD_LINK: &str = "eth0";

/// The network namespace of a node; `None`: that of this program.
pub(crate) type Node = Option<Namespace>;

/// Makes the network of a pod anew.
pub(crate) fn make(node: &Node, kept: &Kept) -> Result<(), Error> {
    remove(node, kept);
    let pod = Namespace::create(&kept.network())?;
    let made = in_node(node, || node_side(kept, &pod)).and_then(|result| result);
    let made = made.and_then(|()| pod.run(|| pod_side(kept)).and_then(|result| result));
    // The pod's end has to be up before packets to it get lost.
    let made =
        made.and_then(|()| in_node(node, || Links::open()?.await_running(&kept.link())).and_then(|r| r));
    if made.is_err() {
        remove(node, kept);
    }
    made
}

/// Removes the network of a pod, with whatever process is still in it. Succeeds when there is none.
pub(crate) fn remove(node: &Node, kept: &Kept) {
    let namespace = Namespace::named(&kept.network());
    kill_processes(std::slice::from_ref(&namespace));
    // The link goes with the namespace, but only when the last process has left it; this is at once.
    drop(in_node(node, || Links::open()?.delete(&kept.link())));
    namespace.remove();
}

/// Answers whether it is there.
pub(crate) fn exists(kept: &Kept) -> bool {
    Namespace::named(&kept.network()).open().is_ok() && is_namespace(&Namespace::named(&kept.network()))
}

/// Lets the node forward between pods and others.
pub(crate) fn prepare_node(node: &Node, ranges: &[IpNet]) -> Result<(), Error> {
    in_node(node, || {
        if ranges.iter().any(|range| range.addr().is_ipv4()) {
            sysctl::write("net/ipv4/ip_forward", "1")?;
        }
        if ranges.iter().any(|range| range.addr().is_ipv6()) {
            sysctl::write("net/ipv6/conf/all/forwarding", "1")?;
        }
        Ok(())
    })?
}

/// Runs a function in the node's network namespace.
pub(crate) fn in_node<T: Send>(node: &Node, function: impl FnOnce() -> T + Send) -> Result<T, Error> {
    match node {
        Some(namespace) => namespace.run(function),
        None => Ok(function()),
    }
}

/// A file that lost its mount, as after a restart of the machine, is none.
fn is_namespace(namespace: &Namespace) -> bool {
    namespace.run(|| ()).is_ok()
}

fn node_side(kept: &Kept, pod: &Namespace) -> Result<(), Error> {
    let name = kept.link();
    let inside = pod.open()?;
    let mut links = Links::open()?;
    let near = End { name: &name, address: Some(NODE_HARDWARE) };
    let far = End { name: POD_LINK, address: Some(POD_HARDWARE) };
    links.add_veth(near, far, Some(inside.as_fd()))?;
    links.set_up(&name)?;
    for address in &kept.addresses {
        links.add_route(IpNet::from(*address), Towards::Link(&name))?;
        links.add_neighbour(&name, *address, POD_HARDWARE)?;
    }
    Ok(())
}

fn pod_side(kept: &Kept) -> Result<(), Error> {
    let mut links = Links::open()?;
    links.set_up("lo")?;
    links.set_up(POD_LINK)?;
    for address in &kept.addresses {
        let (gateway, everything) = match address {
            IpAddr::V4(_) => (GATEWAY_V4, IpNet::new(Ipv4Addr::UNSPECIFIED.into(), 0)),
            IpAddr::V6(_) => (GATEWAY_V6, IpNet::new(Ipv6Addr::UNSPECIFIED.into(), 0)),
        };
        let Ok(everything) = everything else { continue };
        links.add_address(POD_LINK, IpNet::from(*address), true)?;
        links.add_neighbour(POD_LINK, gateway, NODE_HARDWARE)?;
        links.add_route(everything, Towards::GatewayAt(gateway, POD_LINK))?;
    }
    Ok(())
}
