//! `forward` and `cache`: what others are asked, and what is kept of their answers.

use std::path::PathBuf;
use std::time::Duration;

use crate::wire::Name;

use super::super::{Cache, Forward, Prefetch, Server, Share, Stale};
use super::super::{domain, words};
use super::Reading;
use super::tree::{Line, Word};

/// What comes before [`Prefetch`] says anything.
pub(in super::super) const PREFETCH: Prefetch =
    Prefetch { amount: 0, within: Duration::from_secs(60), percentage: 10 };
/// How old answers may be when `serve_stale` does not say.
pub(in super::super) const STALE: Stale = Stale { age: Duration::from_secs(3600), verifies: false };
/// CoreDNS' bound for failures, and RFC 2308's.
pub(in super::super) const LONGEST_FAILURE: Duration = Duration::from_secs(300);

impl Reading {
    pub(super) fn forward(&mut self, line: &Line, server: &mut Server) {
        let Some([from, to @ ..]) = self.arguments(line, (2, usize::MAX)) else { return };
        let Some(zones) = self.take(from, domain::zones(&from.text)) else { return };
        if zones.len() > 1 {
            return self
                .wrong(from, format!("`{}` is several zones; each needs a `forward` of its own", from.text));
        }
        let mut forward = Forward::new(zones.into_iter().next().unwrap_or_else(Name::root));
        forward.to = to.iter().filter_map(|word| self.take(word, words::upstream(&word.text))).collect();
        for property in &line.block {
            self.no_block(property);
            self.forward_property(property, &mut forward);
        }
        if to.len() == forward.to.len() {
            server.forwards.push(forward);
        }
    }

    fn forward_property(&mut self, line: &Line, forward: &mut Forward) {
        match line.name.text.as_str() {
            "except" => {
                let Some(words) = self.arguments(line, (1, usize::MAX)) else { return };
                forward.except.extend(self.zones(words));
            }
            "force_tcp" => forward.force_tcp |= self.arguments(line, (0, 0)).is_some(),
            "prefer_udp" => forward.prefer_udp |= self.arguments(line, (0, 0)).is_some(),
            "health_check" => self.health_check(line, forward),
            "tls" => self.tls(line, forward),
            _ => self.forward_value(line, forward),
        }
    }

    fn forward_value(&mut self, line: &Line, forward: &mut Forward) {
        const VALUES: [&str; 5] = ["policy", "max_fails", "max_concurrent", "expire", "tls_servername"];
        if !VALUES.contains(&line.name.text.as_str()) {
            return self.unknown(line, "forward");
        }
        let Some(word) = self.only_argument(line) else { return };
        let text = word.text.as_str();
        match line.name.text.as_str() {
            "policy" => forward.policy = self.take(word, words::policy(text)).unwrap_or_default(),
            "max_fails" => {
                forward.max_fails = self.take(word, words::number(text, 0..=u32::MAX)).unwrap_or(0)
            }
            "expire" => forward.expire = self.take(word, words::time(text)).unwrap_or_default(),
            "tls_servername" => forward.tls_server_name = Some(text.to_owned()),
            _ => match self.take(word, words::number(text, 0..=u32::MAX)) {
                // CoreDNS has no bound then; sockets have one.
                Some(0) | None => {}
                Some(most) => forward.max_concurrent = most as usize,
            },
        }
    }

    fn health_check(&mut self, line: &Line, forward: &mut Forward) {
        let Some([interval, rest @ ..]) = self.arguments(line, (1, 4)) else { return };
        let check = &mut forward.health_check;
        check.interval = self.take(interval, words::time(&interval.text)).unwrap_or(check.interval);
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            match word.text.as_str() {
                "no_rec" => check.recursion_desired = false,
                "domain" => {
                    let Some(name) = rest.next() else { return self.wrong(word, "`domain` needs a name") };
                    check.domain = self.take(name, domain::name(&name.text)).unwrap_or_else(Name::root);
                }
                other => self.wrong(word, format!("`{other}` is neither no_rec nor domain")),
            }
        }
    }

    /// `tls CERT KEY CA`, `tls CERT KEY`, `tls CA` or `tls`.
    fn tls(&mut self, line: &Line, forward: &mut Forward) {
        let Some(words) = self.arguments(line, (0, 3)) else { return };
        let path = |word: &Word| PathBuf::from(&word.text);
        match words {
            [] => {}
            [authority] => forward.tls_authority = Some(path(authority)),
            [certificate, key, rest @ ..] => {
                forward.tls_identity = Some([path(certificate), path(key)]);
                forward.tls_authority = rest.first().map(path);
            }
        }
    }

    /// `cache [TTL] [ZONES...]`.
    pub(super) fn cache(&mut self, line: &Line, server: &mut Server) {
        let mut cache = Cache::default();
        let mut zones = line.arguments.as_slice();
        if let Some((first, rest)) =
            zones.split_first().filter(|(first, _)| first.text.parse::<i64>().is_ok())
        {
            if let Some(ttl) = self.take(first, words::number(&first.text, 1..=u32::MAX)) {
                cache.success.longest = ttl;
                cache.denial.longest = ttl;
            }
            zones = rest;
        }
        cache.zones = self.zones_or(zones, server);
        for property in &line.block {
            self.no_block(property);
            self.cache_property(property, &mut cache);
        }
        server.cache = Some(cache);
    }

    fn cache_property(&mut self, line: &Line, cache: &mut Cache) {
        match line.name.text.as_str() {
            "success" => self.share(line, &mut cache.success),
            "denial" => self.share(line, &mut cache.denial),
            "prefetch" => cache.prefetch = self.prefetch(line),
            "serve_stale" => cache.stale = self.stale(line),
            "keepttl" => cache.keeps_ttl |= self.arguments(line, (0, 0)).is_some(),
            "servfail" => {
                let Some(word) = self.only_argument(line) else { return };
                let Some(time) = self.take(word, words::time(&word.text)) else { return };
                if time > LONGEST_FAILURE {
                    return self.wrong(word, format!("`{}` is longer than 5m", word.text));
                }
                cache.failure = time;
            }
            "disable" => {
                let Some([kind, zones @ ..]) = self.arguments(line, (1, usize::MAX)) else { return };
                let zones = if zones.is_empty() { cache.zones.clone() } else { self.zones(zones) };
                match kind.text.as_str() {
                    "success" => cache.not_success.extend(zones),
                    "denial" => cache.not_denial.extend(zones),
                    other => self.wrong(kind, format!("`{other}` is neither success nor denial")),
                }
            }
            _ => self.unknown(line, "cache"),
        }
    }

    /// `CAPACITY [TTL] [MINTTL]`.
    fn share(&mut self, line: &Line, share: &mut Share) {
        let Some(words) = self.arguments(line, (1, 3)) else { return };
        let lowest = [0, 1, 0];
        let numbers: Vec<Option<u32>> = words
            .iter()
            .zip(lowest)
            .map(|(word, lowest)| self.take(word, words::number(&word.text, lowest..=u32::MAX)))
            .collect();
        let number = |at: usize| numbers.get(at).copied().flatten();
        share.entries = number(0).map_or(share.entries, |entries| entries as usize);
        share.longest = number(1).unwrap_or(share.longest);
        share.shortest = number(2).unwrap_or(share.shortest);
    }

    /// `AMOUNT [[DURATION] [PERCENTAGE%]]`.
    fn prefetch(&mut self, line: &Line) -> Option<Prefetch> {
        let words = self.arguments(line, (1, 3))?;
        let mut prefetch = PREFETCH;
        prefetch.amount = self.take(&words[0], words::number(&words[0].text, 0..=u32::MAX))?;
        if let Some(word) = words.get(1) {
            prefetch.within = self.take(word, words::time(&word.text))?;
        }
        if let Some(word) = words.get(2) {
            prefetch.percentage = self.take(word, words::percentage(&word.text))?;
        }
        Some(prefetch).filter(|prefetch| prefetch.amount > 0)
    }

    /// `[DURATION] [immediate|verify]`.
    fn stale(&mut self, line: &Line) -> Option<Stale> {
        let words = self.arguments(line, (0, 2))?;
        let mut stale = STALE;
        if let Some(word) = words.first() {
            stale.age = self.take(word, words::time(&word.text))?;
        }
        if let Some(word) = words.get(1) {
            match word.text.as_str() {
                "immediate" => {}
                "verify" => stale.verifies = true,
                other => self.wrong(word, format!("`{other}` is neither immediate nor verify")),
            }
        }
        Some(stale)
    }
}
