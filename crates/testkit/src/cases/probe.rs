//! Probes: `CLIENT PROTOCOL/ADDRESS:PORT WORD…`.

use std::time::Duration;

use super::endpoint::range_of;
use super::plan::{Family, Plan};
use super::text::expanded;
use super::{CaseError, wrong};

/// Who tries what, how often, and what of the answers counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// The client's name.
    pub from: String,
    pub target: Target,
    /// `None`: enough for all endpoints there are.
    pub tries: Option<u32>,
    /// How many tries are under way at a time.
    pub parallel: u32,
    pub timeout: Duration,
    pub interval: Option<Duration>,
    /// The source address, if it matters.
    pub bind: Option<String>,
    /// One try from each of these addresses.
    pub sources: Vec<String>,
    pub naming: Naming,
    /// The label of the earlier probe whose responders are compared.
    pub same: Option<String>,
    /// Whether the evenness of the spread counts.
    pub spread: bool,
    /// Whether all tries use one connection.
    pub keepalive: bool,
    pub connect_only: bool,
    /// The bytes that must come back.
    pub size: Option<u32>,
}

/// Where a probe goes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A GET request.
    Http { address: String, path: String },
    /// `PROTOCOL/ADDRESS:PORT`, tried in turn.
    Packets(Vec<String>),
}

/// How responders stand in the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    Names,
    Count,
    Nothing,
}

const PROTOCOLS: [&str; 4] = ["tcp/", "udp/", "sctp/", "icmp/"];

impl Probe {
    /// A probe that counts names, as flows do.
    pub fn plain(from: &str, target: Target) -> Self {
        Self {
            from: from.to_owned(),
            target,
            tries: None,
            parallel: 64,
            timeout: Duration::from_millis(1200),
            interval: None,
            bind: None,
            sources: Vec::new(),
            naming: Naming::Names,
            same: None,
            spread: false,
            keepalive: false,
            connect_only: false,
            size: None,
        }
    }

    pub(super) fn parse(plan: &Plan, text: &str) -> Result<Self, CaseError> {
        let in_probe = |what: &str| wrong(format!("{what} in probe `{text}`"));
        let mut words = text.split_whitespace();
        let (Some(from), Some(to)) = (words.next(), words.next()) else {
            return Err(in_probe("no client or no target"));
        };
        if !plan.has(from) {
            return Err(in_probe("unknown client"));
        }
        let mut probe = Self::plain(from, Target::Packets(Vec::new()));
        let mut each = None;
        let mut sources = None;
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let number = || value.parse::<u32>().map_err(|_| in_probe(&format!("no number in {word}")));
            match name {
                "n" => probe.tries = Some(number()?),
                "each" => each = Some(number()?),
                "seq" => probe.parallel = 1,
                "parallel" => probe.parallel = number()?,
                "timeout" => probe.timeout = Duration::from_millis(number()?.into()),
                "interval" => probe.interval = Some(Duration::from_millis(number()?.into())),
                "bind" => probe.bind = Some(expanded(plan, value)?),
                "sources" => sources = Some(value),
                "count" => probe.naming = Naming::Count,
                "any" if probe.naming == Naming::Names => probe.naming = Naming::Nothing,
                "any" => {}
                "same" => probe.same = Some(value.to_owned()),
                "spread" => probe.spread = true,
                "keepalive" => probe.keepalive = true,
                "connect" => probe.connect_only = true,
                "size" => probe.size = Some(number()?),
                _ => return Err(in_probe(&format!("unknown word {word}"))),
            }
        }
        probe.target = target(plan, to, each)?;
        probe.sources = sources.map(|word| addresses(plan, word, to)).transpose()?.unwrap_or_default();
        Ok(probe)
    }

    /// Answers the number of tries, where the case leaves it to the objects: `most` endpoints behind one Service.
    pub fn tries_with(&self, most: usize) -> u32 {
        let Target::Packets(targets) = &self.target else { return 1 };
        if let Some(tries) = self.tries {
            return tries;
        }
        if !self.sources.is_empty() {
            return u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        }
        if targets.first().is_some_and(|target| target.starts_with("icmp/")) {
            return 2;
        }
        if targets.len() > 1 {
            return u32::try_from(targets.len()).unwrap_or(u32::MAX);
        }
        u32::try_from(25 * most.max(1)).unwrap_or(u32::MAX).clamp(30, 600)
    }
}

fn target(plan: &Plan, to: &str, each: Option<u32>) -> Result<Target, CaseError> {
    if let Some(rest) = to.strip_prefix("http/") {
        let text = expanded(plan, rest)?;
        let (address, path) = text.split_once('/').unwrap_or((&text, ""));
        return Ok(Target::Http { address: address.to_owned(), path: format!("/{path}") });
    }
    if !PROTOCOLS.iter().any(|protocol| to.starts_with(protocol)) {
        return Err(wrong(format!("unknown protocol in {to}")));
    }
    let targets: Result<Vec<_>, _> = match each {
        Some(count) => (1..=count).map(|i| expanded(plan, &to.replace("%i", &i.to_string()))).collect(),
        None => Ok(vec![expanded(plan, to)?]),
    };
    Ok(Target::Packets(targets?))
}

fn addresses(plan: &Plan, word: &str, to: &str) -> Result<Vec<String>, CaseError> {
    let family = if to.contains('[') { Family::V6 } else { Family::V4 };
    let names = range_of(word).unwrap_or_else(|| vec![word.to_owned()]);
    let address = |name: String| {
        plan.address(&name, family).map(|ip| ip.to_string()).ok_or_else(|| wrong(format!("no source {name}")))
    };
    names.into_iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_words() {
        let plan = Plan::new();
        let text = "k1 udp/[$n1.v6]:53 sources=k1.1-2 same=one count seq timeout=500 interval=10 size=9";
        let probe = Probe::parse(&plan, text).unwrap();
        assert_eq!(probe.target, Target::Packets(vec!["udp/[fd77::11]:53".into()]));
        assert_eq!(probe.sources, ["fd00:10:244:1::1001", "fd00:10:244:1::1002"]);
        assert_eq!((probe.parallel, probe.naming, probe.size), (1, Naming::Count, Some(9)));
        assert_eq!((probe.tries_with(1), probe.same.as_deref()), (2, Some("one")));
        let http = Probe::parse(&plan, "ext http/$n1.alt:31401/a/b").unwrap().target;
        assert_eq!(http, Target::Http { address: "192.168.78.11:31401".into(), path: "/a/b".into() });
    }

    #[test]
    fn counts_tries() {
        let plan = Plan::new();
        let tries = |text: &str, most| Probe::parse(&plan, text).unwrap().tries_with(most);
        assert_eq!(tries("c1 tcp/10.96.0.1:80", 0), 30);
        assert_eq!(tries("c1 tcp/10.96.0.1:80", 3), 75);
        assert_eq!(tries("c1 tcp/10.96.0.1:80", 200), 600);
        assert_eq!(tries("c1 tcp/10.96.0.1:80 n=700", 3), 700);
        assert_eq!(tries("c1 icmp/10.96.0.1", 3), 2);
        assert_eq!(tries("c1 tcp/$add(10.96.40.0,%i):80 each=300", 3), 300);
    }

    #[test]
    fn refuses_unknown_words() {
        let plan = Plan::new();
        for text in ["c1", "c9 tcp/1.2.3.4:5", "c1 tcp/1.2.3.4:5 often", "c1 gre/1.2.3.4", "c1 tcp/$q1:5"] {
            assert!(Probe::parse(&plan, text).is_err(), "{text}");
        }
    }
}
