//! One change for many watches: how long until the last of them has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::client::{Asked, Client, JSON, PROTOBUF, Target};
use super::load::{SLICES, slice};
use super::plain::Plain;
use super::reads::row;
use crate::bench::Size;

/// Connections, and watches on each.
const CONNECTIONS: usize = 10;
const STREAMS: usize = 100;
/// How often something changes.
const CHANGES: u32 = 100;
/// How long a change may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What has arrived, of everything.
#[derive(Default)]
struct Arrived {
    count: AtomicUsize,
    all: Notify,
}

/// Measures it, in both languages.
pub(super) async fn run(target: &Target, plain: &Plain, size: Size) -> Result<()> {
    let watches = CONNECTIONS * STREAMS;
    println!(
        "one changed slice for {watches} watches on {CONNECTIONS} connections, {CHANGES} times: until the last has it"
    );
    let other = Target { address: plain.address, ..target.clone() };
    for (at, (language, accept)) in (0_u32..).zip([("JSON", JSON), ("protobuf", PROTOBUF)]) {
        let change = |number: u32| {
            let slice = slice(0, size.endpoints, 1 + at * CHANGES + number);
            (format!("{SLICES}/s0-x7k2p"), slice.to_string())
        };
        let path = format!("{SLICES}?watch=1&resourceVersion={}", revision(target).await?);
        let mut frame = Vec::new();
        let mut ours = fan_out(target, (&path, accept), change, &mut frame).await?;
        plain.answers(frame);
        let change = |_| ("/change".to_owned(), "{}".to_owned());
        let mut theirs = fan_out(&other, ("/watch", accept), change, &mut Vec::new()).await?;
        row(language, &mut ours, &mut theirs);
    }
    Ok(())
}

async fn revision(target: &Target) -> Result<String> {
    let path = format!("{SLICES}?limit=1");
    let list = Client::connect(target).await?.ask(Asked::get(&path, JSON)).await?;
    let list: serde_json::Value = serde_json::from_slice(&list)?;
    Ok(list["metadata"]["resourceVersion"].as_str().context("a list has a revision")?.to_owned())
}

async fn fan_out(
    target: &Target,
    (path, accept): (&str, &str),
    change: impl Fn(u32) -> (String, String),
    frame: &mut Vec<u8>,
) -> Result<Vec<Duration>> {
    let arrived = Arc::new(Arrived::default());
    let mut first = None;
    for _ in 0..CONNECTIONS {
        let mut client = Client::connect(target).await?;
        for _ in 0..STREAMS {
            let response = client.begin(Asked::get(path, accept)).await?;
            ensure!(response.status().is_success(), "{}", response.status());
            let body = response.into_body();
            if first.is_none() {
                first = Some(body);
            } else {
                tokio::spawn(read(body, accept == PROTOBUF, arrived.clone()));
            }
        }
    }
    // One watch is read here: what it gets is what the floor sends.
    let mut first = first.context("there is a first watch")?;
    let mut writer = Client::connect(target).await?;
    let mut times = Vec::new();
    for number in 0..CHANGES {
        let (path, body) = change(number);
        arrived.count.store(1, Ordering::Release);
        let begin = Instant::now();
        let asked = writer.ask(Asked::json("PUT", &path, body));
        let all = async {
            frame.clear();
            while count(frame, accept == PROTOBUF) == 0 {
                let part = first.frame().await.context("a watch ended")??;
                frame.extend_from_slice(part.data_ref().map_or(&[], |bytes| bytes));
            }
            while arrived.count.load(Ordering::Acquire) < CONNECTIONS * STREAMS {
                arrived.all.notified().await;
            }
            anyhow::Ok(begin.elapsed())
        };
        let (answer, all) = tokio::join!(asked, tokio::time::timeout(LIMIT, all));
        answer?;
        times.push(all.context("a change did not reach all watches")??);
    }
    Ok(times)
}

async fn read(mut body: Incoming, is_protobuf: bool, arrived: Arc<Arrived>) {
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(Ok(part)) = body.frame().await {
        bytes.extend_from_slice(part.data_ref().map_or(&[], |bytes| bytes));
        let events = count(&bytes, is_protobuf);
        if events == 0 {
            continue;
        }
        bytes.clear();
        if arrived.count.fetch_add(events, Ordering::AcqRel) + events == CONNECTIONS * STREAMS {
            arrived.all.notify_one();
        }
    }
}

/// Whole events. Changes come one by one, so nothing stands behind the last of them.
fn count(bytes: &[u8], is_protobuf: bool) -> usize {
    if !is_protobuf {
        return usize::from(bytes.last() == Some(&b'\n'));
    }
    let length = bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize);
    usize::from(length.is_some_and(|length| bytes.len() >= 4 + length))
}
