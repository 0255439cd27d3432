//! The shell: follows the API server, decides with the pure parts, writes, and tries again what failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use telemetry::WorkQueues;
use tokio::sync::{mpsc, watch as flag};
use tokio::task::JoinSet;
use watch::client::{Client, ClientError, Collection, Lease, Note, PatchType, Recorder, Told, follow, lead};

use crate::cluster::{Cluster, Touched};
use crate::endpoints;
use crate::metrics::{Changes, SliceMetrics, operation};
use crate::mirror;
use crate::object::{Manager, Slice, Text};
use crate::queue::{Key, Queue, Work};
use crate::reconcile::{Action, Counts, Situation, Verdict, reconcile};
use crate::wire;

/// How the controller runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The lease that is needed to work; `None` for a controller that is alone.
    pub lease: Option<Lease>,
    /// How many Services are worked on at a time.
    pub workers: usize,
    /// Where the work is counted.
    pub queues: WorkQueues,
    /// Where the slices are counted.
    pub metrics: SliceMetrics,
}

impl Default for Settings {
    fn default() -> Self {
        let (queues, metrics) = Default::default();
        Self { lease: None, workers: 8, queues, metrics }
    }
}

/// How many changes wait for the loop, of each kind.
const BACKLOG: usize = 512;
/// How long to wait before putting right what somebody else changed, who may do so again at once.
const TRUCE: Duration = Duration::from_secs(1);

/// Runs until told to stop. Nothing is written before everything was listed once, and nothing that is right already.
#[allow(clippy::disallowed_methods, reason = "the shell lives on real time")]
pub async fn run(client: Client, settings: Settings, stopping: flag::Receiver<bool>) {
    loop {
        let controller = Controller::new(client.clone(), &settings);
        let Some(lease) = settings.lease.clone() else { return controller.run(stopping).await };
        let leads = AtomicBool::new(false);
        let work = async {
            leads.store(true, Ordering::Relaxed);
            controller.run(stopping.clone()).await;
        };
        // Who waits for the lead stops at once; who has it ends its work and gives it back.
        let mut told = stopping.clone();
        let stopped = async {
            // Nobody who could tell it to stop is as good as being told.
            drop(told.wait_for(|stops| *stops).await);
            if leads.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            done = lead(client.clone(), lease, work) => if done.is_some() { return },
            () = stopped => return,
        }
    }
}

struct Controller {
    client: Client,
    workers: usize,
    cluster: Cluster,
    queue: Queue,
    tasks: JoinSet<Done>,
    /// Changes of slices that are being written: their watch may be faster than the answer to the write.
    held: Vec<Touched>,
    recorder: Recorder,
    metrics: SliceMetrics,
}

/// The changes, by kind.
struct Sources {
    services: mpsc::Receiver<Told<wire::Service>>,
    pods: mpsc::Receiver<Told<wire::Pod>>,
    nodes: mpsc::Receiver<Told<wire::Node>>,
    slices: mpsc::Receiver<Told<wire::Slice>>,
    endpoints: mpsc::Receiver<Told<wire::Endpoints>>,
    _tasks: JoinSet<()>,
}

/// What comes in.
enum Event {
    Service(Told<wire::Service>),
    Pod(Told<wire::Pod>),
    Node(Told<wire::Node>),
    Slice(Told<wire::Slice>),
    Endpoints(Told<wire::Endpoints>),
    Done(Done),
    /// Work may be due.
    Due,
    Stop,
}

/// What is written for a Service.
struct Job {
    key: Key,
    slices: Vec<Action>,
    endpoints: Option<Action>,
    mirror: Mirror,
    /// How much there is; `None` without a selector.
    counts: Option<Counts>,
}

/// What is to be done about mirrored slices.
enum Mirror {
    Nothing,
    /// These are to go.
    Delete(Vec<Slice>),
    /// The Endpoints have to be read; these slices are there.
    Compare(Vec<Slice>),
}

/// What became of a job.
struct Done {
    key: Key,
    written: Vec<Written>,
    error: Option<ClientError>,
}

/// What the server has now.
enum Written {
    Slice(Box<wire::Slice>),
    SliceGone(String),
    Endpoints(Box<wire::Endpoints>),
    EndpointsGone,
}

impl Sources {
    fn follow(client: &Client) -> Self {
        let mut tasks = JoinSet::new();
        Self {
            services: source(&mut tasks, client, "/api/v1/services"),
            pods: source(&mut tasks, client, "/api/v1/pods"),
            nodes: source(&mut tasks, client, "/api/v1/nodes"),
            slices: source(&mut tasks, client, "/apis/discovery.k8s.io/v1/endpointslices"),
            endpoints: source(&mut tasks, client, "/api/v1/endpoints"),
            _tasks: tasks,
        }
    }
}

fn source<T>(tasks: &mut JoinSet<()>, client: &Client, path: &str) -> mpsc::Receiver<Told<T>>
where
    T: serde::de::DeserializeOwned + Send + 'static,
{
    let (tell, told) = mpsc::channel(BACKLOG);
    tasks.spawn(follow(client.clone(), Collection::all(path), |bytes| wire::read(bytes), tell));
    told
}

#[allow(clippy::disallowed_methods, reason = "the shell lives on real time")]
impl Controller {
    fn new(client: Client, settings: &Settings) -> Self {
        Self {
            recorder: Recorder::start(client.clone()),
            client,
            workers: settings.workers.max(1),
            cluster: Cluster::default(),
            queue: Queue::new(settings.queues.queue("endpoint_slice")),
            metrics: settings.metrics.fresh(),
            tasks: JoinSet::new(),
            held: Vec::new(),
        }
    }

    async fn run(mut self, mut stopping: flag::Receiver<bool>) {
        let mut sources = Sources::follow(&self.client);
        let mut synced = [false; 5];
        let mut started = false;
        loop {
            let event = self.next(&mut sources, &mut stopping).await;
            match &event {
                Event::Service(Told::Synced) => synced[0] = true,
                Event::Pod(Told::Synced) => synced[1] = true,
                Event::Node(Told::Synced) => synced[2] = true,
                Event::Slice(Told::Synced) => synced[3] = true,
                Event::Endpoints(Told::Synced) => synced[4] = true,
                Event::Stop => break,
                Event::Service(_)
                | Event::Pod(_)
                | Event::Node(_)
                | Event::Slice(_)
                | Event::Endpoints(_)
                | Event::Done(_)
                | Event::Due => {}
            }
            let touched = self.take(event);
            if started {
                self.enqueue(touched);
            } else if synced == [true; 5] {
                started = true;
                tracing::info!("everything is known, the slices are kept right from now on");
                self.enqueue(self.cluster.everything());
            }
            self.start_due();
        }
        // What was begun is brought to its end; another process may go on from there.
        while self.tasks.join_next().await.is_some() {}
    }

    /// Waits for what comes next. The order is deliberate: what has changed is known before work is done for it.
    async fn next(&mut self, sources: &mut Sources, stopping: &mut flag::Receiver<bool>) -> Event {
        let wake = self.queue.next().filter(|_| self.tasks.len() < self.workers);
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stops| *stops) => Event::Stop,
            Some(told) = sources.nodes.recv() => Event::Node(told),
            Some(told) = sources.services.recv() => Event::Service(told),
            Some(told) = sources.pods.recv() => Event::Pod(told),
            Some(told) = sources.slices.recv() => Event::Slice(told),
            Some(told) = sources.endpoints.recv() => Event::Endpoints(told),
            Some(done) = self.tasks.join_next() => match done {
                Ok(done) => Event::Done(done),
                Err(error) => {
                    tracing::error!(%error, "a write panicked");
                    Event::Due
                }
            },
            () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => Event::Due,
            else => Event::Stop,
        }
    }

    fn take(&mut self, event: Event) -> Vec<Touched> {
        let cluster = &mut self.cluster;
        match event {
            Event::Service(Told::Put(service)) => cluster.put_service(&service),
            Event::Service(Told::Gone { namespace, name }) => cluster.remove_service(&namespace, &name),
            Event::Pod(Told::Put(pod)) => cluster.put_pod(&pod),
            Event::Pod(Told::Gone { namespace, name }) => cluster.remove_pod(&namespace, &name),
            Event::Node(Told::Put(node)) => cluster.put_node(&node),
            Event::Node(Told::Gone { name, .. }) => cluster.remove_node(&name),
            Event::Slice(Told::Put(slice)) => cluster.put_slice(&slice),
            Event::Slice(Told::Gone { namespace, name }) => cluster.remove_slice(&namespace, &name),
            Event::Endpoints(Told::Put(endpoints)) => cluster.put_endpoints(&endpoints),
            Event::Endpoints(Told::Gone { namespace, name }) => cluster.remove_endpoints(&namespace, &name),
            Event::Done(done) => {
                self.finish(done);
                Vec::new()
            }
            Event::Service(Told::Synced)
            | Event::Pod(Told::Synced)
            | Event::Node(Told::Synced)
            | Event::Slice(Told::Synced)
            | Event::Endpoints(Told::Synced)
            | Event::Due
            | Event::Stop => Vec::new(),
        }
    }

    fn enqueue(&mut self, touched: Vec<Touched>) {
        let now = Instant::now();
        for touched in touched {
            if touched.dispute.is_some() && self.queue.is_busy(&touched.key) {
                self.held.push(touched);
                continue;
            }
            let due = if touched.dispute.is_some() { now + TRUCE } else { now };
            self.queue.add(touched.key, touched.work, due);
        }
    }

    fn start_due(&mut self) {
        while self.tasks.len() < self.workers {
            let now = Instant::now();
            let Some((key, work)) = self.queue.take(now) else { return };
            let job = decide(&mut self.cluster, &key, work);
            if work.select || work.orphan {
                self.metrics.decided(&key, job.counts);
            }
            if job.is_empty() {
                self.metrics.ended(true);
                self.queue.done(&key, true, now);
                continue;
            }
            self.tasks.spawn(write(self.client.clone(), job, self.metrics.changes()));
        }
    }

    fn finish(&mut self, done: Done) {
        let Done { key, written, error } = done;
        let now = Instant::now();
        self.metrics.ended(error.is_none());
        let wait = self.queue.done(&key, error.is_none(), now);
        let is_own = |touched: &Touched| written.iter().any(|written| written.is_of(&touched.dispute));
        let (held, others) =
            std::mem::take(&mut self.held).into_iter().partition::<Vec<_>, _>(|held| held.key == key);
        self.held = others;
        self.enqueue(held.into_iter().filter(|touched| !is_own(touched)).collect());
        for written in written {
            remember(&mut self.cluster, &key, written);
        }
        let Some(wait) = wait else { return };
        let (namespace, service) = key;
        match error {
            Some(error) if error.is_conflict() || error.is_not_found() => {
                tracing::debug!(%namespace, %service, %error, ?wait, "what is written was changed meanwhile");
            }
            Some(error) => {
                tracing::warn!(%namespace, %service, %error, ?wait, "failed to write");
                self.complain(&namespace, &service, &error);
            }
            None => {}
        }
    }

    /// Tells on the Service that its slices could not be written.
    fn complain(&mut self, namespace: &str, name: &str, error: &ClientError) {
        let Some(service) = self.cluster.namespace(namespace).service(name) else { return };
        let of = serde_json::json!({
            "apiVersion": "v1", "kind": "Service", "namespace": namespace, "name": name, "uid": &*service.uid,
        });
        let why = match error {
            ClientError::Refused { message, .. } => message,
            ClientError::Unreachable(why) => why,
        };
        self.recorder.record(Note {
            component: "endpoint-slice-controller",
            host: String::new(),
            of,
            is_warning: true,
            reason: "FailedToUpdateEndpointSlices".to_owned(),
            message: format!("Error updating Endpoint Slices for Service {namespace}/{name}: {why}"),
        });
    }
}

impl Written {
    /// Answers whether this write is what changed a slice, by its name and revision.
    fn is_of(&self, changed: &Option<(Text, Box<str>)>) -> bool {
        let Some((name, revision)) = changed else { return false };
        match self {
            Self::Slice(slice) => {
                slice.metadata.name == **name && slice.metadata.resource_version == **revision
            }
            Self::SliceGone(gone) => *gone == **name,
            Self::Endpoints(_) | Self::EndpointsGone => false,
        }
    }
}

impl Job {
    fn is_empty(&self) -> bool {
        let nothing = match &self.mirror {
            Mirror::Nothing => true,
            Mirror::Delete(slices) => slices.is_empty(),
            Mirror::Compare(_) => false,
        };
        self.slices.is_empty() && self.endpoints.is_none() && nothing
    }
}

/// Decides what is written for a Service.
fn decide(cluster: &mut Cluster, key: &Key, work: Work) -> Job {
    let (namespace, name) = key;
    let mut job =
        Job { key: key.clone(), slices: Vec::new(), endpoints: None, mirror: Mirror::Nothing, counts: None };
    let content = cluster.namespace(namespace);
    let service = content.service(name).cloned();
    if work.orphan
        && service.is_none()
        && content.endpoints(name).is_some_and(|endpoints| !is_lock(endpoints))
    {
        job.endpoints = Some(Action::Delete { name: name.clone() });
    }
    if work.mirror {
        job.mirror = mirror(cluster, key);
    }
    let Some(service) = service.filter(|service| work.select && !service.external_name) else { return job };
    if service.selector.is_none() {
        return job;
    }
    let (content, nodes) = cluster.parts(namespace);
    let mut triggers = std::mem::take(&mut content.history(name).triggers);
    let pods = content.pods(&service);
    let trigger = triggers.take(&service, &pods);
    job.endpoints = endpoints::reconcile(&service, &pods, content.endpoints(name), trigger);
    let verdict = if content.is_estranged(name) {
        Verdict::default()
    } else {
        let slices = content.slices(name, Manager::Selector);
        reconcile(&Situation { service: &service, pods: &pods, nodes, slices: &slices, trigger })
    };
    content.history(name).triggers = triggers;
    cluster.note(key, verdict.missing, verdict.spreads);
    job.slices = verdict.actions;
    job.counts = Some(verdict.counts);
    job
}

fn is_lock(endpoints: &crate::object::Endpoints) -> bool {
    crate::object::value(&endpoints.annotations, crate::words::LEADER).is_some()
}

fn mirror(cluster: &mut Cluster, (namespace, name): &Key) -> Mirror {
    let content = cluster.namespace(namespace);
    let slices: Vec<Slice> = content.slices(name, Manager::Mirror).into_iter().cloned().collect();
    let is_selected = content.service(name).is_none_or(|service| service.selector.is_some());
    if is_selected || content.endpoints(name).is_none() {
        Mirror::Delete(slices)
    } else {
        Mirror::Compare(slices)
    }
}

/// Writes what a job says, as far as it goes.
async fn write(client: Client, job: Job, changes: Changes) -> Done {
    let Job { key, mut slices, endpoints, mirror, counts: _ } = job;
    let mut done = Done { key, written: Vec::new(), error: None };
    match mirrored(&client, &done.key, mirror).await {
        Ok(actions) => slices.extend(actions),
        Err(error) => done.error = Some(error),
    }
    let namespace = done.key.0.clone();
    let collection = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    for action in slices {
        let gone = |name: String| Written::SliceGone(name);
        let there =
            |object: Value| serde_json::from_value(object).ok().map(|slice| Written::Slice(Box::new(slice)));
        let operation = operation(&action);
        let result = perform(&client, &collection, action).await;
        if result.is_ok() {
            changes.count(operation);
        }
        done.take(result, (there, gone));
    }
    if let Some(action) = endpoints {
        let collection = format!("/api/v1/namespaces/{namespace}/endpoints");
        let gone = |_| Written::EndpointsGone;
        let there =
            |object: Value| serde_json::from_value(object).ok().map(|all| Written::Endpoints(Box::new(all)));
        done.take(perform(&client, &collection, action).await, (there, gone));
    }
    done
}

async fn mirrored(client: &Client, key: &Key, mirror: Mirror) -> Result<Vec<Action>, ClientError> {
    let slices = match mirror {
        Mirror::Nothing => return Ok(Vec::new()),
        Mirror::Delete(slices) => return Ok(mirror::delete(&slices.iter().collect::<Vec<_>>())),
        Mirror::Compare(slices) => slices,
    };
    let slices: Vec<&Slice> = slices.iter().collect();
    let object = match client.get(&format!("/api/v1/namespaces/{}/endpoints/{}", key.0, key.1)).await {
        Ok(object) => object,
        Err(error) if error.is_not_found() => return Ok(mirror::delete(&slices)),
        Err(error) => return Err(error),
    };
    let endpoints: wire::Endpoints =
        serde_json::from_value(object).map_err(|error| ClientError::Unreachable(error.to_string()))?;
    Ok(mirror::reconcile(&endpoints, &slices))
}

/// What a write left: an object, or nothing under this name.
enum Left {
    Object(Value),
    Nothing(String),
}

async fn perform(client: &Client, collection: &str, action: Action) -> Result<Left, ClientError> {
    match action {
        Action::Create(object) => client.create(collection, &object).await.map(Left::Object),
        Action::Patch { name, patch } => {
            let path = format!("{collection}/{name}");
            client.patch(&path, PatchType::Merge, &patch).await.map(Left::Object)
        }
        Action::Delete { name } => match client.delete(&format!("{collection}/{name}"), &Value::Null).await {
            Err(error) if !error.is_not_found() => Err(error),
            Ok(_) | Err(_) => Ok(Left::Nothing(name.to_string())),
        },
    }
}

impl Done {
    fn take(
        &mut self,
        result: Result<Left, ClientError>,
        (there, gone): (impl Fn(Value) -> Option<Written>, impl Fn(String) -> Written),
    ) {
        match result {
            Ok(Left::Object(object)) => self.written.extend(there(object)),
            Ok(Left::Nothing(name)) => self.written.push(gone(name)),
            // Nothing can be created in a namespace that is going, and nothing has to be.
            Err(ClientError::Refused { code: 403, message, .. }) if message.contains("being terminated") => {}
            Err(error) => self.error = Some(error),
        }
    }
}

/// Takes what the server answered, so that the next decision knows it before it is told by the watch.
fn remember(cluster: &mut Cluster, (namespace, service): &Key, written: Written) {
    match written {
        Written::Slice(wire) => {
            let slice = cluster.names.slice(&wire);
            let content = cluster.namespace(namespace);
            if slice.manager == Manager::Selector && content.service(service).is_some() {
                content.history(service).written.insert(slice.name.clone());
            }
            // What came through the watch already may be newer.
            drop(content.put_slice(slice));
        }
        Written::SliceGone(name) => cluster.namespace(namespace).delete_slice(service, &name),
        Written::Endpoints(wire) => {
            let endpoints = cluster.names.endpoints(&wire);
            cluster.namespace(namespace).put_endpoints(endpoints);
        }
        Written::EndpointsGone => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `signalbox up` runs it beside others.
    #[test]
    fn it_can_be_spawned() {
        fn spawnable<T: Send + 'static>(_: fn(Client, Settings, flag::Receiver<bool>) -> T) {}
        spawnable(run_boxed);
        fn run_boxed(
            client: Client,
            settings: Settings,
            stopping: flag::Receiver<bool>,
        ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(run(client, settings, stopping))
        }
    }
}
