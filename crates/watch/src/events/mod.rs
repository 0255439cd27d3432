//! Records what happens to the agent as Kubernetes Events, which `kubectl describe node` and `kubectl get events` show.
//!
//! Recording never waits and never fails: what cannot be recorded is a line in the log. `body` says what an event looks
//! like, `ledger` which are written when; this is the shell that talks to the API server.

mod body;
mod ledger;

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use crate::api::ApiConfig;
use crate::connection::Renewable;
use crate::failure::Failure;
use crate::timing::{Backoff, Timing, chance};

pub(crate) use body::micro_time;
pub use body::{EventType, Happening, Regarding};

use body::{Reporter, Stamp};
use ledger::{Full, Ledger, Method, Next, Pace, Prospect, Reply, Write};

/// How many happenings wait for the task that records them. It takes them at once, so that more mean that it does not
/// run.
const QUEUE: usize = 1000;
/// How long the last events may take when nobody records any more.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where to tell what happened. Clones tell the same server.
#[derive(Debug, Clone)]
pub struct EventRecorder {
    queue: Option<mpsc::Sender<(Happening, Stamp)>>,
}

impl EventRecorder {
    /// Answers a recorder that forgets everything, for agents without an API server.
    pub fn nowhere() -> Self {
        Self { queue: None }
    }

    /// Records what happened just now. Never waits; drops it when too much is waiting already.
    pub fn record(&self, happening: Happening) {
        let Some(queue) = &self.queue else { return };
        let stamp = Stamp { at: Instant::now(), wall: SystemTime::now() };
        if let Err(error) = queue.try_send((happening, stamp)) {
            tracing::debug!(%error, "an event is lost");
        }
    }
}

/// Answers a recorder and what posts its events. The future ends when all recorders are gone, at most five seconds
/// later; it must run in a runtime with I/O and time.
///
/// Nothing is read or connected before the first event. While the API server cannot be reached nothing is lost, unless
/// more than a thousand different things happen.
pub fn record_events(config: ApiConfig) -> (EventRecorder, impl Future<Output = ()> + Send + 'static) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let reporter = Reporter { node_name: config.node_name.clone(), host_name };
    let timing = config.timing.clone();
    let backoff = Backoff::new(&timing);
    let recording = Recording {
        queue,
        ledger: Ledger::new(reporter, Pace::new(backoff.clone())),
        connection: Renewable::new(config),
        timing,
        outage: backoff,
        resume: Instant::now(),
        refusal_said: false,
    };
    (EventRecorder { queue: Some(sender) }, recording.run())
}

/// What posts events.
struct Recording {
    queue: mpsc::Receiver<(Happening, Stamp)>,
    ledger: Ledger,
    connection: Renewable,
    timing: Timing,
    /// Failures to reach the server at all, which concern every event.
    outage: Backoff,
    /// When the server may be tried again.
    resume: Instant,
    refusal_said: bool,
}

/// All recorders are gone.
struct Ended;

/// What a failure of a write means.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meaning {
    /// The server does not take anything from anybody now.
    Outage,
    /// It is about this event.
    Event(Reply),
}

impl Recording {
    async fn run(mut self) {
        while let Ok(()) = self.step().await {}
        self.ledger.end();
        if timeout(FAREWELL, self.write_the_rest()).await.is_err() {
            tracing::debug!("the API server took too long to take the last events");
        }
    }

    /// Writes one event, or waits until there may be one to write.
    async fn step(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        let wake = match self.ledger.next(now) {
            Next::Write(write) if self.resume <= now => {
                let result = self.write_while_listening(&write).await?;
                self.settle(&write, result);
                return Ok(());
            }
            Next::Write(_) => Some(self.resume),
            Next::At(at) => Some(at),
            Next::Nothing => None,
        };
        tokio::select! {
            received = self.queue.recv() => note(&mut self.ledger, received),
            () = sleep_until(wake.unwrap_or(now).into()), if wake.is_some() => Ok(()),
        }
    }

    /// Takes down what happens meanwhile. A write that nobody waits for any more is dropped: it is tried again at the
    /// end, and the server does not take it twice.
    async fn write_while_listening(&mut self, write: &Write) -> Result<Result<(), Failure>, Ended> {
        let sending = send(&mut self.connection, write, &self.timing);
        let mut sending = std::pin::pin!(sending);
        loop {
            tokio::select! {
                result = &mut sending => return Ok(result),
                received = self.queue.recv() => note(&mut self.ledger, received)?,
            }
        }
    }

    async fn write_the_rest(&mut self) {
        while let Next::Write(write) = self.ledger.next(Instant::now()) {
            let result = send(&mut self.connection, &write, &self.timing).await;
            if let Err(failure) = &result
                && meaning(failure, write.method) == Meaning::Outage
            {
                tracing::debug!(error = %failure, "the API server cannot be reached for the last events");
                return;
            }
            self.settle(&write, result);
        }
    }

    fn settle(&mut self, write: &Write, result: Result<(), Failure>) {
        let now = Instant::now();
        let failure = match result {
            Ok(()) => {
                self.outage.succeeded();
                self.ledger.settle(write, Reply::Stored, now);
                return;
            }
            Err(failure) => failure,
        };
        self.connection.failed(&failure);
        let reply = match meaning(&failure, write.method) {
            Meaning::Outage => {
                let retry = self.outage.failed(chance());
                self.resume = now + retry;
                tracing::debug!(error = %failure, ?retry, "events wait for the API server");
                return;
            }
            Meaning::Event(reply) => reply,
        };
        self.outage.succeeded();
        let prospect = self.ledger.settle(write, reply, now);
        self.report(write, &failure, prospect);
    }

    /// Says what went wrong with one event; that none may be written at all only once.
    fn report(&mut self, write: &Write, failure: &Failure, prospect: Prospect) {
        let (path, event) = (&write.path, &write.json);
        if let Failure::Forbidden(reason) = failure {
            // Whatever may be done otherwise, nothing is created in a namespace that is on its way out.
            let is_terminating = reason.contains("being terminated");
            if !self.refusal_said && !is_terminating {
                self.refusal_said = true;
                let remedy = failure.remedy();
                tracing::warn!(path, error = %failure, remedy, "the API server takes no events from here; all else goes on");
            }
            tracing::debug!(path, error = %failure, %event, "an event is lost");
            return;
        }
        match prospect {
            Prospect::Kept => {}
            Prospect::TriedAgain => tracing::debug!(path, error = %failure, "an event is tried again"),
            Prospect::Dropped => {
                tracing::warn!(path, error = %failure, %event, "an event is lost: the API server does not take it");
            }
        }
    }
}

fn note(ledger: &mut Ledger, received: Option<(Happening, Stamp)>) -> Result<(), Ended> {
    let (happening, stamp) = received.ok_or(Ended)?;
    if let Err(Full) = ledger.note(&happening, stamp) {
        tracing::debug!(?happening, "an event is lost: too many wait for the API server");
    }
    Ok(())
}

async fn send(connection: &mut Renewable, write: &Write, timing: &Timing) -> Result<(), Failure> {
    let connection = connection.get().await?;
    let json = write.json.to_string().into_bytes();
    match write.method {
        Method::Create => connection.create(&write.path, json, timing).await,
        Method::Patch => connection.merge(&write.path, json, timing).await,
    }
}

fn meaning(failure: &Failure, method: Method) -> Meaning {
    let reply = match (failure, method) {
        (
            Failure::Configuration(_)
            | Failure::Unreachable(_)
            | Failure::Unresolvable(_)
            | Failure::Untrusted(_)
            | Failure::NoAnswer(_)
            | Failure::Unauthorized(_),
            _,
        ) => return Meaning::Outage,
        // Events live for an hour.
        (Failure::Missing(_) | Failure::Gone(_), Method::Patch) => Reply::Vanished,
        (Failure::Refused(409, _), Method::Create) => Reply::Exists,
        (Failure::Forbidden(_) | Failure::Missing(_) | Failure::Gone(_), _) => Reply::Refused,
        // A conflict with another write, a timeout, and too many requests pass.
        (Failure::Refused(400..=499, _), _) if !matches!(failure, Failure::Refused(408 | 409 | 429, _)) => {
            Reply::Refused
        }
        (
            Failure::Refused(..)
            | Failure::Foreign { .. }
            | Failure::Malformed(_)
            | Failure::TooLarge(_)
            | Failure::Silent(_)
            | Failure::Broken(_)
            | Failure::Truncated
            | Failure::EndedAtOnce
            | Failure::NoEndOfInitialEvents,
            _,
        ) => Reply::Failed { chance: chance() },
    };
    Meaning::Event(reply)
}
