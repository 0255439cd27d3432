//! What the program is made of, and the rules that each item contributes to a chain.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Endpoint, Family, IpNet, Protocol, TrafficPolicy};

use crate::names::{Chain, Hash, Hook, Spot, Table, Tree};
use crate::rule::{Counter, Match, Rule, Target};

/// Names an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A rule of a built-in chain that leads to one of ours; the lowest number comes first.
    Entrance(Table, Hook, u8),
    /// A chain with all its rules.
    Chain(Table, Chain),
    /// A chain that leads to balancing at external addresses; it depends on the node.
    External(Box<External>),
    /// A branch of a tree, with the rule that leads there.
    Branch(Tree, Spot),
    /// The rules of one frontend in a leaf of a tree.
    Leaf(Tree, Place),
    /// A rule that lets health checks of a Service in.
    HealthPort(u16),
    /// The set of [`Key::Hairpin`].
    HairpinSet,
    /// Element of the set.
    Hairpin(Box<(Endpoint, Protocol)>),
    /// A counter.
    Counter(Counter),
    /// A chain that is there and is not known to be what is wanted.
    Found(Table, Box<str>),
    /// A rule of a built-in chain that leads to such a chain; which one of those that are the same.
    FoundEntrance(Table, Box<str>, u32),
}

/// Address, protocol and port of a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The address; `None`: a NodePort.
    pub address: Option<IpAddr>,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// What the rules at external addresses depend on besides the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct External {
    /// `namespace/name:port`.
    pub port: Box<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Who is masqueraded.
    pub policy: TrafficPolicy,
    /// Whether pods and this node have endpoints; with policy Cluster everybody.
    pub inside: bool,
    /// Whether others have.
    pub outside: bool,
}

/// What is under a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing more to say.
    Present,
    /// The rules of a chain.
    Rules(Vec<Rule>),
    /// A chain that balances.
    Balance(Box<Balance>),
    /// What happens at a frontend.
    Leaf(Box<Leaf>),
}

/// A choice of endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Balance {
    /// `namespace/name:port`.
    pub comment: Box<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// For how many seconds clients stick to their endpoint; `None`: they do not.
    pub sticky: Option<u32>,
    /// The endpoints.
    pub endpoints: Box<[Endpoint]>,
}

/// What happens at a frontend: one rule for each target.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// `namespace/name:port`.
    pub comment: Box<str>,
    /// One after the other.
    pub then: Box<[Target]>,
}

/// The rules of all chains.
pub(crate) type Chains = BTreeMap<(Table, Chain), Vec<Rule>>;

impl External {
    /// Answers the chain.
    pub(crate) fn chain(&self) -> Chain {
        Chain::External(self.hash())
    }

    pub(crate) fn hash(&self) -> Hash {
        Hash::of_port(&self.port, self.protocol)
    }
}

impl Key {
    /// Answers the chain to which the item contributes; `None`: it is no rule.
    pub(crate) fn chain(&self) -> Option<(Table, Chain)> {
        match self {
            Self::Entrance(table, hook, _) => Some((*table, Chain::BuiltIn(*hook))),
            Self::Chain(table, chain) => Some((*table, chain.clone())),
            Self::External(external) => Some((Table::Nat, external.chain())),
            Self::Branch(tree, spot) => Some((tree.table(), Chain::Branch(*tree, spot.parent()))),
            Self::Leaf(tree, place) => Some((tree.table(), Chain::Branch(*tree, Spot::leaf(place)))),
            Self::HealthPort(_) => Some((Table::Filter, Chain::HealthPorts)),
            Self::HairpinSet
            | Self::Hairpin(_)
            | Self::Counter(_)
            | Self::Found(..)
            | Self::FoundEntrance(..) => None,
        }
    }

    /// Answers the table of that chain.
    pub(crate) fn table(&self) -> Option<Table> {
        match self {
            Self::Entrance(table, ..) | Self::Chain(table, _) => Some(*table),
            Self::External(_) => Some(Table::Nat),
            Self::Branch(tree, _) | Self::Leaf(tree, _) => Some(tree.table()),
            Self::HealthPort(_) => Some(Table::Filter),
            Self::HairpinSet
            | Self::Hairpin(_)
            | Self::Counter(_)
            | Self::Found(..)
            | Self::FoundEntrance(..) => None,
        }
    }

    /// Answers the chain that is there because of the item, although its rules come from others.
    pub(crate) fn makes(&self) -> Option<(Table, Chain)> {
        match self {
            Self::Branch(tree, spot) => Some((tree.table(), Chain::Branch(*tree, *spot))),
            Self::Entrance(..)
            | Self::Chain(..)
            | Self::External(_)
            | Self::Leaf(..)
            | Self::HealthPort(_)
            | Self::HairpinSet
            | Self::Hairpin(_)
            | Self::Counter(_)
            | Self::Found(..)
            | Self::FoundEntrance(..) => None,
        }
    }
}

/// The rules that an item contributes to its chain.
pub(crate) fn rules(key: &Key, value: &Value) -> Vec<Rule> {
    match (key, value) {
        (_, Value::Rules(rules)) => rules.clone(),
        (_, Value::Balance(balance)) => balance.rules(),
        (Key::Leaf(_, place), Value::Leaf(leaf)) => leaf.rules(place),
        (Key::Branch(tree, spot), Value::Present) => branch_rule(*tree, spot).into_iter().collect(),
        (Key::HealthPort(port), Value::Present) => {
            let comment = Match::Comment("allow health checks".into());
            let protocol = Protocol::Tcp;
            let matches = [Match::Protocol(protocol), comment, Match::Port(protocol, *port, *port)];
            vec![Rule::new(matches, Target::Accept)]
        }
        (_, Value::Present | Value::Leaf(_)) => Vec::new(),
    }
}

/// How many those are.
pub(crate) fn rule_count(key: &Key, value: &Value) -> usize {
    match (key, value) {
        (_, Value::Rules(rules)) => rules.len(),
        (_, Value::Balance(balance)) => balance.endpoints.len() * (1 + usize::from(balance.sticky.is_some())),
        (Key::Leaf(..), Value::Leaf(leaf)) => leaf.then.len(),
        (Key::Branch(_, spot), Value::Present) => usize::from(*spot != Spot::Root),
        (Key::HealthPort(_), Value::Present) => 1,
        (_, Value::Present | Value::Leaf(_)) => 0,
    }
}

/// The rule that leads into a branch. Nothing comes back from there: what a leaf does not know goes on behind the tree.
fn branch_rule(tree: Tree, spot: &Spot) -> Option<Rule> {
    let target = Target::Goto(Chain::Branch(tree, *spot));
    match spot {
        Spot::Root => None,
        Spot::Net(net) => Some(Rule::new([Match::Destination(*net, true)], target)),
        Spot::Ports(protocol, first, bits) => {
            let last = first | (u16::MAX >> bits);
            Some(Rule::new([Match::Protocol(*protocol), Match::Port(*protocol, *first, last)], target))
        }
    }
}

impl Leaf {
    fn rules(&self, place: &Place) -> Vec<Rule> {
        let Place { address, protocol, port } = *place;
        let rule = |target: &Target| {
            let address = address.map(|address| Match::Destination(IpNet::from(address), true));
            let comment = Match::Comment(self.comment.clone());
            let rest = [Match::Protocol(protocol), comment, Match::Port(protocol, port, port)];
            Rule::new(address.into_iter().chain(rest), target.clone())
        };
        self.then.iter().map(rule).collect()
    }
}

impl Balance {
    /// Known clients first, then everybody to one of those that are left, with the same chance for each. The first rule says
    /// for whom; a comment takes as much memory as the rest of a rule.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let list = |endpoint: &Endpoint| -> Box<str> {
            format!("KUBE-SEP-{}", Hash::of(&format!("{}{}{endpoint}", self.comment, self.protocol))).into()
        };
        let known = |endpoint: &Endpoint| {
            let seconds = self.sticky?;
            Some((vec![Match::Known(list(endpoint), seconds)], *endpoint))
        };
        let chosen = |(index, endpoint): (usize, &Endpoint)| {
            let left = (self.endpoints.len() - index) as u32;
            let chance = (left > 1).then_some(Match::OneIn(left));
            let remember = self.sticky.map(|_| Match::Remember(list(endpoint)));
            (chance.into_iter().chain(remember).collect(), *endpoint)
        };
        let known = self.endpoints.iter().filter_map(known);
        let all = known.chain(self.endpoints.iter().enumerate().map(chosen));
        let rule = |(index, (questions, endpoint)): (usize, (Vec<Match>, Endpoint))| {
            let comment = (index == 0).then(|| Match::Comment(self.comment.clone()));
            let matches = std::iter::once(Match::Protocol(self.protocol)).chain(comment).chain(questions);
            Rule::new(matches, Target::Dnat(endpoint))
        };
        all.enumerate().map(rule).collect()
    }
}

/// The rules of all chains of a program.
pub(crate) fn chains<'a>(items: impl IntoIterator<Item = (&'a Key, &'a Value)>) -> Chains {
    let mut chains = Chains::new();
    for (key, value) in items {
        if let Some(chain) = key.makes() {
            chains.entry(chain).or_default();
        }
        if let Some(chain) = key.chain() {
            chains.entry(chain).or_default().extend(rules(key, value));
        }
    }
    chains
}

/// Writes a whole program as `iptables-restore --noflush` takes it. The set of hairpin elements must be there.
pub(crate) fn render(family: Family, items: &[(Key, Value)]) -> String {
    let chains = chains(items.iter().map(|(key, value)| (key, value)));
    let mut text = String::new();
    for table in Table::BOTH {
        let ours = || chains.iter().filter(|((of, _), _)| *of == table);
        text += &format!("*{}\n", table.name());
        for ((_, chain), _) in ours().filter(|((_, chain), _)| !matches!(chain, Chain::BuiltIn(_))) {
            text += &format!(":{chain} - [0:0]\n");
        }
        for ((_, chain), rules) in ours() {
            for rule in rules {
                text += &format!("-A {chain} {}\n", rule.text(family));
            }
        }
        text += "COMMIT\n";
    }
    text
}

/// Prints it for people.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entrance(table, hook, number) => write!(f, "-t {} {} {number}", table.name(), hook.name()),
            Self::Chain(table, chain) => write!(f, "-t {} {chain}", table.name()),
            Self::External(external) => write!(f, "-t nat {} ({})", external.chain(), external.port),
            Self::Branch(tree, spot) => {
                write!(f, "-t {} {}", tree.table().name(), Chain::Branch(*tree, *spot))
            }
            Self::Leaf(tree, place) => {
                write!(f, "-t {} {} {place}", tree.table().name(), Chain::Branch(*tree, Spot::leaf(place)))
            }
            Self::HealthPort(port) => write!(f, "-t filter KUBE-NODEPORTS tcp/{port}"),
            Self::HairpinSet => f.write_str("the ipset of endpoints on this node"),
            Self::Counter(counter) => write!(f, "the counter {}", counter.name()),
            Self::Hairpin(element) => write!(f, "{}/{} in the ipset of endpoints", element.1, element.0),
            Self::Found(table, name) => write!(f, "-t {} {name}", table.name()),
            Self::FoundEntrance(table, rule, _) => write!(f, "-t {} {rule}", table.name()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address} ")?;
        }
        write!(f, "{}", self.protocol)?;
        f.write_char('/')?;
        write!(f, "{}", self.port)
    }
}

/// The loopback range of a family.
pub(crate) fn loopback(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        Family::V6 => IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)),
    }
}
