//! Where signalbox does better than what was recorded: only at outcomes that the cases themselves call kube-proxy's
//! quirks, and each must be compared exactly as well.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use testkit::cases::Case;

/// Replaces recorded outcomes by those that a list gives: lines of a case's name, a probe's label and the outcome as JSON; `#`
/// begins a comment.
pub(super) fn replace_quirks(cases: &mut [Case], mode: &str, list: &str) -> Result<()> {
    for line in list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words = line.split_once(char::is_whitespace).and_then(|(name, rest)| {
            let (label, outcome) = rest.trim_start().split_once(char::is_whitespace)?;
            Some((name, label, outcome))
        });
        let Some((name, label, outcome)) = words else {
            bail!("better outcomes: {line}: not a case, a label and an outcome");
        };
        let outcome: Value =
            serde_json::from_str(outcome).with_context(|| format!("better outcomes: {name} {label}"))?;
        let Some(case) = cases.iter_mut().find(|case| case.name == name) else {
            bail!("better outcomes: there is no case {name}");
        };
        if !case.quirks.contains_key(label) {
            bail!(
                "better outcomes: {name} {label} is no quirk; what kube-proxy does on purpose must be the same"
            );
        }
        let recorded = case.observed.get_mut(mode).and_then(|observed| observed.get_mut(label));
        *recorded
            .with_context(|| format!("better outcomes: {name} {label} was not recorded in mode {mode}"))? =
            outcome;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::cases::Plan;

    fn cases() -> Vec<Case> {
        let text = "{case: one, topic: edges, why: because, steps: [{probe: {a: c1 tcp/10.0.0.1:80, b: c1 tcp/10.0.0.1:80}}],
                     quirks: {a: odd}, observed: {nftables: {a: {verdict: refused}, b: {verdict: refused}}}}";
        vec![Case::parse(&Plan::new(), "one", text).unwrap()]
    }

    #[test]
    fn only_quirks_are_replaced() {
        let mut all = cases();
        replace_quirks(&mut all, "nftables", "# why\none  a  {\"verdict\":\"ok\"}\n").unwrap();
        assert_eq!(all[0].observed["nftables"]["a"], serde_json::json!({"verdict": "ok"}));
        for (list, expected) in [
            ("one b {}", "is no quirk"),
            ("two a {}", "no case two"),
            ("one a", "not a case"),
            ("one a {", "better outcomes: one a"),
        ] {
            let error = replace_quirks(&mut cases(), "nftables", list).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{list}: {error:#}");
        }
    }
}
