//! What is not about objects: discovery, health, version, metrics.

use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::Response;
use serde_json::json;

use super::accept::not_acceptable;
use super::answer::{self, Chunks, respond};
use super::handle::Handling;
use super::route::Route;
use crate::discovery;
use crate::openapi;
use crate::status::Status;

/// The type of metrics, as kube-apiserver names it.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
/// The checks of health that can be asked for by name.
const CHECKS: [&str; 2] = ["ping", "store"];

/// Answers what such a route has.
pub(crate) fn answer(handling: &Handling<'_>, route: &Route) -> Result<Response<Chunks>, Status> {
    // Kubernetes' own health answers whatever the method is.
    if let Route::Health { endpoint, check } = route {
        return Ok(health(handling, endpoint, check));
    }
    if let Route::Compact = route {
        return compact(handling);
    }
    // Nor does it look at the method of a request for groups.
    let is_read = handling.method == Method::GET
        || matches!(route, Route::Groups)
        || handling.method == Method::HEAD && *route == Route::Metrics;
    if !is_read {
        return Err(Status::method_not_allowed());
    }
    let accept = handling.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let form = discovery::Form::wanted(accept);
    let is_aggregated = form == Some(discovery::Form::Aggregated);
    if form.is_none() && matches!(route, Route::CoreVersions | Route::Groups) {
        return Err(not_acceptable());
    }
    let document = match route {
        Route::Version => version(),
        Route::CoreVersions if is_aggregated => return Ok(aggregated(true)),
        Route::CoreVersions => discovery::core_versions(&handling.server.address),
        Route::Groups if is_aggregated => return Ok(aggregated(false)),
        Route::Groups => discovery::groups(),
        Route::Group(name) => discovery::group(name).ok_or_else(Status::no_such_path)?,
        Route::Resources(group, version) => {
            discovery::resources(group, version).ok_or_else(Status::no_such_path)?
        }
        Route::Metrics => return Ok(respond(200, METRICS, Chunks::of(handling.server.metrics.text()))),
        Route::Index => index(),
        Route::OpenApiV2 if accept.contains("proto-openapi.spec.v2") => {
            return Ok(respond(200, openapi::V2_PROTOBUF_ANSWER, Chunks::of(openapi::v2_protobuf())));
        }
        Route::OpenApiV2 => return Ok(respond(200, "application/json", Chunks::of(openapi::v2()))),
        Route::OpenApiV3(path) if path.is_empty() => openapi::v3_index(),
        Route::OpenApiV3(path) => {
            let document = openapi::v3(path).ok_or_else(Status::no_such_path)?;
            return Ok(respond(200, "application/json", Chunks::of(document)));
        }
        Route::Compact | Route::Health { .. } | Route::Review(_) | Route::Resource(_) | Route::Nowhere => {
            return Err(Status::no_such_path());
        }
    };
    Ok(handling.writer.value(200, &document))
}

/// Forgets the history up to a revision, as etcd does when it is told to.
fn compact(handling: &Handling<'_>) -> Result<Response<Chunks>, Status> {
    if handling.method != Method::POST {
        return Err(Status::method_not_allowed());
    }
    let revision = handling.query.get("revision").and_then(|revision| revision.parse().ok());
    let revision = revision.ok_or_else(|| Status::bad_request("revision: a number is wanted"))?;
    handling.server.rest.store.compact(revision);
    Ok(answer::text(200, "ok"))
}

fn aggregated(is_core: bool) -> Response<Chunks> {
    let mut bytes = discovery::aggregated(is_core).to_string();
    bytes.push('\n');
    let mut response = respond(200, "application/json", Chunks::of(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(discovery::AGGREGATED));
    response
}

fn version() -> serde_json::Value {
    json!({"major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1",
           "minCompatibilityMinor": "35", "gitVersion": concat!("v1.36.2+signalbox.", env!("CARGO_PKG_VERSION")),
           "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "",
           "compiler": "rustc", "platform": format!("linux/{}", architecture())})
}

/// The machine in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn index() -> serde_json::Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for group in discovery::groups()["groups"].as_array().into_iter().flatten() {
        let name = group["name"].as_str().unwrap_or_default();
        paths.push(format!("/apis/{name}"));
        paths.push(format!("/apis/{name}/v1"));
    }
    let own = ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];
    paths.extend(own.map(str::to_owned));
    json!({"paths": paths})
}

/// A server is healthy if its store takes writes; all its endpoints say the same.
fn health(handling: &Handling<'_>, endpoint: &str, check: &str) -> Response<Chunks> {
    if !check.is_empty() && !CHECKS.contains(&check) {
        return answer::text(404, "404 page not found\n");
    }
    let is_well = |check: &str| check != "store" || handling.server.rest.store.is_writable();
    let asked: Vec<&str> = CHECKS.into_iter().filter(|known| check.is_empty() || *known == check).collect();
    let is_ok = asked.iter().all(|check| is_well(check));
    if is_ok && handling.query.get("verbose").is_none() {
        return answer::text(200, "ok");
    }
    let line = |check: &&str| match is_well(check) {
        true => format!("[+]{check} ok\n"),
        false => format!("[-]{check} failed: the last write did not reach the disk\n"),
    };
    let lines: String = asked.iter().map(line).collect();
    let (code, verdict) = if is_ok { (200, "passed") } else { (500, "failed") };
    answer::text(code, format!("{lines}{endpoint} check {verdict}\n"))
}
