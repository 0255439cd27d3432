//! The ServiceCIDRs: from which ranges addresses are given, and when a range may go.
//!
//! Kubernetes has a controller mark a range as ready before addresses are given out of it. Here a range is used from
//! the write on that made it, unless it says that it is not ready: there is one server, which knows it at once.

use serde_json::{Value, json};

use super::addresses;
use crate::address;
use crate::body::time::Precision;
use crate::kinds::Kind;
use crate::range::Range;
use crate::writing::Writing;

/// The range that the server was set up with.
pub(super) const OWN: &str = "kubernetes";
/// What keeps a range that still has addresses.
pub(super) const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// The kind ServiceCIDR.
pub(super) fn kind() -> &'static Kind {
    Kind::find("networking.k8s.io", "v1", "servicecidrs").expect("it is served")
}

/// Answers the ranges that the server was set up with.
pub(super) fn own(writing: &Writing<'_>) -> Vec<Range> {
    writing.object(kind(), OWN).as_ref().map(ranges).unwrap_or_default()
}

/// Answers the ranges from which addresses are given.
pub(super) fn usable(writing: &Writing<'_>) -> Vec<Range> {
    let mut all: Vec<Range> =
        every(writing).iter().filter(|object| is_usable(object)).flat_map(ranges).collect();
    all.sort_unstable_by_key(|range| (range.address, range.length));
    all.dedup();
    all
}

fn every(writing: &Writing<'_>) -> Vec<Value> {
    let parse = |(_, bytes): (String, bytes::Bytes)| serde_json::from_slice(&bytes).ok();
    writing.list(kind().table, "").into_iter().filter_map(parse).collect()
}

fn is_usable(object: &Value) -> bool {
    !is_going(object) && ready(object).is_none_or(|condition| condition["status"] == "True")
}

fn is_going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

fn ready(object: &Value) -> Option<&Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Ready")
}

/// Answers the ranges of a ServiceCIDR.
fn ranges(object: &Value) -> Vec<Range> {
    let texts = object["spec"]["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.filter_map(Range::parse).map(Range::masked).collect()
}

/// Brings every ServiceCIDR into its order, as the controller of Kubernetes does: it is ready and stays as long as it has
/// addresses that no other range has; one that shall go goes when it has none. Answers what was written.
pub fn settle(writing: &mut Writing<'_>) -> Vec<String> {
    let mut written = Vec::new();
    for mut object in every(writing) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let before = object.clone();
        if !is_going(&object) {
            add_finalizer(&mut object);
            set_ready(writing, &mut object, ("True", "", "Kubernetes Service CIDR is ready"));
        } else if is_needed(writing, &object) {
            let why = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
            set_ready(writing, &mut object, ("False", "Terminating", why));
        } else {
            remove_finalizer(&mut object);
        }
        if object == before {
            continue;
        }
        if is_going(&object) && object["metadata"].get("finalizers").is_none() {
            writing.delete(kind().table, &name);
            written.push(format!("ServiceCIDR {name} is gone"));
        } else {
            writing.put_object(kind(), &mut object);
            written.push(format!("ServiceCIDR {name} is settled"));
        }
    }
    written
}

/// Whether there are addresses in it that are in no range that stays.
fn is_needed(writing: &Writing<'_>, object: &Value) -> bool {
    let (going, staying) = (ranges(object), usable(writing));
    let holds = |ranges: &[Range], address| ranges.iter().any(|range| addresses::holds(*range, address));
    let all = writing.list(addresses::kind().table, "");
    let mut all = all.iter().filter_map(|(key, _)| address::lenient(key));
    all.any(|address| holds(&going, address) && !holds(&staying, address))
}

fn add_finalizer(object: &mut Value) {
    let finalizers = &mut object["metadata"]["finalizers"];
    match finalizers.as_array_mut() {
        Some(list) if list.iter().any(|one| one == FINALIZER) => {}
        Some(list) => list.push(FINALIZER.into()),
        None => *finalizers = json!([FINALIZER]),
    }
}

fn remove_finalizer(object: &mut Value) {
    let Some(meta) = object["metadata"].as_object_mut() else { return };
    if let Some(list) = meta.get_mut("finalizers").and_then(Value::as_array_mut) {
        list.retain(|one| one != FINALIZER);
        if list.is_empty() {
            meta.remove("finalizers");
        }
    }
}

/// Sets the condition Ready; its time only if it changes.
pub(super) fn set_ready(
    writing: &Writing<'_>,
    object: &mut Value,
    (status, reason, message): (&str, &str, &str),
) {
    let same = |old: &Value| old["status"] == status && old["reason"] == reason && old["message"] == message;
    if ready(object).is_some_and(same) {
        return;
    }
    let time = match ready(object) {
        Some(old) if old["status"] == status => old["lastTransitionTime"].clone(),
        Some(_) | None => writing.now.print(Precision::Seconds).into(),
    };
    let condition = json!({"type": "Ready", "status": status, "lastTransitionTime": time, "reason": reason, "message": message});
    let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    match conditions.iter_mut().find(|condition| condition["type"] == "Ready") {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
    object["status"] = json!({"conditions": conditions});
}
