//! What a controller wants done, as data: a reconcile function answers it, the shell does it.

use serde_json::{Value, json};
use watch::client::{Note, PatchType};

use crate::moment::Moment;
use crate::trimmed::{Meta, Place};

/// What is to be done for one object.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Plan {
    /// Done one after the other; what is in one step goes out together, and a failure ends the plan.
    pub(crate) steps: Vec<Vec<Action>>,
    /// What is said although nothing is done.
    pub(crate) said: Vec<Said>,
    /// When to look again although nothing has changed.
    pub(crate) again: Option<Moment>,
}

impl Plan {
    /// Adds a step of one action.
    pub(crate) fn then(&mut self, action: Action) {
        self.steps.push(vec![action]);
    }

    /// Looks again at that time, or earlier.
    pub(crate) fn look_at(&mut self, when: Moment) {
        self.again = Some(self.again.map_or(when, |known| known.min(when)));
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Action {
    /// What is asked.
    pub(crate) verb: Verb,
    /// Of which kind the object is.
    pub(crate) kind: Kind,
    /// Where it is; of one that has no name yet, the name is empty.
    pub(crate) place: Place,
    /// The object's identifier, if it has one.
    pub(crate) uid: String,
    /// What is sent.
    pub(crate) body: Value,
    /// The Event that tells of the success, and the one that tells of the failure.
    pub(crate) told: [Option<Said>; 2],
}

impl Action {
    /// Makes an object.
    pub(crate) fn create(kind: Kind, namespace: &str, object: Value) -> Self {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let place = Place { namespace: namespace.to_owned(), name };
        Self { verb: Verb::Create, kind, place, uid: String::new(), body: object, told: [None, None] }
    }

    /// Does something to an object that is there.
    pub(crate) fn on(verb: Verb, kind: Kind, meta: &Meta, body: Value) -> Self {
        Self { verb, kind, place: meta.place(), uid: meta.uid.clone(), body, told: [None, None] }
    }

    /// Deletes an object, if it is still this one.
    pub(crate) fn delete(kind: Kind, meta: &Meta) -> Self {
        Self::on(Verb::Delete, kind, meta, json!({"preconditions": {"uid": meta.uid}}))
    }

    /// Tells of what came of it.
    pub(crate) fn or_say(mut self, success: Option<Said>, failure: Option<Said>) -> Self {
        self.told = [success, failure];
        self
    }

    /// Where the request goes.
    pub(crate) fn path(&self) -> String {
        let collection = self.kind.collection(&self.place.namespace);
        let name = &self.place.name;
        match &self.verb {
            Verb::Create => collection,
            Verb::Bind => format!("{collection}/{name}/binding"),
            Verb::Patch { is_status: true, .. } => format!("{collection}/{name}/status"),
            Verb::Patch { is_status: false, .. } | Verb::Delete | Verb::Confirm => {
                format!("{collection}/{name}")
            }
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verb {
    /// Make it.
    Create,
    /// Change fields of it.
    Patch {
        /// How the change is written.
        how: PatchType,
        /// Whether it is a change of the status.
        is_status: bool,
    },
    /// Delete it.
    Delete,
    /// Give a Pod to a node.
    Bind,
    /// Ask whether it is still there, still the same and not being deleted; if not, the plan ends.
    Confirm,
}

/// A change of what is wanted.
pub(crate) const MERGE: Verb = Verb::Patch { how: PatchType::Merge, is_status: false };
/// A change of what is wanted that knows lists by their keys.
pub(crate) const STRATEGIC: Verb = Verb::Patch { how: PatchType::Strategic, is_status: false };
/// A change of the status.
pub(crate) const STATUS: Verb = Verb::Patch { how: PatchType::Merge, is_status: true };
/// A change of the status that knows lists by their keys.
pub(crate) const STRATEGIC_STATUS: Verb = Verb::Patch { how: PatchType::Strategic, is_status: true };

/// The kinds that controllers write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// v1 Pod.
    Pod,
    /// apps/v1 ReplicaSet.
    ReplicaSet,
    /// apps/v1 Deployment.
    Deployment,
    /// v1 Node.
    Node,
    /// v1 ServiceAccount.
    ServiceAccount,
    /// v1 ConfigMap.
    ConfigMap,
}

impl Kind {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::ReplicaSet => "ReplicaSet",
            Self::Deployment => "Deployment",
            Self::Node => "Node",
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
        }
    }

    /// Its group and version.
    pub(crate) fn api_version(self) -> &'static str {
        match self {
            Self::ReplicaSet | Self::Deployment => "apps/v1",
            Self::Pod | Self::Node | Self::ServiceAccount | Self::ConfigMap => "v1",
        }
    }

    /// The path of its objects; an empty namespace: of all namespaces.
    pub(crate) fn collection(self, namespace: &str) -> String {
        let api_version = self.api_version();
        let root = if api_version.contains('/') { "apis" } else { "api" };
        let plural = format!("{}s", self.name().to_lowercase());
        if namespace.is_empty() {
            return format!("/{root}/{api_version}/{plural}");
        }
        format!("/{root}/{api_version}/namespaces/{namespace}/{plural}")
    }
}

/// What an Event says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    /// Which controller says it.
    pub(crate) by: &'static str,
    /// Of what it is said.
    pub(crate) of: Value,
    /// Whether it is something to worry about.
    pub(crate) is_warning: bool,
    /// In one word.
    pub(crate) reason: &'static str,
    /// In a sentence.
    pub(crate) message: String,
    /// Whether the sentence ends with what the answer brought: the name of what was made, or what went wrong.
    pub(crate) is_open: bool,
    /// Whether it is said once only of the object.
    pub(crate) is_once: bool,
}

impl Said {
    /// Something of an object.
    pub(crate) fn of(kind: Kind, meta: &Meta, by: &'static str) -> Self {
        let mut of = json!({
            "apiVersion": kind.api_version(), "kind": kind.name(), "name": meta.name, "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        });
        if !meta.namespace.is_empty() {
            of["namespace"] = meta.namespace.as_str().into();
        }
        Self { by, of, is_warning: false, reason: "", message: String::new(), is_open: false, is_once: false }
    }

    /// With a word and a sentence.
    pub(crate) fn that(mut self, reason: &'static str, message: String) -> Self {
        (self.reason, self.message) = (reason, message);
        self
    }

    /// As something to worry about.
    pub(crate) fn warning(mut self) -> Self {
        self.is_warning = true;
        self
    }

    /// As the beginning of a sentence that the answer ends.
    pub(crate) fn open(mut self) -> Self {
        self.is_open = true;
        self
    }

    /// As something that is said once only of the object.
    pub(crate) fn once(mut self) -> Self {
        self.is_once = true;
        self
    }

    /// As it is recorded.
    pub(crate) fn note(self) -> Note {
        let Self { by, of, is_warning, reason, message, .. } = self;
        Note { component: by, host: String::new(), of, is_warning, reason: reason.to_owned(), message }
    }
}

/// The reference of an object to the one that controls it.
pub(crate) fn controlled_by(kind: Kind, meta: &Meta) -> Value {
    json!({
        "apiVersion": kind.api_version(), "kind": kind.name(), "name": meta.name, "uid": meta.uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_where_the_objects_are() {
        let meta = Meta { namespace: "shop".to_owned(), name: "door".to_owned(), ..Meta::default() };
        let check = |verb: Verb, kind: Kind, expected: &str| {
            assert_eq!(Action::on(verb, kind, &meta, Value::Null).path(), expected);
        };
        check(Verb::Create, Kind::Pod, "/api/v1/namespaces/shop/pods");
        check(Verb::Bind, Kind::Pod, "/api/v1/namespaces/shop/pods/door/binding");
        check(STATUS, Kind::Deployment, "/apis/apps/v1/namespaces/shop/deployments/door/status");
        check(MERGE, Kind::ReplicaSet, "/apis/apps/v1/namespaces/shop/replicasets/door");
        let node = Meta { name: "one".to_owned(), ..Meta::default() };
        assert_eq!(Action::delete(Kind::Node, &node).path(), "/api/v1/nodes/one");
    }
}
