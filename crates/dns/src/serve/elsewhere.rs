//! Asks others for what the zone does not know, and makes their answer one for the client.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::debug;

use super::panics::{caught_in, failure};
use super::{Asked, Front};
use crate::answer::{Asking, Outcome, complete};
use crate::wire::{COOKIE_ROOM, LONGEST, Message, Query, Rcode, Reply, flag, write_query};

/// How long others may take. Clients ask again after five seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The right to wait for others.
pub(super) struct Waits(OwnedSemaphorePermit);

impl Front {
    /// Answers the right to wait for others, which so many have at a time; without it the answer is [`too_many`].
    pub(super) fn may_wait(&self) -> Option<Waits> {
        Arc::clone(&self.waiting).try_acquire_owned().ok().map(Waits)
    }

    /// Answers a message whose outcome was that others have to be asked: the answer to send, if any.
    pub(super) async fn ask(
        &self,
        (message, outcome): (Vec<u8>, Outcome),
        who: (IpAddr, Asking),
        waits: Waits,
    ) -> Option<Vec<u8>> {
        let begun = Instant::now();
        let asked = message.clone();
        let answering = async {
            match self.rewritten(&message) {
                Some(rewritten) => self.ask_rewritten(&message, &rewritten, who).await,
                None => self.ask_others(message, outcome, who).await,
            }
        };
        let blocks = self.blocks.borrow().clone();
        let mut answer = caught_in(blocks.panics(), answering).await.unwrap_or_else(|| {
            let mut out = vec![0; LONGEST];
            let len = failure(&asked, &who.1, &mut out);
            out.truncate(len);
            Some(out)
        });
        if let (Some(shown), Some(answer)) = (self.shown(&asked, who.0), &mut answer) {
            let len = answer.len();
            answer.resize(len + COOKIE_ROOM, 0);
            let len = shown.stamp(answer, len);
            answer.truncate(len);
        }
        self.count((&asked, answer.as_deref().unwrap_or_default()), (who.0, who.1.is_udp), begun.elapsed());
        drop(waits.0);
        answer
    }

    /// The same for a message whose name stands for no other.
    pub(super) async fn ask_others(
        &self,
        message: Vec<u8>,
        outcome: Outcome,
        (client, asking): (IpAddr, Asking),
    ) -> Option<Vec<u8>> {
        let question = match &outcome {
            Outcome::Alias(target) => about(&message, target.as_wire())?,
            Outcome::Elsewhere => message.clone(),
            Outcome::Reply(_) | Outcome::Silence(_) => return None,
        };
        let theirs = self.hand_on(question, (client, asking.is_udp)).await;
        let mut out = vec![0; LONGEST];
        let len = match outcome {
            Outcome::Alias(_) => {
                let zone = self.zone_for(&message);
                match complete(&zone, &message, theirs.as_deref(), (&asking, &mut out)) {
                    Outcome::Reply(len) => len,
                    Outcome::Silence(_) | Outcome::Elsewhere | Outcome::Alias(_) => return None,
                }
            }
            Outcome::Elsewhere | Outcome::Reply(_) | Outcome::Silence(_) => {
                pass_on(&message, theirs.as_deref(), &asking, &mut out)?
            }
        };
        Some(out[..len].to_vec())
    }

    async fn hand_on(&self, message: Vec<u8>, (client, is_udp): (IpAddr, bool)) -> Option<Vec<u8>> {
        let (answer, theirs) = oneshot::channel();
        let asked = Asked { message, client, is_udp, answer };
        self.elsewhere.as_ref()?.send(asked).await.ok()?;
        tokio::time::timeout(PATIENCE, theirs).await.ok()?.ok()
    }
}

/// Writes the answer to a message that may not wait for others, and answers its length.
pub(super) fn too_many(message: &[u8], asking: &Asking, out: &mut [u8]) -> usize {
    debug!("too many queries wait for others");
    pass_on(message, None, asking, out).unwrap_or(0)
}

/// Writes the same query about another name.
fn about(message: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let query = Query::read(message).ok()?;
    let edns = query.edns.map(|edns| (edns.size, edns.dnssec_ok));
    let kept = flag::RECURSION_DESIRED | flag::CHECKING_DISABLED;
    let mut out = vec![0; 600];
    let len = write_query(&mut out, (query.id(), query.flags() & kept), (name, query.kind), edns)?;
    out.truncate(len);
    Some(out)
}

/// Writes another server's answer as it is, with the number and the letters of the client's question; cut where it is too
/// long, SERVFAIL where there is none that fits the question. Answers its length.
fn pass_on(message: &[u8], theirs: Option<&[u8]>, asking: &Asking, out: &mut [u8]) -> Option<usize> {
    let query = Query::read(message).ok()?;
    let limit = query.room(asking.is_udp, asking.udp_size);
    let theirs = theirs.filter(|theirs| Message::read(theirs).is_ok_and(|message| message.is_about(&query)));
    if let Some(theirs) = theirs.filter(|theirs| theirs.len() <= limit) {
        let out = out.get_mut(..theirs.len())?;
        out.copy_from_slice(theirs);
        out[..2].copy_from_slice(&message[..2]);
        out[12..query.question_end].copy_from_slice(query.question());
        return Some(theirs.len());
    }
    let mut reply = Reply::to(&query, out, limit, asking.udp_size)?;
    reply.set(flag::RECURSION_AVAILABLE);
    match theirs {
        Some(theirs) => {
            reply.set_rcode(Message::read(theirs).ok()?.rcode());
            reply.truncate();
        }
        None => reply.set_rcode(Rcode::SERV_FAIL),
    }
    Some(reply.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{ASKING, query, render};

    #[test]
    fn answers_of_others_are_passed_on() {
        let mine = query("A Www.example.org", None);
        let mut theirs = query("A www.example.org", None);
        theirs[..4].copy_from_slice(&[9, 9, 0x81, 0x80]);
        theirs[7] = 1;
        theirs.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\xc0\x00\x02\x01");
        let check = |theirs: Option<&[u8]>, asking: &Asking, expected: &str| {
            let mut out = [0; LONGEST];
            let len = pass_on(&mine, theirs, asking, &mut out).unwrap();
            assert_eq!(out[..2], mine[..2]);
            assert_eq!(render(&out[..len]), expected);
        };
        check(Some(&theirs), &ASKING, "NOERROR\nWww.example.org. 5 A 192.0.2.1");
        check(None, &ASKING, "SERVFAIL");
        check(Some(&query("A other.example.org", None)), &ASKING, "SERVFAIL");
        check(Some(&theirs[..20]), &ASKING, "SERVFAIL");
        let mut long = theirs.clone();
        long.resize(600, 0);
        check(Some(&long), &ASKING, "NOERROR tc");
        check(Some(&long), &Asking { is_udp: false, ..ASKING }, "NOERROR\nWww.example.org. 5 A 192.0.2.1");
    }

    #[test]
    fn an_alias_is_asked_for_like_the_name() {
        let mine = query("AAAA www.default.svc", Some((1400, true)));
        let asked = about(&mine, b"\x01x\x00").unwrap();
        let asked = Query::read(&asked).unwrap();
        assert_eq!((asked.name.to_string(), asked.kind.to_string()), ("x.".to_owned(), "AAAA".to_owned()));
        assert_eq!(
            (asked.udp_size(), asked.is_dnssec_ok(), asked.flags()),
            (1400, true, flag::RECURSION_DESIRED)
        );
    }
}
