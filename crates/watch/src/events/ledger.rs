//! Which happenings become events, and when their series are written: the first at once, the second at once as a series
//! of two, further ones now and then, and the last count when the series is over. The rules are those of client-go's
//! `tools/events`, which ignores notes, too.
//!
//! Pure: moments are arguments, and what is to be written is a value.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::body::{Body, EventType, Happening, Regarding, Reporter, Series, Stamp};
use crate::timing::Backoff;

/// How often events are written.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// How long after the last repetition a series is over, and the next occurrence is an event of its own.
    pub(super) series_end: Duration,
    /// How often a series that goes on is written.
    pub(super) refresh: Duration,
    /// How many different events are kept.
    pub(super) capacity: usize,
    /// How often the server may fail to take an event.
    pub(super) tries: u32,
    /// The waits between these.
    pub(super) backoff: Backoff,
}

impl Pace {
    /// Answers the pace of client-go.
    pub(super) fn new(backoff: Backoff) -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self { series_end: minutes(6), refresh: minutes(30), capacity: 1000, tries: 12, backoff }
    }
}

/// What happened lately and what the server knows of it.
#[derive(Debug)]
pub(super) struct Ledger {
    reporter: Reporter,
    pace: Pace,
    entries: BTreeMap<Key, Entry>,
    ending: bool,
}

/// What makes two happenings the same. The reporter is, too, but there is only one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    regarding: Regarding,
    kind: EventType,
    reason: &'static str,
    action: &'static str,
}

#[derive(Debug)]
struct Entry {
    body: Body,
    series: Series,
    first_at: Instant,
    last_at: Instant,
    /// Whether the server has the event.
    stored: bool,
    /// The last attempt that was not to be repeated, whether it succeeded or was given up.
    settled: Option<Settled>,
    /// Failures since then.
    backoff: Backoff,
    not_before: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Settled {
    at: Instant,
    count: u32,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Next {
    /// Write this now.
    Write(Write),
    /// Nothing before then.
    At(Instant),
    /// Nothing until something happens.
    Nothing,
}

/// What to write.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) json: Value,
    key: Key,
    count: u32,
}

/// How to write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// A new event.
    Create,
    /// The series of an event that the server has.
    Patch,
}

/// What the server made of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reply {
    /// The server took it.
    Stored,
    /// The server has an event of this name: an earlier attempt came through, although its answer did not.
    Exists,
    /// The server does not have the event any more.
    Vanished,
    /// It may work next time.
    Failed {
        /// Between 0 and 1; spreads the waits of many agents.
        chance: f64,
    },
    /// It will never work.
    Refused,
}

/// What became of an event after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prospect {
    /// It is written.
    Kept,
    /// It is tried again.
    TriedAgain,
    /// It is not.
    Dropped,
}

/// There is no place for another event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Ledger {
    pub(super) fn new(reporter: Reporter, pace: Pace) -> Self {
        Self { reporter, pace, entries: BTreeMap::new(), ending: false }
    }

    /// Takes down what happened.
    pub(super) fn note(&mut self, happening: &Happening, stamp: Stamp) -> Result<(), Full> {
        self.forget(stamp.at);
        let Happening { kind, regarding, reason, action, .. } = happening;
        let key = Key { regarding: regarding.clone(), kind: *kind, reason, action };
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.series.count = entry.series.count.saturating_add(1);
            entry.series.last = stamp.wall;
            entry.last_at = stamp.at;
            return Ok(());
        }
        self.make_room()?;
        let entry = Entry {
            body: Body::new(&self.reporter, happening, stamp.wall),
            series: Series { count: 1, last: stamp.wall },
            first_at: stamp.at,
            last_at: stamp.at,
            stored: false,
            settled: None,
            backoff: self.pace.backoff.clone(),
            not_before: stamp.at,
        };
        self.entries.insert(key, entry);
        Ok(())
    }

    /// Lets everything that is not written be due at once, and tried once only.
    pub(super) fn end(&mut self) {
        self.ending = true;
    }

    /// Answers what to write now. The same is answered again until it is settled.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        self.forget(now);
        let due = self.entries.iter().filter_map(|(key, entry)| Some((self.due(entry)?, key, entry)));
        let Some((at, key, entry)) = due.min_by_key(|(at, key, _)| (*at, *key)) else { return Next::Nothing };
        if at <= now || self.ending { Next::Write(entry.write(key)) } else { Next::At(at) }
    }

    /// Notes what came of an attempt.
    pub(super) fn settle(&mut self, write: &Write, reply: Reply, now: Instant) -> Prospect {
        let Some(entry) = self.entries.get_mut(&write.key) else { return Prospect::Dropped };
        let came_through = reply == Reply::Exists && write.count == 1;
        if reply == Reply::Stored || came_through {
            entry.stored = true;
            entry.settle(write, now);
            return Prospect::Kept;
        }
        let chance = match reply {
            Reply::Refused => {
                entry.settle(write, now);
                return Prospect::Dropped;
            }
            // Next it is to be patched.
            Reply::Stored | Reply::Exists => {
                entry.stored = true;
                0.0
            }
            // Next it is to be created.
            Reply::Vanished => {
                entry.stored = false;
                entry.settled = None;
                0.0
            }
            Reply::Failed { chance } => chance,
        };
        let wait = entry.backoff.failed(chance);
        // What the server has, or has not, is corrected without delay, but not in a circle.
        let at_once = entry.backoff.failures() == 1 && !matches!(reply, Reply::Failed { .. });
        if entry.backoff.failures() >= self.pace.tries || (self.ending && !at_once) {
            entry.settle(write, now);
            return Prospect::Dropped;
        }
        entry.not_before = if at_once { now } else { now + wait };
        Prospect::TriedAgain
    }

    /// Answers when an entry is to be written; `None` when there is nothing new.
    fn due(&self, entry: &Entry) -> Option<Instant> {
        let Some(settled) = entry.settled else { return Some(entry.first_at.max(entry.not_before)) };
        if entry.series.count == settled.count {
            return None;
        }
        let regular = settled.at + self.pace.refresh;
        let due = match (entry.stored, settled.count) {
            (false, _) if self.ending => return None,
            // What the server did not take is not worth more than this.
            (false, _) => regular,
            (true, 1) => settled.at,
            (true, _) => regular.min(entry.last_at + self.pace.series_end),
        };
        Some(due.max(entry.not_before))
    }

    /// Forgets what is over.
    fn forget(&mut self, now: Instant) {
        let series_end = self.pace.series_end;
        self.entries.retain(|_, entry| {
            let is_written = entry.settled.is_some_and(|settled| settled.count == entry.series.count);
            let is_worth_it = !is_written && (entry.stored || entry.settled.is_none());
            is_worth_it || now < entry.last_at + series_end
        });
    }

    /// Forgets the oldest of what is written, if there is no place.
    fn make_room(&mut self) -> Result<(), Full> {
        if self.entries.len() < self.pace.capacity {
            return Ok(());
        }
        let written = self.entries.iter().filter(|(_, entry)| self.due(entry).is_none());
        let oldest = written.min_by_key(|(_, entry)| entry.last_at).map(|(key, _)| key.clone());
        self.entries.remove(&oldest.ok_or(Full)?);
        Ok(())
    }
}

impl Entry {
    fn write(&self, key: &Key) -> Write {
        let (method, path, json) = match self.stored {
            false => (Method::Create, self.body.collection(), self.body.object(self.series)),
            true => (Method::Patch, self.body.path(), self.series.patch()),
        };
        Write { method, path, json, key: key.clone(), count: self.series.count }
    }

    fn settle(&mut self, write: &Write, now: Instant) {
        self.settled = Some(Settled { at: now, count: write.count });
        self.backoff.succeeded();
        self.not_before = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use model::ServiceKey;

    use super::*;
    use crate::timing::Timing;

    /// A ledger with a clock. Durations are those of the real pace but for the capacity.
    struct Desk {
        ledger: Ledger,
        start: Stamp,
        second: u64,
    }

    impl Desk {
        fn new() -> Self {
            let reporter = Reporter { node_name: "n1".into(), host_name: "h1".into() };
            let pace = Pace { capacity: 3, tries: 3, ..Pace::new(Backoff::new(&Timing::default())) };
            let start = Stamp { at: Instant::now(), wall: SystemTime::UNIX_EPOCH };
            Self { ledger: Ledger::new(reporter, pace), start, second: 0 }
        }

        fn stamp(&self) -> Stamp {
            let passed = Duration::from_secs(self.second);
            Stamp { at: self.start.at + passed, wall: self.start.wall + passed }
        }

        fn note(&mut self, second: u64, service: &str, note: &str) -> Result<(), Full> {
            self.second = second;
            let stamp = self.stamp();
            self.ledger.note(&happening(service, note), stamp)
        }

        /// Writes what is to be written until this second, with these replies, and answers what was written when.
        fn write(&mut self, until: u64, replies: &[Reply]) -> Vec<String> {
            let mut written = Vec::new();
            let mut replies = replies.iter().copied();
            loop {
                match self.ledger.next(self.stamp().at) {
                    Next::Write(write) => {
                        let reply = replies.next().unwrap_or(Reply::Stored);
                        let prospect = self.ledger.settle(&write, reply, self.stamp().at);
                        written.push(format!("{} {} {prospect:?}", self.second, shown(&write)));
                    }
                    Next::At(at) if at <= self.start.at + Duration::from_secs(until) => {
                        self.second = (at - self.start.at).as_secs_f64().ceil() as u64;
                    }
                    Next::At(_) | Next::Nothing => return written,
                }
                assert!(written.len() < 50, "{written:#?}");
            }
        }
    }

    fn happening(service: &str, note: &str) -> Happening {
        let regarding = Regarding::Service(ServiceKey::new("shop", service));
        let (kind, note) = (EventType::Warning, note.to_owned());
        Happening { kind, regarding, reason: "FailedToStartServiceHealthcheck", action: "Listen", note }
    }

    /// Shows a write as `Create web`, or with the count and the last second of a series.
    fn shown(write: &Write) -> String {
        let name = match &write.key.regarding {
            Regarding::Node => "node",
            Regarding::Service(key) => key.name(),
        };
        let series = &write.json["series"];
        let Some(last) = series["lastObservedTime"].as_str() else {
            return format!("{:?} {name}", write.method);
        };
        format!("{:?} {name} {} {}", write.method, series["count"], &last[11..19])
    }

    #[test]
    fn repetitions_become_a_series_that_is_written_now_and_then() {
        let mut desk = Desk::new();
        desk.note(0, "web", "in use").unwrap();
        assert_eq!(desk.write(0, &[]), ["0 Create web Kept"]);
        desk.note(60, "web", "in use by pid 7").unwrap();
        assert_eq!(desk.write(60, &[]), ["60 Patch web 2 00:01:00 Kept"]);
        // Every minute for 65 minutes: a write every 30 minutes, and the final one 6 minutes after the last.
        let mut written = Vec::new();
        for minute in 2..67 {
            written.extend(desk.write(minute * 60, &[]));
            desk.note(minute * 60, "web", "in use").unwrap();
        }
        assert_eq!(written, ["1860 Patch web 31 00:30:00 Kept", "3660 Patch web 61 01:00:00 Kept"]);
        assert_eq!(desk.write(10_000, &[]), ["4320 Patch web 67 01:06:00 Kept"]);
        // That series is over.
        desk.note(4400, "web", "in use").unwrap();
        assert_eq!(desk.write(4400, &[]), ["4400 Create web Kept"]);
    }

    #[test]
    fn an_event_that_does_not_come_again_within_six_minutes_is_no_series() {
        let mut desk = Desk::new();
        desk.note(0, "web", "").unwrap();
        assert_eq!(desk.write(359, &[]), ["0 Create web Kept"]);
        desk.note(360, "web", "").unwrap();
        assert_eq!(desk.write(360, &[]), ["360 Create web Kept"]);
        desk.note(719, "web", "").unwrap();
        assert_eq!(desk.write(719, &[]), ["719 Patch web 2 00:11:59 Kept"]);
    }

    #[test]
    fn events_are_told_apart_and_written_in_the_order_of_their_coming() {
        let mut desk = Desk::new();
        desk.note(0, "web", "").unwrap();
        desk.note(1, "api", "").unwrap();
        let mut other = happening("web", "");
        other.reason = "Other";
        desk.second = 2;
        desk.ledger.note(&other, desk.stamp()).unwrap();
        assert_eq!(desk.write(2, &[]), ["2 Create web Kept", "2 Create api Kept", "2 Create web Kept"]);
    }

    #[test]
    fn what_happens_again_before_it_is_written_is_created_as_a_series() {
        let mut desk = Desk::new();
        for second in 0..1000 {
            desk.note(second, "web", "").unwrap();
        }
        assert_eq!(desk.write(999, &[]), ["999 Create web 1000 00:16:39 Kept"]);
        // The next write is for the end, not at once.
        desk.note(1000, "web", "").unwrap();
        assert_eq!(desk.write(5000, &[]), ["1360 Patch web 1001 00:16:40 Kept"]);
    }

    #[test]
    fn an_event_that_the_server_forgot_is_created_anew() {
        let mut desk = Desk::new();
        desk.note(0, "web", "").unwrap();
        desk.write(0, &[]);
        desk.note(9, "web", "").unwrap();
        let expected = ["9 Patch web 2 00:00:09 TriedAgain", "9 Create web 2 00:00:09 Kept"];
        assert_eq!(desk.write(9, &[Reply::Vanished]), expected);
    }

    #[test]
    fn an_event_that_exists_was_written_before() {
        let mut desk = Desk::new();
        desk.note(0, "web", "").unwrap();
        assert_eq!(desk.write(0, &[Reply::Exists]), ["0 Create web Kept"]);
        let mut desk = Desk::new();
        desk.note(0, "web", "").unwrap();
        desk.note(1, "web", "").unwrap();
        let expected = ["1 Create web 2 00:00:01 TriedAgain", "1 Patch web 2 00:00:01 Kept"];
        assert_eq!(desk.write(1, &[Reply::Exists]), expected);
    }

    #[test]
    fn a_server_that_contradicts_itself_is_not_asked_for_ever() {
        let mut desk = Desk::new();
        desk.note(0, "web", "").unwrap();
        desk.note(0, "web", "").unwrap();
        let circle = [Reply::Exists, Reply::Vanished].repeat(9);
        let expected = [
            "0 Create web 2 00:00:00 TriedAgain",
            "0 Patch web 2 00:00:00 TriedAgain",
            "1 Create web 2 00:00:00 Dropped",
        ];
        assert_eq!(desk.write(100_000, &circle), expected);
    }

    #[test]
    fn failures_are_repeated_a_few_times_and_refusals_are_not() {
        let failed = Reply::Failed { chance: 1.0 };
        let mut desk = Desk::new();
        desk.note(0, "web", "").unwrap();
        let expected = ["0 Create web TriedAgain", "1 Create web TriedAgain", "3 Create web Dropped"];
        assert_eq!(desk.write(100_000, &[failed; 9]), expected);
        let mut desk = Desk::new();
        desk.note(0, "web", "").unwrap();
        assert_eq!(desk.write(60, &[Reply::Refused]), ["0 Create web Dropped"]);
        // Repetitions do not make the server hear of it again at once, but now and then.
        let mut written = Vec::new();
        for minute in 1..65 {
            written.extend(desk.write(minute * 60, &[Reply::Refused]));
            desk.note(minute * 60, "web", "").unwrap();
        }
        let expected = ["1800 Create web 30 00:29:00 Dropped", "3600 Create web 60 00:59:00 Dropped"];
        assert_eq!(written, expected);
    }

    #[test]
    fn a_failing_event_does_not_hold_up_others() {
        let mut desk = Desk::new();
        desk.note(0, "web", "").unwrap();
        desk.note(0, "zoo", "").unwrap();
        let expected = ["0 Create web TriedAgain", "0 Create zoo Kept", "1 Create web Kept"];
        assert_eq!(desk.write(9, &[Reply::Failed { chance: 1.0 }]), expected);
    }

    #[test]
    fn what_is_written_gives_way_to_news_and_news_to_nothing() {
        let mut desk = Desk::new();
        for service in ["a", "b", "c"] {
            desk.note(0, service, "").unwrap();
        }
        assert_eq!(desk.note(1, "d", ""), Err(Full));
        assert_eq!(desk.note(1, "a", ""), Ok(()));
        assert_eq!(desk.write(1, &[]).len(), 3);
        assert_eq!(desk.note(2, "d", ""), Ok(()));
        assert_eq!(desk.ledger.entries.len(), 3);
        assert_eq!(desk.write(2, &[]), ["2 Create d Kept"]);
        // The one that was forgotten is the oldest.
        desk.note(3, "b", "").unwrap();
        assert_eq!(desk.write(3, &[]), ["3 Create b Kept"]);
    }

    #[test]
    fn at_the_end_everything_is_tried_once() {
        let mut desk = Desk::new();
        for service in ["a", "b"] {
            desk.note(0, service, "").unwrap();
        }
        desk.write(0, &[]);
        for second in [1, 2, 3] {
            desk.note(second, "a", "").unwrap();
            desk.write(second, &[]);
        }
        desk.note(4, "c", "").unwrap();
        desk.ledger.end();
        let failed = Reply::Failed { chance: 1.0 };
        let expected = ["4 Create c Dropped", "4 Patch a 4 00:00:03 Kept"];
        assert_eq!(desk.write(4, &[failed]), expected);
    }
}
