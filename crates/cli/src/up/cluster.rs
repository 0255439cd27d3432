//! The parts of a running cluster: started in the order in which they need each other, ended the other way round.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::apiserver::access::authority::Subject;
use ::apiserver::access::kubeconfig;
use ::apiserver::connect::{Dial, from_here};
use ::watch::ApiConfig;
use ::watch::client::{Client, ClientError};
use anyhow::{Context, anyhow};
use controllers::Controller;
use health::Snapshot;
use serde_json::{Value, json};
use site::{Node, Site};
use sys::netns::Namespace;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::warn;
use workload::{Images, Settings};

use super::names::{DOMAIN, Names};
use super::nodes::{self, Failed, Proxy};
use super::{Args, before, service_ranges};
use crate::apiserver;

/// How many Services the EndpointSlice controller works on at a time.
const WORKERS: usize = 8;
/// How long the certificates of its parts are good, in days; each start makes new ones.
const DAYS: u32 = 3650;

/// A cluster that runs.
pub(super) struct Cluster {
    server: apiserver::Running,
    /// A client of it who may do everything.
    client: Client,
    stop: watch::Sender<bool>,
    parts: JoinSet<()>,
    proxies: Vec<Proxy>,
    failures: mpsc::Receiver<Failed>,
}

impl Cluster {
    /// Starts everything in a network that is there.
    pub(super) async fn start(
        args: &Args,
        (site, data): (&Site, &Path),
        images: Images,
    ) -> anyhow::Result<Self> {
        let server = start_server(args, site, data).await?;
        let client = client_of(&server.kubeconfig).await?;
        let (stop, stopping) = watch::channel(false);
        let (tell, failures) = mpsc::channel(16);
        let mut parts = JoinSet::new();
        let names = Names::open(site, &service_ranges(args))?;
        names.publish(&client).await.map_err(|error| anyhow!("failed to publish the DNS: {error}"))?;
        let dns = names.address();
        let file = data.join("dns.kubeconfig");
        write_kubeconfig(&server, (&Subject::reader("signalbox-dns"), &server.url), &file)?;
        let answering = ::dns::run(client_of(&file).await?, names.settings(site), stopping.clone());
        spawn(&mut parts, ("the DNS".to_owned(), answering), &tell);
        let slices = endpointslice::Settings { workers: WORKERS, ..endpointslice::Settings::default() };
        parts.spawn(endpointslice::run(client.clone(), slices, stopping.clone()));
        parts.spawn(controllers::run(client.clone(), controllers(&server), stopping.clone()));
        for (index, node) in site.nodes.iter().enumerate() {
            let zone = (!args.zones.is_empty()).then(|| args.zones[index % args.zones.len()].as_str());
            let authority = server.authority.certificate();
            let settings = Settings { dns: vec![dns], ..workload((data, authority), (node, zone), &images) };
            let kubeconfig = settings.state_dir.join("kubelet.kubeconfig");
            write_kubeconfig(&server, (&Subject::node(&node.name), &server.url), &kubeconfig)?;
            let running = workload::run(client_of(&kubeconfig).await?, settings, stopping.clone());
            spawn(&mut parts, (format!("the pods of {}", node.name), running), &tell);
        }
        let mut cluster = Self { server, client, stop, parts, proxies: Vec::new(), failures };
        for place in nodes::places(site) {
            let kubeconfig = cluster.proxy_kubeconfig(&place, (site, data))?;
            cluster.proxies.push(Proxy::start(place, (site, &kubeconfig), tell.clone())?);
        }
        Ok(cluster)
    }

    /// Where the API server is for programs of this machine.
    pub(super) fn url(&self) -> &str {
        &self.server.url
    }

    /// The kubeconfig of who may do everything.
    pub(super) fn kubeconfig(&self) -> &Path {
        &self.server.kubeconfig
    }

    /// Waits until every node takes pods and every proxy has written its rules.
    pub(super) async fn ready(&mut self, site: &Site) -> anyhow::Result<()> {
        let patience = std::time::Duration::from_millis(10);
        let synced =
            |snapshot: &Snapshot| snapshot.families.values().any(|family| family.last_synced.is_some());
        let proxies = self.proxies.iter_mut().map(|proxy| &mut proxy.snapshots);
        let ready = async {
            for snapshots in proxies {
                // A proxy that has ended says why by itself.
                if snapshots.wait_for(synced).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            for node in &site.nodes {
                while !is_ready(&self.client, &node.name).await {
                    tokio::time::sleep(patience).await;
                }
            }
        };
        tokio::select! {
            () = ready => Ok(()),
            failed = self.failures.recv() => Err(why(failed)),
        }
    }

    /// Waits until something fails, which nothing should.
    pub(super) async fn failed(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            failed = self.failures.recv() => Err(why(failed)),
            ended = self.server.ended() => ended.and_then(|()| Err(anyhow!("the API server ended"))),
            ended = self.parts.join_next() => match ended {
                Some(Err(error)) => Err(error).context("a controller ended"),
                Some(Ok(())) | None => Err(anyhow!("a controller ended")),
            },
        }
    }

    /// Removes nodes that are not there any more, with their pods, which nobody else would end.
    pub(super) async fn forget_nodes(&self, names: &[String]) {
        for name in names {
            if let Err(error) = self.forget_node(name).await
                && !error.is_not_found()
            {
                warn!(node = name, %error, "a node of an earlier run stays");
            }
        }
    }

    async fn forget_node(&self, name: &str) -> Result<(), ClientError> {
        let pods = self.client.get(&format!("/api/v1/pods?fieldSelector=spec.nodeName={name}")).await?;
        let at_once = json!({"gracePeriodSeconds": 0});
        for pod in pods["items"].as_array().into_iter().flatten() {
            let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
            let path = format!("/api/v1/namespaces/{}/pods/{}", text("namespace"), text("name"));
            self.client.delete(&path, &at_once).await?;
        }
        self.client.delete(&format!("/api/v1/nodes/{name}"), &Value::Null).await.map(drop)
    }

    /// Ends every part; pods go on.
    pub(super) async fn stop(mut self) {
        self.stop.send_replace(true);
        for proxy in self.proxies {
            proxy.stop().await;
        }
        while let Some(ended) = self.parts.join_next().await {
            if let Err(error) = ended {
                warn!(%error, "a part did not end well");
            }
        }
        if let Err(error) = self.server.stop().await {
            warn!("{error:#}");
        }
    }

    /// What a proxy knows of the server, which it reaches through the LAN.
    fn proxy_kubeconfig(
        &self,
        place: &nodes::Place,
        (site, data): (&Site, &Path),
    ) -> anyhow::Result<PathBuf> {
        let port = self.server.address.port();
        let host = site.lan.addresses.first().context("the LAN has no address")?;
        let url = format!("https://{}", SocketAddr::new(*host, port));
        let file = match &place.node {
            Some(node) => before::folder(data, node).join("proxy.kubeconfig"),
            None => data.join("lan.kubeconfig"),
        };
        write_kubeconfig(&self.server, (&Subject::proxy(), &url), &file)?;
        Ok(file)
    }
}

/// Starts a part whose failure is told.
fn spawn<E: std::fmt::Display + Send>(
    parts: &mut JoinSet<()>,
    (what, running): (String, impl Future<Output = Result<(), E>> + Send + 'static),
    tell: &mpsc::Sender<Failed>,
) {
    let tell = tell.clone();
    parts.spawn(async move {
        if let Err(error) = running.await {
            // Nobody listens any more: everything is being stopped.
            drop(tell.send(Failed { what, why: format!("failed to {error}") }).await);
        }
    });
}

async fn client_of(kubeconfig: &Path) -> anyhow::Result<Client> {
    let config = ApiConfig::new(Some(kubeconfig.to_owned()), None, "");
    Client::connect(&config).await.map_err(|error| anyhow!("failed to {error}"))
}

/// Writes what a part needs to be somebody at the server: each may do what its like may in any cluster.
fn write_kubeconfig(
    server: &apiserver::Running,
    (subject, url): (&Subject, &str),
    file: &Path,
) -> anyhow::Result<()> {
    let client = server.authority.issue(subject, DAYS, apiserver::now());
    let client = client.map_err(|error| anyhow!("failed to {error}"))?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    }
    kubeconfig::write(file, &server.authority.kubeconfig(url, &client))
        .map_err(|error| anyhow!("failed to {error}"))
}

fn why(failed: Option<Failed>) -> anyhow::Error {
    match failed {
        Some(Failed { what, why }) => anyhow!("{what}: {why}"),
        None => anyhow!("a part ended"),
    }
}

async fn is_ready(client: &Client, node: &str) -> bool {
    let Ok(object) = client.get(&format!("/api/v1/nodes/{node}")).await else { return false };
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

async fn start_server(args: &Args, site: &Site, data: &Path) -> anyhow::Result<apiserver::Running> {
    let settings = apiserver::Args {
        data: data.to_owned(),
        listen: args.listen,
        tls_san: vec!["localhost".to_owned(), args.listen.ip().to_string()],
        service_cluster_ip_range: service_ranges(args),
        service_node_port_range: apiserver::usual_node_ports(),
        advertise_address: site.lan.addresses.clone(),
        cluster_domain: DOMAIN.to_owned(),
        token_auth_file: None,
        grant: Vec::new(),
        kubelet_certificate_authority: None,
        kubelet_preferred_address_types: vec!["InternalIP".to_owned()],
        disable_controllers: false,
        event_ttl: 3600,
        v: args.v,
    };
    let kept = apiserver::Kept::open(&settings)?;
    let near = listen(&None, args.listen).context("--listen")?;
    let port = near.local_addr().context("failed to learn where the API server listens")?.port();
    let mut listeners = vec![near];
    for address in &site.lan.addresses {
        let address = SocketAddr::new(*address, port);
        // Somebody may want it to listen there, or everywhere, by itself.
        if site.lan.netns.is_none() && (args.listen.ip() == address.ip() || args.listen.ip().is_unspecified())
        {
            continue;
        }
        listeners.push(listen(&site.lan.netns, address)?);
    }
    apiserver::start(&settings, kept, listeners, dial(&site.lan.netns)).await
}

/// Opens connections from a network.
fn dial(netns: &Option<String>) -> Dial {
    let Some(name) = netns else { return from_here() };
    let namespace = Namespace::named(name);
    Arc::new(move |address| {
        // A socket stays where it was made, whoever connects it.
        let make = || if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let made = namespace.run(make).map_err(io::Error::other).flatten();
        Box::pin(async move { made?.connect(address).await })
    })
}

/// Opens a socket in a network; it stays there whoever uses it.
fn listen(netns: &Option<String>, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let open = || std::net::TcpListener::bind(address);
    let socket = match netns {
        Some(name) => Namespace::named(name).run(open).map_err(|error| anyhow!("failed to {error}"))?,
        None => open(),
    };
    let socket = socket.with_context(|| format!("failed to listen at {address}"))?;
    socket.set_nonblocking(true).context("failed to prepare a socket")?;
    TcpListener::from_std(socket).context("failed to prepare a socket")
}

fn controllers(server: &apiserver::Running) -> controllers::Settings {
    let all = Controller::ALL.iter().map(|(_, controller)| *controller);
    controllers::Settings {
        // The nodes bring the ranges of their pods along.
        controllers: all.filter(|one| *one != Controller::NodeIpam).collect::<BTreeSet<_>>(),
        root_certificate: Some(server.authority.certificate().to_owned()),
        ..controllers::Settings::default()
    }
}

fn workload(
    (data, authority): (&Path, &str),
    (node, zone): (&Node, Option<&str>),
    images: &Images,
) -> Settings {
    let zone = zone.map(|zone| ("topology.kubernetes.io/zone".to_owned(), zone.to_owned()));
    Settings {
        node_name: node.name.clone(),
        state_dir: before::folder(data, &node.name),
        images: images.clone(),
        netns: node.netns.clone(),
        pod_cidrs: node.pods.clone(),
        labels: zone.into_iter().collect(),
        addresses: node.addresses.clone(),
        keeper: crate::workload::keeper(),
        environment: crate::workload::environment(),
        dns: Vec::new(),
        domain: DOMAIN.to_owned(),
        // Several nodes may share one network, and a kubelet have the usual port.
        port: Some(0),
        client_ca: Some(authority.to_owned()),
    }
}
