//! Follows a collection of objects of any kind: a list, then a watch from there, again and again, for ever.
//!
//! What was told stays true through every failure; only a list that is complete says what is gone.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use kube::client::Body;
use tokio::sync::mpsc;

use super::Client;
use crate::answer::{self, Malformed, Meta, Page, WatchFrame};
use crate::connection::accepted;
use crate::failure::Failure;
use crate::frame::Form;
use crate::query::Query;
use crate::stream::{EventStream, read_all};
use crate::timing::{Backoff, chance};

/// How many objects a page of a list has.
const PAGE: u32 = 500;
/// How many complaints about single objects are remembered.
const MAX_COMPLAINTS: usize = 1000;

/// What to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// The path, such as `/api/v1/pods` or `/api/v1/namespaces/shop/pods`.
    pub path: String,
    /// A label selector; empty for everything.
    pub labels: String,
    /// A field selector; empty for everything.
    pub fields: String,
}

impl Collection {
    /// Everything at a path.
    pub fn all(path: &str) -> Self {
        Self { path: path.to_owned(), labels: String::new(), fields: String::new() }
    }
}

/// What is told about a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told<T> {
    /// An object is there, new or changed or as before.
    Put(T),
    /// An object is gone.
    Gone {
        /// Its namespace; empty for kinds without.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Everything was told. Comes after each list that was completed.
    Synced,
}

/// Tells everything about a collection until the other end of `tell` is dropped. Failures are logged and retried with
/// back-off.
///
/// `decode` sees the object as it came; items of a list have no `kind` and no `apiVersion`. An object that it cannot read
/// is logged and left as it was told before. A list that breaks in the middle takes nothing back.
pub async fn follow<T: Send + 'static>(
    client: Client,
    what: Collection,
    decode: fn(&[u8]) -> Result<T, String>,
    tell: mpsc::Sender<Told<T>>,
) {
    let closed = tell.clone();
    let mut follower = Follower {
        query: Query::new(what.path, what.labels, what.fields),
        backoff: Backoff::new(&client.timing),
        client,
        decode,
        tell,
        revision: None,
        in_doubt: false,
        paged: true,
        known: HashSet::new(),
        complaints: BTreeMap::new(),
        report: Report::default(),
    };
    tokio::select! {
        () = closed.closed() => {}
        () = follower.run() => {}
    }
}

struct Follower<T> {
    client: Client,
    query: Query,
    decode: fn(&[u8]) -> Result<T, String>,
    tell: mpsc::Sender<Told<T>>,
    /// Up to where the history was told; `None` asks for a list.
    revision: Option<String>,
    /// Whether the server may be another one than before, with less history than was told.
    in_doubt: bool,
    paged: bool,
    /// The objects that were told and are not gone, as `namespace/name`.
    known: HashSet<Box<str>>,
    complaints: BTreeMap<String, String>,
    backoff: Backoff,
    report: Report,
}

/// Why an attempt ended.
enum Stop {
    /// Nobody listens any more.
    Unheard,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl<T> Follower<T> {
    async fn run(&mut self) {
        loop {
            let result = match self.revision {
                None => self.list().await,
                Some(_) if self.in_doubt => self.compare_revisions().await,
                Some(_) => self.watch().await,
            };
            match result {
                Ok(()) => {}
                Err(Stop::Unheard) => return,
                Err(Stop::Failed(failure)) => self.recover(failure).await,
            }
        }
    }

    async fn list(&mut self) -> Result<(), Stop> {
        let mut seen = HashSet::with_capacity(self.known.len());
        let mut next = String::new();
        loop {
            let page = self.page(self.paged.then_some(PAGE), &next).await?;
            for item in &page.items {
                let meta = answer::meta(Form::Json, item).map_err(Failure::from)?;
                if meta.name.is_empty() {
                    return Err(malformed("has an item without a name").into());
                }
                seen.insert(key(&meta));
                self.put(&meta, item).await?;
            }
            if page.next.is_empty() {
                self.revision = Some(page.revision);
                break;
            }
            next = page.next;
        }
        let gone: Vec<Box<str>> = self.known.iter().filter(|key| !seen.contains(*key)).cloned().collect();
        for key in gone {
            self.gone(&key).await?;
        }
        self.in_doubt = false;
        self.paged = true;
        self.works();
        self.send(Told::Synced).await
    }

    async fn page(&self, limit: Option<u32>, next: &str) -> Result<Page, Failure> {
        let body = self.open(&self.query.list(limit, next)).await?;
        let body = read_all(body, self.client.timing.answer).await?;
        let page = answer::json_page(None, &body).map_err(Failure::from)?;
        if page.revision.is_empty() {
            return Err(malformed("has no resourceVersion"));
        }
        Ok(page)
    }

    async fn open(&self, path: &str) -> Result<Body, Failure> {
        let timing = &self.client.timing;
        let response = self.client.send(Method::GET, path, None).await?;
        match accepted(response, timing).await? {
            (Form::Json, body) => Ok(body),
            (Form::Protobuf, _) => Err(malformed("is no JSON")),
        }
    }

    /// Makes sure that the server has come as far as what was told. One that was restored from a backup has not: a watch
    /// from there is silent until the new history has caught up.
    async fn compare_revisions(&mut self) -> Result<(), Stop> {
        let page = self.page(Some(1), "").await?;
        self.in_doubt = false;
        self.check_not_before(&page.revision).map_err(Stop::from)
    }

    async fn watch(&mut self) -> Result<(), Stop> {
        let timing = self.client.timing.clone();
        let life = timing.watch_life.mul_f64(1.0 + chance());
        let body = self.open(&self.query.watch(self.revision.as_deref(), life)).await?;
        let started = Instant::now();
        let mut stream = EventStream::new(Form::Json, body, (started + life + timing.watch_grace, &timing));
        let mut frames = 0_u64;
        let result = loop {
            match stream.next(false).await {
                Ok(Some(frame)) => match self.take(&frame, &mut stream).await {
                    Ok(()) => frames += 1,
                    Err(stop) => break Err(stop),
                },
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure.into()),
            }
            if frames == 1 {
                self.works();
            }
        };
        if started.elapsed() >= timing.healthy_after {
            self.works();
        }
        result?;
        if frames == 0 && started.elapsed() < timing.healthy_after.min(life / 2) {
            return Err(Failure::EndedAtOnce.into());
        }
        // A server that ends every watch after its first events is not to be asked without pause.
        tokio::time::sleep(timing.first_retry.saturating_sub(started.elapsed())).await;
        // Not even a bookmark in its whole life: a server that does not reach the revision looks like this.
        self.in_doubt |= frames == 0;
        Ok(())
    }

    async fn take(&mut self, frame: &Bytes, stream: &mut EventStream) -> Result<(), Stop> {
        match answer::watch_frame(Form::Json, frame).map_err(Failure::from)? {
            WatchFrame::Applied(meta, object) => {
                self.put(&meta, &object).await?;
                self.advance(meta.revision)?;
            }
            WatchFrame::Deleted(meta) => {
                self.gone(&key(&meta)).await?;
                self.advance(meta.revision)?;
            }
            WatchFrame::Bookmark(meta) => {
                stream.had_bookmark();
                self.advance(meta.revision)?;
            }
            WatchFrame::Error(status) => return Err(Failure::of_status(status).into()),
            WatchFrame::Unreadable(error) => {
                let path = self.query.path();
                tracing::warn!(path, %error, "an event was left out: its object has no name");
            }
        }
        Ok(())
    }

    async fn put(&mut self, meta: &Meta, object: &[u8]) -> Result<(), Stop> {
        match (self.decode)(object) {
            Ok(decoded) => {
                self.known.insert(key(meta));
                self.send(Told::Put(decoded)).await
            }
            Err(error) => {
                self.complain(&key(meta), error);
                Ok(())
            }
        }
    }

    async fn gone(&mut self, key: &str) -> Result<(), Stop> {
        self.complaints.remove(key);
        if !self.known.remove(key) {
            return Ok(());
        }
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        self.send(Told::Gone { namespace: namespace.to_owned(), name: name.to_owned() }).await
    }

    fn advance(&mut self, revision: String) -> Result<(), Failure> {
        if revision.is_empty() {
            return Ok(());
        }
        self.check_not_before(&revision)?;
        self.revision = Some(revision);
        Ok(())
    }

    fn check_not_before(&mut self, revision: &str) -> Result<(), Failure> {
        // Revisions are numbers that grow (comparable by contract since Kubernetes 1.35).
        let number = |text: &str| text.parse::<u64>().ok();
        match (self.revision.as_deref().and_then(number), number(revision)) {
            (Some(before), Some(now)) if now < before => {
                Err(Failure::Gone(format!("it went back from revision {before} to {now}")))
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    fn complain(&mut self, key: &str, error: String) {
        if self.complaints.get(key) == Some(&error) {
            return;
        }
        tracing::warn!(
            path = self.query.path(),
            name = key,
            error,
            "an object cannot be read and was left out"
        );
        if self.complaints.len() < MAX_COMPLAINTS {
            self.complaints.insert(key.to_owned(), error);
        }
    }

    /// Draws the consequences of a failure and waits.
    async fn recover(&mut self, failure: Failure) {
        self.in_doubt |= failure.ends_acquaintance();
        let is_gone = matches!(failure, Failure::Gone(_));
        if self.revision.is_none() && is_gone {
            // Pages that expire faster than they are fetched never end; all at once does.
            self.paged = self.backoff.failures() == 0;
        }
        if failure.loses_history() {
            self.revision = None;
        }
        self.client.connection.lock().await.failed(&failure);
        let is_first = self.backoff.failures() == 0;
        let retry = self.backoff.failed(chance());
        let retry = if is_first && is_gone { Duration::ZERO } else { retry };
        self.report.failed(self.query.path(), &failure, (retry, self.client.timing.repeat_report));
        tokio::time::sleep(retry).await;
    }

    fn works(&mut self) {
        self.backoff.succeeded();
        self.report.works(self.query.path());
    }

    async fn send(&self, told: Told<T>) -> Result<(), Stop> {
        self.tell.send(told).await.map_err(|_| Stop::Unheard)
    }
}

fn key(meta: &Meta) -> Box<str> {
    format!("{}/{}", meta.namespace, meta.name).into()
}

fn malformed(what: &str) -> Failure {
    Failure::Malformed(Malformed(what.into()))
}

/// What people read about failures: each once, again only when it goes on for long, and a word when it is over.
#[derive(Default)]
struct Report {
    said: Option<(String, Instant)>,
    failures: u32,
}

impl Report {
    fn failed(&mut self, path: &str, failure: &Failure, (retry, repeat): (Duration, Duration)) {
        self.failures = self.failures.saturating_add(1);
        let error = failure.to_string();
        let now = Instant::now();
        if self.said.as_ref().is_some_and(|(said, at)| *said == error && now.duration_since(*at) < repeat) {
            tracing::debug!(path, error, ?retry, "watching the API server failed again");
            return;
        }
        if matches!(failure, Failure::Gone(_)) {
            tracing::info!(path, error, "history lost, listing anew");
        } else {
            let is_forbidden = matches!(failure, Failure::Forbidden(_));
            let grant = "bind the user to a ClusterRole that may list and watch this";
            let remedy = if is_forbidden { grant } else { failure.remedy() };
            tracing::warn!(
                path,
                error,
                remedy,
                ?retry,
                "watching the API server failed, keeping the last state"
            );
        }
        self.said = Some((error, now));
    }

    fn works(&mut self, path: &str) {
        if self.said.take().is_some() {
            tracing::info!(path, failures = self.failures, "watching works again");
        }
        self.failures = 0;
    }
}
