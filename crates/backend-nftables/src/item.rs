//! What the program is made of: one item for each set, chain and element.

use std::fmt::{self, Write};
use std::net::IpAddr;

use model::{Endpoint, Family, IpNet, Protocol};

use crate::names::{At, Chain, Hook, LeadsTo, Set};
use crate::rule::{Rule, fields, ip, prefix};

/// Names an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A set or map; its elements are items of their own.
    Set(Set),
    /// A chain with its rules.
    Chain(Chain),
    /// Element of `protocols`.
    Protocol(Protocol),
    /// Element of a verdict map.
    Verdict(Verdicts, Place),
    /// Element of a map of endpoints.
    Slot(Slots, Place, u16),
    /// Element of `guarded`.
    Guarded(Place),
    /// Element of `allowed`.
    Allowed(Box<(Place, IpNet)>),
    /// Element of `hairpin`.
    Hairpin(IpAddr),
    /// Element of `cluster-ips`.
    ClusterIp(IpAddr),
    /// Something in our table that is not ours; never wanted.
    Foreign(Box<Foreign>),
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

/// The verdict maps. For a NodePort each is another map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdicts {
    /// `frontends`, `nodeports`.
    Frontends,
    /// `inside`.
    Inside,
    /// `outside`.
    Outside,
    /// `refused`.
    Refused,
}

/// The maps of endpoints. For a NodePort each is another map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slots {
    /// `slots`.
    All,
    /// `local-slots`.
    Local,
}

/// Something that somebody else put into our table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Foreign {
    /// A chain.
    Chain(String),
    /// A set or map.
    Set(String),
    /// An element of one of our sets, with a key that we would never write: set, key, end of the range.
    Element(Set, Box<[u8]>, Option<Box<[u8]>>),
}

/// What is under a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing more to say: a set, an element of a set.
    Present,
    /// A chain.
    Chain(Box<ChainBody>),
    /// An element of a verdict map.
    Verdict(Box<Verdict>),
    /// An endpoint.
    Endpoint(Endpoint),
    /// An element or chain that was found, with a value or rules that we would never write.
    Odd,
}

/// Hook and rules of a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainBody {
    /// Where it is called, of base chains.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// What a verdict map says, and for people which Service that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What happens.
    pub kind: VerdictKind,
    /// `namespace/name:port`.
    pub comment: Box<str>,
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerdictKind {
    /// It goes on in a chain.
    Goto(Chain),
    /// It is dropped.
    Drop,
}

impl Place {
    /// Answers where it is.
    pub fn at(&self) -> At {
        if self.address.is_some() { At::Address } else { At::NodePort }
    }
}

impl Key {
    /// Answers the set whose element this is; `None`: it is no element.
    pub fn set(&self) -> Option<Set> {
        match self {
            Self::Set(_) | Self::Chain(_) => None,
            Self::Protocol(_) => Some(Set::Protocols),
            Self::Verdict(map, place) => Some(verdict_map(*map, place.at())),
            Self::Slot(map, place, _) => Some(slot_map(*map, place.at())),
            Self::Guarded(_) => Some(Set::Guarded),
            Self::Allowed(_) => Some(Set::Allowed),
            Self::Hairpin(_) => Some(Set::Hairpin),
            Self::ClusterIp(_) => Some(Set::ClusterIps),
            Self::Foreign(foreign) => match &**foreign {
                Foreign::Element(set, ..) => Some(set.clone()),
                Foreign::Chain(_) | Foreign::Set(_) => None,
            },
        }
    }
}

/// The map for frontends at such a place.
pub(crate) fn verdict_map(map: Verdicts, at: At) -> Set {
    match (map, at) {
        (Verdicts::Frontends, At::Address) => Set::Frontends,
        (Verdicts::Inside, At::Address) => Set::Inside,
        (Verdicts::Outside, At::Address) => Set::Outside,
        (Verdicts::Refused, At::Address) => Set::Refused,
        (Verdicts::Frontends, At::NodePort) => Set::NodePorts,
        (Verdicts::Inside, At::NodePort) => Set::NodePortInside,
        (Verdicts::Outside, At::NodePort) => Set::NodePortOutside,
        (Verdicts::Refused, At::NodePort) => Set::NodePortRefused,
    }
}

/// The map for endpoints of frontends at such a place.
pub(crate) fn slot_map(map: Slots, at: At) -> Set {
    match (map, at) {
        (Slots::All, At::Address) => Set::Slots,
        (Slots::Local, At::Address) => Set::LocalSlots,
        (Slots::All, At::NodePort) => Set::NodePortSlots,
        (Slots::Local, At::NodePort) => Set::NodePortLocalSlots,
    }
}

/// The opposite of [`verdict_map`].
pub(crate) fn verdicts_of(set: &Set) -> Option<(Verdicts, At)> {
    let maps = [Verdicts::Frontends, Verdicts::Inside, Verdicts::Outside, Verdicts::Refused];
    let all = maps.into_iter().flat_map(|map| [(map, At::Address), (map, At::NodePort)]);
    { all }.find(|(map, at)| verdict_map(*map, *at) == *set)
}

/// The opposite of [`slot_map`].
pub(crate) fn slots_of(set: &Set) -> Option<(Slots, At)> {
    let all =
        [Slots::All, Slots::Local].into_iter().flat_map(|map| [(map, At::Address), (map, At::NodePort)]);
    { all }.find(|(map, at)| slot_map(*map, *at) == *set)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address} . ")?;
        }
        write!(f, "{} . {}", self.protocol, self.port)
    }
}

/// Prints as in nft's commands: `element slots { 10.96.0.10 . tcp . 80 . 0 }`, `chain cluster-3`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(set) => match set.leads_to() {
                LeadsTo::Nothing => write!(f, "set {set}"),
                LeadsTo::Verdict | LeadsTo::Endpoint => write!(f, "map {set}"),
            },
            Self::Chain(chain) => write!(f, "chain {chain}"),
            Self::Foreign(foreign) => match &**foreign {
                Foreign::Chain(name) => write!(f, "chain {name}"),
                Foreign::Set(name) => write!(f, "set {name}"),
                Foreign::Element(set, key, _) => write!(f, "element {set} {{ {key:02x?} }}"),
            },
            Self::Protocol(_)
            | Self::Verdict(..)
            | Self::Slot(..)
            | Self::Guarded(_)
            | Self::Allowed(_)
            | Self::Hairpin(_)
            | Self::ClusterIp(_) => {
                let set = self.set().map(|set| set.to_string()).unwrap_or_default();
                write!(f, "element {set} {{ {} }}", Element(self))
            }
        }
    }
}

/// The key of an element, alone.
struct Element<'a>(&'a Key);

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Key::Protocol(protocol) => write!(f, "{protocol}"),
            Key::Verdict(_, place) | Key::Guarded(place) => write!(f, "{place}"),
            Key::Slot(_, place, slot) => write!(f, "{place} . {slot}"),
            Key::Allowed(allowed) => write!(f, "{} . {}", allowed.0, prefix(allowed.1)),
            Key::Hairpin(address) => write!(f, "{address} . {address}"),
            Key::ClusterIp(address) => write!(f, "{address}"),
            Key::Set(_) | Key::Chain(_) | Key::Foreign(_) => Ok(()),
        }
    }
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Drop => f.write_str("drop"),
        }
    }
}

/// Writes a program in nft's language.
pub(crate) fn render(family: Family, items: &[(Key, Value)]) -> String {
    let mut out = format!("table {} {} {{\n", ip(family), crate::TABLE);
    for (key, value) in items {
        if let Key::Set(set) = key {
            let elements = items.iter().filter(|(key, _)| key.set().as_ref() == Some(set));
            render_set(&mut out, (set, family), elements);
        }
        if let (Key::Chain(chain), Value::Chain(body)) = (key, value) {
            render_chain(&mut out, (chain, family), body);
        }
    }
    out.push_str("}\n");
    out
}

fn render_set<'a>(
    out: &mut String,
    (set, family): (&Set, Family),
    elements: impl Iterator<Item = &'a (Key, Value)>,
) {
    let value = match set.leads_to() {
        LeadsTo::Nothing => String::new(),
        LeadsTo::Verdict => " : verdict".to_owned(),
        LeadsTo::Endpoint => format!(" : {} daddr . th dport", ip(family)),
    };
    let _ = writeln!(out, "\t{} {{", Key::Set(set.clone()));
    let _ = writeln!(out, "\t\ttypeof {}{value}", fields(set, None, family));
    let flags = if set.is_dynamic() { "dynamic,timeout" } else { "interval" };
    if set.is_dynamic() || set.is_interval() {
        let _ = writeln!(out, "\t\tflags {flags}");
    }
    let lines: Vec<String> =
        elements.map(|(key, value)| format!("\t\t\t{}", element_text(key, value))).collect();
    if !lines.is_empty() {
        let _ = writeln!(out, "\t\telements = {{\n{}\n\t\t}}", lines.join(",\n"));
    }
    out.push_str("\t}\n");
}

fn element_text(key: &Key, value: &Value) -> String {
    match value {
        Value::Verdict(verdict) if verdict.comment.is_empty() => {
            format!("{} : {}", Element(key), verdict.kind)
        }
        Value::Verdict(verdict) => {
            format!("{} comment \"{}\" : {}", Element(key), verdict.comment, verdict.kind)
        }
        Value::Endpoint(endpoint) => format!("{} : {} . {}", Element(key), endpoint.address, endpoint.port),
        Value::Present | Value::Chain(_) | Value::Odd => Element(key).to_string(),
    }
}

fn render_chain(out: &mut String, (chain, family): (&Chain, Family), body: &ChainBody) {
    let _ = writeln!(out, "\tchain {chain} {{");
    if let Some(Hook { name, nat, priority }) = body.hook {
        let kind = if nat { "nat" } else { "filter" };
        let _ = writeln!(out, "\t\ttype {kind} hook {name} priority {priority}; policy accept;");
    }
    for rule in &body.rules {
        let _ = writeln!(out, "\t\t{}", rule.text(family));
    }
    out.push_str("\t}\n");
}
