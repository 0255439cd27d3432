//! Where a node's kubelet is, and what `nodes/NAME/proxy` leads to.

use serde_json::Value;

use super::proxy::{Named, at_port};
use super::{Asked, Connect, Passes, Security, Target};
use crate::status::Status;

/// `nodes/NAME/proxy`.
pub(crate) const NODE_PROXY: Connect = Connect { find: proxy, passes: Passes::Requests };

/// Where kubelets are that do not say it.
const KUBELET_PORT: u16 = 10_250;

/// Answers where something of the kubelet of a node is.
pub(super) fn kubelet(
    asked: &Asked<'_>,
    node: &str,
    (path, query): (String, Option<String>),
) -> Result<Target, Status> {
    let node = asked.object("nodes", "", node)?;
    let host = address(&node, asked.known.address_types)?;
    let is_trusted = true;
    Ok(Target { security: Security::Kubelet, host, port: port(&node), path, query, is_trusted })
}

fn proxy(asked: &Asked<'_>) -> Result<Option<Target>, Status> {
    let named = Named::parse("node", asked.name)?;
    let mut target = kubelet(asked, named.name, (super::proxy::path(asked), None))?;
    if !named.port.is_empty() && named.port != target.port.to_string() {
        target.port = at_port(named.port)?;
        target.security = named.security();
        // Nobody but the kubelet is meant by the node's address.
        target.is_trusted = false;
    }
    Ok(Some(target))
}

fn port(node: &Value) -> u16 {
    let said = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    said.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).unwrap_or(KUBELET_PORT)
}

/// The first address of the first type that there is.
fn address(node: &Value, types: &[String]) -> Result<String, Status> {
    let addresses =
        node.pointer("/status/addresses").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    for wanted in types {
        if let Some(found) = addresses.iter().find(|address| address["type"] == wanted.as_str()) {
            return Ok(text(found, "address"));
        }
        let label = text(&node["metadata"]["labels"], "kubernetes.io/hostname");
        if wanted == "Hostname" && !label.is_empty() {
            return Ok(label);
        }
    }
    let known =
        addresses.iter().map(|known| format!("{{{} {}}}", text(known, "type"), text(known, "address")));
    let known = known.collect::<Vec<_>>().join(" ");
    Err(Status::new(500, "", format!("no preferred addresses found; known addresses: [{known}]")))
}

#[cfg(test)]
mod tests {
    use super::super::proxy::tests::found;
    use super::*;
    use serde_json::json;

    fn node() -> Value {
        json!({"metadata": {"name": "n", "labels": {"kubernetes.io/hostname": "host"}},
               "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.7"},
                                        {"type": "InternalIP", "address": "fd00::7"},
                                        {"type": "ExternalIP", "address": "1.2.3.4"}],
                          "daemonEndpoints": {"kubeletEndpoint": {"Port": 4194}}}})
    }

    #[test]
    fn the_best_address_is_taken() {
        let check = |types: &[&str], wanted: &str| {
            let types: Vec<String> = types.iter().map(|text| (*text).to_owned()).collect();
            let found = address(&node(), &types).unwrap_or_else(|status| status.message);
            assert_eq!(found, wanted, "{types:?}");
        };
        check(&["InternalIP", "ExternalIP"], "10.0.0.7");
        check(&["ExternalDNS", "ExternalIP"], "1.2.3.4");
        check(&["Hostname", "InternalIP"], "host");
        check(
            &["ExternalDNS"],
            "no preferred addresses found; known addresses: [{InternalIP 10.0.0.7} {InternalIP fd00::7} {ExternalIP 1.2.3.4}]",
        );
        let none = address(&json!({}), &[]).expect_err("it has no address");
        assert_eq!(
            (none.code, none.message.as_str()),
            (500, "no preferred addresses found; known addresses: []")
        );
        assert_eq!((port(&node()), port(&json!({}))), (4194, 10_250));
    }

    #[test]
    fn proxies_of_nodes_lead_to_the_kubelet_or_beside_it() {
        let check = |name: &str, wanted: &str| {
            assert_eq!(found(&NODE_PROXY, name, "/pods", &[("nodes", "n", node())]), wanted, "{name}");
        };
        check("n", "Kubelet 10.0.0.7:4194/pods trusted");
        check("https:n:4194", "Kubelet 10.0.0.7:4194/pods trusted");
        check("n:9100", "None 10.0.0.7:9100/pods");
        check("https:n:9100", "Anybody 10.0.0.7:9100/pods");
        check("m", "404 nodes \"m\" not found");
        check("ftp:n:9100", "400 invalid node request \"ftp:n:9100\"");
        check("n:x", "503 error trying to reach service: dial tcp: lookup tcp/x: unknown port");
    }
}
