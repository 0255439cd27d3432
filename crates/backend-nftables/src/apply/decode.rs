//! Rules as the kernel gives them back, in the program's own forms. A rule in any other form is nobody's.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{Endpoint, Family, Protocol};
use sys::nftables::{ElementData, KernelExpression, verdict_of};

use crate::names::{Chain, LeadsTo, Set};
use crate::rule::{Expression, Field, Rule};

/// Reads a rule; `None`: it is none that the program would have.
pub(super) fn rule(expressions: &[KernelExpression<'_>], family: Family) -> Option<Rule> {
    let mut reader = Reader { family, loads: Vec::new(), constants: Vec::new(), rule: Vec::new() };
    let mut rest = expressions;
    while let Some((first, others)) = rest.split_first() {
        rest = reader.take(first, others)?;
    }
    let is_complete = reader.loads.is_empty() && reader.constants.is_empty();
    is_complete.then_some(Rule(reader.rule))
}

/// Something that was put into a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Header, offset, length.
    Payload(u32, u32, u32),
    Meta(u32),
    Ct(u32),
    /// What is asked, and of which address.
    Fib(u32, u32),
    Random(u32),
}

struct Reader<'a> {
    family: Family,
    loads: Vec<Load>,
    constants: Vec<&'a [u8]>,
    rule: Vec<Expression>,
}

const MARK: u32 = 3;
const INTERFACE: u32 = 6;
const L4PROTO: u32 = 16;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

impl<'a> Reader<'a> {
    /// Takes an expression, with those behind it that belong to it; answers the rest.
    fn take(
        &mut self,
        first: &KernelExpression<'a>,
        rest: &'a [KernelExpression<'a>],
    ) -> Option<&'a [KernelExpression<'a>]> {
        match first.name {
            "payload" => self.loads.push(Load::Payload(first.number(2)?, first.number(3)?, first.number(4)?)),
            "meta" if first.number(3).is_none() => self.loads.push(Load::Meta(first.number(2)?)),
            "ct" => self.loads.push(Load::Ct(first.number(2)?)),
            "fib" => self.loads.push(Load::Fib(first.number(2)?, first.number(3)?)),
            "numgen" => self.loads.push(Load::Random(first.number(2)?)),
            "cmp" => {
                let question = self.compared(first, None)?;
                self.rule.push(question);
            }
            "bitwise" => return self.masked(first, rest),
            "lookup" => return self.looked_up(first, rest),
            "immediate" if first.number(1)? == 0 => self.verdict(first)?,
            "immediate" => self.constants.push(first.data(2)?),
            "dynset" => self.remembered(first)?,
            "masq" => self.rule.push(Expression::Masquerade),
            "reject" => self.rule.push(Expression::Reject),
            _ => return None,
        }
        Some(rest)
    }

    /// The one thing that was loaded.
    fn only_load(&mut self) -> Option<Load> {
        let [load] = self.loads[..] else { return None };
        self.loads.clear();
        Some(load)
    }

    fn compared(&mut self, cmp: &KernelExpression<'_>, mask: Option<&[u8]>) -> Option<Expression> {
        let load = self.only_load()?;
        let value = cmp.data(3)?;
        let is = match cmp.number(2)? {
            EQUAL => true,
            NOT_EQUAL => false,
            _ => return None,
        };
        match (load, mask) {
            (Load::Payload(1, offset, length), _) if value.len() == length as usize => {
                self.address(offset, (value, mask), is)
            }
            (Load::Meta(L4PROTO), None) if is => {
                Protocol::from_number(*value.first()?).map(Expression::L4Proto)
            }
            (Load::Meta(INTERFACE), None) => interface(value, is),
            (Load::Meta(MARK), Some(mask)) if is && mask == value => {
                Some(Expression::MarkHas(native(value)?))
            }
            (Load::Ct(0), Some(mask)) if !is && native(mask)? == 8 => Some(Expression::CtStateNew),
            (Load::Ct(2), Some(mask)) if !is && native(mask)? == 0x20 => Some(Expression::CtStatusDnat),
            (Load::Fib(3, 1), None) if is && native(value)? == 2 => Some(Expression::SaddrLocal),
            (Load::Fib(3, 2), None) if is && native(value)? == 2 => Some(Expression::DaddrLocal),
            (Load::Random(count), None) if is && value.iter().all(|byte| *byte == 0) => {
                Some(Expression::OneIn(count))
            }
            _ => None,
        }
    }

    /// A source or destination inside a prefix: either its first bytes are compared, or all under a mask.
    fn address(&self, offset: u32, (value, mask): (&[u8], Option<&[u8]>), is: bool) -> Option<Expression> {
        let length =
            mask.map_or(value.len() * 8, |mask| mask.iter().map(|byte| byte.count_ones() as usize).sum());
        let (address, is_source): (IpAddr, bool) = match self.family {
            Family::V4 => {
                let mut bytes = [0; 4];
                bytes.get_mut(..value.len())?.copy_from_slice(value);
                (bytes.into(), source_or_destination(offset, 12, 16)?)
            }
            Family::V6 => {
                let mut bytes = [0; 16];
                bytes.get_mut(..value.len())?.copy_from_slice(value);
                (bytes.into(), source_or_destination(offset, 8, 24)?)
            }
        };
        let range =
            IpNet::new(address, u8::try_from(length).ok()?).ok().filter(|range| range.trunc() == *range)?;
        Some(if is_source { Expression::Saddr(range, is) } else { Expression::Daddr(range, is) })
    }

    /// A mask and xor, followed by a comparison or by setting the mark.
    fn masked(
        &mut self,
        bitwise: &KernelExpression<'a>,
        rest: &'a [KernelExpression<'a>],
    ) -> Option<&'a [KernelExpression<'a>]> {
        let (mask, xor) = (bitwise.data(4)?, bitwise.data(5)?);
        let (next, rest) = rest.split_first()?;
        match next.name {
            "cmp" if xor.iter().all(|byte| *byte == 0) => {
                let question = self.compared(next, Some(mask))?;
                self.rule.push(question);
            }
            "meta" if next.number(2) == Some(MARK) && next.number(3).is_some() => {
                if self.only_load()? != Load::Meta(MARK) {
                    return None;
                }
                let (mask, xor) = (native(mask)?, native(xor)?);
                self.rule.push(match mask {
                    u32::MAX => Expression::MarkXor(xor),
                    _ if mask == !xor => Expression::MarkOr(xor),
                    _ => return None,
                });
            }
            _ => return None,
        }
        Some(rest)
    }

    fn looked_up(
        &mut self,
        lookup: &KernelExpression<'a>,
        rest: &'a [KernelExpression<'a>],
    ) -> Option<&'a [KernelExpression<'a>]> {
        let set = Set::from_name(lookup.text(1)?)?;
        let count = self.loaded_key(&set)?;
        self.loads.clear();
        let inside = lookup.number(5).unwrap_or(0) == 0;
        match (set.leads_to(), lookup.number(3)) {
            (LeadsTo::Nothing, None) => self.rule.push(Expression::Lookup(set, inside)),
            (LeadsTo::Verdict, Some(0)) => self.rule.push(Expression::Vmap(set)),
            (LeadsTo::Endpoint, Some(_)) => {
                let (nat, rest) = rest.split_first()?;
                const DNAT: u32 = 1;
                if nat.name != "nat" || nat.number(1)? != DNAT {
                    return None;
                }
                self.rule.push(match count {
                    Some(count) => Expression::DnatSlots(set, count),
                    None => Expression::DnatSticky(set),
                });
                return Some(rest);
            }
            _ => return None,
        }
        Some(rest)
    }

    /// Answers whether the fields of a set's keys are loaded (else `None`), and how many numbers are drawn from if one
    /// is random.
    fn loaded_key(&self, set: &Set) -> Option<Option<u32>> {
        let mut count = None;
        if self.loads.len() != set.fields().len() {
            return None;
        }
        for (load, field) in self.loads.iter().zip(set.fields()) {
            let fits = match (field, load) {
                (Field::Random, Load::Random(modulus)) => {
                    count = Some(*modulus);
                    true
                }
                (Field::L4Proto, load) => *load == Load::Meta(L4PROTO),
                (Field::Dport, load) => *load == Load::Payload(2, 2, 2),
                (Field::Saddr, load) => *load == self.whole_address(true),
                (Field::Daddr, load) => *load == self.whole_address(false),
                (Field::Random, _) => false,
            };
            if !fits {
                return None;
            }
        }
        Some(count)
    }

    fn whole_address(&self, source: bool) -> Load {
        match (self.family, source) {
            (Family::V4, true) => Load::Payload(1, 12, 4),
            (Family::V4, false) => Load::Payload(1, 16, 4),
            (Family::V6, true) => Load::Payload(1, 8, 16),
            (Family::V6, false) => Load::Payload(1, 24, 16),
        }
    }

    fn verdict(&mut self, immediate: &KernelExpression<'_>) -> Option<()> {
        const DROP: i32 = 0;
        const JUMP: i32 = -3;
        const GOTO: i32 = -4;
        let ElementData::Verdict(code, chain) = verdict_of(immediate) else { return None };
        let chain = chain.map(Chain::from_name);
        self.rule.push(match (code, chain) {
            (DROP, None) => Expression::Drop,
            (JUMP, Some(Some(chain))) => Expression::Jump(chain),
            (GOTO, Some(Some(chain))) => Expression::Goto(chain),
            _ => return None,
        });
        Some(())
    }

    fn remembered(&mut self, dynset: &KernelExpression<'_>) -> Option<()> {
        let set = Set::from_name(dynset.text(1)?).filter(Set::is_dynamic)?;
        if self.only_load()? != self.whole_address(true) {
            return None;
        }
        let [address, port] = self.constants[..] else { return None };
        self.constants.clear();
        let address = match self.family {
            Family::V4 => IpAddr::from(*address.first_chunk::<4>()?),
            Family::V6 => IpAddr::from(*address.first_chunk::<16>()?),
        };
        let port = u16::from_be_bytes(*port.first_chunk()?);
        let millis = u64::from_be_bytes(*dynset.bytes(6)?.first_chunk()?);
        let seconds = u32::try_from(millis / 1000).ok()?;
        self.rule.push(Expression::Remember(set, Endpoint { address, port }, seconds));
        Some(())
    }
}

fn source_or_destination(offset: u32, source: u32, destination: u32) -> Option<bool> {
    (offset == source || offset == destination).then_some(offset == source)
}

/// Names are compared with their closing zeros, beginnings of names without.
fn interface(value: &[u8], is: bool) -> Option<Expression> {
    const WHOLE: usize = 16;
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    let name = std::str::from_utf8(&value[..end]).ok()?.to_owned();
    Some(if value.len() == WHOLE {
        Expression::Interface(name, is)
    } else {
        Expression::InterfacePrefix(name, is)
    })
}

/// A number in the machine's own byte order.
fn native(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))
}
