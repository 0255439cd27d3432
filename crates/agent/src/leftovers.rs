//! What a kube-proxy in another mode left behind: its chains in iptables, of both flavours. They would catch packets
//! before our rules do.
//!
//! Chains that kubelet or network plugins own are left alone; what they use of kube-proxy's stays, empty.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use model::Family;
use sys::Error;
use sys::iptables::Iptables;
use tracing::{debug, info, warn};

use crate::localnet;

/// kube-proxy's chains with fixed names, in iptables and IPVS mode.
const CHAINS: [&str; 13] = [
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FORWARD",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
    "KUBE-LOAD-BALANCER",
    "KUBE-MARK-MASQ",
    "KUBE-NODE-PORT",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-PROXY-CANARY",
    "KUBE-PROXY-FIREWALL",
    "KUBE-SERVICES",
    "KUBE-SOURCE-RANGES-FIREWALL",
];
/// How the names of its chains for Services and endpoints begin.
const PREFIXES: [&str; 6] = ["KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-XLB-"];
/// The kernel's own chains.
const BUILT_IN: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// How long after somebody's lock was waited for in vain it is asked for again.
const AGAIN: Duration = Duration::from_secs(2);

/// What is to be removed because this process works in another mode.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Leftovers {
    /// The chains of iptables, of both flavours.
    #[default]
    Chains,
    /// The tables of nftables, kube-proxy's and ours, and chains of other flavours than these, which we use.
    AllBut(Vec<Iptables>),
}

/// What of a flavour's is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Its chains, and the way to loopback that they guard.
    Everything,
    /// Its chains: those of another flavour guard that way.
    Chains,
    /// Its chains in tables that we do not use, where kube-proxy's canary is, too.
    Elsewhere,
}

/// Removes those of some families in a thread of its own, since it may have to wait for a lock; what was done is logged.
pub(crate) fn remove_in_background(leftovers: &Leftovers, families: Vec<Family>) {
    if families.is_empty() {
        return;
    }
    let leftovers = leftovers.clone();
    let run = move || match leftovers {
        Leftovers::Chains => {
            remove_patiently(unused(&families, &[]).map(|flavour| (flavour, Part::Everything)).collect());
            if let Err(error) = crate::cleanup_ipsets() {
                // Most kernels that lack them never had any.
                debug!(%error, "no ipset of iptables mode was removed");
            }
        }
        Leftovers::AllBut(used) => {
            remove_tables(&families);
            let others = unused(&families, &used).map(|flavour| (flavour, Part::Chains));
            let of_families = used.iter().filter(|flavour| families.contains(&flavour.family()));
            remove_patiently(
                others.chain(of_families.map(|flavour| (flavour.clone(), Part::Elsewhere))).collect(),
            );
        }
    };
    if let Err(error) = thread::Builder::new().name("leftovers".to_owned()).spawn(run) {
        warn!(%error, "kube-proxy's chains of another mode are not looked for");
    }
}

fn remove_tables(families: &[Family]) {
    for removed in [crate::kernel::cleanup_of(families), crate::kernel::cleanup_kube_proxy_of(families)] {
        match removed {
            Ok(families) if families.is_empty() => {}
            Ok(_) => info!("removed the nftables table of another mode"),
            Err(error) => {
                warn!(%error, "a table of nftables mode may still be there, and catch packets before our rules do");
            }
        }
    }
}

/// Waits for whoever holds the lock, however long that takes.
fn remove_patiently(mut flavours: Vec<(Iptables, Part)>) {
    let mut is_first = true;
    while !flavours.is_empty() {
        flavours.retain(|(flavour, part)| match remove_of(flavour, *part) {
            Ok(None) => false,
            Ok(Some((program, chains))) => {
                info!(program, chains, "removed kube-proxy's chains of another mode");
                false
            }
            Err(error) => {
                let is_busy = matches!(error, Error::Busy { .. });
                if is_first || !is_busy {
                    warn!(%error, again = is_busy, "kube-proxy's chains of another mode may still be there, and catch packets before our rules do");
                }
                is_busy
            }
        });
        is_first = false;
        if !flavours.is_empty() {
            thread::sleep(AGAIN);
        }
    }
}

/// Removes them. Answers, for each flavour that had some, the program that listed them and how many there were.
pub fn remove() -> Vec<Result<(String, usize), Error>> {
    let all = unused(&Family::BOTH, &[]);
    all.filter_map(|iptables| remove_of(&iptables, Part::Everything).transpose()).collect()
}

/// Removes the chains of our own iptables mode, in flavours that have them. Answers as [`remove`] does.
pub fn remove_own_chains() -> Vec<Result<(String, usize), Error>> {
    let is_own =
        |flavour: &Iptables| flavour.save().is_ok_and(|saved| backend_iptables::is_of_signalbox(&saved));
    let own = unused(&Family::BOTH, &[]).filter(is_own);
    own.filter_map(|iptables| remove_of(&iptables, Part::Everything).transpose()).collect()
}

/// The installed flavours that are none of these.
fn unused(families: &[Family], used: &[Iptables]) -> impl Iterator<Item = Iptables> {
    let installed = families.iter().flat_map(|family| Iptables::installed(*family));
    installed.filter(|flavour| !used.iter().any(|used| used.is_same(flavour)))
}

fn remove_of(iptables: &Iptables, part: Part) -> Result<Option<(String, usize)>, Error> {
    let saved = iptables.save()?;
    let Removal { text, chains } = removal(&saved, |table| part != Part::Elsewhere || !is_of_rules(table));
    if chains == 0 {
        return Ok(None);
    }
    if part == Part::Everything && iptables.family() == Family::V4 && guards_loopback(&saved) {
        localnet::end();
    }
    iptables.restore(&text)?;
    Ok(Some((iptables.name().display().to_string(), chains)))
}

/// Answers whether the rule is there that iptables mode has wherever the way to loopback may be open.
fn guards_loopback(saved: &str) -> bool {
    saved.contains("\n-A KUBE-LOCALNET ")
}

/// What `iptables-restore --noflush` must be told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Removal {
    text: String,
    chains: usize,
}

/// Answers whether a table is one of those that we write.
fn is_of_rules(table: &str) -> bool {
    matches!(table, "nat" | "filter")
}

fn removal(saved: &str, in_table: impl Fn(&str) -> bool) -> Removal {
    let mut removal = Removal::default();
    let mut table: Vec<&str> = Vec::new();
    for line in saved.lines() {
        if line.starts_with('*') {
            table.clear();
        }
        table.push(line);
        let is_wanted = || table.first().is_some_and(|head| in_table(head.trim_start_matches('*')));
        if line == "COMMIT" && is_wanted() {
            removal.add(&table);
        }
    }
    removal
}

impl Removal {
    fn add(&mut self, table: &[&str]) {
        let chains: BTreeSet<&str> =
            table.iter().filter_map(|line| chain(line)).filter(|name| is_kube_proxys(name)).collect();
        let Some(head) = table.first().filter(|_| !chains.is_empty()) else { return };
        let (mut jumps, mut used) = (Vec::new(), BTreeSet::new());
        for (of, rule, target) in table.iter().filter_map(|line| jump(line)) {
            if chains.contains(of) || !chains.contains(target) {
                continue;
            }
            if BUILT_IN.contains(&of) {
                jumps.push(format!("-D {of} {rule}\n"));
            } else {
                used.insert(target);
            }
        }
        let emptied = chains.iter().map(|name| format!(":{name} - [0:0]\n"));
        let deleted = chains.difference(&used).map(|name| format!("-X {name}\n"));
        self.text += &format!(
            "{head}\n{}{}{}COMMIT\n",
            emptied.collect::<String>(),
            jumps.concat(),
            deleted.collect::<String>()
        );
        self.chains += chains.len();
    }
}

/// The chain that a line such as `:KUBE-SERVICES - [0:0]` declares.
fn chain(line: &str) -> Option<&str> {
    line.strip_prefix(':')?.split(' ').next()
}

/// Chain, rest and target of a rule such as `-A OUTPUT -m comment --comment "a b" -j KUBE-SERVICES`.
fn jump(line: &str) -> Option<(&str, &str, &str)> {
    let (of, rule) = line.strip_prefix("-A ")?.split_once(' ')?;
    // Texts in quotation marks may hold anything; in them, and only there, a backslash stands before a quotation mark.
    let mut is_quoted = false;
    let mut words = rule.split(' ').filter(|word| {
        let was_quoted = is_quoted;
        is_quoted ^= word.replace("\\\"", "").matches('"').count() % 2 == 1;
        !was_quoted && !is_quoted
    });
    words.find(|word| matches!(*word, "-j" | "-g"))?;
    Some((of, rule, words.next()?))
}

/// Or ours, in iptables mode.
fn is_kube_proxys(chain: &str) -> bool {
    CHAINS.contains(&chain)
        || PREFIXES.iter().any(|prefix| chain.starts_with(prefix))
        || backend_iptables::is_ours(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kube_proxys_chains_go() {
        let saved = "# Generated\n*nat\n:PREROUTING ACCEPT [1:2]\n:CNI-X - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n\
            :KUBE-SERVICES - [0:0]\n:KUBE-SVC-ABC - [0:0]\n\
            -A PREROUTING -m comment --comment \"kubernetes -j portals\" -j KUBE-SERVICES\n-A PREROUTING -j CNI-X\n\
            -A CNI-X -j KUBE-MARK-MASQ\n-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-ABC\n-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n\
            COMMIT\n*filter\n:FORWARD ACCEPT [0:0]\n:KUBE-FIREWALL - [0:0]\n-A FORWARD -j KUBE-FIREWALL\nCOMMIT\n";
        let wanted = "*nat\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-ABC - [0:0]\n\
            -D PREROUTING -m comment --comment \"kubernetes -j portals\" -j KUBE-SERVICES\n\
            -X KUBE-SERVICES\n-X KUBE-SVC-ABC\nCOMMIT\n";
        let removal = |saved: &str| removal(saved, |_| true);
        assert_eq!(removal(saved), Removal { text: wanted.to_owned(), chains: 3 });
        let foreign = "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-FORWARD - [0:0]\n-A INPUT -j LOG --log-prefix \"oops -j KUBE-FORWARD \"\nCOMMIT\n";
        assert_eq!(removal(foreign).text, "*filter\n:KUBE-FORWARD - [0:0]\n-X KUBE-FORWARD\nCOMMIT\n");
        let quoted = "-A X -m comment --comment \"a \\\" -j B c\" -j C";
        assert_eq!(jump(quoted).map(|(_, _, target)| target), Some("C"));
        assert_eq!(removal("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"), Removal::default());
    }

    #[test]
    fn canaries_of_kubelet_stay_and_tables_in_use_are_left_alone() {
        let table = |name: &str| {
            format!(
                "*{name}\n:KUBE-PROXY-CANARY - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"
            )
        };
        let saved = ["mangle", "nat", "filter"].map(table).concat();
        let wanted = "*mangle\n:KUBE-PROXY-CANARY - [0:0]\n-X KUBE-PROXY-CANARY\nCOMMIT\n";
        assert_eq!(
            removal(&saved, |table| !is_of_rules(table)),
            Removal { text: wanted.to_owned(), chains: 1 }
        );
        assert_eq!(removal(&saved, |_| true).text.matches("-X KUBE-PROXY-CANARY").count(), 3);
    }
}
