//! What comes before the zone: names that are given, and names that stand for others; and after it what is kept of others'
//! answers.

use std::net::IpAddr;
use std::time::Duration;

use super::Front;
use super::panics::{caught, failure};
use crate::answer::{Asking, Outcome, answer};
use crate::blocks::Blocks;
use crate::metrics::{CoreCounts, Protocol};
use crate::rewrite::Rewritten;
use crate::wire::{LONGEST, Query, Rcode, Reply};
use crate::zone::Zone;

/// Answers a message out of what comes before the zone, out of the zone, or with what others said before. A name that stands
/// for another one is left to [`Front::ask`].
fn answer_all((zone, blocks): (&Zone, &Blocks), message: &[u8], asking: &Asking, out: &mut [u8]) -> Outcome {
    #[cfg(test)]
    super::tests::panic_where_wanted(message);
    let mut own = None;
    if blocks.has_before()
        && let Ok(query) = Query::read(message)
    {
        if blocks.rewritten(&query).is_some() {
            return Outcome::Elsewhere;
        }
        if let Some(len) = blocks.hosts(&query, out, limits(&query, asking)) {
            return Outcome::Reply(len);
        }
        own = blocks.zone_of(&query.name);
    }
    match answer(own.as_ref().unwrap_or(zone), message, asking, out) {
        Outcome::Elsewhere if asking.may_recurse => {
            let query = Query::read(message).ok();
            let kept = query.and_then(|query| blocks.kept(&query, out, limits(&query, asking)));
            kept.map_or(Outcome::Elsewhere, Outcome::Reply)
        }
        outcome @ (Outcome::Elsewhere | Outcome::Reply(_) | Outcome::Silence(_) | Outcome::Alias(_)) => {
            outcome
        }
    }
}

/// The same, where a panic is answered with SERVFAIL.
pub(super) fn answer_safely(
    (zone, blocks): (&Zone, &Blocks),
    message: &[u8],
    asking: &Asking,
    out: &mut [u8],
) -> Outcome {
    let answered = caught(blocks.panics(), || answer_all((zone, blocks), message, asking, out));
    answered.unwrap_or_else(|| Outcome::Reply(failure(message, asking, out)))
}

/// The number under which tasks count; those of threads begin with 0.
pub(super) const TASKS: usize = usize::MAX;

/// Counts a query and its answer, which is empty where there is none.
pub(super) fn tally(
    (blocks, counts): (&Blocks, &CoreCounts),
    (message, answer): (&[u8], &[u8]),
    (client, is_udp): (IpAddr, bool),
    time: Duration,
) {
    let Ok(query) = Query::read(message) else { return };
    let Some(zone) = blocks.number(&query) else { return };
    let protocol = if is_udp { Protocol::Udp } else { Protocol::Tcp };
    if query.is_dnssec_ok() {
        counts.signed(zone);
    }
    counts.request(zone, (protocol, client), (query.kind, message.len()));
    if let Some(low) = answer.get(3) {
        counts.response(zone, (protocol, time), (Rcode(u16::from(low & 0xf)), answer.len()));
    }
}

impl Front {
    /// Counts what a task answered.
    pub(super) fn count(&self, exchange: (&[u8], &[u8]), who: (IpAddr, bool), time: Duration) {
        let blocks = self.blocks.borrow().clone();
        if let Some(counts) = blocks.counts(TASKS) {
            tally((&blocks, &counts), exchange, who, time);
        }
    }
}

fn limits(query: &Query<'_>, asking: &Asking) -> (usize, u16) {
    (query.room(asking.is_udp, asking.udp_size), asking.udp_size)
}

impl Front {
    /// Answers what another name is looked up in place of the one that a message asks for.
    pub(super) fn rewritten(&self, message: &[u8]) -> Option<Rewritten> {
        let blocks = self.blocks.borrow().clone();
        let query = Query::read(message).ok().filter(|_| blocks.has_before())?;
        blocks.rewritten(&query)
    }

    /// Answers a message by what is known of the other name, here or elsewhere.
    pub(super) async fn ask_rewritten(
        &self,
        message: &[u8],
        rewritten: &Rewritten,
        (client, asking): (IpAddr, Asking),
    ) -> Option<Vec<u8>> {
        // The whole answer is wanted; what is too long for the client is cut when its names are written back.
        let whole = Asking { is_udp: false, ..asking };
        let mut out = vec![0; LONGEST];
        let mut own = vec![0; message.len() + 255];
        let len = rewritten.query(&Query::read(message).ok()?, &mut own)?;
        own.truncate(len);
        let theirs = match self.answer_rewritten(&own, &whole, &mut out) {
            Outcome::Reply(len) => Some(out[..len].to_vec()),
            Outcome::Silence(_) => return None,
            outcome @ (Outcome::Elsewhere | Outcome::Alias(_)) => {
                self.ask_others(own, outcome, (client, whole)).await
            }
        };
        let query = Query::read(message).ok()?;
        let limits = limits(&query, &asking);
        let written = theirs.map(|theirs| rewritten.answer(&query, &theirs, (&mut out, limits)));
        let len = match written {
            Some(Ok(len)) => len?,
            Some(Err(_)) | None => {
                let mut reply = Reply::to(&query, &mut out, limits.0, limits.1)?;
                reply.set_rcode(Rcode::SERV_FAIL);
                reply.finish()
            }
        };
        Some(out[..len].to_vec())
    }

    /// Rules are not applied to their own results: a circle of them would have no end.
    fn answer_rewritten(&self, own: &[u8], asking: &Asking, out: &mut [u8]) -> Outcome {
        let blocks = self.blocks.borrow().clone();
        let hosts =
            Query::read(own).ok().and_then(|query| blocks.hosts(&query, out, (LONGEST, asking.udp_size)));
        match hosts {
            Some(len) => Outcome::Reply(len),
            None => answer(&self.zone_for(own), own, asking, out),
        }
    }
}
