//! Keeps in step with the objects: which views a change concerns, and those views.
//!
//! The views themselves are computed when asked for and not kept: the back ends keep what they made of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{Family, NodeView, ServiceKey, ServiceView, View};
use objects::{EndpointSlice, Objects, Touched};

use crate::conflicts::Claims;
use crate::node::{Options, here, node_view};
use crate::service::{Surroundings, service_view};
use crate::topology::Here;

/// What one node shall do. All that it remembers besides the options is who claims which address, and what it last
/// knew about the node.
#[derive(Debug, Clone)]
pub struct Desired {
    options: Options,
    claims: Claims,
    /// `None` until objects were seen.
    node: Option<NodeState>,
}

/// What has to be computed anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Whether the node's view of some family may differ.
    pub node: bool,
    /// The Services whose view of some family may differ, or that have none any more.
    pub services: BTreeSet<ServiceKey>,
}

impl Desired {
    /// Knows the options and no objects yet.
    pub fn new(options: Options) -> Self {
        Self { options, claims: Claims::default(), node: None }
    }

    /// Takes other options; the next [`changed`](Self::changed) says what follows from them.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// Answers what a change concerns: besides what it touched also the Services that won or lost an address by it,
    /// and all of them when the node changed in a way that views depend on. The first time everything is concerned.
    ///
    /// Must see everything that was touched before a view is asked for, in any number of portions.
    pub fn changed(&mut self, objects: &Objects, touched: &Touched) -> Changes {
        let before = self.node.replace(NodeState::of(&self.options, objects));
        let (was, is) = (before.as_ref(), self.node.as_ref());
        let views_differ = was.map(|node| &node.views) != is.map(|node| &node.views);
        let services_differ =
            was.map(NodeState::matters_to_services) != is.map(NodeState::matters_to_services);
        let mut changes = Changes { node: views_differ, services: touched.services.clone() };
        if services_differ {
            changes.services.extend(objects.services().map(|service| service.key.clone()));
        }
        for key in changes.services.clone() {
            changes.services.extend(self.claims.update(&key, objects.service(&key)));
        }
        changes
    }

    /// Answers the view of a Service as of the last [`changed`](Self::changed); `None` when it has no frontend in this
    /// family, or does not exist.
    pub fn service_view(&self, objects: &Objects, key: &ServiceKey, family: Family) -> Option<ServiceView> {
        let node = self.node.as_ref()?;
        let service = objects.service(key)?;
        let slices: Vec<&EndpointSlice> = objects.slices_of(key).collect();
        service_view(service, &slices, family, node.surroundings(family, &self.claims))
    }

    /// Answers the view of the node.
    pub fn node_view(&self, objects: &Objects, family: Family) -> NodeView {
        let cidrs = objects.service_cidrs().flat_map(|object| &object.cidrs);
        node_view(&self.options, objects.node(&self.options.node_name), cidrs, family)
    }

    /// Answers the whole view of a family.
    pub fn view(&self, objects: &Objects, family: Family) -> View {
        let keys = objects.services().map(|service| &service.key);
        let services = keys.filter_map(|key| self.service_view(objects, key, family)).collect();
        View { node: self.node_view(objects, family), services }
    }
}

/// What is known about the node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NodeState {
    here: Here,
    /// In the order of [`Family::BOTH`].
    views: [NodeView; 2],
}

impl NodeState {
    fn of(options: &Options, objects: &Objects) -> Self {
        let node = objects.node(&options.node_name);
        let cidrs: Vec<_> = objects.service_cidrs().flat_map(|object| &object.cidrs).collect();
        let views = Family::BOTH.map(|family| node_view(options, node, cidrs.iter().copied(), family));
        Self { here: here(options, node), views }
    }

    /// Name and zone choose endpoints; the addresses appear in source ranges.
    fn matters_to_services(&self) -> (&Here, [&[IpAddr]; 2]) {
        (&self.here, self.views.each_ref().map(|view| &view.addresses[..]))
    }

    fn surroundings<'a>(&'a self, family: Family, claims: &'a Claims) -> Surroundings<'a> {
        let [v4, v6] = &self.views;
        let view = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        Surroundings { here: &self.here, node_addresses: &view.addresses, claims }
    }
}
