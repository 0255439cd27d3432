//! What the API server is told about this process, as Events.

use model::ServiceKey;
use tracing::debug;

/// Something that an operator looks for on the Node or the Service.
pub(crate) enum Happened {
    Starting,
    HealthPortFailed(String),
    MetricsPortFailed(String),
    ServicePortFailed(ServiceKey, String),
}

/// The way to the API server, or to nowhere.
#[derive(Clone)]
pub(crate) struct Recorder;

impl Recorder {
    pub(crate) fn record(&self, happened: Happened) {
        let reason = match happened {
            Happened::Starting => "Starting".to_owned(),
            Happened::HealthPortFailed(r) | Happened::MetricsPortFailed(r) => r,
            Happened::ServicePortFailed(k, r) => format!("{k}{r}"),
        };
        debug!(reason, "event");
    }
}
