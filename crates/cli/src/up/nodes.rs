//! The proxies of a cluster's nodes: a thread each, inside the node's network namespace.

use std::ffi::OsString;
use std::path::Path;
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, anyhow};
use clap::Parser;
use health::Snapshot;
use site::Site;
use sys::netns::{Namespace, enter};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use crate::KubeProxy;
use crate::follow::Told;
use crate::proxy;

/// Where a proxy works.
pub(super) struct Place {
    /// The node whose proxy it is; `None`: this machine, on which the nodes hang.
    pub(super) node: Option<String>,
    netns: Option<String>,
}

/// A part that ended and should not have.
pub(super) struct Failed {
    pub(super) what: String,
    pub(super) why: String,
}

/// A proxy that runs.
pub(super) struct Proxy {
    /// What it says of itself.
    pub(super) snapshots: watch::Receiver<Snapshot>,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Answers where Services are to work: on every node, and on this machine unless it is left alone.
pub(super) fn places(site: &Site) -> Vec<Place> {
    let nodes = site.nodes.iter();
    let mut places: Vec<Place> =
        nodes.map(|node| Place { node: Some(node.name.clone()), netns: node.netns.clone() }).collect();
    if site.lan.netns.is_none() && places.iter().all(|place| place.netns.is_some()) {
        places.push(Place { node: None, netns: None });
    }
    places
}

impl Proxy {
    /// Starts one.
    pub(super) fn start(
        place: Place,
        (site, kubeconfig): (&Site, &Path),
        tell: mpsc::Sender<Failed>,
    ) -> anyhow::Result<Self> {
        let name = place.node.clone().unwrap_or_else(proxy::host_name);
        let flags =
            KubeProxy::try_parse_from(words(&name, site, kubeconfig)).context("the proxy's flags")?.flags;
        let told = Told::read(&flags, &name)?;
        let (health, snapshots) = watch::channel(Snapshot::default());
        let (end, ended) = oneshot::channel();
        let of_proxy = snapshots.clone();
        let title = format!("proxy-{name}");
        let work = move || {
            let mut silence = Silence { tell, what: format!("the proxy of {name}"), is_told: false };
            let result = enter_place(&place).and_then(|()| {
                proxy::keep_in_step((&flags, told, &name), (health, of_proxy), async {
                    // Whoever could end it is gone: that is an end, too.
                    ended.await.or(Ok(()))
                })
            });
            match result {
                Ok(()) => silence.is_told = true,
                Err(error) => silence.tell(format!("{error:#}")),
            }
        };
        let thread = Builder::new().name(title).spawn(work).context("failed to start a proxy's thread")?;
        Ok(Self { snapshots, end, thread })
    }

    /// Ends it; its rules stay.
    pub(super) async fn stop(self) {
        // It may have ended already.
        let _ = self.end.send(());
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            warn!("a proxy did not end well");
        }
    }
}

/// A proxy that says nothing of its end; a panic is told as well.
struct Silence {
    tell: mpsc::Sender<Failed>,
    what: String,
    is_told: bool,
}

impl Silence {
    fn tell(&mut self, why: String) {
        self.is_told = true;
        // Nobody listens any more: everything is being stopped.
        drop(self.tell.blocking_send(Failed { what: self.what.clone(), why }));
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell("it panicked".to_owned());
        }
    }
}

fn enter_place(place: &Place) -> anyhow::Result<()> {
    let Some(netns) = &place.netns else { return Ok(()) };
    let inside = Namespace::named(netns).open().and_then(|inside| enter(&inside));
    inside.map_err(|error| anyhow!("failed to {error}"))
}

/// The command line of a proxy. Settings of the kernel are the machine's own business.
fn words(name: &str, site: &Site, kubeconfig: &Path) -> Vec<OsString> {
    let pods: Vec<_> = site.pods().iter().map(ToString::to_string).collect();
    let mut words: Vec<OsString> = vec![
        "kube-proxy".into(),
        "--proxy-mode=nftables".into(),
        // A machine has other addresses than the one that nodes and pods know.
        format!("--nodeport-addresses={}", site.everywhere().join(",")).into(),
        format!("--hostname-override={name}").into(),
        format!("--cluster-cidr={}", pods.join(",")).into(),
    ];
    let mut flag = OsString::from("--kubeconfig=");
    flag.push(kubeconfig);
    words.push(flag);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told() {
        let (tell, mut failures) = mpsc::channel(1);
        let ended = std::thread::spawn(move || {
            let _silence = Silence { tell, what: "the proxy of a".to_owned(), is_told: false };
            panic!("as a proxy may");
        });
        assert!(ended.join().is_err());
        let failed = failures.blocking_recv().unwrap();
        assert_eq!((failed.what.as_str(), failed.why.as_str()), ("the proxy of a", "it panicked"));
    }
}
