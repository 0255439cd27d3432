//! The file of ours: what a Corefile means, in YAML or JSON, with names for everything.
//!
//! What is left out is as usual, which is what the same word of a Corefile means when it stands alone.

mod fields;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use fields::{Fields, Noted};

use super::corefile::{LONGEST_FAILURE, PREFETCH, STALE};
use crate::wire::Name;

use super::domain;
use super::words::{self, TTLS};
use super::{
    Api, Cache, Completion, Fallthrough, Forward, Health, Hosts, Kubernetes, Mistakes, Prefetch, Remark,
    Rewrite, SearchPath, Server, Settings, Share, Stale, check,
};

/// What the file says it is.
const API_VERSION: &str = "signalbox.dev/v1alpha1";
/// What the file says it is.
const KIND: &str = "DNSConfiguration";

const TOP: &[&str] = &["apiVersion", "kind", "health", "ready", "metrics", "reload", "cookies", "servers"];
const SERVER: &[&str] = &[
    "zones",
    "port",
    "addresses",
    "log",
    "errors",
    "loop",
    "shuffle",
    "count",
    "rewrite",
    "hosts",
    "kubernetes",
    "cache",
    "forward",
];
const KUBERNETES: &[&str] = &[
    "zones",
    "kubeconfig",
    "endpoint",
    "pods",
    "ttl",
    "namespaces",
    "endpointPodNames",
    "ignoreEmptyServices",
    "fallthrough",
    "labels",
    "endpoints",
    "startupTimeout",
    "searches",
    "tls",
];
const TLS: &[&str] = &["certificate", "key", "authority", "serverName"];
const FORWARD: &[&str] = &[
    "from",
    "to",
    "except",
    "policy",
    "maxFails",
    "maxConcurrent",
    "healthCheck",
    "expire",
    "forceTCP",
    "preferUDP",
    "tls",
    "randomCase",
];
const CACHE: &[&str] =
    &["zones", "success", "denial", "failure", "bytes", "prefetch", "stale", "disable", "keepTTL"];

/// Reads a text in YAML or JSON.
pub(super) fn value(text: &str) -> Result<Value, Mistakes> {
    serde_saphyr::from_str(text).map_err(|error| Mistakes(vec![Remark::new("", error.to_string())]))
}

/// Reads what stands in it.
pub(super) fn parse(value: &Value) -> Result<Settings, Mistakes> {
    let noted = Noted::default();
    let settings = Fields::of(value, String::new(), TOP, &noted).map(|fields| settings(&fields));
    let mut mistakes = noted.into_inner();
    let settings = settings.unwrap_or_default();
    // A server that was not read has been complained about, and would shift the numbers of the others.
    if mistakes.is_empty() {
        let place =
            |at: Option<usize>| at.map_or_else(|| "servers".to_owned(), |at| format!("servers[{at}]"));
        mistakes.extend(
            check::mistakes(&settings).into_iter().map(|(at, reason)| Remark::new(place(at), reason)),
        );
    }
    if mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(mistakes)) }
}

fn settings(fields: &Fields<'_>) -> Settings {
    for (name, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        if fields.text(name) != Some(wanted) {
            fields.wrong(name, format!("must be `{wanted}`"));
        }
    }
    let health = fields.object("health", &["address", "lameduck"]);
    Settings {
        health: health.map(|fields| Health {
            address: fields.read("address", words::listen).unwrap_or_else(|| any(8080)),
            lameduck: fields.read("lameduck", words::time).unwrap_or_default(),
        }),
        ready: fields.read("ready", words::listen),
        metrics: fields.list("metrics", words::listen),
        reload: fields.read("reload", words::time).filter(|interval| !interval.is_zero()),
        has_cookies: fields.flag("cookies", true),
        servers: fields.objects("servers", SERVER).iter().map(server).collect(),
    }
}

fn any(port: u16) -> SocketAddr {
    (std::net::Ipv6Addr::UNSPECIFIED, port).into()
}

fn zones_or(fields: &Fields<'_>, name: &str, usual: &[Name]) -> Vec<Name> {
    if fields.has(name) {
        fields.list(name, domain::zones).into_iter().flatten().collect()
    } else {
        usual.to_vec()
    }
}

fn server(fields: &Fields<'_>) -> Server {
    let zones = zones_or(fields, "zones", &[Name::root()]);
    let cluster = fields.object("kubernetes", KUBERNETES);
    Server {
        port: fields.number("port", 1..=65535).map_or(words::DNS_PORT, |port| port as u16),
        addresses: fields.list("addresses", address),
        rewrites: fields
            .objects("rewrite", &["exact", "suffix", "to", "answers", "continue"])
            .iter()
            .filter_map(rewrite)
            .collect(),
        hosts: fields
            .object("hosts", &["zones", "file", "reload", "entries", "ttl", "reverse", "fallthrough"])
            .map(|fields| hosts(&fields, &zones)),
        kubernetes: cluster.as_ref().map(|fields| kubernetes(fields, &zones)),
        completes: cluster.as_ref().and_then(|fields| completion(fields, &zones)),
        cache: fields.object("cache", CACHE).map(|fields| cache(&fields, &zones)),
        forwards: fields.objects("forward", FORWARD).iter().map(forward).collect(),
        logs_queries: fields.flag("log", false),
        logs_errors: fields.flag("errors", true),
        finds_loops: fields.flag("loop", true),
        shuffles: fields.flag("shuffle", true),
        is_counted: fields.flag("count", true),
        zones,
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an IP address"))
}

fn rewrite(fields: &Fields<'_>) -> Option<Rewrite> {
    let (kind, from) = match (fields.text("exact"), fields.text("suffix")) {
        (Some(from), None) => ("exact", from),
        (None, Some(from)) => ("suffix", from),
        _ => {
            fields.wrong("", "needs either `exact` or `suffix`");
            return None;
        }
    };
    if !fields.has("to") {
        fields.wrong("to", "is missing");
    }
    let rule = fields.read("to", |to| words::rewrite(kind, from, to))?;
    Some(Rewrite { rule, answers: fields.flag("answers", false), continues: fields.flag("continue", false) })
}

/// `fallthrough: true`, or the zones.
fn fallthrough(fields: &Fields<'_>) -> Fallthrough {
    if !fields.has("fallthrough") {
        return Fallthrough::Never;
    }
    words::fallthrough(zones_or(fields, "fallthrough", &[]))
}

fn hosts(fields: &Fields<'_>, zones: &[Name]) -> Hosts {
    let usual = Hosts::default();
    let entry = |fields: &Fields<'_>| {
        if !fields.has("address") {
            fields.wrong("address", "is missing");
        }
        Some((fields.read("address", address)?, fields.list("names", domain::name)))
    };
    Hosts {
        zones: zones_or(fields, "zones", zones),
        file: fields.text("file").map(PathBuf::from),
        reload: fields.read("reload", words::time).unwrap_or(usual.reload),
        entries: fields.objects("entries", &["address", "names"]).iter().filter_map(entry).collect(),
        ttl: fields.number("ttl", 1..=65535).unwrap_or(usual.ttl),
        has_reverse: fields.flag("reverse", true),
        fallthrough: fallthrough(fields),
    }
}

fn kubernetes(fields: &Fields<'_>, zones: &[Name]) -> Kubernetes {
    let usual = Kubernetes::new(zones_or(fields, "zones", zones));
    Kubernetes {
        api: api(fields),
        pods: fields.read("pods", words::pod_mode).unwrap_or_default(),
        ttl: fields.number("ttl", TTLS).unwrap_or(usual.ttl),
        namespaces: fields.list("namespaces", |text| Ok(text.to_owned())),
        endpoint_pod_names: fields.flag("endpointPodNames", false),
        ignores_empty_services: fields.flag("ignoreEmptyServices", false),
        fallthrough: fallthrough(fields),
        labels: fields.text("labels").unwrap_or_default().to_owned(),
        has_endpoints: fields.flag("endpoints", true),
        patience: fields.read("startupTimeout", words::time).unwrap_or(usual.patience),
        ..usual
    }
}

/// `searches` of `kubernetes`: `pods`, `any`, or a file.
fn completion(fields: &Fields<'_>, zones: &[Name]) -> Option<Completion> {
    let by = match fields.text("searches")? {
        "pods" => SearchPath::OfPods,
        "any" => SearchPath::Any,
        file => SearchPath::File(PathBuf::from(file)),
    };
    Some(Completion { zones: zones.to_vec(), by })
}

fn api(fields: &Fields<'_>) -> Option<Api> {
    let kubeconfig = fields.text("kubeconfig").map(PathBuf::from);
    let endpoint = fields.text("endpoint").map(str::to_owned);
    if kubeconfig.is_some() && endpoint.is_some() {
        fields.wrong("endpoint", "the API server is given by `kubeconfig` already");
    }
    let tls = fields.object("tls", &["certificate", "key", "authority"]);
    let tls = tls.and_then(|tls| {
        let files = ["certificate", "key", "authority"].map(|name| tls.text(name).map(PathBuf::from));
        let [Some(certificate), Some(key), Some(authority)] = files else {
            fields.wrong("tls", "needs `certificate`, `key` and `authority`");
            return None;
        };
        Some([certificate, key, authority])
    });
    kubeconfig.map(Api::Kubeconfig).or(endpoint.map(|url| Api::Endpoint { url, tls }))
}

fn forward(fields: &Fields<'_>) -> Forward {
    let usual = Forward::new(fields.read("from", domain::name).unwrap_or_else(Name::root));
    let mut health_check = usual.health_check;
    if let Some(fields) = fields.object("healthCheck", &["interval", "domain", "recursionDesired"]) {
        health_check.interval = fields.read("interval", words::time).unwrap_or(health_check.interval);
        health_check.domain = fields.read("domain", domain::name).unwrap_or(health_check.domain);
        health_check.recursion_desired = fields.flag("recursionDesired", true);
    }
    let tls = fields.object("tls", TLS);
    let path = |name: &str| tls.as_ref().and_then(|tls| tls.text(name)).map(PathBuf::from);
    let tls_identity = match (path("certificate"), path("key")) {
        (Some(certificate), Some(key)) => Some([certificate, key]),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            fields.wrong("tls", "`certificate` and `key` stand together");
            None
        }
    };
    Forward {
        except: zones_or(fields, "except", &[]),
        to: fields.list("to", words::upstream),
        policy: fields.read("policy", words::policy).unwrap_or_default(),
        max_fails: fields.number("maxFails", 0..=u32::MAX).unwrap_or(usual.max_fails),
        max_concurrent: fields
            .number("maxConcurrent", 1..=u32::MAX)
            .map_or(usual.max_concurrent, |most| most as usize),
        health_check,
        expire: fields.read("expire", words::time).unwrap_or(usual.expire),
        force_tcp: fields.flag("forceTCP", false),
        prefer_udp: fields.flag("preferUDP", false),
        tls_server_name: tls.as_ref().and_then(|tls| tls.text("serverName")).map(str::to_owned),
        tls_authority: path("authority"),
        tls_identity,
        random_case: fields.flag("randomCase", false),
        from: usual.from,
    }
}

fn cache(fields: &Fields<'_>, zones: &[Name]) -> Cache {
    let usual = Cache::default();
    let zones = zones_or(fields, "zones", zones);
    let disable = fields.object("disable", &["success", "denial"]);
    let disabled =
        |name: &str| disable.as_ref().map(|fields| zones_or(fields, name, &[])).unwrap_or_default();
    let failure = fields.read("failure", |text| {
        let time = words::time(text)?;
        if time <= LONGEST_FAILURE { Ok(time) } else { Err(format!("`{text}` is longer than 5m")) }
    });
    Cache {
        success: share(fields, "success", usual.success),
        denial: share(fields, "denial", usual.denial),
        failure: failure.unwrap_or(usual.failure),
        bytes: fields.number("bytes", 0..=u32::MAX).map_or(usual.bytes, |bytes| bytes as usize),
        prefetch: prefetch(fields),
        stale: stale(fields),
        not_success: disabled("success"),
        not_denial: disabled("denial"),
        keeps_ttl: fields.flag("keepTTL", false),
        zones,
    }
}

fn share(fields: &Fields<'_>, name: &str, usual: Share) -> Share {
    let Some(fields) = fields.object(name, &["entries", "longest", "shortest"]) else { return usual };
    Share {
        entries: fields.number("entries", 0..=u32::MAX).map_or(usual.entries, |entries| entries as usize),
        longest: fields.number("longest", 1..=u32::MAX).unwrap_or(usual.longest),
        shortest: fields.number("shortest", 0..=u32::MAX).unwrap_or(usual.shortest),
    }
}

fn prefetch(fields: &Fields<'_>) -> Option<Prefetch> {
    let fields = fields.object("prefetch", &["amount", "within", "percentage"])?;
    let prefetch = Prefetch {
        amount: fields.number("amount", 0..=u32::MAX).unwrap_or(PREFETCH.amount),
        within: fields.read("within", words::time).unwrap_or(PREFETCH.within),
        percentage: fields.number("percentage", 10..=90).unwrap_or(PREFETCH.percentage),
    };
    Some(prefetch).filter(|prefetch| prefetch.amount > 0)
}

fn stale(fields: &Fields<'_>) -> Option<Stale> {
    let fields = fields.object("stale", &["age", "verify"])?;
    let age: Duration = fields.read("age", words::time).unwrap_or(STALE.age);
    Some(Stale { age, verifies: fields.flag("verify", STALE.verifies) })
}

#[cfg(test)]
mod tests;
