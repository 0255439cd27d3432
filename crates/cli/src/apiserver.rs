//! `signalbox apiserver`: the API on this machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ::apiserver::body::time::Instant;
use ::apiserver::rest::{Clock, Rest};
use ::apiserver::serve::{Server, listen};
use ::apiserver::start;
use anyhow::{Context, anyhow};
use clap::Args as Arguments;
use store::{Store, Window};
use telemetry::{Format, Metrics, watch_process};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

/// Where things are, and who may reach them.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// The directory of everything that is kept: objects, certificates, kubeconfig
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// How much to log: 0 to 4, as kube-apiserver's
    #[arg(short, long, default_value_t = 2)]
    v: u8,
}

/// Runs until a signal ends it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    telemetry::start_log(Format::Text, args.v, None);
    std::fs::create_dir_all(&args.data)
        .with_context(|| format!("failed to make the directory {}", args.data.display()))?;
    let file = args.data.join("objects.redb");
    let store = Store::open(&file, Window::default()).map_err(|error| anyhow!("failed to {error}"))?;
    let metrics = Metrics::default();
    watch_process(&metrics);
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start threads")?;
    runtime.block_on(serve(args, store, metrics))
}

async fn serve(args: &Args, store: Store, metrics: Metrics) -> anyhow::Result<()> {
    let rest = Rest { store, clock: Clock { now, seed } };
    start::prepare(&rest).await.map_err(|status| anyhow!("failed to prepare: {}", status.message))?;
    let listener =
        listen(args.listen).await.with_context(|| format!("failed to listen at {}", args.listen))?;
    let address = listener.local_addr().context("failed to learn where it listens")?;
    let (stop, stopping) = watch::channel(false);
    let server = Arc::new(Server::new(rest, metrics, address, stopping));
    info!(%address, "serving");
    let serving = tokio::spawn(server.run(listener));
    let mut terminate = signal(SignalKind::terminate()).context("failed to wait for signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    info!("stopping");
    stop.send_replace(true);
    serving.await.context("failed to stop")
}

fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}

fn seed() -> [u8; 16] {
    ::apiserver::chance::seed()
}
