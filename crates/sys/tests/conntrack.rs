//! The kernel's connection tracking: what is found, and that nothing else is ended.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{Ipv4Addr, SocketAddr};

use model::{Family, Flow, Protocol};
use sys::conntrack::Conntrack;
use sys::testing::flows::{NewFlow, create_flows};
use sys::testing::in_new_network_namespace;

fn at(address: [u8; 4], port: u16) -> SocketAddr {
    (Ipv4Addr::from(address), port).into()
}

/// More than one datagram can end at a time, with TCP and other UDP flows between them.
#[test]
fn many_stale_flows_are_ended_and_nothing_else() {
    const STALE: u16 = 1500;
    in_new_network_namespace(|| {
        let (service, gone, alive) =
            (at([10, 96, 0, 10], 53), at([10, 244, 1, 5], 53), at([10, 244, 1, 6], 53));
        let mut flows = Vec::new();
        for port in 10_000..10_000 + STALE {
            let flow = |protocol: Protocol, client: [u8; 4], answers| NewFlow {
                protocol: protocol.number(),
                client: at(client, port),
                destination: service,
                answers,
            };
            flows.push(flow(Protocol::Udp, [10, 244, 2, 1], gone));
            flows.push(flow(Protocol::Udp, [10, 244, 2, 2], alive));
            flows.push(flow(Protocol::Tcp, [10, 244, 2, 3], gone));
        }
        assert_eq!(create_flows(&flows).unwrap(), 0);
        let mut conntrack = Conntrack::open().unwrap();
        assert_eq!(conntrack.count().unwrap() as usize, flows.len());
        assert_eq!(conntrack.dump_unread(Family::V4, false).unwrap(), flows.len());
        assert_eq!(
            conntrack.dump_unread(Family::V4, true).unwrap(),
            flows.len() / 3 * 2,
            "the kernel leaves TCP out"
        );
        let is_stale = |flow: &Flow| *flow == Flow { destination: service, answers: gone };
        let stale = conntrack.udp_flows(Family::V4, is_stale).unwrap();
        assert_eq!(stale.len(), usize::from(STALE));
        assert_eq!(conntrack.delete(&stale).unwrap(), usize::from(STALE));
        assert_eq!(conntrack.delete(&stale).unwrap(), 0, "what is gone already is no failure");
        assert_eq!(conntrack.udp_flows(Family::V4, is_stale).unwrap(), []);
        assert_eq!(conntrack.dump_unread(Family::V4, false).unwrap(), flows.len() - usize::from(STALE));
        assert_eq!(conntrack.udp_flows(Family::V6, |_| true).unwrap(), []);
    });
}
