//! Names that stand in a file such as `/etc/hosts`, or in the configuration: a text in, answers out. Pure.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use crate::config::Hosts;
use crate::wire::{IN, Name, Query, Rcode, Reply, Section, Type, flag};
use crate::zone::reverse_name;

/// Names and their addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostTable {
    names: FxHashMap<Name, Vec<IpAddr>>,
    /// By the names of addresses, in `in-addr.arpa.` and `ip6.arpa.`.
    addresses: FxHashMap<Name, Vec<Name>>,
}

/// What becomes of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostAnswer {
    /// It is answered: so many bytes are written.
    Answered(usize),
    /// Somebody else answers it.
    Elsewhere,
}

impl HostTable {
    /// Makes the table of what stands in the configuration and of a file's text.
    pub fn new(settings: &Hosts, file: &str) -> Self {
        let mut table = Self::default();
        let add_all = |table: &mut Self, address: IpAddr, names: &mut dyn Iterator<Item = Name>| {
            for name in names {
                table.add(address, name, settings);
            }
        };
        for (address, names) in &settings.entries {
            add_all(&mut table, *address, &mut names.iter().cloned());
        }
        for line in file.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(Ok(address)) = words.next().map(without_zone) else { continue };
            add_all(&mut table, address, &mut words.filter_map(|word| word.parse().ok()));
        }
        table
    }

    /// Answers how many names with their addresses there are.
    pub fn len(&self) -> usize {
        self.names.values().map(Vec::len).sum::<usize>() + self.addresses.len()
    }

    /// Answers whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn add(&mut self, address: IpAddr, name: Name, settings: &Hosts) {
        if settings.has_reverse {
            let names = self.addresses.entry(reverse_name(address)).or_default();
            if !names.contains(&name) {
                names.push(name.clone());
            }
        }
        if settings.zones.iter().any(|zone| name.is_within(zone)) {
            let addresses = self.names.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }

    /// Answers a query, into `out`. A name that is not there and is not left to others cannot be denied, since nobody has the
    /// start of its zone: the server fails, as CoreDNS does.
    pub fn answer(
        &self,
        settings: &Hosts,
        query: &Query<'_>,
        (out, limits): (&mut [u8], (usize, u16)),
    ) -> HostAnswer {
        let name = query.name.to_name();
        let is_reverse = query.kind == Type::PTR && self.addresses.contains_key(&name);
        let is_ours = settings.zones.iter().any(|zone| name.is_within(zone));
        if query.class != IN || !is_ours && !is_reverse {
            return HostAnswer::Elsewhere;
        }
        let is_known = is_reverse || self.names.contains_key(&name);
        if !is_known && settings.fallthrough.includes(&name) {
            return HostAnswer::Elsewhere;
        }
        let Some(mut reply) = Reply::to(query, out, limits.0, limits.1) else { return HostAnswer::Elsewhere };
        if is_known {
            reply.set(flag::AUTHORITATIVE);
            self.push(&name, (query.kind, settings.ttl), &mut reply);
        } else {
            reply.set_rcode(Rcode::SERV_FAIL);
        }
        HostAnswer::Answered(reply.finish())
    }

    fn push(&self, name: &Name, (kind, ttl): (Type, u32), reply: &mut Reply<'_>) {
        let mut data: Vec<Vec<u8>> = Vec::new();
        if kind == Type::PTR {
            data.extend(self.addresses.get(name).into_iter().flatten().map(|name| name.as_wire().to_vec()));
        }
        for address in self.names.get(name).into_iter().flatten() {
            match address {
                IpAddr::V4(address) if kind == Type::A => data.push(address.octets().to_vec()),
                IpAddr::V6(address) if kind == Type::AAAA => data.push(address.octets().to_vec()),
                IpAddr::V4(_) | IpAddr::V6(_) => {}
            }
        }
        for data in data {
            if !reply.push(Section::Answer, (name.as_wire(), kind, ttl), &data) {
                return reply.truncate();
            }
        }
    }
}

/// `fe80::1%eth0` has a meaning on this machine only; its address is taken without it, as CoreDNS does.
fn without_zone(text: &str) -> Result<IpAddr, std::net::AddrParseError> {
    text.split('%').next().unwrap_or_default().parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::shown;
    use crate::config::Fallthrough;
    use crate::wire::write_query;

    fn check(settings: &Hosts, asked: &str, wanted: &str) {
        let file = "# by hand\n10.0.0.1 a.org A.org b.org # two\n10.0.0.2\ta.org\nfd00::1%eth0 a.org\n10.0.0.3\nx y.org\n10.0.0.4 z.net a..b\n";
        let table = HostTable::new(settings, file);
        let (name, kind) = asked.split_once(' ').expect("name and type");
        let (mut message, mut out) = ([0; 300], [0; 512]);
        let name: Name = name.parse().expect("a name");
        let kind = Type::named(kind).expect("a type");
        let len = write_query(&mut message, (7, 0), (name.as_wire(), kind), None).expect("it fits");
        let query = Query::read(&message[..len]).expect("it is one");
        let found = match table.answer(settings, &query, (&mut out, (512, 1232))) {
            HostAnswer::Answered(len) => shown(&out[..len]),
            HostAnswer::Elsewhere => "elsewhere".to_owned(),
        };
        assert_eq!(found, wanted, "{asked}");
    }

    #[test]
    fn names_and_addresses_are_answered() {
        let zones = vec!["org".parse().expect("a name")];
        let entries = vec![("10.0.0.9".parse().expect("an address"), vec!["c.org".parse().expect("a name")])];
        let mut settings = Hosts { zones, entries, ttl: 60, ..Hosts::default() };
        for (asked, wanted) in [
            ("a.org A", "NOERROR, a.org. A 60, a.org. A 60"),
            ("A.Org AAAA", "NOERROR, a.org. AAAA 60"),
            ("b.org AAAA", "NOERROR"),
            ("b.org TXT", "NOERROR"),
            ("c.org A", "NOERROR, c.org. A 60"),
            ("d.org A", "SERVFAIL"),
            ("z.net A", "elsewhere"),
            (
                "1.0.0.10.in-addr.arpa PTR",
                "NOERROR, 1.0.0.10.in-addr.arpa. PTR 60, 1.0.0.10.in-addr.arpa. PTR 60",
            ),
            ("4.0.0.10.in-addr.arpa PTR", "NOERROR, 4.0.0.10.in-addr.arpa. PTR 60"),
            ("8.0.0.10.in-addr.arpa PTR", "elsewhere"),
        ] {
            check(&settings, asked, wanted);
        }
        settings.fallthrough = Fallthrough::Always;
        settings.has_reverse = false;
        for (asked, wanted) in
            [("d.org A", "elsewhere"), ("b.org AAAA", "NOERROR"), ("1.0.0.10.in-addr.arpa PTR", "elsewhere")]
        {
            check(&settings, asked, wanted);
        }
        assert_eq!(HostTable::new(&settings, "").len(), 1);
    }
}
