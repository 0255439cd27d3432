//! What one Service adds to the program.

use std::collections::BTreeSet;

use backend::Items;
use model::{
    Affinity, Endpoint, FrontendKind, FrontendView, PortView, Route, Scope, ServiceKey, ServiceView,
    TrafficPolicy,
};

use crate::item::{Key, Place, Slots, Value, Verdict, VerdictKind, Verdicts};
use crate::names::{At, Chain, Kind, Set, StickyName};
use crate::node::{body, rule};
use crate::rule::Expression;

/// The most endpoints of one frontend; an EndpointSlice controller never makes nearly as many.
const MOST_SLOTS: usize = u16::MAX as usize;

/// The items that one Service wants.
pub(crate) fn items(service: &ServiceView) -> Items<Key, Value> {
    let items = |port: &PortView| port.frontends.len() * (port.endpoints.len() + 1);
    let room = service.ports.iter().map(items).sum();
    let mut compiled =
        Compiled { own: Vec::with_capacity(room), shared: Vec::new(), places: BTreeSet::new() };
    for port in &service.ports {
        let port = Port { key: &service.key, view: port };
        for frontend in &port.view.frontends {
            compiled.frontend(port, frontend);
        }
    }
    Items::new(compiled.own, compiled.shared)
}

/// Gives slots the endpoints that they have already, as far as those are still wanted. So a new endpoint is one more
/// slot, and one that leaves is replaced by the last.
pub(crate) fn align(items: &mut [(Key, Value)], there: &dyn Fn(&Key) -> Option<Value>) {
    let same_frontend = |a: &(Key, Value), b: &(Key, Value)| match (&a.0, &b.0) {
        (Key::Slot(map, place, _), Key::Slot(other_map, other_place, _)) => {
            (map, place) == (other_map, other_place)
        }
        _ => false,
    };
    for slots in items.chunk_by_mut(same_frontend) {
        if matches!(slots, [(Key::Slot(..), _), ..]) {
            align_slots(slots, there);
        }
    }
}

/// `slots` belong to one frontend.
fn align_slots(slots: &mut [(Key, Value)], there: &dyn Fn(&Key) -> Option<Value>) {
    let endpoint = |value: &Value| if let Value::Endpoint(endpoint) = value { Some(*endpoint) } else { None };
    let mut waiting: BTreeSet<Endpoint> = slots.iter().filter_map(|(_, value)| endpoint(value)).collect();
    let kept: Vec<Option<Endpoint>> = slots
        .iter()
        .map(|(key, _)| there(key).as_ref().and_then(endpoint).filter(|known| waiting.remove(known)))
        .collect();
    let mut waiting = waiting.into_iter();
    for ((_, value), kept) in slots.iter_mut().zip(kept) {
        if let Some(endpoint) = kept.or_else(|| waiting.next()) {
            *value = Value::Endpoint(endpoint);
        }
    }
}

#[derive(Clone, Copy)]
struct Port<'a> {
    key: &'a ServiceKey,
    view: &'a PortView,
}

struct Compiled {
    own: Vec<(Key, Value)>,
    shared: Vec<Key>,
    /// Of two frontends at one place the first counts.
    places: BTreeSet<Place>,
}

impl Compiled {
    fn frontend(&mut self, port: Port<'_>, frontend: &FrontendView) {
        let place = Place { address: frontend.address, protocol: port.view.protocol, port: frontend.port };
        if let (FrontendKind::ClusterIp, Some(address)) = (frontend.kind, frontend.address) {
            self.shared.push(Key::ClusterIp(address));
        }
        if frontend.shadowed_by.is_some() || !self.places.insert(place) {
            return;
        }
        if let Some(sources) = &frontend.sources {
            self.own.push((Key::Guarded(place), Value::Present));
            let allowed = sources.iter().map(|range| Key::Allowed(Box::new((place, *range))));
            self.own.extend(allowed.map(|key| (key, Value::Present)));
        }
        match (frontend.kind, port.view.external_policy) {
            (FrontendKind::ClusterIp, _) => self.one_route(port, place, (&port.view.internal, Kind::Cluster)),
            (FrontendKind::ExternalIp | FrontendKind::LoadBalancerIp | FrontendKind::NodePort, policy) => {
                match policy {
                    TrafficPolicy::Cluster => {
                        self.one_route(port, place, (&port.view.external, Kind::External))
                    }
                    TrafficPolicy::Local => self.two_routes(port, place),
                }
            }
        }
    }

    /// The same for everybody.
    fn one_route(&mut self, port: Port<'_>, place: Place, (route, kind): (&Route, Kind)) {
        if let Some(chain) = self.balance(port, place, (route, kind)) {
            self.verdict(port, (Verdicts::Frontends, place), VerdictKind::Goto(chain));
        } else {
            self.refuse(port, place, route);
        }
    }

    /// For pods and this node one route, for everybody else another.
    fn two_routes(&mut self, port: Port<'_>, place: Place) {
        let (inside, outside) = (&port.view.external_from_cluster, &port.view.external);
        let for_inside = self.balance(port, place, (inside, Kind::Plain));
        let for_outside = self.balance(port, place, (outside, Kind::Local));
        if for_inside.is_some() || for_outside.is_some() {
            let chain = match place.at() {
                At::Address => Chain::ExternalLocal,
                At::NodePort => Chain::NodePortExternalLocal,
            };
            self.verdict(port, (Verdicts::Frontends, place), VerdictKind::Goto(chain));
        }
        for (map, chain, route) in
            [(Verdicts::Inside, for_inside, inside), (Verdicts::Outside, for_outside, outside)]
        {
            match chain {
                Some(chain) => self.verdict(port, (map, place), VerdictKind::Goto(chain)),
                None => self.refuse(port, place, route),
            }
        }
    }

    /// Answers the chain that balances; `None`: there is nothing to balance over.
    fn balance(&mut self, port: Port<'_>, place: Place, (route, kind): (&Route, Kind)) -> Option<Chain> {
        let Route::Balance(scope, endpoints) = route else { return None };
        let endpoints = &endpoints[..endpoints.len().min(MOST_SLOTS)];
        self.hairpin(port.view, endpoints);
        if let Affinity::ClientIp { timeout_seconds } = port.view.affinity {
            return Some(self.stick(port, kind, (*scope, endpoints, timeout_seconds)));
        }
        let slots = if kind == Kind::Local { Slots::Local } else { Slots::All };
        let items = endpoints
            .iter()
            .enumerate()
            .map(|(slot, endpoint)| (Key::Slot(slots, place, slot as u16), Value::Endpoint(*endpoint)));
        self.own.extend(items);
        let chain = Chain::Balance(kind, place.at(), endpoints.len() as u16);
        self.shared.push(Key::Chain(chain.clone()));
        Some(chain)
    }

    /// A port has one map of clients for each scope, whatever the frontend.
    fn stick(
        &mut self,
        port: Port<'_>,
        kind: Kind,
        (scope, endpoints, seconds): (Scope, &[Endpoint], u32),
    ) -> Chain {
        let name = sticky_name(port, scope);
        let set = Set::Sticky(name.clone());
        let chain = Chain::Sticky(name.clone());
        let rules = endpoints.iter().enumerate().map(|(index, endpoint)| {
            let left = (endpoints.len() - index) as u32;
            let chance = (left > 1).then_some(Expression::OneIn(left));
            rule(chance.into_iter().chain([Expression::Remember(set.clone(), *endpoint, seconds)]))
        });
        let dnat = rule([Expression::L4Proto(port.view.protocol), Expression::DnatSticky(set.clone())]);
        let body = body(&chain, rules.chain([dnat]).collect());
        self.own.push((Key::Set(set), Value::Present));
        self.own.push((Key::Chain(chain.clone()), body));
        let through = match kind {
            Kind::Cluster => Chain::StickyCluster(name),
            Kind::External => Chain::StickyExternal(name),
            Kind::Plain | Kind::Local => return chain,
        };
        self.shared.push(Key::Chain(through.clone()));
        through
    }

    fn hairpin(&mut self, port: &PortView, endpoints: &[Endpoint]) {
        let is_local = |endpoint: &&Endpoint| {
            let at = port.endpoints.binary_search_by(|view| view.endpoint.cmp(endpoint));
            at.is_ok_and(|at| port.endpoints[at].local)
        };
        self.shared.extend(endpoints.iter().filter(is_local).map(|endpoint| Key::Hairpin(endpoint.address)));
    }

    fn refuse(&mut self, port: Port<'_>, place: Place, route: &Route) {
        match route {
            Route::Balance(..) => {}
            Route::Drop => self.verdict(port, (Verdicts::Refused, place), VerdictKind::Drop),
            Route::Reject => self.verdict(port, (Verdicts::Refused, place), VerdictKind::Goto(Chain::Reject)),
        }
    }

    fn verdict(&mut self, port: Port<'_>, (map, place): (Verdicts, Place), kind: VerdictKind) {
        let comment = match map {
            Verdicts::Frontends | Verdicts::Refused => comment(port),
            Verdicts::Inside | Verdicts::Outside => Box::default(),
        };
        self.own.push((Key::Verdict(map, place), Value::Verdict(Box::new(Verdict { kind, comment }))));
    }
}

/// For people. What is longer than the 126 bytes that nft reads is cut, at a boundary: names are ASCII.
fn comment(Port { key, view }: Port<'_>) -> Box<str> {
    let mut text =
        if view.name.is_empty() { format!("{key}:{}", view.port) } else { format!("{key}:{}", view.name) };
    // A quote would end the comment, and no name has one.
    text.retain(|c| c.is_ascii_graphic() && c != '"');
    text.truncate(126);
    text.into()
}

fn sticky_name(Port { key, view }: Port<'_>, scope: Scope) -> StickyName {
    let PortView { protocol, port, .. } = view;
    match scope {
        Scope::Cluster => format!("{key}/{protocol}/{port}").into(),
        Scope::Local => format!("{key}/{protocol}/{port}/local").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(text: &str) -> Vec<(Key, Value)> {
        let place = Place { address: None, protocol: model::Protocol::Tcp, port: 1 };
        let slot = |(slot, letter): (usize, char)| {
            let endpoint = Endpoint { address: [10, 0, 0, letter as u8].into(), port: 1 };
            (Key::Slot(Slots::All, place, slot as u16), Value::Endpoint(endpoint))
        };
        text.chars().enumerate().map(slot).collect()
    }

    fn aligned(wanted: &str, installed: &str) -> String {
        let (mut items, installed) = (slots(wanted), slots(installed));
        align(&mut items, &|key| {
            installed.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
        });
        let letter = |value: &Value| {
            let Value::Endpoint(Endpoint { address: std::net::IpAddr::V4(address), .. }) = value else {
                panic!("{value:?} in a slot");
            };
            address.octets()[3] as char
        };
        items.iter().map(|(_, value)| letter(value)).collect()
    }

    #[test]
    fn slots_keep_their_endpoints() {
        assert_eq!(aligned("abc", ""), "abc");
        assert_eq!(aligned("abcd", "bac"), "bacd");
        assert_eq!(aligned("abd", "dcab"), "dba");
        assert_eq!(aligned("bc", "abc"), "cb");
        assert_eq!(aligned("xyz", "abc"), "xyz");
    }
}
