//! A server of a few kinds without HTTP: the rules over a real store, in the order in which they are run.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use apiserver::allocate::{Cluster, NodePorts, set_up};
use apiserver::body::time::Instant;
use apiserver::body::{Expected, Strictness, decode};
use apiserver::chance::Chance;
use apiserver::kinds::{Kind, Scope};
use apiserver::mistake::refuse;
use apiserver::range::Range;
use apiserver::schema::Schema;
use apiserver::status::Status;
use apiserver::writing::Writing;
use apiserver::{meta, patch};
use serde_json::{Value, json};
use store::{Store, Window, WriteError};

pub(crate) const NOW: Instant = Instant { seconds: 1_767_225_600, nanos: 0 };

/// A store in a folder that goes with it.
pub(crate) struct Server {
    store: Store,
    folder: Arc<Folder>,
    chance: Chance,
}

struct Folder(PathBuf);

/// Which object, and how.
pub(crate) struct Target<'a> {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) is_status: bool,
    pub(crate) is_dry_run: bool,
}

/// What a write answers.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Server {
    pub(crate) fn new(ranges: &[&str], node_ports: NodePorts, seed: u8) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("signalbox-services-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let store = Store::open(&folder.join("store"), Window::default()).unwrap();
        let mut server = Self { store, folder: Arc::new(Folder(folder)), chance: Chance::new([seed; 16]) };
        let cluster = Cluster {
            service_ranges: ranges.iter().map(|text| Range::parse(text).unwrap()).collect(),
            node_ports,
            server: vec!["192.0.2.1".parse().unwrap()],
            server_port: 6443,
        };
        let again = cluster.clone();
        assert_eq!(server.write(move |writing| Ok(set_up(writing, &cluster))).unwrap(), [] as [&str; 0]);
        let before = server.store.revision();
        server.write(move |writing| Ok(set_up(writing, &again))).unwrap();
        assert_eq!(server.store.revision(), before, "setting up again writes nothing");
        server
    }

    /// Another client of the same store.
    pub(crate) fn client(&mut self) -> Self {
        let seed = u128::from(self.chance.number()).to_le_bytes();
        Self { store: self.store.clone(), folder: self.folder.clone(), chance: Chance::new(seed) }
    }

    /// Runs a function over a transaction, and writes what it wrote.
    pub(crate) fn write<T: Send + 'static>(
        &mut self,
        write: impl FnOnce(&mut Writing<'_>) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let chance = Chance::new(u128::from(self.chance.number()).to_le_bytes());
        let written = block_on(self.store.write(move |view| {
            let mut writing = Writing::new(view, chance, NOW);
            let value = write(&mut writing)?;
            let writes = if writing.is_dry_run { Vec::new() } else { writing.finish() };
            Ok((writes, value))
        }));
        match written {
            Ok((_, value)) => Ok(value),
            Err(WriteError::Refused(status)) => Err(status),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Value> {
        let (entry, _) = self.store.get(kind.table, &kind.key_of(namespace, name));
        entry.map(|entry| serde_json::from_slice(&entry.value).unwrap())
    }

    pub(crate) fn list(&self, table: &str) -> Vec<(String, bytes::Bytes)> {
        let page = self.store.list(table, &store::Range::default(), None).unwrap();
        page.entries.into_iter().map(|(key, entry)| (key.to_string(), entry.value)).collect()
    }

    pub(crate) fn post(&mut self, target: &Target<'_>, body: &str) -> Answer {
        let (kind, is_dry_run) = (target.kind, target.is_dry_run);
        let (mut new, mut warnings) = decoded(kind, body);
        complete_meta(&mut new, target);
        let name = new["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let prefix = new["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() && !prefix.is_empty() {
            let most: String = prefix.chars().take(58).collect();
            new["metadata"]["name"] = format!("{most}{}", self.chance.suffix()).into();
        }
        new["metadata"]["uid"] = self.chance.uid().into();
        let made = self.write(move |writing| {
            writing.is_dry_run = is_dry_run;
            create(writing, kind, new)
        });
        if let Ok(object) = &made {
            warnings.extend((kind.rules.warnings)(object, None));
        }
        answer(kind, 201, made, warnings)
    }

    pub(crate) fn put(&mut self, target: &Target<'_>, body: &str) -> Answer {
        if self.get(target.kind, target.namespace, target.name).is_none() {
            return self.post(target, body);
        }
        let (mut new, mut warnings) = decoded(target.kind, body);
        complete_meta(&mut new, target);
        let (kind, is_status, is_dry_run) = (target.kind, target.is_status, target.is_dry_run);
        let key = kind.key_of(target.namespace, target.name);
        let old = self.get(target.kind, target.namespace, target.name);
        let made = self.write(move |writing| {
            writing.is_dry_run = is_dry_run;
            let old = writing.object(kind, &key).unwrap();
            update(writing, (kind, is_status), new, &old)
        });
        if let Ok(object) = &made
            && !is_status
        {
            warnings.extend((kind.rules.warnings)(object, old.as_ref()));
        }
        answer(kind, 200, made, warnings)
    }

    /// `None`: the patch itself is refused, which is tested elsewhere.
    pub(crate) fn patch(&mut self, target: &Target<'_>, content_type: &str, body: &str) -> Option<Answer> {
        let how = patch::Kind::of_content_type(content_type).unwrap();
        let old = self.get(target.kind, target.namespace, target.name).unwrap();
        let of = Schema::get().find(target.kind.type_name).unwrap();
        let patched = patch::apply(how, body.as_bytes(), &old, of).ok()?;
        Some(self.put(target, &patched.to_string()))
    }

    pub(crate) fn delete(&mut self, target: &Target<'_>) -> Answer {
        let kind = target.kind;
        let (key, name) = (kind.key_of(target.namespace, target.name), target.name.to_owned());
        let gone = self.write(move |writing| {
            let mut old = writing.object(kind, &key).ok_or_else(|| Status::not_found(kind, &name))?;
            (kind.rules.release)(writing, &old);
            writing.delete(kind.table, &key);
            old["metadata"]["resourceVersion"] = writing.revision.to_string().into();
            Ok(old)
        });
        let gone = gone.map(|old| match kind.rules.is_answered_when_deleted {
            true => old,
            false => {
                let mut details = json!({"name": target.name, "kind": kind.plural, "uid": old["metadata"]["uid"]});
                if !kind.group.is_empty() {
                    details["group"] = kind.group.into();
                }
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
            }
        });
        answer(kind, 200, gone, Vec::new())
    }
}

fn decoded(kind: &Kind, body: &str) -> (Value, Vec<String>) {
    let of = Schema::get().find(kind.type_name).unwrap();
    let api_version = kind.api_version();
    let expected = Expected { api_version: &api_version, kind: kind.kind, of };
    let (mut object, warnings) =
        decode(body.as_bytes(), "application/json", &expected, Strictness::Warn).unwrap();
    (kind.rules.defaults)(&mut object);
    (object, warnings.into_iter().map(|warning| warning.0).collect())
}

fn complete_meta(new: &mut Value, target: &Target<'_>) {
    if target.kind.scope == Scope::Namespaced {
        new["metadata"]["namespace"] = target.namespace.into();
    }
    for field in ["managedFields", "selfLink"] {
        new["metadata"].as_object_mut().unwrap().remove(field);
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn create(writing: &mut Writing<'_>, kind: &Kind, mut new: Value) -> Result<Value, Status> {
    let rules = &kind.rules;
    (rules.begin)(writing, &mut new, None)?;
    (rules.prepare)(&mut new);
    new["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut wrong = meta::check(&new, kind, rules.name);
    wrong.extend((rules.validate)(&new));
    if !wrong.is_empty() {
        return Err(refuse(kind, name_of(&new), &wrong));
    }
    if writing.has(kind.table, &kind.key(&new)) {
        return Err(Status::already_exists(kind, name_of(&new)));
    }
    if writing.is_dry_run {
        return Ok(new);
    }
    writing.put_object(kind, &mut new);
    Ok(new)
}

fn update(
    writing: &mut Writing<'_>,
    (kind, is_status): (&Kind, bool),
    mut new: Value,
    old: &Value,
) -> Result<Value, Status> {
    let rules = &kind.rules;
    let revision = &new["metadata"]["resourceVersion"];
    if revision.is_string() && *revision != old["metadata"]["resourceVersion"] {
        return Err(Status::modified(kind, name_of(old)));
    }
    for field in ["uid", "creationTimestamp", "resourceVersion", "generation", "managedFields"] {
        match old["metadata"].get(field) {
            Some(value) => new["metadata"][field] = value.clone(),
            None => drop(new["metadata"].as_object_mut().unwrap().remove(field)),
        }
    }
    let wrong = if is_status {
        (rules.prepare_status)(&mut new, old);
        (rules.validate_status)(&new, old)
    } else {
        (rules.begin)(writing, &mut new, Some(old))?;
        (rules.prepare_update)(&mut new, old);
        (rules.validate_update)(&new, old)
    };
    let wrong: Vec<_> = meta::check_update(&new, old).into_iter().chain(wrong).collect();
    if !wrong.is_empty() {
        return Err(refuse(kind, name_of(&new), &wrong));
    }
    if new != *old && !writing.is_dry_run {
        writing.put_object(kind, &mut new);
    }
    Ok(new)
}

/// What is answered is in canonical form, or what is stored would change when it is read.
fn answer(kind: &Kind, code: u16, made: Result<Value, Status>, warnings: Vec<String>) -> Answer {
    match made {
        Ok(body) => {
            if body["kind"] == kind.kind {
                let mut again = body.clone();
                apiserver::body::canonical(&mut again, Schema::get().find(kind.type_name).unwrap());
                assert_eq!(again, body, "not canonical");
            }
            Answer { code, body, warnings }
        }
        Err(status) => Answer { code: status.code, body: status.json(), warnings: Vec::new() },
    }
}

struct Thread(std::thread::Thread);

impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The store wakes whoever waits; nothing else is needed of a runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Thread(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
