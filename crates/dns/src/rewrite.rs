//! Names that become others before they are looked up, and answers that are written back to the names that were asked for.
//! Pure.

use crate::config::{Rewrite, RewriteRule};
use crate::wire::{Malformed, Message, Name, NameBuffer, Query, Record, Reply, Type, flag};

/// What is looked up in place of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    asked: Name,
    name: Name,
    /// Rules whose names in answers are written back, in the order in which they were followed.
    back: Vec<RewriteRule>,
}

/// Rewrites a name by the first rule that fits, and the next ones where that one says so. `None`: by none.
pub fn rewritten(rules: &[Rewrite], asked: &Name) -> Option<Rewritten> {
    let mut found = Rewritten { asked: asked.clone(), name: asked.clone(), back: Vec::new() };
    let mut is_changed = false;
    for rule in rules {
        let Some(name) = followed(&rule.rule, &found.name) else { continue };
        found.name = name;
        is_changed = true;
        if rule.answers {
            found.back.push(rule.rule.clone());
        }
        if !rule.continues {
            break;
        }
    }
    is_changed.then_some(found)
}

/// A name that would be none, such as one too long, stays what it is.
fn followed(rule: &RewriteRule, name: &Name) -> Option<Name> {
    match rule {
        RewriteRule::Exact { from, to } => (name == from).then(|| to.clone()),
        RewriteRule::Suffix { from, to } => replaced(name, from, to),
    }
}

fn replaced(name: &Name, from: &str, to: &str) -> Option<Name> {
    let text = name.to_string();
    let rest = text.strip_suffix(from)?;
    // The root after a name is its dot.
    let to = if rest.is_empty() { to.strip_prefix('.').unwrap_or(to) } else { to };
    format!("{rest}{to}").parse().ok()
}

impl Rewritten {
    /// Answers what is looked up.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Writes the query that is looked up: the client's own but for the name. Answers its length; `None`: it does not fit.
    pub fn query(&self, query: &Query<'_>, out: &mut [u8]) -> Option<usize> {
        let rest = query.message.get(query.question_end - 4..)?;
        let name = self.name.as_wire();
        let len = crate::wire::HEADER + name.len() + rest.len();
        let out = out.get_mut(..len)?;
        out[..crate::wire::HEADER].copy_from_slice(query.message.get(..crate::wire::HEADER)?);
        out[crate::wire::HEADER..len - rest.len()].copy_from_slice(name);
        out[len - rest.len()..].copy_from_slice(rest);
        Some(len)
    }

    /// Writes the answer to what was looked up as the answer to what was asked for. The name that was asked for is written
    /// back always, since resolvers take nothing else; other names where the rules say so.
    pub fn answer(
        &self,
        query: &Query<'_>,
        answer: &[u8],
        (out, limits): (&mut [u8], (usize, u16)),
    ) -> Result<Option<usize>, Malformed> {
        let message = Message::read(answer)?;
        let Some(mut reply) = Reply::to(query, out, limits.0, limits.1) else { return Ok(None) };
        reply.set_rcode(message.rcode());
        let kept = flag::AUTHORITATIVE | flag::RECURSION_AVAILABLE | flag::AUTHENTIC | flag::TRUNCATED;
        reply.set(message.flags() & kept);
        for record in message.records() {
            let record = record?;
            if record.kind != Type::OPT && !self.push(&record, query, &mut reply)? {
                reply.truncate();
                break;
            }
        }
        Ok(Some(reply.finish()))
    }

    fn push(&self, record: &Record<'_>, query: &Query<'_>, reply: &mut Reply<'_>) -> Result<bool, Malformed> {
        let (mut owner, mut target) = (NameBuffer::new(), NameBuffer::new());
        record.read_name(&mut owner)?;
        let owner = owner.to_name();
        let new_owner = self.written_back(&owner, true);
        let skipped = target_at(record.kind);
        let new_target = match skipped {
            Some(_) => {
                record.read_target(&mut target)?;
                self.written_back(&target.to_name(), false)
            }
            None => None,
        };
        // The two names in a zone's start are servers and people, nobody's question.
        if record.kind == Type::SOA || new_owner.is_none() && new_target.is_none() {
            return reply.push_copy(record.section, record, record.ttl);
        }
        let data = match skipped {
            None => record.data().to_vec(),
            Some(skipped) => {
                let target = new_target.as_ref().map_or(target.as_wire(), Name::as_wire);
                [&record.data()[..skipped], target].concat()
            }
        };
        let owner = new_owner.unwrap_or(owner);
        // In the client's own letters, and so as a pointer to its question.
        let asked = query.question().split_last_chunk::<4>().map_or(&[][..], |(name, _)| name);
        let owner = if owner == self.asked { asked } else { owner.as_wire() };
        Ok(reply.push(record.section, (owner, record.kind, record.ttl), &data))
    }

    fn written_back(&self, name: &Name, is_owner: bool) -> Option<Name> {
        if is_owner && *name == self.name {
            return Some(self.asked.clone());
        }
        let mut found = None;
        for rule in self.back.iter().rev() {
            let current = found.as_ref().unwrap_or(name);
            let back = match rule {
                RewriteRule::Exact { from, to } => (current == to).then(|| from.clone()),
                RewriteRule::Suffix { from, to } => replaced(current, to, from),
            };
            found = back.or(found);
        }
        found
    }
}

/// Where the name begins in the data of a record that has one.
fn target_at(kind: Type) -> Option<usize> {
    match kind {
        Type::CNAME | Type::DNAME | Type::NS | Type::PTR => Some(0),
        Type::MX => Some(2),
        Type::SRV => Some(6),
        Type(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::response;
    use crate::wire::{Rcode, write_query};

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    /// Rules such as `exact a.org b.org`, `+` for those that continue, `!` for those that write answers back.
    fn rules(text: &str) -> Vec<Rewrite> {
        let rule = |text: &str| {
            let words: Vec<&str> = text.trim_end_matches(['+', '!']).split(' ').collect();
            let [kind, from, to] = words[..] else { panic!("three words: {text}") };
            let (from, to) = (from.to_owned(), to.to_owned());
            let rule = match kind {
                "exact" => RewriteRule::Exact { from: name(&from), to: name(&to) },
                _ => RewriteRule::Suffix { from, to },
            };
            Rewrite { rule, answers: text.contains('!'), continues: text.contains('+') }
        };
        text.split(", ").map(rule).collect()
    }

    #[test]
    fn names_become_others() {
        for (text, asked, wanted) in [
            ("exact a.org b.org", "A.org", "b.org."),
            ("exact a.org b.org", "x.a.org", "-"),
            ("suffix .a.org. .b.org.", "x.y.a.org", "x.y.b.org."),
            ("suffix .a.org. .b.org.", "a.org", "-"),
            ("suffix a.org. b.org.", "a.org", "b.org."),
            ("suffix a.org. b.org.", "xa.org", "xb.org."),
            ("suffix .a.org. .", "x.a.org", "x."),
            ("suffix a.org. .b.org.", "a.org", "b.org."),
            ("exact a.org b.org, exact b.org c.org", "a.org", "b.org."),
            ("exact a.org b.org+, exact b.org c.org, exact c.org d.org", "a.org", "c.org."),
            ("exact x.org b.org, suffix org. net.", "a.org", "a.net."),
            (&format!("suffix org. {}.", vec!["a".repeat(60); 4].join(".")), "bbbbbbbbbbbb.org", "-"),
        ] {
            let found = rewritten(&rules(text), &name(asked));
            assert_eq!(
                found.map_or_else(|| "-".to_owned(), |found| found.name().to_string()),
                wanted,
                "{text} {asked}"
            );
        }
    }

    #[test]
    fn answers_are_written_back() {
        let lines = "answer b.net CNAME 5 c.net, answer c.net A 5 1.2.3.4, authority net SOA 60 20";
        for (text, asked, wanted) in [
            ("exact A.org b.net", "a.org", "a.org. CNAME c.net.; c.net. A; net. SOA"),
            ("suffix .org. .net.", "b.org", "b.org. CNAME c.net.; c.net. A; net. SOA"),
            ("suffix .org. .net.!", "b.org", "b.org. CNAME c.org.; c.org. A; net. SOA"),
        ] {
            let rewritten = rewritten(&rules(text), &name(asked)).expect("it is rewritten");
            let (mut client, mut own, mut out) = ([0; 300], [0; 300], [0; 512]);
            let len =
                write_query(&mut client, (7, 0x100), (name(asked).as_wire(), Type::A), Some((1232, true)));
            let query = Query::read(&client[..len.expect("it fits")]).expect("it is one");
            let len = rewritten.query(&query, &mut own).expect("it fits");
            let looked_up = Query::read(&own[..len]).expect("it is one");
            assert_eq!(
                (looked_up.name.to_string(), looked_up.id(), looked_up.is_dnssec_ok()),
                ("b.net.".into(), 7, true)
            );
            let answer = response(7, ("b.net", Type::A), Rcode::NO_ERROR, lines);
            let len = rewritten
                .answer(&query, &answer, (&mut out, (512, 1232)))
                .expect("it is read")
                .expect("it fits");
            let message = Message::read(&out[..len]).expect("a message");
            let mut shown = Vec::new();
            for record in message.records().map(|record| record.expect("a record")) {
                let (mut owner, mut target) = (NameBuffer::new(), NameBuffer::new());
                record.read_name(&mut owner).expect("a name");
                let target = if record.kind == Type::CNAME && record.read_target(&mut target).is_ok() {
                    format!(" {target}")
                } else {
                    String::new()
                };
                if record.kind != Type::OPT {
                    shown.push(format!("{owner} {}{target}", record.kind));
                }
            }
            assert_eq!((shown.join("; ").as_str(), message.question()), (wanted, query.question()), "{text}");
        }
    }
}
