//! What an event says: from a happening to the object of `events.k8s.io/v1`, as kube-proxy writes it.
//!
//! Pure; who counts repetitions is `ledger`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use model::ServiceKey;
use serde_json::{Value, json};

use crate::query::escape_into;

/// Who reports. It is kube-proxy's word: tools that look for its events must find those of its replacement.
const CONTROLLER: &str = "kube-proxy";
/// The longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;
/// The longest name of an object, and what the time takes of it.
const MAX_NAME: usize = 253;
const TIME_PART: usize = ".ffffffffffffffff".len();

/// Something worth an Event: about which object, and what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// Whether it is trouble.
    pub kind: EventType,
    /// The object that it is about.
    pub regarding: Regarding,
    /// Why, as one word for machines, such as `FailedToStartServiceHealthcheck`. Never empty, at most 128 bytes.
    pub reason: &'static str,
    /// What was being done, as one word for machines, such as `Listen`. Never empty, at most 128 bytes.
    pub action: &'static str,
    /// What happened, for people; cut after 1024 bytes.
    pub note: String,
}

/// Whether an event is trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// It is as it should be.
    Normal,
    /// Somebody may have to do something.
    Warning,
}

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Regarding {
    /// The own Node.
    Node,
    /// A Service.
    Service(ServiceKey),
}

/// A moment: for people, and for durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) at: Instant,
    pub(super) wall: SystemTime,
}

/// Who reports from where.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    pub(super) node_name: String,
    /// The name that the kernel has for this machine, which need not be that of the Node.
    pub(super) host_name: String,
}

/// An event as it is created. Only its series changes afterwards.
#[derive(Debug, Clone)]
pub(super) struct Body {
    namespace: String,
    name: String,
    object: Value,
}

/// How often it happened, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) count: u32,
    pub(super) last: SystemTime,
}

impl Body {
    pub(super) fn new(reporter: &Reporter, happening: &Happening, time: SystemTime) -> Self {
        let Happening { kind, regarding, reason, action, note } = happening;
        let namespace = match regarding {
            Regarding::Service(key) if !key.namespace().is_empty() => key.namespace(),
            // Where events about objects without a namespace belong.
            Regarding::Service(_) | Regarding::Node => "default",
        };
        let name = name(regarding, reporter, time);
        let object = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": name},
            "eventTime": micro_time(time),
            "reportingController": CONTROLLER,
            "reportingInstance": beginning(&format!("{CONTROLLER}-{}", reporter.host_name), 128),
            "action": action,
            "reason": reason,
            "regarding": reference(regarding, reporter),
            "note": beginning(note, MAX_NOTE),
            "type": match kind { EventType::Normal => "Normal", EventType::Warning => "Warning" },
        });
        Self { namespace: namespace.to_owned(), name, object }
    }

    /// Answers the path of the collection that it belongs to.
    pub(super) fn collection(&self) -> String {
        let mut path = "/apis/events.k8s.io/v1/namespaces/".to_owned();
        escape_into(&mut path, &self.namespace);
        path.push_str("/events");
        path
    }

    /// Answers its own path.
    pub(super) fn path(&self) -> String {
        let mut path = self.collection() + "/";
        escape_into(&mut path, &self.name);
        path
    }

    /// Answers the whole object.
    pub(super) fn object(&self, series: Series) -> Value {
        let mut object = self.object.clone();
        // A series of one is none.
        if series.count > 1 {
            object["series"] = series.value();
        }
        object
    }
}

impl Series {
    /// Answers the merge patch that says how long the series is.
    pub(super) fn patch(self) -> Value {
        json!({"series": self.value()})
    }

    fn value(self) -> Value {
        json!({"count": self.count, "lastObservedTime": micro_time(self.last)})
    }
}

/// Newer kube-proxies say `apiVersion`, by which `kubectl events --for` finds events; older ones give the Node its name
/// for a uid, by which `kubectl describe node` does. Nobody here knows the uid of a Service.
fn reference(regarding: &Regarding, reporter: &Reporter) -> Value {
    let node = &reporter.node_name;
    match regarding {
        Regarding::Node => json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": node}),
        Regarding::Service(key) => {
            json!({"apiVersion": "v1", "kind": "Service", "namespace": key.namespace(), "name": key.name()})
        }
    }
}

/// Answers the name of the object and the time in nanoseconds.
fn name(regarding: &Regarding, reporter: &Reporter, time: SystemTime) -> String {
    let nanoseconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos();
    let (object, kind) = match regarding {
        Regarding::Node => (reporter.node_name.as_str(), "node"),
        Regarding::Service(key) => (key.name(), "service"),
    };
    let stem = if may_begin_a_name(object) { object } else { kind };
    format!("{stem}.{nanoseconds:x}")
}

/// Answers whether an event may be called after an object. Not every object has a name that an event may have, see
/// <https://github.com/kubernetes/kubernetes/issues/127594>.
fn may_begin_a_name(object: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    object.len() + TIME_PART <= MAX_NAME && object.split('.').all(is_label)
}

fn beginning(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

pub(crate) fn micro_time(time: SystemTime) -> MicroTime {
    // Only times after the year 9999 have none.
    MicroTime(Timestamp::try_from(time).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reporter() -> Reporter {
        Reporter { node_name: "n1.example".into(), host_name: "host1".into() }
    }

    fn time() -> SystemTime {
        UNIX_EPOCH + Duration::new(1_767_323_045, 6_789)
    }

    fn happening(regarding: Regarding, note: &str) -> Happening {
        Happening {
            kind: EventType::Warning,
            regarding,
            reason: "FailedToStartServiceHealthcheck",
            action: "Listen",
            note: note.into(),
        }
    }

    #[test]
    fn an_event_about_a_service_lives_beside_it() {
        let key = ServiceKey::new("shop", "web");
        let body = Body::new(&reporter(), &happening(Regarding::Service(key), "in use"), time());
        let expected = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": "shop", "name": "web.1886caf21c964c85"},
            "eventTime": "2026-01-02T03:04:05.000006Z",
            "reportingController": "kube-proxy",
            "reportingInstance": "kube-proxy-host1",
            "action": "Listen",
            "reason": "FailedToStartServiceHealthcheck",
            "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web"},
            "note": "in use",
            "type": "Warning",
        });
        assert_eq!(body.object(Series { count: 1, last: time() }), expected);
        assert_eq!(body.collection(), "/apis/events.k8s.io/v1/namespaces/shop/events");
        assert_eq!(body.path(), "/apis/events.k8s.io/v1/namespaces/shop/events/web.1886caf21c964c85");
    }

    #[test]
    fn an_event_about_the_node_lives_in_the_default_namespace() {
        let mut happening = happening(Regarding::Node, "");
        happening.kind = EventType::Normal;
        let object = Body::new(&reporter(), &happening, time()).object(Series { count: 1, last: time() });
        assert_eq!(
            object["metadata"],
            json!({"namespace": "default", "name": "n1.example.1886caf21c964c85"})
        );
        assert_eq!(
            object["regarding"],
            json!({"apiVersion": "v1", "kind": "Node", "name": "n1.example", "uid": "n1.example"})
        );
        assert_eq!((&object["type"], &object["note"]), (&json!("Normal"), &json!("")));
    }

    #[test]
    fn a_series_has_at_least_two() {
        let body = Body::new(&reporter(), &happening(Regarding::Node, ""), time());
        let last = time() + Duration::from_secs(60);
        assert!(body.object(Series { count: 1, last }).get("series").is_none());
        let series = json!({"count": 2, "lastObservedTime": "2026-01-02T03:05:05.000006Z"});
        assert_eq!(body.object(Series { count: 2, last })["series"], series);
        assert_eq!(Series { count: 2, last }.patch(), json!({"series": series}));
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        let check = |note: String, expected: usize| {
            let body = Body::new(&reporter(), &happening(Regarding::Node, &note), time());
            let object = body.object(Series { count: 1, last: time() });
            let kept = object["note"].as_str().unwrap();
            assert_eq!(kept.len(), expected);
            assert!(note.starts_with(kept));
        };
        check("a".repeat(1024), 1024);
        check("a".repeat(1025), 1024);
        check("a".repeat(1023) + "ß", 1023);
        check("€".repeat(400), 1023);
    }

    #[test]
    fn names_that_no_event_may_have_are_replaced() {
        let check = |node: &str, expected: &str| {
            let reporter = Reporter { node_name: node.into(), host_name: "h".into() };
            assert_eq!(name(&Regarding::Node, &reporter, time()), format!("{expected}.1886caf21c964c85"));
        };
        check("n1", "n1");
        check("Node_1", "node");
        check("a..b", "node");
        check("a-", "node");
        check("../../pods", "node");
        check(&"a".repeat(236), &"a".repeat(236));
        check(&"a".repeat(237), "node");
    }
}
