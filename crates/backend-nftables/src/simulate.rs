//! What the items do to a packet, computed from the items alone: the witness between specification and kernel.
//!
//! It follows one packet through the hooks and keeps every state that chance may lead to. What it does *not* do: know
//! anything about Services, or route (it only tells this node's own addresses from others).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{Endpoint, Origin, Outcome, Packet};

use crate::item::{ChainBody, Key, Place, Value, VerdictKind, slots_of, verdicts_of};
use crate::names::{At, Chain, Set};
use crate::rule::Expression;

/// A program that packets can be sent through.
pub struct Program<'a> {
    items: BTreeMap<&'a Key, &'a Value>,
    /// The node's own addresses, loopback aside.
    addresses: &'a [IpAddr],
}

/// One packet's way through a program.
struct Walk<'p> {
    program: &'p Program<'p>,
    packet: &'p Packet,
}

/// What is known about a packet at some point of its way.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    mark: u32,
    dnat: Option<Endpoint>,
    remembered: Option<Endpoint>,
    masqueraded: bool,
}

/// How a hook can end before its chain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Accepted,
    Dropped,
    Rejected,
}

/// Where the states are that entered a chain.
#[derive(Debug, Default)]
struct Flow {
    /// At the next rule, and finally behind the last.
    next: BTreeSet<State>,
    /// Behind the last rule, through a `goto`.
    left: BTreeSet<State>,
    ended: BTreeSet<(State, End)>,
}

impl Flow {
    fn go_on(&mut self, state: State) {
        self.next.insert(state);
    }

    fn end(&mut self, state: State, end: End) {
        self.ended.insert((state, end));
    }
}

impl<'a> Program<'a> {
    /// Takes a program and the addresses of the node on which it runs.
    pub fn new(items: &'a [(Key, Value)], addresses: &'a [IpAddr]) -> Self {
        Self { items: items.iter().map(|(key, value)| (key, value)).collect(), addresses }
    }

    /// Every outcome that is possible for the first packet of a connection, by a client that was never seen before.
    ///
    /// A packet whose destination is rewritten to an address of this node counts as masqueraded if it would be on
    /// its way out.
    pub fn outcomes(&self, packet: &Packet) -> BTreeSet<Outcome> {
        Walk { program: self, packet }.outcomes()
    }
}

impl Walk<'_> {
    fn outcomes(&self) -> BTreeSet<Outcome> {
        let mut outcomes = BTreeSet::new();
        let mut states = BTreeSet::from([State::default()]);
        match &self.packet.origin {
            Origin::Interface(_) => {
                for hook in [Chain::FirewallPrerouting, Chain::Prerouting] {
                    states = self.hook(&hook, states, &mut outcomes);
                }
            }
            Origin::ThisNode => {
                for hook in
                    [Chain::FirewallOutput, Chain::Output, Chain::FilterOutput, Chain::FirewallPrerouting]
                {
                    let (here, elsewhere): (BTreeSet<State>, _) = states
                        .into_iter()
                        .partition(|state| hook != Chain::FirewallPrerouting || self.is_here(state));
                    states = self.hook(&hook, here, &mut outcomes);
                    states.extend(elsewhere);
                }
            }
        }
        let (here, elsewhere): (BTreeSet<State>, _) =
            states.into_iter().partition(|state| self.is_here(state));
        states = self.hook(&Chain::FilterInput, here, &mut outcomes);
        match self.packet.origin {
            Origin::Interface(_) => {
                states.extend(self.hook(&Chain::FilterForward, elsewhere, &mut outcomes));
            }
            Origin::ThisNode => states.extend(elsewhere),
        }
        let states = self.hook(&Chain::Postrouting, states, &mut outcomes);
        outcomes.extend(states.into_iter().map(|state| match state.dnat {
            Some(endpoint) => Outcome::Reaches { endpoint, masqueraded: state.masqueraded },
            None => Outcome::Untouched,
        }));
        outcomes
    }

    /// Answers the states in which the packet goes on behind a hook.
    fn hook(
        &self,
        chain: &Chain,
        states: BTreeSet<State>,
        outcomes: &mut BTreeSet<Outcome>,
    ) -> BTreeSet<State> {
        let flow = self.chain(chain, states);
        let mut on = flow.next;
        for (state, end) in flow.ended {
            match end {
                End::Accepted => on.extend([state]),
                End::Dropped => outcomes.extend([Outcome::Dropped]),
                End::Rejected => outcomes.extend([Outcome::Rejected]),
            }
        }
        on
    }

    /// `next` of the answer is what comes out at the end.
    fn chain(&self, chain: &Chain, states: BTreeSet<State>) -> Flow {
        let mut flow = Flow { next: states, ..Flow::default() };
        let Some(Value::Chain(body)) = self.program.items.get(&Key::Chain(chain.clone())) else {
            return flow;
        };
        let body: &ChainBody = body;
        for rule in &body.rules {
            for state in std::mem::take(&mut flow.next) {
                self.run(&rule.0, state, &mut flow);
            }
        }
        flow.next.append(&mut flow.left);
        flow
    }

    fn run(&self, expressions: &[Expression], mut state: State, flow: &mut Flow) {
        let Some((first, rest)) = expressions.split_first() else {
            return flow.go_on(state);
        };
        match first {
            Expression::OneIn(count) => {
                if *count > 1 {
                    flow.next.insert(state.clone());
                }
            }
            Expression::MarkOr(bits) => state.mark |= bits,
            Expression::MarkXor(bits) => state.mark ^= bits,
            Expression::Remember(_, endpoint, _) => {
                state.remembered.get_or_insert(*endpoint);
            }
            Expression::Vmap(set) => return self.verdict(set, state, flow),
            Expression::DnatSlots(set, count) => {
                for slot in 0..*count {
                    self.rewrite(self.slot(set, &state, slot), state.clone(), flow);
                }
                return;
            }
            Expression::DnatSticky(_) => return self.rewrite(state.remembered, state, flow),
            Expression::Masquerade => {
                state.masqueraded = true;
                return flow.end(state, End::Accepted);
            }
            Expression::Reject => return flow.end(state, End::Rejected),
            Expression::Drop => return flow.end(state, End::Dropped),
            Expression::Goto(chain) => return self.go_to(chain, state, flow),
            Expression::Jump(chain) => {
                let there = self.chain(chain, BTreeSet::from([state]));
                flow.ended.extend(there.ended);
                return there.next.into_iter().for_each(|state| self.run(rest, state, flow));
            }
            Expression::Saddr(..)
            | Expression::Daddr(..)
            | Expression::Interface(..)
            | Expression::InterfacePrefix(..)
            | Expression::CtStateNew
            | Expression::CtStatusDnat
            | Expression::SaddrLocal
            | Expression::DaddrLocal
            | Expression::L4Proto(_)
            | Expression::Lookup(..)
            | Expression::MarkHas(_) => {
                if !self.matches(first, &state) {
                    return flow.go_on(state);
                }
            }
        }
        self.run(rest, state, flow);
    }

    fn matches(&self, question: &Expression, state: &State) -> bool {
        let interface = match &self.packet.origin {
            Origin::Interface(name) => name.as_str(),
            Origin::ThisNode => "",
        };
        match question {
            Expression::Saddr(range, is) => range.contains(&self.packet.source) == *is,
            Expression::Daddr(range, is) => range.contains(&self.destination(state).0) == *is,
            Expression::Interface(name, is) => (interface == name) == *is,
            Expression::InterfacePrefix(prefix, is) => interface.starts_with(prefix.as_str()) == *is,
            Expression::CtStateNew => true,
            Expression::CtStatusDnat => state.dnat.is_some(),
            Expression::SaddrLocal => {
                self.packet.origin == Origin::ThisNode || self.is_own(self.packet.source)
            }
            Expression::DaddrLocal => self.is_here(state),
            Expression::L4Proto(protocol) => self.packet.protocol == *protocol,
            Expression::Lookup(set, is) => self.contains(set, state) == *is,
            Expression::MarkHas(bits) => state.mark & bits == *bits,
            Expression::OneIn(_)
            | Expression::MarkOr(_)
            | Expression::MarkXor(_)
            | Expression::Vmap(_)
            | Expression::DnatSlots(..)
            | Expression::DnatSticky(_)
            | Expression::Remember(..)
            | Expression::Masquerade
            | Expression::Reject
            | Expression::Drop
            | Expression::Jump(_)
            | Expression::Goto(_) => true,
        }
    }

    fn verdict(&self, set: &Set, state: State, flow: &mut Flow) {
        let key = verdicts_of(set).map(|(map, at)| Key::Verdict(map, self.place(at, &state)));
        match key.and_then(|key| self.program.items.get(&key)) {
            Some(Value::Verdict(verdict)) => match &verdict.kind {
                VerdictKind::Goto(chain) => self.go_to(chain, state, flow),
                VerdictKind::Drop => flow.end(state, End::Dropped),
            },
            Some(_) | None => flow.go_on(state),
        }
    }

    fn go_to(&self, chain: &Chain, state: State, flow: &mut Flow) {
        let there = self.chain(chain, BTreeSet::from([state]));
        flow.left.extend(there.next);
        flow.ended.extend(there.ended);
    }

    fn rewrite(&self, endpoint: Option<Endpoint>, mut state: State, flow: &mut Flow) {
        if endpoint.is_none() {
            return flow.go_on(state);
        }
        state.dnat = endpoint;
        flow.end(state, End::Accepted);
    }

    fn slot(&self, set: &Set, state: &State, slot: u32) -> Option<Endpoint> {
        let (slots, at) = slots_of(set)?;
        let place = self.place(at, state);
        let Value::Endpoint(endpoint) =
            self.program.items.get(&Key::Slot(slots, place, u16::try_from(slot).ok()?))?
        else {
            return None;
        };
        Some(*endpoint)
    }

    fn contains(&self, set: &Set, state: &State) -> bool {
        let place = self.place(At::Address, state);
        let address = self.destination(state).0;
        match set {
            Set::Protocols => self.program.items.contains_key(&Key::Protocol(self.packet.protocol)),
            Set::Guarded => self.program.items.contains_key(&Key::Guarded(place)),
            Set::Allowed => self.program.items.keys().any(|key| {
                matches!(key, Key::Allowed(allowed) if allowed.0 == place && allowed.1.contains(&self.packet.source))
            }),
            Set::Hairpin => self.packet.source == address && self.program.items.contains_key(&Key::Hairpin(address)),
            Set::ClusterIps => self.program.items.contains_key(&Key::ClusterIp(address)),
            Set::Frontends
            | Set::Inside
            | Set::Outside
            | Set::Refused
            | Set::Slots
            | Set::LocalSlots
            | Set::NodePorts
            | Set::NodePortInside
            | Set::NodePortOutside
            | Set::NodePortRefused
            | Set::NodePortSlots
            | Set::NodePortLocalSlots
            | Set::Sticky(_) => false,
        }
    }

    fn is_here(&self, state: &State) -> bool {
        self.is_own(self.destination(state).0)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.program.addresses.contains(&address)
    }

    /// Where the packet is going now.
    fn destination(&self, state: &State) -> (IpAddr, u16) {
        let original = (self.packet.destination, self.packet.port);
        state.dnat.map_or(original, |endpoint| (endpoint.address, endpoint.port))
    }

    fn place(&self, at: At, state: &State) -> Place {
        let (address, port) = self.destination(state);
        let address = match at {
            At::Address => Some(address),
            At::NodePort => None,
        };
        Place { address, protocol: self.packet.protocol, port }
    }
}
