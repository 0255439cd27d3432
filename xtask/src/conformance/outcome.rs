//! What was seen, in the words of the case files. Nothing is sent here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use testkit::cases::{NODES, Naming, Plan, Probe};

/// One try, as the traffic tool reports it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Try {
    pub(super) verdict: String,
    /// Who answered, by the name of the server; absent when nobody did.
    pub(super) name: Option<String>,
    /// What the server saw as the client's address.
    pub(super) src: Option<SocketAddr>,
    /// What the server saw as its own address.
    pub(super) dst: Option<SocketAddr>,
}

/// The answer to a GET request, as the traffic tool reports it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct HttpAnswer {
    verdict: String,
    #[serde(default)]
    code: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

/// What later probes and changes of a case refer to.
#[derive(Debug, Default)]
pub(super) struct Memory {
    responders: BTreeMap<String, Vec<String>>,
    /// The responder of each source; `None` when some got no answer.
    by_source: BTreeMap<String, Option<Vec<String>>>,
}

/// An answer: its responder, and where it came from in the server's eyes.
struct Answer {
    responder: String,
    source: IpAddr,
}

impl Memory {
    /// Answers the one endpoint that a probe or flow reached.
    pub(super) fn chosen(&self, label: &str) -> Result<String> {
        match self.responders.get(label).map(Vec::as_slice) {
            Some([only]) => Ok(only.rsplit_once(':').map_or(only.as_str(), |(name, _)| name).to_owned()),
            other => anyhow::bail!("{label} did not reach exactly one endpoint: {other:?}"),
        }
    }

    /// Judges the tries of a probe, and remembers who answered.
    pub(super) fn judge(
        &mut self,
        plan: &Plan,
        label: &str,
        (probe, tries): (&Probe, &[Try]),
    ) -> Result<Value> {
        let mut outcome = Map::new();
        outcome.insert("verdict".into(), one_or_all(tries.iter().map(|t| verdict(&t.verdict).to_owned())));
        let answers: Vec<Answer> = tries.iter().filter_map(|t| answer(plan, t)).collect();
        self.responders.insert(label.to_owned(), Vec::new());
        self.by_source.insert(label.to_owned(), None);
        if answers.is_empty() {
            return Ok(outcome.into());
        }
        let distinct: BTreeSet<&str> = answers.iter().map(|a| a.responder.as_str()).collect();
        let mut names: Vec<String> = distinct.into_iter().map(str::to_owned).collect();
        names.sort_by_key(|name| sort_key(name));
        match probe.naming {
            Naming::Names => outcome.insert("by".into(), json!(names)),
            Naming::Count => outcome.insert("responders".into(), json!(names.len())),
            Naming::Nothing => None,
        };
        if let Some((field, same)) = self.compared(label, probe, (&answers, tries.len(), &names))? {
            outcome.insert(field, json!(same));
        }
        if probe.spread {
            outcome.insert("spread".into(), json!(spread(&answers, &names)));
        }
        let classes = answers.iter().map(|a| source_class(plan, a.source, &probe.from));
        outcome.insert("source".into(), one_or_all(classes));
        if probe.naming != Naming::Nothing {
            self.responders.insert(label.to_owned(), names);
        }
        Ok(outcome.into())
    }

    fn compared(
        &mut self,
        label: &str,
        probe: &Probe,
        (answers, tries, names): (&[Answer], usize, &[String]),
    ) -> Result<Option<(String, bool)>> {
        let field = probe.same.as_ref().map(|same| format!("same-as-{same}"));
        if !probe.sources.is_empty() {
            let all = answers.len() == tries;
            let map = all.then(|| answers.iter().map(|a| a.responder.clone()).collect::<Vec<_>>());
            let same = probe.same.as_ref().map(|same| self.by_source.get(same).unwrap_or(&None) == &map);
            self.by_source.insert(label.to_owned(), map);
            return Ok(field.zip(same));
        }
        let Some(same) = &probe.same else { return Ok(None) };
        let earlier =
            self.responders.get(same).with_context(|| format!("{label}: no earlier probe {same}"))?;
        Ok(field.map(|field| (field, earlier == names)))
    }
}

impl HttpAnswer {
    pub(super) fn outcome(&self) -> Value {
        let word = verdict(&self.verdict);
        if word != "ok" {
            return json!({"verdict": word});
        }
        let mut outcome = json!({"verdict": word, "code": self.code, "body": clean_body(&self.body)});
        if let Some(weight) = self.headers.get("x-load-balancing-endpoint-weight") {
            outcome["weight"] = weight.parse::<i64>().map_or_else(|_| json!(weight), |number| json!(number));
        }
        outcome
    }
}

/// A line of a probe for people: how often each thing happened.
pub(super) fn histogram(plan: &Plan, tries: &[Try]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for one in tries {
        let who = answer(plan, one).map(|a| format!(" {}<-{}", a.responder, a.source)).unwrap_or_default();
        *counts.entry(format!("{}{who}", one.verdict)).or_default() += 1;
    }
    counts.into_iter().map(|(what, count)| format!("{count} x {what}")).collect::<Vec<_>>().join(", ")
}

/// Where expected and seen outcomes differ: label, expected, got; in the order of the case.
pub(super) fn differences(
    labels: &[String],
    expected: &BTreeMap<String, Value>,
    got: &BTreeMap<String, Value>,
) -> Vec<(String, Option<Value>, Option<Value>)> {
    let pairs =
        labels.iter().map(|label| (label.clone(), expected.get(label).cloned(), got.get(label).cloned()));
    pairs.filter(|(_, expected, got)| expected != got).collect()
}

/// A packet that the sender's own output hook dropped is, for who waits for an answer, like any silent drop.
fn verdict(word: &str) -> &str {
    if word == "denied" { "timeout" } else { word }
}

fn one_or_all(values: impl Iterator<Item = String>) -> Value {
    let distinct: BTreeSet<String> = values.collect();
    match distinct.len() {
        1 => json!(distinct.first()),
        _ => json!(distinct),
    }
}

fn answer(plan: &Plan, one: &Try) -> Option<Answer> {
    let name = one.name.as_deref().filter(|name| !name.is_empty() && one.verdict == "ok")?;
    let (src, dst) = (one.src?, one.dst?);
    let owner = plan.owner(dst.ip()).filter(|owner| owner.main);
    let is_own =
        |owner: &str| owner == name || owner.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    let responder = match owner.filter(|owner| is_own(&owner.name)) {
        Some(owner) => format!("{}:{}", owner.name, dst.port()),
        None => format!("{name}@{dst}"),
    };
    Some(Answer { responder, source: src.ip() })
}

fn source_class(plan: &Plan, source: IpAddr, client: &str) -> String {
    let Some(owner) = plan.owner(source) else { return "other".into() };
    let host = owner.name.split('.').next().unwrap_or_default();
    let is_node = NODES.contains(&owner.name.as_str());
    match (host == client, is_node && owner.main) {
        (_, true) => format!("node-ip-of-{}", owner.name),
        (true, false) if !is_node => "client-ip".into(),
        _ => "other".into(),
    }
}

fn sort_key(name: &str) -> (String, u32, String) {
    let (head, tail) = name.split_once(':').unwrap_or((name, ""));
    let (base, number) = head.split_once('.').unwrap_or((head, ""));
    (base.to_owned(), number.parse().unwrap_or(0), tail.to_owned())
}

fn spread(answers: &[Answer], names: &[String]) -> &'static str {
    let mean = answers.len() as f64 / names.len() as f64;
    let count = |name: &String| answers.iter().filter(|a| a.responder == *name).count() as f64;
    let is_even = names.iter().all(|name| (count(name) - mean).abs() <= 0.25 * mean);
    if is_even { "even" } else { "uneven" }
}

/// The body without its times; what is not JSON as text.
fn clean_body(text: &str) -> Value {
    let Ok(body) = serde_json::from_str(text) else {
        return json!(text.trim().chars().take(200).collect::<String>());
    };
    without_times(body)
}

fn without_times(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let kept = fields.into_iter().filter(|(name, _)| name != "lastUpdated" && name != "currentTime");
    kept.map(|(name, value)| (name, without_times(value))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::cases::Target;

    fn tried(text: &str) -> Try {
        let mut words = text.split(' ');
        let mut next = || words.next().map(str::to_owned);
        let verdict = next().unwrap();
        let name = next();
        let (src, dst) = (next().map(|s| s.parse().unwrap()), next().map(|s| s.parse().unwrap()));
        Try { verdict, name, src, dst }
    }

    fn probe(from: &str) -> Probe {
        Probe::plain(from, Target::Packets(Vec::new()))
    }

    #[track_caller]
    fn check(memory: &mut Memory, (label, probe): (&str, &Probe), tries: &[&str], expected: Value) {
        let tries: Vec<_> = tries.iter().map(|text| tried(text)).collect();
        assert_eq!(memory.judge(&Plan::new(), label, (probe, &tries)).unwrap(), expected);
    }

    #[test]
    fn names_responders_and_sources() {
        let memory = &mut Memory::default();
        check(
            memory,
            ("x", &probe("c1")),
            &[
                "ok k1 10.244.1.4:999 10.244.1.130:8080",
                "ok k1 10.244.1.4:999 10.244.1.139:8080",
                "ok a2 192.168.77.11:999 10.244.2.2:8080",
            ],
            json!({"verdict": "ok", "by": ["a2:8080", "k1.2:8080", "k1.11:8080"], "source": ["client-ip", "node-ip-of-n1"]}),
        );
        assert!(memory.chosen("x").is_err());
        let own = ["ok a1 192.168.78.11:5 10.244.1.2:80", "timeout", "denied"];
        let expected = json!({"verdict": ["ok", "timeout"], "by": ["a1:80"], "source": "other"});
        check(memory, ("y", &probe("n1")), &own, expected);
        assert_eq!(memory.chosen("y").unwrap(), "a1");
        let node = ["ok a1 192.168.77.11:5 10.244.1.2:80"];
        check(
            memory,
            ("z", &probe("n1")),
            &node,
            json!({"verdict": "ok", "by": ["a1:80"], "source": "node-ip-of-n1"}),
        );
        let stranger = ["ok b1 [fd77::101]:5 [fd00:10:244:1::2]:80"];
        let expected = json!({"verdict": "ok", "by": ["b1@[fd00:10:244:1::2]:80"], "source": "client-ip"});
        check(memory, ("s", &probe("ext")), &stranger, expected);
    }

    #[test]
    fn compares_with_earlier_probes() {
        let memory = &mut Memory::default();
        let count = Probe { naming: Naming::Count, ..probe("c1") };
        let first = ["ok a1 10.244.1.4:1 10.244.1.2:80"];
        check(
            memory,
            ("one", &count),
            &first,
            json!({"verdict": "ok", "responders": 1, "source": "client-ip"}),
        );
        let again = Probe { same: Some("one".into()), ..count.clone() };
        let other = ["ok a2 10.244.1.4:1 10.244.2.2:80"];
        let expected = json!({"verdict": "ok", "responders": 1, "same-as-one": false, "source": "client-ip"});
        check(memory, ("two", &again), &other, expected);
        let sources = Probe { sources: vec!["10.244.1.129".into(), "10.244.1.130".into()], ..count.clone() };
        let both = ["ok a1 10.244.1.4:1 10.244.1.2:80", "ok a2 10.244.1.4:1 10.244.2.2:80"];
        let swapped = [both[1], both[0]];
        check(
            memory,
            ("many", &sources),
            &both,
            json!({"verdict": "ok", "responders": 2, "source": "client-ip"}),
        );
        let again = Probe { same: Some("many".into()), ..sources };
        let expected =
            |same| json!({"verdict": "ok", "responders": 2, "same-as-many": same, "source": "client-ip"});
        check(memory, ("same", &again), &both, expected(true));
        check(memory, ("swapped", &again), &swapped, expected(false));
    }

    #[test]
    fn refusals_name_nobody() {
        let tries = ["refused", "refused"];
        check(&mut Memory::default(), ("x", &probe("c1")), &tries, json!({"verdict": "refused"}));
    }

    #[test]
    fn measures_the_spread() {
        let even = Probe { spread: true, naming: Naming::Nothing, ..probe("c1") };
        let (a, b) = ("ok a1 10.244.1.4:1 10.244.1.2:80", "ok b1 10.244.1.4:1 10.244.1.3:80");
        let expected = |spread| json!({"verdict": "ok", "spread": spread, "source": "client-ip"});
        check(&mut Memory::default(), ("x", &even), &[a, b, a, b], expected("even"));
        check(&mut Memory::default(), ("x", &even), &[a, a, a, b], expected("uneven"));
    }

    #[test]
    fn reads_http_answers() {
        let text = r#"{"verdict": "ok", "code": 503, "headers": {"x-load-balancing-endpoint-weight": "2"},
                       "body": "{\"lastUpdated\": 1, \"s\": {\"currentTime\": 2, \"b\": true}}", "ms": 3}"#;
        let answer: HttpAnswer = serde_json::from_str(text).unwrap();
        let expected = json!({"verdict": "ok", "code": 503, "weight": 2, "body": {"s": {"b": true}}});
        assert_eq!(answer.outcome(), expected);
        let refused: HttpAnswer = serde_json::from_str(r#"{"verdict": "refused", "ms": 3}"#).unwrap();
        assert_eq!(refused.outcome(), json!({"verdict": "refused"}));
    }
}
