//! The store against a model: random writes, lists at any revision, watches from any revision, restarts.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use store::{Batch, Range, Store, Window, Write, WriteError};

/// A folder that goes when this does.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("signalbox-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("store")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

const TABLES: [&str; 2] = ["pods", "services"];

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// Several keys at once: table, key, value; `None`: deleted.
    Write(Vec<(usize, u8, Option<u8>)>),
    /// A write that sees a key and refuses if it is there, else makes it.
    Create(usize, u8),
    Compact,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || (0..2_usize, 0..12_u8);
    let write = (key(), prop::option::weighted(0.7, any::<u8>())).prop_map(|((t, k), v)| (t, k, v));
    prop_oneof![
        12 => prop::collection::vec(write, 1..4).prop_map(Step::Write),
        4 => key().prop_map(|(table, key)| Step::Create(table, key)),
        1 => Just(Step::Compact),
        1 => Just(Step::Restart),
    ]
}

fn key(number: u8) -> String {
    format!("ns{}/{number:02}", number % 3)
}

fn write(table: usize, number: u8, value: Option<u8>) -> Write {
    let (table, key) = (TABLES[table].into(), key(number).into());
    match value {
        Some(value) => Write::Put { table, key, value: vec![value; usize::from(value)].into() },
        None => Write::Delete { table, key },
    }
}

/// Every table at one revision: key -> (revision, value).
type Snapshot = [BTreeMap<String, (u64, Vec<u8>)>; 2];

struct Model {
    folder: Folder,
    store: Option<Store>,
    snapshots: BTreeMap<u64, Snapshot>,
    oldest: u64,
    window: Window,
}

impl Model {
    fn new() -> Self {
        let folder = Folder::new();
        let window = Window { changes: 40, bytes: 1 << 20 };
        let store = Store::open(&folder.file(), window).unwrap();
        Self { folder, store: Some(store), snapshots: [(0, Snapshot::default())].into(), oldest: 0, window }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn last(&self) -> (u64, Snapshot) {
        self.snapshots.last_key_value().map(|(revision, snapshot)| (*revision, snapshot.clone())).unwrap()
    }

    fn take(&mut self, step: &Step) {
        let (revision, mut snapshot) = self.last();
        match step {
            Step::Write(writes) => {
                let all: Vec<Write> = writes.iter().map(|(t, k, v)| write(*t, *k, *v)).collect();
                let (written, ()) = block_on(self.store().write(move |_| Ok::<_, ()>((all, ())))).unwrap();
                assert_eq!(written, revision + 1);
                for (table, number, value) in writes {
                    match value {
                        Some(value) => {
                            let value = vec![*value; usize::from(*value)];
                            snapshot[*table].insert(key(*number), (written, value))
                        }
                        None => snapshot[*table].remove(&key(*number)),
                    };
                }
                self.snapshots.insert(written, snapshot);
            }
            Step::Create(table, number) => {
                let (table, number) = (*table, *number);
                let result =
                    block_on(self.store().write(move |view| match view.get(TABLES[table], &key(number)) {
                        Some(entry) => Err(entry.revision),
                        None => Ok((vec![write(table, number, Some(7))], view.next_revision())),
                    }));
                match snapshot[table].get(&key(number)) {
                    Some((at, _)) => {
                        assert!(matches!(result, Err(WriteError::Refused(found)) if found == *at))
                    }
                    None => {
                        assert_eq!(result.unwrap(), (revision + 1, revision + 1));
                        snapshot[table].insert(key(number), (revision + 1, vec![7; 7]));
                        self.snapshots.insert(revision + 1, snapshot);
                    }
                }
            }
            Step::Compact => {
                let upto = (self.oldest + revision) / 2;
                self.store().compact(upto);
                self.oldest = self.oldest.max(upto);
            }
            Step::Restart => {
                self.store = None;
                self.store = Some(Store::open(&self.folder.file(), self.window).unwrap());
                self.oldest = revision;
            }
        }
        assert_eq!(self.store().revision(), self.last().0);
    }

    /// Lists at every revision, whole and in pages.
    fn check_lists(&self) {
        for (at, snapshot) in &self.snapshots {
            for (table, expected) in TABLES.iter().zip(snapshot) {
                for prefix in ["", "ns1/", "none"] {
                    let expected: Vec<_> =
                        expected.iter().filter(|(key, _)| key.starts_with(prefix)).collect();
                    let listed = self.pages(table, prefix, *at);
                    let Some(listed) = listed else {
                        assert!(*at < self.oldest || self.last().0 - at > 8, "{at} is not too old");
                        continue;
                    };
                    let listed: Vec<_> = listed.iter().map(|(k, r, v)| (k, (*r, v.clone()))).collect();
                    assert_eq!(
                        listed,
                        expected.iter().map(|(k, e)| (*k, (*e).clone())).collect::<Vec<_>>(),
                        "{table} {prefix} at {at}"
                    );
                }
            }
        }
    }

    /// `None`: too old.
    fn pages(&self, table: &str, prefix: &str, at: u64) -> Option<Vec<(String, u64, Vec<u8>)>> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let range = Range { prefix, after: after.as_deref(), limit: 5 };
            let page = self.store().list(table, &range, Some(at)).ok()?;
            assert_eq!(page.revision, at);
            assert!(page.entries.len() <= 5);
            all.extend(page.entries.iter().map(|(k, e)| (k.to_string(), e.revision, e.value.to_vec())));
            match page.entries.last() {
                Some((key, _)) if page.remaining > 0 => after = Some(key.to_string()),
                _ => {
                    let whole =
                        self.store().list(table, &Range { prefix, ..Range::default() }, Some(at)).unwrap();
                    assert_eq!(whole.entries.len(), all.len());
                    return Some(all);
                }
            }
        }
    }

    /// A list and the changes after it are the present, for every revision that is known.
    fn check_watches(&self) {
        let (revision, snapshot) = self.last();
        for (at, then) in &self.snapshots {
            for (table, (then, now)) in TABLES.iter().zip(then.iter().zip(&snapshot)) {
                let Ok(mut watch) = self.store().watch(table, *at) else {
                    assert!(*at < self.oldest || revision - at > 8, "{at} is not too old");
                    continue;
                };
                let mut seen = then.clone();
                while watch.position() < revision {
                    let Batch { changes, upto } = block_on(watch.next()).unwrap();
                    for change in changes {
                        assert!(change.revision <= upto && change.revision > *at);
                        let before = change.before.as_ref().map(|e| (e.revision, e.value.to_vec()));
                        assert_eq!(seen.get(&*change.key).cloned(), before);
                        match &change.after {
                            Some(value) => {
                                seen.insert(change.key.to_string(), (change.revision, value.to_vec()))
                            }
                            None => seen.remove(&*change.key),
                        };
                    }
                }
                assert_eq!(&seen, now, "{table} since {at}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn every_revision_is_what_it_was(steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model::new();
        for step in &steps {
            model.take(step);
        }
        model.check_lists();
        model.check_watches();
    }
}

#[test]
fn a_watch_that_cannot_keep_up_is_told_so() {
    let folder = Folder::new();
    let store = Store::open(&folder.file(), Window { changes: 10, bytes: 1 << 20 }).unwrap();
    let mut slow = store.watch("pods", 0).unwrap();
    let mut quick = store.watch("pods", 0).unwrap();
    block_on(async {
        for number in 0..30 {
            store.write(move |_| Ok::<_, ()>((vec![write(0, number, Some(1))], ()))).await.unwrap();
            let batch = quick.next().await.unwrap();
            assert_eq!((batch.changes.len(), batch.upto), (1, u64::from(number) + 1));
        }
        let expired = slow.next().await.unwrap_err();
        assert_eq!((expired.asked, expired.oldest), (0, 20));
    });
    // Big values count, too.
    let small = Window { changes: 1000, bytes: 3000 };
    drop(store);
    let store = Store::open(&folder.0.join("other"), small).unwrap();
    block_on(async {
        for number in 0..10 {
            store.write(move |_| Ok::<_, ()>((vec![write(0, number, Some(255))], ()))).await.unwrap();
        }
    });
    assert!(store.watch("pods", 0).is_err() && store.watch("pods", 9).is_ok());
}

#[test]
fn a_watch_is_not_woken_by_other_tables_and_knows_how_far_it_is() {
    let folder = Folder::new();
    let store = Store::open(&folder.file(), Window { changes: 10, bytes: 1 << 20 }).unwrap();
    block_on(async {
        let mut watch = store.watch("pods", 0).unwrap();
        let mut next = Box::pin(watch.next());
        let wakes = std::sync::Arc::<Wakes>::default();
        let waker = std::task::Waker::from(wakes.clone());
        assert!(next.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        for number in 0..30 {
            store.write(move |_| Ok::<_, ()>((vec![write(1, number, Some(1))], ()))).await.unwrap();
        }
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        store.write(move |_| Ok::<_, ()>((vec![write(0, 1, Some(1))], ()))).await.unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        let batch = next.await.unwrap();
        assert_eq!((batch.changes.len(), batch.upto), (1, 31));
        assert_eq!((watch.position(), watch.upto()), (31, 31));
        store.write(move |_| Ok::<_, ()>((vec![write(1, 1, None)], ()))).await.unwrap();
        assert_eq!((watch.position(), watch.upto()), (31, 32));
        store.write(move |_| Ok::<_, ()>((vec![write(0, 1, None)], ()))).await.unwrap();
        assert_eq!((watch.position(), watch.upto()), (31, 31), "one is not handed out yet");
        assert_eq!(watch.next().await.unwrap().upto, 33);
        // What was forgotten was not of this table.
        store.write(move |_| Ok::<_, ()>((vec![write(1, 1, Some(1))], ()))).await.unwrap();
        store.compact(34);
        assert_eq!(watch.upto(), 34);
        store.write(move |_| Ok::<_, ()>((vec![write(0, 2, Some(1))], ()))).await.unwrap();
        let batch = watch.next().await;
        assert_eq!(batch.map(|batch| (batch.changes.len(), batch.upto)), Ok((1, 35)));
    });
}

#[derive(Default)]
struct Wakes(AtomicU32);

impl std::task::Wake for Wakes {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn writes_at_the_same_time_see_each_other() {
    let folder = Folder::new();
    let store = Store::open(&folder.file(), Window::default()).unwrap();
    // A hundred writers count in one key; each must see the count of the one before.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let store = store.clone();
            writers.spawn(async move {
                for _ in 0..10 {
                    let count = |view: &store::View<'_>| {
                        let count = view
                            .get("pods", "count")
                            .map_or(0, |e| u64::from_le_bytes(*e.value.first_chunk().unwrap()));
                        let value = (count + 1).to_le_bytes().to_vec().into();
                        Ok::<_, ()>((
                            vec![Write::Put { table: "pods".into(), key: "count".into(), value }],
                            (),
                        ))
                    };
                    store.write(count).await.unwrap();
                }
            });
        }
        while let Some(done) = writers.join_next().await {
            done.unwrap();
        }
    });
    let (entry, revision) = store.get("pods", "count");
    assert_eq!(u64::from_le_bytes(*entry.unwrap().value.first_chunk().unwrap()), 1000);
    assert_eq!(revision, 1000);
}

#[test]
fn damage_is_named_and_nothing_is_served() {
    let folder = Folder::new();
    let file = folder.file();
    let store = Store::open(&file, Window::default()).unwrap();
    assert!(matches!(Store::open(&file, Window::default()), Err(store::OpenError::InUse { .. })));
    block_on(async {
        for number in 0..100 {
            let value = format!("the value number {number} of a hundred").into_bytes().into();
            let key: std::sync::Arc<str> = format!("ns/{number}").into();
            store
                .write(move |_| Ok::<_, ()>((vec![Write::Put { table: "pods".into(), key, value }], ())))
                .await
                .unwrap();
        }
    });
    drop(store);
    let whole = Store::open(&file, Window::default()).unwrap();
    assert_eq!(whole.count("pods"), 100);
    drop(whole);
    let good = std::fs::read(&file).unwrap();
    let text = b"the value number 42 of a hundred";
    let places: Vec<usize> =
        good.windows(text.len()).enumerate().filter(|(_, w)| w == text).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    let mut bad = good.clone();
    for at in places {
        bad[at + 4] ^= 1;
    }
    std::fs::write(&file, &bad).unwrap();
    let error = Store::open(&file, Window::default()).err().unwrap().to_string();
    assert!(error.contains("damaged") && error.contains("pods ns/42") && error.contains("store"), "{error}");
    for broken in [&good[..good.len() / 2], b"garbage", &[0; 8192]] {
        std::fs::write(&file, broken).unwrap();
        let error = Store::open(&file, Window::default()).err().unwrap().to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}

#[test]
fn a_write_knows_its_revision_also_after_deletions_of_the_same_moment() {
    let folder = Folder::new();
    let store = Store::open(&folder.file(), Window::default()).unwrap();
    block_on(async {
        let mut writes = tokio::task::JoinSet::new();
        for number in 0..300_u32 {
            let store = store.clone();
            writes.spawn(async move {
                let key: std::sync::Arc<str> = format!("{}", number / 2).into();
                let table: Box<str> = "pods".into();
                let write = match number % 2 {
                    0 => Write::Put { table, key, value: b"v".to_vec().into() },
                    _ => Write::Delete { table, key },
                };
                store.write(move |view| Ok::<_, ()>((vec![write], view.next_revision()))).await.unwrap()
            });
        }
        while let Some(written) = writes.join_next().await {
            let (revision, expected) = written.unwrap();
            assert_eq!(revision, expected);
        }
    });
}

#[test]
fn a_write_that_panics_is_told_and_harms_no_other() {
    let folder = Folder::new();
    let store = Store::open(&folder.file(), Window::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let panicked = store.write(|_| -> Result<(Vec<Write>, ()), ()> { panic!("on purpose") }).await;
        assert!(matches!(panicked, Err(WriteError::Panicked)), "{panicked:?}");
        let written = store.write(|_| Ok::<_, ()>((vec![write(0, 1, Some(1))], ()))).await;
        assert_eq!(written.unwrap().0, 1);
    });
    assert_eq!(store.revision(), 1);
}
