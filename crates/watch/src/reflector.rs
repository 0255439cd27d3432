//! Follows one kind: a list, then a watch from there, again and again. What was delivered stays in force through every
//! failure; a list only replaces it when it is complete.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::Problem;
use objects::{Event, Kind, Object, ObjectKey, naming};
use tokio::sync::mpsc;

use crate::answer::{self, Meta, WatchFrame};
use crate::api::ApiConfig;
use crate::connection::Renewable;
use crate::decode::{Decoder, concerns_rules, problems_of};
use crate::failure::Failure;
use crate::frame::Form;
use crate::journal::Entry;
use crate::progress::Progress;
use crate::query::Query;
use crate::stream::{EventStream, read_all};
use crate::timing::{Backoff, chance};

/// How many objects a page of a list has.
const PAGE: u32 = 500;
/// How many complaints about single objects are remembered.
const MAX_COMPLAINTS: usize = 1000;

/// Follows one kind.
pub(crate) struct Reflector {
    kind: Kind,
    config: ApiConfig,
    progress: Progress,
    sink: mpsc::Sender<Event>,
    journal: mpsc::UnboundedSender<Entry>,
    connection: Renewable,
    decoder: Decoder,
    query: Query,
    /// Up to where the history was delivered; `None` asks for a list.
    revision: Option<String>,
    /// Whether the server may be another one than before, with less history than was delivered.
    in_doubt: bool,
    streaming: Streaming,
    /// Whether lists come in pages.
    paged: bool,
    /// Whether the server was found not to have the kind.
    missing: bool,
    /// Whether the server ever completed a list.
    listed: bool,
    backoff: Backoff,
    complaints: BTreeMap<ObjectKey, String>,
    naming: Naming,
}

/// Whether the first list comes as the beginning of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Streaming {
    Wanted,
    /// It failed; the next list is an ordinary one.
    NotNow,
    /// The server does not know it.
    Unsupported,
}

/// Why an attempt ended.
enum Stop {
    /// Nobody wants events any more.
    SinkClosed,
    /// Something failed.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Who is told what names follow from, after the rules are.
enum Naming {
    Unwanted,
    Wanted(mpsc::Sender<naming::Event>),
    /// Nobody listens any more; the rules go on without.
    Abandoned,
}

impl Naming {
    fn of(kind: Kind, config: &ApiConfig) -> Self {
        match (&config.naming, kind) {
            (Some(sender), Kind::Service | Kind::EndpointSlice) => Self::Wanted(sender.clone()),
            (Some(_) | None, Kind::Node | Kind::ServiceCidr) | (None, _) => Self::Unwanted,
        }
    }

    fn sees_everything(&self) -> bool {
        !matches!(self, Self::Unwanted)
    }

    async fn tell(&mut self, event: impl FnOnce() -> naming::Event) {
        if let Self::Wanted(sender) = self
            && sender.send(event()).await.is_err()
        {
            *self = Self::Abandoned;
        }
    }
}

type Ends = (Progress, mpsc::Sender<Event>, mpsc::UnboundedSender<Entry>);

impl Reflector {
    pub(crate) fn new(kind: Kind, config: ApiConfig, (progress, sink, journal): Ends) -> Self {
        Self {
            kind,
            progress,
            sink,
            journal,
            connection: Renewable::new(config.clone()),
            decoder: Decoder::default(),
            query: if config.naming.is_some() {
                Query::whole(kind, &config.node_name)
            } else {
                Query::of(kind, &config.node_name)
            },
            naming: Naming::of(kind, &config),
            revision: None,
            in_doubt: false,
            streaming: Streaming::Wanted,
            paged: true,
            missing: false,
            listed: false,
            backoff: Backoff::new(&config.timing),
            complaints: BTreeMap::new(),
            config,
        }
    }

    /// Runs until nobody wants events any more.
    pub(crate) async fn run(mut self) {
        let sink = self.sink.clone();
        tokio::select! {
            () = sink.closed() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        loop {
            let initial = self.revision.is_none();
            let streamed = initial && self.streaming == Streaming::Wanted;
            let result = match (initial, streamed) {
                (true, false) => self.list().await,
                (false, _) if self.in_doubt => self.compare_revisions().await,
                (true, true) | (false, _) => self.watch(initial).await,
            };
            match result {
                Ok(()) => {}
                Err(Stop::SinkClosed) => return,
                Err(Stop::Failed(failure)) => {
                    if self.recover(failure, streamed).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn get(&mut self, path: &str, watch: bool) -> Result<(Form, kube::client::Body), Failure> {
        let timing = self.config.timing.clone();
        self.connection.get().await?.get(path, watch, &timing).await
    }

    /// Lists page by page; the pages show one revision.
    async fn list(&mut self) -> Result<(), Stop> {
        let mut next = String::new();
        loop {
            let limit = self.paged.then_some(PAGE);
            let (form, body) = self.get(&self.query.list(limit, &next), false).await?;
            let body = read_all(body, self.config.timing.answer).await?;
            let page = answer::page(form, self.kind, &body).map_err(Failure::from)?;
            if page.revision.is_empty() {
                return Err(Failure::Malformed(answer::Malformed("has no resourceVersion".into())).into());
            }
            if next.is_empty() {
                self.start_list().await?;
            }
            for item in &page.items {
                self.apply_item(form, item).await?;
            }
            if page.next.is_empty() {
                self.finish_list(page.revision).await?;
                self.paged = true;
                self.streaming = match self.streaming {
                    Streaming::Wanted | Streaming::NotNow => Streaming::Wanted,
                    Streaming::Unsupported => Streaming::Unsupported,
                };
                return Ok(());
            }
            next = page.next;
        }
    }

    /// Delivers an item of a list. Servers store nothing without a name, so such a list is not believed: what it lacks
    /// would be taken for deleted.
    async fn apply_item(&mut self, form: Form, item: &Bytes) -> Result<(), Stop> {
        let meta = answer::meta(form, item).map_err(Failure::from)?;
        if meta.name.is_empty() {
            return Err(Failure::Malformed(answer::Malformed("has an item without a name".into())).into());
        }
        self.apply(form, &meta, item).await
    }

    async fn start_list(&mut self) -> Result<(), Stop> {
        self.send(Event::ListStarted(self.kind)).await?;
        self.naming.tell(|| naming::Event::ListStarted(self.kind)).await;
        Ok(())
    }

    async fn finish_list(&mut self, revision: String) -> Result<(), Stop> {
        self.send(Event::ListFinished(self.kind)).await?;
        self.naming.tell(|| naming::Event::ListFinished(self.kind)).await;
        self.revision = Some(revision);
        self.in_doubt = false;
        self.missing = false;
        self.listed = true;
        self.progress.listed(self.kind, false);
        self.tell(Entry::Works(self.kind));
        Ok(())
    }

    /// Makes sure that the server has come as far as what was delivered. One that was restored from a backup has not: a
    /// watch from there is silent until the new history has caught up, and what came before that would never be told.
    async fn compare_revisions(&mut self) -> Result<(), Stop> {
        let (form, body) = self.get(&self.query.list(Some(1), ""), false).await?;
        let body = read_all(body, self.config.timing.answer).await?;
        let page = answer::page(form, self.kind, &body).map_err(Failure::from)?;
        self.in_doubt = false;
        self.check_not_before(&page.revision).map_err(Stop::from)
    }

    /// Watches from the revision, or from a list that comes as the beginning of the watch.
    async fn watch(&mut self, initial: bool) -> Result<(), Stop> {
        let timing = self.config.timing.clone();
        let life = timing.watch_life.mul_f64(1.0 + chance());
        let path = self.query.watch(self.revision.as_deref(), life);
        let (form, body) = self.get(&path, true).await?;
        let started = Instant::now();
        let mut stream = EventStream::new(form, body, (started + life + timing.watch_grace, &timing));
        if initial {
            self.start_list().await?;
        }
        let mut listing = initial;
        let mut frames = 0_u64;
        let result = loop {
            match stream.next(listing).await {
                Ok(Some(frame)) => match self.take_frame(form, &frame, (&mut listing, &mut stream)).await {
                    Ok(()) => frames += 1,
                    Err(stop) => break Err(stop),
                },
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure.into()),
            }
            if frames == 1 && !listing {
                self.backoff.succeeded();
                self.tell(Entry::Works(self.kind));
            }
        };
        if started.elapsed() >= timing.healthy_after {
            self.backoff.succeeded();
        }
        result?;
        if listing || (frames == 0 && started.elapsed() < timing.healthy_after.min(life / 2)) {
            return Err(Failure::EndedAtOnce.into());
        }
        // A server that ends every watch after its first events is not to be asked without pause.
        tokio::time::sleep(timing.first_retry.saturating_sub(started.elapsed())).await;
        if frames == 0 {
            // Not even a bookmark in its whole life: a watch from a revision that the server does not reach (restored
            // from a backup) looks like this. A list is cheap and makes sure.
            self.revision = None;
        }
        Ok(())
    }

    async fn take_frame(
        &mut self,
        form: Form,
        frame: &Bytes,
        (listing, stream): (&mut bool, &mut EventStream),
    ) -> Result<(), Stop> {
        self.progress.heard(self.kind);
        match answer::watch_frame(form, frame).map_err(Failure::from)? {
            WatchFrame::Applied(meta, object) => {
                self.apply(form, &meta, &object).await?;
                self.advance(*listing, meta.revision)?;
            }
            WatchFrame::Deleted(meta) => {
                let key = meta.key(self.kind);
                let name = || naming::Key::new(&meta.namespace, &meta.name);
                self.complaints.remove(&key);
                self.send(Event::Deleted(key)).await?;
                self.naming.tell(|| naming::Event::Deleted(self.kind, name())).await;
                self.progress.delivered(self.kind);
                self.advance(*listing, meta.revision)?;
            }
            WatchFrame::Bookmark(meta) if *listing && meta.ends_initial_events => {
                *listing = false;
                self.finish_list(meta.revision).await?;
            }
            WatchFrame::Bookmark(_) if *listing => return Err(Failure::NoEndOfInitialEvents.into()),
            WatchFrame::Bookmark(meta) => {
                stream.had_bookmark();
                self.advance(false, meta.revision)?;
            }
            WatchFrame::Error(status) => return Err(Failure::of_status(status).into()),
            WatchFrame::Unreadable(malformed) => {
                tracing::warn!(kind = ?self.kind, error = %malformed, "an event was left out: its object has no name");
            }
        }
        Ok(())
    }

    /// Remembers up to where the history was delivered.
    fn advance(&mut self, listing: bool, revision: String) -> Result<(), Failure> {
        if listing || revision.is_empty() {
            return Ok(());
        }
        self.check_not_before(&revision)?;
        self.revision = Some(revision);
        Ok(())
    }

    fn check_not_before(&mut self, revision: &str) -> Result<(), Failure> {
        // Revisions are numbers that grow (comparable by contract since Kubernetes 1.35).
        let number = |text: &str| text.parse::<u64>().ok();
        let went_back = match (self.revision.as_deref().and_then(number), number(revision)) {
            (Some(before), Some(now)) => now < before,
            (None, _) | (_, None) => false,
        };
        if went_back {
            let before = self.revision.take().unwrap_or_default();
            return Err(Failure::Gone(format!("it went back from revision {before} to {revision}")));
        }
        Ok(())
    }

    async fn apply(&mut self, form: Form, meta: &Meta, object: &Bytes) -> Result<(), Stop> {
        let decoded = match &self.naming {
            Naming::Unwanted => self.decoder.decode(self.kind, form, object).map(|object| (object, None)),
            Naming::Wanted(_) | Naming::Abandoned => self.decoder.decode_with_names(self.kind, form, object),
        };
        match decoded {
            Ok((object, named)) => {
                self.deliver(meta, object).await?;
                if let Some(named) = named {
                    self.naming.tell(|| naming::Event::Applied(named)).await;
                }
                self.progress.delivered(self.kind);
            }
            Err(error) => self.complain(meta.key(self.kind), error),
        }
        Ok(())
    }

    /// Hands an object on. One that the rules are not to see is gone for them, where the server does not select for us.
    async fn deliver(&mut self, meta: &Meta, object: Object) -> Result<(), Stop> {
        if self.naming.sees_everything() && !concerns_rules(&object) {
            self.complaints.remove(&meta.key(self.kind));
            return self.send(Event::Deleted(meta.key(self.kind))).await;
        }
        self.report_problems(meta, problems_of(&object));
        self.send(Event::Applied(object)).await
    }

    /// Reports what was left out of an object, once for each set of mistakes.
    fn report_problems(&mut self, meta: &Meta, problems: &[Problem]) {
        if problems.is_empty() {
            if !self.complaints.is_empty() {
                self.complaints.remove(&meta.key(self.kind));
            }
            return;
        }
        let key = meta.key(self.kind);
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        if self.complaints.get(&key) == Some(&text) {
            return;
        }
        for Problem { object, field, reason } in problems {
            tracing::warn!(object, field, reason, "an object has a mistake; the rest of it is in force");
        }
        if self.complaints.len() < MAX_COMPLAINTS {
            self.complaints.insert(key, text);
        }
    }

    /// Reports an object that cannot be read, once for each mistake.
    fn complain(&mut self, key: ObjectKey, error: String) {
        if self.complaints.get(&key) == Some(&error) {
            return;
        }
        tracing::warn!(kind = ?self.kind, name = %key.name, error, "an object cannot be read and was left out");
        if self.complaints.len() < MAX_COMPLAINTS {
            self.complaints.insert(key, error);
        }
    }

    /// Draws the consequences of a failure and waits.
    async fn recover(&mut self, failure: Failure, streamed: bool) -> Result<(), Stop> {
        if self.adapt(&failure, streamed) {
            return Ok(());
        }
        if self.can_live_without(&failure) {
            return self.live_without(&failure).await;
        }
        self.progress.failed(self.kind);
        self.in_doubt |= failure.ends_acquaintance();
        let url = self.url();
        if failure.loses_history() {
            self.revision = None;
        }
        self.connection.failed(&failure);
        let is_first = self.backoff.failures() == 0;
        let retry = self.backoff.failed(chance());
        let retry = if is_first && matches!(failure, Failure::Gone(_)) { Duration::ZERO } else { retry };
        self.tell(Entry::Failed { kind: self.kind, url, failure, retry });
        tokio::time::sleep(retry).await;
        Ok(())
    }

    /// Asks for less where the server refuses what not all servers have. Answers whether that is all there is to do.
    fn adapt(&mut self, failure: &Failure, streamed: bool) -> bool {
        let refused = if let Failure::Refused(400 | 422, message) = failure { Some(message) } else { None };
        if let Some(message) = refused
            && message.contains("field label")
            && self.query.drop_fields()
        {
            tracing::info!(kind = ?self.kind, message, "the server cannot select by this field, watching all");
            return true;
        }
        if let (Some(message), true) = (refused, streamed) {
            tracing::info!(kind = ?self.kind, message, "the server does not stream lists, falling back to pages");
            self.streaming = Streaming::Unsupported;
            return true;
        }
        if streamed && matches!(failure, Failure::NoEndOfInitialEvents | Failure::Silent(_)) {
            self.streaming = Streaming::Unsupported;
        } else if !streamed && self.revision.is_none() && matches!(failure, Failure::Gone(_)) {
            // Pages that expire faster than they are fetched never end; all at once does.
            self.paged = self.backoff.failures() == 0;
        } else if streamed && !failure.is_of_server() {
            self.streaming = Streaming::NotNow;
        }
        false
    }

    /// ServiceCIDRs are younger than Services; a server without them (or that keeps them to itself) has none. Once it
    /// has shown some, they stay in force like everything else: a server that starts does not have all groups yet.
    fn can_live_without(&self, failure: &Failure) -> bool {
        let is_refusal = matches!(failure, Failure::Missing(_) | Failure::Forbidden(_));
        self.kind == Kind::ServiceCidr && !self.listed && is_refusal
    }

    async fn live_without(&mut self, failure: &Failure) -> Result<(), Stop> {
        self.revision = None;
        if !self.missing {
            let remedy = failure.remedy();
            if matches!(failure, Failure::Forbidden(_)) {
                tracing::warn!(kind = ?self.kind, error = %failure, remedy, "going on without ServiceCIDRs");
            } else {
                tracing::info!(kind = ?self.kind, error = %failure, "going on without ServiceCIDRs");
            }
            self.send(Event::ListStarted(self.kind)).await?;
            self.send(Event::ListFinished(self.kind)).await?;
            self.missing = true;
        }
        self.progress.listed(self.kind, true);
        self.backoff.succeeded();
        self.tell(Entry::Works(self.kind));
        tokio::time::sleep(self.config.timing.missing_retry).await;
        Ok(())
    }

    fn url(&self) -> String {
        format!("{}{}", self.connection.server().trim_end_matches('/'), self.query.path())
    }

    async fn send(&self, event: Event) -> Result<(), Stop> {
        self.sink.send(event).await.map_err(|_| Stop::SinkClosed)
    }

    fn tell(&self, entry: Entry) {
        // The journal outlives the reflectors; at the very end nobody reads it.
        drop(self.journal.send(entry));
    }
}
