//! Judges events, in the core group's words: leniently those of the core group, strictly those of the newer one.

use serde_json::{Value, json};

use crate::kinds::endpoints::wrong;
use crate::kinds::rules::text;
use crate::meta::immutable;
use crate::mistake::{Mistake, Path};
use crate::names;

/// Judges an event of the core group.
pub(super) fn older(event: &Value) -> Vec<Mistake> {
    let namespace = text(event, "/metadata/namespace");
    let about = text(event, "/involvedObject/namespace");
    let is_new = event["eventTime"].is_string();
    // Things outside of namespaces are told of in these.
    let is_elsewhere = match (about.is_empty(), is_new) {
        (true, false) => !["", "default"].contains(&namespace),
        (true, true) => !["default", "kube-system"].contains(&namespace),
        (false, false) => namespace != about,
        (false, true) => false,
    };
    let mut found = Vec::new();
    if is_elsewhere {
        let path = Path::new("involvedObject").child("namespace");
        found.push(Mistake::invalid(&path, about, "does not match event.namespace"));
    }
    if is_new {
        found.extend(reporter(event));
    }
    found.extend(wrong(names::dns_subdomain(namespace), namespace, &Path::new("namespace")));
    found
}

/// Events with a time of their own say who reports them, and what was done why.
fn reporter(event: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    let controller = text(event, "/reportingComponent");
    let path = Path::new("reportingController");
    if controller.is_empty() {
        found.push(Mistake::required(&path, ""));
    }
    found.extend(wrong(names::qualified_name(controller), controller, &path));
    for (field, most, is_required) in [
        ("reportingInstance", 128, true),
        ("action", 128, true),
        ("reason", 128, true),
        ("message", 1024, false),
    ] {
        let (value, path) = (event[field].as_str().unwrap_or_default(), Path::new(field));
        if value.is_empty() && is_required {
            found.push(Mistake::required(&path, ""));
        }
        if value.len() > most {
            found.push(Mistake::invalid(&path, "", format!("can have at most {most} characters")));
        }
    }
    found
}

/// Judges a new event of the newer group.
pub(super) fn newer(event: &Value) -> Vec<Mistake> {
    let mut found = older(event);
    found.extend(series(event));
    if !event["eventTime"].is_string() {
        found.push(Mistake::required(&Path::new("eventTime"), ""));
    }
    let kind = text(event, "/type");
    if !["Normal", "Warning"].contains(&kind) {
        found.push(Mistake::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
    }
    let source = ["component", "host"].iter().any(|field| !text(&event["source"][*field], "").is_empty());
    for (field, is_set) in [
        ("firstTimestamp", event["firstTimestamp"].is_string()),
        ("lastTimestamp", event["lastTimestamp"].is_string()),
        ("count", event["count"].as_i64().unwrap_or(0) != 0),
        ("source", source),
    ] {
        if is_set {
            found.push(Mistake::invalid(&Path::new(field), "", "needs to be unset"));
        }
    }
    found
}

fn series(event: &Value) -> Vec<Mistake> {
    let series = &event["series"];
    let mut found = Vec::new();
    if series.is_object() {
        if series["count"].as_i64().unwrap_or(0) < 2 {
            found.push(Mistake::invalid(&Path::new("series.count"), "", "should be at least 2"));
        }
        if !series["lastObservedTime"].is_string() {
            found.push(Mistake::required(&Path::new("series.lastObservedTime"), ""));
        }
    }
    found
}

/// Judges an update of an event of the newer group: only its series may go on.
pub(super) fn newer_update(new: &Value, old: &Value) -> Vec<Mistake> {
    let mut found = older(new);
    if new.get("series") != old.get("series") {
        found.extend(series(new));
    }
    // Kubernetes names the reason twice.
    for (name, field) in [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingComponent"),
        ("reportingInstance", "reportingInstance"),
    ] {
        let fields: &[&str] = match field {
            "source" => &["Component", "Host"],
            _ => &["Kind", "Namespace", "Name", "UID", "APIVersion", "ResourceVersion", "FieldPath"],
        };
        let (new, old) = (go(&new[field], field), go(&old[field], field));
        let mistake = immutable(&new, &old, &Path::new(name));
        found.extend(mistake.map(|mistake| if new.is_object() { mistake.ordered(fields) } else { mistake }));
    }
    found
}

/// The value of a field as Go prints it: objects have names of their own, and nothing is what Go has for nothing.
fn go(value: &Value, field: &str) -> Value {
    let part = |name: &str| text(&value[name], "").to_owned();
    match field {
        "source" => json!({"Component": part("component"), "Host": part("host")}),
        "related" if !value.is_object() => Value::Null,
        "involvedObject" | "related" => json!({
            "Kind": part("kind"), "Namespace": part("namespace"), "Name": part("name"), "UID": part("uid"),
            "APIVersion": part("apiVersion"), "ResourceVersion": part("resourceVersion"),
            "FieldPath": part("fieldPath"),
        }),
        "count" => value.as_i64().unwrap_or(0).into(),
        "firstTimestamp" | "lastTimestamp" | "eventTime" => value.clone(),
        _ => value.as_str().unwrap_or_default().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mistake::aggregate;

    fn event() -> Value {
        json!({
            "apiVersion": "v1", "metadata": {"namespace": "n"}, "involvedObject": {"kind": "Pod", "namespace": "n"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "x.io/c", "reportingInstance": "i",
            "action": "A", "reason": "R", "message": "m", "type": "Normal",
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut event = event();
        event[field] = value;
        event
    }

    #[test]
    fn events_of_the_newer_group_are_judged_strictly() {
        let check = |field: &str, value: Value, wanted: &str| {
            assert_eq!(aggregate(&newer(&with(field, value))), wanted, "{field}");
        };
        check("action", json!("A"), "[]");
        check("action", json!(""), "action: Required value");
        check(
            "reason",
            json!("x".repeat(129)),
            "reason: Invalid value: \"\": can have at most 128 characters",
        );
        check(
            "message",
            json!("x".repeat(1025)),
            "message: Invalid value: \"\": can have at most 1024 characters",
        );
        check("count", json!(1), "count: Invalid value: \"\": needs to be unset");
        check("source", json!({"host": "h"}), "source: Invalid value: \"\": needs to be unset");
        check(
            "series",
            json!({"count": 1}),
            "[series.count: Invalid value: \"\": should be at least 2, series.lastObservedTime: Required value]",
        );
        check(
            "involvedObject",
            json!({}),
            "involvedObject.namespace: Invalid value: \"\": does not match event.namespace",
        );
    }

    #[test]
    fn only_the_series_goes_on() {
        let check = |field: &str, value: Value, wanted: &str| {
            assert_eq!(aggregate(&newer_update(&with(field, value), &event())), wanted, "{field}");
        };
        check("series", json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:05.000000Z"}), "[]");
        check("message", json!("x"), "message: Invalid value: \"x\": field is immutable");
        check(
            "related",
            json!({"kind": "Node", "name": "a"}),
            "related: Invalid value: {\"Kind\":\"Node\",\"Namespace\":\"\",\"Name\":\"a\",\"UID\":\"\",\
             \"APIVersion\":\"\",\"ResourceVersion\":\"\",\"FieldPath\":\"\"}: field is immutable",
        );
        check("count", json!(4), "count: Invalid value: 4: field is immutable");
    }
}
