//! Which notes become Events: the same again is counted, many that are alike are told as one, and whoever says too much of an
//! object is not heard for a while. The numbers are client-go's.
//!
//! Pure: the time is an argument, since 1970.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, UNIX_EPOCH};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::Note;

/// How many of each kind of memory are kept.
const CAPACITY: usize = 4096;
/// How many that are alike but for their message are told one by one, within how much time.
const ALIKE: usize = 10;
const ALIKE_WITHIN: Duration = Duration::from_secs(600);
/// How many are told of an object at once, and how long it takes until one more may be.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// The longest message that the API server takes, in bytes.
const MAX_MESSAGE: usize = 1024;
const COMBINED: &str = "(combined from similar events): ";

/// What was noted lately.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    alike: Memory<Alike>,
    written: Memory<Written>,
    budgets: Memory<Budget>,
}

/// What is to be written.
#[derive(Debug, PartialEq)]
pub(super) struct Write {
    /// The path of the Events of the namespace.
    pub(super) collection: String,
    /// What makes one more of an Event that is there.
    pub(super) patch: Option<Value>,
    /// The whole Event.
    pub(super) object: Value,
}

/// Messages that differ in nothing else.
#[derive(Debug, Default)]
struct Alike {
    messages: BTreeSet<String>,
    last: Duration,
}

/// An Event that was written.
#[derive(Debug, Default)]
struct Written {
    name: String,
    first: Duration,
    count: u64,
}

/// How much may be said of an object.
#[derive(Debug, Default)]
struct Budget {
    spent: f64,
    last: Duration,
}

impl Correlator {
    /// Takes a note; answers what is to be written.
    pub(super) fn note(&mut self, note: &Note, now: Duration) -> Option<Write> {
        let source = format!("{} {} {}", note.component, note.host, identity(note));
        let alike = format!("{source} {} {}", note.is_warning, note.reason);
        let (message, key) = match self.is_one_of_many(&alike, &note.message, now) {
            true => (format!("{COMBINED}{}", note.message), alike),
            false => (note.message.clone(), format!("{alike} {} {}", note.of["fieldPath"], note.message)),
        };
        let written = self.written.get(key);
        if written.count == 0 {
            let name = note.of["name"].as_str().unwrap_or_default();
            (written.name, written.first) = (format!("{name}.{:x}", now.as_nanos()), now);
        }
        written.count += 1;
        let write = write(note, message, (written, now));
        self.budgets.get(source).spend(now).then_some(write)
    }

    fn is_one_of_many(&mut self, key: &str, message: &str, now: Duration) -> bool {
        let alike = self.alike.get(key.to_owned());
        if now.saturating_sub(alike.last) > ALIKE_WITHIN {
            alike.messages.clear();
        }
        alike.last = now;
        alike.messages.insert(message.to_owned());
        if alike.messages.len() < ALIKE {
            return false;
        }
        // So that it does not grow.
        alike.messages.pop_first();
        true
    }
}

impl Budget {
    /// Answers whether there is something left, and takes it.
    fn spend(&mut self, now: Duration) -> bool {
        let earned = now.saturating_sub(self.last).as_secs_f64() / REFILL.as_secs_f64();
        self.spent = (self.spent - earned).max(0.0);
        self.last = now;
        let is_left = self.spent + 1.0 <= BURST;
        self.spent += f64::from(u8::from(is_left));
        is_left
    }
}

impl Write {
    /// The path of the Event.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.collection, self.object["metadata"]["name"].as_str().unwrap_or_default())
    }
}

/// What an object stays through all its revisions.
fn identity(note: &Note) -> String {
    ["apiVersion", "kind", "namespace", "name", "uid"].map(|field| note.of[field].to_string()).join(" ")
}

fn write(note: &Note, mut message: String, (written, now): (&Written, Duration)) -> Write {
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    // Events of objects of the cluster are kept in `default`.
    let namespace = note.of["namespace"].as_str().filter(|name| !name.is_empty()).unwrap_or("default");
    let mut source = json!({"component": note.component});
    if !note.host.is_empty() {
        source["host"] = note.host.as_str().into();
    }
    let (first, last, count) = (time(written.first), time(now), written.count);
    let object = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": written.name, "namespace": namespace},
        "involvedObject": note.of, "reason": note.reason, "message": message,
        "type": if note.is_warning { "Warning" } else { "Normal" },
        "source": source, "reportingComponent": note.component, "reportingInstance": note.host,
        "firstTimestamp": first, "lastTimestamp": last, "count": count,
    });
    let patch = (count > 1).then(|| json!({"message": message, "lastTimestamp": last, "count": count}));
    Write { collection: format!("/api/v1/namespaces/{namespace}/events"), patch, object }
}

fn time(since: Duration) -> Time {
    // Only times after the year 9999 have none.
    Time(Timestamp::try_from(UNIX_EPOCH + since).unwrap_or(Timestamp::MAX))
}

/// The latest of many; the older half is forgotten when there are too many.
#[derive(Debug)]
struct Memory<T> {
    entries: HashMap<String, (T, u64)>,
    uses: u64,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), uses: 0 }
    }
}

impl<T: Default> Memory<T> {
    fn get(&mut self, key: String) -> &mut T {
        self.uses += 1;
        if self.entries.len() >= CAPACITY && !self.entries.contains_key(&key) {
            let mut uses: Vec<u64> = self.entries.values().map(|(_, used)| *used).collect();
            let (_, middle, _) = uses.select_nth_unstable(CAPACITY / 2);
            let middle = *middle;
            self.entries.retain(|_, (_, used)| *used > middle);
        }
        let entry = self.entries.entry(key).or_default();
        entry.1 = self.uses;
        &mut entry.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &str, reason: &str, message: &str) -> Note {
        let of = json!({"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": name, "uid": name});
        let (reason, message) = (reason.to_owned(), message.to_owned());
        Note { component: "me", host: String::new(), of, is_warning: true, reason, message }
    }

    fn shown(write: Option<Write>) -> String {
        let Some(write) = write else { return "nothing".to_owned() };
        let verb = if write.patch.is_some() { "patch" } else { "create" };
        format!("{verb} {}x {}", write.object["count"], write.object["message"].as_str().unwrap())
    }

    #[test]
    fn an_event_is_a_whole_object() {
        let mut correlator = Correlator::default();
        let time = Duration::new(1_767_323_045, 6_789);
        let write = correlator.note(&note("door", "Broken", "it is"), time).unwrap();
        assert_eq!(write.path(), "/api/v1/namespaces/shop/events/door.1886caf21c964c85");
        let expected = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": "door.1886caf21c964c85", "namespace": "shop"},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "door", "uid": "door"},
            "reason": "Broken", "message": "it is", "type": "Warning", "source": {"component": "me"},
            "reportingComponent": "me", "reportingInstance": "",
            "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:04:05Z", "count": 1,
        });
        assert_eq!((write.object, write.patch), (expected, None));
        let mut later = note("door", "Broken", "it is");
        later.of["resourceVersion"] = "7".into();
        let again = correlator.note(&later, time + Duration::from_secs(60)).unwrap();
        assert_eq!(again.path(), write.collection + "/door.1886caf21c964c85");
        let patch = json!({"message": "it is", "lastTimestamp": "2026-01-02T03:05:05Z", "count": 2});
        assert_eq!(again.patch, Some(patch));
    }

    #[test]
    fn what_is_alike_is_told_as_one() {
        let mut correlator = Correlator::default();
        let mut second = 1000;
        let mut say = |message: &str, after: u64| {
            second += after;
            shown(correlator.note(&note("door", "Made", message), Duration::from_secs(second)))
        };
        for number in 1..10 {
            let message = format!("pod {number}");
            assert_eq!(say(&message, 1), format!("create 1x {message}"));
        }
        assert_eq!(say("pod 10", 1), "create 1x (combined from similar events): pod 10");
        assert_eq!(say("pod 11", 1), "patch 2x (combined from similar events): pod 11");
        assert_eq!(say("pod 12", 601), "create 1x pod 12");
    }

    #[test]
    fn who_talks_too_much_is_not_heard() {
        let mut correlator = Correlator::default();
        let mut say = |name: &str, second: u64| {
            shown(correlator.note(&note(name, "Broken", "it is"), Duration::from_secs(second)))
        };
        for _ in 0..25 {
            assert_ne!(say("door", 1000), "nothing");
        }
        assert_eq!(say("door", 1000), "nothing");
        assert_eq!(say("window", 1000), "create 1x it is");
        // What was not heard counts.
        assert_eq!(say("door", 1300), "patch 27x it is");
        assert_eq!(say("door", 1301), "nothing");
    }

    #[test]
    fn memory_is_bounded() {
        let mut correlator = Correlator::default();
        for number in 0..3 * CAPACITY {
            drop(correlator.note(&note(&number.to_string(), "Broken", "it is"), Duration::from_secs(1000)));
        }
        assert!(correlator.written.entries.len() <= CAPACITY);
        let last = note(&(3 * CAPACITY - 1).to_string(), "Broken", "it is");
        assert_eq!(shown(correlator.note(&last, Duration::from_secs(1000))), "patch 2x it is");
    }
}
