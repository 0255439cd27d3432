//! Keeps the volumes of a pod what they should be for as long as it runs: makes them, and follows the objects, tokens and
//! fields that are in them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch as signal;
use tokio::task::JoinHandle;
use tracing::{debug, warn};
use watch::client::Client;

use super::files::{File, Files, common_user, of_fields, of_object};
use super::set_up::set_up;
use super::writer::write;
use super::{Part, Source, Volume};
use crate::hands::{About, Hands, now};
use crate::machine::Input;
use crate::node;
use crate::pod::Pod;
use crate::time::{self, Time};

/// How often objects are looked at.
const FOLLOW: Duration = Duration::from_secs(10);
/// The first pause before a volume is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));
/// How long a pod waits for what nobody asked for; then it runs without.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an object is remembered that nobody asks for.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Objects by their paths, and when they were so; `None`: there was none.
type Known = HashMap<String, (Instant, Option<Arc<Value>>)>;

/// Objects of the API server that several pods look at. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Objects {
    client: Client,
    known: Arc<Mutex<Known>>,
}

impl Objects {
    /// Asks this server.
    pub(crate) fn new(client: Client) -> Self {
        Self { client, known: Arc::default() }
    }

    /// Answers an object as it was no longer ago than `age`; `None` where there is none.
    async fn get(&self, path: &str, age: Duration) -> Result<Option<Arc<Value>>, String> {
        let known = |map: &Known| {
            map.get(path).filter(|(at, _)| at.elapsed() < age).map(|(_, object)| object.clone())
        };
        if let Some(object) = known(&self.known.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(object);
        }
        let found = match self.client.get(path).await {
            Ok(object) => Some(Arc::new(object)),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.to_string()),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        known.insert(path.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }
}

/// What lets nobody make volumes of a pod any more once they are removed. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<bool>>);

impl Gate {
    /// Does something, unless the gate is closed.
    fn pass<T>(&self, function: impl FnOnce() -> T) -> Option<T> {
        let is_closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_closed { None } else { Some(function()) }
    }

    /// Closes the gate, then does something.
    pub(crate) fn close(&self, function: impl FnOnce()) {
        let mut is_closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *is_closed = true;
        function();
    }
}

/// The task that does it; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Tending {
    pod: signal::Sender<Arc<Pod>>,
    task: JoinHandle<()>,
}

impl Tending {
    /// Begins with the volumes of a pod. What becomes of them is told as [`Input::Volumes`].
    pub(crate) fn start(hands: &Hands, about: &About) -> Self {
        let (pod, heard) = signal::channel(about.pod.clone());
        let tender = Tender {
            hands: hands.clone(),
            about: about.clone(),
            tokens: HashMap::new(),
            complete: HashSet::new(),
            begun: Instant::now(),
        };
        Self { pod, task: tokio::spawn(tender.run(heard)) }
    }

    /// Says what the pod is now.
    pub(crate) fn tell(&self, pod: &Arc<Pod>) {
        let fields = |pod: &Pod| ["labels", "annotations"].map(|field| pod.object["metadata"][field].clone());
        self.pod.send_if_modified(|known| {
            let is_new = fields(known) != fields(pod);
            known.clone_from(pod);
            is_new
        });
    }
}

impl Drop for Tending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Tender {
    hands: Hands,
    about: About,
    tokens: HashMap<String, Token>,
    /// Volumes that never change once they are made.
    complete: HashSet<String>,
    begun: Instant,
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    renew: Time,
    expires: Time,
}

impl Tender {
    async fn run(mut self, mut heard: signal::Receiver<Arc<Pod>>) {
        let mut told = None;
        let mut pause = RETRY.0;
        loop {
            self.about.pod = heard.borrow_and_update().clone();
            let age = pause.min(FOLLOW) / 2;
            let Some(made) = self.make(age).await else { return };
            let is_made = made.is_ok();
            if told.as_ref() != Some(&made) {
                told = Some(made.clone());
                let input = (self.about.pod.uid.clone(), Input::Volumes(made));
                drop(self.hands.tell.send(input).await);
            }
            let wait = if is_made { self.rest() } else { pause };
            pause = if is_made { FOLLOW } else { (pause * 2).min(RETRY.1) };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = heard.changed() => if changed.is_err() { return },
            }
        }
    }

    /// How long nothing has to be done.
    fn rest(&self) -> Duration {
        let next = self.tokens.values().map(|token| token.renew.saturating_sub(now())).min();
        next.map_or(FOLLOW, |next| next.clamp(RETRY.0, FOLLOW))
    }

    /// Makes all volumes what they should be; says what of each of them is missing. `None`: nobody wants them any more.
    async fn make(&mut self, age: Duration) -> Option<Result<(), Vec<String>>> {
        let pod = self.about.pod.clone();
        let mut contents: Vec<(Volume, Option<Files>)> = Vec::new();
        let mut wrong = Vec::new();
        let failed =
            |name: &str, why: &str| format!("MountVolume.SetUp failed for volume \"{name}\" : {why}");
        for volume in &pod.volumes {
            if self.complete.contains(&volume.name) {
                continue;
            }
            match &volume.source {
                Source::Files { parts, mode } => {
                    match self.files((&pod, volume), (parts, *mode), age).await {
                        Ok(files) => contents.push((volume.clone(), Some(files))),
                        Err(why) => wrong.push(failed(&volume.name, &why)),
                    }
                }
                Source::Empty { .. } | Source::Host { .. } | Source::Impossible(_) => {
                    contents.push((volume.clone(), None));
                }
            }
        }
        let (about, folder) = (self.about.clone(), self.hands.folder.clone());
        let group = group(&pod);
        let written = tokio::task::spawn_blocking(move || {
            about.gate.clone().pass(|| {
                let kept = folder.keep_new(&about.kept).map_err(|error| error.to_string());
                let one = |(volume, files): (Volume, Option<Files>)| {
                    let at = folder.volumes(&about.pod.uid).join(&volume.name);
                    let made = kept.clone().and_then(|()| set_up(&at, &volume.source, group));
                    let made = made.and_then(|()| match &files {
                        Some(files) => write(&at, files, (group, now())).map(drop).map_err(|e| e.to_string()),
                        None => Ok(()),
                    });
                    (volume.name, files.is_none(), made)
                };
                contents.into_iter().map(one).collect::<Vec<_>>()
            })
        });
        for (name, is_final, made) in written.await.ok()?? {
            match made {
                Ok(()) if is_final => drop(self.complete.insert(name)),
                Ok(()) => {}
                Err(why) => wrong.push(failed(&name, &why)),
            }
        }
        Some(if wrong.is_empty() { Ok(()) } else { Err(wrong) })
    }

    async fn files(
        &mut self,
        (pod, volume): (&Pod, &Volume),
        (parts, mode): (&[Part], u32),
        age: Duration,
    ) -> Result<Files, String> {
        let mut files = Files::new();
        if volume.is_implied && self.account_declines(pod, age).await {
            return Ok(files);
        }
        for part in parts {
            match self.part((pod, volume), (part, mode), age).await {
                Ok(more) => files.extend(more),
                // Programs run without what their manifests do not ask for.
                Err(why) if volume.is_implied && self.begun.elapsed() > PATIENCE => {
                    debug!(pod = pod.name, why, "a pod has no complete credentials");
                }
                Err(why) => return Err(why),
            }
        }
        Ok(files)
    }

    /// Whether the ServiceAccount wants no tokens in pods that do not ask for one.
    async fn account_declines(&self, pod: &Pod, age: Duration) -> bool {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{}", pod.namespace, account(pod));
        let found = self.hands.objects.get(&path, age).await;
        let declines = |object: &Value| object["automountServiceAccountToken"] == false;
        pod.object["spec"]["automountServiceAccountToken"].is_null()
            && found.is_ok_and(|object| object.is_some_and(|object| declines(&object)))
    }

    async fn part(
        &mut self,
        (pod, volume): (&Pod, &Volume),
        (part, mode): (&Part, u32),
        age: Duration,
    ) -> Result<Files, String> {
        match part {
            Part::Object { what, name, optional, items } => {
                let path = format!("/api/v1/namespaces/{}/{}s/{name}", pod.namespace, what.word());
                match self.hands.objects.get(&path, age).await? {
                    Some(object) => of_object((*what, &object), (items, *optional), mode),
                    None if *optional => Ok(Files::new()),
                    None => Err(format!("{} \"{name}\" not found", what.word())),
                }
            }
            Part::Fields(items) => of_fields((pod, &node::capacity()), items, mode),
            Part::Token { audience, seconds, path } => {
                let text =
                    self.token((pod, &format!("{}/{path}", volume.name)), (audience, *seconds)).await?;
                let owner = common_user(pod);
                let mode = if owner.is_some() || group(pod).is_some() { 0o600 } else { mode };
                Ok(Files::from([(path.clone(), File { bytes: text.into_bytes(), mode, owner })]))
            }
        }
    }

    /// A token that is good for a while; a new one when most of its time is over.
    async fn token(
        &mut self,
        (pod, key): (&Pod, &str),
        (audience, seconds): (&str, u64),
    ) -> Result<String, String> {
        let known = self.tokens.get(key).cloned();
        if let Some(token) = known.as_ref().filter(|token| now() < token.renew) {
            return Ok(token.text.clone());
        }
        match self.ask_for_token(pod, (audience, seconds)).await {
            Ok(token) => {
                let text = token.text.clone();
                self.tokens.insert(key.to_owned(), token);
                Ok(text)
            }
            Err(why) => match known.filter(|token| now() < token.expires) {
                Some(token) => {
                    warn!(pod = pod.name, why, "a token was not renewed");
                    Ok(token.text)
                }
                None => Err(format!("failed to fetch token: {why}")),
            },
        }
    }

    async fn ask_for_token(&self, pod: &Pod, (audience, seconds): (&str, u64)) -> Result<Token, String> {
        let audiences: Vec<&str> = if audience.is_empty() { Vec::new() } else { vec![audience] };
        let asked = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audiences, "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}}});
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{}/token", pod.namespace, account(pod));
        let answer = self.hands.client.create(&path, &asked).await.map_err(|error| error.to_string())?;
        let text = |field: &str| answer["status"][field].as_str();
        let expires = text("expirationTimestamp").and_then(time::parse).ok_or("it never expires")?;
        let left = expires.saturating_sub(now());
        let token = text("token").ok_or("there is none in the answer")?;
        Ok(Token { text: token.to_owned(), renew: now() + left * 4 / 5, expires })
    }
}

/// As which ServiceAccount it runs.
fn account(pod: &Pod) -> &str {
    let named = pod.object.pointer("/spec/serviceAccountName").and_then(Value::as_str);
    named.filter(|name| !name.is_empty()).unwrap_or("default")
}

/// Whose group may use the volumes.
fn group(pod: &Pod) -> Option<u32> {
    let group = pod.object.pointer("/spec/securityContext/fsGroup").and_then(Value::as_u64);
    group.and_then(|group| u32::try_from(group).ok())
}
