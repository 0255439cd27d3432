//! What the API server is told about this process, as Events with kube-proxy's reasons.

use ::watch::{EventRecorder, EventType, Happening, Regarding};
use model::ServiceKey;

/// Something that an operator looks for on the Node or the Service.
pub(crate) enum Happened {
    Starting,
    /// Why not, after "failed to".
    HealthPortFailed(String),
    MetricsPortFailed(String),
    ServicePortFailed(ServiceKey, String),
}

/// The way to the API server, or to nowhere.
#[derive(Clone)]
pub(crate) struct Recorder(pub(crate) EventRecorder);

impl Recorder {
    pub(crate) fn record(&self, happened: Happened) {
        self.0.record(happened.into());
    }
}

impl From<Happened> for Happening {
    fn from(happened: Happened) -> Self {
        const START: &str = "StartKubeProxy";
        let warning = |regarding, (reason, action), failure: String| Self {
            kind: EventType::Warning,
            regarding,
            reason,
            action,
            note: format!("failed to {failure}"),
        };
        match happened {
            Happened::Starting => Self {
                kind: EventType::Normal,
                regarding: Regarding::Node,
                reason: "Starting",
                action: START,
                note: String::new(),
            },
            Happened::HealthPortFailed(failure) => {
                warning(Regarding::Node, ("FailedToStartProxierHealthcheck", START), failure)
            }
            Happened::MetricsPortFailed(failure) => {
                warning(Regarding::Node, ("FailedToStartMetricServer", START), failure)
            }
            Happened::ServicePortFailed(service, failure) => {
                warning(Regarding::Service(service), ("FailedToStartServiceHealthcheck", "Listen"), failure)
            }
        }
    }
}
