//! iptables mode with each installed flavour: everything at once, one change at a time, and what the rules cost new
//! connections, against nftables mode and straight to the pod.
//!
//! The floor of a write is the same text, restored once more by the host's program alone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use backend_iptables::{HAIRPIN, IptablesBackend};
use desired::Options;
use model::{Family, Manners};
use objects::Event;
use sys::ipset::Element;
use sys::iptables::{Host, Iptables, RestoreError, Xtables};
use testkit::world::OneNode;

use super::Size;
use super::cluster::{Agent, Cluster, options};
use super::figures::{median, ms, percentile};
use super::path::{self, CONNECTIONS, ROUNDS};
use super::sync::in_namespace;
use crate::sweep::Sweep;

/// How large the cluster is. Defaults are for minutes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Rules {
    /// Services
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Endpoints of each Service
    #[arg(long, default_value_t = 10)]
    endpoints: u32,
    /// Full syncs
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Single changes
    #[arg(long, default_value_t = 20)]
    changes: u32,
}

/// Runs the benchmark.
pub(super) fn run(rules: &Rules) -> Result<()> {
    crate::tools::require_tools()?;
    let size = Size { services: rules.services, endpoints: rules.endpoints, changes: rules.changes };
    println!("{} Services x {} endpoints, iptables mode, IPv4", size.services, size.endpoints);
    let flavours = Iptables::installed(Family::V4);
    for flavour in &flavours {
        println!("{}", name(flavour));
        writes(flavour, size, rules.rounds)?;
    }
    traffic(&flavours, size)
}

fn name(flavour: &Iptables) -> String {
    let program = flavour.name().file_name().map(Path::new).unwrap_or(flavour.name());
    program.display().to_string().replace("-save", "")
}

/// The options of a node agent in this mode.
fn manners() -> Options {
    let manners =
        Manners { guards_service_addresses: false, localhost_node_ports: true, drops_invalid: true };
    Options { manners, ..options() }
}

fn host(flavour: &Iptables) -> Result<Host> {
    Host::with(Family::V4, flavour.clone()).map_err(|error| anyhow!("failed to {error}"))
}

/// The host's programs, and the texts that they were given.
struct Kept {
    host: Host,
    texts: Vec<String>,
}

type Kernel = Agent<IptablesBackend<Kept>>;

fn agent(flavour: &Iptables) -> Result<Kernel> {
    let kept = Kept { host: host(flavour)?, texts: Vec::new() };
    Ok(Agent::new(IptablesBackend::new(Family::V4, kept), manners()))
}

fn take_texts(agent: &mut Kernel) -> Vec<String> {
    std::mem::take(&mut agent.driver.backend_mut().kernel_mut().xtables_mut().texts)
}

/// How long the program alone takes for these texts.
fn restored(flavour: &Iptables, texts: &[String]) -> Result<Duration> {
    let begin = Instant::now();
    for text in texts {
        flavour.restore(text).map_err(|error| anyhow!("failed to {error}"))?;
    }
    Ok(begin.elapsed())
}

#[derive(Default)]
struct Times {
    ours: Vec<Duration>,
    floor: Vec<Duration>,
    ratios: Vec<f64>,
}

impl Times {
    fn add(&mut self, ours: Duration, floor: Duration) {
        self.ours.push(ours);
        self.floor.push(floor);
        self.ratios.push(ours.as_secs_f64() / floor.as_secs_f64());
    }

    fn print(&mut self, what: &str) {
        let count = self.ours.len();
        let (half, most) = (percentile(&mut self.ours, 0.5), percentile(&mut self.ours, 1.0));
        println!(
            "  {what:<40} median {:>9}   at most {:>9}   the program alone {:>9}   ratio {:.2}   of {count}",
            ms(half),
            ms(most),
            ms(percentile(&mut self.floor, 0.5)),
            median(&mut self.ratios)
        );
    }
}

fn writes(flavour: &Iptables, size: Size, rounds: u32) -> Result<()> {
    let (mut full, mut changes) = (Times::default(), Times::default());
    for round in 0..rounds.max(1) {
        let (texts, took) = in_namespace(|| {
            let mut agent = agent(flavour)?;
            let touched = agent.apply(Cluster::new(size).events());
            let begin = Instant::now();
            agent.decide(&touched);
            agent.sync()?;
            let took = begin.elapsed();
            let texts = take_texts(&mut agent);
            if round == 0 {
                print_size(&texts, size);
                changes = single_changes(&mut agent, flavour, size)?;
                drop(agent);
                println!(
                    "  started again: what is there read, nothing written {:>9}",
                    ms(restart(flavour, size)?)
                );
            }
            Ok((texts, took))
        })?;
        let floor = in_namespace(|| {
            host(flavour)?.make_set(HAIRPIN).map_err(|error| anyhow!("failed to {error}"))?;
            restored(flavour, &texts)
        })?;
        full.add(took, floor);
    }
    full.print("full sync, from objects in memory");
    changes.print("one endpoint replaced");
    Ok(())
}

fn print_size(texts: &[String], size: Size) {
    let lines = |begin: &str| {
        texts.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with(begin)).count()
    };
    let per_service = |count: usize| count as f64 / f64::from(size.services.max(1));
    println!(
        "  {:.2} rules and {:.2} chains for each Service; {:.1} MB of text in {} transactions",
        per_service(lines("-A ")),
        per_service(lines(":")),
        texts.iter().map(String::len).sum::<usize>() as f64 / 1e6,
        lines("COMMIT")
    );
}

/// Each replaces one endpoint of another Service.
fn changed(cluster: &Cluster, size: Size) -> impl Iterator<Item = Event> {
    let one = move |change: u32| cluster.slice(change.wrapping_mul(7919) % size.services.max(1), 1 + change);
    (0..size.changes).map(one)
}

fn single_changes(agent: &mut Kernel, flavour: &Iptables, size: Size) -> Result<Times> {
    let mut times = Times::default();
    for event in changed(&Cluster::new(size), size) {
        let begin = Instant::now();
        let touched = agent.apply([event]);
        agent.decide(&touched);
        agent.sync()?;
        let took = begin.elapsed();
        times.add(took, restored(flavour, &take_texts(agent))?);
    }
    Ok(times)
}

/// New connections a second, straight to the pod and through the Service, of each mode.
type Round = Vec<(f64, f64)>;

/// Wants what the last of the changes left.
fn restart(flavour: &Iptables, size: Size) -> Result<Duration> {
    let mut agent = agent(flavour)?;
    let cluster = Cluster::new(size);
    let touched = agent.apply(cluster.events().chain(changed(&cluster, size)));
    let begin = Instant::now();
    agent.decide(&touched);
    agent.sync()?;
    let took = begin.elapsed();
    anyhow::ensure!(take_texts(&mut agent).is_empty(), "something was written again");
    Ok(took)
}

/// A node for each mode, all of them measured in turn.
fn traffic(flavours: &[Iptables], size: Size) -> Result<()> {
    let sweep = Sweep::begin("bench", false)?;
    let node = |number: usize| path::node(&format!("{}-{number}-", sweep.run()));
    let mut modes = vec![("nftables mode".to_owned(), node(0)?)];
    path::program(&modes[0].1, size, CONNECTIONS, (path::nftables, options()))?;
    for (number, flavour) in flavours.iter().enumerate() {
        let node = node(number + 1)?;
        let backend = || Ok(IptablesBackend::new(Family::V4, host(flavour)?));
        path::program(&node, size, CONNECTIONS, (backend, manners()))?;
        modes.push((name(flavour), node));
    }
    println!("new connections of a pod, medians of {} rounds", 2 * ROUNDS);
    // The first is for warming up.
    measured(&modes, size, true)?;
    let mut rounds = Vec::new();
    for round in 0..2 * ROUNDS {
        rounds.push(measured(&modes, size, round % 2 == 0)?);
    }
    for (at, (mode, _)) in modes.iter().enumerate() {
        let of = |value: &dyn Fn(&Round) -> f64| median(&mut rounds.iter().map(value).collect::<Vec<_>>());
        println!(
            "  {mode:<16} straight {:>7.0}/s   through a ClusterIP {:>7.0}/s   ratio {:.3}   against nftables mode {:.3}, straight {:.3}",
            of(&|round| round[at].0),
            of(&|round| round[at].1),
            of(&|round| round[at].1 / round[at].0),
            of(&|round| round[at].1 / round[0].1),
            of(&|round| round[at].0 / round[0].0)
        );
    }
    Ok(())
}

/// Straight and through, for each mode.
fn measured(modes: &[(String, OneNode)], size: Size, forwards: bool) -> Result<Round> {
    let each = |(mode, node): &(String, OneNode)| {
        path::new_connections(node, size, forwards).with_context(|| mode.clone())
    };
    if forwards {
        return modes.iter().map(each).collect();
    }
    let mut round: Round = modes.iter().rev().map(each).collect::<Result<_>>()?;
    round.reverse();
    Ok(round)
}

impl Xtables for Kept {
    fn save(&mut self) -> Result<String, sys::Error> {
        self.host.save()
    }

    fn restore(&mut self, text: &str) -> Result<(), RestoreError> {
        self.texts.push(text.to_owned());
        self.host.restore(text)
    }

    fn changes_single_rules(&self) -> bool {
        self.host.changes_single_rules()
    }

    fn entries(&mut self) -> Option<u32> {
        self.host.entries()
    }

    fn elements(&mut self, set: &str) -> Result<Option<Vec<Element>>, sys::Error> {
        self.host.elements(set)
    }

    fn make_set(&mut self, set: &str) -> Result<(), sys::Error> {
        self.host.make_set(set)
    }

    fn change_set(&mut self, set: &str, added: &[Element], removed: &[Element]) -> Result<(), sys::Error> {
        self.host.change_set(set, added, removed)
    }

    fn remove_set(&mut self, set: &str) -> Result<(), sys::Error> {
        self.host.remove_set(set)
    }

    fn counts(&self) -> bool {
        self.host.counts()
    }

    fn counters(&mut self) -> Result<Vec<String>, sys::Error> {
        self.host.counters()
    }

    fn make_counter(&mut self, name: &str) -> Result<(), sys::Error> {
        self.host.make_counter(name)
    }
}
