//! The shell of the controllers: one loop that hears the watches and the answers, and has done what the engine says.

#![allow(clippy::disallowed_methods, reason = "a shell: it reads the clock")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch as channel};
use tokio::task::JoinSet;
use watch::client::{Client, ClientError, Collection, Recorder, Told, follow, lead};

use crate::action::{Action, Verb};
use crate::engine::{Engine, Job, LONGEST_REST, Verdict, verdict};
use crate::moment::Moment;
use crate::trimmed::decode;
use crate::world::{Key, News};
use crate::{Settings, namespace};

/// How many requests are on their way at most.
const AT_ONCE: usize = 16;
/// How many things may be heard and not looked at yet.
const BACKLOG: usize = 1024;
/// How much is heard before anything is decided: many changes of one thing are one decision.
const BREATH: usize = 256;

/// Something that the loop hears.
enum Event {
    News(News),
    Answer { key: Key, action: Action, answer: Result<Value, ClientError> },
    Done { key: Key, verdict: Verdict },
}

/// Runs the controllers until they shall stop. With a lease, of several processes one does.
pub async fn run(client: Client, settings: Settings, mut stopping: channel::Receiver<bool>) {
    loop {
        let work = work(client.clone(), settings.clone(), stopping.clone());
        let Some(lease) = settings.lease.clone() else { return work.await };
        let leads = AtomicBool::new(false);
        let noted = async {
            leads.store(true, Ordering::Relaxed);
            work.await;
        };
        let mut leading = std::pin::pin!(lead(client.clone(), lease, noted));
        // The guard of what was read must not live on while the lead is given back.
        let stopped = async { drop(stopping.wait_for(|stop| *stop).await) };
        tokio::select! {
            done = &mut leading => if done.is_some() { return } else { continue },
            () = stopped => {}
        }
        // Who waits for the lead stops at once; who has it gives it back.
        if leads.load(Ordering::Relaxed) {
            leading.await;
        }
        return;
    }
}

async fn work(client: Client, settings: Settings, mut stopping: channel::Receiver<bool>) {
    let (tell, mut heard) = mpsc::channel(BACKLOG);
    let mut tasks = follow_all(&client, &settings, &tell);
    let mut shell = Shell {
        engine: Engine::new(&settings),
        tell,
        slots: Arc::new(Semaphore::new(AT_ONCE)),
        recorder: Recorder::start(client.clone()),
        client,
    };
    loop {
        let wait = shell.work(&mut tasks);
        tokio::select! {
            event = heard.recv() => {
                // The loop holds a sender itself, so there is always another event.
                let Some(event) = event else { return };
                shell.hear(event);
                for _ in 0..BREATH {
                    let Ok(event) = heard.try_recv() else { break };
                    shell.hear(event);
                }
            }
            () = tokio::time::sleep(wait) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        while tasks.try_join_next().is_some() {}
    }
}

fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

struct Shell {
    engine: Engine,
    client: Client,
    tell: mpsc::Sender<Event>,
    slots: Arc<Semaphore>,
    recorder: Recorder,
}

impl Shell {
    /// Begins everything that there is to do; answers how long nothing more is to be done.
    fn work(&mut self, tasks: &mut JoinSet<()>) -> Duration {
        let now = now();
        while let Some((job, said)) = self.engine.next(now) {
            for said in said {
                self.recorder.record(said.note());
            }
            tasks.spawn(carry_out(self.client.clone(), job, self.tell.clone(), self.slots.clone()));
        }
        let rest = |when: Moment| when.since(now).clamp(Duration::from_millis(1), LONGEST_REST);
        self.engine.wakes().map_or(LONGEST_REST, rest)
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::News(news) => self.engine.hear(news, now()),
            Event::Answer { key, action, answer } => {
                if let Err(error) = &answer {
                    log(&key, &action, error);
                }
                if let Some(said) = self.engine.answered(&key, &action, (&answer, now())) {
                    self.recorder.record(said.note());
                }
            }
            Event::Done { key, verdict } => self.engine.done(key, verdict, now()),
        }
    }
}

fn log(key: &Key, action: &Action, error: &ClientError) {
    let (path, verb) = (action.path(), &action.verb);
    if error.is_conflict() || error.is_not_found() || error.is_already_exists() {
        tracing::debug!(?key, ?verb, path, %error, "somebody else was faster");
    } else {
        tracing::warn!(?verb, path, %error, "a request failed");
    }
}

async fn carry_out(client: Client, job: Job, tell: mpsc::Sender<Event>, slots: Arc<Semaphore>) {
    let mut verdict = Verdict::Fine;
    for step in job.plan.steps {
        let mut running = JoinSet::new();
        for action in step {
            running.spawn(carry_out_one(
                client.clone(),
                (job.key.clone(), action),
                tell.clone(),
                slots.clone(),
            ));
        }
        while let Some(ended) = running.join_next().await {
            verdict = worse(verdict, ended.unwrap_or(Verdict::Again));
        }
        if verdict != Verdict::Fine {
            break;
        }
    }
    // Nobody hears when everything stops.
    drop(tell.send(Event::Done { key: job.key, verdict }).await);
}

async fn carry_out_one(
    client: Client,
    (key, action): (Key, Action),
    tell: mpsc::Sender<Event>,
    slots: Arc<Semaphore>,
) -> Verdict {
    let answer = {
        let _slot = slots.acquire().await;
        request(&client, &action).await
    };
    let verdict = verdict(&action, &answer);
    drop(tell.send(Event::Answer { key, action, answer }).await);
    verdict
}

/// The one that matters more for the plan.
fn worse(a: Verdict, b: Verdict) -> Verdict {
    match (a, b) {
        (Verdict::Again, _) | (_, Verdict::Again) => Verdict::Again,
        (Verdict::Over, _) | (_, Verdict::Over) => Verdict::Over,
        (Verdict::Fine, Verdict::Fine) => Verdict::Fine,
    }
}

async fn request(client: &Client, action: &Action) -> Result<Value, ClientError> {
    let path = action.path();
    match &action.verb {
        Verb::Create | Verb::Bind => client.create(&path, &action.body).await,
        Verb::Patch { how, .. } => client.patch(&path, how.clone(), &action.body).await,
        Verb::Delete => client.delete(&path, &action.body).await,
        Verb::Confirm => client.get(&path).await,
    }
}

/// Follows every kind that the controllers look at.
fn follow_all(client: &Client, settings: &Settings, tell: &mpsc::Sender<Event>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let named = |path: &str, name: &str| Collection {
        fields: format!("metadata.name={name}"),
        ..Collection::all(path)
    };
    hear_of(&mut tasks, (client, tell), Collection::all("/api/v1/pods"), News::Pod);
    hear_of(&mut tasks, (client, tell), Collection::all("/apis/apps/v1/replicasets"), News::ReplicaSet);
    hear_of(&mut tasks, (client, tell), Collection::all("/apis/apps/v1/deployments"), News::Deployment);
    hear_of(&mut tasks, (client, tell), Collection::all("/api/v1/nodes"), News::Node);
    hear_of(&mut tasks, (client, tell), Collection::all("/api/v1/namespaces"), News::Namespace);
    let leases = Collection::all("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases");
    hear_of(&mut tasks, (client, tell), leases, News::Lease);
    let accounts = named("/api/v1/serviceaccounts", namespace::ACCOUNT);
    hear_of(&mut tasks, (client, tell), accounts, News::Account);
    if settings.root_certificate.is_some() {
        let roots = named("/api/v1/configmaps", namespace::ROOT);
        hear_of(&mut tasks, (client, tell), roots, News::Root);
    } else {
        let tell = tell.clone();
        tasks.spawn(async move { drop(tell.send(Event::News(News::Root(Told::Synced))).await) });
    }
    tasks
}

fn hear_of<T: for<'de> serde::Deserialize<'de> + Send + 'static>(
    tasks: &mut JoinSet<()>,
    (client, tell): (&Client, &mpsc::Sender<Event>),
    what: Collection,
    news: fn(Told<T>) -> News,
) {
    let (told, mut heard) = mpsc::channel(BACKLOG);
    tasks.spawn(follow(client.clone(), what, decode::<T>, told));
    let tell = tell.clone();
    tasks.spawn(async move {
        while let Some(told) = heard.recv().await {
            if tell.send(Event::News(news(told))).await.is_err() {
                return;
            }
        }
    });
}
