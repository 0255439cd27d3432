//! Lists of everything, and one object: against the same bytes from a server that has nothing to do.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::client::{Asked, Client, JSON, PROTOBUF, Target};
use super::load::{self, CONFIG_MAPS, SERVICES, SLICES};
use super::plain::Plain;
use super::writes;
use crate::bench::figures::{ms, percentile};

/// How often a list is asked for.
const LISTS: usize = 9;
/// How often one object is.
const GETS: usize = 2_000;
const RENEWALS: u32 = 500;

/// Measures lists of Services and of slices.
pub(super) async fn lists(target: &Target, plain: &Plain) -> Result<()> {
    println!("lists, median of {LISTS}");
    for (what, path) in [("Services", SERVICES), ("EndpointSlices", SLICES)] {
        for (language, accept) in [("JSON", JSON), ("protobuf", PROTOBUF)] {
            let asked = Asked::get(path, accept);
            let mut client = Client::connect(target).await?;
            plain.answers(client.ask(asked.clone()).await?);
            let mut floor = Client::connect(&Target { address: plain.address, ..target.clone() }).await?;
            let (mut ours, mut theirs, mut bytes) = (Vec::new(), Vec::new(), 0);
            for _ in 0..LISTS {
                let begin = Instant::now();
                bytes = client.count(asked.clone()).await?;
                ours.push(begin.elapsed());
                let begin = Instant::now();
                floor.count(Asked::get("/", accept)).await?;
                theirs.push(begin.elapsed());
            }
            row(&format!("{what}, {language}, {:.1} MB", bytes as f64 / 1e6), &mut ours, &mut theirs);
        }
    }
    Ok(())
}

/// Measures what one object takes when there is nothing else to do.
pub(super) async fn one(target: &Target, plain: &Plain, floor: Duration) -> Result<()> {
    println!("one client, nothing else to do");
    let mut client = Client::connect(target).await?;
    client.ask(Asked::json("POST", CONFIG_MAPS, load::config_map("idle"))).await?;
    let path = format!("{CONFIG_MAPS}/idle");
    plain.answers(client.ask(Asked::get(&path, JSON)).await?);
    let mut other = Client::connect(&Target { address: plain.address, ..target.clone() }).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..GETS {
        let begin = Instant::now();
        client.ask(Asked::get(&path, JSON)).await?;
        ours.push(begin.elapsed());
        let begin = Instant::now();
        other.ask(Asked::get("/", JSON)).await?;
        theirs.push(begin.elapsed());
    }
    row("a ConfigMap of 1 kB read", &mut ours, &mut theirs);
    let revision = writes::first_lease(&mut client, "idle").await?;
    let mut times = writes::renewals(client, ("idle".to_owned(), revision), RENEWALS).await?;
    row("a Lease updated (floor: one fsync)", &mut times, &mut [floor]);
    Ok(())
}

/// Prints a measurement beside its floor.
pub(super) fn row(what: &str, ours: &mut [Duration], floor: &mut [Duration]) {
    let (half, least) = (percentile(ours, 0.5), percentile(floor, 0.5));
    println!(
        "  {what:<36}  p50 {:>8}   p99 {:>8}   floor {:>8}   ratio {:.2}",
        ms(half),
        ms(percentile(ours, 0.99)),
        ms(least),
        half.as_secs_f64() / least.as_secs_f64()
    );
}
