//! What names there are, as answers written ahead: [`Builder`] keeps a [`Zone`] in step with the objects of a cluster, and
//! a `Zone` is a picture of one moment that any number of threads can read.
//!
//! Pure. What this does *not* do: read queries (`answer` does) or fetch objects (`source` does).

mod builder;
mod entry;
mod search;
mod service;
mod shelves;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use shelves::Shelves;

use crate::wire::{Name, NameBuffer};

pub use builder::Builder;
pub(crate) use entry::each;
pub use entry::{Entry, Set};
pub use search::{Search, Searches};

/// The version of the specification.
const VERSION: &[u8] = b"1.1.0";
/// How long the version may be kept, in seconds; it changes with the program.
const VERSION_TTL: u32 = 28_800;

/// What zones there are and what they have.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The zone of Services: `cluster.local`.
    pub zone: Name,
    /// Zones of names for addresses, such as `in-addr.arpa` or `96.10.in-addr.arpa`.
    pub reverse: Vec<Name>,
    /// Zones whose unknown names may be known elsewhere.
    pub fallthrough: Vec<Name>,
    /// What becomes of names of Pods.
    pub pods: Pods,
    /// How many seconds an answer may be kept.
    pub ttl: u32,
    /// The addresses of this server, for the zone's NS record.
    pub servers: Vec<IpAddr>,
    /// The only namespaces that are shown; all where it is empty.
    pub namespaces: BTreeSet<Box<str>>,
    /// Whether endpoints without a hostname are named after their Pods.
    pub names_endpoints_after_pods: bool,
    /// Whether Services with a ClusterIP but without ready endpoints have no name.
    pub ignores_empty_services: bool,
    /// Which searches are answered at their first query as at the last one ([`Zone::search`]).
    pub searches: Searches,
    /// A selector of labels that Services, EndpointSlices and Pods must have; empty: all are known.
    pub labels: String,
    /// Whether EndpointSlices are known. Without, single endpoints and headless Services have no names.
    pub has_endpoints: bool,
    /// Whether somebody else is asked for names of the zone until everything was told once. Else they are SERVFAIL.
    pub asks_until_synced: bool,
    /// Whether names of single endpoints of Services with a ClusterIP, and names for endpoints' addresses, are left to somebody
    /// else. They are nearly all names of a cluster and hardly ever asked for; the specification does not have the former.
    pub leaves_endpoints: bool,
}

/// What becomes of names of Pods, which are addresses: `10-0-0-1.default.pod.cluster.local`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pods {
    /// There are none.
    Disabled,
    /// Any address in an existing namespace has its name.
    Insecure,
    /// Where a Pod has the address, it has the name.
    Verified,
}

impl Settings {
    /// The usual settings for a zone: no names of Pods, all reverse zones, answers kept for 5 seconds.
    pub fn new(zone: Name) -> Self {
        let reverse = ["in-addr.arpa", "ip6.arpa"].map(|name| name.parse().expect("a name"));
        Self {
            zone,
            reverse: reverse.to_vec(),
            fallthrough: reverse.to_vec(),
            pods: Pods::Disabled,
            ttl: 5,
            servers: Vec::new(),
            namespaces: BTreeSet::new(),
            names_endpoints_after_pods: false,
            ignores_empty_services: false,
            searches: Searches::Never,
            labels: String::new(),
            has_endpoints: true,
            asks_until_synced: false,
            leaves_endpoints: false,
        }
    }

    /// Answers the zone with the longest name in which a name, in lower case, lies.
    pub fn zone_of(&self, name: &NameBuffer) -> Option<&Name> {
        let zones = std::iter::once(&self.zone).chain(&self.reverse);
        zones.filter(|zone| name.is_within(zone)).max_by_key(|zone| zone.as_wire().len())
    }

    /// Answers whether a name, in lower case, is one for an address.
    pub fn is_reverse(&self, name: &NameBuffer) -> bool {
        self.zone_of(name).is_some_and(|zone| *zone != self.zone)
    }

    /// Answers whether an unknown name, in lower case, may be known elsewhere.
    pub fn falls_through(&self, name: &NameBuffer) -> bool {
        self.fallthrough.iter().any(|zone| name.is_within(zone))
    }
}

/// All names of one moment. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Zone {
    settings: Arc<Settings>,
    names: Shelves,
    serial: u32,
    is_synced: bool,
}

/// What there is under a name without an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// The name of a Pod, which is this address.
    Pod(IpAddr),
    /// Nothing, but there may be something below it.
    Empty,
    /// No such name.
    Unknown,
}

impl Zone {
    /// Answers the settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Answers the number of this state, which grows with every change: seconds since 1970 at the last one.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Answers whether everything was told once.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Answers what is known of a name, given in lower case.
    pub fn entry(&self, wire: &[u8]) -> Option<&Entry> {
        self.names.get(wire)
    }

    /// Makes ready for [`Zone::entry`] of names with these hashes; see [`hash`].
    pub fn touch(&self, hashes: &[u64]) {
        self.names.touch(hashes);
    }

    /// Answers how many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Answers whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Answers what there is under a name, in lower case and within `zone`, that has no entry.
    pub fn absence(&self, name: &NameBuffer, zone: &Name) -> Absence {
        if *zone != self.settings.zone {
            return if is_part_of_address(name) { Absence::Empty } else { Absence::Unknown };
        }
        if self.settings.pods != Pods::Insecure {
            return Absence::Unknown;
        }
        self.pod(name).map_or(Absence::Unknown, Absence::Pod)
    }

    /// Answers whether an unknown name, in lower case, may be that of an endpoint which is left to somebody else: it is right below
    /// the name of a Service, or is one for an address.
    pub fn is_left(&self, name: &NameBuffer) -> bool {
        let settings = &self.settings;
        if !settings.leaves_endpoints || settings.is_reverse(name) {
            return settings.leaves_endpoints;
        }
        let mut labels = name.labels();
        let first = labels.next().unwrap_or_default();
        let is_below_service =
            labels.nth(2) == Some(b"svc") && labels.count() == settings.zone.labels().count();
        is_below_service
            && !first.starts_with(b"_")
            && self.entry(&name.as_wire()[first.len() + 1..]).is_some()
    }

    /// Answers the address that is the name of a Pod, where its namespace exists.
    fn pod(&self, name: &NameBuffer) -> Option<IpAddr> {
        let wire = name.as_wire();
        let first = usize::from(*wire.first()?);
        let (label, above) = wire.get(1..)?.split_at_checked(first)?;
        // Only a namespace's name of Pods has an entry and begins above the zone with `pod`.
        let mut labels = name.labels().skip(2);
        if labels.next()? != b"pod" || labels.count() != self.settings.zone.labels().count() {
            return None;
        }
        self.entry(above)?;
        address_of(label)
    }
}

/// Answers the number by which a name, in lower case, is looked for.
pub fn hash(wire: &[u8]) -> u64 {
    shelves::hash(wire)
}

/// Answers the address that a label with dashes stands for.
fn address_of(label: &[u8]) -> Option<IpAddr> {
    let is_v4 = label.iter().filter(|byte| **byte == b'-').count() == 3
        && !label.windows(2).any(|pair| pair == b"--");
    let mut room = [0; 63];
    let text = room.get_mut(..label.len())?;
    for (byte, own) in text.iter_mut().zip(label) {
        *byte = match (own, is_v4) {
            (b'-', true) => b'.',
            (b'-', false) => b':',
            (own, _) => *own,
        };
    }
    let text = std::str::from_utf8(text).ok()?;
    if is_v4 {
        return text.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// Answers whether addresses may lie below a name of a reverse zone.
fn is_part_of_address(name: &NameBuffer) -> bool {
    let Some(count) = name.labels().count().checked_sub(2) else { return true };
    let digits = || name.labels().take(count);
    let mut family = name.labels().skip(count);
    let is_octet = |label: &[u8]| {
        let is_number = label.iter().all(u8::is_ascii_digit) && (label.len() == 1 || label[0] != b'0');
        is_number && std::str::from_utf8(label).is_ok_and(|text| text.parse::<u8>().is_ok())
    };
    let is_nibble = |label: &[u8]| label.len() == 1 && label[0].is_ascii_hexdigit();
    match [family.next(), family.next()] {
        [Some(b"in-addr"), Some(b"arpa")] => count < 4 && digits().all(is_octet),
        [Some(b"ip6"), Some(b"arpa")] => count < 32 && digits().all(is_nibble),
        _ => false,
    }
}

/// Answers the name under which an address is looked up.
pub fn reverse_name(address: IpAddr) -> Name {
    let text = match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits =
                address.octets().iter().rev().fold(String::new(), |digits, byte| {
                    digits + &format!("{:x}.{:x}.", byte & 15, byte >> 4)
                });
            digits + "ip6.arpa"
        }
    };
    text.parse().expect("digits and known labels")
}
