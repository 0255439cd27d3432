//! What a container may say about how it is asked for its health, and what is done when it begins and ends.

use serde_json::Value;

use super::read::{self, list, negative, number, text};
use crate::mistake::{Mistake, Path};
use crate::names;

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// Judges the handlers and the probes of a container.
pub(super) fn all(container: &Value, path: &Path) -> Vec<Mistake> {
    let (lifecycle, mut found) = (&container["lifecycle"], Vec::new());
    for of in ["postStart", "preStop"] {
        if lifecycle[of].is_object() {
            found.extend(handler(&lifecycle[of], &path.child("lifecycle").child(of)));
        }
    }
    for of in PROBES {
        let (one, at) = (&container[of], path.child(of));
        if !one.is_object() {
            continue;
        }
        found.extend(probe(one, &at));
        if of == "readinessProbe" {
            let seconds = &one["terminationGracePeriodSeconds"];
            let why = "must not be set for readinessProbes";
            found.extend(
                seconds.is_number().then(|| {
                    Mistake::invalid(&at.child("terminationGracePeriodSeconds"), seconds.clone(), why)
                }),
            );
        } else if number(one, "successThreshold") != 1 {
            let threshold = number(one, "successThreshold");
            found.push(Mistake::invalid(&at.child("successThreshold"), threshold, "must be 1"));
        }
    }
    found
}

/// What runs before the others has no health that anybody asks for.
pub(super) fn none(container: &Value, path: &Path) -> Vec<Mistake> {
    let fields = ["lifecycle"].into_iter().chain(PROBES).filter(|field| container[field].is_object());
    let why = "may not be set for init containers without restartPolicy=Always";
    fields.map(|field| Mistake::forbidden(&path.child(field), why)).collect()
}

fn probe(probe: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = handler(probe, path);
    let fields =
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    found.extend(fields.into_iter().filter_map(|field| negative(probe, field, path)));
    if let Some(seconds) = probe["terminationGracePeriodSeconds"].as_i64().filter(|seconds| *seconds <= 0) {
        let at = path.child("terminationGracePeriodSeconds");
        found.push(Mistake::invalid(&at, seconds, "must be greater than 0"));
    }
    found
}

fn handler(handler: &Value, path: &Path) -> Vec<Mistake> {
    let (mut found, mut handlers) = (Vec::new(), 0);
    for kind in HANDLERS {
        let (one, at) = (&handler[kind], path.child(kind));
        if !one.is_object() {
            continue;
        }
        handlers += 1;
        if handlers > 1 {
            found.push(Mistake::forbidden(&at, "may not specify more than 1 handler type"));
            continue;
        }
        match kind {
            "exec" if list(one, "command").is_empty() => {
                found.push(Mistake::required(&at.child("command"), ""));
            }
            "httpGet" => found.extend(http(one, &at)),
            "tcpSocket" => found.extend(port(&one["port"], &at.child("port"))),
            "grpc" => found.extend(port(&number(one, "port").into(), &at.child("port"))),
            _ => {}
        }
    }
    if handlers == 0 {
        found.push(Mistake::required(path, "must specify a handler type"));
    }
    found
}

fn http(http: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    if text(http, "path").is_empty() {
        found.push(Mistake::required(&path.child("path"), ""));
    }
    found.extend(port(&http["port"], &path.child("port")));
    let scheme = text(http, "scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        found.push(Mistake::not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]));
    }
    for header in list(http, "httpHeaders") {
        let name = text(header, "name");
        let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_inside) {
            let why = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used \
                       for validation is '[-A-Za-z0-9]+')";
            found.push(Mistake::invalid(&path.child("httpHeaders"), name, why));
        }
    }
    found
}

/// A port by its number or its name.
fn port(port: &Value, path: &Path) -> Vec<Mistake> {
    let number = port.as_i64().unwrap_or(0);
    match port.as_str() {
        Some(name) => read::wrongs(path, name, names::port_name(name)),
        None => {
            names::port_number(number).into_iter().map(|why| Mistake::invalid(path, number, why)).collect()
        }
    }
}
