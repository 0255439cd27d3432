//! Names that are not the cluster's: answers that are kept, and those who are asked for others.
//!
//! [`Elsewhere::kept`] answers what is known for sure and allocates nothing; [`Elsewhere::at_once`] says what is to be done
//! otherwise; [`Elsewhere::wait`] asks. It does *not* open sockets for clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::cache::{Cache, Flights, Found, Kept, Key, Says, Tally};
use crate::config::Server;
use crate::metrics::DnsMetrics;
use crate::upstream::{Failure, Forwarder, Loops, UpstreamError};
use crate::wire::{IN, Name, Query, Type};

/// RFC 8767, section 5: after this an old answer is better than waiting for a new one.
const PATIENCE: Duration = Duration::from_millis(1800);

/// What one server does with names that are not its own.
#[derive(Debug)]
pub struct Elsewhere {
    cache: Option<Arc<Cache>>,
    forwarders: Vec<Arc<Forwarder>>,
    flights: Flights<Result<Told, Failure>>,
    loops: Option<Loops>,
    start: Instant,
    logs_errors: bool,
}

/// An answer, and for how many seconds it is true; `None`: as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The answer.
    pub kept: Arc<Kept>,
    /// What every time to live in it becomes.
    pub ttl: Option<u32>,
}

/// What can be done about a query without waiting.
#[derive(Debug)]
pub enum AtOnce {
    /// It is answered: so many bytes are written.
    Answered {
        /// How long the answer is.
        len: usize,
        /// Somebody should be asked again, for the next ones; see [`Elsewhere::refresh`].
        refresh: Option<Waiting>,
    },
    /// Somebody must be asked.
    Waits(Waiting),
    /// Nobody is asked for such names.
    Nobody,
}

/// A question that waits for its answer.
#[derive(Debug, Clone)]
pub struct Waiting {
    key: Key,
    forwarder: usize,
    /// What is better than nothing.
    stale: Option<Arc<Kept>>,
}

impl Elsewhere {
    /// Makes what a server's configuration says.
    pub fn new(server: &Server, metrics: &DnsMetrics) -> Result<Self, UpstreamError> {
        let forwarder =
            |settings: &_| Forwarder::new(Clone::clone(settings), metrics.forward.clone()).map(Arc::new);
        let cache = server.cache.clone().map(|settings| {
            let name = format!("dns://:{}", server.port);
            let zones = settings.zones.first().map(Name::to_string).unwrap_or_default();
            let cache = Arc::new(Cache::new(settings));
            metrics.caches.follow(&cache, &name, &zones);
            cache
        });
        let zone = server.zones.first().cloned().unwrap_or_else(Name::root);
        Ok(Self {
            cache,
            forwarders: server.forwards.iter().map(forwarder).collect::<Result<_, _>>()?,
            flights: Flights::default(),
            loops: server.finds_loops.then(|| Loops::new(&zone)),
            start: Instant::now(),
            logs_errors: server.logs_errors,
        })
    }

    /// Answers what finds loops, where that is wanted.
    pub fn loops(&self) -> Option<&Loops> {
        self.loops.as_ref()
    }

    /// Answers what happened to what is kept, where anything is.
    pub fn tally(&self) -> Option<Tally> {
        self.cache.as_ref().map(|cache| cache.tally())
    }

    /// Follows the files that name servers, for ever.
    pub async fn follow(&self) {
        let mut all = tokio::task::JoinSet::new();
        for forwarder in &self.forwarders {
            let forwarder = forwarder.clone();
            all.spawn(async move { forwarder.follow().await });
        }
        while all.join_next().await.is_some() {}
    }

    /// Answers a query with an answer that is kept and still true, within limits as those of [`Elsewhere::at_once`], which is
    /// what is to be asked where there is none.
    pub fn kept(
        &self,
        query: &Query<'_>,
        out: &mut [u8],
        limits: (usize, u16),
    ) -> Option<(usize, Option<Waiting>)> {
        let cache = self.cache.as_ref()?;
        let forwarder = self.forwarder(query)?;
        // It is counted by whoever looks what is to be asked, once for each time that it comes.
        if self.loops.as_ref().is_some_and(|loops| loops.is_own(query)) {
            return None;
        }
        let (kept, ttl, refresh) = cache.find_fresh(query, self.start.elapsed())?;
        let len = kept.write(query, Some(ttl), (out, limits.0, limits.1))?;
        Some((len, refresh.then(|| Waiting { key: Key::of(query), forwarder, stale: None })))
    }

    /// Answers a query from what is kept, into `out`: at most `limits.0` bytes; `limits.1` is what this server takes over UDP.
    pub fn at_once(&self, query: &Query<'_>, out: &mut [u8], limits: (usize, u16)) -> AtOnce {
        let Some(forwarder) = self.forwarder(query) else { return AtOnce::Nobody };
        if self.loops.as_ref().is_some_and(|loops| loops.is_back(query)) {
            return AtOnce::Nobody;
        }
        let waiting = |stale| Waiting { key: Key::of(query), forwarder, stale };
        let Some(cache) = &self.cache else { return AtOnce::Waits(waiting(None)) };
        let (kept, ttl, refresh) = match cache.find(query, self.start.elapsed()) {
            Found::Missing => return AtOnce::Waits(waiting(None)),
            Found::Stale { kept, refresh: true } if cache.verifies_stale() => {
                return AtOnce::Waits(waiting(Some(kept)));
            }
            Found::Stale { kept, refresh } => (kept, 0, refresh),
            Found::Fresh { kept, ttl, refresh } => (kept, ttl, refresh),
        };
        match kept.write(query, Some(ttl), (out, limits.0, limits.1)) {
            Some(len) => AtOnce::Answered { len, refresh: refresh.then(|| waiting(None)) },
            None => AtOnce::Waits(waiting(None)),
        }
    }

    /// Asks, with all others who wait for the same answer. Whoever drops the future does not wait any more; when nobody
    /// does, nobody is asked.
    pub async fn wait(self: &Arc<Self>, waiting: &Waiting, over_tcp: bool) -> Result<Told, Failure> {
        let asking = self.flights.join(&waiting.key, || self.clone().ask(waiting.clone(), over_tcp));
        let ended = || Failure::Silence("asking ended without an answer".to_owned());
        let Some(stale) = &waiting.stale else { return asking.await.unwrap_or_else(|| Err(ended())) };
        match timeout(PATIENCE, asking).await {
            Ok(Some(Ok(told))) if told.kept.says() != Says::Failure => Ok(told),
            Ok(_) | Err(_) => Ok(Told { kept: stale.clone(), ttl: Some(0) }),
        }
    }

    /// Asks for those who come later. Needs a runtime around it.
    pub fn refresh(self: &Arc<Self>, waiting: Waiting) {
        let key = waiting.key.clone();
        self.flights.ask_ahead(&key, || self.clone().ask(waiting, false));
    }

    async fn ask(self: Arc<Self>, waiting: Waiting, over_tcp: bool) -> Result<Told, Failure> {
        let forwarder = self.forwarders[waiting.forwarder].clone();
        match forwarder.ask(&waiting.key, over_tcp).await {
            Ok(kept) => {
                let kept = Arc::new(kept);
                let keep = |cache: &Arc<Cache>| cache.insert(&waiting.key, &kept, self.start.elapsed());
                let ttl = self.cache.as_ref().and_then(keep);
                Ok(Told { kept, ttl })
            }
            Err(failure) => {
                if self.logs_errors {
                    warn!(zone = %forwarder.settings().from, ?failure, "a query has no answer from elsewhere");
                }
                Err(failure)
            }
        }
    }

    /// The longest zone wins; of equal ones the first. Transfers of zones are nothing that is passed on.
    fn forwarder(&self, query: &Query<'_>) -> Option<usize> {
        if query.class != IN || query.kind == Type::AXFR || query.kind == Type::IXFR {
            return None;
        }
        let mut best: Option<(usize, usize)> = None;
        for (at, forwarder) in self.forwarders.iter().enumerate() {
            let settings = forwarder.settings();
            let is_within = |zone: &Name| query.name.is_within(zone);
            let length = settings.from.as_wire().len();
            let is_better = best.is_none_or(|(_, best)| length > best);
            if is_better && is_within(&settings.from) && !settings.except.iter().any(is_within) {
                best = Some((at, length));
            }
        }
        best.map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests;
