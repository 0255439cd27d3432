//! Notices when somebody else takes something from our chains, as `iptables -F` and restarts of firewalls do.
//!
//! The kernel tells what happens to the tables of the nft flavour, chain by chain. Of the legacy flavour it only says how large
//! the tables are: when that is another without our writing, they are listed, and when what concerns us is another than when
//! they were listed last, or we have written since, the agent is told to read them back. What it does *not* notice there: a
//! rule that was replaced by another of the same size.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use backend_iptables::{digest, is_ours};
use model::Family;
use sys::Error;
use sys::iptables::{Iptables, OwnWrite, State, Tables};
use sys::nftables::{ChainEvent, ChainMonitor, Happened};
use tokio::sync::mpsc::Sender;
use tracing::debug;

use crate::Event;
use crate::kernel::{ATTEMPTS, UNTIL_COUNTED};

/// Half of what a change may go unnoticed for.
const LOOK: Duration = Duration::from_millis(500);
/// Which part of the time tables may be listed, and how much of it may be saved up.
const SHARE: f64 = 0.1;
const SAVED_UP: f64 = 2.0;

/// What a guard watches.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The programs whose tables hold our chains.
    pub(crate) programs: Vec<Iptables>,
    /// What we write ourselves.
    pub(crate) writes: Receiver<(Family, OwnWrite)>,
    /// How many transactions of nftables other parts of this process did.
    pub(crate) others: Arc<AtomicU32>,
}

/// Listens until nobody takes the events any more. `is_again`: nobody listened for a while, and anything may have happened.
pub(crate) fn listen(watched: &Watched, events: &Sender<Event>, is_again: bool) -> Result<(), Error> {
    let Watched { programs, writes, others } = watched;
    let (legacy, nft): (Vec<_>, Vec<_>) = programs.iter().cloned().partition(Iptables::is_legacy);
    let mut sizes = legacy.into_iter().map(Sizes::open).collect::<Result<Vec<_>, _>>()?;
    let families: Vec<Family> = nft.iter().map(Iptables::family).collect();
    let mut chains = nft.first().map(|program| Notified::open(program, families)).transpose()?;
    let mut is_new = true;
    while !events.is_closed() {
        match &chains {
            // Nothing happens there for hours, and without legacy tables nothing is to be looked at either.
            Some(chains) if !is_new => {
                let time = if sizes.is_empty() { Duration::from_secs(3600) } else { LOOK };
                chains.monitor.wait(time)?;
            }
            Some(_) => {}
            None => std::thread::sleep(LOOK),
        }
        let mut changed = BTreeSet::new();
        let states: Vec<State> = sizes.iter_mut().map(Sizes::state).collect::<Result<_, _>>()?;
        let done = told(writes, &mut sizes);
        if let Some(chains) = &mut chains {
            let lost = chains.take(done, is_new.then_some(others))?;
            // A process says that it begins before it does anything.
            let begun = told(writes, &mut sizes);
            changed.extend(chains.damaged(begun, lost || (is_new && is_again)));
        }
        for (sizes, state) in sizes.iter_mut().zip(states) {
            changed.extend(sizes.look(state, &Instant::now).then(|| sizes.program.family()));
        }
        is_new = false;
        for family in changed {
            // The loop may be busy with a long write; there is no hurry.
            if events.blocking_send(Event::KernelChanged(family)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Takes what our back ends told; answers what is of the nft flavour.
fn told(writes: &Receiver<(Family, OwnWrite)>, sizes: &mut [Sizes]) -> Vec<OwnWrite> {
    let mut rest = Vec::new();
    for (family, write) in writes.try_iter() {
        match sizes.iter_mut().find(|sizes| sizes.program.family() == family) {
            Some(sizes) => sizes.take(write),
            None => rest.push(write),
        }
    }
    rest
}

/// Tables of the nft flavour.
struct Notified {
    monitor: ChainMonitor,
    tables: Tables,
    judge: Judge,
    /// What harms our chains, and through which port it was done.
    harm: Vec<(Family, u32)>,
    /// Processes whose doings are all among the notifications that were taken.
    over: BTreeSet<u32>,
}

impl Notified {
    fn open(program: &Iptables, families: Vec<Family>) -> Result<Self, Error> {
        Ok(Self {
            monitor: ChainMonitor::open()?,
            tables: Tables::open(program)?,
            judge: Judge { families, ..Judge::default() },
            harm: Vec::new(),
            over: BTreeSet::new(),
        })
    }

    /// Takes notifications; answers whether some were missed. The first time, nobody has told what was done until now, and it is
    /// said how many transactions other parts of this process did.
    fn take(&mut self, writes: Vec<OwnWrite>, others: Option<&Arc<AtomicU32>>) -> Result<bool, Error> {
        let missed = match others {
            Some(others) => {
                let now = self.tables.state()?;
                let are_known = || are_all(&writes, &now, others.load(Ordering::Acquire));
                !(0..ATTEMPTS).any(|attempt| {
                    if attempt > 0 {
                        std::thread::sleep(UNTIL_COUNTED);
                    }
                    are_known()
                })
            }
            None => false,
        };
        self.judge.take(writes);
        self.over = std::mem::take(&mut self.judge.ended);
        let Self { monitor, judge, harm, .. } = self;
        let lost =
            monitor.take(&mut |happened| harm.extend(judge.harm(&happened).map(|of| (of, happened.port))))?;
        Ok(missed || lost)
    }

    /// Answers of which families somebody else has harmed chains of ours.
    fn damaged(&mut self, writes: Vec<OwnWrite>, lost: bool) -> Vec<Family> {
        self.judge.take(writes);
        let own = &self.judge.own;
        let found = self.harm.drain(..).filter(|(_, port)| !own.contains(port)).map(|(family, _)| family);
        let found = if lost { self.judge.families.clone() } else { found.collect() };
        self.judge.own.retain(|process| !self.over.contains(process));
        found
    }
}

/// Answers whether nobody else wrote since the first of these; so many transactions may be of other parts of this process.
fn are_all(writes: &[OwnWrite], now: &State, mut others: u32) -> bool {
    let mut is_after = |before: &State, after: &State, tables: u32| {
        let (State::Generation(from), State::Generation(to)) = (before, after) else {
            return tables == 0 && before == after;
        };
        let Some(rest) = others.checked_sub(to.wrapping_sub(*from).wrapping_sub(tables)) else {
            return false;
        };
        others = rest;
        true
    };
    let mut expected: Option<&State> = None;
    for write in writes {
        let (found, then) = match write {
            OwnWrite::Begins { .. } => continue,
            OwnWrite::Lists(state) => (state, state),
            OwnWrite::Ended { tables, before, after, .. } if is_after(before, after, *tables) => {
                (before, after)
            }
            OwnWrite::Ended { .. } => return false,
        };
        if expected.is_some_and(|expected| !is_after(expected, found, 0)) {
            return false;
        }
        expected = Some(then);
    }
    expected.is_none_or(|expected| is_after(expected, now, 0))
}

/// Tells harm from what does not concern us.
#[derive(Debug, Default)]
struct Judge {
    families: Vec<Family>,
    /// Processes of ours that may have written something of which we have not heard yet.
    own: BTreeSet<u32>,
    /// Those of them that have ended.
    ended: BTreeSet<u32>,
}

impl Judge {
    fn take(&mut self, writes: Vec<OwnWrite>) {
        for write in writes {
            match write {
                OwnWrite::Lists(_) => {}
                OwnWrite::Begins { process } => {
                    self.own.insert(process);
                    self.ended.remove(&process);
                }
                OwnWrite::Ended { process, .. } => {
                    self.ended.insert(process);
                }
            }
        }
    }

    /// Answers the family, when something was taken from our chains or put into them.
    fn harm(&self, happened: &Happened<'_>) -> Option<Family> {
        let is_here = self.families.contains(&happened.family) && matches!(happened.table, "nat" | "filter");
        let harms = match happened.event {
            ChainEvent::TableDeleted => true,
            ChainEvent::ChainDeleted(chain) | ChainEvent::RuleAdded(chain) => is_ours(chain),
            ChainEvent::RuleDeleted { from, leads_to } => is_ours(from) || leads_to.is_some_and(is_ours),
        };
        (is_here && harms).then_some(happened.family)
    }
}

/// Tables of the legacy flavour.
struct Sizes {
    program: Iptables,
    tables: Tables,
    /// As they were last.
    seen: Option<State>,
    is_writing: bool,
    /// Somebody else wrote since they were listed.
    is_suspect: bool,
    allowance: Allowance,
    /// What concerns us, when they were listed and we have not written since.
    listed: Option<u64>,
}

impl Sizes {
    fn open(program: Iptables) -> Result<Self, Error> {
        let tables = Tables::open(&program)?;
        Ok(Self {
            program,
            tables,
            seen: None,
            is_writing: false,
            is_suspect: false,
            allowance: Allowance::default(),
            listed: None,
        })
    }

    fn state(&mut self) -> Result<State, Error> {
        self.tables.state()
    }

    fn take(&mut self, write: OwnWrite) {
        match write {
            OwnWrite::Lists(state) => {
                self.is_suspect = false;
                self.seen = Some(state);
            }
            OwnWrite::Begins { .. } => self.is_writing = true,
            OwnWrite::Ended { before, after, .. } => {
                self.is_writing = false;
                self.is_suspect |= self.seen.as_ref().is_some_and(|seen| *seen != before);
                self.seen = Some(after);
                self.listed = None;
            }
        }
    }

    /// Answers whether something of ours may be gone. `state` was asked for before our writes were taken, so one that is neither
    /// what was seen last nor of our making is another's, unless we are at it.
    fn look(&mut self, state: State, clock: &dyn Fn() -> Instant) -> bool {
        if self.is_writing {
            return false;
        }
        let mut loss = Loss::None;
        if self.seen.as_ref() != Some(&state) && self.tables.state().is_ok_and(|now| now == state) {
            let before = self.seen.as_ref().and_then(State::entries_by_table);
            loss = before.zip(state.entries_by_table()).map_or(Loss::None, |(from, to)| Loss::of(from, to));
            self.is_suspect = true;
            self.seen = Some(state);
        }
        let begin = clock();
        let is_flush = loss == Loss::Flush;
        if !self.is_suspect || !(is_flush || self.allowance.is_left(begin)) {
            return false;
        }
        if is_flush || (loss == Loss::Some && self.listed.is_none()) {
            // The agent lists them, too.
            self.is_suspect = false;
            self.allowance.take_as_before();
            return true;
        }
        match self.program.save() {
            Ok(saved) => {
                self.allowance.take(clock().saturating_duration_since(begin));
                self.is_suspect = false;
                let found = digest(&saved);
                self.listed.replace(found) != Some(found)
            }
            Err(error) => {
                debug!(%error, "could not look at the tables; trying again");
                false
            }
        }
    }
}

/// What tables have lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    None,
    Some,
    /// More than half of one.
    Flush,
}

impl Loss {
    /// The tables had so many entries and have so many: one may have lost what the other has won.
    fn of(before: [u32; 2], now: [u32; 2]) -> Self {
        let any =
            |lost: fn(u32, u32) -> bool| before.into_iter().zip(now).any(|(before, now)| lost(before, now));
        if any(|before, now| now < before / 2) {
            Self::Flush
        } else if any(|before, now| now < before) {
            Self::Some
        } else {
            Self::None
        }
    }
}

/// How much time may still be taken, in seconds.
#[derive(Debug)]
struct Allowance {
    left: f64,
    counted: Option<Instant>,
    last: f64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: SAVED_UP, counted: None, last: 0.0 }
    }
}

impl Allowance {
    fn is_left(&mut self, now: Instant) -> bool {
        let passed =
            self.counted.replace(now).map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.left = (self.left + passed * SHARE).min(SAVED_UP);
        self.left >= 0.0
    }

    fn take(&mut self, time: Duration) {
        self.last = time.as_secs_f64();
        self.take_as_before();
    }

    /// Takes as much as the last time.
    fn take_as_before(&mut self) {
        self.left -= self.last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u32) -> State {
        State::Generation(number)
    }

    fn ended(tables: u32, from: u32, to: u32) -> OwnWrite {
        OwnWrite::Ended { process: 1, tables, before: generation(from), after: generation(to) }
    }

    #[test]
    fn what_others_did_before_the_guard_began_shows_in_the_count_of_changes() {
        let lists = |number| OwnWrite::Lists(generation(number));
        let check = |writes: &[OwnWrite], now: u32, wanted: bool| {
            assert_eq!(are_all(writes, &generation(now), 0), wanted, "{writes:?}, now {now}");
        };
        check(&[], 7, true);
        check(&[lists(5), ended(2, 5, 7), lists(7), ended(2, 7, 9)], 9, true);
        check(&[lists(5), ended(2, 5, 7)], 8, false);
        // Another part of this process wrote before, meanwhile and afterwards, and nobody else.
        let writes = [lists(5), ended(2, 6, 9)];
        for (now, others, wanted) in [(10, 3, true), (10, 2, false), (10, 4, true), (4, 4, false)] {
            assert_eq!(are_all(&writes, &generation(now), others), wanted, "{now} {others}");
        }
        check(&[lists(5), ended(2, 6, 8)], 8, false);
        check(&[lists(5), ended(1, 5, 7)], 7, false);
        check(&[lists(5), ended(2, 5, 7), lists(8), ended(2, 8, 10)], 10, false);
    }

    #[test]
    fn a_flush_of_either_table_is_one() {
        for (before, now, wanted) in [
            ([50_000, 60], [50_000, 60], Loss::None),
            ([50_000, 60], [50_010, 60], Loss::None),
            ([50_000, 60], [49_999, 70], Loss::Some),
            ([50_000, 60], [50_100, 59], Loss::Some),
            ([50_000, 60], [50_000, 5], Loss::Flush),
            ([5_000, 60_000], [5, 60_000], Loss::Flush),
        ] {
            assert_eq!(Loss::of(before, now), wanted, "{before:?} {now:?}");
        }
    }

    #[test]
    fn a_tenth_of_the_time_is_allowed_and_two_seconds_at_once() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut allowance = Allowance::default();
        for _ in 0..3 {
            assert!(allowance.is_left(at(0)));
            allowance.take(Duration::from_secs(1));
        }
        assert!(!allowance.is_left(at(9)));
        assert!(allowance.is_left(at(10)));
        allowance.take_as_before();
        assert!(!allowance.is_left(at(19)));
        // Hours of rest are not saved up.
        assert!(allowance.is_left(at(10_000)));
        allowance.take(Duration::from_secs(3));
        assert!(!allowance.is_left(at(10_000)));
    }

    #[test]
    fn only_what_concerns_our_chains_is_harm() {
        let judge = Judge { families: vec![Family::V4], ..Judge::default() };
        let check = |table: &str, event: ChainEvent<'_>, wanted: bool| {
            let harm = judge.harm(&Happened { family: Family::V4, table, port: 9, event });
            assert_eq!(harm, wanted.then_some(Family::V4), "{table} {event:?}");
        };
        let lost = |from, leads_to| ChainEvent::RuleDeleted { from, leads_to };
        check("nat", lost("KUBE-SERVICES", None), true);
        check("mangle", lost("KUBE-PROXY-CANARY", None), false);
        check("nat", lost("PREROUTING", Some("KUBE-SERVICES")), true);
        check("nat", lost("PREROUTING", Some("DOCKER")), false);
        check("nat", lost("PREROUTING", None), false);
        check("filter", ChainEvent::RuleAdded("KUBE-FORWARD"), true);
        check("filter", ChainEvent::RuleAdded("FORWARD"), false);
        check("filter", ChainEvent::ChainDeleted("KUBE-KUBELET-CANARY"), false);
        check("filter", ChainEvent::TableDeleted, true);
        let six = Happened { family: Family::V6, table: "nat", port: 9, event: ChainEvent::TableDeleted };
        assert_eq!(judge.harm(&six), None);
    }
}
