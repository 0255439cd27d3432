//! The answers, byte for byte as far as others read them.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::snapshot::{HealthPort, Snapshot};
use crate::time::rfc3339;

pub(crate) type Answer = Response<Full<Bytes>>;

/// `/healthz`: may a load balancer send traffic to this node? `/livez` leaves the node's own fate out.
pub(crate) fn health(snapshot: &Snapshot, (now, wall): (Instant, SystemTime), with_node: bool) -> Answer {
    let kernel = snapshot.is_healthy(now);
    let healthy = kernel && (!with_node || snapshot.is_node_eligible);
    let updated =
        |healthy: bool, last: Option<SystemTime>| rfc3339(if healthy { wall } else { last.unwrap_or(wall) });
    let mut status = serde_json::Map::new();
    for (family, state) in &snapshot.families {
        let healthy = state.is_healthy(now, snapshot.patience);
        let last = updated(healthy, state.last_synced);
        status.insert(family.to_string(), json!({"lastUpdated": last, "healthy": healthy}));
    }
    let oldest = snapshot.families.values().filter_map(|state| state.last_synced).min();
    let mut body = json!({"lastUpdated": updated(kernel, oldest), "currentTime": rfc3339(wall), "healthy": healthy, "status": status});
    if with_node {
        body["nodeEligible"] = snapshot.is_node_eligible.into();
    }
    json_answer(code(healthy), &body)
}

/// A health-check node port: has the Service ready endpoints here?
pub(crate) fn port(port: &HealthPort, is_proxy_healthy: bool) -> Answer {
    let service = json!({"namespace": port.service.namespace(), "name": port.service.name()});
    let body = json!({"service": service, "localEndpoints": port.local_endpoints, "serviceProxyHealthy": is_proxy_healthy});
    let mut answer = json_answer(code(port.local_endpoints > 0 && is_proxy_healthy), &body);
    let weight = HeaderName::from_static("x-load-balancing-endpoint-weight");
    answer.headers_mut().insert(weight, HeaderValue::from(port.local_endpoints));
    answer
}

/// A plain text.
pub(crate) fn text(code: StatusCode, text: &'static str) -> Answer {
    let mut answer = body("text/plain; charset=utf-8", text);
    *answer.status_mut() = code;
    answer
}

/// Something of this media type.
pub(crate) fn body(media_type: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(bytes.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    no_sniffing(answer)
}

pub(crate) fn json(value: &Value) -> Answer {
    json_answer(StatusCode::OK, value)
}

/// Something that is our own fault.
pub(crate) fn failure(text: String) -> Answer {
    let mut answer = body("text/plain; charset=utf-8", text);
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    answer
}

pub(crate) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn code(healthy: bool) -> StatusCode {
    if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn json_answer(code: StatusCode, body: &Value) -> Answer {
    let mut answer = self::body("application/json", body.to_string());
    *answer.status_mut() = code;
    answer
}

fn no_sniffing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}
