//! What `iptables-save` printed, as far as it concerns us: our chains and kube-proxy's, and what leads to them.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::names::{Hook, Table, is_ours};

/// Our chains and kube-proxy's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) chains: Vec<(Table, String)>,
    /// Rules of built-in chains that lead to them, beginning with the chain.
    pub(super) entrances: Vec<(Table, String)>,
    /// Their rules, without the chain.
    pub(super) rules: BTreeMap<(Table, String), Vec<String>>,
    /// Those that chains of others lead to.
    pub(super) used: BTreeSet<(Table, String)>,
    /// The last table has no end.
    pub(super) is_cut_short: bool,
}

impl Saved {
    pub(super) fn read(text: &str) -> Self {
        let mut saved = Self::default();
        let mut table = None;
        for line in text.lines() {
            saved.is_cut_short = !line.starts_with('#') && line != "COMMIT";
            if let Some(name) = line.strip_prefix('*') {
                table = Table::BOTH.into_iter().find(|table| table.name() == name);
            }
            let Some(table) = table else { continue };
            if let Some(name) = line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) {
                if is_ours(name) {
                    saved.chains.push((table, name.to_owned()));
                }
            } else if let Some(rule) = line.strip_prefix("-A ") {
                saved.rule(table, rule);
            }
        }
        saved
    }

    fn rule(&mut self, table: Table, rule: &str) {
        const BUILT_IN: [Hook; 5] =
            [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
        let Some((chain, rest)) = rule.split_once(' ') else { return };
        if is_ours(chain) {
            self.rules.entry((table, chain.to_owned())).or_default().push(rest.to_owned());
            return;
        }
        let Some(target) = target(rest).filter(|target| is_ours(target)) else { return };
        if BUILT_IN.iter().any(|hook| hook.name() == chain) {
            self.entrances.push((table, rule.to_owned()));
        } else {
            self.used.insert((table, target.to_owned()));
        }
    }
}

/// Stands for everything in what `iptables-save` printed that concerns us.
pub fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for line in text.lines() {
        let chain = line.strip_prefix("-A ").or_else(|| line.strip_prefix(':'));
        let chain = chain.and_then(|rest| rest.split(' ').next());
        let leads_here = || target(line).is_some_and(is_ours);
        if line.starts_with('*') || chain.is_some_and(is_ours) || line.starts_with("-A ") && leads_here() {
            line.hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The chain that a rule such as `-m comment --comment "a b" -j KUBE-SERVICES` leads to.
fn target(rule: &str) -> Option<&str> {
    // Texts in quotation marks may hold anything; in them, and only there, a backslash stands before a quotation mark.
    let mut is_quoted = false;
    let mut words = rule.split(' ').filter(|word| {
        let was_quoted = is_quoted;
        is_quoted ^= word.replace("\\\"", "").matches('"').count() % 2 == 1;
        !was_quoted && !is_quoted
    });
    words.find(|word| matches!(*word, "-j" | "-g"))?;
    words.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_do_for_themselves_leaves_the_digest() {
        let ours = "*nat\n:PREROUTING ACCEPT [1:2]\n:DOCKER - [0:0]\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n\
            -A PREROUTING -j DOCKER\n-A KUBE-SERVICES -d 10.0.0.0/8 -j ACCEPT\nCOMMIT\n";
        let without = |line: &str| ours.replace(&format!("{line}\n"), "");
        for theirs in ["-A PREROUTING -j DOCKER", ":PREROUTING ACCEPT [1:2]", ":DOCKER - [0:0]"] {
            assert_eq!(digest(ours), digest(&without(theirs)), "{theirs}");
        }
        for line in ["-A PREROUTING -j KUBE-SERVICES", "-A KUBE-SERVICES -d 10.0.0.0/8 -j ACCEPT"] {
            assert_ne!(digest(ours), digest(&without(line)), "{line}");
        }
    }

    #[test]
    fn chains_and_what_leads_to_them() {
        let text = "*mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n*nat\n:PREROUTING ACCEPT [1:2]\n:CNI-X - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n\
            :KUBE-SERVICES - [0:0]\n:KUBE-IP-10.0.0.0-8 - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n\
            -A PREROUTING -m comment --comment \"kubernetes -j portals\" -j KUBE-SERVICES\n-A PREROUTING -j CNI-X\n\
            -A CNI-X -j KUBE-MARK-MASQ\n-A KUBE-SERVICES -d 10.0.0.0/8 -g KUBE-IP-10.0.0.0-8\nCOMMIT\n";
        let nat = |text: &str| (Table::Nat, text.to_owned());
        let wanted = Saved {
            chains: vec![nat("KUBE-MARK-MASQ"), nat("KUBE-SERVICES"), nat("KUBE-IP-10.0.0.0-8")],
            entrances: vec![nat(
                "PREROUTING -m comment --comment \"kubernetes -j portals\" -j KUBE-SERVICES",
            )],
            rules: [(nat("KUBE-SERVICES"), vec!["-d 10.0.0.0/8 -g KUBE-IP-10.0.0.0-8".to_owned()])].into(),
            used: [nat("KUBE-MARK-MASQ")].into(),
            is_cut_short: false,
        };
        assert_eq!(Saved::read(text), wanted);
    }
}
