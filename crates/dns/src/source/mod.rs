//! Where objects come from: an API server that is followed, or whoever else sends [`Change`]s; and the zone that is
//! published from them.
//!
//! A watch that breaks takes nothing back, so an answer never becomes empty by it.

mod decode;
mod shared;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use watch_client::{Client, ClientError, Collection, Told, follow};

pub use shared::Shared;

use crate::object::{Change, Key, Kind, Object};
use crate::zone::{Builder, Pods, Settings, Zone};

use ::watch::client as watch_client;

/// How many changes wait for the zone.
pub const BACKLOG: usize = 1024;
/// How many changes go into one published zone. While a cluster is read the first time there are many.
const MOST_AT_ONCE: usize = 4096;

/// How long to wait before an account is tried again that was refused something, or a server that did not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(2);

/// Follows everything that a zone needs from an API server, until nobody listens any more.
pub async fn follow_cluster(client: Client, settings: &Settings, changes: mpsc::Sender<Change>) {
    let labels = settings.labels.as_str();
    let kind = |kind, path: &'static str, read| Followed { kind, path, selector: ("", labels), read };
    let pods = async {
        if settings.pods == Pods::Verified {
            Followed { selector: (PODS.selector.0, labels), ..PODS }
                .follow(client.clone(), changes.clone())
                .await;
        }
    };
    tokio::join!(
        kind(Kind::Service, "/api/v1/services", decode::service).follow(client.clone(), changes.clone()),
        async {
            if settings.has_endpoints {
                let slices = kind(Kind::Slice, "/apis/discovery.k8s.io/v1/endpointslices", decode::slice);
                slices.follow(client.clone(), changes.clone()).await;
            }
        },
        // Labels are those of what has names, not of where it is.
        NAMESPACES.follow(client.clone(), changes.clone()),
        pods,
    );
}

const NAMESPACES: Followed<'static> = Followed {
    kind: Kind::Namespace,
    path: "/api/v1/namespaces",
    selector: ("", ""),
    read: decode::namespace,
};
const PODS: Followed<'static> = Followed {
    kind: Kind::Pod,
    path: "/api/v1/pods",
    selector: ("status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown", ""),
    read: decode::pod,
};

/// Follows what a zone needs besides Services and EndpointSlices, which somebody else follows. Where the account may not see
/// Namespaces, those with a Service are known all the same; without Pods that are to be verified there is no zone.
pub async fn follow_rest(client: Client, settings: &Settings, changes: mpsc::Sender<Change>) {
    let namespaces = async {
        await_right(&client, &NAMESPACES, async || {
            warn!("the account may not list Namespaces; those without a Service have no names");
            drop(changes.send(Change::Synced(Kind::Namespace)).await);
        })
        .await;
        NAMESPACES.follow(client.clone(), changes.clone()).await;
    };
    let pods = async {
        if settings.pods == Pods::Verified {
            await_right(&client, &PODS, async || {
                warn!("the account may not list Pods, so their names cannot be verified; nothing is answered here");
            })
            .await;
            PODS.follow(client.clone(), changes.clone()).await;
        }
    };
    tokio::join!(namespaces, pods);
}

/// Waits until the server does not refuse the account this kind; the first refusal is told, and why it cannot be asked.
async fn await_right(client: &Client, what: &Followed<'_>, refused: impl AsyncFnOnce()) {
    let (mut refused, mut said) = (Some(refused), String::new());
    loop {
        match client.get(&format!("{}?limit=1", what.path)).await {
            Err(ClientError::Refused { code: 403, .. }) => {
                if let Some(refused) = refused.take() {
                    refused().await;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(ClientError::Unreachable(error)) => {
                if said != error {
                    warn!(path = what.path, error, "the API server cannot be asked; trying again");
                    said = error;
                }
                tokio::time::sleep(RETRY).await;
            }
            Ok(_) | Err(ClientError::Refused { .. }) => return,
        }
    }
}

/// One kind to follow.
struct Followed<'a> {
    kind: Kind,
    path: &'static str,
    /// Of fields, and of labels; empty: all.
    selector: (&'a str, &'a str),
    read: fn(&[u8]) -> Result<Object, String>,
}

impl Followed<'_> {
    async fn follow(self, client: Client, changes: mpsc::Sender<Change>) {
        let (tell, mut told) = mpsc::channel(64);
        let (fields, labels) = self.selector;
        let collection =
            Collection { fields: fields.to_owned(), labels: labels.to_owned(), ..Collection::all(self.path) };
        let hand_on = async {
            while let Some(told) = told.recv().await {
                let change = match told {
                    Told::Put(object) => Change::Put(object),
                    Told::Gone { namespace, name } => Change::Gone(self.kind, Key::new(&namespace, &name)),
                    Told::Synced => Change::Synced(self.kind),
                };
                if changes.send(change).await.is_err() {
                    return;
                }
            }
        };
        // The one ends with the other: nobody tells, or nobody listens.
        tokio::select! {
            () = follow(client, collection, self.read, tell) => {}
            () = hand_on => {}
        }
    }
}

/// Keeps the published zone in step with the changes, until they end.
///
/// A change is published at once; what arrives while one is being worked on goes into the next zone together.
pub async fn keep(mut builder: Builder, mut changes: mpsc::Receiver<Change>, zone: &watch::Sender<Zone>) {
    let mut waiting = Vec::new();
    while changes.recv_many(&mut waiting, MOST_AT_ONCE).await > 0 {
        let serial = now();
        let mut is_changed = false;
        for change in waiting.drain(..) {
            is_changed |= builder.apply(change, serial);
        }
        if !is_changed {
            continue;
        }
        let next = builder.zone();
        if next.is_synced() && !zone.borrow().is_synced() {
            info!(names = next.len(), "synced");
        }
        zone.send_replace(next);
    }
}

/// Answers the time in seconds since 1970, as it stands in the zone's SOA record.
pub(crate) fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_secs() as u32
}
