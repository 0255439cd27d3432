//! Looking for stale UDP flows in a large connection tracking table, against the kernel's own time to tell of it; and
//! what that does to a change of rules meanwhile.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use desired::{Desired, UdpFrontends};
use model::{Family, Protocol, ServiceView};
use objects::Objects;
use sys::conntrack::Conntrack;
use sys::testing::flows::{NewFlow, create_flows};
use sys::testing::in_new_network_namespace;

use super::Size;
use super::cluster::{Cluster, options};
use super::figures::{median, ms, resident};

/// How large the table is.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Table {
    /// Entries: half of them TCP, a quarter UDP to Services, a quarter other UDP
    #[arg(long, default_value_t = 1_000_000)]
    entries: u32,
    /// Services, each with a frontend that is looked for
    #[arg(long, default_value_t = 10_000)]
    services: u32,
}

/// Endpoints of each Service.
const ENDPOINTS: u32 = 10;
/// One in so many flows to Services goes to an endpoint that is gone.
const ONE_STALE_IN: u32 = 50;
/// How often each time is taken.
const ROUNDS: usize = 5;
const MOST: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";

/// Runs the benchmark.
pub(super) fn run(table: Table) -> Result<()> {
    println!(
        "{} tracked connections, {} Services x {ENDPOINTS} endpoints, IPv4",
        table.entries, table.services
    );
    sys::memory::use_one_heap();
    // Both are settings of the whole machine.
    let _most = Setting::raise(MOST, table.entries + table.entries / 10)?;
    let _buckets = Setting::raise(BUCKETS, table.entries / 4)?;
    in_new_network_namespace(|| measure(table)).context("this process may not make network namespaces")?
}

/// A setting that is put back when this is dropped.
struct Setting {
    file: &'static str,
    before: String,
}

impl Setting {
    fn raise(file: &'static str, least: u32) -> Result<Self> {
        let before = fs::read_to_string(file).with_context(|| format!("reading {file}"))?.trim().to_owned();
        if before.parse::<u32>().is_ok_and(|before| before < least) {
            fs::write(file, least.to_string()).with_context(|| format!("raising {file} to {least}"))?;
        }
        Ok(Self { file, before })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.file, &self.before) {
            eprintln!("{} stays changed, it was {}: {error}", self.file, self.before);
        }
    }
}

fn measure(table: Table) -> Result<()> {
    let failed = |error: sys::Error| anyhow!("failed to {error}");
    let (flows, stale) = flows(table);
    let refused = create_flows(&flows).map_err(failed)?;
    ensure!(refused == 0, "the kernel did not take {refused} of {} flows", flows.len());
    let check = check(table);
    let mut conntrack = Conntrack::open().map_err(failed)?;
    let (mut unfiltered, mut floors, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let (before, _) = resident("self");
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        conntrack.dump_unread(Family::V4, false).map_err(failed)?;
        unfiltered.push(begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        conntrack.dump_unread(Family::V4, true).map_err(failed)?;
        floors.push(begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        let found = conntrack.udp_flows(Family::V4, |flow| check.is_stale(flow)).map_err(failed)?;
        ours.push(begin.elapsed().as_secs_f64());
        ensure!(found.len() == stale, "{} stale flows were found, there are {stale}", found.len());
    }
    let (_, most) = resident("self");
    let (unfiltered, floor, ours) = (median(&mut unfiltered), median(&mut floors), median(&mut ours));
    let time = |seconds: f64| ms(Duration::from_secs_f64(seconds));
    println!("looking for {stale} stale flows (median of {ROUNDS})");
    println!(
        "  ours                                     {:>9}   {:.2} x the kernel's own time",
        time(ours),
        ours / floor
    );
    println!("  the kernel's own time, UDP only          {:>9}", time(floor));
    println!("  the kernel's own time, the whole table   {:>9}", time(unfiltered));
    println!("  memory: {:.1} MiB more at most", (most - before).max(0.0));
    let (quiet, busy) = changes(&check)?;
    println!("one change of rules {}, and while the table is looked through {}", time(quiet), time(busy));
    end_stale(&mut conntrack, &check, (stale, flows.len()))
}

/// Everything that is stale goes, and nothing else.
fn end_stale(
    conntrack: &mut Conntrack,
    check: &desired::FlowCheck,
    (stale, all): (usize, usize),
) -> Result<()> {
    let failed = |error: sys::Error| anyhow!("failed to {error}");
    let found = conntrack.udp_flows(Family::V4, |flow| check.is_stale(flow)).map_err(failed)?;
    let begin = Instant::now();
    let deleted = conntrack.delete(&found).map_err(failed)?;
    println!("ending {deleted} of them {:>9}", ms(begin.elapsed()));
    let left = conntrack.dump_unread(Family::V4, false).map_err(failed)?;
    ensure!(
        deleted == stale && left == all - stale,
        "{deleted} of {stale} were ended, {left} of {all} are left"
    );
    Ok(())
}

/// How long one change takes, alone and while another thread looks through the table again and again.
fn changes(check: &desired::FlowCheck) -> Result<(f64, f64)> {
    let size = Size { services: 1000, endpoints: ENDPOINTS, changes: 200 };
    let mut agent = super::cluster::Agent::started(size)?;
    let quiet = agent.change_times(size, 1)?;
    let stop = AtomicBool::new(false);
    let (mut quiet, mut busy) = std::thread::scope(|scope| {
        let sweep = scope.spawn(|| -> Result<()> {
            let mut conntrack = Conntrack::open().map_err(|error| anyhow!("failed to {error}"))?;
            while !stop.load(Ordering::Relaxed) {
                let stale = conntrack.udp_flows(Family::V4, |flow| check.is_stale(flow));
                stale.map_err(|error| anyhow!("failed to {error}"))?;
            }
            Ok(())
        });
        let busy = agent.change_times(size, 1 + size.changes);
        stop.store(true, Ordering::Relaxed);
        let swept = sweep.join().map_err(|_| anyhow!("the thread that looks through the table panicked"));
        swept.flatten()?;
        busy.map(|busy| (quiet, busy))
    })?;
    Ok((median(&mut quiet), median(&mut busy)))
}

/// The flows, and how many of them are stale.
fn flows(table: Table) -> (Vec<NewFlow>, usize) {
    let mut stale = 0;
    let cluster = Cluster::new(Size { services: table.services, endpoints: ENDPOINTS, changes: 0 });
    let flow = |number: u32| {
        let client = Ipv4Addr::from_bits(0x0a80_0000 + number / 50_000);
        let client = SocketAddr::V4(SocketAddrV4::new(client, (10_000 + number % 50_000) as u16));
        let outside =
            SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from_bits(0xc612_0000 + number % 50_000), 53));
        let (tcp, udp) = (Protocol::Tcp.number(), Protocol::Udp.number());
        let to_service = |endpoint: u32| {
            let destination = SocketAddr::new(cluster.cluster_ip(number % table.services), 80);
            let answers = SocketAddr::new(cluster.endpoint_address(number % table.services, endpoint), 8080);
            (destination, answers)
        };
        match number % 4 {
            0 | 1 => NewFlow { protocol: tcp, client, destination: outside, answers: outside },
            2 => NewFlow { protocol: udp, client, destination: outside, answers: outside },
            _ if (number / 4).is_multiple_of(ONE_STALE_IN) => {
                stale += 1;
                let (destination, _) = to_service(0);
                let answers = SocketAddr::new(Ipv4Addr::new(10, 255, 255, 255).into(), 8080);
                NewFlow { protocol: udp, client, destination, answers }
            }
            _ => {
                let (destination, answers) = to_service(number % ENDPOINTS);
                NewFlow { protocol: udp, client, destination, answers }
            }
        }
    };
    ((0..table.entries).map(flow).collect(), stale)
}

/// What is looked for after a change of every Service: each has UDP frontends, and lost an endpoint.
fn check(table: Table) -> desired::FlowCheck {
    let cluster = Cluster::new(Size { services: table.services, endpoints: ENDPOINTS, changes: 0 });
    let (mut objects, mut desired) = (Objects::default(), Desired::new(options()));
    let mut touched = objects::Touched::default();
    for event in cluster.events() {
        touched.merge(objects.apply(event));
    }
    let changes = desired.changed(&objects, &touched);
    let mut frontends = UdpFrontends::default();
    for key in &changes.services {
        let view = desired.service_view(&objects, key, Family::V4).map(as_udp);
        frontends.set_service(key, view.as_ref());
    }
    frontends.take_check().unwrap_or_default()
}

/// The cluster of the benchmarks speaks TCP.
fn as_udp(mut view: ServiceView) -> ServiceView {
    for port in &mut view.ports {
        port.protocol = Protocol::Udp;
    }
    view
}
