//! Answers of others, kept for as long as they are true, or a little longer when nobody gives new ones.
//!
//! Bounded in entries and in bytes: what nobody asked for goes first (the clock algorithm). Time is an argument: how long the
//! process runs. An answer is found by its own question only, never for another's name. It does *not* ask anybody.

mod flight;
mod kept;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use flight::Flights;
pub use kept::{Kept, Says};

use crate::config::{Cache as Settings, Prefetch, Share};
use crate::wire::{Name, Query, Type, flag};

#[cfg(test)]
pub(crate) use kept::tests::{response, shown};

/// Locks that are independent of each other; the cores of most machines are fewer.
const SHARDS: usize = 16;
/// Fewer entries than this are not worth more than one lock.
const FEW: usize = 1024;
/// What an entry takes beside its bytes: two places in tables.
const ENTRY: usize = 128;
/// When somebody was asked again in vain, this long nobody is.
const PAUSE: Duration = Duration::from_secs(5);
/// A name, a type and a byte of flags.
const LONGEST_KEY: usize = 255 + 3;

/// What is asked, in the form in which answers are found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Box<[u8]>);

impl Key {
    /// Makes the key of a name in lower case, a type, and whether signatures are wanted (DO) and not checked (CD).
    pub fn new(name: &[u8], kind: Type, (dnssec_ok, unchecked): (bool, bool)) -> Self {
        let mut room = [0; LONGEST_KEY];
        Self(spelled(&mut room, (name, kind), (dnssec_ok, unchecked)).into())
    }

    /// Makes the key of a query.
    pub fn of(query: &Query<'_>) -> Self {
        Self::new(query.name.as_wire(), query.kind, flags(query))
    }

    /// Answers the name.
    pub fn name(&self) -> &[u8] {
        &self.0[..self.0.len() - 3]
    }

    /// Answers the type.
    pub fn kind(&self) -> Type {
        let at = self.0.len() - 3;
        Type(u16::from_be_bytes([self.0[at], self.0[at + 1]]))
    }

    /// Answers whether signatures are wanted, and whether nobody shall check them.
    pub fn flags(&self) -> (bool, bool) {
        let flags = self.0[self.0.len() - 1];
        (flags & 1 != 0, flags & 2 != 0)
    }
}

fn flags(query: &Query<'_>) -> (bool, bool) {
    (query.is_dnssec_ok(), query.flags() & flag::CHECKING_DISABLED != 0)
}

fn spelled<'a>(
    room: &'a mut [u8; LONGEST_KEY],
    (name, kind): (&[u8], Type),
    (dnssec_ok, unchecked): (bool, bool),
) -> &'a [u8] {
    let len = name.len();
    room[..len].copy_from_slice(name);
    room[len..len + 2].copy_from_slice(&kind.0.to_be_bytes());
    room[len + 2] = u8::from(dnssec_ok) | u8::from(unchecked) << 1;
    &room[..len + 3]
}

/// What is known of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// An answer that is true.
    Fresh {
        /// The answer.
        kept: Arc<Kept>,
        /// For how many seconds.
        ttl: u32,
        /// Whether somebody should be asked again already.
        refresh: bool,
    },
    /// An answer that was true.
    Stale {
        /// The answer.
        kept: Arc<Kept>,
        /// Whether somebody should be asked again; not so shortly after somebody was.
        refresh: bool,
    },
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Answers that said something.
    pub hits_success: u64,
    /// Answers that said there is nothing, or that nobody knows.
    pub hits_denial: u64,
    /// Questions without an answer.
    pub misses: u64,
    /// Answers that were asked for again before their end.
    pub prefetches: u64,
    /// Answers that were given after their end.
    pub stale: u64,
    /// Answers that had to go for others: of the first and of the second kind.
    pub evictions: [u64; 2],
    /// Answers that are there: of the first and of the second kind.
    pub entries: [u64; 2],
    /// The bytes that they take.
    pub bytes: u64,
}

/// Answers of others.
#[derive(Debug)]
pub struct Cache {
    settings: Settings,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

impl Cache {
    /// Makes an empty one.
    pub fn new(settings: Settings) -> Self {
        let entries = settings.success.entries.min(settings.denial.entries);
        let count = if entries < FEW { 1 } else { SHARDS };
        let shard = || {
            let part = |share: Share| Part { capacity: share.entries / count, ..Part::default() };
            Mutex::new(Shard {
                places: HashMap::default(),
                parts: [part(settings.success), part(settings.denial)],
                bytes: settings.bytes / count,
                used: 0,
                tally: Tally::default(),
            })
        };
        Self { shards: (0..count).map(|_| shard()).collect(), settings, hasher: RandomState::new() }
    }

    /// Answers whether old answers wait until somebody was asked.
    pub fn verifies_stale(&self) -> bool {
        self.settings.stale.is_some_and(|stale| stale.verifies)
    }

    /// Finds what is known of a query's question.
    pub fn find(&self, query: &Query<'_>, now: Duration) -> Found {
        let mut room = [0; LONGEST_KEY];
        let key = spelled(&mut room, (query.name.as_wire(), query.kind), flags(query));
        let mut guard = self.shard(key);
        let shard = &mut *guard;
        let Some(entry) = shard.entry(key) else {
            shard.tally.misses += 1;
            return Found::Missing;
        };
        entry.is_used = true;
        let found = entry.found(&self.settings, now);
        shard.count(&found);
        found
    }

    /// Finds an answer that is true, for how many seconds, and whether somebody should be asked again already. Where there is
    /// none nothing is counted, as [`Cache::find`] comes next.
    pub fn find_fresh(&self, query: &Query<'_>, now: Duration) -> Option<(Arc<Kept>, u32, bool)> {
        let mut room = [0; LONGEST_KEY];
        let key = spelled(&mut room, (query.name.as_wire(), query.kind), flags(query));
        let mut guard = self.shard(key);
        let shard = &mut *guard;
        let entry = shard.entry(key).filter(|entry| entry.is_fresh(now))?;
        entry.is_used = true;
        let found = entry.found(&self.settings, now);
        shard.count(&found);
        match found {
            Found::Fresh { kept, ttl, refresh } => Some((kept, ttl, refresh)),
            Found::Stale { .. } | Found::Missing => None,
        }
    }

    /// Keeps an answer, if it is one to be kept, and answers for how many seconds it is true.
    pub fn insert(&self, key: &Key, kept: &Arc<Kept>, now: Duration) -> Option<u32> {
        let lifetime = self.lifetime(key, kept)?;
        let entry = Entry {
            key: key.clone(),
            kept: kept.clone(),
            since: now,
            lifetime,
            streak: 0,
            last: now,
            retry: now,
            is_used: false,
        };
        let part = usize::from(kept.says() != Says::Success);
        let last = self.settings.stale.map_or(Duration::ZERO, |stale| stale.age);
        self.shard(&key.0).insert(part, entry, (now, last));
        Some(lifetime)
    }

    /// Answers what happened since the start.
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            sum.add(&shard);
        }
        sum
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(key) as usize % self.shards.len();
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an answer is kept; `None`: not at all.
    fn lifetime(&self, key: &Key, kept: &Kept) -> Option<u32> {
        let (share, not) = match kept.says() {
            Says::Success => (self.settings.success, &self.settings.not_success),
            Says::Denial | Says::Failure => (self.settings.denial, &self.settings.not_denial),
            Says::Other => return None,
        };
        let is_within = |zones: &[Name]| zones.iter().any(|zone| is_within(key.name(), zone));
        if share.entries == 0 || !is_within(&self.settings.zones) || is_within(not) {
            return None;
        }
        let seconds = match kept.says() {
            Says::Failure => self.settings.failure.as_secs() as u32,
            Says::Success | Says::Denial | Says::Other => kept.ttl().max(share.shortest).min(share.longest),
        };
        Some(seconds).filter(|seconds| *seconds > 0)
    }
}

fn is_within(mut name: &[u8], zone: &Name) -> bool {
    loop {
        if name == zone.as_wire() {
            return true;
        }
        match name.split_first() {
            Some((0, _)) | None => return false,
            Some((len, rest)) => name = rest.get(usize::from(*len)..).unwrap_or_default(),
        }
    }
}

impl Tally {
    fn add(&mut self, shard: &Shard) {
        let tally = &shard.tally;
        self.hits_success += tally.hits_success;
        self.hits_denial += tally.hits_denial;
        self.misses += tally.misses;
        self.prefetches += tally.prefetches;
        self.stale += tally.stale;
        self.bytes += shard.used as u64;
        for (at, part) in shard.parts.iter().enumerate() {
            self.evictions[at] += tally.evictions[at];
            self.entries[at] += part.len() as u64;
        }
    }
}

#[derive(Debug)]
struct Shard {
    /// In which part and at which place an answer is.
    places: HashMap<Key, (usize, usize)>,
    parts: [Part; 2],
    bytes: usize,
    used: usize,
    tally: Tally,
}

/// Answers of one kind, in a ring.
#[derive(Debug, Default)]
struct Part {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    hand: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    kept: Arc<Kept>,
    since: Duration,
    lifetime: u32,
    /// How often it was asked for without a long pause.
    streak: u32,
    last: Duration,
    /// Nobody is asked again before.
    retry: Duration,
    is_used: bool,
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Entry {
    fn size(&self) -> usize {
        ENTRY + size_of::<Self>() + 2 * self.key.0.len() + self.kept.size()
    }

    fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) < Duration::from_secs(self.lifetime.into())
    }

    fn found(&mut self, settings: &Settings, now: Duration) -> Found {
        let age = now.saturating_sub(self.since);
        let lifetime = Duration::from_secs(self.lifetime.into());
        if age < lifetime {
            let left = lifetime - age;
            let refresh = settings.prefetch.is_some_and(|prefetch| self.is_popular(prefetch, left, now));
            let refresh = refresh && self.may_ask(now);
            // A second that has begun counts, or an answer would be given with zero before its end.
            let left = left.as_secs() as u32 + u32::from(left.subsec_nanos() > 0);
            let ttl = if settings.keeps_ttl { self.lifetime } else { left };
            return Found::Fresh { kept: self.kept.clone(), ttl, refresh };
        }
        let is_failure = self.kept.says() == Says::Failure;
        match settings.stale {
            Some(stale) if !is_failure && age < lifetime + stale.age => {
                Found::Stale { kept: self.kept.clone(), refresh: self.may_ask(now) }
            }
            Some(_) | None => Found::Missing,
        }
    }

    fn is_popular(&mut self, prefetch: Prefetch, left: Duration, now: Duration) -> bool {
        let is_soon = now.saturating_sub(self.last) < prefetch.within;
        self.streak = if is_soon { self.streak.saturating_add(1) } else { 1 };
        self.last = now;
        let late = Duration::from_secs(self.lifetime.into()) * prefetch.percentage / 100;
        self.streak >= prefetch.amount && left <= late
    }

    fn may_ask(&mut self, now: Duration) -> bool {
        let may = self.retry <= now;
        if may {
            self.retry = now + PAUSE;
        }
        may
    }
}

impl Shard {
    fn entry(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let (part, at) = *self.places.get(key)?;
        self.parts[part].entries[at].as_mut()
    }

    fn count(&mut self, found: &Found) {
        let (kept, refresh) = match found {
            Found::Missing => {
                self.tally.misses += 1;
                return;
            }
            Found::Fresh { kept, refresh, .. } => (kept, *refresh),
            Found::Stale { kept, .. } => {
                self.tally.stale += 1;
                (kept, false)
            }
        };
        self.tally.prefetches += u64::from(refresh);
        match kept.says() {
            Says::Success => self.tally.hits_success += 1,
            Says::Denial | Says::Failure | Says::Other => self.tally.hits_denial += 1,
        }
    }

    /// A failure does not take the place of an answer that may still be given.
    fn insert(&mut self, part: usize, entry: Entry, (now, stale): (Duration, Duration)) {
        let is_failure = entry.kept.says() == Says::Failure;
        if let Some(old) = self.entry(&entry.key.0) {
            let end = old.since + Duration::from_secs(old.lifetime.into()) + stale;
            if is_failure && old.kept.says() != Says::Failure && now < end {
                return;
            }
        }
        self.remove(&entry.key);
        let size = entry.size();
        if size > self.bytes {
            return;
        }
        while self.parts[part].len() >= self.parts[part].capacity {
            self.evict(part, now);
        }
        while self.used + size > self.bytes {
            let larger = usize::from(self.parts[1].len() > self.parts[0].len());
            self.evict(larger, now);
        }
        self.used += size;
        let key = entry.key.clone();
        let at = self.parts[part].put(entry);
        self.places.insert(key, (part, at));
    }

    fn evict(&mut self, part: usize, now: Duration) {
        let Some(key) = self.parts[part].next_to_go(now) else { return };
        self.remove(&key);
        self.tally.evictions[part] += 1;
    }

    fn remove(&mut self, key: &Key) {
        let Some((part, at)) = self.places.remove(key) else { return };
        let Some(entry) = self.parts[part].entries[at].take() else { return };
        self.parts[part].free.push(at);
        self.used -= entry.size();
    }
}

impl Part {
    fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    fn put(&mut self, entry: Entry) -> usize {
        if let Some(at) = self.free.pop() {
            self.entries[at] = Some(entry);
            return at;
        }
        self.entries.push(Some(entry));
        self.entries.len() - 1
    }

    /// The first that is over, or that nobody asked for since the hand was there last.
    fn next_to_go(&mut self, now: Duration) -> Option<Key> {
        for _ in 0..2 * self.entries.len() {
            let at = self.hand % self.entries.len();
            self.hand = at + 1;
            let Some(entry) = &mut self.entries[at] else { continue };
            let is_over = now >= entry.since + Duration::from_secs(entry.lifetime.into());
            if is_over || !entry.is_used {
                return Some(entry.key.clone());
            }
            entry.is_used = false;
        }
        None
    }
}

#[cfg(test)]
mod tests;
