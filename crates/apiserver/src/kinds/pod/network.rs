//! What a Pod may say about names and the network.

use serde_json::Value;

use super::read::{self, list, number, text, wrongs};
use crate::mistake::{Mistake, Path};
use crate::names;

const MOST_NAMESERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const MOST_SEARCH_CHARACTERS: usize = 2048;

/// In the node's network a port of a container is that port of the node.
pub(super) fn host(spec: &Value, path: &Path) -> Vec<Mistake> {
    if spec["hostNetwork"] != true {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, container) in read::places(spec, "containers", path) {
        for (at, port) in read::places(container, "ports", &at) {
            let (of_container, of_node) = (number(port, "containerPort"), number(port, "hostPort"));
            // Templates need not say it: it is filled in for the Pod.
            if of_node != 0 && of_node != of_container {
                let why = "must match `hostPort` when `hostNetwork` is true";
                found.push(Mistake::invalid(&at.child("containerPort"), of_container, why));
            }
        }
    }
    found
}

/// Judges how names are resolved, and the gates of readiness.
pub(super) fn dns(spec: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = dns_config(spec, &path.child("dnsConfig"));
    for (at, gate) in read::places(spec, "readinessGates", path) {
        let condition = text(gate, "conditionType");
        found.extend(wrongs(&at.child("conditionType"), condition, names::qualified_name(condition)));
    }
    found
}

fn dns_config(spec: &Value, path: &Path) -> Vec<Mistake> {
    let (config, is_none) = (&spec["dnsConfig"], text(spec, "dnsPolicy") == "None");
    let (nameservers, searches) = (list(config, "nameservers"), list(config, "searches"));
    if is_none && !config.is_object() {
        return vec![Mistake::required(path, "must provide `dnsConfig` when `dnsPolicy` is None")];
    }
    if is_none && nameservers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        return vec![Mistake::required(&path.child("nameservers"), why)];
    }
    let mut found = Vec::new();
    if nameservers.len() > MOST_NAMESERVERS {
        let why = format!("must not have more than {MOST_NAMESERVERS} nameservers");
        found.push(Mistake::invalid(&path.child("nameservers"), nameservers, why));
    }
    for (at, server) in read::places(config, "nameservers", path) {
        found.extend(read::not_an_ip(&at, server.as_str().unwrap_or_default()));
    }
    if searches.len() > MOST_SEARCHES {
        let why = format!("must not have more than {MOST_SEARCHES} search paths");
        found.push(Mistake::invalid(&path.child("searches"), searches, why));
    }
    let words: usize = searches.iter().map(|search| search.as_str().map_or(0, str::len)).sum();
    if words + searches.len().saturating_sub(1) > MOST_SEARCH_CHARACTERS {
        let why = format!(
            "must not have more than {MOST_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        );
        found.push(Mistake::invalid(&path.child("searches"), searches, why));
    }
    for (at, search) in read::places(config, "searches", path) {
        let search = search.as_str().unwrap_or_default();
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            found.extend(wrongs(&at, search, search_domain(search)));
        }
    }
    for (at, option) in read::places(config, "options", path) {
        let is_empty = text(option, "name").is_empty();
        found.extend(is_empty.then(|| Mistake::required(&at, "must not be empty")));
    }
    found
}

/// A subdomain in which underscores are letters.
fn search_domain(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 253 {
        wrong.push("must be no more than 253 characters".to_owned());
    }
    let is_right = text.split('.').all(|label| {
        let is_inside =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let label = label.strip_prefix('_').unwrap_or(label);
        !label.is_empty()
            && !label.starts_with(['-', '_'])
            && !label.ends_with(['-', '_'])
            && label.bytes().all(is_inside)
    });
    if !is_right {
        wrong.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    wrong
}

/// Judges names of other machines.
pub(super) fn aliases(spec: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (at, alias) in read::places(spec, "hostAliases", path) {
        found.extend(read::not_an_ip(&at.child("ip"), text(alias, "ip")));
        for (at, name) in read::places(alias, "hostnames", &at) {
            let name = name.as_str().unwrap_or_default();
            found.extend(wrongs(&at, name, names::dns_subdomain(name)));
        }
    }
    found
}
