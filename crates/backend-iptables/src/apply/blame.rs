//! Who is to blame for a text that was refused.
//!
//! A line leads to the change that wrote it, and others of its form are tried, too. Where no line is named, all rules are tried in a chain to which nothing leads, and
//! halved until the bad ones are found: a kernel without a module refuses all rules that need it, so that one of each form is
//! tried first.

use std::collections::{BTreeMap, BTreeSet};

use backend::{Delta, RefusedChange};
use model::Family;
use sys::Error;
use sys::iptables::{RefusedLine, RestoreError, Xtables};

use crate::item::{Key, Value, rules};
use crate::names::Table;

/// Where rules are tried.
const TRIAL: &str = "KUBE-PROXY-TRIAL";

/// Finds the changes that wrote these lines.
pub(super) fn changes(
    text: &str,
    refused: &[RefusedLine],
    delta: &Delta<'_, Key, Value>,
    family: Family,
) -> Vec<RefusedChange> {
    let refused: BTreeMap<usize, &RefusedLine> = refused.iter().map(|line| (line.number, line)).collect();
    let mut wanted: BTreeMap<(Table, &str), Vec<(&str, &RefusedLine)>> = BTreeMap::new();
    for line in lines(text) {
        let Some(refused) = refused.get(&line.number).copied() else { continue };
        let Some(chain) = line.chain() else { continue };
        wanted.entry((line.table, chain)).or_default().push((line.text, refused));
    }
    let mut found = Vec::new();
    for (index, change) in delta.changes.iter().enumerate() {
        let chains = change.key.chain().into_iter().chain(change.key.makes());
        for (table, chain) in chains {
            let name = chain.to_string();
            let Some(lines) = wanted.get(&(table, name.as_str())) else { continue };
            let texts: BTreeSet<String> = match change.after {
                Some(after) => rules(change.key, after).iter().map(|rule| rule.text(family)).collect(),
                None => BTreeSet::new(),
            };
            let is_its = |text: &str| text.splitn(3, ' ').nth(2).is_some_and(|rule| texts.contains(rule));
            if let Some((text, refused)) = lines.iter().find(|(text, _)| is_its(text)) {
                found.push(RefusedChange { change: index, reason: format!("{}: {text}", refused.reason) });
                break;
            }
        }
    }
    found
}

/// The parts of a text that are carried out as a whole or not.
pub(super) fn transactions(text: &str) -> Vec<&str> {
    let mut rest = text;
    let mut parts = Vec::new();
    while let Some(at) = rest.find("\nCOMMIT\n") {
        let (part, behind) = rest.split_at(at + "\nCOMMIT\n".len());
        parts.push(part);
        rest = behind;
    }
    parts
}

/// Answers whether one of the lines is behind the first transaction, which then is done.
pub(super) fn is_half_done(text: &str, refused: &[RefusedLine]) -> bool {
    refused.iter().any(|line| line.number > end_of_first(text))
}

/// The number of the line that ends the first transaction.
fn end_of_first(text: &str) -> usize {
    text.lines().position(|line| line == "COMMIT").map_or(usize::MAX, |at| at + 1)
}

/// Answers whether the lines are no rules, but the end of a table.
pub(super) fn names_no_rule(text: &str, refused: &[RefusedLine]) -> bool {
    refused
        .iter()
        .all(|line| text.lines().nth(line.number.saturating_sub(1)).is_none_or(|text| text == "COMMIT"))
}

/// Answers whether one of the lines is the removal of a chain.
pub(super) fn names_removal(text: &str, refused: &[RefusedLine]) -> bool {
    let is_refused = |line: &Line<'_>| refused.iter().any(|refused| refused.number == line.number);
    lines(text).any(|line| line.text.starts_with("-X ") && is_refused(&line))
}

/// Adds to refused rules the others of their form, if all of those are refused: of what cannot be read one line is named only.
pub(super) fn with_their_form(
    text: &str,
    mut refused: Vec<RefusedLine>,
    xtables: &mut impl Xtables,
) -> Result<Vec<RefusedLine>, Error> {
    let named: BTreeMap<usize, String> =
        refused.iter().map(|line| (line.number, line.reason.clone())).collect();
    let rules = || lines(text).filter(|line| line.text.starts_with("-A "));
    let mut forms: BTreeMap<(Table, String), (String, Vec<Line<'_>>)> = BTreeMap::new();
    for rule in rules() {
        if let Some(reason) = named.get(&rule.number) {
            forms.entry((rule.table, rule.form())).or_insert_with(|| (reason.clone(), Vec::new()));
        }
    }
    for rule in rules().filter(|rule| !named.contains_key(&rule.number)) {
        if let Some((_, others)) = forms.get_mut(&(rule.table, rule.form())) {
            others.push(rule);
        }
    }
    let mut trial = Trial { xtables, bad: BTreeMap::new() };
    for ((table, _), (reason, others)) in forms.into_iter().filter(|(_, (_, others))| !others.is_empty()) {
        let are_refused = trial.refuses_all(&others);
        trial.clear(table)?;
        if are_refused? {
            let line = |rule: &Line<'_>| RefusedLine { number: rule.number, reason: reason.clone() };
            refused.extend(others.iter().map(line));
        }
    }
    Ok(refused)
}

/// Finds the rules of a text's first transaction that are refused wherever they stand.
pub(super) fn bad_rules(text: &str, xtables: &mut impl Xtables) -> Result<Vec<RefusedLine>, Error> {
    let end = end_of_first(text);
    let first = lines(text).next().map(|line| line.table);
    let of_first = lines(text).take_while(|line| line.number < end);
    let rules: Vec<Line<'_>> = of_first.filter(|line| line.text.starts_with("-A ")).collect();
    let mut trial = Trial { xtables, bad: BTreeMap::new() };
    let result = trial.judge(&rules);
    let cleared = first.map_or(Ok(()), |table| trial.clear(table));
    result.and(cleared)?;
    Ok(trial.bad.into_iter().map(|(number, reason)| RefusedLine { number, reason }).collect())
}

struct Trial<'x, X> {
    xtables: &'x mut X,
    bad: BTreeMap<usize, String>,
}

impl<X: Xtables> Trial<'_, X> {
    fn judge(&mut self, rules: &[Line<'_>]) -> Result<(), Error> {
        let Some(first) = rules.first() else { return Ok(()) };
        // Who refuses even nothing refuses for another reason.
        if self.refuses(&[], first.table)?.is_some() || self.refuses(rules, first.table)?.is_none() {
            return Ok(());
        }
        let mut forms: BTreeMap<String, Vec<Line<'_>>> = BTreeMap::new();
        for rule in rules {
            forms.entry(rule.form()).or_default().push(*rule);
        }
        let one_of_each: Vec<Line<'_>> = forms.values().filter_map(|rules| rules.first()).copied().collect();
        self.search(&one_of_each)?;
        for (_, rules) in forms {
            let reason = rules.first().and_then(|rule| self.bad.get(&rule.number)).cloned();
            let Some((reason, others)) = reason.zip(rules.get(1..)) else { continue };
            if !others.is_empty() && self.refuses_all(others)? {
                self.bad.extend(rules.iter().map(|rule| (rule.number, reason.clone())));
            }
        }
        let rest: Vec<_> =
            rules.iter().filter(|rule| !self.bad.contains_key(&rule.number)).copied().collect();
        self.search(&rest)
    }

    /// Tries some of them alone: neighbours may be of one Service, and share what is wrong with it only.
    fn refuses_all(&mut self, rules: &[Line<'_>]) -> Result<bool, Error> {
        let some = [0, rules.len() / 2, rules.len().saturating_sub(1)];
        for rule in some.into_iter().collect::<BTreeSet<_>>().into_iter().filter_map(|at| rules.get(at)) {
            if self.refuses(&[*rule], rule.table)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Finds the bad ones among these.
    fn search(&mut self, rules: &[Line<'_>]) -> Result<(), Error> {
        let Some(first) = rules.first() else { return Ok(()) };
        match self.refuses(rules, first.table)? {
            Some(reason) => self.narrow(rules, reason),
            None => Ok(()),
        }
    }

    /// Finds the bad ones among these, of which at least one is.
    fn narrow(&mut self, rules: &[Line<'_>], reason: String) -> Result<(), Error> {
        if let [rule] = rules {
            self.bad.insert(rule.number, reason);
            return Ok(());
        }
        let (left, right) = rules.split_at(rules.len() / 2);
        match left.first().map(|first| self.refuses(left, first.table)).transpose()?.flatten() {
            Some(reason) => {
                self.narrow(left, reason)?;
                self.search(right)
            }
            None => self.narrow(right, reason),
        }
    }

    /// Tries these rules; answers why they are refused.
    fn refuses(&mut self, rules: &[Line<'_>], table: Table) -> Result<Option<String>, Error> {
        let mut text = format!("*{}\n:{TRIAL} - [0:0]\n", table.name());
        for rule in rules {
            text += &format!("-A {TRIAL} {}\n", rule.without_chains());
        }
        text += "COMMIT\n";
        match self.xtables.restore(&text) {
            Ok(()) => Ok(None),
            Err(RestoreError::Refused { lines, .. }) => {
                Ok(Some(lines.into_iter().next().map_or_else(|| "refused".to_owned(), |line| line.reason)))
            }
            Err(RestoreError::Failed(error)) => Err(error),
        }
    }

    fn clear(&mut self, table: Table) -> Result<(), Error> {
        let text = format!("*{}\n:{TRIAL} - [0:0]\n-X {TRIAL}\nCOMMIT\n", table.name());
        Ok(self.xtables.restore(&text)?)
    }
}

/// A line of a text.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    number: usize,
    table: Table,
    text: &'a str,
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut table = None;
    let lines = (1..).zip(text.lines()).map(move |(number, text)| {
        if let Some(name) = text.strip_prefix('*') {
            table = Table::BOTH.into_iter().find(|table| table.name() == name);
            return None;
        }
        table.map(|table| Line { number, table, text })
    });
    lines.flatten()
}

impl<'a> Line<'a> {
    fn chain(&self) -> Option<&'a str> {
        self.text.split(' ').nth(1)
    }

    /// The rule; where it leads on to a chain, it does nothing.
    fn without_chains(&self) -> &'a str {
        let rule = self.text.splitn(3, ' ').nth(2).unwrap_or_default();
        let leads_on = [" -j KUBE-", " -g KUBE-"].into_iter().filter_map(|jump| rule.rfind(jump)).max();
        let alone = rule.starts_with("-j KUBE-") || rule.starts_with("-g KUBE-");
        if alone { "" } else { leads_on.map_or(rule, |at| &rule[..at]) }
    }

    /// Its options, modules, protocols and targets, without what is different for each Service.
    fn form(&self) -> String {
        let mut before = "";
        let mut form = String::new();
        for word in self.without_chains().split(' ') {
            if word.starts_with('-') || matches!(before, "-m" | "-p" | "-j") {
                form.push_str(word);
                form.push(' ');
            }
            before = word;
        }
        form
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::iptables::{Host, Iptables};
    use sys::testing::in_new_network_namespace;

    /// `REJECT` is not for this table, which only the kernel says.
    #[test]
    fn the_kernel_says_which_rules_it_refuses() {
        let text = "*nat\n:KUBE-X - [0:0]\n-A KUBE-X -p tcp -m tcp --dport 1 -j KUBE-Y\n-A KUBE-X -p tcp -j REJECT\n-A KUBE-X -p udp -j RETURN\n\
            -A KUBE-X -p tcp -m tcp --dport 5 -j REJECT\n-A KUBE-X -j KUBE-Y\nCOMMIT\n";
        for family in Family::BOTH {
            for flavour in Iptables::installed(family) {
                in_new_network_namespace(move || {
                    let mut host = Host::with(family, flavour).unwrap();
                    let bad = bad_rules(text, &mut host).unwrap();
                    let numbers: Vec<usize> = bad.iter().map(|line| line.number).collect();
                    assert_eq!(numbers, [4, 6], "{bad:?}");
                    assert!(bad_rules(&text.replace("REJECT", "ACCEPT"), &mut host).unwrap().is_empty());
                    assert!(!host.save().unwrap().contains(TRIAL));
                });
            }
        }
    }

    #[test]
    fn rules_of_one_form_differ_by_what_is_of_a_service() {
        let form = |rule: &str| Line { number: 1, table: Table::Nat, text: rule }.form();
        let web = "-A KUBE-SVC-A -p sctp -m comment --comment \"a/b:c\" -m sctp --dport 80 -j DNAT --to-destination 10.0.0.1:80";
        assert_eq!(
            form(web),
            form(&web.replace("10.0.0.1:80", "10.0.0.2:81").replace("--dport 80", "--dport 90"))
        );
        assert_ne!(form(web), form(&web.replace("sctp", "tcp")));
        assert_eq!(form("-A KUBE-ADDRESSES -d 10.0.0.0/8 -g KUBE-IP-10.0.0.0-8"), "-d ");
        assert_eq!(form("-A KUBE-SERVICES -j KUBE-ADDRESSES"), "");
    }
}
