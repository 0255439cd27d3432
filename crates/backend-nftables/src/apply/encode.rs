//! Keys and values as the kernel's bytes, and back.

use std::net::IpAddr;

use model::{Endpoint, Family, IpNet, Protocol};
use sys::nftables::{self as nft, HookKind, SetDefinition, SetValue};

use crate::item::{Foreign, Key, Place, slots_of, verdicts_of};
use crate::names::{At, Chain, Hook, LeadsTo, Set};
use crate::rule::{Expression, Field, Rule};

/// What the kernel counts for us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Counting {
    /// Nothing.
    #[default]
    Nothing,
    /// New connections to each frontend.
    Connections,
}

/// The maps that each new connection to a Service finds an element of, exactly once.
pub(super) const CONNECTIONS: [Set; 2] = [Set::Frontends, Set::NodePorts];

/// The fields of a packet in `sys`'s words. `count`: how many different random numbers are drawn.
fn fields(set: &Set, count: u32) -> Vec<nft::Field> {
    let field = |field: &Field| match field {
        Field::Saddr => nft::Field::Saddr,
        Field::Daddr => nft::Field::Daddr,
        Field::L4Proto => nft::Field::L4Proto,
        Field::Dport => nft::Field::Dport,
        Field::Random => nft::Field::Random(count),
    };
    set.fields().iter().map(field).collect()
}

/// The declaration of a set. Its keys have room for slots up to 65,535.
pub(super) fn definition(set: &Set, counting: Counting) -> SetDefinition {
    /// The most clients that one Service port remembers.
    const MOST_CLIENTS: u32 = 65_535;
    let value = match set.leads_to() {
        LeadsTo::Nothing => SetValue::None,
        LeadsTo::Verdict => SetValue::Verdict,
        LeadsTo::Endpoint => SetValue::Endpoint,
    };
    SetDefinition {
        name: set.to_string(),
        key: fields(set, 65_536),
        value,
        interval: set.is_interval(),
        // Every element is added with a timeout of its own.
        timeout_seconds: set.is_dynamic().then_some(0),
        size: set.is_dynamic().then_some(MOST_CLIENTS),
        counted: counting == Counting::Connections && CONNECTIONS.contains(set),
    }
}

pub(super) fn hook(hook: Hook) -> nft::Hook {
    let kind = match hook.name {
        "prerouting" => HookKind::Prerouting,
        "input" => HookKind::Input,
        "forward" => HookKind::Forward,
        "output" => HookKind::Output,
        _ => HookKind::Postrouting,
    };
    nft::Hook { kind, nat: hook.nat, priority: hook.priority }
}

/// A few bytes without an allocation: keys are made by the hundred thousand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes {
    bytes: [u8; Self::MOST],
    length: usize,
}

impl Bytes {
    /// The longest key: two IPv6 addresses, protocol and port.
    const MOST: usize = 40;

    fn new() -> Self {
        Self { bytes: [0; Self::MOST], length: 0 }
    }

    /// Appends; what would not fit, which no key of ours is, is left out.
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            place.copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }

    fn put_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.put(&address.octets()),
            IpAddr::V6(address) => self.put(&address.octets()),
        }
    }

    fn put_place(&mut self, place: &Place) {
        if let Some(address) = place.address {
            self.put_address(address);
        }
        self.put(&[place.protocol.number(), 0, 0, 0]);
        self.put_port(place.port);
    }

    fn put_port(&mut self, port: u16) {
        self.put(&port.to_be_bytes());
        self.put(&[0, 0]);
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The key of an element, and the end of its range; `None`: the item is no element.
pub(super) fn element(key: &Key, family: Family) -> Option<(Bytes, Option<Bytes>)> {
    let mut bytes = Bytes::new();
    let mut end = None;
    match key {
        Key::Set(_) | Key::Chain(_) => return None,
        Key::Protocol(protocol) => bytes.put(&[protocol.number()]),
        Key::Verdict(_, place) | Key::Guarded(place) => bytes.put_place(place),
        Key::Slot(_, place, slot) => {
            bytes.put_place(place);
            bytes.put(&u32::from(*slot).to_ne_bytes());
        }
        Key::Allowed(allowed) => {
            let (place, range) = &**allowed;
            bytes.put_place(place);
            let mut last = bytes;
            bytes.put_address(range.network());
            last.put_address(range.broadcast());
            end = Some(last);
        }
        Key::Hairpin(address) => {
            bytes.put_address(*address);
            bytes.put_address(*address);
        }
        Key::ClusterIp(address) => bytes.put_address(*address),
        Key::Foreign(foreign) => match &**foreign {
            Foreign::Element(_, key, foreign_end) => {
                bytes.put(key);
                end = foreign_end.as_ref().map(|foreign_end| {
                    let mut end = Bytes::new();
                    end.put(foreign_end);
                    end
                });
            }
            Foreign::Chain(_) | Foreign::Set(_) => return None,
        },
    }
    debug_assert!(
        key.set().is_none_or(|set| definition(&set, Counting::Nothing).key_len(family) == bytes.len())
    );
    Some((bytes, end))
}

/// Reads the key of an element of one of our sets; one that we would never write is foreign.
pub(super) fn key(set: &Set, family: Family, bytes: &[u8], end: Option<&[u8]>) -> Key {
    let foreign = || {
        let end = end.map(Box::from);
        Key::Foreign(Box::new(Foreign::Element(set.clone(), bytes.into(), end)))
    };
    let read = read_key(set, family, bytes, end).unwrap_or_else(foreign);
    // What reads as ours but would be written differently (padding, an odd range) could never be deleted as ours.
    let ours =
        element(&read, family).is_some_and(|(own, own_end)| *own == *bytes && own_end.as_deref() == end);
    if ours { read } else { foreign() }
}

fn read_key(set: &Set, family: Family, bytes: &[u8], end: Option<&[u8]>) -> Option<Key> {
    let mut reader = Reader { bytes, family };
    if let Some((map, at)) = verdicts_of(set) {
        return Some(Key::Verdict(map, reader.place(at)?));
    }
    if let Some((map, at)) = slots_of(set) {
        let place = reader.place(at)?;
        let slot = u32::from_ne_bytes(*reader.bytes.first_chunk()?);
        return Some(Key::Slot(map, place, u16::try_from(slot).ok()?));
    }
    match set {
        Set::Protocols => Some(Key::Protocol(Protocol::from_number(*bytes.first()?)?)),
        Set::Guarded => Some(Key::Guarded(reader.place(At::Address)?)),
        Set::Allowed => {
            let place = reader.place(At::Address)?;
            let first = reader.address()?;
            reader.bytes = end?;
            reader.place(At::Address)?;
            let range = range(first, reader.address()?)?;
            Some(Key::Allowed(Box::new((place, range))))
        }
        Set::Hairpin => Some(Key::Hairpin(reader.address()?)),
        Set::ClusterIps => Some(Key::ClusterIp(reader.address()?)),
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
        | Set::Sticky(_) => None,
    }
}

/// The prefix from this address to that.
fn range(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let same = (bits(first) ^ bits(last)).leading_zeros() as u8;
    let most = if first.is_ipv4() { 32 } else { 128 };
    let range = IpNet::new(first, same.min(most)).ok()?;
    (range.network() == first && range.broadcast() == last).then_some(range)
}

/// The value of an endpoint, padded as in a concatenation.
pub(super) fn endpoint(endpoint: Endpoint) -> Bytes {
    let mut bytes = Bytes::new();
    bytes.put_address(endpoint.address);
    bytes.put_port(endpoint.port);
    bytes
}

/// Reads the value of an endpoint.
pub(super) fn read_endpoint(family: Family, bytes: &[u8]) -> Option<Endpoint> {
    let mut reader = Reader { bytes, family };
    Some(Endpoint { address: reader.address()?, port: reader.port()? })
}

struct Reader<'a> {
    bytes: &'a [u8],
    family: Family,
}

impl Reader<'_> {
    fn address(&mut self) -> Option<IpAddr> {
        match self.family {
            Family::V4 => self.take::<4>().map(IpAddr::from),
            Family::V6 => self.take::<16>().map(IpAddr::from),
        }
    }

    fn port(&mut self) -> Option<u16> {
        let [high, low, ..] = self.take::<4>()?;
        Some(u16::from_be_bytes([high, low]))
    }

    fn place(&mut self, at: At) -> Option<Place> {
        let address = match at {
            At::Address => Some(self.address()?),
            At::NodePort => None,
        };
        let [number, ..] = self.take::<4>()?;
        Some(Place { address, protocol: Protocol::from_number(number)?, port: self.port()? })
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }
}

/// A rule in `sys`'s words.
pub(super) fn rule(rule: &Rule, family: Family) -> nft::Rule {
    rule.0.iter().fold(nft::Rule::new(family), expression)
}

fn expression(rule: nft::Rule, expression: &Expression) -> nft::Rule {
    match expression {
        Expression::Saddr(range, is) => rule.prefix(nft::Field::Saddr, *range, *is),
        Expression::Daddr(range, is) => rule.prefix(nft::Field::Daddr, *range, *is),
        Expression::Interface(name, is) => rule.interface(name, *is),
        Expression::InterfacePrefix(prefix, is) => rule.interface_prefix(prefix, *is),
        Expression::CtStateNew => rule.ct_state_new(),
        Expression::CtStatusDnat => rule.ct_status_dnat(),
        Expression::SaddrLocal => rule.fib_local(nft::Field::Saddr),
        Expression::DaddrLocal => rule.fib_local(nft::Field::Daddr),
        Expression::L4Proto(protocol) => rule.l4proto(*protocol),
        Expression::Lookup(set, is) => rule.lookup(&fields(set, 0), &set.to_string(), *is),
        Expression::MarkHas(bits) => rule.mark_has(*bits),
        Expression::OneIn(count) => rule.one_in(*count),
        Expression::MarkOr(bits) => rule.mark_or(*bits),
        Expression::MarkXor(bits) => rule.mark_xor(*bits),
        Expression::Vmap(set) => rule.vmap(&fields(set, 0), &set.to_string()),
        Expression::DnatSlots(set, count) => rule.dnat(&fields(set, *count), &set.to_string()),
        Expression::DnatSticky(set) => rule.dnat(&fields(set, 0), &set.to_string()),
        Expression::Remember(set, endpoint, seconds) => rule.remember(&set.to_string(), *endpoint, *seconds),
        Expression::Masquerade => rule.masquerade(),
        Expression::Reject => rule.reject(),
        Expression::Drop => rule.drop(),
        Expression::Jump(chain) => rule.jump(&chain.to_string()),
        Expression::Goto(chain) => rule.goto(&chain.to_string()),
    }
}

/// Answers whether a chain that was found is called where ours is.
pub(super) fn is_hooked_like(chain: &Chain, found: Option<(u32, i32)>) -> bool {
    let wanted = chain.hook().map(|own| (hook(own).kind.number(), own.priority));
    wanted == found
}
