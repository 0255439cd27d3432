//! The ports that others ask: health, metrics, and the health-check node ports of Services.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::anyhow;
use config::{Configuration, Flags, Settings};
use health::{Port, Snapshot, Status, serve_health, serve_health_ports, serve_status};
use model::ServiceKey;
use telemetry::Metrics;
use tokio::sync::watch::Receiver;

use crate::KUBERNETES;
use crate::events::{Happened, Recorder};

/// What the ports show, and whom they tell when they cannot.
pub(crate) struct Shown {
    pub(crate) in_force: Receiver<Configuration>,
    pub(crate) metrics: Metrics,
    pub(crate) snapshots: Receiver<Snapshot>,
    pub(crate) recorder: Recorder,
}

/// Serves each port, or tries again, for ever; or until one cannot be had that must be.
pub(crate) async fn serve(flags: &Flags, settings: &Settings, shown: Shown) -> anyhow::Result<()> {
    let Shown { in_force, metrics, snapshots, recorder } = shown;
    let port = |address: SocketAddr, happened: fn(String) -> Happened| {
        let recorder = recorder.clone();
        let failed = Arc::new(move |reason: &str| recorder.record(happened(reason.to_owned())));
        Port { address, hard_fail: settings.bind_address_hard_fail, failed }
    };
    let health = async {
        let Some(address) = settings.healthz_bind_address else { return std::future::pending().await };
        serve_health(port(address, Happened::HealthPortFailed), snapshots.clone(), metrics.clone()).await
    };
    let status = Status {
        metrics: metrics.clone(),
        mode: settings.mode.name(),
        configuration: Arc::new(move || in_force.borrow().json()),
        flags: flags.values(),
        profiling: settings.enable_profiling,
        started: SystemTime::now(),
        version: env!("CARGO_PKG_VERSION"),
        emulates: KUBERNETES,
    };
    let status = async {
        let Some(address) = settings.metrics_bind_address else { return std::future::pending().await };
        serve_status(port(address, Happened::MetricsPortFailed), status, snapshots.clone()).await
    };
    let of_service = recorder.clone();
    let failed = move |service: &ServiceKey, reason: &str| {
        of_service.record(Happened::ServicePortFailed(service.clone(), reason.to_owned()));
    };
    let ports = serve_health_ports(snapshots.clone(), &failed);
    tokio::select! {
        result = health => result.map_err(|error| anyhow!("failed to {error}")),
        result = status => result.map_err(|error| anyhow!("failed to {error}")),
        () = ports => Err(anyhow!("the health-check node ports are not served any more")),
    }
}
