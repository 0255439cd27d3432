//! `hosts` and `rewrite`: names that are given, names that become others.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::super::{Hosts, Rewrite, RewriteRule, Server};
use super::super::{domain, words};
use super::Reading;
use super::tree::{Line, Word};

/// The file when none is given.
const FILE: &str = "/etc/hosts";

impl Reading {
    pub(super) fn hosts(&mut self, line: &Line, server: &mut Server) {
        let (file, zones) = match line.arguments.split_first() {
            Some((file, zones)) => (file.text.as_str(), zones),
            None => (FILE, &[][..]),
        };
        let zones = self.zones_or(zones, server);
        let mut hosts = Hosts { zones, file: Some(PathBuf::from(file)), ..Hosts::default() };
        for property in &line.block {
            self.no_block(property);
            self.hosts_property(property, &mut hosts);
        }
        server.hosts = Some(hosts);
    }

    fn hosts_property(&mut self, line: &Line, hosts: &mut Hosts) {
        match line.name.text.as_str() {
            "fallthrough" => hosts.fallthrough = words::fallthrough(self.zones(&line.arguments)),
            "no_reverse" => hosts.has_reverse &= self.arguments(line, (0, 0)).is_none(),
            "ttl" => {
                let Some(word) = self.only_argument(line) else { return };
                hosts.ttl = self.take(word, words::number(&word.text, 1..=65535)).unwrap_or(hosts.ttl);
            }
            "reload" => {
                let Some(word) = self.only_argument(line) else { return };
                hosts.reload = self.take(word, words::time(&word.text)).unwrap_or(Duration::ZERO);
            }
            text => match text.parse::<IpAddr>() {
                Ok(address) => self.entry(line, address, hosts),
                Err(_) => self.unknown(line, "hosts"),
            },
        }
    }

    fn entry(&mut self, line: &Line, address: IpAddr, hosts: &mut Hosts) {
        let Some(words) = self.arguments(line, (1, usize::MAX)) else { return };
        let names = words.iter().filter_map(|word| self.take(word, domain::name(&word.text))).collect();
        hosts.entries.push((address, names));
    }

    /// `rewrite [continue|stop] name [exact|suffix] FROM TO [answer auto]`.
    pub(super) fn rewrite(&mut self, line: &Line, server: &mut Server) {
        self.no_block(line);
        let mut rest = line.arguments.as_slice();
        let mut continues = false;
        if let Some((first, after)) =
            rest.split_first().filter(|(first, _)| ["continue", "stop"].contains(&first.text.as_str()))
        {
            continues = first.text == "continue";
            rest = after;
        }
        let Some((field, rest)) = rest.split_first() else {
            return self.wrong(&line.name, "`rewrite` needs `name`, what becomes what");
        };
        if field.text != "name" {
            return self.wrong(field, format!("rewriting `{}` is not understood, only `name`", field.text));
        }
        let Some((rule, rest)) = self.rule(field, rest) else { return };
        let answers = match rest {
            [] => false,
            [answer, auto] if answer.text == "answer" && auto.text == "auto" => true,
            [word, ..] => return self.wrong(word, "after a rule only `answer auto` is understood"),
        };
        server.rewrites.push(Rewrite { rule, answers, continues });
    }

    fn rule<'a>(&mut self, field: &Word, words: &'a [Word]) -> Option<(RewriteRule, &'a [Word])> {
        const KINDS: [&str; 5] = ["exact", "suffix", "prefix", "substring", "regex"];
        let (kind, place, rest) = match words {
            [kind, rest @ ..] if KINDS.contains(&kind.text.as_str()) && words.len() > 2 => {
                (kind.text.as_str(), kind, rest)
            }
            _ => ("exact", field, words),
        };
        let [from, to, rest @ ..] = rest else {
            self.wrong(field, "`rewrite name` needs what becomes what");
            return None;
        };
        let rule = self.take(place, words::rewrite(kind, &from.text, &to.text))?;
        Some((rule, rest))
    }
}
