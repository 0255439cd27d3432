//! Rules, in the words of `iptables-save`.

use std::fmt::{self, Write};

use model::{Endpoint, Family, IpNet, Protocol};

use crate::names::Chain;

/// The set of (endpoint, protocol and port, endpoint) of endpoints on this node.
pub const HAIRPIN: &str = "KUBE-LOOP-BACK";
/// The same for IPv6.
pub const HAIRPIN_V6: &str = "KUBE-6-LOOP-BACK";

/// What the kernel counts by name, by `nfacct`, under kube-proxy's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// Packets that are dropped because connection tracking cannot place them.
    Invalid,
    /// New connections to NodePorts on loopback.
    LocalhostNodePorts,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What must be true, in the order in which the kernel asks.
    pub matches: Vec<Match>,
    /// What happens then.
    pub target: Target,
}

/// A question about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Its source address is (not) in a range.
    Source(IpNet, bool),
    /// Its destination address is (not) in a range.
    Destination(IpNet, bool),
    /// It arrived (not) through this interface; a `+` at the end stands for anything.
    Interface(String, bool),
    /// Its protocol.
    Protocol(Protocol),
    /// For people; always true.
    Comment(Box<str>),
    /// Its destination port is in a range. Behind [`Match::Protocol`].
    Port(Protocol, u16, u16),
    /// Connection tracking says one of these (not).
    State(&'static str, bool),
    /// Its source is an address of this node.
    SourceLocal,
    /// Its destination is an address of this node.
    DestinationLocal,
    /// The mark has (not) these bits.
    Mark(u32, bool),
    /// One of so many times.
    OneIn(u32),
    /// It goes back to the endpoint that sent it.
    Hairpin,
    /// Its source was in this list within so many seconds; then it is now.
    Known(Box<str>, u32),
    /// Its source gets into this list; always true.
    Remember(Box<str>),
    /// Before it was rewritten its destination was in this range.
    FirstDestination(IpNet),
    /// It is counted; always true. The name says by what.
    Counted(Counter),
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Goes on in a chain, and here after it.
    Jump(Chain),
    /// Goes on in a chain, and after it where this one was called.
    Goto(Chain),
    /// The destination becomes this endpoint.
    Dnat(Endpoint),
    /// Sets bits of the mark.
    MarkOr(u32),
    /// Turns bits of the mark.
    MarkXor(u32),
    /// The source becomes this node.
    Masquerade,
    /// Leaves the table.
    Accept,
    /// Vanishes.
    Drop,
    /// Is refused.
    Reject,
    /// Goes on where this chain was called.
    Return,
    /// Goes on with the next rule.
    Nothing,
}

impl Counter {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Invalid, Self::LocalhostNodePorts];

    /// Answers its name in the kernel.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "ct_state_invalid_dropped_pkts",
            Self::LocalhostNodePorts => "localhost_nps_accepted_pkts",
        }
    }
}

impl Rule {
    /// Asks these questions in this order.
    pub(crate) fn new(matches: impl IntoIterator<Item = Match>, target: Target) -> Self {
        Self { matches: matches.into_iter().collect(), target }
    }

    /// Writes it as `iptables-save` does, without the chain.
    pub(crate) fn text(&self, family: Family) -> String {
        let mut text = String::new();
        for question in &self.matches {
            // A string takes everything.
            let _ = write_match(&mut text, family, question);
        }
        let _ = write_target(&mut text, family, &self.target);
        text.truncate(text.trim_end().len());
        text
    }
}

fn write_match(out: &mut String, family: Family, question: &Match) -> fmt::Result {
    let not = |is: &bool| if *is { "" } else { "! " };
    let mask = match family {
        Family::V4 => "255.255.255.255",
        Family::V6 => "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    };
    match question {
        Match::Source(net, is) => write!(out, "{}-s {net} ", not(is)),
        Match::Destination(net, is) => write!(out, "{}-d {net} ", not(is)),
        Match::Interface(name, is) => write!(out, "{}-i {name} ", not(is)),
        Match::Protocol(protocol) => write!(out, "-p {protocol} "),
        Match::Comment(text) => write!(out, "-m comment --comment \"{text}\" "),
        Match::Port(protocol, first, last) if first == last => write!(out, "-m {protocol} --dport {first} "),
        Match::Port(protocol, first, last) => write!(out, "-m {protocol} --dport {first}:{last} "),
        Match::State(states, is) => write!(out, "-m conntrack {}--ctstate {states} ", not(is)),
        Match::SourceLocal => out.write_str("-m addrtype --src-type LOCAL "),
        Match::DestinationLocal => out.write_str("-m addrtype --dst-type LOCAL "),
        Match::Mark(bits, is) => write!(out, "-m mark {}--mark {bits:#x}/{bits:#x} ", not(is)),
        Match::OneIn(count) => {
            write!(out, "-m statistic --mode random --probability {} ", probability(*count))
        }
        Match::Hairpin => {
            let set = match family {
                Family::V4 => HAIRPIN,
                Family::V6 => HAIRPIN_V6,
            };
            write!(out, "-m set --match-set {set} dst,dst,src ")
        }
        Match::Known(list, seconds) => write!(
            out,
            "-m recent --update --seconds {seconds} --reap --name {list} --mask {mask} --rsource "
        ),
        Match::Remember(list) => write!(out, "-m recent --set --name {list} --mask {mask} --rsource "),
        Match::FirstDestination(net) => write!(out, "-m conntrack --ctorigdst {net} "),
        // The second blank is what `iptables-save` prints.
        Match::Counted(counter) => write!(out, "-m nfacct --nfacct-name  {} ", counter.name()),
    }
}

/// The kernel compares 31 random bits with this share of them, rounded; it is printed so that it is read back the same.
fn probability(count: u32) -> String {
    let whole = f64::from(1_u32 << 31);
    let share = (whole / f64::from(count.max(1))).round() / whole;
    format!("{share:.11}")
}

fn write_target(out: &mut String, family: Family, target: &Target) -> fmt::Result {
    match target {
        Target::Jump(chain) => write!(out, "-j {chain}"),
        Target::Goto(chain) => write!(out, "-g {chain}"),
        Target::Dnat(endpoint) => write!(out, "-j DNAT --to-destination {endpoint}"),
        Target::MarkOr(bits) => write!(out, "-j MARK --set-xmark {bits:#x}/{bits:#x}"),
        Target::MarkXor(bits) => write!(out, "-j MARK --set-xmark {bits:#x}/0x0"),
        Target::Masquerade => out.write_str("-j MASQUERADE --random-fully"),
        Target::Accept => out.write_str("-j ACCEPT"),
        Target::Drop => out.write_str("-j DROP"),
        Target::Reject => out.write_str(match family {
            Family::V4 => "-j REJECT --reject-with icmp-port-unreachable",
            Family::V6 => "-j REJECT --reject-with icmp6-port-unreachable",
        }),
        Target::Return => out.write_str("-j RETURN"),
        Target::Nothing => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal_as_the_kernel_counts() {
        for count in 1..=5000_u32 {
            let read: f64 = probability(count).parse().unwrap();
            let kernel = (read * f64::from(1_u32 << 31)).round() as u32;
            assert_eq!(kernel, (f64::from(1_u32 << 31) / f64::from(count)).round() as u32, "{count}");
        }
        assert_eq!(probability(3), "0.33333333349");
    }
}
