//! The metrics port: what the process counts, what it was told, how it is built, and where its time goes.
//!
//! `/statusz` and `/flagz` are Kubernetes' component pages (KEP-4827, KEP-4828): text for people, and JSON for those who
//! accept it.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::ACCEPT;
use hyper::{Method, Request, StatusCode};
use serde_json::{Map, Value, json};
use telemetry::{Metrics, TEXT_FORMAT, cpu_profile, set_verbosity, threads};
use tokio::sync::watch::Receiver;

use crate::answer::{self, Answer};
use crate::server::{Error, Port, bound, serve};
use crate::snapshot::Snapshot;
use crate::time::rfc3339;

/// The longest profile.
const LONGEST_PROFILE: Duration = Duration::from_secs(300);
/// How long a profile takes unless the request says otherwise, as in Go.
const USUAL_PROFILE: u64 = 30;
/// More than any number has digits.
const LONGEST_BODY: usize = 64;
/// Where profiles and the log's verbosity are, if at all.
const PROFILING_PATHS: [&str; 5] = [
    "/debug/flags/v",
    "/debug/pprof",
    "/debug/pprof/cmdline",
    "/debug/pprof/profile",
    "/debug/pprof/threads",
];
const PATHS: [&str; 7] =
    ["/configz", "/flagz", "/healthz", "/metrics", "/metrics/slis", "/proxyMode", "/statusz"];

/// What the metrics port shows.
#[derive(Clone)]
pub struct Status {
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// How the kernel is programmed, in one word.
    pub mode: &'static str,
    /// The configuration that is in force, as JSON.
    pub configuration: Arc<dyn Fn() -> Value + Send + Sync>,
    /// Every flag with its value.
    pub flags: Vec<(&'static str, String)>,
    /// Whether profiles are served.
    pub profiling: bool,
    /// When the process was started.
    pub started: SystemTime,
    /// The version of this program.
    pub version: &'static str,
    /// The version of Kubernetes whose kube-proxy it stands for.
    pub emulates: &'static str,
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("mode", &self.mode)
            .field("profiling", &self.profiling)
            .finish_non_exhaustive()
    }
}

/// Serves it, for ever or until the port cannot be had. `/healthz` is about this port alone and always fine.
pub async fn serve_status(port: Port, status: Status, snapshots: Receiver<Snapshot>) -> Result<(), Error> {
    let status = Arc::new(status);
    let answer = move |request: Request<Incoming>| {
        let (status, snapshots) = (status.clone(), snapshots.clone());
        async move { status.answer(request, &snapshots).await }
    };
    serve(bound("metrics", &port).await?, answer).await;
    Ok(())
}

impl Status {
    async fn answer(&self, request: Request<Incoming>, snapshots: &Receiver<Snapshot>) -> Answer {
        let path = request.uri().path();
        if self.profiling && path.starts_with("/debug/") {
            return self.debug(request).await;
        }
        match path {
            "/metrics" => self.metrics().await,
            "/metrics/slis" => answer::body(TEXT_FORMAT, service_levels(&snapshots.borrow())),
            "/healthz" => answer::text(StatusCode::OK, "ok"),
            "/proxyMode" => answer::text(StatusCode::OK, self.mode),
            "/configz" => answer::json(&json!({"kubeproxy.config.k8s.io": (self.configuration)()})),
            "/statusz" => self.statusz(wants_json(&request)),
            "/flagz" => self.flagz(wants_json(&request)),
            _ => answer::not_found(),
        }
    }

    /// Reads counters of the kernel, maybe many: in a thread of its own, so that the other ports go on.
    async fn metrics(&self) -> Answer {
        let metrics = self.metrics.clone();
        match tokio::task::spawn_blocking(move || metrics.text()).await {
            Ok(text) => answer::body(TEXT_FORMAT, text),
            Err(error) => answer::failure(format!("failed to read the metrics: {error}\n")),
        }
    }

    fn paths(&self) -> Vec<&'static str> {
        let debug = if self.profiling { &PROFILING_PATHS[..] } else { &[] };
        let mut all: Vec<_> = PATHS.iter().chain(debug).copied().collect();
        all.sort_unstable();
        all
    }

    fn statusz(&self, as_json: bool) -> Answer {
        let up = SystemTime::now().duration_since(self.started).unwrap_or_default().as_secs();
        let (started, paths) = (rfc3339(self.started), self.paths());
        if as_json {
            return answer::json(&page(
                "Statusz",
                json!({"startTime": started, "uptimeSeconds": up, "binaryVersion": self.version, "emulationVersion": self.emulates, "paths": paths}),
            ));
        }
        let (hours, minutes, seconds) = (up / 3600, up / 60 % 60, up % 60);
        let text = format!(
            "kube-proxy statusz\nThis page is for people; its text may change with any version.\n\n\
             Started: {started}\nUp: {hours} hr {minutes:02} min {seconds:02} sec\nBinary version: signalbox {}\n\
             Emulation version: {}\nPaths: {}\n",
            self.version,
            self.emulates,
            paths.join(" "),
        );
        answer::body("text/plain; charset=utf-8", text)
    }

    fn flagz(&self, as_json: bool) -> Answer {
        if as_json {
            let flags: Map<String, Value> =
                self.flags.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
            return answer::json(&page("Flagz", json!({"flags": flags})));
        }
        let mut text =
            "kube-proxy flagz\nThis page is for people; its text may change with any version.\n\n".to_owned();
        for (name, value) in &self.flags {
            let _ = writeln!(text, "{name}={value}");
        }
        answer::body("text/plain; charset=utf-8", text)
    }

    async fn debug(&self, request: Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (_, "/debug/pprof" | "/debug/pprof/") => {
                answer::body("text/plain; charset=utf-8", PROFILING_PATHS.join("\n") + "\n")
            }
            (_, "/debug/pprof/profile") => profile(request.uri().query()).await,
            (_, "/debug/pprof/threads") => answer::body("text/plain; charset=utf-8", threads()),
            (_, "/debug/pprof/cmdline") => {
                let words = std::fs::read("/proc/self/cmdline").unwrap_or_default();
                answer::body("text/plain; charset=utf-8", words)
            }
            (&Method::PUT, "/debug/flags/v") => verbosity(request).await,
            (_, "/debug/flags/v") => {
                answer::text(StatusCode::METHOD_NOT_ALLOWED, "only PUT sets the verbosity\n")
            }
            _ => answer::not_found(),
        }
    }
}

/// How Kubernetes frames its component pages.
fn page(kind: &str, mut fields: Value) -> Value {
    fields["kind"] = kind.into();
    fields["apiVersion"] = "config.k8s.io/v1alpha1".into();
    fields["metadata"] = json!({"name": "kube-proxy"});
    fields
}

fn wants_json(request: &Request<Incoming>) -> bool {
    let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("application/json"))
}

/// The health of the component by the metric that Kubernetes' components share (KEP-3466).
fn service_levels(snapshot: &Snapshot) -> String {
    let now = Instant::now();
    let (live, ready) = (snapshot.is_healthy(now), snapshot.is_healthy(now) && snapshot.is_node_eligible);
    let line = |kind: &str, is_fine: bool| {
        format!("kubernetes_healthcheck{{name=\"proxier\",type=\"{kind}\"}} {}\n", u8::from(is_fine))
    };
    format!(
        "# HELP kubernetes_healthcheck Whether a check of this component's health passes.\n\
         # TYPE kubernetes_healthcheck gauge\n{}{}",
        line("healthz", ready),
        line("livez", live)
    )
}

async fn profile(query: Option<&str>) -> Answer {
    let pairs = query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.split_once('='));
    let seconds = pairs.filter(|(name, _)| *name == "seconds").map(|(_, value)| value.parse()).next();
    let Ok(seconds) = seconds.unwrap_or(Ok(USUAL_PROFILE)) else {
        return answer::text(StatusCode::BAD_REQUEST, "seconds: not a whole number\n");
    };
    let time = Duration::from_secs(seconds).min(LONGEST_PROFILE);
    match tokio::task::spawn_blocking(move || cpu_profile(time)).await {
        Ok(Ok(profile)) => answer::body("application/octet-stream", profile),
        Ok(Err(error)) => answer::failure(format!("failed to {error}\n")),
        Err(error) => answer::failure(format!("failed to take a CPU profile: {error}\n")),
    }
}

async fn verbosity(request: Request<Incoming>) -> Answer {
    let body = http_body_util::Limited::new(request.into_body(), LONGEST_BODY).collect().await;
    let text =
        body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    match text.parse::<u8>() {
        Ok(level) if set_verbosity(level) => answer::body(
            "text/plain; charset=utf-8",
            format!("successfully set klog.logging.verbosity to {level}\n"),
        ),
        Ok(_) => answer::failure("the verbosity cannot be set\n".to_owned()),
        Err(_) => answer::text(StatusCode::BAD_REQUEST, "the body is not a number from 0 to 255\n"),
    }
}
