//! What one Service adds to the program.

use std::collections::BTreeSet;

use backend::Items;
use model::{
    Affinity, FrontendKind, FrontendView, IpNet, PortView, Route, Scope, ServiceView, TrafficPolicy,
};

use crate::item::{Balance, External, Key, Leaf, Place, Value};
use crate::names::{Chain, Hash, Table, Tree};
use crate::rule::{Match, Rule, Target};

/// The items that one Service wants.
pub(crate) fn items(service: &ServiceView) -> Items<Key, Value> {
    let mut compiled = Compiled { own: Vec::new(), shared: Vec::new(), places: BTreeSet::new() };
    if service.health_check_node_port != 0 {
        compiled.shared.push(Key::HealthPort(service.health_check_node_port));
    }
    for port in &service.ports {
        let comment = comment(&service.key, port);
        let port = Port { hash: Hash::of_port(&comment, port.protocol), comment, view: port };
        for frontend in &port.view.frontends {
            compiled.frontend(&port, frontend);
        }
    }
    Items::new(compiled.own, compiled.shared)
}

struct Port<'a> {
    hash: Hash,
    comment: Box<str>,
    view: &'a PortView,
}

struct Compiled {
    own: Vec<(Key, Value)>,
    shared: Vec<Key>,
    /// Of two frontends at one place the first counts.
    places: BTreeSet<Place>,
}

impl Compiled {
    fn frontend(&mut self, port: &Port<'_>, frontend: &FrontendView) {
        let place = Place { address: frontend.address, protocol: port.view.protocol, port: frontend.port };
        if frontend.shadowed_by.is_some() || !self.places.insert(place) {
            return;
        }
        let then = match frontend.kind {
            FrontendKind::ClusterIp => self.at_cluster_ip(port, place),
            FrontendKind::ExternalIp | FrontendKind::LoadBalancerIp | FrontendKind::NodePort => {
                self.at_external_address(port, place)
            }
        };
        let tree = match place.address {
            Some(_) => Tree::Addresses,
            None => Tree::NodePorts,
        };
        match (&frontend.sources, then) {
            (Some(sources), then) => self.guard(port, place, (sources, then)),
            (None, Some(then)) => self.leaf(port, (tree, place), then),
            (None, None) => {}
        }
    }

    /// The same for everybody. Answers what leads to the endpoints; `None`: there are none.
    fn at_cluster_ip(&mut self, port: &Port<'_>, place: Place) -> Option<Vec<Target>> {
        let route = &port.view.internal;
        let Some(chain) = self.balance(port, route) else {
            self.refuse(port, place, route);
            return None;
        };
        Some(vec![Target::Jump(Chain::MarkCluster), Target::Jump(chain)])
    }

    fn at_external_address(&mut self, port: &Port<'_>, place: Place) -> Option<Vec<Target>> {
        let (policy, outside) = (port.view.external_policy, &port.view.external);
        let inside = match policy {
            TrafficPolicy::Cluster => outside,
            TrafficPolicy::Local => &port.view.external_from_cluster,
        };
        let (for_inside, for_outside) = (self.balance(port, inside), self.balance(port, outside));
        for (chain, route) in [(&for_inside, inside), (&for_outside, outside)] {
            if chain.is_none() {
                self.refuse(port, place, route);
            }
        }
        if for_inside.is_none() && for_outside.is_none() {
            return None;
        }
        let external = External {
            port: port.comment.clone(),
            protocol: port.view.protocol,
            policy,
            inside: for_inside.is_some(),
            outside: for_outside.is_some(),
        };
        let chain = external.chain();
        self.shared.push(Key::External(Box::new(external)));
        Some(vec![Target::Jump(chain)])
    }

    /// Answers the chain that balances; `None`: there is nothing to balance over.
    fn balance(&mut self, port: &Port<'_>, route: &Route) -> Option<Chain> {
        let Route::Balance(scope, endpoints) = route else { return None };
        let is_local = |endpoint: &&model::Endpoint| {
            let at = port.view.endpoints.binary_search_by(|view| view.endpoint.cmp(endpoint));
            at.is_ok_and(|at| port.view.endpoints[at].local)
        };
        let local = endpoints.iter().filter(is_local);
        self.shared.extend(local.map(|endpoint| Key::Hairpin(Box::new((*endpoint, port.view.protocol)))));
        let chain = match scope {
            Scope::Cluster => Chain::Service(port.hash.clone()),
            Scope::Local => Chain::Local(port.hash.clone()),
        };
        let sticky = match port.view.affinity {
            Affinity::None => None,
            Affinity::ClientIp { timeout_seconds } => Some(timeout_seconds),
        };
        let balance = Balance {
            comment: port.comment.clone(),
            protocol: port.view.protocol,
            sticky,
            endpoints: endpoints.as_slice().into(),
        };
        self.own.push((Key::Chain(Table::Nat, chain.clone()), Value::Balance(Box::new(balance))));
        Some(chain)
    }

    /// Only some sources may use it. Others are not rewritten, whatever NodePorts there are, and dropped in `filter`.
    fn guard(&mut self, port: &Port<'_>, place: Place, (sources, then): (&[IpNet], Option<Vec<Target>>)) {
        let chain = Chain::Ranges(Hash::of(&place.to_string()));
        let comment = || Match::Comment(port.comment.clone());
        let from =
            |range: &IpNet, target: Target| Rule::new([Match::Source(*range, true), comment()], target);
        let then = then.unwrap_or_else(|| vec![Target::Return]);
        let allowed = sources.iter().flat_map(|range| then.iter().map(|target| from(range, target.clone())));
        let mut rules: Vec<Rule> = allowed.collect();
        rules.push(Rule::new([comment()], Target::Accept));
        self.own.push((Key::Chain(Table::Nat, chain.clone()), Value::Rules(rules)));
        self.leaf(port, (Tree::Addresses, place), vec![Target::Jump(chain.clone())]);
        let mut rules: Vec<Rule> = sources.iter().map(|range| from(range, Target::Return)).collect();
        rules.push(Rule::new([comment()], Target::Drop));
        self.own.push((Key::Chain(Table::Filter, chain.clone()), Value::Rules(rules)));
        self.leaf(port, (Tree::Guarded, place), vec![Target::Jump(chain)]);
    }

    fn refuse(&mut self, port: &Port<'_>, place: Place, route: &Route) {
        let target = match route {
            Route::Balance(..) => return,
            Route::Drop => Target::Drop,
            Route::Reject => Target::Reject,
        };
        let tree = match place.address {
            Some(_) => Tree::Refused,
            None => Tree::RefusedNodePorts,
        };
        self.leaf(port, (tree, place), vec![target]);
    }

    fn leaf(&mut self, port: &Port<'_>, (tree, place): (Tree, Place), then: Vec<Target>) {
        let leaf = Leaf { comment: port.comment.clone(), then: then.into() };
        self.own.push((Key::Leaf(tree, place), Value::Leaf(Box::new(leaf))));
        self.shared.extend(Tree::path(&place).into_iter().map(|spot| Key::Branch(tree, spot)));
    }
}

/// For people, and as kube-proxy names a port. A comment has at most 255 bytes, and no name is that long.
fn comment(key: &model::ServiceKey, port: &PortView) -> Box<str> {
    let mut text = if port.name.is_empty() { key.to_string() } else { format!("{key}:{}", port.name) };
    // A quote would end the comment, and no name has one.
    text.retain(|c| c.is_ascii_graphic() && c != '"' && c != '\\');
    text.truncate(255);
    text.into()
}
