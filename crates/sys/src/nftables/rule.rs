//! One rule as the kernel's expressions, in the sequence and with the registers that `nft` uses.

use model::{Endpoint, Family, IpNet, Protocol};
use std::net::IpAddr;

use super::field::Field;
use super::set::write_verdict;
use super::wire;
use crate::netlink::{close, open, put, put_str, put_u32};

const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const LOCAL: u32 = 2;
const INVERTED: u32 = 1;

/// A rule being written. Matches and statements are appended in the order in which the packet meets them.
#[derive(Debug, Clone)]
pub struct Rule {
    family: Family,
    pub(super) expressions: Vec<u8>,
    pub(super) comment: Option<String>,
}

impl Rule {
    /// Begins a rule for a table of this family.
    pub fn new(family: Family) -> Self {
        Self { family, expressions: Vec::new(), comment: None }
    }

    /// Adds a comment for people.
    pub fn comment(mut self, text: &str) -> Self {
        self.comment = Some(text.to_owned());
        self
    }

    /// Matches an address field inside (or outside) a prefix.
    pub fn prefix(mut self, field: Field, prefix: IpNet, inside: bool) -> Self {
        let bits = usize::from(prefix.prefix_len());
        let bytes = octets(prefix.network());
        let whole = bits / 8;
        if bits == 0 {
            return self;
        }
        let length = bits.div_ceil(8);
        if whole == length {
            self.load_payload((1, field.offset(self.family)), length, REG_1);
            return self.compare(inside, &bytes[..length]);
        }
        let length = bytes.len();
        let mask: Vec<u8> = octets(prefix.netmask());
        self.load_payload((1, field.offset(self.family)), length, REG_1);
        self.bitwise(&mask, &vec![0; length]);
        self.compare(inside, &bytes)
    }

    /// Matches packets that came through the interface of this name, or through others.
    pub fn interface(mut self, name: &str, is: bool) -> Self {
        self.load_meta(6);
        let mut padded = [0; 16];
        padded[..name.len().min(15)].copy_from_slice(&name.as_bytes()[..name.len().min(15)]);
        self.compare(is, &padded)
    }

    /// Matches packets whose interface's name begins so, or does not.
    pub fn interface_prefix(mut self, prefix: &str, is: bool) -> Self {
        self.load_meta(6);
        self.compare(is, prefix.as_bytes())
    }

    /// Matches the first packet of a connection.
    pub fn ct_state_new(self) -> Self {
        const STATE: u32 = 0;
        const NEW: u32 = 8;
        self.ct_bit(STATE, NEW)
    }

    /// Matches packets whose destination was rewritten.
    pub fn ct_status_dnat(self) -> Self {
        const STATUS: u32 = 2;
        const DNAT: u32 = 0x20;
        self.ct_bit(STATUS, DNAT)
    }

    fn ct_bit(mut self, key: u32, bit: u32) -> Self {
        self.expression("ct", |out| {
            put_u32(out, 2, key);
            put_u32(out, 1, REG_1);
        });
        self.bitwise(&bit.to_ne_bytes(), &[0; 4]);
        self.compare(false, &[0; 4])
    }

    /// Matches packets whose source or destination is an address of this node.
    pub fn fib_local(mut self, field: Field) -> Self {
        const TYPE: u32 = 3;
        let flag = if field == Field::Saddr { 1 } else { 2 };
        self.expression("fib", |out| {
            put_u32(out, 1, REG_1);
            put_u32(out, 2, TYPE);
            put_u32(out, 3, flag);
        });
        self.compare(true, &LOCAL.to_ne_bytes())
    }

    /// Matches one transport protocol.
    pub fn l4proto(mut self, protocol: Protocol) -> Self {
        self.load_meta(16);
        self.compare(true, &[protocol.number()])
    }

    /// Matches packets to this port, or from it.
    pub fn port(mut self, is_destination: bool, port: u16) -> Self {
        let offset = if is_destination { 2 } else { 0 };
        self.load_payload((2, offset), 2, REG_1);
        self.compare(true, &port.to_be_bytes())
    }

    /// Has connection tracking pass the packet over, where it has not seen it yet.
    pub fn no_track(mut self) -> Self {
        self.expression("notrack", |_| {});
        self
    }

    /// Matches packets whose fields are (not) in a set.
    pub fn lookup(mut self, fields: &[Field], set: &str, inside: bool) -> Self {
        self.load(fields);
        self.expression("lookup", |out| {
            put_str(out, 1, set);
            put_u32(out, 2, REG_1);
            if !inside {
                put_u32(out, 5, INVERTED);
            }
        });
        self
    }

    /// Does what a verdict map says about the fields.
    pub fn vmap(mut self, fields: &[Field], map: &str) -> Self {
        self.load(fields);
        self.look_up_value(map, REG_VERDICT);
        self
    }

    /// Rewrites the destination to the address and port that a map has for the fields.
    pub fn dnat(mut self, fields: &[Field], map: &str) -> Self {
        const DNAT: u32 = 1;
        let family = self.family;
        self.load(fields);
        self.look_up_value(map, REG_1);
        self.expression("nat", |out| {
            put_u32(out, 1, DNAT);
            put_u32(out, 2, u32::from(wire::number(family)));
            put_u32(out, 3, REG_1);
            put_u32(out, 5, register(Field::Daddr.padded(family)));
        });
        self
    }

    /// Matches one of `modulus` packets at random.
    pub fn one_in(mut self, modulus: u32) -> Self {
        self.load_random(modulus, REG_1);
        self.compare(true, &[0; 4])
    }

    /// Keeps an endpoint for the source address in a map, for so many seconds; for a source that is known they only
    /// begin anew.
    pub fn remember(mut self, map: &str, endpoint: Endpoint, seconds: u32) -> Self {
        const UPDATE: u32 = 1;
        self.load(&[Field::Saddr]);
        let address = octets(endpoint.address);
        let data = Field::Saddr.padded(self.family);
        // nft keeps the value behind the key, from the next register of 16 bytes on.
        let data = data.next_multiple_of(16);
        let port_at = data + address.len();
        self.immediate(register(data), &address);
        self.immediate(register(port_at), &endpoint.port.to_be_bytes());
        self.expression("dynset", |out| {
            put_str(out, 1, map);
            put_u32(out, 3, UPDATE);
            put_u32(out, 4, REG_1);
            put_u32(out, 5, register(data));
            put(out, 6, &(u64::from(seconds) * 1000).to_be_bytes());
        });
        self
    }

    /// Sets bits of the packet's mark.
    pub fn mark_or(mut self, bits: u32) -> Self {
        self.load_meta(3);
        self.bitwise(&(!bits).to_ne_bytes(), &bits.to_ne_bytes());
        self.store_mark()
    }

    /// Flips bits of the packet's mark.
    pub fn mark_xor(mut self, bits: u32) -> Self {
        self.load_meta(3);
        self.bitwise(&u32::MAX.to_ne_bytes(), &bits.to_ne_bytes());
        self.store_mark()
    }

    /// Matches packets whose mark has these bits set.
    pub fn mark_has(mut self, bits: u32) -> Self {
        self.load_meta(3);
        self.bitwise(&bits.to_ne_bytes(), &[0; 4]);
        self.compare(true, &bits.to_ne_bytes())
    }

    fn store_mark(mut self) -> Self {
        self.expression("meta", |out| {
            put_u32(out, 2, 3);
            put_u32(out, 3, REG_1);
        });
        self
    }

    /// Rewrites the source to the node's address, with a random port.
    pub fn masquerade(mut self) -> Self {
        const FULLY_RANDOM: u32 = 0x10;
        self.expression("masq", |out| put_u32(out, 1, FULLY_RANDOM));
        self
    }

    /// Answers the packet with "port unreachable".
    pub fn reject(mut self) -> Self {
        let code = match self.family {
            Family::V4 => 3,
            Family::V6 => 4,
        };
        self.expression("reject", |out| {
            put_u32(out, 1, 0);
            put(out, 2, &[code]);
        });
        self
    }

    /// Drops the packet.
    pub fn drop(self) -> Self {
        self.verdict(wire::VERDICT_DROP, None)
    }

    /// Accepts the packet.
    pub fn accept(self) -> Self {
        self.verdict(wire::VERDICT_ACCEPT, None)
    }

    /// Goes on in another chain and comes back.
    pub fn jump(self, chain: &str) -> Self {
        self.verdict(wire::VERDICT_JUMP, Some(chain))
    }

    /// Goes on in another chain.
    pub fn goto(self, chain: &str) -> Self {
        self.verdict(wire::VERDICT_GOTO, Some(chain))
    }

    /// Goes back to the calling chain.
    pub fn return_(self) -> Self {
        self.verdict(wire::VERDICT_RETURN, None)
    }

    fn verdict(mut self, code: i32, chain: Option<&str>) -> Self {
        self.expression("immediate", |out| {
            put_u32(out, 1, REG_VERDICT);
            write_verdict(out, 2, code, chain);
        });
        self
    }

    /// Loads fields side by side, from the first register on.
    fn load(&mut self, fields: &[Field]) {
        let mut at = 0;
        for field in fields {
            let to = register(at);
            match field {
                Field::Saddr | Field::Daddr => {
                    self.load_payload((1, field.offset(self.family)), field.len(self.family), to);
                }
                Field::Dport => self.load_payload((2, 2), 2, to),
                Field::L4Proto => self.load_meta_to(16, to),
                Field::Random(modulus) => self.load_random(*modulus, to),
            }
            at += field.padded(self.family);
        }
    }

    fn load_payload(&mut self, (base, offset): (u32, u32), length: usize, to: u32) {
        self.expression("payload", |out| {
            put_u32(out, 1, to);
            put_u32(out, 2, base);
            put_u32(out, 3, offset);
            put_u32(out, 4, length as u32);
        });
    }

    fn load_meta(&mut self, key: u32) {
        self.load_meta_to(key, REG_1);
    }

    fn load_meta_to(&mut self, key: u32, to: u32) {
        self.expression("meta", |out| {
            put_u32(out, 2, key);
            put_u32(out, 1, to);
        });
    }

    fn load_random(&mut self, modulus: u32, to: u32) {
        const RANDOM: u32 = 1;
        self.expression("numgen", |out| {
            put_u32(out, 1, to);
            put_u32(out, 2, modulus);
            put_u32(out, 3, RANDOM);
            put_u32(out, 4, 0);
        });
    }

    fn immediate(&mut self, to: u32, bytes: &[u8]) {
        self.expression("immediate", |out| {
            put_u32(out, 1, to);
            let data = open(out, 2);
            put(out, 1, bytes);
            close(out, data);
        });
    }

    fn look_up_value(&mut self, map: &str, to: u32) {
        self.expression("lookup", |out| {
            put_str(out, 1, map);
            put_u32(out, 2, REG_1);
            put_u32(out, 3, to);
        });
    }

    fn bitwise(&mut self, mask: &[u8], xor: &[u8]) {
        self.expression("bitwise", |out| {
            put_u32(out, 1, REG_1);
            put_u32(out, 2, REG_1);
            put_u32(out, 6, 0);
            put_u32(out, 3, mask.len() as u32);
            for (kind, bytes) in [(4, mask), (5, xor)] {
                let data = open(out, kind);
                put(out, 1, bytes);
                close(out, data);
            }
        });
    }

    fn compare(mut self, equal: bool, bytes: &[u8]) -> Self {
        self.expression("cmp", |out| {
            put_u32(out, 1, REG_1);
            put_u32(out, 2, if equal { EQUAL } else { NOT_EQUAL });
            let data = open(out, 3);
            put(out, 1, bytes);
            close(out, data);
        });
        self
    }

    fn expression(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let out = &mut self.expressions;
        let element = open(out, 1);
        put_str(out, 1, name);
        let data = open(out, 2);
        write(out);
        close(out, data);
        close(out, element);
    }
}

/// The register that begins at this byte: those of 16 bytes are 1 to 4, those of 4 bytes 8 to 23.
fn register(byte: usize) -> u32 {
    let word = (byte / 4) as u32;
    if word.is_multiple_of(4) { 1 + word / 4 } else { 8 + word }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
