//! The kernel setting that lets NodePorts answer at 127.0.0.1.
//!
//! It follows the node's view: on when the rule that keeps others from 127.0.0.0/8 is in force (CVE-2020-8558), off when it is
//! not wanted any more. What this process found switched on stays on, since others may need it; that rule is there all the same,
//! and where it goes the setting goes first, whoever made it.

use std::net::{IpAddr, Ipv4Addr};

use model::{Family, NodeView};
use sys::sysctl;
use tracing::{info, warn};

const NAME: &str = "net/ipv4/conf/all/route_localnet";

/// The setting, and whose doing it is.
#[derive(Debug, Default)]
pub(crate) struct Localnet {
    is_wanted: bool,
    /// This process switched it on.
    is_ours: bool,
    /// It was looked at since it is wanted.
    is_made: bool,
}

impl Localnet {
    /// Wants what a node's view says; what is not wanted any more goes at once.
    pub(crate) fn want(&mut self, view: &NodeView) {
        if view.family == Family::V4 {
            self.is_wanted = wants(view);
            if !self.is_wanted {
                self.is_made = false;
                if std::mem::take(&mut self.is_ours) {
                    switch("0");
                }
            }
        }
    }

    /// The rules are in force.
    pub(crate) fn make(&mut self) {
        if self.is_wanted && !std::mem::replace(&mut self.is_made, true) {
            self.is_ours = sysctl::read(NAME).is_ok_and(|value| value == "0");
            if self.is_ours {
                switch("1");
            }
        }
    }
}

/// The rule that guards it is about to go.
pub(crate) fn end() {
    if sysctl::read(NAME).is_ok_and(|value| value != "0") {
        switch("0");
    }
}

fn wants(view: &NodeView) -> bool {
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    view.manners.localhost_node_ports
        && view.node_port_addresses.iter().any(|range| range.contains(&localhost))
}

fn switch(value: &str) {
    match sysctl::write(NAME, value) {
        Ok(()) => info!(name = NAME, is = value, "changed a kernel setting"),
        Err(error) => {
            warn!(name = NAME, wanted = value, %error, "a kernel setting stays as it is; it decides whether NodePorts answer on 127.0.0.1");
        }
    }
}
