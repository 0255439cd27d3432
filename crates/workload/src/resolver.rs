//! The file by which the programs of a pod find names.

use std::net::IpAddr;

use serde_json::Value;

use crate::pod::{Pod, list};

/// Where names are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolvers<'a> {
    /// The cluster's; none: there are none.
    pub cluster: &'a [IpAddr],
    /// The cluster's domain.
    pub domain: &'a str,
    /// The node's own file.
    pub node: &'a str,
}

/// Answers the text of a pod's `resolv.conf`.
pub(crate) fn resolv_conf(pod: &Pod, resolvers: Resolvers<'_>) -> String {
    let spec = &pod.object["spec"];
    let policy = spec["dnsPolicy"].as_str().unwrap_or("ClusterFirst");
    let uses_cluster = match policy {
        "ClusterFirst" => !pod.host_network,
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let (mut servers, mut search, mut options) =
        if policy == "None" { (Vec::new(), Vec::new(), Vec::new()) } else { read(resolvers.node) };
    if uses_cluster && !resolvers.cluster.is_empty() {
        servers = resolvers.cluster.iter().map(ToString::to_string).collect();
        let domain = resolvers.domain;
        let own = [format!("{}.svc.{domain}", pod.namespace), format!("svc.{domain}"), domain.to_owned()];
        search = own.into_iter().chain(search).collect();
        options = vec!["ndots:5".to_owned()];
    }
    let config = &spec["dnsConfig"];
    let texts =
        |field: &str| list(&config[field]).filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    add(&mut servers, texts("nameservers"));
    add(&mut search, texts("searches"));
    for option in list(&config["options"]) {
        let name = option["name"].as_str().unwrap_or_default();
        options.retain(|known| known.split(':').next() != Some(name));
        options.push(match option["value"].as_str() {
            Some(value) if !value.is_empty() => format!("{name}:{value}"),
            Some(_) | None => name.to_owned(),
        });
    }
    let mut out = String::new();
    servers.iter().for_each(|server| out.push_str(&format!("nameserver {server}\n")));
    if !search.is_empty() {
        out.push_str(&format!("search {}\n", search.join(" ")));
    }
    if !options.is_empty() {
        out.push_str(&format!("options {}\n", options.join(" ")));
    }
    out
}

/// Answers the text of a pod's `hosts`.
pub(crate) fn hosts(pod: &Pod, hostname: &str, addresses: &[IpAddr]) -> String {
    let mut out = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    addresses.iter().for_each(|address| out.push_str(&format!("{address}\t{hostname}\n")));
    for alias in list(&pod.object["spec"]["hostAliases"]) {
        let names: Vec<&str> = list(&alias["hostnames"]).filter_map(Value::as_str).collect();
        out.push_str(&format!("{}\t{}\n", alias["ip"].as_str().unwrap_or_default(), names.join("\t")));
    }
    out
}

fn add(to: &mut Vec<String>, more: Vec<String>) {
    for one in more {
        if !to.contains(&one) {
            to.push(one);
        }
    }
}

/// Servers, domains to search in and options of a file.
fn read(text: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
    let (mut servers, mut search, mut options) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => servers.extend(words.next()),
            // The last such line counts.
            Some("search" | "domain") => search = words.filter(|word| word != ".").collect(),
            Some("options") => options.extend(words),
            Some(_) | None => {}
        }
    }
    (servers, search, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NODE: &str = "# mine\nnameserver 192.0.2.53\nsearch example.com\noptions edns0\n";

    #[allow(clippy::needless_pass_by_value, reason = "a table")]
    fn check(spec: Value, cluster: bool, expected: &str) {
        let object =
            json!({"metadata": {"name": "a", "namespace": "shop", "uid": "u"}, "spec": spec.clone()});
        let pod = Pod::read(object, &crate::images::Images::default()).unwrap();
        let cluster: &[IpAddr] =
            if cluster { &[IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 10))] } else { &[] };
        let text = resolv_conf(&pod, Resolvers { cluster, domain: "cluster.local", node: NODE });
        assert_eq!(text, expected, "{spec}");
    }

    #[test]
    fn policies() {
        let in_cluster = "nameserver 10.96.0.10\n\
            search shop.svc.cluster.local svc.cluster.local cluster.local example.com\noptions ndots:5\n";
        let as_node = "nameserver 192.0.2.53\nsearch example.com\noptions edns0\n";
        check(json!({}), true, in_cluster);
        check(json!({}), false, as_node);
        check(json!({"hostNetwork": true}), true, as_node);
        check(json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}), true, in_cluster);
        check(json!({"dnsPolicy": "Default"}), true, as_node);
        check(
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x", "x"],
                "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
            true,
            "nameserver 1.1.1.1\nsearch x\noptions ndots:2 edns0\n",
        );
    }
}
