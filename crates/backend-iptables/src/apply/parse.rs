//! From a line of `iptables-save` to a rule: exactly what we write, and nothing else.

use model::{Family, IpNet, Protocol};

use crate::names::{Chain, Hash, Spot, Table, Tree};
use crate::rule::{Counter, Match, Rule, Target};

/// Where a rule stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    pub(super) family: Family,
    pub(super) table: Table,
    /// The tree whose chain it is in.
    pub(super) tree: Option<Tree>,
}

/// Reads a rule without its chain; `None`: we would not write that.
pub(super) fn rule(text: &str, scene: Scene) -> Option<Rule> {
    let mut words = Words { rest: text };
    let mut matches = Vec::new();
    let mut is = true;
    loop {
        let Some(word) = words.next() else {
            break finish(matches, Target::Nothing, (text, scene));
        };
        let question = match word {
            "!" => {
                is = false;
                continue;
            }
            "-s" => Match::Source(words.net()?, is),
            "-d" => Match::Destination(words.net()?, is),
            "-i" => Match::Interface(words.next()?.to_owned(), is),
            "-p" => Match::Protocol(protocol(words.next()?)?),
            "-m" => {
                let module = words.next()?;
                module_match(module, &mut words)?
            }
            "-j" => break finish(matches, jump(&mut words, scene)?, (text, scene)),
            "-g" => {
                let spot = spot(&matches)?;
                let chain = Chain::Branch(scene.tree?, spot);
                break finish(matches, Target::Goto(chain), (text, scene));
            }
            _ => return None,
        };
        matches.push(question);
        is = true;
    }
}

/// What was understood must be the whole text.
fn finish(matches: Vec<Match>, target: Target, (text, scene): (&str, Scene)) -> Option<Rule> {
    let rule = Rule { matches, target };
    (rule.text(scene.family) == text).then_some(rule)
}

fn protocol(word: &str) -> Option<Protocol> {
    Protocol::ALL.into_iter().find(|protocol| protocol.to_string() == word)
}

fn module_match(module: &str, words: &mut Words<'_>) -> Option<Match> {
    const STATES: [&str; 5] = ["NEW", "DNAT", "INVALID", "RELATED,ESTABLISHED", "RELATED,ESTABLISHED,DNAT"];
    let mut option = words.next()?;
    let is = option != "!";
    if !is {
        option = words.next()?;
    }
    match (module, option) {
        ("comment", "--comment") => Some(Match::Comment(words.quoted()?.into())),
        ("conntrack", "--ctstate") => {
            let found = words.next()?;
            Some(Match::State(STATES.into_iter().find(|states| *states == found)?, is))
        }
        ("conntrack", "--ctorigdst") => words.net().map(Match::FirstDestination),
        ("nfacct", "--nfacct-name") => {
            let found = words.nth(1)?;
            Counter::ALL.into_iter().find(|counter| counter.name() == found).map(Match::Counted)
        }
        ("addrtype", "--src-type") => words.next().map(|_| Match::SourceLocal),
        ("addrtype", "--dst-type") => words.next().map(|_| Match::DestinationLocal),
        ("mark", "--mark") => Some(Match::Mark(hexadecimal(words.next()?)?, is)),
        ("statistic", "--mode") => {
            let chance: f64 = words.nth(2)?.parse().ok()?;
            Some(Match::OneIn((1.0 / chance).round() as u32))
        }
        ("set", "--match-set") => words.nth(1).map(|_| Match::Hairpin),
        ("recent", "--update") => {
            let seconds = words.nth(1)?.parse().ok()?;
            let list = words.nth(2)?.into();
            words.nth(2).map(|_| Match::Known(list, seconds))
        }
        ("recent", "--set") => {
            let list = words.nth(1)?.into();
            words.nth(2).map(|_| Match::Remember(list))
        }
        (module, "--dport") => {
            let ports = words.next()?;
            let (first, last) = ports.split_once(':').unwrap_or((ports, ports));
            Some(Match::Port(protocol(module)?, first.parse().ok()?, last.parse().ok()?))
        }
        _ => None,
    }
}

/// The part of a mark such as `0x4000/0x4000` before the slash.
fn hexadecimal(word: &str) -> Option<u32> {
    u32::from_str_radix(word.split('/').next()?.strip_prefix("0x")?, 16).ok()
}

fn jump(words: &mut Words<'_>, scene: Scene) -> Option<Target> {
    let name = words.next()?;
    Some(match name {
        "ACCEPT" => Target::Accept,
        "DROP" => Target::Drop,
        "RETURN" => Target::Return,
        "REJECT" => Target::Reject,
        "MASQUERADE" => Target::Masquerade,
        "DNAT" => {
            let socket: std::net::SocketAddr = words.nth(1)?.parse().ok()?;
            Target::Dnat(model::Endpoint { address: socket.ip(), port: socket.port() })
        }
        "MARK" => {
            let value = words.nth(1)?;
            let bits = hexadecimal(value)?;
            if value.ends_with("/0x0") { Target::MarkXor(bits) } else { Target::MarkOr(bits) }
        }
        name => Target::Jump(chain(name, scene.table)?),
    })
}

/// The chain of this name, branches of trees aside.
pub(super) fn chain(name: &str, table: Table) -> Option<Chain> {
    let fixed = [
        (Table::Nat, Chain::Services),
        (Table::Nat, Chain::Postrouting),
        (Table::Nat, Chain::MarkMasq),
        (Table::Nat, Chain::MarkCluster),
        (Table::Filter, Chain::Services),
        (Table::Filter, Chain::ExternalServices),
        (Table::Filter, Chain::HealthPorts),
        (Table::Filter, Chain::Forward),
        (Table::Filter, Chain::Localnet),
    ];
    let roots = Tree::ALL.map(|tree| (tree.table(), Chain::Branch(tree, Spot::Root)));
    let mut known = fixed.into_iter().chain(roots);
    if let Some((_, chain)) = known.find(|(of, chain)| *of == table && chain.to_string() == name) {
        return Some(chain);
    }
    let hashed = |prefix: &str| name.strip_prefix(prefix).and_then(Hash::read);
    match table {
        Table::Nat => hashed("KUBE-SVC-")
            .map(Chain::Service)
            .or_else(|| hashed("KUBE-SVL-").map(Chain::Local))
            .or_else(|| hashed("KUBE-EXT-").map(Chain::External))
            .or_else(|| hashed("KUBE-FW-").map(Chain::Ranges)),
        Table::Filter => hashed("KUBE-FW-").map(Chain::Ranges),
    }
}

/// Where a rule with these questions leads in its tree.
fn spot(matches: &[Match]) -> Option<Spot> {
    match matches {
        [Match::Destination(net, true)] => Some(Spot::Net(*net)),
        [Match::Protocol(protocol), Match::Port(_, first, last)] => {
            let width = last.checked_sub(*first)?;
            Some(Spot::Ports(*protocol, *first, width.leading_zeros() as u8))
        }
        _ => None,
    }
}

/// Words between blanks, and texts in quotation marks.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (word, rest) = self.rest.split_once(' ').unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(word)
    }
}

impl<'a> Words<'a> {
    fn net(&mut self) -> Option<IpNet> {
        self.next()?.parse().ok()
    }

    /// We write no text with a quotation mark in it.
    fn quoted(&mut self) -> Option<&'a str> {
        let (text, rest) = self.rest.strip_prefix('"')?.split_once('"')?;
        self.rest = rest.strip_prefix(' ').unwrap_or(rest);
        Some(text)
    }
}
