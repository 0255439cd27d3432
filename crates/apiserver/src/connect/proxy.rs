//! What `pods/NAME/proxy` and `services/NAME/proxy` lead to: always a Pod, never an address that somebody only wrote down.

use serde_json::Value;

use super::{Asked, Connect, Passes, Security, Target, address_not_allowed, escaped_path, is_proxyable};
use crate::address::lenient;
use crate::body::quoted;
use crate::status::Status;

/// `pods/NAME/proxy`.
pub(crate) const POD_PROXY: Connect =
    Connect { find: |asked| of_pod(asked).map(Some), passes: Passes::Requests };
/// `services/NAME/proxy`.
pub(crate) const SERVICE_PROXY: Connect =
    Connect { find: |asked| of_service(asked).map(Some), passes: Passes::Requests };

/// `[scheme:]name[:port]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named<'a> {
    scheme: &'a str,
    pub(super) name: &'a str,
    pub(super) port: &'a str,
}

impl<'a> Named<'a> {
    pub(super) fn parse(what: &str, text: &'a str) -> Result<Self, Status> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => ("", "", ""),
        };
        if name.is_empty() || !["", "http", "https"].contains(&scheme) {
            return Err(Status::bad_request(format!("invalid {what} request {}", quoted(text))));
        }
        Ok(Self { scheme, name, port })
    }

    pub(super) fn security(&self) -> Security {
        if self.scheme == "https" { Security::Anybody } else { Security::None }
    }
}

/// Answers the path that is asked for behind the proxy.
pub(super) fn path(asked: &Asked<'_>) -> String {
    if asked.path.is_empty() { String::new() } else { escaped_path(&clean(asked.path)) }
}

/// Answers a path without dots and double slashes.
pub(crate) fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

/// Answers a port that is a number.
pub(super) fn at_port(text: &str) -> Result<u16, Status> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number {
        format!("address {text}: invalid port")
    } else {
        format!("lookup tcp/{text}: unknown port")
    };
    text.parse().map_err(|_| unreachable(&format!("dial tcp: {why}")))
}

/// Nobody is there.
pub(crate) fn unreachable(why: &str) -> Status {
    unavailable(format!("error trying to reach service: {why}"))
}

fn unavailable(why: String) -> Status {
    Status::new(503, "ServiceUnavailable", why)
}

fn of_pod(asked: &Asked<'_>) -> Result<Target, Status> {
    let named = Named::parse("pod", asked.name)?;
    let pod = asked.object("pods", asked.namespace, named.name)?;
    let host = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    if !lenient(&host).is_some_and(is_proxyable) {
        return Err(address_not_allowed());
    }
    let ports: Vec<&Value> =
        list(&pod["spec"]["containers"]).iter().flat_map(|one| list(&one["ports"])).collect();
    let number = |port: &Value| port["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok());
    let by_name = ports.iter().find(|port| port["name"] == named.port).and_then(|port| number(port));
    let port = match (named.port, by_name) {
        ("", _) => match (ports.first().and_then(|port| number(port)), named.security()) {
            (Some(port), _) => port,
            (None, Security::None) => 80,
            (None, Security::Anybody | Security::Kubelet | Security::UncheckedKubelet) => 443,
        },
        (_, Some(port)) => port,
        (port, None) => at_port(port)?,
    };
    Ok(target(asked, &named, (host, port)))
}

fn of_service(asked: &Asked<'_>) -> Result<Target, Status> {
    let named = Named::parse("service", asked.name)?;
    let service = asked.object("services", asked.namespace, named.name)?;
    let port = match named.port.parse::<i64>() {
        Ok(number) => {
            let found = list(&service["spec"]["ports"]).iter().find(|port| port["port"] == number);
            let name = quoted(named.name);
            let none = || unavailable(format!("no service port {number} found for service {name}"));
            text(found.ok_or_else(none)?, "name")
        }
        Err(_) => named.port,
    };
    let (has_any, mut found) = endpoints(asked, named.name, port);
    let first = usize::try_from(asked.known.chance).unwrap_or(0) % found.len().max(1);
    found.rotate_left(first);
    let good = found.into_iter().find(|endpoint| endpoint.is_pods(asked));
    match good {
        Some(endpoint) => Ok(target(asked, &named, (endpoint.address, endpoint.port))),
        None => {
            let which = if has_any { asked.name } else { named.name };
            Err(unavailable(format!("no endpoints available for service {}", quoted(which))))
        }
    }
}

fn target(asked: &Asked<'_>, named: &Named<'_>, (host, port): (String, u16)) -> Target {
    Target { security: named.security(), host, port, path: path(asked), query: None, is_trusted: false }
}

/// What stands behind a port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    address: String,
    port: u16,
    /// Namespace and name of the Pod that it is; empty: it is none.
    pod: (String, String),
}

impl Endpoint {
    /// Whether a Pod says that this is its address: anybody may write Endpoints and EndpointSlices.
    fn is_pods(&self, asked: &Asked<'_>) -> bool {
        let (namespace, name) = (&self.pod.0, &self.pod.1);
        if namespace != asked.namespace || !lenient(&self.address).is_some_and(is_proxyable) {
            return false;
        }
        let Some(pod) = (asked.known.object_of)("pods", namespace, name) else { return false };
        list(&pod["status"]["podIPs"]).iter().any(|known| known["ip"] == self.address.as_str())
    }
}

/// Answers whether a Service has anything behind it, and what is ready behind the port of a name. EndpointSlices count; where
/// there are none, Endpoints do.
fn endpoints(asked: &Asked<'_>, service: &str, port: &str) -> (bool, Vec<Endpoint>) {
    let label = "kubernetes.io/service-name";
    let mut slices = (asked.known.slices_of)(asked.namespace, service);
    slices.retain(|slice| slice["metadata"]["labels"][label] == service);
    let mut found = Vec::new();
    for slice in &slices {
        for number in numbers(&slice["ports"], port) {
            let ready = list(&slice["endpoints"]).iter().filter(|one| one["conditions"]["ready"] != false);
            found.extend(ready.filter_map(|one| endpoint(one, one["addresses"][0].as_str()?, number)));
        }
    }
    if !slices.is_empty() {
        return (slices.iter().any(|slice| !list(&slice["endpoints"]).is_empty()), found);
    }
    let old = (asked.known.object_of)("endpoints", asked.namespace, service).unwrap_or(Value::Null);
    for subset in list(&old["subsets"]) {
        for number in numbers(&subset["ports"], port) {
            found.extend(
                list(&subset["addresses"]).iter().filter_map(|one| endpoint(one, text(one, "ip"), number)),
            );
        }
    }
    (!list(&old["subsets"]).is_empty(), found)
}

fn endpoint(of: &Value, address: &str, port: u16) -> Option<Endpoint> {
    let reference = &of["targetRef"];
    let pod = (text(reference, "namespace").to_owned(), text(reference, "name").to_owned());
    Some(Endpoint { address: address.to_owned(), port, pod })
}

/// The numbers of the ports of a name.
fn numbers(ports: &Value, name: &str) -> Vec<u16> {
    let named = list(ports).iter().filter(|port| text(port, "name") == name);
    named.filter_map(|port| u16::try_from(port["port"].as_u64()?).ok()).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of[field].as_str().unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Known;
    use super::*;
    use crate::rest::Query;
    use serde_json::json;

    /// Where a request for something (`name?query`) leads in the namespace `x`, in a line.
    pub(in super::super) fn found(
        what: &Connect,
        name: &str,
        path: &str,
        objects: &[(&str, &str, Value)],
    ) -> String {
        let (name, query) = name.split_once('?').unwrap_or((name, ""));
        let object_of = |plural: &str, _: &str, name: &str| {
            let is = |(known, of, _): &&(&str, &str, Value)| (*known, *of) == (plural, name);
            objects.iter().find(is).map(|(_, _, object)| object.clone())
        };
        let slices = |_: &str, _: &str| -> Vec<Value> {
            let slices = objects.iter().filter(|(plural, _, _)| *plural == "endpointslices");
            slices.map(|(_, _, slice)| slice.clone()).collect()
        };
        let types = ["InternalIP".to_owned()];
        let known = Known { object_of: &object_of, slices_of: &slices, address_types: &types, chance: 7 };
        let query = Query::parse(query);
        match (what.find)(&Asked { namespace: "x", name, path, query: &query, known: &known }) {
            Ok(Some(target)) => {
                let query = target.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
                let trusted = if target.is_trusted { " trusted" } else { "" };
                format!("{:?} {}{}{query}{trusted}", target.security, target.authority(), target.path)
            }
            Ok(None) => "nowhere".to_owned(),
            Err(status) => format!("{} {}", status.code, status.message),
        }
    }

    fn pod(address: &str) -> Value {
        let ports = json!([{"name": "web", "containerPort": 8080}, {"name": "tls", "containerPort": 8443}]);
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "ports": ports}]},
               "status": {"podIP": address, "podIPs": [{"ip": address}]}})
    }

    #[test]
    fn pods_are_reached_at_their_ports() {
        let bare = json!({"spec": {"containers": [{"name": "a"}]}, "status": {"podIP": "fd00::5"}});
        let objects = [
            ("pods", "p", pod("10.1.0.5")),
            ("pods", "bare", bare),
            ("pods", "new", json!({"status": {}})),
            ("pods", "near", pod("127.0.0.1")),
            ("pods", "metadata", pod("169.254.169.254")),
        ];
        let check = |name: &str, path: &str, wanted: &str| {
            assert_eq!(found(&POD_PROXY, name, path, &objects), wanted, "{name}{path}");
        };
        check("p", "", "None 10.1.0.5:8080");
        check("p", "/", "None 10.1.0.5:8080/");
        check("p:9000", "/a/b/", "None 10.1.0.5:9000/a/b/");
        check("p:tls", "/", "None 10.1.0.5:8443/");
        check("https:p:tls", "/ü", "Anybody 10.1.0.5:8443/%C3%BC");
        check("p", "/../..//a/./b/../c", "None 10.1.0.5:8080/a/c");
        check("bare", "/", "None [fd00::5]:80/");
        check("https:bare:", "/", "Anybody [fd00::5]:443/");
        check("q", "/", "404 pods \"q\" not found");
        for nowhere in ["new", "near", "metadata"] {
            check(nowhere, "/", "400 address not allowed");
        }
        for wrong in [":80", "a:b:c:d", "gopher:p:80", ""] {
            check(wrong, "/", &format!("400 invalid pod request \"{wrong}\""));
        }
        let begin = "503 error trying to reach service: dial tcp:";
        check("p:nope", "/", &format!("{begin} lookup tcp/nope: unknown port"));
        check("p:70000", "/", &format!("{begin} address 70000: invalid port"));
    }

    fn slice(service: &str, endpoints: Value) -> Value {
        json!({"metadata": {"labels": {"kubernetes.io/service-name": service}}, "endpoints": endpoints,
               "ports": [{"name": "web", "port": 8080}, {"name": "", "port": 9}]})
    }

    fn behind(pod: &str, address: &str, ready: Value) -> Value {
        json!({"addresses": [address], "conditions": {"ready": ready},
               "targetRef": {"kind": "Pod", "namespace": "x", "name": pod}})
    }

    #[test]
    fn services_lead_to_pods_that_are_ready() {
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80}, {"port": 81}, {"name": "no", "port": 82}]}});
        let behind_s = json!([behind("p", "10.1.0.5", json!(false)), behind("q", "10.1.0.6", Value::Null)]);
        let stranger = json!({"addresses": ["10.9.9.9"], "conditions": {"ready": true}});
        let lies =
            json!([stranger, behind("q", "10.9.9.8", json!(true)), behind("near", "127.0.0.1", json!(true))]);
        let subsets = json!([{"ports": [{"name": "web", "port": 8080}],
                              "addresses": [{"ip": "10.1.0.5", "targetRef": {"namespace": "x", "name": "p"}}]}]);
        let objects = [
            ("services", "s", service.clone()),
            ("services", "empty", service.clone()),
            ("services", "lies", service.clone()),
            ("services", "old", service),
            ("endpointslices", "s", slice("s", behind_s)),
            ("endpointslices", "lies", slice("lies", lies)),
            ("endpoints", "old", json!({"subsets": subsets})),
            ("pods", "p", pod("10.1.0.5")),
            ("pods", "q", pod("10.1.0.6")),
            ("pods", "near", pod("127.0.0.1")),
        ];
        let check = |name: &str, wanted: &str| {
            assert_eq!(found(&SERVICE_PROXY, name, "/a", &objects), wanted, "{name}");
        };
        check("s:80", "None 10.1.0.6:8080/a");
        check("s:web", "None 10.1.0.6:8080/a");
        check("https:s:web", "Anybody 10.1.0.6:8080/a");
        check("s", "None 10.1.0.6:9/a");
        check("http:s:81", "None 10.1.0.6:9/a");
        check("old:80", "None 10.1.0.5:8080/a");
        check("s:83", "503 no service port 83 found for service \"s\"");
        check("http:s:82", "503 no endpoints available for service \"http:s:82\"");
        check("empty:80", "503 no endpoints available for service \"empty\"");
        check("http:lies:web", "503 no endpoints available for service \"http:lies:web\"");
        check("gone:80", "404 services \"gone\" not found");
        check("a:b:c:d", "400 invalid service request \"a:b:c:d\"");
    }

    #[test]
    fn every_ready_endpoint_has_its_turn() {
        let all = json!([behind("p", "10.1.0.5", json!(true)), behind("q", "10.1.0.6", json!(true))]);
        let objects = |plural: &str, _: &str, name: &str| match (plural, name) {
            ("services", _) => Some(json!({})),
            (_, "p") => Some(pod("10.1.0.5")),
            _ => Some(pod("10.1.0.6")),
        };
        let slices = |_: &str, _: &str| vec![slice("s", all.clone())];
        let hosts: Vec<String> = (0..2)
            .map(|chance| {
                let known = Known { object_of: &objects, slices_of: &slices, address_types: &[], chance };
                let query = Query::default();
                let asked = Asked { namespace: "x", name: "s", path: "/", query: &query, known: &known };
                of_service(&asked).expect("an endpoint").host
            })
            .collect();
        assert_eq!(hosts, ["10.1.0.5", "10.1.0.6"]);
    }
}
