//! The server blocks of a configuration at work: what comes before the cluster's names, which of these are shown, and who is
//! asked for those that nobody here knows.
//!
//! It does *not* make the cluster's names, nor does it know clients' sockets.

mod shuffle;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use telemetry::Counter;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, info};

use crate::answer::{Asking, Outcome, answer};
use crate::config::{Hosts, Rewrite, Server};
use crate::elsewhere::{AtOnce, Elsewhere};
use crate::hosts::{HostAnswer, HostTable};
use crate::metrics::{CoreCounts, DnsMetrics, Queries};
use crate::rewrite::{Rewritten, rewritten};
use crate::serve::Asked;
use crate::upstream::UpstreamError;
use crate::wire::{IN, LONGEST, Name, NameBuffer, Query, Rcode, Reply, flag};
use crate::zone::Zone;

/// What others are told to send over UDP; only a number in answers here, which are cut for the client later.
const UDP_SIZE: u16 = 1232;
/// CoreDNS' name of the zone of queries that no server block is for.
const DROPPED: &str = "dropped";

/// Server blocks, each once, wherever they answer.
#[derive(Debug)]
pub struct Made {
    blocks: Vec<Arc<Block>>,
    metrics: DnsMetrics,
}

/// The server blocks of one place.
#[derive(Debug, Default)]
pub struct Blocks {
    placed: Vec<Placed>,
    shown: Shown,
    /// Whether a query is looked at before the cluster's names are.
    has_before: bool,
    /// Where queries are counted, and what the counted blocks are called; the last one is none.
    counted: Option<(Arc<Queries>, Labels)>,
    panics: Option<Counter>,
    /// What metrics call the place.
    server: String,
}

/// Servers and zones as metrics call them.
type Labels = Vec<(String, String)>;

/// A block at a place.
#[derive(Debug)]
struct Placed {
    block: Arc<Block>,
    /// Which of the counted blocks it is.
    number: Option<usize>,
    /// The cluster's zones that it shows.
    zones: Vec<watch::Receiver<Zone>>,
}

/// Which of the clusters' zones there are at a place.
#[derive(Debug, Default)]
enum Shown {
    /// None, or as is said elsewhere.
    #[default]
    Nothing,
    /// One, by every block that can be asked for a name of it: a name can be looked up without looking for its block.
    One(watch::Receiver<Zone>),
    /// Others by other blocks.
    Several,
}

#[derive(Debug)]
struct Block {
    zones: Vec<Name>,
    rewrites: Vec<Rewrite>,
    hosts: Option<(Hosts, watch::Sender<Arc<HostTable>>)>,
    elsewhere: Arc<Elsewhere>,
    logs_queries: bool,
    is_counted: bool,
    shuffles: bool,
    turn: AtomicU32,
    plugins: Vec<&'static str>,
}

impl Made {
    /// Makes what the servers of a configuration say. Files that they name are read.
    pub fn new(servers: &[Server], metrics: &DnsMetrics) -> Result<Self, UpstreamError> {
        let block = |server: &Server| {
            let hosts = server.hosts.clone().map(|hosts| {
                let table = Arc::new(table(&hosts));
                metrics.hosts_entries.with_label_values::<&str>(&[]).set(table.len() as f64);
                (hosts, watch::channel(table).0)
            });
            Ok(Arc::new(Block {
                zones: server.zones.clone(),
                rewrites: server.rewrites.clone(),
                hosts,
                elsewhere: Arc::new(Elsewhere::new(server, metrics)?),
                logs_queries: server.logs_queries,
                is_counted: server.is_counted,
                shuffles: server.shuffles,
                turn: AtomicU32::new(0),
                plugins: plugins(server),
            }))
        };
        let blocks = servers.iter().map(block).collect::<Result<_, UpstreamError>>()?;
        Ok(Self { blocks, metrics: metrics.clone() })
    }

    /// Answers what there is at one place: these of the servers, each with the cluster's zones that it shows. `server` is what
    /// metrics call the place, such as `dns://:53`.
    pub fn at(&self, server: &str, servers: &[(usize, Vec<watch::Receiver<Zone>>)]) -> Blocks {
        let mut labels = Vec::new();
        let mut placed = Vec::new();
        for (at, zones) in servers {
            let block = self.blocks[*at].clone();
            let number = block.is_counted.then_some(labels.len());
            if block.is_counted {
                let zone = block.zones.first().map(Name::to_string).unwrap_or_default();
                labels.push((server.to_owned(), zone));
            }
            placed.push(Placed { block, number, zones: zones.clone() });
        }
        let has_before = |placed: &Placed| {
            let block = &placed.block;
            block.logs_queries || block.hosts.is_some() || !block.rewrites.is_empty()
        };
        let shown = Shown::of(&placed);
        let has_before = placed.iter().any(has_before) || matches!(shown, Shown::Several);
        if !labels.is_empty() {
            labels.push((server.to_owned(), DROPPED.to_owned()));
        }
        let counted = Some((self.metrics.queries.clone(), labels)).filter(|(_, labels)| !labels.is_empty());
        let panics = Some(self.metrics.panics.clone());
        Blocks { placed, shown, has_before, counted, panics, server: server.to_owned() }
    }

    /// Follows the files that blocks name, for ever.
    pub async fn follow(&self) {
        follow(self.blocks.iter().cloned()).await;
    }
}

async fn follow(blocks: impl Iterator<Item = Arc<Block>>) {
    let mut all = JoinSet::new();
    for block in blocks {
        all.spawn(async move { tokio::join!(block.elsewhere.follow(), block.follow_hosts()) });
    }
    while all.join_next().await.is_some() {}
}

/// CoreDNS' names of what a server does with queries.
fn plugins(server: &Server) -> Vec<&'static str> {
    let all = [
        ("autopath", server.completes.is_some()),
        ("cache", server.cache.is_some()),
        ("errors", server.logs_errors),
        ("forward", !server.forwards.is_empty()),
        ("hosts", server.hosts.is_some()),
        ("kubernetes", server.kubernetes.is_some()),
        ("loadbalance", server.shuffles),
        ("log", server.logs_queries),
        ("loop", server.finds_loops),
        ("prometheus", server.is_counted),
        ("rewrite", !server.rewrites.is_empty()),
    ];
    all.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
}

impl Shown {
    fn of(placed: &[Placed]) -> Self {
        let mut zones = placed.iter().flat_map(|placed| &placed.zones);
        let Some(first) = zones.next() else { return Self::Nothing };
        let has_it = |placed: &Placed| placed.zones.iter().any(|zone| zone.same_channel(first));
        let settings = first.borrow().settings().clone();
        let is_everywhere = std::iter::once(&settings.zone).chain(&settings.reverse).all(|own| {
            let is_below = |placed: &&Placed| placed.block.zones.iter().any(|zone| zone.is_within(own));
            let above = longest(placed, &NameBuffer::from(own));
            placed.iter().filter(is_below).chain(above).all(has_it)
        });
        let is_one = zones.all(|zone| zone.same_channel(first));
        if is_one && is_everywhere { Self::One(first.clone()) } else { Self::Several }
    }
}

/// The block with the longest zone that the name is in.
fn longest<'a>(placed: &'a [Placed], name: &NameBuffer) -> Option<&'a Placed> {
    let longest = |placed: &&Placed| {
        let zones = placed.block.zones.iter().filter(|zone| name.is_within(zone));
        zones.map(|zone| zone.as_wire().len()).max()
    };
    let placed = placed.iter().filter_map(|placed| Some((longest(&placed)?, placed)));
    placed.max_by_key(|(length, _)| *length).map(|(_, placed)| placed)
}

impl Blocks {
    /// Makes what the servers of a configuration say, all of them at one place, for names that are shown by others.
    pub fn new(servers: &[Server], metrics: &DnsMetrics) -> Result<Self, UpstreamError> {
        let server = format!("dns://:{}", servers.first().map_or(53, |server| server.port));
        let all: Vec<_> = (0..servers.len()).map(|at| (at, Vec::new())).collect();
        Ok(Made::new(servers, metrics)?.at(&server, &all))
    }

    /// Answers where the core of this number counts; `None`: nothing is counted.
    pub fn counts(&self, core: usize) -> Option<CoreCounts> {
        self.counted.as_ref().map(|(queries, labels)| queries.core(core, labels))
    }

    /// Follows the files that these blocks name, for ever.
    pub async fn follow(self: Arc<Self>) {
        follow(self.placed.iter().map(|placed| placed.block.clone())).await;
    }

    /// Notes what the counted blocks do with queries.
    pub fn note(&self, metrics: &DnsMetrics) {
        for Placed { block, .. } in self.placed.iter().filter(|placed| placed.number.is_some()) {
            for zone in &block.zones {
                metrics.enabled((&self.server, &zone.to_string()), &block.plugins);
            }
        }
    }

    /// Answers where panics are counted.
    pub fn panics(&self) -> Option<&Counter> {
        self.panics.as_ref()
    }

    /// Answers which of the counted zones a query is for; `None` for those that are not counted.
    pub fn number(&self, query: &Query<'_>) -> Option<usize> {
        let (_, labels) = self.counted.as_ref()?;
        match self.block(&query.name).filter(|_| query.class == IN) {
            Some(placed) => placed.number,
            None => labels.len().checked_sub(1),
        }
    }

    /// Whether a query is to be looked at before the cluster's names are.
    pub fn has_before(&self) -> bool {
        self.has_before
    }

    /// Answers the zone that is looked at for every name, where there is one of them.
    pub fn zone(&self) -> Option<&watch::Receiver<Zone>> {
        match &self.shown {
            Shown::One(zone) => Some(zone),
            Shown::Nothing | Shown::Several => None,
        }
    }

    /// Answers the zone that is looked at for this name, where it is another one for others.
    pub fn zone_of(&self, name: &NameBuffer) -> Option<Zone> {
        let Shown::Several = self.shown else { return None };
        let zones = self.block(name)?.zones.iter();
        let within = zones.filter_map(|zone| {
            let zone = zone.borrow();
            let length = zone.settings().zone_of(name)?.as_wire().len();
            Some((length, zone.clone()))
        });
        within.max_by_key(|(length, _)| *length).map(|(_, zone)| zone)
    }

    /// Answers what another name is looked up in a query's place.
    pub fn rewritten(&self, query: &Query<'_>) -> Option<Rewritten> {
        let block = &self.block(&query.name)?.block;
        if query.class != IN || block.rewrites.is_empty() {
            return None;
        }
        rewritten(&block.rewrites, &query.name.to_name())
    }

    /// Answers a query from names in files and in the configuration, into `out`; its length.
    pub fn hosts(&self, query: &Query<'_>, out: &mut [u8], limits: (usize, u16)) -> Option<usize> {
        let block = &self.block(&query.name)?.block;
        if block.logs_queries {
            info!(name = %query.name, kind = %query.kind, "a query");
        }
        block.given(query, out, limits)
    }

    /// Answers a query with another server's answer that is kept, into `out`; its length. Needs a runtime around it, in which
    /// somebody is asked again before the answer ends.
    pub fn kept(&self, query: &Query<'_>, out: &mut [u8], limits: (usize, u16)) -> Option<usize> {
        let block = &self.block(&query.name)?.block;
        let (len, refresh) = block.elsewhere.kept(query, out, limits)?;
        refresh.into_iter().for_each(|waiting| block.elsewhere.refresh(waiting));
        if block.shuffles {
            shuffle::turn(&mut out[..len], block.turn.fetch_add(1, Ordering::Relaxed));
        }
        Some(len)
    }

    /// Asks this server, at its own address, for names that would come back if servers asked each other in a circle. Ends with
    /// the zone where one does; never, if none does.
    pub async fn look_for_loops(&self, own: SocketAddr) -> Name {
        for Placed { block, .. } in &self.placed {
            let Some(loops) = block.elsewhere.loops() else { continue };
            if loops.probe(own).await {
                let zone = block.zones.first().cloned().unwrap_or_else(Name::root);
                error!(%zone, "queries come back: a server that is asked asks this one");
                return zone;
            }
        }
        std::future::pending().await
    }

    fn block(&self, name: &NameBuffer) -> Option<&Placed> {
        longest(&self.placed, name)
    }

    /// Answers a question of a client, or about what its name stands for: a whole message, or nothing where it is none.
    async fn answer(&self, message: &[u8], (client, is_udp): (IpAddr, bool)) -> Option<Vec<u8>> {
        let query = Query::read(message).ok()?;
        let mut out = vec![0; LONGEST];
        let limits = (LONGEST, UDP_SIZE);
        let Some(placed) = self.block(&query.name) else { return refused(&query, Rcode::REFUSED) };
        let block = &placed.block;
        if let Some(len) =
            self.known(&query, client, &mut out).or_else(|| block.given(&query, &mut out, limits))
        {
            out.truncate(len);
            return Some(out);
        }
        let len = match block.elsewhere.at_once(&query, &mut out, limits) {
            AtOnce::Answered { len, refresh } => {
                refresh.into_iter().for_each(|waiting| block.elsewhere.refresh(waiting));
                len
            }
            AtOnce::Waits(waiting) => match block.elsewhere.wait(&waiting, !is_udp).await {
                Ok(told) => told.kept.write(&query, told.ttl, (&mut out, limits.0, limits.1))?,
                Err(failure) => return refused(&query, failure.rcode()),
            },
            AtOnce::Nobody => return refused(&query, Rcode::REFUSED),
        };
        out.truncate(len);
        if block.shuffles {
            shuffle::turn(&mut out, block.turn.fetch_add(1, Ordering::Relaxed));
        }
        Some(out)
    }

    /// Answers out of another zone than the one where the alias is that leads here.
    fn known(&self, query: &Query<'_>, client: IpAddr, out: &mut [u8]) -> Option<usize> {
        let zone = self.zone_of(&query.name)?;
        let asking = Asking { is_udp: false, may_recurse: true, turn: 0, udp_size: UDP_SIZE, client };
        match answer(&zone, query.message, &asking, out) {
            Outcome::Reply(len) => Some(len),
            Outcome::Silence(_) | Outcome::Elsewhere | Outcome::Alias(_) => None,
        }
    }
}

impl Block {
    fn given(&self, query: &Query<'_>, out: &mut [u8], limits: (usize, u16)) -> Option<usize> {
        let (settings, table) = self.hosts.as_ref()?;
        let table = table.borrow().clone();
        match table.answer(settings, query, (out, limits)) {
            HostAnswer::Answered(len) => Some(len),
            HostAnswer::Elsewhere => None,
        }
    }

    async fn follow_hosts(&self) {
        let Some((settings, table)) = &self.hosts else { return };
        if settings.file.is_none() || settings.reload.is_zero() {
            return;
        }
        loop {
            tokio::time::sleep(settings.reload.max(Duration::from_secs(1))).await;
            let found = self::table(settings);
            table.send_if_modified(|table| {
                let is_other = **table != found;
                if is_other {
                    *table = Arc::new(found);
                }
                is_other
            });
        }
    }
}

/// A file that is not there has no names, as in CoreDNS.
fn table(settings: &Hosts) -> HostTable {
    let read = |path: &Path| {
        std::fs::read_to_string(path).unwrap_or_else(|error| {
            debug!(file = %path.display(), %error, "a file of hosts cannot be read");
            String::new()
        })
    };
    HostTable::new(settings, &settings.file.as_deref().map(read).unwrap_or_default())
}

fn refused(query: &Query<'_>, rcode: Rcode) -> Option<Vec<u8>> {
    let mut out = vec![0; query.message.len() + 16];
    let mut reply = Reply::to(query, &mut out, LONGEST, UDP_SIZE)?;
    reply.set_rcode(rcode);
    reply.set(flag::RECURSION_AVAILABLE);
    let len = reply.finish();
    out.truncate(len);
    Some(out)
}

/// Answers questions with what the blocks of the moment know or ask, until nobody asks any more. A client that does not wait
/// any more costs nothing.
pub async fn attend(mut asked: mpsc::Receiver<Asked>, blocks: watch::Receiver<Arc<Blocks>>) {
    while let Some(mut asked) = asked.recv().await {
        let blocks = blocks.borrow().clone();
        let who = (asked.client, asked.is_udp);
        tokio::spawn(async move {
            let answer = tokio::select! {
                answer = blocks.answer(&asked.message, who) => answer,
                () = asked.answer.closed() => None,
            };
            if let Some(answer) = answer {
                // Who went away in this moment has no use for it.
                drop(asked.answer.send(answer));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::script::{query, render};

    fn blocks(corefile: &str) -> Arc<Blocks> {
        let settings = Settings::parse(corefile, &|_| None).expect("it is right");
        let metrics = DnsMetrics::register(&telemetry::Metrics::default(), "");
        Arc::new(Blocks::new(&settings.servers, &metrics).expect("it is right"))
    }

    /// Another server, which says the same to every query.
    async fn server_saying(rcode: Rcode) -> SocketAddr {
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("there is a port");
        let at = server.local_addr().expect("it is bound");
        tokio::spawn(async move {
            let mut room = [0; 512];
            loop {
                let (len, from) = server.recv_from(&mut room).await.expect("loopback works");
                let asked = Query::read(&room[..len]).expect("a query");
                let reply = refused(&asked, rcode).expect("it fits");
                server.send_to(&reply, from).await.expect("loopback works");
            }
        });
        at
    }

    #[tokio::test]
    async fn the_longest_zone_decides() {
        let at = server_saying(Rcode::NX_DOMAIN).await;
        let blocks = blocks(&format!(
            ". {{\n forward . {at}\n cache\n}}\norg {{\n hosts /nonexistent {{\n 10.0.0.1 a.org\n }}\n}}\nb.org {{\n rewrite name x.b.org y\n}}"
        ));
        let (tell, asked) = mpsc::channel(1);
        let (_keep, current) = watch::channel(blocks.clone());
        tokio::spawn(attend(asked, current));
        for (text, wanted) in [
            ("A a.net", "NXDOMAIN"),
            ("A a.org", "NOERROR aa\na.org. 3600 A 10.0.0.1"),
            ("A b.org", "REFUSED"),
        ] {
            let (answer, answered) = tokio::sync::oneshot::channel();
            let client = "127.0.0.1".parse().expect("an address");
            let message = query(text, None);
            tell.send(Asked { message, client, is_udp: true, answer }).await.expect("it is attended to");
            assert_eq!(render(&answered.await.expect("an answer")), wanted, "{text}");
        }
        let mut out = [0; 512];
        for (text, has_host, has_rewrite) in
            [("A a.org", true, false), ("A x.b.org", false, true), ("A a.net", false, false)]
        {
            let message = query(text, None);
            let query = Query::read(&message).expect("a query");
            let found =
                (blocks.hosts(&query, &mut out, (512, 1232)).is_some(), blocks.rewritten(&query).is_some());
            assert_eq!(found, (has_host, has_rewrite), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_answered_without_waiting() {
        let at = server_saying(Rcode::SERV_FAIL).await;
        let blocks = blocks(&format!(". {{\n forward . {at}\n cache\n}}"));
        let (first, second) = (query("A a.net", None), query("A A.net", Some((1232, true))));
        let mut out = [0; 512];
        let kept = |message: &[u8], out: &mut [u8]| {
            blocks.kept(&Query::read(message).expect("a query"), out, (512, 1232))
        };
        assert_eq!(kept(&first, &mut out), None);
        let answer = blocks.answer(&first, ([127, 0, 0, 1].into(), true)).await.expect("an answer");
        assert_eq!(render(&answer), "SERVFAIL");
        let len = kept(&first, &mut out).expect("it is kept");
        assert_eq!(out[..len], answer);
        // With the wish for signatures it is another question.
        assert_eq!(kept(&second, &mut out), None);
        let tally = blocks.placed[0].block.elsewhere.tally().expect("there is a cache");
        assert_eq!((tally.misses, tally.hits_denial), (1, 1));
    }

    /// What is said of three servers' zones of one cluster.
    fn shown(corefile: &str, with: &[bool]) -> &'static str {
        let settings = Settings::parse(corefile, &|_| None).expect("it is right");
        let metrics = DnsMetrics::register(&telemetry::Metrics::default(), "");
        let made = Made::new(&settings.servers, &metrics).expect("it is right");
        let zone = watch::channel(crate::script::zone(crate::script::settings(), "")).1;
        let servers = with.iter().enumerate().map(|(at, is_with)| {
            let zones = if *is_with { vec![zone.clone()] } else { Vec::new() };
            (at, zones)
        });
        match made.at("dns://:53", &servers.collect::<Vec<_>>()).shown {
            Shown::Nothing => "nothing",
            Shown::One(_) => "one",
            Shown::Several => "several",
        }
    }

    #[tokio::test]
    async fn one_zone_that_is_everywhere_needs_no_block() {
        for (corefile, with, wanted) in [
            (". {\n}", &[false][..], "nothing"),
            (". {\n}", &[true], "one"),
            (". {\n}\norg {\n}", &[true, false], "one"),
            ("cluster.local in-addr.arpa ip6.arpa {\n}\n. {\n}", &[true, false], "one"),
            // Names of addresses would be answered where they are not shown, or a part of the names would.
            ("cluster.local {\n}\n. {\n}", &[true, false], "several"),
            (". {\n}\na.svc.cluster.local {\n}", &[true, false], "several"),
            (". {\n}\n10.in-addr.arpa {\n}", &[true, false], "several"),
        ] {
            assert_eq!(shown(corefile, with), wanted, "{corefile}");
        }
    }
}
