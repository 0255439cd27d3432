//! Placeholders: texts that stand for any value of a class, and what they were bound to in the course of a case.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use regex::Regex;

/// Which values a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Uid,
    Rv,
    ListRv,
    Time,
    MicroTime,
    RfcTime,
    Ip4,
    Ip6,
    NodePort,
    Rand,
    Age,
    Continue,
    Any,
}

impl Class {
    /// The class of a placeholder, given without its dollar sign.
    fn of(name: &str) -> Self {
        match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "uid" => Self::Uid,
            "rv" => Self::Rv,
            "listrv" => Self::ListRv,
            "time" => Self::Time,
            "microtime" => Self::MicroTime,
            "rfctime" => Self::RfcTime,
            "ip4-" => Self::Ip4,
            "ip6-" => Self::Ip6,
            "nodeport" => Self::NodePort,
            "rand" => Self::Rand,
            "age" => Self::Age,
            "continue" => Self::Continue,
            _ => Self::Any,
        }
    }

    fn regex(self) -> &'static str {
        match self {
            Self::Uid => r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            Self::Rv => r"[1-9][0-9]*",
            Self::ListRv => r"[0-9]+",
            Self::Time => r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z",
            Self::MicroTime => r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6,9}Z",
            Self::RfcTime => {
                r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}"
            }
            Self::Ip4 => r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}",
            Self::Ip6 => r"[0-9a-f:]+",
            Self::NodePort => r"[0-9]{5}",
            // The letters of Kubernetes' generated names; a name of 63 characters leaves room for five.
            Self::Rand => r"[bcdfghjklmnpqrstvwxz2456789]{5,10}",
            Self::Age => r"(?:<invalid>|<unknown>|(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?)",
            Self::Continue => r"[A-Za-z0-9_=-]{8,}",
            Self::Any => r"(?s:.*)",
        }
    }

    /// Whether the same name must be the same value throughout a case, and different names differ.
    fn is_bound(self) -> bool {
        match self {
            Self::Uid | Self::Rv | Self::Ip4 | Self::Ip6 | Self::NodePort | Self::Rand => true,
            Self::ListRv | Self::Time | Self::MicroTime | Self::RfcTime => false,
            Self::Age | Self::Continue | Self::Any => false,
        }
    }

    /// Whether a server may hand the value out again after it was given back.
    fn is_handed_out(self) -> bool {
        matches!(self, Self::Ip4 | Self::Ip6 | Self::NodePort)
    }

    /// What is wrong with a value that has the right letters.
    fn objection(self, value: &str) -> Option<&'static str> {
        let is_inside = match self {
            Self::Ip4 => matches!(value.parse(), Ok(IpAddr::V4(ip)) if (ip.to_bits() >> 20) == 0x0a6),
            Self::Ip6 => matches!(value.parse(), Ok(IpAddr::V6(ip))
                if (ip.to_bits() >> 16) == 0xfd00_0010_0096_0000_0000_0000_0000),
            Self::NodePort => value.parse().is_ok_and(|port: u16| (30_000..=32_767).contains(&port)),
            Self::Uid | Self::Rv | Self::ListRv | Self::Time | Self::MicroTime | Self::RfcTime => true,
            Self::Rand | Self::Age | Self::Continue | Self::Any => true,
        };
        (!is_inside).then_some("outside the server's range")
    }
}

static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| {
    let names =
        r"uid\d+|rv\d+|listrv|time|microtime|rfctime|ip4-\d+|ip6-\d+|nodeport\d+|rand\d+|age|continue|any";
    Regex::new(&format!(r"\$({names})\b")).expect("the pattern is constant")
});

/// Whether a text holds a placeholder besides `$ns`.
pub(super) fn has_placeholder(text: &str) -> bool {
    PLACEHOLDER.is_match(text)
}

/// Whether a text is nothing but one placeholder.
pub(super) fn is_placeholder(text: &str) -> bool {
    PLACEHOLDER.find(text).is_some_and(|found| found.len() == text.len())
}

/// How exactly spaces are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spaces {
    Exact,
    /// Two or more stand for any number from two on: the columns of a table are as wide as its widest value.
    Columns,
}

/// What the placeholders of one case stand for so far.
#[derive(Debug)]
pub(super) struct Bindings {
    namespace: Option<String>,
    /// Whether the case gives addresses and ports back, so that different names may get the same.
    reuse: bool,
    bound: BTreeMap<String, String>,
}

impl Bindings {
    pub(super) fn new(namespace: Option<String>, reuse: bool) -> Self {
        Self { namespace, reuse, bound: BTreeMap::new() }
    }

    /// Puts the namespace into a recorded text.
    pub(super) fn with_namespace(&self, text: &str) -> String {
        match &self.namespace {
            Some(namespace) => text.replace("$ns", namespace),
            None => text.to_owned(),
        }
    }

    /// A key of a mapping with what its placeholders were bound to; those that were not bound yet stay.
    pub(super) fn key(&self, key: &str) -> String {
        let key = self.with_namespace(key);
        let bound =
            |found: &regex::Captures| self.bound.get(&found[1]).unwrap_or(&found[0].to_owned()).clone();
        PLACEHOLDER.replace_all(&key, bound).into_owned()
    }

    /// Compares a text and binds its placeholders. `None`: it does not fit at all; else what is wrong with the values.
    pub(super) fn fit(&mut self, want: &str, got: &str, spaces: Spaces) -> Option<Vec<String>> {
        let want = self.with_namespace(want);
        if want == got {
            return Some(Vec::new());
        }
        let (names, regex) = compiled(&want, spaces)?;
        let found = regex.captures(got)?;
        let values = found.iter().skip(1).flatten().map(|value| value.as_str());
        Some(names.iter().zip(values).flat_map(|(name, value)| self.bind(name, value)).collect())
    }

    fn bind(&mut self, name: &str, value: &str) -> Vec<String> {
        let class = Class::of(name);
        if !class.is_bound() {
            return Vec::new();
        }
        match self.bound.get(name) {
            Some(old) if old == value => return Vec::new(),
            Some(old) => return vec![format!("${name} was {old} before, now {value}")],
            None => {}
        }
        let mut wrong: Vec<_> =
            self.bound.iter().filter_map(|other| self.clash((name, value), other)).collect();
        wrong.extend(class.objection(value).map(|objection| format!("${name} is {value}, {objection}")));
        self.bound.insert(name.to_owned(), value.to_owned());
        wrong
    }

    fn clash(&self, (name, value): (&str, &str), (other, taken): (&String, &String)) -> Option<String> {
        let class = Class::of(name);
        if Class::of(other) != class {
            return None;
        }
        if taken == value {
            let is_allowed = self.reuse && class.is_handed_out();
            return (!is_allowed).then(|| format!("${name} and ${other} must differ, both are {value}"));
        }
        let is_ordered = class != Class::Rv || (number(taken) < number(value)) == (rank(other) < rank(name));
        (!is_ordered).then(|| format!("${name}={value} and ${other}={taken} are in the wrong order"))
    }
}

/// `None`: there is no placeholder in it.
fn compiled(want: &str, spaces: Spaces) -> Option<(Vec<String>, Regex)> {
    let (mut names, mut regex, mut last) = (Vec::new(), String::from(r"\A"), 0);
    for found in PLACEHOLDER.captures_iter(want) {
        let (whole, name) = (found.get(0)?, &found[1]);
        regex.push_str(&literal(&want[last..whole.start()], spaces));
        regex.push_str(&format!("({})", Class::of(name).regex()));
        names.push(name.to_owned());
        last = whole.end();
    }
    regex.push_str(&literal(&want[last..], spaces));
    regex.push_str(r"\z");
    let is_pattern = !names.is_empty();
    is_pattern.then(|| Regex::new(&regex).ok()).flatten().map(|regex| (names, regex))
}

fn literal(text: &str, spaces: Spaces) -> String {
    static GAPS: LazyLock<Regex> = LazyLock::new(|| Regex::new("  +").expect("the pattern is constant"));
    let escaped = regex::escape(text);
    match spaces {
        Spaces::Exact => escaped,
        Spaces::Columns => GAPS.replace_all(&escaped, " {2,}").into_owned(),
    }
}

fn number(value: &str) -> u64 {
    value.parse().unwrap_or(u64::MAX)
}

fn rank(name: &str) -> u64 {
    number(name.trim_start_matches(|c: char| !c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "12345678-1234-1234-1234-123456789abc";
    const OTHER: &str = "22345678-1234-1234-1234-123456789abc";

    /// Fits pairs one after the other; answers what came of the last one.
    fn fit(pairs: &[(&str, &str)], reuse: bool) -> String {
        let mut bindings = Bindings::new(Some("t-abc".into()), reuse);
        let all = pairs.iter().map(|(want, got)| match bindings.fit(want, got, Spaces::Exact) {
            Some(wrong) => wrong.join("; "),
            None => "no".into(),
        });
        all.last().unwrap()
    }

    #[test]
    fn every_class_takes_its_values_and_no_others() {
        for (want, good, bad) in [
            ("$uid1", UID, "12345678-1234-1234-1234-123456789abX"),
            ("$rv1", "17", "017"),
            ("$listrv", "0", "x"),
            ("$time", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.1Z"),
            ("$microtime", "2026-01-02T03:04:05.123456Z", "2026-01-02T03:04:05Z"),
            ("$rfctime", "Mon, 02 Jan 2026 03:04:05 +0000", "Mon, 2 Jan 2026 03:04:05 +0000"),
            ("$ip4-1", "10.111.0.9", "10.111.0"),
            ("$ip6-1", "fd00:10:96::1f", "fd00:10:96::g"),
            ("$nodeport1", "30086", "3008"),
            ("a-$rand1", "a-bcd45", "a-abcde"),
            ("$age", "2m3s", "2 m"),
            ("$continue", "eyJ2IjoibWV0YS", "abc"),
            ("in $ns: $any!", "in t-abc: x\ny!", "in t-abd: x!"),
            ("plain $ns", "plain t-abc", "plain $ns"),
            ("$anyone", "$anyone", "x"),
            ("a.c $rv1", "a.c 5", "abc 5"),
            ("$rv1", "5", "5\n"),
        ] {
            assert_eq!(fit(&[(want, good)], false), "", "{want} {good}");
            assert_eq!(fit(&[(want, bad)], false), "no", "{want} {bad}");
        }
    }

    #[test]
    fn names_are_values() {
        for (pairs, reuse, expected) in [
            (&[("$uid1", UID), ("$uid1", UID), ("$uid2", OTHER)][..], false, ""),
            (&[("$uid1", UID), ("x $uid1", &format!("x {OTHER}"))], false, "$uid1 was"),
            (&[("$uid1", UID), ("$uid2", UID)], true, "must differ"),
            (&[("$rv1", "9"), ("$rv2", "10")], false, ""),
            (&[("$rv2", "9"), ("$rv10", "10")], false, ""),
            (&[("$rv1", "9"), ("$rv2", "8")], false, "wrong order"),
            (&[("$rv2", "9"), ("$rv1", "10")], false, "wrong order"),
            (&[("$rv1", "9"), ("$rv2", "9")], false, "must differ"),
            (&[("$listrv", "9"), ("$listrv", "8")], false, ""),
            (&[("$ip4-1", "10.96.0.9"), ("$ip4-2", "10.96.0.9")], false, "must differ"),
            (&[("$ip4-1", "10.96.0.9"), ("$ip4-2", "10.96.0.9")], true, ""),
            (&[("$ip4-1", "10.112.0.9")], false, "outside"),
            (&[("$ip4-1", "10.95.255.9")], false, "outside"),
            (&[("$ip6-1", "fd00:10:97::9")], false, "outside"),
            (&[("$nodeport1", "29999")], false, "outside"),
            (&[("$nodeport1", "32768")], false, "outside"),
        ] {
            let got = fit(pairs, reuse);
            assert!(
                if expected.is_empty() { got.is_empty() } else { got.contains(expected) },
                "{pairs:?}: {got}"
            );
        }
    }

    #[test]
    fn columns_have_any_width() {
        let mut bindings = Bindings::new(None, false);
        let want = "NAME   AGE\na b    $age\n";
        for (got, fits) in [
            ("NAME   AGE\na b    5s\n", true),
            ("NAME         AGE\na b  5s\n", true),
            ("NAME AGE\na b    5s\n", false),
            ("NAME   AGE\na  b   5s\n", false),
        ] {
            assert_eq!(bindings.fit(want, got, Spaces::Columns).is_some(), fits, "{got}");
        }
        assert!(bindings.fit("a  $rv1", "a   1", Spaces::Exact).is_none());
    }

    #[test]
    fn keys_hold_what_was_bound() {
        let mut bindings = Bindings::new(Some("t-abc".into()), false);
        bindings.fit("$uid1", UID, Spaces::Exact);
        assert_eq!(bindings.key("k:{$ns,$uid1,$uid2}"), format!("k:{{t-abc,{UID},$uid2}}"));
        assert!(is_placeholder("$nodeport1") && !is_placeholder("a $nodeport1") && !is_placeholder("$ns"));
    }
}
