//! An API server of a few kinds, played: it stores, refuses, and tells what has changed.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use watch::client::{ClientError, Told};

use crate::action::{Action, Kind, Verb};
use crate::moment::Moment;
use crate::trimmed::Place;
use crate::world::News;

/// What is stored, and what the watches have not told yet.
#[derive(Default)]
pub(super) struct Server {
    pub(super) objects: BTreeMap<(Kind, Place), Value>,
    pub(super) watches: BTreeMap<Kind, VecDeque<News>>,
    pub(super) made_pods: i64,
    pub(super) now: Moment,
    pub(super) revision: u64,
}

impl Server {
    /// Does what is asked.
    pub(super) fn answer(&mut self, action: &Action) -> Result<Value, ClientError> {
        match &action.verb {
            Verb::Create => self.create(action.kind, &action.place.namespace, action.body.clone()),
            Verb::Patch { .. } => self.patch(action),
            Verb::Delete => self.delete(action),
            Verb::Bind => {
                let target = action.body["target"]["name"].clone();
                let pod = self.get(action)?;
                if pod["spec"]["nodeName"].is_string() || pod["metadata"]["deletionTimestamp"].is_string() {
                    return Err(refused(409, "Conflict"));
                }
                self.change(Kind::Pod, &action.place, |pod| pod["spec"]["nodeName"] = target);
                Ok(json!({"kind": "Status"}))
            }
            Verb::Confirm => self.get(action),
        }
    }

    fn get(&self, action: &Action) -> Result<Value, ClientError> {
        let object = self.objects.get(&(action.kind, action.place.clone()));
        object.cloned().ok_or_else(|| refused(404, "NotFound"))
    }

    pub(super) fn create(
        &mut self,
        kind: Kind,
        namespace: &str,
        mut object: Value,
    ) -> Result<Value, ClientError> {
        self.revision += 1;
        let meta = &mut object["metadata"];
        if let Some(base) = meta["generateName"].as_str() {
            meta["name"] = format!("{base}{:05}", self.revision).into();
        }
        let name = meta["name"].as_str().unwrap().to_owned();
        meta["uid"] = format!("uid-{}", self.revision).into();
        meta["generation"] = 1.into();
        meta["creationTimestamp"] = self.now.text().into();
        if !namespace.is_empty() {
            meta["namespace"] = namespace.into();
        }
        let place = Place { namespace: namespace.to_owned(), name };
        if self.objects.contains_key(&(kind, place.clone())) {
            return Err(refused(409, "AlreadyExists"));
        }
        self.made_pods += i64::from(kind == Kind::Pod);
        Ok(self.store(kind, place, object))
    }

    fn store(&mut self, kind: Kind, place: Place, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        if let Some(news) = put(kind, &object) {
            self.watches.entry(kind).or_default().push_back(news);
        }
        self.objects.insert((kind, place), object.clone());
        object
    }

    /// Changes an object as somebody else would.
    pub(super) fn change(&mut self, kind: Kind, place: &Place, change: impl FnOnce(&mut Value)) {
        let Some(mut object) = self.objects.get(&(kind, place.clone())).cloned() else { return };
        let before = object.clone();
        change(&mut object);
        if object == before {
            return;
        }
        if object["spec"] != before["spec"] {
            object["metadata"]["generation"] =
                (before["metadata"]["generation"].as_i64().unwrap() + 1).into();
        }
        self.store(kind, place.clone(), object);
    }

    fn patch(&mut self, action: &Action) -> Result<Value, ClientError> {
        let object = self.get(action)?;
        for field in ["resourceVersion", "uid"] {
            let wanted = &action.body["metadata"][field];
            if wanted.is_string() && *wanted != object["metadata"][field] {
                return Err(refused(409, "Conflict"));
            }
        }
        self.change(action.kind, &action.place, |object| {
            let mut patch = action.body.clone();
            let owners = patch["metadata"].as_object_mut().and_then(|meta| meta.remove("ownerReferences"));
            if patch["metadata"].is_null() {
                patch.as_object_mut().unwrap().remove("metadata");
            }
            merge(object, patch);
            for owner in owners.iter().flat_map(|owners| owners.as_array().unwrap()) {
                own(object, owner);
            }
        });
        self.get(action)
    }

    fn delete(&mut self, action: &Action) -> Result<Value, ClientError> {
        let object = self.get(action)?;
        let wanted = &action.body["preconditions"]["uid"];
        if wanted.is_string() && *wanted != object["metadata"]["uid"] {
            return Err(refused(409, "Conflict"));
        }
        let is_graceful = action.kind == Kind::Pod && object["spec"]["nodeName"].is_string();
        if is_graceful && action.body["gracePeriodSeconds"].is_null() {
            let now = self.now.text();
            self.change(action.kind, &action.place, |pod| pod["metadata"]["deletionTimestamp"] = now.into());
            return self.get(action);
        }
        self.remove(action.kind, &action.place);
        Ok(json!({"kind": "Status"}))
    }

    pub(super) fn remove(&mut self, kind: Kind, place: &Place) {
        if self.objects.remove(&(kind, place.clone())).is_some() {
            self.revision += 1;
            let news = gone(kind, place);
            self.watches.entry(kind).or_default().extend(news);
        }
    }

    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = (&Place, &Value)> {
        self.objects
            .iter()
            .filter(move |((of, _), _)| *of == kind)
            .map(|((_, place), object)| (place, object))
    }
}

pub(super) fn refused(code: u16, reason: &str) -> ClientError {
    ClientError::Refused { code, reason: reason.to_owned(), message: reason.to_lowercase() }
}

fn put(kind: Kind, object: &Value) -> Option<News> {
    let read = || object.clone();
    match kind {
        Kind::Pod => Some(News::Pod(Told::Put(serde_json::from_value(read()).unwrap()))),
        Kind::ReplicaSet => Some(News::ReplicaSet(Told::Put(serde_json::from_value(read()).unwrap()))),
        Kind::Deployment => Some(News::Deployment(Told::Put(serde_json::from_value(read()).unwrap()))),
        Kind::Node => Some(News::Node(Told::Put(serde_json::from_value(read()).unwrap()))),
        Kind::ServiceAccount | Kind::ConfigMap => None,
    }
}

fn gone(kind: Kind, place: &Place) -> Option<News> {
    let (namespace, name) = (place.namespace.clone(), place.name.clone());
    match kind {
        Kind::Pod => Some(News::Pod(Told::Gone { namespace, name })),
        Kind::ReplicaSet => Some(News::ReplicaSet(Told::Gone { namespace, name })),
        Kind::Deployment => Some(News::Deployment(Told::Gone { namespace, name })),
        Kind::Node => Some(News::Node(Told::Gone { namespace, name })),
        Kind::ServiceAccount | Kind::ConfigMap => None,
    }
}

fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    for (key, value) in patch {
        if key == "conditions" && into[&key].is_array() {
            // The list is one of types, for whoever patches strategically.
            let known = into[&key].as_array_mut().unwrap();
            let is_new = |one: &Value| value.as_array().unwrap().iter().any(|new| new["type"] == one["type"]);
            known.retain(|one| !is_new(one));
            known.extend(value.as_array().unwrap().iter().cloned());
        } else if value.is_null() {
            into.as_object_mut().unwrap().remove(&key);
        } else {
            if !into[&key].is_object() && value.is_object() {
                into[&key] = json!({});
            }
            merge(&mut into[&key], value);
        }
    }
}

fn own(object: &mut Value, owner: &Value) {
    let owners = &mut object["metadata"]["ownerReferences"];
    let mut list = owners.as_array().cloned().unwrap_or_default();
    list.retain(|known| known["uid"] != owner["uid"]);
    if owner["$patch"] != "delete" {
        list.push(owner.clone());
    }
    *owners = list.into();
}
