//! Watches: initial events, changes as they happen, bookmarks, the end of a watch.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::WatchList;
use super::encode::Form;
use super::request::Request;
use super::resource::Resource;
use super::selector::Selector;
use super::shared::Shared;
use super::status::Refusal;
use super::store::Seen;

/// A watch that was accepted.
pub(super) struct Watch {
    shared: Arc<Shared>,
    resource: Resource,
    selector: Selector,
    form: Form,
    /// What the watcher has seen.
    revision: u64,
    initial: Initial,
    bookmarks: bool,
    end: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Initial {
    /// Only what changes after the revision asked for.
    Nothing,
    /// What exists first, as ADDED.
    Objects,
    /// What exists first, then a bookmark that says so.
    ObjectsWithEnd,
}

impl Watch {
    /// Checks what was asked for, as strictly as the real server.
    pub(super) fn accept(
        shared: &Arc<Shared>,
        resource: Resource,
        selector: Selector,
        (request, form): (&Request, Form),
    ) -> Result<Self, Refusal> {
        let behaviour = shared.behaviour();
        let initial = initial_of(request, behaviour.watch_list)?;
        let revision = request.number("resourceVersion")?;
        let seconds = match request.number("timeoutSeconds")? {
            0 => 1_800,
            seconds => seconds,
        };
        Ok(Self {
            shared: shared.clone(),
            resource,
            selector,
            form,
            revision,
            initial,
            bookmarks: request.is_set("allowWatchBookmarks"),
            end: Instant::now() + Duration::from_secs(seconds),
        })
    }

    /// Runs the watch until its time is over or the client is gone.
    pub(super) async fn run(mut self, gone: bool, pieces: mpsc::Sender<Bytes>) {
        if gone {
            let refusal = Refusal::expired("watch");
            drop(pieces.send(self.form.event("ERROR", &refusal.to_object())).await);
            return;
        }
        // An error means that the client is gone, which ends the watch.
        drop(self.stream(&pieces).await);
    }

    async fn stream(&mut self, pieces: &mpsc::Sender<Bytes>) -> Result<(), mpsc::error::SendError<Bytes>> {
        let mut revisions = self.shared.revisions();
        if self.initial != Initial::Nothing {
            self.send_initial(pieces).await?;
        }
        let mut next_bookmark = self.next_bookmark();
        loop {
            revisions.mark_unchanged();
            if !self.send_changes(pieces).await? {
                return Ok(());
            }
            tokio::select! {
                changed = revisions.changed() => if changed.is_err() { return Ok(()) },
                () = sleep_until(self.end) => return Ok(()),
                () = pieces.closed() => return Ok(()),
                () = sleep_until(next_bookmark) => {
                    next_bookmark = self.next_bookmark();
                    // As real servers do, a watch from a revision that the server has not reached is left in silence.
                    if self.bookmarks && *revisions.borrow() >= self.revision {
                        self.send_bookmark(pieces, &json!({})).await?;
                    }
                }
            }
        }
    }

    fn next_bookmark(&self) -> Instant {
        Instant::now() + self.shared.behaviour().bookmark_interval
    }

    async fn send_initial(
        &mut self,
        pieces: &mpsc::Sender<Bytes>,
    ) -> Result<(), mpsc::error::SendError<Bytes>> {
        let (objects, revision) = self.shared.snapshot(self.resource);
        for object in objects.iter().filter(|object| self.selector.matches(object)) {
            pieces.send(self.form.event("ADDED", object)).await?;
        }
        self.revision = revision;
        if self.initial == Initial::ObjectsWithEnd {
            self.send_bookmark(pieces, &json!({"k8s.io/initial-events-end": "true"})).await?;
        }
        Ok(())
    }

    /// Answers whether the watch goes on.
    async fn send_changes(
        &mut self,
        pieces: &mpsc::Sender<Bytes>,
    ) -> Result<bool, mpsc::error::SendError<Bytes>> {
        let changes = match self.shared.changes_after(self.resource, self.revision) {
            Ok((changes, revision)) => {
                self.revision = self.revision.max(revision);
                changes
            }
            Err(refusal) => {
                pieces.send(self.form.event("ERROR", &refusal.to_object())).await?;
                return Ok(false);
            }
        };
        for change in changes {
            let (kind, object) = match change.seen_through(&self.selector) {
                None => continue,
                Some(Seen::Added(object)) => ("ADDED", object),
                Some(Seen::Modified(object)) => ("MODIFIED", object),
                Some(Seen::Deleted(object)) => ("DELETED", object),
            };
            pieces.send(self.form.event(kind, &object)).await?;
        }
        Ok(true)
    }

    async fn send_bookmark(
        &self,
        pieces: &mpsc::Sender<Bytes>,
        annotations: &Value,
    ) -> Result<(), mpsc::error::SendError<Bytes>> {
        let mut metadata = json!({"resourceVersion": self.revision.to_string(), "creationTimestamp": null});
        if annotations.as_object().is_some_and(|fields| !fields.is_empty()) {
            metadata["annotations"] = annotations.clone();
        }
        let object = json!({"kind": self.resource.kind(), "apiVersion": self.resource.api_version(),
                            "metadata": metadata});
        pieces.send(self.form.event("BOOKMARK", &object)).await
    }
}

fn initial_of(request: &Request, watch_list: WatchList) -> Result<Initial, Refusal> {
    let invalid =
        |message: &str| Err(Refusal::invalid(format!("ListOptions.meta.k8s.io \"\" is invalid: {message}")));
    let from_now = matches!(request.parameter("resourceVersion"), "" | "0");
    let plain = if from_now { Initial::Objects } else { Initial::Nothing };
    let version_match = request.parameter("resourceVersionMatch");
    if watch_list == WatchList::Ignored {
        return Ok(plain);
    }
    if request.parameter("sendInitialEvents").is_empty() {
        return match version_match {
            "" => Ok(plain),
            _ => invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless \
                 sendInitialEvents is provided",
            ),
        };
    }
    if version_match != "NotOlderThan" {
        return invalid(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to \
             NotOlderThan",
        );
    }
    if watch_list == WatchList::Forbidden {
        return invalid(
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature \
             gate is enabled",
        );
    }
    match (request.is_set("sendInitialEvents"), request.is_set("allowWatchBookmarks")) {
        (false, _) => Ok(Initial::Nothing),
        (true, false) => Ok(Initial::Objects),
        (true, true) => Ok(Initial::ObjectsWithEnd),
    }
}
