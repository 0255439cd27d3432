//! Waits until the endpoint controllers are at rest and describes what they wrote, free of chance.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::case::Settle;
use super::client::{Call, Client};
use super::frames::Frames;

/// Controllers that are not at rest by then never will be.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where more endpoints are, only their number is compared: which of them is in which slice is up to chance.
const MANY: usize = 20;
/// What the watches are of, as it is called in responses.
const KINDS: [&str; 2] = ["slices", "endpoints"];

/// Watches slices and Endpoints of a namespace.
pub(super) struct Settler {
    collections: [String; 2],
    watches: [Frames; 2],
}

impl Settler {
    pub(super) async fn start(client: &mut Client, namespace: &str) -> Result<Self, String> {
        let collections = [
            format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"),
            format!("/api/v1/namespaces/{namespace}/endpoints"),
        ];
        let watches = [watch(client, &collections[0]).await?, watch(client, &collections[1]).await?];
        Ok(Self { collections, watches })
    }

    /// Waits, and answers slices, Endpoints and how often they were written since the last time.
    pub(super) async fn settle(
        &mut self,
        client: &mut Client,
        settle: &Settle,
    ) -> Result<Map<String, Value>, String> {
        let writes = self.writes(settle.quiet).await;
        let slices = items(client, &self.collections[0]).await?;
        let endpoints = items(client, &self.collections[1]).await?;
        let mut seen = Map::new();
        seen.insert("slices".into(), slices_seen(slices, settle));
        seen.insert("endpoints".into(), endpoints.iter().map(endpoints_seen).collect());
        seen.insert("writes".into(), writes);
        let mut seen = Value::Object(seen);
        in_order(&mut seen);
        Ok(seen.as_object().cloned().unwrap_or_default())
    }

    async fn writes(&mut self, quiet: Duration) -> Value {
        let limit = Instant::now() + PATIENCE;
        let mut writes: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
        let [slices, endpoints] = &mut self.watches;
        loop {
            let rest = limit.min(Instant::now() + quiet);
            let (kind, frame) = tokio::select! {
                frame = slices.next() => (KINDS[0], frame),
                frame = endpoints.next() => (KINDS[1], frame),
                () = tokio::time::sleep_until(rest) => break,
            };
            // A watch that ended says nothing more; the other one goes on until it is quiet.
            let Some(frame) = frame else { break };
            let event = frame["type"].as_str().unwrap_or_default().to_owned();
            *writes.entry(kind).or_default().entry(event).or_default() += 1;
        }
        json!(writes)
    }
}

/// Puts the ports of recorded Endpoints, and the subsets themselves, into one order: Kubernetes sorts them by hashes of how
/// Go prints them.
pub(super) fn in_order(response: &mut Value) {
    let endpoints = response.get_mut("endpoints").and_then(Value::as_array_mut);
    for subsets in endpoints.into_iter().flatten().filter_map(|one| one["subsets"].as_array_mut()) {
        for ports in subsets.iter_mut().filter_map(|subset| subset.get_mut("ports")?.as_array_mut()) {
            ports.sort_by_key(Value::to_string);
        }
        subsets.sort_by_key(Value::to_string);
    }
}

/// Answers which numbers of writes are not as recorded: a number is exact, `min` and `max` are a range.
pub(super) fn wrong_writes(want: &Value, got: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for kind in KINDS {
        for event in ["ADDED", "MODIFIED", "DELETED"] {
            let number = |value: &Value| value.as_u64().unwrap_or_default();
            let (want, got) = (&want[kind][event], number(&got[kind][event]));
            let (least, most) = if want.is_object() {
                (number(&want["min"]), number(&want["max"]))
            } else {
                (number(want), number(want))
            };
            if !(least..=most).contains(&got) {
                wrong.push(format!("writes of {kind}: want {event} {want}, got {got}"));
            }
        }
    }
    wrong
}

async fn watch(client: &mut Client, collection: &str) -> Result<Frames, String> {
    let list = client.call(&Call::new(Method::GET, collection)).await?.json();
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let call = Call::new(Method::GET, &format!("{collection}?watch=1&resourceVersion={revision}"));
    let (answer, frames) = client.watch(&call).await?;
    if answer.code == 200 {
        Ok(frames)
    } else {
        Err(format!("{collection}: the watch answers {}", answer.code))
    }
}

async fn items(client: &mut Client, collection: &str) -> Result<Vec<Value>, String> {
    let list = client.call(&Call::new(Method::GET, collection)).await?.json();
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn slices_seen(slices: Vec<Value>, settle: &Settle) -> Value {
    let total: usize = slices.iter().map(|slice| list(slice, "endpoints").len()).sum();
    if settle.total {
        return json!({"slices": slices.len(), "endpoints": total});
    }
    let mut seen: Vec<Value> =
        slices.iter().map(|slice| slice_seen(slice, settle.counts_hints, total > MANY)).collect();
    seen.sort_by_key(order);
    seen.into()
}

/// The order in which slices were recorded.
fn order(slice: &Value) -> (String, String, std::cmp::Reverse<usize>, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let endpoints = &slice["endpoints"];
    let count = endpoints.as_u64().map_or_else(|| list(slice, "endpoints").len(), |count| count as usize);
    let service = text(&slice["labels"]["kubernetes.io/service-name"]);
    (
        text(&slice["addressType"]),
        service,
        std::cmp::Reverse(count),
        slice["ports"].to_string(),
        endpoints.to_string(),
    )
}

fn slice_seen(slice: &Value, counts_hints: bool, many: bool) -> Value {
    let mut seen = meta(slice);
    let mut ports = list(slice, "ports");
    ports.sort_by_key(|port| (port["name"].to_string(), port["protocol"].to_string()));
    let mut endpoints: Vec<Value> = list(slice, "endpoints").into_iter().map(with_short_target).collect();
    endpoints.sort_by_key(|endpoint| address(endpoint["addresses"][0].as_str().unwrap_or_default()));
    if counts_hints {
        seen.insert("hintedZones".into(), hinted_zones(&mut endpoints));
    }
    seen.insert("addressType".into(), slice["addressType"].clone());
    seen.insert("ports".into(), ports.into());
    if many {
        let prefix = slice["metadata"]["generateName"].as_str().unwrap_or_default();
        seen.insert("name".into(), format!("{prefix}*").into());
        seen.insert("endpoints".into(), endpoints.len().into());
    } else {
        seen.insert("endpoints".into(), endpoints.into());
    }
    seen.into()
}

/// How many endpoints are hinted to each zone; which of them is up to chance.
fn hinted_zones(endpoints: &mut [Value]) -> Value {
    let mut zones: BTreeMap<String, u64> = BTreeMap::new();
    for endpoint in endpoints.iter_mut().filter_map(Value::as_object_mut) {
        let hints = endpoint.remove("hints").unwrap_or_default();
        for zone in list(&hints, "forZones") {
            *zones.entry(zone["name"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    json!(zones)
}

fn endpoints_seen(endpoints: &Value) -> Value {
    let mut seen = meta(endpoints);
    let subsets = list(endpoints, "subsets").into_iter().map(|subset| {
        let mut seen = Map::new();
        for field in ["addresses", "notReadyAddresses"] {
            let addresses: Vec<Value> = list(&subset, field).into_iter().map(with_short_target).collect();
            if addresses.len() > MANY {
                seen.insert(field.into(), addresses.len().into());
            } else if !addresses.is_empty() {
                seen.insert(field.into(), addresses.into());
            }
        }
        if !list(&subset, "ports").is_empty() {
            seen.insert("ports".into(), subset["ports"].clone());
        }
        Value::Object(seen)
    });
    seen.insert("subsets".into(), subsets.collect());
    seen.into()
}

fn meta(object: &Value) -> Map<String, Value> {
    let metadata = &object["metadata"];
    let mut seen = Map::from_iter([("name".to_owned(), metadata["name"].clone())]);
    for field in ["labels", "annotations"] {
        if metadata[field].as_object().is_some_and(|map| !map.is_empty()) {
            seen.insert(field.into(), metadata[field].clone());
        }
    }
    let owners = list(metadata, "ownerReferences");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let flag = |value: &Value| match value.as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "None",
    };
    let owners: Vec<Value> = owners
        .iter()
        .map(|owner| {
            let (kind, name) = (text(&owner["kind"]), text(&owner["name"]));
            let (controller, block) = (flag(&owner["controller"]), flag(&owner["blockOwnerDeletion"]));
            format!("{kind}/{name} controller={controller} block={block}").into()
        })
        .collect();
    if !owners.is_empty() {
        seen.insert("owners".into(), owners.into());
    }
    seen
}

/// Only names were recorded of what an endpoint leads to.
fn with_short_target(mut endpoint: Value) -> Value {
    if let Some(target) = endpoint.get_mut("targetRef").and_then(Value::as_object_mut) {
        target.retain(|field, _| matches!(field.as_str(), "kind" | "name" | "namespace"));
    }
    endpoint
}

fn list(object: &Value, field: &str) -> Vec<Value> {
    object[field].as_array().cloned().unwrap_or_default()
}

/// Addresses in the order of their numbers, before anything else.
fn address(text: &str) -> (Option<std::cmp::Reverse<bool>>, Option<IpAddr>, String) {
    let parsed: Option<IpAddr> = text.parse().ok();
    (parsed.map(|address| std::cmp::Reverse(address.is_ipv4())), parsed, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_exact_or_in_a_range() {
        let want = json!({"slices": {"ADDED": 1, "MODIFIED": {"min": 1, "max": 2}}});
        let none: [&str; 0] = [];
        assert_eq!(wrong_writes(&want, &json!({"slices": {"ADDED": 1, "MODIFIED": 2}})), none);
        let got = json!({"slices": {"MODIFIED": 3}, "endpoints": {"DELETED": 1}});
        assert_eq!(wrong_writes(&want, &got).len(), 3);
    }

    #[test]
    fn many_endpoints_are_only_counted() {
        let slice = |name: &str, count: usize| {
            let endpoints: Vec<Value> =
                (0..count).map(|number| json!({"addresses": [format!("10.0.0.{number}")]})).collect();
            json!({"metadata": {"name": name, "generateName": "a-"}, "addressType": "IPv4", "endpoints": endpoints})
        };
        let settle = Settle { quiet: Duration::ZERO, total: false, counts_hints: false };
        let seen = slices_seen(vec![slice("a-1", 1), slice("a-2", 20)], &settle);
        assert_eq!((&seen[0]["endpoints"], &seen[1]["name"]), (&json!(20), &json!("a-*")));
        let seen = slices_seen(vec![slice("a-1", 1), slice("a-2", 19)], &settle);
        assert_eq!(seen[1]["name"], "a-1");
        assert_eq!(seen[0]["endpoints"][18]["addresses"], json!(["10.0.0.18"]));
        let seen = slices_seen(vec![slice("a-1", 1)], &Settle { total: true, ..settle });
        assert_eq!(seen, json!({"slices": 1, "endpoints": 1}));
    }
}
