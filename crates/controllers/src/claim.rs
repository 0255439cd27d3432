//! Whose objects are: those that a selector means are taken over, those that it no longer means are let go.
//!
//! It does *not* decide what is done with them then.

use serde_json::{Value, json};

use crate::action::{Action, Kind, Plan, STRATEGIC, Verb, controlled_by};
use crate::trimmed::{Meta, Selector, Trimmed};

/// Who claims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimant<'a> {
    /// Its kind.
    pub(crate) kind: Kind,
    /// What every object has.
    pub(crate) meta: &'a Meta,
    /// What it means.
    pub(crate) selector: &'a Selector,
}

impl Claimant<'_> {
    /// Whether an object is its own, will be, or was.
    pub(crate) fn relation(&self, object: &Meta) -> Relation {
        let is_meant = self.selector.matches(&object.labels);
        let is_leaving = self.meta.is_leaving();
        match object.controller() {
            Some(owner) if owner.uid != self.meta.uid => Relation::Foreign,
            Some(_) if is_meant => Relation::Own,
            Some(_) if is_leaving => Relation::Foreign,
            Some(_) => Relation::Lost,
            None if is_leaving || !is_meant || object.is_leaving() => Relation::Foreign,
            None => Relation::Found,
        }
    }

    /// Takes over and lets go; answers what is its own from then on.
    pub(crate) fn claim<'o, T: Trimmed>(&self, kind: Kind, objects: &[&'o T], plan: &mut Plan) -> Vec<&'o T> {
        let (mut own, mut patches, mut is_adopting) = (Vec::new(), Vec::new(), false);
        for object in objects {
            let meta = object.meta();
            let patch = |body: Value| Action::on(STRATEGIC, kind, meta, body);
            match self.relation(meta) {
                Relation::Own => own.push(*object),
                Relation::Found => {
                    own.push(*object);
                    is_adopting = true;
                    patches.push(patch(self.adoption(meta)));
                }
                Relation::Lost => patches.push(patch(self.release(meta))),
                Relation::Foreign => {}
            }
        }
        if is_adopting {
            // What is known here may be old; an object must not be given to an owner that is gone.
            plan.then(Action::on(Verb::Confirm, self.kind, self.meta, Value::Null));
        }
        if !patches.is_empty() {
            plan.steps.push(patches);
        }
        own
    }

    fn adoption(&self, object: &Meta) -> Value {
        json!({"metadata": {"uid": object.uid, "ownerReferences": [controlled_by(self.kind, self.meta)]}})
    }

    fn release(&self, object: &Meta) -> Value {
        let gone = json!({"$patch": "delete", "uid": self.meta.uid});
        json!({"metadata": {"uid": object.uid, "ownerReferences": [gone]}})
    }
}

/// Whose an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// The claimant's.
    Own,
    /// Nobody's, and the claimant means it.
    Found,
    /// The claimant's, which no longer means it.
    Lost,
    /// Not the claimant's business.
    Foreign,
}
