//! `cargo xtask traffic`: the server and prober of `testkit`, in a network namespace. One JSON object a line.

use std::io::{BufRead, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use sys::testing::sockets::die_with_parent;
use testkit::traffic::{Answered, Flow, Injection, Places, Probing, Server, Target};

/// What `cargo xtask traffic` takes.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Answer everybody on these ports, for ever
    Serve(Serve),
    /// Try targets and say what became of each try
    Probe(Probe),
    /// Keep one flow open; reads `ping MILLISECONDS` and `quit`
    Hold(Hold),
    /// Wait until TCP targets have answered
    Await(Await),
    /// Ask for a path over HTTP
    Http(Http),
    /// Send one bare TCP segment
    Inject(Inject),
}

#[derive(Debug, Args)]
struct Place {
    /// The file of a network namespace to enter first
    #[arg(long)]
    netns: Option<PathBuf>,
    /// End when the thread that started this ends
    #[arg(long)]
    with_parent: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    name: String,
    #[arg(long, value_parser = ports, default_value = "")]
    tcp: Ports,
    #[arg(long, value_parser = ports, default_value = "")]
    udp: Ports,
    #[arg(long, value_parser = ports, default_value = "")]
    sctp: Ports,
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    #[command(flatten)]
    place: Place,
    #[arg(long, required = true)]
    to: Vec<Target>,
    #[arg(long, default_value_t = 1)]
    count: usize,
    #[arg(long, default_value_t = 1200)]
    timeout_ms: u64,
    #[arg(long, default_value_t = 1)]
    parallel: usize,
    #[arg(long, default_value_t = 0)]
    interval_ms: u64,
    #[arg(long, value_parser = end)]
    bind: Vec<SocketAddr>,
    #[arg(long, default_value_t = 0)]
    size: usize,
    #[arg(long)]
    keepalive: bool,
    #[arg(long)]
    connect_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Hold {
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    to: Target,
    #[arg(long, value_parser = end)]
    bind: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Await {
    #[command(flatten)]
    place: Place,
    #[arg(long, required = true)]
    to: Vec<Target>,
    #[arg(long, default_value_t = 15_000)]
    give_up_ms: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Http {
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, default_value = "/")]
    path: String,
}

#[derive(Debug, Args)]
pub(crate) struct Inject {
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    from: SocketAddr,
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, default_value_t = 1)]
    seq: u32,
    #[arg(long, default_value_t = 16)]
    flags: u8,
    #[arg(long)]
    learn_ms: Option<u64>,
}

/// A list of ports and ranges, such as `80,9000-9009`.
#[derive(Debug, Clone, Default)]
struct Ports(Vec<u16>);

fn ports(text: &str) -> Result<Ports, String> {
    let mut all = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let wrong = |_| format!("{part}: not a port");
        all.extend(first.parse::<u16>().map_err(wrong)?..=last.parse::<u16>().map_err(wrong)?);
    }
    Ok(Ports(all))
}

/// An address with a port, or without one, which leaves the port to the kernel.
fn end(text: &str) -> Result<SocketAddr, String> {
    let address = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
    text.parse().or_else(|_| address()).map_err(|_| format!("{text}: not an address"))
}

/// Does it. Answers whether everything is as was hoped for.
pub(crate) fn run(action: Action) -> Result<bool> {
    let place = match &action {
        Action::Serve(args) => &args.place,
        Action::Probe(args) => &args.place,
        Action::Hold(args) => &args.place,
        Action::Await(args) => &args.place,
        Action::Http(args) => &args.place,
        Action::Inject(args) => &args.place,
    };
    if place.with_parent {
        die_with_parent();
    }
    if let Some(netns) = &place.netns {
        let file = std::fs::File::open(netns).with_context(|| netns.display().to_string())?;
        sys::netns::enter(&file.into()).map_err(|error| anyhow!("{}: failed to {error}", netns.display()))?;
    }
    match action {
        Action::Serve(args) => serve(args),
        Action::Probe(args) => probe(args),
        Action::Hold(args) => hold(&args),
        Action::Await(args) => {
            let (interval, limit) = (Duration::from_millis(40), Duration::from_millis(args.give_up_ms));
            Ok(testkit::traffic::until_answered(&args.to, interval, limit))
        }
        Action::Http(args) => {
            say(&testkit::traffic::get(args.to, &args.path, Duration::from_secs(2)))?;
            Ok(true)
        }
        Action::Inject(args) => inject(&args),
    }
}

fn serve(args: Serve) -> Result<bool> {
    let places = Places { name: args.name, tcp: args.tcp.0, udp: args.udp.0, sctp: args.sctp.0 };
    let server = Server::open(places).context("opening the server's ports")?;
    println!("ready");
    server.run(|| false);
    Ok(true)
}

fn probe(args: Probe) -> Result<bool> {
    let timeout = Duration::from_millis(args.timeout_ms);
    let interval = Duration::from_millis(args.interval_ms);
    let tries = if args.keepalive {
        let target = *args.to.first().context("no target")?;
        let (flow, first) = Flow::open(target, args.bind.first().copied(), timeout);
        let more = flow.into_iter().flat_map(|mut flow| {
            let ping = move |_| {
                std::thread::sleep(interval);
                flow.ping(timeout)
            };
            (1..args.count).map(ping)
        });
        std::iter::once(first).chain(more).collect()
    } else {
        testkit::traffic::probe(&Probing {
            targets: args.to,
            count: args.count,
            timeout,
            parallel: args.parallel.max(1),
            interval,
            bind: args.bind,
            connect_only: args.connect_only,
            size: args.size,
        })
    };
    #[derive(Serialize)]
    struct Results {
        tries: Vec<Answered>,
    }
    say(&Results { tries })?;
    Ok(true)
}

fn hold(args: &Hold) -> Result<bool> {
    #[derive(Serialize)]
    struct Opened {
        open: Answered,
        local: Option<SocketAddr>,
    }
    let (mut flow, open) = Flow::open(args.to, args.bind, Duration::from_secs(2));
    say(&Opened { open, local: flow.as_ref().and_then(Flow::local_address) })?;
    for line in std::io::stdin().lock().lines() {
        let line = line.context("reading a command")?;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["ping", millis] => {
                let limit = Duration::from_millis(millis.parse().with_context(|| line.clone())?);
                let closed = || Answered { verdict: "closed".to_owned(), ..Answered::default() };
                say(&flow.as_mut().map_or_else(closed, |flow| flow.ping(limit)))?;
            }
            ["quit"] => break,
            _ => bail!("{line}: not a command"),
        }
    }
    Ok(true)
}

fn inject(args: &Inject) -> Result<bool> {
    let learn = args.learn_ms.filter(|ms| *ms > 0).map(Duration::from_millis);
    let injection =
        Injection { from: args.from, to: args.to, sequence: args.seq, ack: 1, flags: args.flags, learn };
    testkit::traffic::inject(&injection, || println!("ready")).context("injecting")?;
    Ok(true)
}

fn say(answer: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    writeln!(out)?;
    out.flush().context("answering")
}
