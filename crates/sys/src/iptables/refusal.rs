//! What `iptables-restore` refused, by what it said.
//!
//! Both flavours name the line of what they cannot read. What the kernel refuses the nft flavour names by its line, too; the
//! legacy flavour writes a table as a whole and names the line of its `COMMIT`.

/// Signs that nothing is wrong with the text: it may be taken another time.
const FOR_NOW: [&str; 8] = [
    "xtables lock",
    "Cannot allocate memory",
    "No buffer space",
    "Resource temporarily unavailable",
    "Permission denied",
    "Operation not permitted",
    "can't initialize",
    "generation id",
];

/// A line that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLine {
    /// Counted from 1.
    pub number: usize,
    /// Why, without the number.
    pub reason: String,
}

/// Answers the lines that were refused; none: it did not say which. `None`: nothing was refused, but it could not be done.
pub(super) fn refused_lines(code: Option<i32>, stderr: &str) -> Option<Vec<RefusedLine>> {
    let code = code?;
    if FOR_NOW.iter().any(|sign| stderr.contains(sign)) {
        return None;
    }
    let lines: Vec<RefusedLine> = stderr.lines().filter_map(|said| line(said, stderr)).collect();
    // 1: the kernel; 2: the text; 4 of the nft flavour: the kernel, for a line.
    (matches!(code, 1 | 2) || code == 4 && !lines.is_empty()).then_some(lines)
}

fn line(said: &str, all: &str) -> Option<RefusedLine> {
    let begins = |text: &str| said.strip_prefix(text);
    let named = begins("Error occurred at line: ").or_else(|| begins("line "));
    let named = named.or_else(|| said.split_once("-restore: line ").map(|(_, rest)| rest))?;
    let end = named.find(|c: char| !c.is_ascii_digit()).unwrap_or(named.len());
    let (number, rest) = named.split_at(end);
    let reason = match rest.trim_start_matches([':', ' ']) {
        "" => what_is_wrong(all),
        reason => reason.to_owned(),
    };
    Some(RefusedLine { number: number.parse().ok()?, reason })
}

/// What stands before `Error occurred at line`, without the name and version of the program.
fn what_is_wrong(all: &str) -> String {
    let before = all.split("Error occurred at line").next().unwrap_or_default();
    let before = before.split_once("): ").map_or(before, |(_, rest)| rest);
    before.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of iptables 1.8.9.
    #[test]
    fn lines_are_found_in_what_both_flavours_say() {
        let check = |code: i32, stderr: &str, wanted: Option<&[(usize, &str)]>| {
            let found = refused_lines(Some(code), stderr);
            let found =
                found.as_ref().map(|lines| lines.iter().map(|line| (line.number, line.reason.as_str())));
            assert_eq!(found.map(Iterator::collect::<Vec<_>>).as_deref(), wanted, "{stderr}");
        };
        let unreadable = "iptables-restore v1.8.9 (legacy): Couldn't load match `bogus':No such file or directory\n\n\
            Error occurred at line: 7\nTry `iptables-restore -h' or 'iptables-restore --help' for more information.\n";
        check(2, unreadable, Some(&[(7, "Couldn't load match `bogus':No such file or directory")]));
        check(1, "iptables-restore: line 5 failed\n", Some(&[(5, "failed")]));
        check(
            1,
            "iptables-restore: line 5 failed: Invalid argument.\n",
            Some(&[(5, "failed: Invalid argument.")]),
        );
        let by_kernel = "iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (Invalid argument): rule in chain KUBE-X\n\
            line 14: RULE_APPEND failed (No such file or directory): rule in chain KUBE-Y\n";
        let wanted = [
            (3, "RULE_APPEND failed (Invalid argument): rule in chain KUBE-X"),
            (14, "RULE_APPEND failed (No such file or directory): rule in chain KUBE-Y"),
        ];
        check(4, by_kernel, Some(&wanted));
        check(1, "iptables-restore: ", Some(&[]));
        let lock = "Another app is currently holding the xtables lock; still 1s 0us time ahead to have a chance to grab the lock...\n";
        check(4, lock, None);
        check(
            4,
            "iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied\n",
            None,
        );
        check(4, "line 9: RULE_APPEND failed (Cannot allocate memory): rule in chain KUBE-X\n", None);
        check(
            3,
            "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nat'\n",
            None,
        );
        assert_eq!(refused_lines(None, "iptables-restore: line 5 failed\n"), None, "it was killed");
        // A comment of somebody's says nothing.
        check(2, "Bad argument `line 4'\nError occurred at line: 6\n", Some(&[(6, "Bad argument `line 4'")]));
    }
}
