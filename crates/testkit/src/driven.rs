//! A back end and what is wanted of it: one view of a cluster, or what follows from its objects as they change.

use backend::{Backend, Driver};
use desired::{Desired, Options};
use model::{Family, View};
use objects::{Event, Objects, Touched};

/// How many passes may fail once nothing is done to the kernel any more.
const PASSES: usize = 10;

/// Answers a driver that wants this and has written nothing.
pub fn driver<B: Backend>(backend: B, view: &View) -> Driver<B> {
    let mut driver = Driver::new(backend);
    driver.set_node(&view.node);
    for service in &view.services {
        driver.set_service(&service.key, Some(service));
    }
    driver
}

/// Writes until everything is written.
///
/// # Panics
///
/// When ten passes were not enough.
#[track_caller]
pub fn sync_until_done<B: Backend>(driver: &mut Driver<B>) {
    for _ in 0..PASSES {
        if driver.sync().is_ok() && !driver.is_pending() {
            return;
        }
    }
    panic!("ten passes without a fault were not enough: {:?}", driver.sync());
}

/// One family of a node, with everything from objects to the kernel.
pub struct Driven<B: Backend> {
    objects: Objects,
    desired: Desired,
    family: Family,
    /// What writes the kernel.
    pub driver: Driver<B>,
}

impl<B: Backend> Driven<B> {
    /// A node of these options that knows no objects.
    pub fn new(options: &Options, family: Family, backend: B) -> Self {
        let desired = Desired::new(options.clone());
        Self { objects: Objects::default(), desired, family, driver: Driver::new(backend) }
    }

    /// Has the driver want what follows from events.
    pub fn take(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut touched = Touched::default();
        for event in events {
            touched.merge(self.objects.apply(event));
        }
        let changes = self.desired.changed(&self.objects, &touched);
        if changes.node {
            self.driver.set_node(&self.desired.node_view(&self.objects, self.family));
        }
        for key in changes.services {
            let view = self.desired.service_view(&self.objects, &key, self.family);
            self.driver.set_service(&key, view.as_ref());
        }
    }
}
