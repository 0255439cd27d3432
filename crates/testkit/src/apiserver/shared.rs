//! What the server's thread and the test share.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::sync::watch;

use super::Behaviour;
use super::fault::{self, Fault, FaultRule, Verb};
use super::request::Record;
use super::resource::Resource;
use super::status::Refusal;
use super::store::{Change, Store};

/// The state of the server, which outlives its thread.
pub(super) struct Shared {
    store: Mutex<Store>,
    behaviour: Mutex<Behaviour>,
    rules: Mutex<Vec<FaultRule>>,
    records: Mutex<Vec<Record>>,
    revision: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(store: Store, behaviour: Behaviour) -> Self {
        let revision = watch::Sender::new(store.revision());
        Self {
            store: Mutex::new(store),
            behaviour: Mutex::new(behaviour),
            rules: Mutex::default(),
            records: Mutex::default(),
            revision,
        }
    }

    /// Reads or changes the objects; watchers are told.
    pub(super) fn with_store<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = locked(&self.store);
        let result = work(&mut store);
        self.revision.send_replace(store.revision());
        result
    }

    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Answers all objects of a resource and the revision at which they were read.
    pub(super) fn snapshot(&self, resource: Resource) -> (Vec<Arc<Value>>, u64) {
        let store = locked(&self.store);
        let revision = store.revision();
        (store.list_at(resource, revision).unwrap_or_default(), revision)
    }

    pub(super) fn changes_after(
        &self,
        resource: Resource,
        revision: u64,
    ) -> Result<(Vec<Change>, u64), Refusal> {
        let store = locked(&self.store);
        Ok((store.changes_after(resource, revision)?, store.revision()))
    }

    pub(super) fn behaviour(&self) -> Behaviour {
        locked(&self.behaviour).clone()
    }

    pub(super) fn change_behaviour(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut locked(&self.behaviour));
    }

    pub(super) fn rules(&self) -> MutexGuard<'_, Vec<FaultRule>> {
        locked(&self.rules)
    }

    pub(super) fn pick_fault(&self, resource: Option<Resource>, verb: Verb) -> Option<Fault> {
        fault::pick(&mut self.rules(), resource, verb)
    }

    pub(super) fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        locked(&self.records)
    }
}

/// A panic of another test thread does not make the data wrong: every change is complete before its lock is released.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
