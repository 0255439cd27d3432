//! The port of a process that is not a proxy: whether it is there, and what it counts.

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use telemetry::{Metrics, TEXT_FORMAT};

use crate::answer;
use crate::server::{Error, Port, bound, serve};

/// Serves `/healthz`, `/livez`, `/readyz` and `/metrics`, for ever or until the port cannot be had.
pub async fn serve_component(port: Port, metrics: Metrics) -> Result<(), Error> {
    let answer = move |request: Request<Incoming>| {
        std::future::ready(match request.uri().path() {
            "/healthz" | "/livez" | "/readyz" => answer::text(StatusCode::OK, "ok"),
            "/metrics" => answer::body(TEXT_FORMAT, metrics.text()),
            _ => answer::not_found(),
        })
    };
    serve(bound("metrics", &port).await?, answer).await;
    Ok(())
}
