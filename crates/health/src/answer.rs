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

/// What Go writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// `/healthz`: may a load balancer send traffic to this node? `/livez` leaves the node's own fate out.
///
/// A family stands in it once it was brought in step or fails to be; its time is that of its last sync. The time of the
/// whole is now while it is healthy.
pub(crate) fn health(snapshot: &Snapshot, (now, wall): (Instant, SystemTime), with_node: bool) -> Answer {
    let kernel = snapshot.is_healthy(now);
    let healthy = kernel && (!with_node || snapshot.is_node_eligible);
    let time = |time: Option<SystemTime>| time.map_or_else(|| NEVER.to_owned(), rfc3339);
    let mut status = serde_json::Map::new();
    for (family, state) in &snapshot.families {
        let healthy = state.is_healthy(now, snapshot.patience);
        if state.last_synced.is_some() || !healthy {
            let last = time(state.last_synced);
            status.insert(family.to_string(), json!({"lastUpdated": last, "healthy": healthy}));
        }
    }
    let latest = snapshot.families.values().filter_map(|state| state.last_synced).max();
    let updated = if kernel { Some(wall) } else { latest };
    let mut body = json!({"lastUpdated": time(updated), "currentTime": rfc3339(wall), "healthy": healthy});
    if !status.is_empty() {
        body["status"] = status.into();
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::FamilyHealth;
    use http_body_util::BodyExt;
    use model::Family;
    use std::time::{Duration, UNIX_EPOCH};

    fn body(answer: Answer) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let bytes = runtime.block_on(answer.into_body().collect()).expect("a body in memory").to_bytes();
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[test]
    fn the_body_is_kube_proxys() {
        let now = Instant::now() + Duration::from_secs(1000);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut snapshot = Snapshot { is_node_eligible: true, ..Snapshot::default() };
        let before = health(&snapshot, (now, at(100)), true);
        assert_eq!(before.status(), StatusCode::OK, "before anything was written");
        let wanted = json!({"lastUpdated": "1970-01-01T00:01:40Z", "currentTime": "1970-01-01T00:01:40Z", "healthy": true, "nodeEligible": true});
        assert_eq!(body(before), wanted);
        let synced = |seconds| FamilyHealth { waiting_since: None, last_synced: Some(at(seconds)) };
        snapshot.families.insert(Family::V4, synced(10));
        snapshot.families.insert(
            Family::V6,
            FamilyHealth { waiting_since: now.checked_sub(Duration::from_secs(61)), ..synced(20) },
        );
        let ill = health(&snapshot, (now, at(100)), false);
        assert_eq!(ill.status(), StatusCode::SERVICE_UNAVAILABLE);
        let families = json!({"IPv4": {"lastUpdated": "1970-01-01T00:00:10Z", "healthy": true},
                              "IPv6": {"lastUpdated": "1970-01-01T00:00:20Z", "healthy": false}});
        let wanted = json!({"lastUpdated": "1970-01-01T00:00:20Z", "currentTime": "1970-01-01T00:01:40Z", "healthy": false, "status": families});
        assert_eq!(body(ill), wanted);
    }
}
