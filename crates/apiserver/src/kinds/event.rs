//! What happened: one thing in two groups, whose fields have other names. What is kept has those of the core group.

mod judge;

use serde_json::{Map, Value};

use super::rules::{Column, text};
use super::{ALL_VERBS, Conversion, FieldValue, Kind, Rules, Scope, Selectable};
use crate::age::age;
use crate::body::canonical;
use crate::names;
use crate::schema::Schema;

/// What happened, in the core group's words.
pub(super) const CORE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    type_name: "core.v1.Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[
        Selectable { label: "involvedObject.kind", value: FieldValue::Text("/involvedObject/kind") },
        Selectable {
            label: "involvedObject.namespace",
            value: FieldValue::Text("/involvedObject/namespace"),
        },
        Selectable { label: "involvedObject.name", value: FieldValue::Text("/involvedObject/name") },
        Selectable { label: "involvedObject.uid", value: FieldValue::Text("/involvedObject/uid") },
        Selectable {
            label: "involvedObject.apiVersion",
            value: FieldValue::Text("/involvedObject/apiVersion"),
        },
        Selectable {
            label: "involvedObject.resourceVersion",
            value: FieldValue::Text("/involvedObject/resourceVersion"),
        },
        Selectable {
            label: "involvedObject.fieldPath",
            value: FieldValue::Text("/involvedObject/fieldPath"),
        },
        Selectable { label: "reason", value: FieldValue::Text("/reason") },
        Selectable { label: "reportingComponent", value: FieldValue::Text("/reportingComponent") },
        Selectable {
            label: "source",
            value: FieldValue::FirstText(&["/source/component", "/reportingComponent"]),
        },
        Selectable { label: "type", value: FieldValue::Text("/type") },
    ],
    table: "events",
    rules: CORE_RULES,
};

/// What happened.
pub(super) const KIND: Kind = Kind {
    group: "events.k8s.io",
    version: "v1",
    kind: "Event",
    type_name: "events.v1.Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[
        Selectable { label: "regarding.kind", value: FieldValue::Text("/regarding/kind") },
        Selectable { label: "regarding.namespace", value: FieldValue::Text("/regarding/namespace") },
        Selectable { label: "regarding.name", value: FieldValue::Text("/regarding/name") },
        Selectable { label: "regarding.uid", value: FieldValue::Text("/regarding/uid") },
        Selectable { label: "regarding.apiVersion", value: FieldValue::Text("/regarding/apiVersion") },
        Selectable {
            label: "regarding.resourceVersion",
            value: FieldValue::Text("/regarding/resourceVersion"),
        },
        Selectable { label: "regarding.fieldPath", value: FieldValue::Text("/regarding/fieldPath") },
        Selectable { label: "reason", value: FieldValue::Text("/reason") },
        Selectable { label: "reportingController", value: FieldValue::Text("/reportingController") },
        Selectable {
            label: "source",
            value: FieldValue::FirstText(&["/deprecatedSource/component", "/reportingController"]),
        },
        Selectable { label: "type", value: FieldValue::Text("/type") },
    ],
    table: "events",
    rules: RULES,
};

const CORE_RULES: Rules = Rules {
    name: names::path_segment,
    validate: judge::older,
    validate_update: |new, _| judge::older(new),
    is_created_by_update: true,
    columns: &[
        Column::new("Last Seen", "string", "How long ago it happened last."),
        Column::new("Type", "string", "Whether somebody should look."),
        Column::new("Reason", "string", "What happened, in one word."),
        Column::new("Object", "string", "To what."),
        Column::wide("Subobject", "string", "To which part of it."),
        Column::wide("Source", "string", "Who says so."),
        Column::new("Message", "string", "What happened."),
        Column::wide("First Seen", "string", "How long ago it happened first."),
        Column::wide("Count", "string", "How often it happened."),
        Column::wide("Name", "string", "The name of the event itself."),
    ],
    cells,
    ..Rules::PLAIN
};

const RULES: Rules = Rules {
    name: names::dns_subdomain,
    validate: |new| judge::newer(&as_stored(new)),
    validate_update: |new, old| judge::newer_update(&as_stored(new), &as_stored(old)),
    conversion: Some(Conversion { to_stored, from_stored }),
    ..CORE_RULES
};

/// The names of fields: in this group, and in the core group.
const NAMES: [(&str, &str); 7] = [
    ("reportingController", "reportingComponent"),
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn to_stored(event: Value) -> Value {
    let core = |name: &str| NAMES.iter().find(|(own, _)| *own == name).map(|(_, core)| *core);
    renamed(event, core, &CORE)
}

fn from_stored(event: Value) -> Value {
    let own = |name: &str| NAMES.iter().find(|(_, core)| *core == name).map(|(own, _)| *own);
    renamed(event, own, &KIND)
}

/// The event in the core group's words, in which it is judged, whichever it is in.
fn as_stored(event: &Value) -> Value {
    if text(event, "/apiVersion") == "v1" { event.clone() } else { to_stored(event.clone()) }
}

fn renamed(event: Value, name_of: impl Fn(&str) -> Option<&'static str>, kind: &Kind) -> Value {
    let fields = match event {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    let rename = |(name, value): (String, Value)| (name_of(&name).map_or(name, str::to_owned), value);
    let mut event: Value = fields.into_iter().map(rename).collect::<Map<_, _>>().into();
    event["apiVersion"] = kind.api_version().into();
    event["kind"] = kind.kind.into();
    if let Some(of) = Schema::get().find(kind.type_name) {
        canonical(&mut event, of);
    }
    event
}

fn cells(event: &Value, now: i64) -> Vec<Value> {
    let event = &as_stored(event);
    let first_of = |fields: &[&str]| {
        let times = fields.iter().map(|field| age(&event[*field], now));
        times.reduce(|found, next| if found == "<unknown>" { next } else { found }).unwrap_or_default()
    };
    let series = &event["series"];
    let (last_seen, count) = match series.is_object() {
        true => (age(&series["lastObservedTime"], now), series["count"].as_i64().unwrap_or(0)),
        false => {
            // The newer group has no count of what happened once.
            let count = event["count"].as_i64().unwrap_or(0);
            (first_of(&["lastTimestamp", "firstTimestamp", "eventTime"]), count.max(1))
        }
    };
    let object = &event["involvedObject"];
    let kind = text(object, "/kind").to_lowercase();
    let target = match text(object, "/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        last_seen.into(),
        text(event, "/type").into(),
        text(event, "/reason").into(),
        target.into(),
        text(object, "/fieldPath").into(),
        source(event).into(),
        text(event, "/message").trim().into(),
        first_of(&["firstTimestamp", "eventTime"]).into(),
        count.into(),
        text(event, "/metadata/name").into(),
    ]
}

fn source(event: &Value) -> String {
    let either = |one: &str, other: &str| match text(event, one) {
        "" => text(event, other).to_owned(),
        one => one.to_owned(),
    };
    let component = either("/source/component", "/reportingComponent");
    match either("/source/host", "/reportingInstance") {
        instance if instance.is_empty() => component,
        instance => format!("{component}, {instance}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_groups_say_the_same() {
        let sent = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "x.io/c", "reportingInstance": "i",
            "action": "A", "reason": "R", "regarding": {"kind": "Pod", "name": "p"}, "note": "n", "type": "Normal",
            "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:05.000000Z"},
            "deprecatedSource": {}, "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null,
        });
        let stored = to_stored(sent.clone());
        assert_eq!(
            stored,
            json!({
                "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
                "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "x.io/c", "reportingInstance": "i",
                "action": "A", "reason": "R", "involvedObject": {"kind": "Pod", "name": "p"}, "message": "n",
                "type": "Normal", "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:05.000000Z"},
                "source": {}, "firstTimestamp": null, "lastTimestamp": null,
            }),
        );
        assert_eq!(from_stored(stored.clone()), sent);
        let shown = cells(&sent, 1_767_225_665);
        assert_eq!(shown, cells(&stored, 1_767_225_665));
        let wanted =
            json!(["60s", "Normal", "R", "pod/p", "", "x.io/c, i", "n", "65s", 2, "e"]).as_array().cloned();
        assert_eq!(Some(shown), wanted);
    }

    #[test]
    fn old_events_have_other_times() {
        let event = json!({"apiVersion": "v1", "firstTimestamp": "2026-01-01T00:00:00Z",
                           "lastTimestamp": "2026-01-01T00:00:05Z", "count": 3, "involvedObject": {"kind": "Node"},
                           "source": {"component": "kubelet"}, "message": " m\n"});
        let wanted = json!(["60s", "", "", "node", "", "kubelet", "m", "65s", 3, ""]);
        assert_eq!(Value::Array(cells(&event, 1_767_225_665)), wanted);
        let none = cells(&json!({"apiVersion": "v1"}), 0);
        assert_eq!((&none[0], &none[7], &none[8]), (&json!("<unknown>"), &json!("<unknown>"), &json!(1)));
    }
}
