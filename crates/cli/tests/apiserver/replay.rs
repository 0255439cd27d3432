//! What a client knows that lists once and follows the watch, and what it must never be told.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::answers::{Call, CallError, Client};

/// The objects of a collection as one client knows them.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Replica {
    pub(crate) objects: BTreeMap<String, Value>,
    /// Everything up to here is known.
    pub(crate) revision: u64,
}

/// What a frame was besides an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Change,
    Bookmark {
        ends_initial: bool,
    },
    /// The history is gone: list again.
    Expired,
}

impl Replica {
    /// Takes a whole list.
    pub(crate) fn of_list(list: &Value) -> Self {
        let items = list["items"].as_array().unwrap_or_else(|| panic!("no list: {list}"));
        let objects = items.iter().map(|item| (name(item), bare(item))).collect();
        Self { objects, revision: revision(list) }
    }

    /// Takes a frame of a watch; says what would make a client's cache wrong.
    pub(crate) fn apply(&mut self, frame: &Value) -> Result<Told, String> {
        let (object, at) = (&frame["object"], revision(&frame["object"]));
        let kind = frame["type"].as_str().unwrap_or_default();
        if kind == "ERROR" {
            return if object["code"] == 410 { Ok(Told::Expired) } else { Err(format!("{frame}")) };
        }
        if kind == "BOOKMARK" {
            if at < self.revision {
                return Err(format!("a bookmark at {at} after {}", self.revision));
            }
            self.revision = at;
            let ends_initial = object["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true";
            return Ok(Told::Bookmark { ends_initial });
        }
        if at <= self.revision {
            return Err(format!("{kind} of {} at {at}, after {}", name(object), self.revision));
        }
        let before = match kind {
            "ADDED" | "MODIFIED" => self.objects.insert(name(object), bare(object)),
            "DELETED" => self.objects.remove(&name(object)),
            _ => return Err(format!("{frame}")),
        };
        if before.is_some() == (kind == "ADDED") {
            return Err(format!("{kind} of {}, which was known as {before:?}", name(object)));
        }
        self.revision = at;
        Ok(Told::Change)
    }

    /// Takes one of the objects that were there when the watch began: they come in no order.
    pub(crate) fn apply_initial(&mut self, frame: &Value) -> Result<(), String> {
        let object = &frame["object"];
        match self.objects.insert(name(object), bare(object)) {
            None if frame["type"] == "ADDED" => Ok(()),
            _ => Err(format!("at the beginning: {frame}")),
        }
    }
}

/// The object without what the items of a list do not have: they are of the list's kind.
pub(crate) fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, _| name != "apiVersion" && name != "kind");
    }
    object
}

pub(crate) fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_else(|| panic!("no name: {object}")).to_owned()
}

pub(crate) fn revision(object: &Value) -> u64 {
    let revision = object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
    revision.unwrap_or_default()
}

/// Lists a collection, in pages where a limit is given; they must be of one moment.
pub(crate) async fn list(
    client: &mut Client,
    path: &str,
    limit: Option<usize>,
) -> Result<Replica, CallError> {
    let joined =
        |path: &str, more: &str| format!("{path}{}{more}", if path.contains('?') { "&" } else { "?" });
    let Some(limit) = limit else {
        return Ok(Replica::of_list(&client.call(&Call::new(http::Method::GET, path)).await?.json()));
    };
    let mut all = Replica::default();
    let mut next = joined(path, &format!("limit={limit}"));
    loop {
        let page = client.call(&Call::new(http::Method::GET, &next)).await?.json();
        let one = Replica::of_list(&page);
        assert!(all.revision == 0 || all.revision == one.revision, "pages of one list at different moments");
        assert!(one.objects.len() <= limit, "{} objects, limit {limit}", one.objects.len());
        all.revision = one.revision;
        all.objects.extend(one.objects);
        match page["metadata"]["continue"].as_str() {
            // The token has the moment in it, which may not be asked for twice.
            Some(token) if !token.is_empty() => {
                let path = path.split("&resourceVersion=").next().unwrap_or_default();
                next = joined(path, &format!("limit={limit}&continue={token}"));
            }
            Some(_) | None => return Ok(all),
        }
    }
}

/// Numbers that are the same in each run of the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`, by SplitMix64.
    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// Runs asynchronous code to its end.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_replica_notices_what_is_wrong() {
    let object = |name: &str, at: u64| serde_json::json!({"metadata": {"name": name, "resourceVersion": at.to_string()}});
    let event = |kind: &str, name: &str, at| serde_json::json!({"type": kind, "object": object(name, at)});
    let begin = Replica::of_list(&serde_json::json!({
        "metadata": {"resourceVersion": "5"}, "items": [object("a", 3)]}));
    for (frame, expected) in [
        (event("ADDED", "b", 6), Ok(Told::Change)),
        (event("MODIFIED", "a", 6), Ok(Told::Change)),
        (event("DELETED", "a", 6), Ok(Told::Change)),
        (event("BOOKMARK", "", 5), Ok(Told::Bookmark { ends_initial: false })),
        (serde_json::json!({"type": "ERROR", "object": {"code": 410}}), Ok(Told::Expired)),
        (event("ADDED", "a", 6), Err("which was known")),
        (event("MODIFIED", "b", 6), Err("which was known")),
        (event("DELETED", "b", 6), Err("which was known")),
        (event("ADDED", "b", 5), Err("after 5")),
        (event("BOOKMARK", "", 4), Err("after 5")),
        (serde_json::json!({"type": "ERROR", "object": {"code": 500}}), Err("500")),
    ] {
        match (begin.clone().apply(&frame), expected) {
            (Ok(told), Ok(expected)) => assert_eq!(told, expected, "{frame}"),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{frame}: {error}"),
            (got, expected) => panic!("{frame}: {got:?}, expected {expected:?}"),
        }
    }
}
