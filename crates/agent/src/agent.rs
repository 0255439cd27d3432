//! The loop.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::health::Snapshot;
use backend::{Backend, Driver};
use config::Mode;
use desired::Desired;
use model::{Family, Problem, ServiceKey};
use objects::{Kind, Name, Object, Objects, Touched};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch::Sender;
use tracing::{info, warn};

use crate::health::Health;
use crate::leftovers::{self, Leftovers};
use crate::localnet::Localnet;
use crate::metrics::{ChangeMetrics, PlaneMetricsOfAll};
use crate::plane::Plane;
use crate::{Event, FlowSweeper, KernelWatch, Settings};
use telemetry::Metrics;

/// How many events are taken from the queue before the clock is looked at again.
const BATCH: usize = 1024;

/// What works beside the agent's loop.
#[derive(Debug, Default)]
pub struct Threads {
    /// Tells when others change our tables.
    pub kernel_watch: Option<KernelWatch>,
    /// What another mode may have left, to be removed when the kernel was written once.
    pub leftovers: Leftovers,
    /// Ends stale UDP flows.
    pub flow_sweeper: Option<FlowSweeper>,
    /// Where the agent's health is published.
    pub health: Option<Sender<Snapshot>>,
    /// What the agent counts and times.
    pub metrics: Metrics,
    /// The mode whose metrics those are.
    pub mode: Mode,
}

/// The node agent. Owns all state; everything reaches it as an [`Event`].
pub struct Agent<B: Backend> {
    objects: Objects,
    desired: Desired,
    touched: Touched,
    planes: Vec<Plane<B>>,
    problems: BTreeMap<ServiceKey, Vec<Problem>>,
    started: bool,
    node_name: Name,
    health: Option<Health>,
    metrics: ChangeMetrics,
    /// When the first change arrived that no view reflects yet.
    touched_since: Option<Instant>,
    /// Slices that changed before this tell nothing about how fast this process is, in milliseconds since 1970.
    born: u64,
    /// Until every family was written once, or failed to be.
    kernel_watch: Option<KernelWatch>,
    leftovers: Leftovers,
    /// The families whose leftovers still carry their traffic.
    with_leftovers: Vec<Family>,
    localnet: Localnet,
}

impl<B: Backend> Agent<B> {
    /// Makes an agent that has seen nothing yet; one driver for each family it shall program.
    pub fn new(settings: Settings, drivers: Vec<(Family, Driver<B>)>, threads: Threads) -> Self {
        let Settings { options, sync_period, min_sync_period } = settings;
        let metrics = PlaneMetricsOfAll::register(&threads.metrics, threads.mode);
        let plane = |(family, driver)| {
            let sweeper = threads.flow_sweeper.clone();
            Plane::new((family, driver), sweeper, metrics.of(family), min_sync_period)
        };
        let mut health = threads.health.map(Health::new);
        if let Some(health) = &mut health {
            health.set_patience(sync_period.saturating_mul(2));
        }
        // An agent that nobody guards the kernel for leaves the machine's rules alone.
        let with_leftovers = threads.kernel_watch.as_ref().map_or(Vec::new(), |_| Family::BOTH.to_vec());
        Self {
            objects: Objects::default(),
            node_name: options.node_name.clone(),
            health,
            metrics: ChangeMetrics::register(&threads.metrics),
            touched_since: None,
            born: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as u64),
            desired: Desired::new(options),
            touched: Touched::default(),
            planes: drivers.into_iter().map(plane).collect(),
            problems: BTreeMap::new(),
            started: false,
            kernel_watch: threads.kernel_watch,
            leftovers: threads.leftovers,
            with_leftovers,
            localnet: Localnet::default(),
        }
    }

    /// Runs until [`Event::Shutdown`] or until every sender is gone. The kernel is first written when every kind was
    /// listed once.
    pub async fn run(mut self, mut events: Receiver<Event>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let received = match self.next_write(Instant::now()) {
                Some(wait) if wait.is_zero() => take_waiting(&mut events, &mut batch),
                Some(wait) => tokio::time::timeout(wait, events.recv_many(&mut batch, BATCH)).await.ok(),
                None => Some(events.recv_many(&mut batch, BATCH).await),
            };
            if received == Some(0) {
                return;
            }
            for event in batch.drain(..) {
                if event == Event::Shutdown {
                    info!("ending; the rules stay in the kernel");
                    return;
                }
                self.take(event);
            }
            self.write_what_is_due();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Objects(event) => self.take_objects(event),
            Event::Settings(settings) => self.set(*settings),
            Event::KernelChanged(family) => {
                for plane in self.planes.iter_mut().filter(|plane| plane.family() == family) {
                    plane.kernel_changed();
                }
            }
            Event::Shutdown => {}
        }
    }

    fn take_objects(&mut self, event: objects::Event) {
        let kind = kind(&event);
        let touched = self.objects.apply(event);
        if touched.is_empty() {
            return;
        }
        self.metrics.count(kind);
        for (_, changed_at) in touched.changed_at.iter().filter(|(_, at)| at.get() >= self.born) {
            self.metrics.arrived(changed_at.get(), SystemTime::now());
        }
        self.touched_since.get_or_insert_with(Instant::now);
        self.touched.merge(touched);
    }

    fn set(&mut self, settings: Settings) {
        let Settings { options, sync_period, min_sync_period } = settings;
        self.node_name = options.node_name.clone();
        self.desired.set_options(options);
        // What follows is found by the same comparison as for a change of the Node.
        self.touched.node = true;
        self.touched_since.get_or_insert_with(Instant::now);
        for plane in &mut self.planes {
            plane.set_longest_rest(min_sync_period);
        }
        if let Some(health) = &mut self.health {
            health.set_patience(sync_period.saturating_mul(2));
        }
    }

    /// Answers how long the next write must wait; `None`: nothing is to be written.
    fn next_write(&self, now: Instant) -> Option<Duration> {
        if !self.is_synced() {
            return None;
        }
        let for_changes = !self.touched.is_empty() || !self.started;
        let waits =
            self.planes.iter().filter_map(|p| if for_changes { Some(p.rest(now)) } else { p.wait(now) });
        waits.min()
    }

    fn is_synced(&self) -> bool {
        self.started || Kind::ALL.into_iter().all(|kind| self.objects.is_synced(kind))
    }

    fn write_what_is_due(&mut self) {
        let now = Instant::now();
        if !self.next_write(now).is_some_and(|wait| wait.is_zero()) {
            return;
        }
        self.decide();
        self.publish_health();
        for plane in &mut self.planes {
            if plane.wait(now).is_some_and(|wait| wait.is_zero()) {
                plane.write();
            }
            if plane.family() == Family::V4 && !plane.is_pending() {
                self.localnet.make();
            }
        }
        self.publish_health();
        if !self.planes.iter().any(Plane::is_pending) {
            self.metrics.nothing_is_pending();
        }
        if self.planes.iter().all(Plane::had_its_chance)
            && let Some(watch) = self.kernel_watch.take()
        {
            // What the first sync took for a moment is not needed again.
            sys::memory::give_back();
            watch.start();
        }
        self.remove_leftovers();
    }

    /// What another mode left carries a family's traffic until that family is written: a failed write must not end it. A
    /// family that this host cannot program goes with the first that it can.
    fn remove_leftovers(&mut self) {
        let planes = &self.planes;
        let is_in_force = |family: Family| {
            let own = planes.iter().find(|plane| plane.family() == family);
            own.or(planes.first()).is_some_and(Plane::is_complete)
        };
        let (due, rest) = self.with_leftovers.iter().partition(|family| is_in_force(**family));
        self.with_leftovers = rest;
        leftovers::remove_in_background(&self.leftovers, due);
    }

    fn publish_health(&mut self) {
        let Some(health) = &mut self.health else { return };
        let node = self.objects.node(&self.node_name);
        health.set_node_eligible(node.is_some_and(|node| !node.is_leaving));
        for plane in &self.planes {
            health.set_family(plane.family(), plane.health());
        }
        health.publish();
    }

    /// Recomputes the views that the events since the last time may have changed.
    fn decide(&mut self) {
        if !self.started {
            self.started = true;
            info!(
                services = self.objects.count(Kind::Service),
                slices = self.objects.count(Kind::EndpointSlice),
                "every source has synced"
            );
        }
        let touched = std::mem::take(&mut self.touched);
        let since = self.touched_since.take().unwrap_or_else(Instant::now);
        let changes = self.desired.changed(&self.objects, &touched);
        for plane in &mut self.planes {
            if changes.node {
                let view = self.desired.node_view(&self.objects, plane.family());
                if let Some(health) = &mut self.health {
                    health.set_node(&view);
                }
                self.localnet.want(&view);
                plane.set_node(&view);
            }
        }
        for key in &changes.services {
            let mut problems = Vec::new();
            for plane in &mut self.planes {
                let view = self.desired.service_view(&self.objects, key, plane.family());
                plane.set_service(key, view.as_ref());
                if let Some(health) = &mut self.health {
                    let port = self.objects.service(key).map_or(0, |service| service.health_check_node_port);
                    health.set_service((plane.family(), key), port, view.as_ref());
                }
                problems.extend(view.into_iter().flat_map(|view| view.problems));
            }
            // Mistakes in the object itself were reported by its source, which knows where it is written.
            let known = self.objects.service(key).map_or(&[][..], |service| &service.problems);
            problems.retain(|problem| !known.contains(problem));
            self.report(key, problems);
        }
        for plane in &mut self.planes {
            let family = plane.family();
            let of_family =
                touched.changed_at.iter().filter(|(of, at)| *of == family && at.get() >= self.born);
            plane.note_changes(of_family.map(|(_, at)| *at));
            plane.note_waiting(since);
        }
    }

    /// Logs what is wrong with a Service once, until it changes.
    fn report(&mut self, key: &ServiceKey, mut problems: Vec<Problem>) {
        problems.sort();
        problems.dedup();
        if problems.is_empty() {
            self.problems.remove(key);
            return;
        }
        let known = self.problems.get(key).map_or(&[][..], Vec::as_slice);
        for problem in problems.iter().filter(|problem| !known.contains(problem)) {
            warn!(object = %problem.object, field = %problem.field, reason = %problem.reason, "a Service cannot have what it asks for; the rest of it is in force");
        }
        self.problems.insert(key.clone(), problems);
    }
}

fn kind(event: &objects::Event) -> Kind {
    match event {
        objects::Event::ListStarted(kind) | objects::Event::ListFinished(kind) => *kind,
        objects::Event::Applied(Object::Service(_)) => Kind::Service,
        objects::Event::Applied(Object::EndpointSlice(_)) => Kind::EndpointSlice,
        objects::Event::Applied(Object::Node(_)) => Kind::Node,
        objects::Event::Applied(Object::ServiceCidr(_)) => Kind::ServiceCidr,
        objects::Event::Deleted(key) => key.kind,
    }
}

/// Takes what waits in the queue, without waiting; `None` when nothing does.
fn take_waiting(events: &mut Receiver<Event>, batch: &mut Vec<Event>) -> Option<usize> {
    while batch.len() < BATCH {
        let Ok(event) = events.try_recv() else { break };
        batch.push(event);
    }
    (!batch.is_empty()).then_some(batch.len())
}
