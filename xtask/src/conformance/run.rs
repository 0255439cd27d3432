//! One case after the other: objects, changes, traffic, cleaning up.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use testkit::cases::{Case, Probe, ProxyConfig, Step, Target};

use super::edit::{Objects, all_nodes};
use super::lab::{Lab, NODE_SETTLE};
use super::outcome::{Memory, Try, histogram};
use super::tool::{Hold, Probing};

/// How many probes are under way at a time.
const PARALLEL_PROBES: usize = 8;
/// How long the echo on an open flow may take.
const PING_LIMIT: Duration = Duration::from_millis(1500);

/// Runs cases in a laboratory.
pub(super) struct Runner {
    pub(super) lab: Lab,
    pub(super) objects: Objects,
    pub(super) flows: BTreeMap<String, Hold>,
    pub(super) memory: Memory,
    /// The configuration the proxies run with; `None` when they must be restarted on wiped nodes before the next case.
    pub(super) config: Option<ProxyConfig>,
    manner: Manner,
}

/// How cases are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Whether each case gets new proxies on wiped nodes.
    pub(super) fresh: bool,
    /// Whether to print the histogram of every probe.
    pub(super) verbose: bool,
}

/// Outcomes by label.
pub(super) type Outcomes = BTreeMap<String, Value>;

impl Runner {
    pub(super) fn new(lab: Lab, manner: Manner) -> Self {
        let (objects, memory) = (Objects::default(), Memory::default());
        Self { lab, objects, flows: BTreeMap::new(), memory, config: None, manner }
    }

    /// Runs a case, cleans up after it, and answers what was seen.
    pub(super) fn run(&mut self, case: &Case) -> Result<Outcomes> {
        let seen = self.run_steps(case);
        let cleaned = self.clean();
        if seen.is_err() || cleaned.is_err() || !self.lab.has_all_proxies() {
            self.config = None;
        }
        let seen = seen?;
        cleaned?;
        Ok(seen)
    }

    fn run_steps(&mut self, case: &Case) -> Result<Outcomes> {
        let must_restart = self.manner.fresh || case.fresh || self.config.as_ref() != Some(&case.config);
        if must_restart || !self.lab.has_all_proxies() {
            self.lab.stop_proxies(&all_nodes(), true);
            self.lab.wipe(&all_nodes())?;
            self.config = None;
        } else {
            self.lab.flush_flows()?;
        }
        self.objects.write_all(&self.lab, &case.objects)?;
        if self.config.is_none() {
            self.lab.start_proxies(&all_nodes(), Some(&case.config))?;
            self.config = Some(case.config.clone());
        }
        self.lab.converge()?;
        let mut seen = Outcomes::new();
        for step in &case.steps {
            self.step(step, &mut seen)?;
        }
        self.lab.check_proxies()?;
        Ok(seen)
    }

    fn step(&mut self, step: &Step, seen: &mut Outcomes) -> Result<()> {
        let background = self.start_background(step)?;
        let nodes_were_touched = self.objects.has_touched_nodes();
        let mut is_busy = false;
        for change in &step.change {
            is_busy |= self.change(change)?;
        }
        if step.converge && is_busy {
            self.lab.converge()?;
            if self.objects.has_touched_nodes() && !nodes_were_touched {
                std::thread::sleep(NODE_SETTLE);
            }
        }
        std::thread::sleep(step.wait);
        for (label, probe) in &step.open {
            let flow = Hold::open(&self.lab.tool, probe)?;
            let outcome = self.judge(label, probe, std::slice::from_ref(&flow.first))?;
            seen.insert(label.clone(), outcome);
            self.flows.insert(label.clone(), flow);
        }
        for (label, flow) in &step.check {
            let flow = self.flows.get_mut(flow).with_context(|| format!("{label}: no open flow {flow}"))?;
            let ping = flow.ping(PING_LIMIT)?;
            let client = Probe::plain(&flow.probe.from, Target::Packets(Vec::new()));
            seen.insert(label.clone(), self.judge(label, &client, &[ping])?);
        }
        self.probe(step, seen)?;
        for (label, probe, probing) in background {
            let tries = probing.finish()?;
            seen.insert(label.clone(), self.judge(label, probe, &tries)?);
        }
        Ok(())
    }

    fn start_background<'a>(&self, step: &'a Step) -> Result<Vec<(&'a String, &'a Probe, Probing)>> {
        let start = |(label, probe): &'a (String, Probe)| {
            let paced = Probe {
                interval: Some(probe.interval.unwrap_or(Duration::from_millis(10))),
                ..probe.clone()
            };
            Ok((label, probe, self.lab.tool.start_probe(&paced, probe.tries.unwrap_or(200))?))
        };
        step.background.iter().map(start).collect()
    }

    fn probe(&mut self, step: &Step, seen: &mut Outcomes) -> Result<()> {
        let most = self.objects.most_endpoints(&self.lab);
        let at_a_time = if step.serial { 1 } else { PARALLEL_PROBES };
        for group in step.probe.chunks(at_a_time) {
            let lab = &self.lab;
            let answers: Vec<Result<Answers>> = std::thread::scope(|scope| {
                let send = |probe| scope.spawn(move || send(lab, probe, most));
                let threads: Vec<_> = group.iter().map(|(_, probe)| send(probe)).collect();
                threads
                    .into_iter()
                    .map(|t| t.join().unwrap_or_else(|_| bail!("a probe's thread died")))
                    .collect()
            });
            for ((label, probe), answers) in group.iter().zip(answers) {
                let outcome = match answers.with_context(|| label.clone())? {
                    Answers::Tries(tries) => self.judge(label, probe, &tries)?,
                    Answers::Http(outcome) => outcome,
                };
                seen.insert(label.clone(), outcome);
            }
        }
        Ok(())
    }

    fn judge(&mut self, label: &str, probe: &Probe, tries: &[Try]) -> Result<Value> {
        if self.manner.verbose {
            println!("      {label}: {}", histogram(&self.lab.plan, tries));
        }
        self.memory.judge(&self.lab.plan, label, (probe, tries))
    }

    /// Removes the case's objects and flows and puts the Nodes back.
    fn clean(&mut self) -> Result<()> {
        self.flows.clear();
        self.memory = Memory::default();
        self.lab.start_api_server()?;
        self.objects.remove_all(&self.lab)
    }
}

enum Answers {
    Tries(Vec<Try>),
    Http(Value),
}

fn send(lab: &Lab, probe: &Probe, most: usize) -> Result<Answers> {
    if let Target::Http { address, path } = &probe.target {
        return Ok(Answers::Http(lab.tool.http(&probe.from, address, path)?.outcome()));
    }
    let tries = lab.tool.start_probe(probe, probe.tries_with(most))?.finish()?;
    Ok(Answers::Tries(tries))
}
