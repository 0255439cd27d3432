//! One question under way for all who wait for its answer. When the last of them is gone, nobody goes on asking.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Key;

/// Questions under way and what they are answered with.
#[derive(Debug)]
pub struct Flights<T>(Arc<Mutex<Waiting<T>>>);

type Waiting<T> = HashMap<Key, watch::Sender<Option<T>>>;

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Waits for the answer to a question. `ask` is started when nobody else waits for it yet.
    ///
    /// `None`: asking ended without an answer, which only a panic does.
    pub async fn join<F>(&self, key: &Key, ask: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut told = self.begin(key, ask);
        let told = told.wait_for(Option::is_some).await.ok()?;
        told.clone()
    }

    /// Asks a question if nobody does, for nobody in particular. It goes on although nobody waits.
    pub fn ask_ahead<F>(&self, key: &Key, ask: impl FnOnce() -> F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut told = self.begin(key, ask);
        tokio::spawn(async move { told.wait_for(Option::is_some).await.map(drop) });
    }

    /// Answers how many questions are under way.
    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Answers whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn begin<F>(&self, key: &Key, ask: impl FnOnce() -> F) -> watch::Receiver<Option<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut waiting = lock(&self.0);
        if let Some(sender) = waiting.get(key) {
            return sender.subscribe();
        }
        let (sender, told) = watch::channel(None);
        waiting.insert(key.clone(), sender.clone());
        drop(waiting);
        let landing = Landing { waiting: self.0.clone(), key: Some(key.clone()) };
        let asking = ask();
        tokio::spawn(async move { fly(landing, sender, asking).await });
        told
    }
}

/// Removes the question from those under way, also when asking panics.
struct Landing<T> {
    waiting: Arc<Mutex<Waiting<T>>>,
    /// `None`: it is removed already, and somebody else may ask the same.
    key: Option<Key>,
}

impl<T> Landing<T> {
    fn remove(&mut self, waiting: &mut Waiting<T>) {
        if let Some(key) = self.key.take() {
            waiting.remove(&key);
        }
    }
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        let waiting = self.waiting.clone();
        self.remove(&mut lock(&waiting));
    }
}

async fn fly<T>(mut landing: Landing<T>, sender: watch::Sender<Option<T>>, asking: impl Future<Output = T>) {
    tokio::pin!(asking);
    loop {
        tokio::select! {
            answer = &mut asking => {
                // Who comes now asks anew, or finds what was kept.
                drop(landing);
                sender.send_replace(Some(answer));
                return;
            }
            () = sender.closed() => {
                // Somebody may have come between the last one's leaving and this.
                let waiting = landing.waiting.clone();
                let mut waiting = lock(&waiting);
                if sender.receiver_count() == 0 {
                    return landing.remove(&mut waiting);
                }
            }
        }
    }
}

fn lock<T>(waiting: &Mutex<Waiting<T>>) -> MutexGuard<'_, Waiting<T>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Type;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn key() -> Key {
        Key::new(b"\x01a\x00", Type::A, (false, false))
    }

    #[tokio::test(start_paused = true)]
    async fn many_wait_and_one_asks() {
        let flights = Flights::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let asked = asked.clone();
            async move {
                tokio::time::sleep(SECOND).await;
                asked.fetch_add(1, Ordering::Relaxed)
            }
        };
        let key = key();
        let all = (flights.join(&key, ask), flights.join(&key, ask), flights.join(&key, ask));
        assert_eq!(tokio::join!(all.0, all.1, all.2), (Some(0), Some(0), Some(0)));
        assert!(flights.is_empty());
        assert_eq!(flights.join(&key, ask).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_asks_for_nobody() {
        let flights = Flights::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let asked = asked.clone();
            async move {
                tokio::time::sleep(SECOND * 3).await;
                asked.fetch_add(1, Ordering::Relaxed);
            }
        };
        for _ in 0..2 {
            let gone = tokio::time::timeout(SECOND, flights.join(&key(), ask)).await;
            assert!(gone.is_err());
            tokio::time::sleep(SECOND).await;
            assert!(flights.is_empty());
        }
        tokio::time::sleep(SECOND * 5).await;
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        flights.ask_ahead(&key(), ask);
        tokio::time::sleep(SECOND * 5).await;
        assert_eq!((asked.load(Ordering::Relaxed), flights.len()), (1, 0));
    }

    #[tokio::test]
    async fn a_panic_leaves_nothing_behind() {
        let flights: Flights<()> = Flights::default();
        assert_eq!(flights.join(&key(), || async { panic!("on purpose") }).await, None);
        assert!(flights.is_empty());
    }
}
