//! The list of cases that are known to fail. It may only shrink.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use testkit::cases::Case;

/// Topics that make up a Service proxy: none of their cases may stand on the list.
const CORE: [&str; 9] = [
    "clusterip",
    "termination",
    "affinity",
    "internalpolicy",
    "externalpolicy",
    "nodeport",
    "masquerade",
    "noendpoints",
    "dualstack",
];

/// Why a case is allowed to fail, by its name.
pub(super) struct ExpectedFailures(BTreeMap<String, String>);

/// What a case's result means for the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Pass,
    Fail,
    /// It failed and stands on the list.
    Known,
    /// It passed although it stands on the list: the list must shrink.
    Stale,
}

impl Standing {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Known => "known",
            Self::Stale => "STALE",
        }
    }

    pub(super) fn is_good(self) -> bool {
        match self {
            Self::Pass | Self::Known => true,
            Self::Fail | Self::Stale => false,
        }
    }
}

impl ExpectedFailures {
    /// Reads lines of a case's name and a reason; `#` begins a comment.
    pub(super) fn parse(text: &str, cases: &[Case]) -> Result<Self> {
        let mut reasons = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, reason) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let Some(case) = cases.iter().find(|case| case.name == name) else {
                bail!("expected failures: there is no case {name}");
            };
            if CORE.contains(&case.topic.as_str()) {
                bail!("expected failures: {name} is of topic {}, which has to pass", case.topic);
            }
            if reason.trim().is_empty() {
                bail!("expected failures: {name} has no reason");
            }
            if reasons.insert(name.to_owned(), reason.trim().to_owned()).is_some() {
                bail!("expected failures: {name} stands there twice");
            }
        }
        Ok(Self(reasons))
    }

    /// Answers what it means that a case passed or failed.
    pub(super) fn standing(&self, name: &str, passed: bool) -> Standing {
        match (passed, self.0.contains_key(name)) {
            (true, false) => Standing::Pass,
            (true, true) => Standing::Stale,
            (false, true) => Standing::Known,
            (false, false) => Standing::Fail,
        }
    }

    pub(super) fn reason(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::cases::Plan;

    fn cases() -> Vec<Case> {
        [("one", "health"), ("two", "edges"), ("three", "clusterip")]
            .map(|(name, topic)| {
                let text = format!("{{case: {name}, topic: {topic}, why: because}}");
                Case::parse(&Plan::new(), name, &text).unwrap()
            })
            .to_vec()
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let Err(error) = ExpectedFailures::parse(text, &cases()) else { panic!("accepted: {text}") };
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn the_list_may_only_shrink() {
        let list = ExpectedFailures::parse("# why\n\none   no health server yet\n", &cases()).unwrap();
        assert_eq!(list.standing("one", false), Standing::Known);
        assert_eq!(list.standing("one", true), Standing::Stale);
        assert_eq!(list.standing("two", false), Standing::Fail);
        assert_eq!(list.standing("two", true), Standing::Pass);
        assert_eq!(list.reason("one"), Some("no health server yet"));
        assert!(!Standing::Stale.is_good());
    }

    #[test]
    fn refuses_strange_lines() {
        check_refused("four because", "no case four");
        check_refused("one", "no reason");
        check_refused("three because", "has to pass");
        check_refused("one a\none b", "twice");
    }
}
