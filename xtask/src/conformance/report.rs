//! What came of the cases: lines for people while they run, totals, and JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use testkit::cases::Case;

use super::expected::{ExpectedFailures, Standing};
use super::outcome::differences;
use super::run::Outcomes;

/// Everything that happened so far.
pub(super) struct Report {
    mode: String,
    known: ExpectedFailures,
    totals: BTreeMap<&'static str, usize>,
    bad: BTreeSet<String>,
    entries: Vec<Value>,
}

impl Report {
    pub(super) fn new(mode: &str, known: ExpectedFailures) -> Self {
        let (totals, bad, entries) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Self { mode: mode.to_owned(), known, totals, bad, entries }
    }

    /// Takes one result and prints it.
    pub(super) fn add(&mut self, case: &Case, (round, spent): (u32, Duration), result: Result<Outcomes>) {
        let none = BTreeMap::new();
        let expected = case.observed.get(&self.mode).unwrap_or(&none);
        let diff =
            result.as_ref().map_or_else(|_| Vec::new(), |got| differences(&case.labels, expected, got));
        let standing = self.known.standing(&case.name, result.is_ok() && diff.is_empty());
        println!("{:<5} {:<44} {:5.1} s", standing.word(), case.name, spent.as_secs_f64());
        if standing == Standing::Known {
            println!("      (expected: {})", self.known.reason(&case.name).unwrap_or_default());
        } else {
            print_differences(case, &diff);
        }
        if standing == Standing::Stale {
            println!(
                "      it stands in conformance/expected-failures-{}.txt but passes: delete that line",
                self.mode
            );
        }
        let error = result.as_ref().err().map(|error| format!("{error:#}"));
        if let Some(error) = error.as_ref().filter(|_| standing != Standing::Known) {
            println!("      {}", error.replace('\n', "\n      "));
        }
        *self.totals.entry(standing.word()).or_default() += 1;
        if !standing.is_good() {
            self.bad.insert(case.name.clone());
        }
        let differences: Vec<_> = diff
            .into_iter()
            .map(|(label, expected, got)| json!({"label": label, "expected": expected, "got": got}))
            .collect();
        self.entries.push(json!({
            "case": case.name, "topic": case.topic, "round": round, "standing": standing.word(),
            "seconds": (spent.as_secs_f64() * 100.0).round() / 100.0,
            "observed": result.ok(), "error": error, "differences": differences,
        }));
    }

    pub(super) fn is_good(&self) -> bool {
        self.bad.is_empty()
    }

    pub(super) fn print_totals(&self, spent: Duration) {
        let totals: Vec<_> = self.totals.iter().map(|(word, count)| format!("{count} {word}")).collect();
        println!("{}; {:.0} s in all", totals.join(", "), spent.as_secs_f64());
        if !self.bad.is_empty() {
            let names: Vec<_> = self.bad.iter().map(String::as_str).collect();
            println!("not as expected: {}", names.join(" "));
        }
    }

    pub(super) fn json(&self) -> String {
        format!("{:#}\n", json!({"mode": self.mode, "totals": self.totals, "cases": self.entries}))
    }
}

fn print_differences(case: &Case, diff: &[(String, Option<Value>, Option<Value>)]) {
    for (label, expected, got) in diff {
        if let Some(quirk) = case.quirks.get(label) {
            println!("      (kube-proxy's quirk: {quirk})");
        }
        println!("      {label}\n        expected {}\n        got      {}", short(expected), short(got));
    }
}

fn short(outcome: &Option<Value>) -> String {
    outcome.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string)
}
