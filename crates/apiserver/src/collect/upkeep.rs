//! What wears out: Events that are old, and IPAddresses that somebody deleted although a Service has them.

use std::time::Duration;

use serde::Deserialize;
use store::Range;
use tokio::sync::watch::Receiver;
use tracing::{info, warn};

use crate::allocate;
use crate::body::time::{Precision, parse};
use crate::kinds::Kind;
use crate::rest::{self, Rest};

/// How often it is looked for old Events.
const LOOK: Duration = Duration::from_secs(60);
/// How many go in one transaction.
const STRIDE: usize = 500;

/// Removes Events `age` after they happened last, until it is told to stop.
pub async fn expire_events(rest: Rest, age: Duration, mut stopping: Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stopping.wait_for(|stops| *stops) => return,
        }
        while remove_some(&rest, age).await {}
    }
}

/// Removes some of the old ones; answers whether there may be more.
pub(super) async fn remove_some(rest: &Rest, age: Duration) -> bool {
    let table = Kind::find("", "v1", "events").expect("events are served").table;
    let Ok(page) = rest.store.list(table, &Range::default(), None) else { return false };
    let limit = (rest.clock.now)().seconds.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    let old =
        page.entries.into_iter().filter(|(_, entry)| last(&entry.value).is_some_and(|last| last < limit));
    let old: Vec<_> = old.take(STRIDE).map(|(key, entry)| (key, entry.value)).collect();
    if old.is_empty() {
        return false;
    }
    let is_full = old.len() == STRIDE;
    let removed = rest.write(false, move |writing| {
        for (key, seen) in &old {
            // One that happened again in the meantime stays.
            if writing.get(table, key).as_ref() == Some(seen) {
                writing.delete(table, key);
            }
        }
        Ok(())
    });
    match removed.await {
        Ok(()) => is_full,
        Err(status) => {
            warn!(error = %status.message, "old events were not removed");
            false
        }
    }
}

/// When an Event happened last, in seconds since 1970.
fn last(text: &[u8]) -> Option<i64> {
    let event: Event = serde_json::from_slice(text).ok()?;
    let times = [
        event.series.last_observed_time,
        event.last_timestamp,
        event.event_time,
        event.metadata.creation_timestamp,
    ];
    // A fraction is read and dropped.
    let seconds = |time: String| parse(&time, Precision::Seconds).ok().map(|instant| instant.seconds);
    times.into_iter().flatten().filter_map(seconds).max()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    metadata: Metadata,
    series: Series,
    last_timestamp: Option<String>,
    event_time: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    creation_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    last_observed_time: Option<String>,
}

/// Notes addresses again that are deleted while their Services have them, until it is told to stop.
pub async fn hold_addresses(rest: Rest, mut stopping: Receiver<bool>) {
    let table = Kind::find("networking.k8s.io", "v1", "ipaddresses").expect("they are served").table;
    loop {
        let Ok(mut watch) = rest.store.watch(table, rest.store.revision()) else { continue };
        loop {
            let batch = tokio::select! {
                batch = watch.next() => batch,
                _ = stopping.wait_for(|stops| *stops) => return,
            };
            let Ok(batch) = batch else { break };
            for change in &batch.changes {
                let Some(before) = change.before.as_ref().filter(|_| change.after.is_none()) else {
                    continue;
                };
                hold(&rest, rest::object(&before.value)).await;
            }
        }
    }
}

pub(super) async fn hold(rest: &Rest, deleted: serde_json::Value) {
    let name = deleted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    match rest.write(false, move |writing| Ok(allocate::restore(writing, &deleted))).await {
        Ok(true) => info!(address = %name, "an IPAddress that a Service has was deleted and is there again"),
        Ok(false) => {}
        Err(status) => warn!(address = %name, error = %status.message, "an address was not noted again"),
    }
}
