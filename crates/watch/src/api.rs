//! Services, EndpointSlices, the own Node and ServiceCIDRs of a Kubernetes API server, as events.

use std::path::PathBuf;

use objects::{Event, Kind, naming};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Error;
use crate::connection::Connection;
use crate::journal::Journal;
use crate::progress::Progress;
use crate::reflector::Reflector;
use crate::timing::Timing;

/// Where the API server is and what to watch there.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// The kubeconfig file; `None` for the service account of the pod this runs in, unless there is a `master`.
    pub kubeconfig: Option<PathBuf>,
    /// The server's URL or `host:port`; overrides that of the kubeconfig.
    pub master: Option<String>,
    /// With a `master` and no kubeconfig: files of our certificate, its key, and the authority of the server's.
    pub tls: Option<[PathBuf; 3]>,
    /// The name of the own Node.
    pub node_name: String,
    /// What to watch.
    pub kinds: Vec<Kind>,
    /// How long things may take.
    pub timing: Timing,
    /// Who is told as well what names follow from. Then headless Services and those of other proxies are watched, too; the
    /// sink gets none of them.
    pub naming: Option<mpsc::Sender<naming::Event>>,
}

impl ApiConfig {
    /// Watches every kind with the usual durations.
    pub fn new(kubeconfig: Option<PathBuf>, master: Option<String>, node_name: &str) -> Self {
        Self {
            kubeconfig,
            master,
            tls: None,
            node_name: node_name.to_owned(),
            kinds: Kind::ALL.to_vec(),
            timing: Timing::default(),
            naming: None,
        }
    }
}

/// Lists and watches, until the other end of `sink` is dropped. Failures are logged and retried for ever, and what was
/// delivered stays in force meanwhile; only a configuration that cannot be read at the start is an error.
pub async fn run(config: ApiConfig, progress: Progress, sink: mpsc::Sender<Event>) -> Result<(), Error> {
    let checked = Connection::prepare(&config)
        .await
        .map_err(|failure| Error::Configuration { error: failure.to_string(), remedy: failure.remedy() })?;
    tracing::info!(server = checked.server(), kinds = ?config.kinds, "watching the API server");
    let (journal, entries) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(Journal::new(config.timing.repeat_report).keep(entries));
    for kind in config.kinds.clone() {
        let reflector =
            Reflector::new(kind, config.clone(), (progress.clone(), sink.clone(), journal.clone()));
        tasks.spawn(reflector.run());
    }
    drop(journal);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            return Err(Error::Panicked(error.to_string()));
        }
    }
    Ok(())
}
