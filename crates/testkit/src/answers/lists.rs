//! The lists beside the cases: answers that are better than recorded, and cases that fail for now. Pure.

use std::collections::BTreeMap;

use super::case::Case;

/// Why cases are allowed to answer otherwise than recorded.
#[derive(Debug, Default)]
pub struct Lists {
    better: BTreeMap<String, String>,
    failing: BTreeMap<String, String>,
}

/// What a case's result means for the whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Passed,
    Failed,
    /// It deviates on purpose, for this reason.
    Better(String),
    /// It does not pass yet, for this reason.
    Known(String),
    /// It passed although it stands on this list.
    Stale(&'static str),
}

impl Lists {
    /// Reads both lists: lines of a case's name, a colon and the reason; `#` begins a comment.
    pub fn parse(better: &str, failing: &str, cases: &[Case]) -> Result<Self, String> {
        let lists = Self {
            better: list("better", better, cases)?,
            failing: list("expected failures", failing, cases)?,
        };
        match lists.better.keys().find(|name| lists.failing.contains_key(*name)) {
            Some(name) => Err(format!("{name} stands on both lists")),
            None => Ok(lists),
        }
    }

    /// Answers what it means that a case passed or failed.
    pub(super) fn standing(&self, name: &str, passed: bool) -> Standing {
        match (self.better.get(name), self.failing.get(name), passed) {
            (Some(_), _, true) => Standing::Stale("better.txt"),
            (_, Some(_), true) => Standing::Stale("expected-failures.txt"),
            (Some(reason), _, false) => Standing::Better(reason.clone()),
            (_, Some(reason), false) => Standing::Known(reason.clone()),
            (None, None, true) => Standing::Passed,
            (None, None, false) => Standing::Failed,
        }
    }
}

fn list(what: &str, text: &str, cases: &[Case]) -> Result<BTreeMap<String, String>, String> {
    let mut reasons = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, reason) = line.split_once(':').unwrap_or((line, ""));
        let (name, reason) = (name.trim(), reason.trim());
        if !cases.iter().any(|case| case.name == name) {
            return Err(format!("{what}: there is no case {name}"));
        }
        if reason.is_empty() {
            return Err(format!("{what}: {name} has no reason"));
        }
        if reasons.insert(name.to_owned(), reason.to_owned()).is_some() {
            return Err(format!("{what}: {name} stands there twice"));
        }
    }
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use super::super::case;
    use super::*;

    fn lists(better: &str, failing: &str) -> Result<Lists, String> {
        let cases =
            case::parse("[{case: a/b, steps: []}, {case: a/c, steps: []}, {case: a/d, steps: []}]").unwrap();
        Lists::parse(better, failing, &cases)
    }

    #[test]
    fn a_listed_case_must_deviate() {
        let lists = lists("# why\n\na/b:  because: so\n", "a/c: not yet").unwrap();
        assert_eq!(lists.standing("a/b", false), Standing::Better("because: so".into()));
        assert_eq!(lists.standing("a/b", true), Standing::Stale("better.txt"));
        assert_eq!(lists.standing("a/c", false), Standing::Known("not yet".into()));
        assert_eq!(lists.standing("a/c", true), Standing::Stale("expected-failures.txt"));
        assert_eq!(lists.standing("a/d", true), Standing::Passed);
        assert_eq!(lists.standing("a/d", false), Standing::Failed);
    }

    #[test]
    fn strange_lines_are_refused() {
        for (better, failing, expected) in [
            ("x/y: because", "", "better: there is no case x/y"),
            ("", "a/b", "expected failures: a/b has no reason"),
            ("a/b:", "", "better: a/b has no reason"),
            ("a/b: x\na/b: y", "", "better: a/b stands there twice"),
            ("a/b: x", "a/b: y", "a/b stands on both lists"),
        ] {
            assert_eq!(lists(better, failing).unwrap_err(), expected);
        }
    }
}
