//! Panics: a fault in the answer to one message is that answer's alone. It is logged, counted, and answered with SERVFAIL.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use telemetry::Counter;
use tracing::error;

use crate::answer::Asking;
use crate::wire::{Query, Rcode, Reply};

/// Does something; `None` where it panicked.
pub(super) fn caught<T>(panics: Option<&Counter>, work: impl FnOnce() -> T) -> Option<T> {
    // What is half changed then is the room for this one answer, which is written anew.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| note(panics)).ok()
}

/// Waits for something; `None` where it panicked.
pub(super) async fn caught_in<F: Future>(panics: Option<&Counter>, work: F) -> Option<F::Output> {
    let mut work = std::pin::pin!(work);
    poll_fn(|context| match caught(panics, || work.as_mut().poll(context)) {
        Some(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Some(Poll::Pending) => Poll::Pending,
        None => Poll::Ready(None),
    })
    .await
}

/// Writes SERVFAIL as the answer to a message that something panicked over, and answers its length. No more of the message is
/// read than its header where reading it is what panics.
pub(super) fn failure(message: &[u8], asking: &Asking, out: &mut [u8]) -> usize {
    let whole = caught(None, || {
        let query = Query::read(message).ok()?;
        let mut reply = Reply::to(&query, out, query.room(asking.is_udp, asking.udp_size), asking.udp_size)?;
        reply.set_rcode(Rcode::SERV_FAIL);
        Some(reply.finish())
    });
    whole.flatten().unwrap_or_else(|| Reply::refuse(message, Rcode::SERV_FAIL, out, asking.udp_size))
}

fn note(panics: Option<&Counter>) {
    panics.inspect(|panics| panics.inc());
    // What it said, and where, was printed when it happened.
    error!("an answer panicked; this is a fault of the program");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{ASKING, query, render};

    #[tokio::test]
    async fn what_panics_is_counted_and_over() {
        let count = Counter::new("panics", "Panics.").unwrap();
        assert_eq!(caught(Some(&count), || 7), Some(7));
        assert_eq!(caught::<u8>(Some(&count), || panic!("a test")), None);
        let late = async {
            tokio::task::yield_now().await;
            panic!("a test")
        };
        assert_eq!(caught_in::<_>(Some(&count), late).await.map(|(): ()| ()), None);
        assert_eq!(caught_in(Some(&count), async { 8 }).await, Some(8));
        assert_eq!(count.get(), 2.0);
    }

    #[test]
    fn what_panicked_is_answered() {
        let mut out = [0; 512];
        let message = query("A Web.default.svc", Some((1232, false)));
        let len = failure(&message, &ASKING, &mut out);
        assert_eq!((render(&out[..len]).as_str(), &out[..2]), ("SERVFAIL\n+ . 0 OPT []", &message[..2]));
        assert_eq!(Query::read(&message).unwrap().question(), &out[12..message.len() - 11]);
        let len = failure(b"\x01\x02\x01\x00\x00\x09\x00\x00\x00\x00\x00\x00", &ASKING, &mut out);
        assert_eq!((len, &out[..4]), (12, &b"\x01\x02\x81\x02"[..]));
    }
}
