//! The cluster's DNS: one picture of the names, answered on every node, behind a Service that leads to the node's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ::dns::config::Upstream;
use ::dns::serve::CookieSecret;
use ::dns::{Policy, Settings, Sockets};
use ::watch::client::{Client, ClientError, PatchType};
use anyhow::{Context, anyhow};
use apiserver::range::Range;
use serde_json::{Value, json};
use site::{Node, Site};
use sys::netns::Namespace;
use tracing::warn;

use crate::forwarding::forwarding;

/// The domain of the cluster.
pub(super) const DOMAIN: &str = "cluster.local";
/// Where it is in the range of Services, as kubeadm has it.
const PLACE: u8 = 10;
const PORT: u16 = 53;
const SERVICES: &str = "/api/v1/namespaces/kube-system/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices";
/// Who keeps the slices, so that no controller does.
const KEEPER: &str = "signalbox-up";
/// How many bytes are taken and sent over UDP (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;

/// The DNS of a cluster that is about to run.
pub(super) struct Names {
    sockets: Sockets,
    /// Where each node answers.
    places: Vec<(String, SocketAddr)>,
    address: IpAddr,
}

impl Names {
    /// Opens its sockets on every node. `services`: the ranges of Services, of which the first is the usual one.
    pub(super) fn open(site: &Site, services: &[Range]) -> anyhow::Result<Self> {
        let address = services.first().and_then(|range| nth(range, PLACE));
        let address = address.context("--service-cluster-ip-range: too small for the DNS's address")?;
        let (mut sockets, mut places) = (Sockets::default(), Vec::new());
        for node in &site.nodes {
            let opened = open(&mut sockets, node, address).map_err(|error| anyhow!("failed to {error}"))?;
            places.push((node.name.clone(), opened));
        }
        Ok(Self { sockets, places, address })
    }

    /// Where pods ask.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// Makes the Service, and a slice for each node that leads to the node itself.
    pub(super) async fn publish(&self, client: &Client) -> Result<(), ClientError> {
        let how = || PatchType::Apply { manager: KEEPER.to_owned(), force: true };
        client.patch(&format!("{SERVICES}/kube-dns"), how(), &service(self.address)).await?;
        for (node, place) in &self.places {
            let slice = slice(node, *place);
            let name = slice["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            client.patch(&format!("{SLICES}/{name}"), how(), &slice).await?;
        }
        self.forget_others(client).await
    }

    /// Removes the slices of nodes that are not there any more.
    async fn forget_others(&self, client: &Client) -> Result<(), ClientError> {
        let selector = format!("endpointslice.kubernetes.io%2Fmanaged-by%3D{KEEPER}");
        let list = client.get(&format!("{SLICES}?labelSelector={selector}")).await?;
        for slice in list["items"].as_array().into_iter().flatten() {
            let name = slice["metadata"]["name"].as_str().unwrap_or_default();
            if !self.places.iter().any(|(node, _)| name == slice_name(node)) {
                client.delete(&format!("{SLICES}/{name}"), &Value::Null).await?;
            }
        }
        Ok(())
    }

    /// What is needed to serve. Names of the world are asked for where the machine asks, unless its network is left alone.
    /// Runs inside the runtime.
    pub(super) fn settings(self, site: &Site) -> Settings {
        let (elsewhere, blocks) = match site.lan.netns {
            // Without servers of the machine there is nobody to ask; the cluster's names are there all the same.
            None => forwarding(&[Upstream::File("/etc/resolv.conf".into())], None).unwrap_or_else(|error| {
                warn!("pods find names of the cluster only: {error:#}");
                (None, ::dns::serve::no_blocks())
            }),
            Some(_) => (None, ::dns::serve::no_blocks()),
        };
        let mut zone = ::dns::zone::Settings::new(DOMAIN.parse().expect("it is a name"));
        zone.servers = vec![self.address];
        zone.pods = ::dns::zone::Pods::Verified;
        Settings {
            zone,
            sockets: self.sockets,
            policy: Policy {
                recursion: site.inside(),
                udp_size: UDP_SIZE,
                rate: None,
                cookies: Some(CookieSecret::random()),
            },
            health: None,
            ready: None,
            lameduck: std::time::Duration::ZERO,
            elsewhere,
            blocks,
            metrics: None,
        }
    }
}

/// An address of a range, which has so many.
fn nth(range: &Range, number: u8) -> Option<IpAddr> {
    if range.size() <= u128::from(number) + 1 {
        return None;
    }
    // `first` is the range's own first that a Service can have, one after the range's name.
    let after = number - 1;
    Some(match range.first() {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first).wrapping_add(u32::from(after))).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first).wrapping_add(u128::from(after))).into(),
    })
}

/// Opens the sockets of a node, at the usual port unless somebody has it.
fn open(sockets: &mut Sockets, node: &Node, like: IpAddr) -> anyhow::Result<SocketAddr> {
    let of_family = node.addresses.iter().find(|address| address.is_ipv4() == like.is_ipv4());
    let address = *of_family.context("a node has no address of the DNS's family")?;
    let mut try_port = |port| {
        let mut open = || sockets.open(SocketAddr::new(address, port), 1);
        match &node.netns {
            Some(name) => {
                Namespace::named(name).run(open).map_err(|error| anyhow!("{error}"))?.map_err(Into::into)
            }
            None => open().map_err(anyhow::Error::from),
        }
    };
    try_port(PORT).or_else(|error| {
        warn!(node = node.name, "port {PORT} cannot be had, DNS answers at another: {error:#}");
        try_port(0)
    })
}

fn service(address: IpAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {
            "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
        "spec": {"clusterIP": address.to_string(), "ports": [
            {"name": "dns", "port": PORT, "protocol": "UDP"}, {"name": "dns-tcp", "port": PORT, "protocol": "TCP"}]},
    })
}

fn slice_name(node: &str) -> String {
    format!("kube-dns-{node}")
}

/// The hint keeps a node's queries on the node.
fn slice(node: &str, place: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": slice_name(node), "namespace": "kube-system", "labels": {
            "kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": KEEPER}},
        "addressType": if place.is_ipv4() { "IPv4" } else { "IPv6" },
        "ports": [
            {"name": "dns", "port": place.port(), "protocol": "UDP"},
            {"name": "dns-tcp", "port": place.port(), "protocol": "TCP"},
        ],
        "endpoints": [{
            "addresses": [place.ip().to_string()], "nodeName": node, "conditions": {"ready": true},
            "hints": {"forNodes": [{"name": node}]},
        }],
    })
}
