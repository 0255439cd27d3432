//! The loop that owns the pods of a node: what happened goes to a pod's machine, its actions to hands, its status to the
//! API server.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, watch as signal};
use tracing::{info, warn};
use watch::client::{Client, Collection, Told, follow};

use crate::addresses::Pool;
use crate::folder::{Folder, Kept, Started, read};
use crate::hands::{About, Hands, Happened, NETWORK_MADE, end_keeper, end_of, lost, now, remove_from_kernel};
use crate::machine::{Action, Found, Input, Machine, Run};
use crate::network;
use crate::node;
use crate::notices::{self, Noted};
use crate::pod::{Pod, list};
use crate::serve::{Answer, Server};
use crate::settings::Settings;
use crate::telling::{Telling, Words};
use crate::volumes::{Gate, Objects, Tending};

/// How many events may wait.
const WAITING: usize = 1024;

/// Runs the pods of a node until told to stop; their processes go on, and are found again at the next start.
pub async fn run(
    client: Client,
    settings: Settings,
    mut stopping: signal::Receiver<bool>,
) -> Result<(), crate::Error> {
    let (server, settings) = listen(settings)?;
    let settings = Arc::new(settings);
    let ranges = tokio::select! {
        ranges = node::register(&client, &settings) => ranges,
        _ = stopping.wait_for(|stop| *stop) => return Ok(()),
    };
    let hands_node = settings.netns.as_deref().map(sys::netns::Namespace::named);
    network::prepare_node(&hands_node, &ranges).map_err(crate::Error::Kernel)?;
    let (tell, happened) = mpsc::channel(WAITING);
    let folder = Folder::new(&settings.state_dir);
    let objects = Objects::new(client.clone());
    let hands = Hands { client: client.clone(), settings: settings.clone(), folder, objects, tell };
    let (notices, noted) = mpsc::channel(WAITING);
    let (questions, asked) = mpsc::channel(WAITING);
    let pods =
        Pods { hands, pool: Pool::new(&ranges), entries: HashMap::new(), found: HashMap::new(), notices };
    let (objects, told) = mpsc::channel(WAITING);
    let what = Collection {
        path: "/api/v1/pods".to_owned(),
        labels: String::new(),
        fields: format!("spec.nodeName={}", settings.node_name),
    };
    tokio::select! {
        () = follow(client.clone(), what, decode, objects) => {}
        () = node::keep_alive(&client, &settings) => {}
        () = notices::record(&client, &settings.node_name, noted) => {}
        () = pods.run(told, happened, asked) => {}
        () = serve(server, &settings, questions) => {}
        _ = stopping.wait_for(|stop| *stop) => info!("the pods of this node go on by themselves"),
    }
    Ok(())
}

/// Listens for the API server, if it shall be answered; the settings say at which port then.
fn listen(mut settings: Settings) -> Result<(Option<Server>, Settings), crate::Error> {
    let Some(port) = settings.port else { return Ok((None, settings)) };
    let server = Server::listen(&settings, port).map_err(|error| crate::Error::Serve { port, error })?;
    settings.port = Some(server.port());
    Ok((Some(server), settings))
}

async fn serve(server: Option<Server>, settings: &Settings, questions: mpsc::Sender<Answer>) {
    match server {
        Some(server) => server.run(settings, questions).await,
        None => std::future::pending().await,
    }
}

fn decode(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

struct Pods {
    hands: Hands,
    pool: Pool,
    entries: HashMap<String, Entry>,
    /// What an earlier life left, until it is known whether the pods are still wanted.
    found: HashMap<String, Kept>,
    notices: mpsc::Sender<Noted>,
}

/// The addresses of a network that is still there, and what is known of each container.
type Remains = (Vec<IpAddr>, Vec<Found>);

struct Entry {
    machine: Machine,
    about: About,
    telling: Telling,
    tending: Option<Tending>,
    timer: Option<tokio::task::JoinHandle<()>>,
}

impl Pods {
    async fn run(
        mut self,
        mut told: mpsc::Receiver<Told<Value>>,
        mut happened: mpsc::Receiver<Happened>,
        mut asked: mpsc::Receiver<Answer>,
    ) {
        self.look_around();
        loop {
            tokio::select! {
                Some(told) = told.recv() => self.hear(told).await,
                Some((uid, input)) = happened.recv() => self.step(&uid, input).await,
                // Who asked may be gone.
                Some(answer) = asked.recv() => drop(answer.send(self.objects())),
                else => return,
            }
        }
    }

    /// The objects of all pods as they are now.
    fn objects(&mut self) -> Vec<Value> {
        let addresses = &self.hands.settings.addresses;
        let object = |entry: &mut Entry| {
            let status = entry.machine.status(addresses, now());
            let mut object = entry.machine.pod().object.clone();
            object["status"] = status;
            object
        };
        self.entries.values_mut().map(object).collect()
    }

    /// Finds what an earlier life left.
    fn look_around(&mut self) {
        self.hands.folder.sweep();
        for kept in self.hands.folder.pods() {
            kept.addresses.iter().for_each(|address| self.pool.mark(*address));
            self.found.insert(kept.uid.clone(), kept);
        }
        if !self.found.is_empty() {
            info!(pods = self.found.len(), "found pods of an earlier run");
        }
    }

    async fn hear(&mut self, told: Told<Value>) {
        match told {
            Told::Put(object) => match Pod::read(object, &self.hands.settings.images) {
                Ok(pod) => self.put(pod).await,
                Err(error) => warn!(error, "a pod cannot be run"),
            },
            Told::Gone { namespace, name } => self.gone(&namespace, &name, "").await,
            Told::Synced => self.remove_unwanted().await,
        }
    }

    async fn put(&mut self, pod: Pod) {
        self.gone(&pod.namespace, &pod.name, &pod.uid).await;
        let uid = pod.uid.clone();
        if self.entries.contains_key(&uid) {
            return self.step(&uid, Input::Pod(Box::new(pod))).await;
        }
        let phase = pod.object.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
        let is_over = matches!(phase, "Succeeded" | "Failed");
        // What is over and left nothing here needs no one, but for its deletion.
        if is_over && pod.deletion.is_none() && !self.found.contains_key(&uid) {
            return;
        }
        self.begin(pod);
        self.step(&uid, Input::Nothing).await;
    }

    fn begin(&mut self, pod: Pod) {
        let kept = self.found.remove(&pod.uid);
        let (found, to_await) = match &kept {
            Some(kept) => {
                let (found, to_await) = self.find(&pod, kept);
                (Some(found), to_await)
            }
            None => (None, Vec::new()),
        };
        let kept = kept.unwrap_or_else(|| Kept {
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            addresses: Vec::new(),
            host_network: pod.host_network,
        });
        let about = About { pod: Arc::new(pod.clone()), kept: Arc::new(kept), gate: Gate::default() };
        for run in to_await {
            let (hands, about) = (self.hands.clone(), about.clone());
            tokio::spawn(async move { hands.await_end((&about, run), None).await });
        }
        let telling = Telling::start(self.hands.client.clone(), &pod, self.hands.tell.clone());
        let machine = Machine::new(pod.clone(), found, now());
        self.entries.insert(pod.uid, Entry { machine, about, telling, tending: None, timer: None });
    }

    /// What is still there of a pod, and which runs have to be awaited.
    fn find(&self, pod: &Pod, kept: &Kept) -> (Remains, Vec<Run>) {
        let mut to_await = Vec::new();
        let mut found = Vec::new();
        for (slot, container) in pod.containers.iter().enumerate() {
            let (one, runs) = self.find_container(pod, &container.name);
            if let (true, Some(attempt)) = (runs, one.attempts.checked_sub(1)) {
                to_await.push(Run { slot, attempt });
            }
            found.push(one);
        }
        let is_made = self.hands.folder.pod(&kept.uid).join(NETWORK_MADE).exists();
        let is_whole = is_made && (kept.host_network || network::exists(kept));
        let addresses = if is_whole { self.addresses(kept) } else { Vec::new() };
        ((addresses, found), to_await)
    }

    fn find_container(&self, pod: &Pod, container: &str) -> (Found, bool) {
        let folder = &self.hands.folder;
        let mut attempts = folder.attempts(&pod.uid, container);
        let run = |attempt: &u32| folder.run(&pod.uid, container, *attempt);
        // A run of which nothing but the wish was written down never was.
        let is_wish =
            |last: &u32| !run(last).join("started.json").exists() && !run(last).join("exit.json").exists();
        while let Some(last) = attempts.pop_if(|last| is_wish(last)) {
            end_keeper(&run(&last));
        }
        let Some(last) = attempts.last() else { return (Found::default(), false) };
        let started: Option<Started> = read(&run(last).join("started.json"));
        let is_kept =
            |started: &Started| sys::process::start_time(started.keeper) == Some(started.keeper_ticks);
        let ended = end_of(&run(last));
        let running = started.filter(|started| ended.is_none() && is_kept(started)).map(|started| started.at);
        let ended = match running {
            Some(_) => attempts.iter().rev().nth(1).and_then(|before| end_of(&run(before))),
            None => Some(ended.unwrap_or_else(|| lost(&run(last)))),
        };
        (Found { attempts: last + 1, running, ended }, running.is_some())
    }

    fn addresses(&self, kept: &Kept) -> Vec<IpAddr> {
        if kept.host_network { self.hands.settings.addresses.clone() } else { kept.addresses.clone() }
    }

    /// Tells the pods of this name but of another identity that their objects are gone.
    async fn gone(&mut self, namespace: &str, name: &str, but: &str) {
        let is_gone = |entry: &Entry| {
            let pod = entry.machine.pod();
            pod.namespace == namespace && pod.name == name && pod.uid != but
        };
        let gone: Vec<String> =
            self.entries.iter().filter(|(_, entry)| is_gone(entry)).map(|(uid, _)| uid.clone()).collect();
        for uid in gone {
            self.step(&uid, Input::Gone).await;
        }
    }

    /// Everything was told: what was found and not told is not wanted.
    async fn remove_unwanted(&mut self) {
        for (uid, kept) in std::mem::take(&mut self.found) {
            info!(
                namespace = kept.namespace,
                pod = kept.name,
                uid,
                "a pod of an earlier run is not wanted any more"
            );
            let (node, folder, kept_too) = (self.hands.node(), self.hands.folder.clone(), kept.clone());
            let removed = tokio::task::spawn_blocking(move || {
                remove_from_kernel(&node, &kept_too);
                folder.forget(&kept_too.uid)
            });
            drop(removed.await);
            self.pool.give_back(&kept.addresses);
        }
    }

    async fn step(&mut self, uid: &str, input: Input) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let is_seen = matches!(input, Input::Pod(_));
        let actions = entry.machine.step(input, now());
        if actions.contains(&Action::Forget) {
            return self.forget(uid);
        }
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.about.pod = Arc::new(entry.machine.pod().clone());
        if let Some(tending) = &entry.tending {
            tending.tell(&entry.about.pod);
        }
        let mut delete = false;
        for action in &actions {
            match action {
                Action::MakeVolumes => entry.tending = Some(Tending::start(&self.hands, &entry.about)),
                Action::MakeNetwork(known) => {
                    let known = known.clone();
                    if let Err(error) = assign(&mut self.pool, entry, (&self.hands, &known)) {
                        let (hands, uid) = (self.hands.tell.clone(), uid.to_owned());
                        tokio::spawn(async move { hands.send((uid, Input::Network(Err(error)))).await });
                        continue;
                    }
                    self.hands.carry_out(action, &entry.about);
                }
                Action::Tell(notice) => {
                    // Events are no promise: what does not fit is not told.
                    drop(
                        self.notices.try_send(Noted { pod: entry.about.pod.clone(), notice: notice.clone() }),
                    );
                }
                Action::Delete => delete = true,
                Action::RemoveNetwork
                | Action::Start(_)
                | Action::Terminate(_)
                | Action::Kill(_)
                | Action::PostStart(_)
                | Action::PreStop(..)
                | Action::Ask(..)
                | Action::Forget => self.hands.carry_out(action, &entry.about),
            }
        }
        let status = entry.machine.status(&self.hands.settings.addresses, now());
        let is_doubted =
            is_seen && ready(&entry.about.pod.object["status"]) == "False" && ready(&status) == "True";
        entry.telling.say(Words { status, delete, doubts: 0 }, is_doubted);
        entry.wake_up(uid, &self.hands.tell);
    }

    fn forget(&mut self, uid: &str) {
        let Some(entry) = self.entries.remove(uid) else { return };
        if let Some(timer) = entry.timer {
            timer.abort();
        }
        self.pool.give_back(&entry.about.kept.addresses);
        if let Err(error) = self.hands.folder.forget(uid) {
            warn!(uid, %error, "what was kept of a pod cannot be removed");
        }
    }
}

/// What a status says of the pod's readiness.
fn ready(status: &Value) -> &str {
    let ready = list(&status["conditions"]).find(|condition| condition["type"] == "Ready");
    ready.and_then(|ready| ready["status"].as_str()).unwrap_or_default()
}

/// Gives a pod its addresses, those that it had where it had some.
fn assign(pool: &mut Pool, entry: &mut Entry, (hands, known): (&Hands, &[IpAddr])) -> Result<(), String> {
    let mut kept = (*entry.about.kept).clone();
    if kept.host_network {
        return Ok(());
    }
    if kept.addresses.is_empty() {
        kept.addresses = known.to_vec();
    }
    if kept.addresses.is_empty() {
        let none = || format!("the node {} has no address left for a pod", hands.settings.node_name);
        kept.addresses = pool.take().ok_or_else(none)?;
    }
    entry.about.kept = Arc::new(kept);
    Ok(())
}

impl Entry {
    /// Has the machine look again when it wants to.
    fn wake_up(&mut self, uid: &str, tell: &mpsc::Sender<Happened>) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
        let Some(wake) = self.machine.wake() else { return };
        let (uid, tell) = (uid.to_owned(), tell.clone());
        self.timer = Some(tokio::spawn(async move {
            tokio::time::sleep(wake.saturating_sub(now())).await;
            drop(tell.send((uid, Input::Nothing)).await);
        }));
    }
}
