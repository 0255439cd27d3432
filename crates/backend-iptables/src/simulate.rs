//! What the rules do to a packet, computed from the rules alone: the witness between specification and kernel.
//!
//! It follows one packet through the hooks and keeps every state that chance may lead to. What it does *not* do: know
//! anything about Services, or route (it only tells this node's own addresses from others).

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{Endpoint, Origin, Outcome, Packet, Protocol};

use crate::item::{Chains, Key, Value, chains};
use crate::names::{Chain, Hook, Table};
use crate::rule::{Match, Rule, Target};

/// A program that packets can be sent through.
pub struct Program<'a> {
    chains: Chains,
    hairpin: BTreeSet<(Endpoint, Protocol)>,
    /// The node's own addresses, loopback aside.
    addresses: &'a [IpAddr],
}

/// One packet's way through a program.
struct Walk<'p> {
    program: &'p Program<'p>,
    packet: &'p Packet,
    /// How many rules it met.
    rules: std::cell::Cell<usize>,
}

/// What is known about a packet at some point of its way.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    mark: u32,
    dnat: Option<Endpoint>,
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
    /// Back where the chain was called.
    left: BTreeSet<State>,
    ended: BTreeSet<(State, End)>,
}

impl<'a> Program<'a> {
    /// Takes a program and the addresses of the node on which it runs.
    pub fn new(items: &[(Key, Value)], addresses: &'a [IpAddr]) -> Self {
        let hairpin = items.iter().filter_map(|(key, _)| match key {
            Key::Hairpin(element) => Some(**element),
            Key::Entrance(..)
            | Key::Chain(..)
            | Key::External(_)
            | Key::Branch(..)
            | Key::Leaf(..)
            | Key::HealthPort(_)
            | Key::HairpinSet
            | Key::Counter(_)
            | Key::Found(..)
            | Key::FoundEntrance(..) => None,
        });
        let chains = chains(items.iter().map(|(key, value)| (key, value)));
        Self { hairpin: hairpin.collect(), chains, addresses }
    }

    /// Every outcome that is possible for the first packet of a connection, by a client that was never seen before.
    ///
    /// A packet whose destination is rewritten to an address of this node counts as masqueraded if it would be on
    /// its way out.
    pub fn outcomes(&self, packet: &Packet) -> BTreeSet<Outcome> {
        self.walk(packet).0
    }

    /// Answers how many rules the packet meets, over all ways that chance may lead it.
    pub fn rules_met(&self, packet: &Packet) -> usize {
        self.walk(packet).1
    }

    fn walk(&self, packet: &Packet) -> (BTreeSet<Outcome>, usize) {
        let walk = Walk { program: self, packet, rules: 0.into() };
        let outcomes = walk.outcomes();
        (outcomes, walk.rules.get())
    }
}

impl Walk<'_> {
    fn outcomes(&self) -> BTreeSet<Outcome> {
        let mut outcomes = BTreeSet::new();
        let mut states = BTreeSet::from([State::default()]);
        let first: &[(Table, Hook)] = match &self.packet.origin {
            Origin::Interface(_) => &[(Table::Nat, Hook::Prerouting)],
            Origin::ThisNode => &[(Table::Nat, Hook::Output), (Table::Filter, Hook::Output)],
        };
        for at in first {
            states = self.hook(*at, states, &mut outcomes);
        }
        let (here, elsewhere): (BTreeSet<State>, _) =
            states.into_iter().partition(|state| self.is_here(state));
        states = self.hook((Table::Filter, Hook::Input), here, &mut outcomes);
        match self.packet.origin {
            Origin::Interface(_) => {
                states.extend(self.hook((Table::Filter, Hook::Forward), elsewhere, &mut outcomes));
            }
            Origin::ThisNode => states.extend(elsewhere),
        }
        let states = self.hook((Table::Nat, Hook::Postrouting), states, &mut outcomes);
        outcomes.extend(states.into_iter().map(|state| match state.dnat {
            Some(endpoint) => Outcome::Reaches { endpoint, masqueraded: state.masqueraded },
            None => Outcome::Untouched,
        }));
        outcomes
    }

    /// Answers the states in which the packet goes on behind a hook.
    fn hook(
        &self,
        (table, hook): (Table, Hook),
        states: BTreeSet<State>,
        outcomes: &mut BTreeSet<Outcome>,
    ) -> BTreeSet<State> {
        let flow = self.chain(table, &Chain::BuiltIn(hook), states);
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

    /// `next` of the answer is what comes back.
    fn chain(&self, table: Table, chain: &Chain, states: BTreeSet<State>) -> Flow {
        let mut flow = Flow { next: states, ..Flow::default() };
        let rules = self.program.chains.get(&(table, chain.clone()));
        for rule in rules.into_iter().flatten() {
            for state in std::mem::take(&mut flow.next) {
                self.rules.set(self.rules.get() + 1);
                self.run((table, rule), state, &mut flow);
            }
        }
        flow.next.append(&mut flow.left);
        flow
    }

    fn run(&self, (table, rule): (Table, &Rule), mut state: State, flow: &mut Flow) {
        for question in &rule.matches {
            if matches!(question, Match::OneIn(count) if *count > 1) {
                flow.next.insert(state.clone());
            } else if !self.matches(question, &state) {
                flow.next.insert(state);
                return;
            }
        }
        let end = match &rule.target {
            Target::Jump(chain) => {
                let there = self.chain(table, chain, BTreeSet::from([state]));
                flow.ended.extend(there.ended);
                flow.next.extend(there.next);
                return;
            }
            Target::Goto(chain) => {
                let there = self.chain(table, chain, BTreeSet::from([state]));
                flow.ended.extend(there.ended);
                flow.left.extend(there.next);
                return;
            }
            Target::MarkOr(bits) => {
                state.mark |= bits;
                flow.next.insert(state);
                return;
            }
            Target::MarkXor(bits) => {
                state.mark ^= bits;
                flow.next.insert(state);
                return;
            }
            Target::Return => {
                flow.left.insert(state);
                return;
            }
            Target::Nothing => {
                flow.next.insert(state);
                return;
            }
            Target::Dnat(endpoint) => {
                state.dnat = Some(*endpoint);
                End::Accepted
            }
            Target::Masquerade => {
                state.masqueraded = true;
                End::Accepted
            }
            Target::Accept => End::Accepted,
            Target::Drop => End::Dropped,
            Target::Reject => End::Rejected,
        };
        flow.ended.insert((state, end));
    }

    fn matches(&self, question: &Match, state: &State) -> bool {
        let interface = match &self.packet.origin {
            Origin::Interface(name) => name.as_str(),
            Origin::ThisNode => "",
        };
        let (address, port) = self.destination(state);
        match question {
            Match::Source(range, is) => range.contains(&self.packet.source) == *is,
            Match::Destination(range, is) => range.contains(&address) == *is,
            // Asked for in INPUT only.
            Match::Interface(name, is) if name == "lo" => (self.packet.origin == Origin::ThisNode) == *is,
            Match::Interface(name, is) => match name.strip_suffix('+') {
                Some(prefix) => interface.starts_with(prefix) == *is,
                None => (interface == name) == *is,
            },
            Match::Protocol(protocol) => self.packet.protocol == *protocol,
            Match::Port(_, first, last) => (*first..=*last).contains(&port),
            // It is the first packet of its connection.
            Match::State(states, is) => {
                let holds = |name: &str| name == "NEW" || (name == "DNAT" && state.dnat.is_some());
                states.split(',').any(holds) == *is
            }
            Match::SourceLocal => self.packet.origin == Origin::ThisNode || self.is_own(self.packet.source),
            Match::DestinationLocal => self.is_here(state),
            Match::Mark(bits, is) => (state.mark & bits == *bits) == *is,
            Match::Hairpin => {
                let element = (Endpoint { address, port }, self.packet.protocol);
                self.packet.source == address && self.program.hairpin.contains(&element)
            }
            Match::Known(..) => false,
            Match::FirstDestination(range) => range.contains(&self.packet.destination),
            Match::Comment(_) | Match::OneIn(_) | Match::Remember(_) | Match::Counted(_) => true,
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
}
