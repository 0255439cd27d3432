//! Rules, in the few forms that the program has.

use std::fmt;
use std::net::IpAddr;

use model::{Endpoint, Family, IpNet, Protocol};

use crate::names::{Chain, Set};

/// A part of a packet, or a number drawn for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Source address.
    Saddr,
    /// Destination address.
    Daddr,
    /// Transport protocol.
    L4Proto,
    /// Destination port.
    Dport,
    /// A random number.
    Random,
}

/// A rule: its expressions in the order in which a packet meets them. One that does not match ends the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(pub Vec<Expression>);

/// What a rule asks or does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Is the source inside (or outside) a prefix?
    Saddr(IpNet, bool),
    /// Is the destination?
    Daddr(IpNet, bool),
    /// Did it come through the interface of this name (or another)?
    Interface(String, bool),
    /// Does that name begin so (or not)?
    InterfacePrefix(String, bool),
    /// Is it the first packet of a connection?
    CtStateNew,
    /// Was its destination rewritten?
    CtStatusDnat,
    /// Is its source an address of this node?
    SaddrLocal,
    /// Is its destination?
    DaddrLocal,
    /// Has it this protocol?
    L4Proto(Protocol),
    /// Is it in a set (or not)?
    Lookup(Set, bool),
    /// Has its mark these bits?
    MarkHas(u32),
    /// Is it one of so many, at random?
    OneIn(u32),
    /// Sets bits of its mark.
    MarkOr(u32),
    /// Flips bits of its mark.
    MarkXor(u32),
    /// Does what a verdict map says.
    Vmap(Set),
    /// Rewrites the destination to one of the first so many slots.
    DnatSlots(Set, u32),
    /// Rewrites the destination to what the client sticks to.
    DnatSticky(Set),
    /// Remembers an endpoint for the client for so many seconds, unless one is remembered already: then only its time
    /// begins anew.
    Remember(Set, Endpoint, u32),
    /// Rewrites the source to the node's address.
    Masquerade,
    /// Answers "port unreachable".
    Reject,
    /// Drops.
    Drop,
    /// Goes on in another chain and comes back.
    Jump(Chain),
    /// Goes on in another chain.
    Goto(Chain),
}

impl Rule {
    /// Writes the rule in nft's language.
    pub fn text(&self, family: Family) -> String {
        let words = self.0.iter().map(|expression| Shown(expression, family).to_string());
        words.collect::<Vec<_>>().join(" ")
    }
}

struct Shown<'a>(&'a Expression, Family);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(expression, family) = *self;
        let ip = ip(family);
        let not = |is: bool| if is { "" } else { "!= " };
        match expression {
            Expression::Saddr(net, is) => write!(f, "{ip} saddr {}{}", not(*is), prefix(*net)),
            Expression::Daddr(net, is) => write!(f, "{ip} daddr {}{}", not(*is), prefix(*net)),
            Expression::Interface(name, is) => write!(f, "iifname {}\"{name}\"", not(*is)),
            Expression::InterfacePrefix(name, is) => write!(f, "iifname {}\"{name}*\"", not(*is)),
            Expression::CtStateNew => f.write_str("ct state new"),
            Expression::CtStatusDnat => f.write_str("ct status dnat"),
            Expression::SaddrLocal => f.write_str("fib saddr type local"),
            Expression::DaddrLocal => f.write_str("fib daddr type local"),
            Expression::L4Proto(protocol) => write!(f, "meta l4proto {protocol}"),
            Expression::Lookup(set, is) => write!(f, "{} {}@{set}", fields(set, None, family), not(*is)),
            Expression::MarkHas(bits) => write!(f, "meta mark & {bits:#010x} == {bits:#010x}"),
            Expression::OneIn(count) => write!(f, "numgen random mod {count} 0"),
            Expression::MarkOr(bits) => write!(f, "meta mark set meta mark | {bits:#010x}"),
            Expression::MarkXor(bits) => write!(f, "meta mark set meta mark ^ {bits:#010x}"),
            Expression::Vmap(set) => write!(f, "{} vmap @{set}", fields(set, None, family)),
            Expression::DnatSlots(set, count) => {
                write!(f, "dnat {ip} to {} map @{set}", fields(set, Some(*count), family))
            }
            Expression::DnatSticky(set) => write!(f, "dnat {ip} to {} map @{set}", fields(set, None, family)),
            Expression::Remember(set, endpoint, seconds) => {
                let Endpoint { address, port } = endpoint;
                write!(f, "update @{set} {{ {ip} saddr timeout {seconds}s : {address} . {port} }}")
            }
            Expression::Masquerade => f.write_str("masquerade fully-random"),
            Expression::Reject => f.write_str("reject"),
            Expression::Drop => f.write_str("drop"),
            Expression::Jump(chain) => write!(f, "jump {chain}"),
            Expression::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

/// nft's word for the family.
pub(crate) fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The fields of a set's keys; `count`: how many different random numbers are drawn.
pub(crate) fn fields(set: &Set, count: Option<u32>, family: Family) -> String {
    let ip = ip(family);
    let word = |field: &Field| match field {
        Field::Saddr => format!("{ip} saddr"),
        Field::Daddr => format!("{ip} daddr"),
        Field::L4Proto => "meta l4proto".to_owned(),
        Field::Dport => "th dport".to_owned(),
        Field::Random => format!("numgen random mod {}", count.unwrap_or(65_536)),
    };
    set.fields().iter().map(word).collect::<Vec<_>>().join(" . ")
}

/// A prefix as nft prints it: a single address has no length.
pub(crate) fn prefix(net: IpNet) -> String {
    let address: IpAddr = net.addr();
    if net.prefix_len() == net.max_prefix_len() { address.to_string() } else { net.to_string() }
}
