//! What the real server wants of an event of `events.k8s.io/v1`; see `ValidateEventCreate` and `ValidateEventUpdate` in
//! Kubernetes' `pkg/apis/core/validation/events.go`. Unlike other mistakes these would go unnoticed by who records them.

use serde_json::Value;

use super::status::Refusal;

/// What may not be empty, with the largest number of bytes.
const REQUIRED: [(&str, usize); 5] = [
    ("eventTime", usize::MAX),
    ("reportingController", 63),
    ("reportingInstance", 128),
    ("action", 128),
    ("reason", 128),
];
const MAX_NOTE: usize = 1024;
/// What an update may not change.
const IMMUTABLE: [&str; 9] = [
    "regarding",
    "related",
    "reason",
    "note",
    "type",
    "eventTime",
    "action",
    "reportingController",
    "reportingInstance",
];

/// Refuses an event that the real server refuses.
pub(super) fn check(before: Option<&Value>, event: &Value) -> Result<(), Refusal> {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    for (field, limit) in REQUIRED {
        if text(field).is_empty() {
            return Err(Refusal::invalid(format!("{field}: Required value")));
        }
        if text(field).len() > limit {
            return Err(Refusal::invalid(format!("{field}: can have at most {limit} characters")));
        }
    }
    if text("note").len() > MAX_NOTE {
        return Err(Refusal::invalid(format!("message: can have at most {MAX_NOTE} characters")));
    }
    if !matches!(text("type"), "Normal" | "Warning") {
        return Err(Refusal::invalid(format!("type: has invalid value: {}", text("type"))));
    }
    let namespace = event["metadata"]["namespace"].as_str().unwrap_or_default();
    let regarded = event["regarding"]["namespace"].as_str().unwrap_or_default();
    if regarded.is_empty() && !matches!(namespace, "default" | "kube-system") {
        return Err(Refusal::invalid("involvedObject.namespace: does not match event.namespace"));
    }
    check_series(&event["series"])?;
    let changed = |before: &Value| IMMUTABLE.into_iter().find(|field| before[field] != event[field]);
    match before.and_then(changed) {
        Some(field) => Err(Refusal::invalid(format!("{field}: field is immutable"))),
        None => Ok(()),
    }
}

fn check_series(series: &Value) -> Result<(), Refusal> {
    if series.is_null() {
        return Ok(());
    }
    if series["count"].as_u64().is_none_or(|count| count < 2) {
        return Err(Refusal::invalid("series.count: should be at least 2"));
    }
    if series["lastObservedTime"].as_str().is_none_or(str::is_empty) {
        return Err(Refusal::invalid("series.lastObservedTime: Required value"));
    }
    Ok(())
}
