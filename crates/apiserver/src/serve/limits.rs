//! How much is done at a time, so that no client keeps the others from being answered.
//!
//! There are two classes of clients besides the administrators, who are never turned away: those that the system needs
//! (nodes, controllers, the accounts of `kube-system`), and all others.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::Identity;

/// The limits of one class.
#[derive(Debug, Clone)]
struct Limits {
    /// Requests that are being answered, until the client has all of the answer.
    requests: Arc<Semaphore>,
    /// Watches.
    watches: Arc<Semaphore>,
    /// Kibibytes of bodies that are being read, or whose request is being answered.
    bodies: Arc<Semaphore>,
}

impl Limits {
    fn new(requests: usize, watches: usize, mebibytes: usize) -> Self {
        let semaphore = |count: usize| Arc::new(Semaphore::new(count));
        Self {
            requests: semaphore(requests),
            watches: semaphore(watches),
            bodies: semaphore(mebibytes * 1024),
        }
    }
}

/// The limits of a server.
#[derive(Debug)]
pub(crate) struct Throttle {
    system: Limits,
    others: Limits,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { system: Limits::new(400, 8000, 64), others: Limits::new(200, 2000, 32) }
    }
}

/// What a client holds while it is served; nothing for administrators.
#[derive(Debug, Default)]
pub(crate) struct Held(Vec<OwnedSemaphorePermit>);

/// The client has to wait: there are too many of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) &'static str);

impl Throttle {
    fn of(&self, identity: &Identity) -> Option<&Limits> {
        if identity.is_in("system:masters") {
            return None;
        }
        let is_system = identity.is_in("system:nodes")
            || identity.is_in("system:node-proxier")
            || identity.is_in("system:serviceaccounts:kube-system")
            || identity.user.starts_with("system:kube-");
        Some(if is_system { &self.system } else { &self.others })
    }

    /// Begins a request.
    pub(crate) fn request(&self, identity: &Identity, held: &mut Held) -> Result<(), TooMany> {
        let limits = self.of(identity).map(|limits| &limits.requests);
        held.take(limits, 1).ok_or(TooMany("requests"))
    }

    /// Begins a watch.
    pub(crate) fn watch(&self, identity: &Identity, held: &mut Held) -> Result<(), TooMany> {
        let limits = self.of(identity).map(|limits| &limits.watches);
        held.take(limits, 1).ok_or(TooMany("watches"))
    }

    /// Keeps so many bytes of a body.
    pub(crate) fn body(&self, identity: &Identity, bytes: usize, held: &mut Held) -> Result<(), TooMany> {
        let limits = self.of(identity).map(|limits| &limits.bodies);
        held.take(limits, bytes / 1024 + 1).ok_or(TooMany("bodies"))
    }
}

impl Held {
    /// Answers whether it is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, limit: Option<&Arc<Semaphore>>, count: usize) -> Option<()> {
        let Some(limit) = limit else { return Some(()) };
        let permit = limit.clone().try_acquire_many_owned(u32::try_from(count).ok()?).ok()?;
        // Permits of one limit are one.
        match self.0.iter_mut().find(|held| Arc::ptr_eq(held.semaphore(), limit)) {
            Some(held) => held.merge(permit),
            None => self.0.push(permit),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_place_of_others() {
        let who = |user: &str, group: &str| Identity {
            user: user.to_owned(),
            groups: vec![group.to_owned()],
            ..Identity::default()
        };
        let throttle = Throttle { system: Limits::new(1, 1, 1), others: Limits::new(2, 1, 1) };
        let (bob, node, admin) =
            (who("bob", "x"), who("system:node:n", "system:nodes"), who("a", "system:masters"));
        let mut held = Held::default();
        assert_eq!(throttle.request(&bob, &mut held), Ok(()));
        assert_eq!(throttle.request(&bob, &mut held), Ok(()));
        assert_eq!(throttle.request(&who("eve", "y"), &mut Held::default()), Err(TooMany("requests")));
        assert_eq!(throttle.request(&node, &mut Held::default()), Ok(()));
        assert_eq!(throttle.request(&admin, &mut Held::default()), Ok(()));
        assert_eq!(throttle.body(&bob, 1_000_000, &mut held), Ok(()));
        assert_eq!(throttle.body(&bob, 1_000_000, &mut held), Err(TooMany("bodies")));
        drop(held);
        assert_eq!(throttle.body(&bob, 1_000_000, &mut Held::default()), Ok(()));
    }
}
