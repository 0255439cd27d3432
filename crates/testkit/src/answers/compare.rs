//! Comparing an answer with the recorded one: everything recorded must be there, and nothing else. Pure.

use serde_json::{Map, Value};

use super::case::{Action, Case};
use super::pattern::{Bindings, Spaces, has_placeholder, is_placeholder};
use super::settle;

/// Longer values are cut in reports.
const SHOWN: usize = 600;
/// So many lines of a transcript are shown that differ.
const SHOWN_LINES: usize = 4;

/// What is different in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Counted from one.
    pub step: usize,
    pub title: String,
    pub what: Vec<String>,
}

/// Compares all answers of a case, in the order of its steps.
pub(super) fn differences(case: &Case, namespace: Option<String>, answers: &[Value]) -> Vec<Difference> {
    let mut comparison =
        Comparison { bindings: Bindings::new(namespace, gives_back(case)), what: Vec::new() };
    let mut all = Vec::new();
    for (at, (step, answer)) in case.steps.iter().zip(answers).enumerate() {
        comparison.answer(&step.response, answer);
        let what = std::mem::take(&mut comparison.what);
        if !what.is_empty() {
            all.push(Difference { step: at + 1, title: step.title(), what });
        }
    }
    all
}

/// Whether the case may give addresses or ports back, which a server may hand out again.
fn gives_back(case: &Case) -> bool {
    case.steps.iter().any(|step| match &step.action {
        Action::Request(request) => {
            matches!(request.line.split(' ').next(), Some("DELETE" | "PUT" | "PATCH"))
        }
        Action::Kubectl(_)
        | Action::Frames(_)
        | Action::Compact(_)
        | Action::Pause(_)
        | Action::Settle(_) => true,
    })
}

struct Comparison {
    bindings: Bindings,
    /// What is different so far.
    what: Vec<String>,
}

impl Comparison {
    fn answer(&mut self, want: &Value, got: &Value) {
        let none = Map::new();
        let (want, got) = (want.as_object().unwrap_or(&none), got.as_object().unwrap_or(&none));
        for (part, want) in want {
            match (part.as_str(), got.get(part), want.as_str()) {
                (_, None, _) => self.what.push(format!("{part}: missing, want {}", show(want))),
                ("writes", Some(got), _) => self.what.extend(settle::wrong_writes(want, got)),
                ("stdout" | "stderr" | "text", Some(Value::String(got)), Some(want)) => {
                    let spaces =
                        if part != "text" && has_placeholder(want) { Spaces::Columns } else { Spaces::Exact };
                    self.text((want, got), part, spaces);
                }
                (_, Some(got), _) => self.value(want, got, part),
            }
        }
        for (part, got) in got.iter().filter(|(part, _)| !want.contains_key(*part)) {
            self.what.push(format!("{part}: not expected, got {}", show(got)));
        }
    }

    fn value(&mut self, want: &Value, got: &Value, place: &str) {
        match (want, got) {
            (Value::String(want), _) if want == "$any" => {}
            (Value::String(want), _) if want == "$managed" => {
                let managers = got.as_array().filter(|managers| !managers.is_empty());
                if !managers.is_some_and(|all| all.iter().all(|entry| entry.get("manager").is_some())) {
                    self.what.push(format!("{place}: want a list of managers, got {}", show(got)));
                }
            }
            (Value::String(want), Value::String(got)) => self.text((want, got), place, Spaces::Exact),
            (Value::String(want), Value::Number(number)) if is_placeholder(want) && !number.is_f64() => {
                self.text((want, &number.to_string()), place, Spaces::Exact);
            }
            (Value::Object(want), Value::Object(got)) => self.mapping(want, got, place),
            (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
                for (at, (want, got)) in want.iter().zip(got).enumerate() {
                    self.value(want, got, &format!("{place}/{at}"));
                }
            }
            (Value::Array(items), Value::Array(others)) => {
                let lengths = format!("{place}: want {} items, got {}", items.len(), others.len());
                self.what.push(both(&lengths, &show(want), &show(got)));
            }
            (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _)
            | (Value::Array(_) | Value::Object(_), _) => {
                if want != got {
                    self.what.push(both(&format!("{place}:"), &show(want), &show(got)));
                }
            }
        }
    }

    fn mapping(&mut self, want: &Map<String, Value>, got: &Map<String, Value>, place: &str) {
        let want: Map<String, Value> =
            want.iter().map(|(key, value)| (self.bindings.key(key), value.clone())).collect();
        for (key, want) in want.iter().filter(|(key, _)| !got.contains_key(*key)) {
            self.what.push(format!("{place}/{key}: missing, want {}", show(want)));
        }
        for (key, got) in got {
            match want.get(key) {
                Some(want) => self.value(want, got, &format!("{place}/{key}")),
                None => self.what.push(format!("{place}/{key}: not expected, got {}", show(got))),
            }
        }
    }

    fn text(&mut self, (want, got): (&str, &str), place: &str, spaces: Spaces) {
        match self.bindings.fit(want, got, spaces) {
            Some(wrong) => self.what.extend(wrong.into_iter().map(|wrong| format!("{place}: {wrong}"))),
            None if want.trim_end().contains('\n') => self.lines((want, got), place, spaces),
            None => {
                let want = self.bindings.with_namespace(want);
                self.what.push(both(&format!("{place}:"), &cut(&want), &cut(got)));
            }
        }
    }

    /// Shows which lines of two texts differ that do not fit as a whole.
    fn lines(&mut self, (want, got): (&str, &str), place: &str, spaces: Spaces) {
        let (mut want_lines, mut got_lines) = (want.split('\n'), got.split('\n'));
        let (mut shown, mut number) = (Vec::new(), 0);
        loop {
            number += 1;
            let (want, got) = match (want_lines.next(), got_lines.next()) {
                (None, None) => break,
                (want, got) => (want, got),
            };
            let fits = matches!((want, got), (Some(want), Some(got)) if self.bindings.fit(want, got, spaces).is_some());
            if !fits && shown.len() < SHOWN_LINES {
                let line = |line: Option<&str>| line.map_or_else(|| "(no such line)".to_owned(), cut);
                let want = want.map(|want| self.bindings.with_namespace(want));
                shown.push(both(&format!("  line {number}:"), &line(want.as_deref()), &line(got)));
            }
        }
        // A placeholder that spans lines fits no single one of them.
        if shown.is_empty() {
            shown.push(both("", &cut(want), &cut(got)));
        }
        self.what.push(format!("{place}:\n    {}", shown.join("\n    ")));
    }
}

fn both(place: &str, want: &str, got: &str) -> String {
    format!("{place}\n      want {want}\n      got  {got}")
}

fn show(value: &Value) -> String {
    cut(value.as_str().unwrap_or(&value.to_string()))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ... ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::case;
    use super::*;
    use crate::cases::yaml::Yaml;

    /// Compares answers with the responses of a case of as many `GET`s; answers all differences as one text.
    fn compare(pairs: &[(&str, &str)], method: &str) -> String {
        let steps: Vec<_> =
            pairs.iter().map(|(want, _)| format!("{{request: {method} /x, response: {want}}}")).collect();
        let cases = case::parse(&format!("[{{case: a/b, steps: [{}]}}]", steps.join(", "))).unwrap();
        let answers: Vec<_> = pairs.iter().map(|(_, got)| Yaml::parse(got).unwrap().to_json()).collect();
        let all = differences(&cases[0], Some("t-abc".into()), &answers);
        let lines =
            all.iter().flat_map(|one| one.what.iter().map(move |what| format!("{}: {what}", one.step)));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_was_recorded_fits() {
        for (want, got) in [
            (
                "{code: 200, body: {a: [1, {b: $uid1}]}}",
                "{body: {a: [1, {b: 12345678-1234-1234-1234-123456789abc}]}, code: 200}",
            ),
            ("{body: {nodePort: $nodeport1, x: $any}}", "{body: {nodePort: 30100, x: [1, 2]}}"),
            ("{body: {managedFields: $managed}}", "{body: {managedFields: [{manager: a}]}}"),
            ("{body: {'f:$ns': {}, n: null}}", "{body: {'f:t-abc': {}, n: null}}"),
            ("{headers: {Warning: [a, b]}}", "{headers: {Warning: [a, b]}}"),
            ("{stdout: \"N   AGE\\na   $age\\n\"}", "{stdout: \"N  AGE\\na  5s\\n\"}"),
            ("{}", "{}"),
        ] {
            assert_eq!(compare(&[(want, got)], "GET"), "", "{want}");
        }
    }

    #[test]
    fn every_difference_is_found() {
        for (want, got, expected) in [
            ("{code: 200}", "{code: 201}", "1: code:\n      want 200\n      got  201"),
            ("{code: 200, body: {}}", "{code: 200}", "1: body: missing, want {}"),
            ("{code: 200}", "{code: 200, text: x}", "1: text: not expected, got x"),
            ("{body: {a: {b: 1}}}", "{body: {a: {}}}", "1: body/a/b: missing, want 1"),
            ("{body: {a: {}}}", "{body: {a: {b: 1}}}", "1: body/a/b: not expected, got 1"),
            ("{body: {a: 1}}", "{body: {a: '1'}}", "1: body/a:\n      want 1\n      got  1"),
            ("{body: {a: 1}}", "{body: {a: 1.0}}", "1: body/a:\n      want 1\n      got  1.0"),
            ("{body: {a: null}}", "{body: {}}", "1: body/a: missing, want null"),
            ("{body: {a: {}}}", "{body: {a: []}}", "1: body/a:\n      want {}\n      got  []"),
            (
                "{body: [1, 2]}",
                "{body: [2, 1]}",
                "1: body/0:\n      want 1\n      got  2\n1: body/1:\n      want 2\n      got  1",
            ),
            (
                "{body: [1]}",
                "{body: [1, 1]}",
                "1: body: want 1 items, got 2\n      want [1]\n      got  [1,1]",
            ),
            ("{body: {m: $managed}}", "{body: {m: []}}", "1: body/m: want a list of managers, got []"),
            ("{body: {m: $managed}}", "{body: {m: [{}]}}", "1: body/m: want a list of managers, got [{}]"),
            (
                "{body: {p: $nodeport1}}",
                "{body: {p: 30.5}}",
                "1: body/p:\n      want $nodeport1\n      got  30.5",
            ),
            (
                "{body: {p: 30100}}",
                "{body: {p: $nodeport1}}",
                "1: body/p:\n      want 30100\n      got  $nodeport1",
            ),
            (
                "{body: {$ns: 1}}",
                "{body: {t-abd: 1}}",
                "1: body/t-abc: missing, want 1\n1: body/t-abd: not expected, got 1",
            ),
            ("{text: 'a  $rv1'}", "{text: 'a   1'}", "1: text:\n      want a  $rv1\n      got  a   1"),
            ("{stdout: 'a  b'}", "{stdout: 'a   b'}", "1: stdout:\n      want a  b\n      got  a   b"),
            (
                "{exit: 0, stderr: ''}",
                "{exit: 1, stderr: x}",
                "1: exit:\n      want 0\n      got  1\n1: stderr:\n      want \n      got  x",
            ),
            (
                "{stdout: \"a\\nb $age\\nc\\n\"}",
                "{stdout: \"a\\nb 5x\\nc\\n\"}",
                "1: stdout:\n      line 2:\n      want b $age\n      got  b 5x",
            ),
            (
                "{frames: [{type: ADDED}]}",
                "{frames: []}",
                "1: frames: want 1 items, got 0\n      want [{\"type\":\"ADDED\"}]\n      got  []",
            ),
        ] {
            assert_eq!(compare(&[(want, got)], "GET"), expected, "{want}");
        }
    }

    #[test]
    fn placeholders_hold_from_step_to_step() {
        let (first, second) = (("{body: $rv1}", "{body: '7'}"), ("{body: $rv1}", "{body: '8'}"));
        assert_eq!(compare(&[first, second], "GET"), "2: body: $rv1 was 7 before, now 8");
        let ports = [("{body: $nodeport1}", "{body: 30100}"), ("{body: $nodeport2}", "{body: 30100}")];
        assert!(compare(&ports, "GET").contains("must differ"));
        assert_eq!(compare(&ports, "DELETE"), "");
    }
}
