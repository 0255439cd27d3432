//! The server blocks of a configuration at work: what comes before the cluster's names, and who is asked for those that
//! nobody here knows.
//!
//! It does *not* know the cluster's names, nor clients' sockets.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, info};

use crate::config::{Hosts, Rewrite, Server};
use crate::elsewhere::{AtOnce, Elsewhere};
use crate::hosts::{HostAnswer, HostTable};
use crate::metrics::{CoreCounts, DnsMetrics, Queries};
use crate::rewrite::{Rewritten, rewritten};
use crate::serve::Asked;
use crate::upstream::UpstreamError;
use crate::wire::{IN, LONGEST, Name, NameBuffer, Query, Rcode, Reply, flag};

/// What others are told to send over UDP; only a number in answers here, which are cut for the client later.
const UDP_SIZE: u16 = 1232;

/// All server blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    blocks: Vec<Block>,
    /// Whether any of them does something before the cluster's names.
    has_before: bool,
    /// Where queries are counted, and what the counted blocks are called.
    counted: Option<(Arc<Queries>, Labels)>,
}

/// Servers and zones as metrics call them.
type Labels = Vec<(String, String)>;

#[derive(Debug)]
struct Block {
    zones: Vec<Name>,
    rewrites: Vec<Rewrite>,
    hosts: Option<(Hosts, watch::Sender<Arc<HostTable>>)>,
    elsewhere: Arc<Elsewhere>,
    logs_queries: bool,
    /// Which of the counted blocks it is.
    number: Option<usize>,
}

impl Blocks {
    /// Makes what the servers of a configuration say. Files that they name are read.
    pub fn new(servers: &[Server], metrics: &DnsMetrics) -> Result<Self, UpstreamError> {
        let mut labels = Vec::new();
        let mut block = |server: &Server| {
            let zone = server.zones.first().map(Name::to_string).unwrap_or_default();
            let number = server.is_counted.then_some(labels.len());
            labels.extend(number.map(|_| (format!("dns://:{}", server.port), zone)));
            let hosts = server.hosts.clone().map(|hosts| {
                let table = Arc::new(table(&hosts));
                metrics.hosts_entries.with_label_values::<&str>(&[]).set(table.len() as f64);
                (hosts, watch::channel(table).0)
            });
            Ok(Block {
                zones: server.zones.clone(),
                rewrites: server.rewrites.clone(),
                hosts,
                elsewhere: Arc::new(Elsewhere::new(server, metrics)?),
                logs_queries: server.logs_queries,
                number,
            })
        };
        let blocks: Vec<Block> = servers.iter().map(&mut block).collect::<Result<_, UpstreamError>>()?;
        let has_before = blocks
            .iter()
            .any(|block| block.logs_queries || block.hosts.is_some() || !block.rewrites.is_empty());
        let counted = Some((metrics.queries.clone(), labels)).filter(|(_, labels)| !labels.is_empty());
        Ok(Self { blocks, has_before, counted })
    }

    /// Answers where the core of this number counts; `None`: nothing is counted.
    pub fn counts(&self, core: usize) -> Option<CoreCounts> {
        self.counted.as_ref().map(|(queries, labels)| queries.core(core, labels))
    }

    /// Answers which of the counted zones a name is in.
    pub fn number(&self, name: &NameBuffer) -> Option<usize> {
        self.block(name)?.number
    }

    /// Whether a query is to be looked at before the cluster's names are.
    pub fn has_before(&self) -> bool {
        self.has_before
    }

    /// Answers what another name is looked up in a query's place.
    pub fn rewritten(&self, query: &Query<'_>) -> Option<Rewritten> {
        let block = self.block(&query.name)?;
        if query.class != IN || block.rewrites.is_empty() {
            return None;
        }
        rewritten(&block.rewrites, &query.name.to_name())
    }

    /// Answers a query from names in files and in the configuration, into `out`; its length.
    pub fn hosts(&self, query: &Query<'_>, out: &mut [u8], limits: (usize, u16)) -> Option<usize> {
        let block = self.block(&query.name)?;
        if block.logs_queries {
            info!(name = %query.name, kind = %query.kind, "a query");
        }
        let (settings, table) = block.hosts.as_ref()?;
        let table = table.borrow().clone();
        match table.answer(settings, query, (out, limits)) {
            HostAnswer::Answered(len) => Some(len),
            HostAnswer::Elsewhere => None,
        }
    }

    /// Answers a query with another server's answer that is kept, into `out`; its length. Needs a runtime around it, in which
    /// somebody is asked again before the answer ends.
    pub fn kept(&self, query: &Query<'_>, out: &mut [u8], limits: (usize, u16)) -> Option<usize> {
        let elsewhere = &self.block(&query.name)?.elsewhere;
        let (len, refresh) = elsewhere.kept(query, out, limits)?;
        refresh.into_iter().for_each(|waiting| elsewhere.refresh(waiting));
        Some(len)
    }

    /// Follows the files that blocks name, for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut all = JoinSet::new();
        for at in 0..self.blocks.len() {
            let blocks = self.clone();
            all.spawn(async move { blocks.blocks[at].elsewhere.follow().await });
            let blocks = self.clone();
            all.spawn(async move { blocks.blocks[at].follow_hosts().await });
        }
        while all.join_next().await.is_some() {}
    }

    /// Asks this server, at its own address, for names that would come back if servers asked each other in a circle. Ends with
    /// the zone where one does; never, if none does.
    pub async fn look_for_loops(&self, own: std::net::SocketAddr) -> Name {
        for block in &self.blocks {
            let Some(loops) = block.elsewhere.loops() else { continue };
            if loops.probe(own).await {
                let zone = block.zones.first().cloned().unwrap_or_else(Name::root);
                error!(%zone, "queries come back: a server that is asked asks this one");
                return zone;
            }
        }
        std::future::pending().await
    }

    /// The block with the longest zone that the name is in.
    fn block(&self, name: &NameBuffer) -> Option<&Block> {
        let longest = |block: &&Block| {
            let zones = block.zones.iter().filter(|zone| name.is_within(zone));
            zones.map(|zone| zone.as_wire().len()).max()
        };
        let blocks = self.blocks.iter().filter_map(|block| Some((longest(&block)?, block)));
        blocks.max_by_key(|(length, _)| *length).map(|(_, block)| block)
    }

    /// Answers a question of a client: a whole message, or nothing where it is none.
    async fn answer(&self, message: &[u8], is_udp: bool) -> Option<Vec<u8>> {
        let query = Query::read(message).ok()?;
        let mut out = vec![0; LONGEST];
        let limits = (LONGEST, UDP_SIZE);
        let Some(block) = self.block(&query.name) else { return refused(&query, Rcode::REFUSED) };
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
        Some(out)
    }
}

impl Block {
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
        tokio::spawn(async move {
            let answer = tokio::select! {
                answer = blocks.answer(&asked.message, asked.is_udp) => answer,
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

    #[tokio::test]
    async fn the_longest_zone_decides() {
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("there is a port");
        let at = server.local_addr().expect("it is bound");
        tokio::spawn(async move {
            let mut room = [0; 512];
            loop {
                let (len, from) = server.recv_from(&mut room).await.expect("loopback works");
                let asked = Query::read(&room[..len]).expect("a query");
                let reply = refused(&asked, Rcode::NX_DOMAIN).expect("it fits");
                server.send_to(&reply, from).await.expect("loopback works");
            }
        });
        let blocks = blocks(&format!(
            ". {{\n forward . {at}\n cache\n}}\norg {{\n hosts /nonexistent {{\n 10.0.0.1 a.org\n }}\n}}\nb.org {{\n rewrite name x.b.org y\n}}"
        ));
        let (tell, asked) = mpsc::channel(1);
        let (_keep, current) = watch::channel(blocks.clone());
        tokio::spawn(attend(asked, current));
        for (text, wanted) in [("A a.net", "NXDOMAIN"), ("A a.org", "REFUSED"), ("A b.org", "REFUSED")] {
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
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("there is a port");
        let at = server.local_addr().expect("it is bound");
        tokio::spawn(async move {
            let mut room = [0; 512];
            loop {
                let (len, from) = server.recv_from(&mut room).await.expect("loopback works");
                let asked = Query::read(&room[..len]).expect("a query");
                let reply = refused(&asked, Rcode::SERV_FAIL).expect("it fits");
                server.send_to(&reply, from).await.expect("loopback works");
            }
        });
        let blocks = blocks(&format!(". {{\n forward . {at}\n cache\n}}"));
        let (first, second) = (query("A a.net", None), query("A A.net", Some((1232, true))));
        let mut out = [0; 512];
        let kept = |message: &[u8], out: &mut [u8]| {
            blocks.kept(&Query::read(message).expect("a query"), out, (512, 1232))
        };
        assert_eq!(kept(&first, &mut out), None);
        let answer = blocks.answer(&first, true).await.expect("an answer");
        assert_eq!(render(&answer), "SERVFAIL");
        let len = kept(&first, &mut out).expect("it is kept");
        assert_eq!(out[..len], answer);
        // With the wish for signatures it is another question.
        assert_eq!(kept(&second, &mut out), None);
        let tally = blocks.blocks[0].elsewhere.tally().expect("there is a cache");
        assert_eq!((tally.misses, tally.hits_denial), (1, 1));
    }
}
