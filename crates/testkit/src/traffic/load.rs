//! Requests over HTTP without a pause, each over a connection of its own, and what became of all of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sys::netns::{Namespace, enter};

use super::http::get;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there were.
    pub requests: usize,
    /// Why some had no good answer, and when, counted from the start.
    pub failed: Vec<(Duration, String)>,
    /// How often each answered: the beginning of the answer, up to ` at `.
    pub by: BTreeMap<String, usize>,
}

/// Requests that are being sent.
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins to send requests from a network namespace, so many at a time.
    pub fn start(from: &Namespace, to: SocketAddr, parallel: usize) -> Self {
        let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let begin = Instant::now();
        let one = || {
            let (stop, tally, from) = (stop.clone(), tally.clone(), from.clone());
            std::thread::spawn(move || {
                if let Err(error) = from.open().and_then(|inside| enter(&inside)) {
                    return add(&tally, Err((begin.elapsed(), error.to_string())));
                }
                while !stop.load(Ordering::Relaxed) {
                    add(&tally, ask(to).map_err(|why| (begin.elapsed(), why)));
                }
            })
        };
        Self { threads: (0..parallel).map(|_| one()).collect(), stop, tally }
    }

    /// What has become of them so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it, after the last answer.
    pub fn end(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            drop(thread.join());
        }
        self.tally()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn ask(to: SocketAddr) -> Result<String, String> {
    let answer = get(to, "/", PATIENCE);
    match answer.code {
        Some(200) => Ok(answer.body.split(" at ").next().unwrap_or_default().to_owned()),
        Some(code) => Err(format!("status {code}")),
        None => Err(answer.verdict),
    }
}

fn add(tally: &Mutex<Tally>, answered: Result<String, (Duration, String)>) {
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.requests += 1;
    match answered {
        Ok(who) => *tally.by.entry(who).or_default() += 1,
        Err(why) => tally.failed.push(why),
    }
}
