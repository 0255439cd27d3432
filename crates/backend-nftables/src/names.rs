//! The chains, sets and maps of the program, and their names in the kernel.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::rule::Field;

/// What tells the sticky chains and maps of the Service ports apart: `namespace/name/protocol/port`, with `/local` at
/// the end when they are about this node's endpoints only.
///
/// A thin pointer: keys of items are kept by the hundred thousand.
pub type StickyName = Arc<String>;

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// Base chain: sends new connections that come in through `services`.
    Prerouting,
    /// Base chain: sends new connections of this node through `services`.
    Output,
    /// Base chain: masquerades.
    Postrouting,
    /// Base chain: source ranges, for what comes in.
    FirewallPrerouting,
    /// Base chain: source ranges, for what this node sends.
    FirewallOutput,
    /// Base chain: frontends without endpoints, for what comes to this node.
    FilterInput,
    /// Base chain: the same for what goes through it.
    FilterForward,
    /// Base chain: the same for what it sends.
    FilterOutput,
    /// Finds the frontend.
    Services,
    /// Source ranges.
    Firewall,
    /// Frontends without endpoints, at addresses.
    NoEndpoints,
    /// Frontends without endpoints, at NodePorts.
    NoEndpointsNodePorts,
    /// Addresses of Services at ports that no Service has.
    NoService,
    /// Rejects. nft cannot read a chain that is called `reject`.
    Reject,
    /// Who is asking at an external address with policy Local?
    ExternalLocal,
    /// Who is asking at a NodePort with policy Local?
    NodePortExternalLocal,
    /// Balances over so many endpoints.
    Balance(Kind, At, u16),
    /// Chooses and remembers an endpoint for a client.
    Sticky(StickyName),
    /// Masquerades as at ClusterIPs, then sticks.
    StickyCluster(StickyName),
    /// Masquerades everybody, then sticks.
    StickyExternal(StickyName),
}

/// Who is masqueraded, and which endpoints are balanced over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Whoever is no pod, over the frontend's endpoints.
    Cluster,
    /// Everybody, over the frontend's endpoints.
    External,
    /// Nobody, over the frontend's endpoints.
    Plain,
    /// Nobody, over the endpoints on this node.
    Local,
}

/// Where a frontend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    /// At an address.
    Address,
    /// At a port of the node's own addresses.
    NodePort,
}

/// Where a base chain is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// Hook, in nft's word.
    pub name: &'static str,
    /// Whether addresses may be rewritten there.
    pub nat: bool,
    /// Smaller is earlier.
    pub priority: i32,
}

/// A set or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Set {
    /// The protocols of Services.
    Protocols,
    /// Frontends at addresses.
    Frontends,
    /// With policy Local: for pods and this node.
    Inside,
    /// With policy Local: for everybody else.
    Outside,
    /// Frontends without endpoints.
    Refused,
    /// Endpoints of a frontend.
    Slots,
    /// Endpoints of a frontend on this node, where they differ.
    LocalSlots,
    /// The same six for NodePorts.
    NodePorts,
    /// See [`Set::Inside`].
    NodePortInside,
    /// See [`Set::Outside`].
    NodePortOutside,
    /// See [`Set::Refused`].
    NodePortRefused,
    /// See [`Set::Slots`].
    NodePortSlots,
    /// See [`Set::LocalSlots`].
    NodePortLocalSlots,
    /// Frontends with source ranges.
    Guarded,
    /// Who may use them.
    Allowed,
    /// Endpoints on this node, twice each.
    Hairpin,
    /// Every ClusterIP.
    ClusterIps,
    /// What clients stick to.
    Sticky(StickyName),
}

/// What the elements of a set lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadsTo {
    /// Nothing: a set.
    Nothing,
    /// A verdict.
    Verdict,
    /// An endpoint.
    Endpoint,
}

impl Chain {
    /// The chains with fixed names.
    pub const FIXED: [Self; 16] = [
        Self::Prerouting,
        Self::Output,
        Self::Postrouting,
        Self::FirewallPrerouting,
        Self::FirewallOutput,
        Self::FilterInput,
        Self::FilterForward,
        Self::FilterOutput,
        Self::Services,
        Self::Firewall,
        Self::NoEndpoints,
        Self::NoEndpointsNodePorts,
        Self::NoService,
        Self::Reject,
        Self::ExternalLocal,
        Self::NodePortExternalLocal,
    ];

    /// Answers where it is called, of base chains. Source ranges come before the DNAT: afterwards the frontend is
    /// not visible any more.
    pub fn hook(&self) -> Option<Hook> {
        const DSTNAT: i32 = -100;
        const SRCNAT: i32 = 100;
        let nat = |name, priority| Some(Hook { name, nat: true, priority });
        let filter = |name, priority| Some(Hook { name, nat: false, priority });
        match self {
            Self::Prerouting => nat("prerouting", DSTNAT),
            Self::Output => nat("output", DSTNAT),
            Self::Postrouting => nat("postrouting", SRCNAT),
            Self::FirewallPrerouting => filter("prerouting", DSTNAT - 10),
            Self::FirewallOutput => filter("output", DSTNAT - 10),
            Self::FilterInput => filter("input", 0),
            Self::FilterForward => filter("forward", 0),
            Self::FilterOutput => filter("output", 0),
            Self::Services
            | Self::Firewall
            | Self::NoEndpoints
            | Self::NoEndpointsNodePorts
            | Self::NoService
            | Self::Reject
            | Self::ExternalLocal
            | Self::NodePortExternalLocal
            | Self::Balance(..)
            | Self::Sticky(_)
            | Self::StickyCluster(_)
            | Self::StickyExternal(_) => None,
        }
    }

    /// Answers the chain of this name; `None`: none of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        if let Some(fixed) = Self::FIXED.into_iter().find(|chain| chain.to_string() == name) {
            return Some(fixed);
        }
        for (prefix, make) in STICKY {
            if let Some(rest) = name.strip_prefix(prefix) {
                return Some(make(Arc::new(rest.to_owned())));
            }
        }
        let (prefix, count) = name.rsplit_once('-')?;
        let (kind, at, _) = BALANCE.into_iter().find(|(_, _, known)| *known == prefix)?;
        let chain = Self::Balance(kind, at, count.parse().ok()?);
        (chain.to_string() == name).then_some(chain)
    }
}

type MakeSticky = fn(StickyName) -> Chain;

const STICKY: [(&str, MakeSticky); 3] = [
    ("sticky/", Chain::Sticky),
    ("cluster-sticky/", Chain::StickyCluster),
    ("external-sticky/", Chain::StickyExternal),
];

const BALANCE: [(Kind, At, &str); 7] = [
    (Kind::Cluster, At::Address, "cluster"),
    (Kind::External, At::Address, "external"),
    (Kind::Plain, At::Address, "plain"),
    (Kind::Local, At::Address, "local"),
    (Kind::External, At::NodePort, "nodeport"),
    (Kind::Plain, At::NodePort, "nodeport-plain"),
    (Kind::Local, At::NodePort, "nodeport-local"),
];

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prerouting => "prerouting",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::FirewallPrerouting => "firewall-prerouting",
            Self::FirewallOutput => "firewall-output",
            Self::FilterInput => "filter-input",
            Self::FilterForward => "filter-forward",
            Self::FilterOutput => "filter-output",
            Self::Services => "services",
            Self::Firewall => "firewall",
            Self::NoEndpoints => "no-endpoints",
            Self::NoEndpointsNodePorts => "no-endpoints-nodeports",
            Self::NoService => "no-service",
            Self::Reject => "refuse",
            Self::ExternalLocal => "external-local",
            Self::NodePortExternalLocal => "nodeport-external-local",
            Self::Balance(kind, at, count) => {
                let known = BALANCE.into_iter().find(|(k, a, _)| (k, a) == (kind, at));
                // ClusterIPs are no NodePorts; the name would not be read back.
                let prefix = known.map_or("nodeport-cluster", |(_, _, prefix)| prefix);
                return write!(f, "{prefix}-{count}");
            }
            Self::Sticky(name) => return write!(f, "sticky/{name}"),
            Self::StickyCluster(name) => return write!(f, "cluster-sticky/{name}"),
            Self::StickyExternal(name) => return write!(f, "external-sticky/{name}"),
        })
    }
}

impl Set {
    /// The sets with fixed names.
    pub const FIXED: [Self; 17] = [
        Self::Protocols,
        Self::Frontends,
        Self::Inside,
        Self::Outside,
        Self::Refused,
        Self::Slots,
        Self::LocalSlots,
        Self::NodePorts,
        Self::NodePortInside,
        Self::NodePortOutside,
        Self::NodePortRefused,
        Self::NodePortSlots,
        Self::NodePortLocalSlots,
        Self::Guarded,
        Self::Allowed,
        Self::Hairpin,
        Self::ClusterIps,
    ];

    /// Answers the fields of its keys.
    pub fn fields(&self) -> &'static [Field] {
        use Field::{Daddr, Dport, L4Proto, Random, Saddr};
        match self {
            Self::Protocols => &[L4Proto],
            Self::Frontends | Self::Inside | Self::Outside | Self::Refused | Self::Guarded => {
                &[Daddr, L4Proto, Dport]
            }
            Self::Slots | Self::LocalSlots => &[Daddr, L4Proto, Dport, Random],
            Self::NodePorts | Self::NodePortInside | Self::NodePortOutside | Self::NodePortRefused => {
                &[L4Proto, Dport]
            }
            Self::NodePortSlots | Self::NodePortLocalSlots => &[L4Proto, Dport, Random],
            Self::Allowed => &[Daddr, L4Proto, Dport, Saddr],
            Self::Hairpin => &[Saddr, Daddr],
            Self::ClusterIps => &[Daddr],
            Self::Sticky(_) => &[Saddr],
        }
    }

    /// Answers what its elements lead to.
    pub fn leads_to(&self) -> LeadsTo {
        match self {
            Self::Protocols | Self::Guarded | Self::Allowed | Self::Hairpin | Self::ClusterIps => {
                LeadsTo::Nothing
            }
            Self::Frontends
            | Self::Inside
            | Self::Outside
            | Self::Refused
            | Self::NodePorts
            | Self::NodePortInside
            | Self::NodePortOutside
            | Self::NodePortRefused => LeadsTo::Verdict,
            Self::Slots
            | Self::LocalSlots
            | Self::NodePortSlots
            | Self::NodePortLocalSlots
            | Self::Sticky(_) => LeadsTo::Endpoint,
        }
    }

    /// Answers whether packets add the elements, each with a life of its own.
    pub fn is_dynamic(&self) -> bool {
        matches!(self, Self::Sticky(_))
    }

    /// Answers whether keys are ranges.
    pub fn is_interval(&self) -> bool {
        *self == Self::Allowed
    }

    /// Answers the set of this name; `None`: none of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        let fixed = Self::FIXED.into_iter().find(|set| set.to_string() == name);
        fixed.or_else(|| name.strip_prefix("sticky/").map(|rest| Self::Sticky(Arc::new(rest.to_owned()))))
    }
}

impl Set {
    /// Answers its name in the kernel.
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Protocols => "protocols",
            Self::Frontends => "frontends",
            Self::Inside => "inside",
            Self::Outside => "outside",
            Self::Refused => "refused",
            Self::Slots => "slots",
            Self::LocalSlots => "local-slots",
            Self::NodePorts => "nodeports",
            Self::NodePortInside => "nodeport-inside",
            Self::NodePortOutside => "nodeport-outside",
            Self::NodePortRefused => "nodeport-refused",
            Self::NodePortSlots => "nodeport-slots",
            Self::NodePortLocalSlots => "nodeport-local-slots",
            Self::Guarded => "guarded",
            Self::Allowed => "allowed",
            Self::Hairpin => "hairpin",
            Self::ClusterIps => "cluster-ips",
            Self::Sticky(name) => return Cow::Owned(format!("sticky/{name}")),
        })
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let balance = BALANCE.into_iter().map(|(kind, at, _)| Chain::Balance(kind, at, 12));
        let sticky = STICKY.into_iter().map(|(_, make)| make(Arc::new("shop/web/tcp/80/local".to_owned())));
        for chain in Chain::FIXED.into_iter().chain(balance).chain(sticky) {
            assert_eq!(Chain::from_name(&chain.to_string()), Some(chain));
        }
        for set in Set::FIXED.into_iter().chain([Set::Sticky(Arc::new("shop/web/tcp/80".to_owned()))]) {
            assert_eq!(Set::from_name(&set.to_string()), Some(set));
        }
    }

    #[test]
    fn foreign_names_are_nobodys() {
        for name in
            ["", "cluster", "cluster-", "cluster-x", "cluster-03", "cluster-70000", "mine", "local-+3"]
        {
            assert_eq!(Chain::from_name(name), None, "{name}");
        }
        assert_eq!(Set::from_name("mine"), None);
    }
}
