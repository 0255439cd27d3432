//! The environment of a container, from what its object says and what the API server has.

use std::net::IpAddr;

use serde_json::Value;
use watch::client::{Client, ClientError};

use crate::expand::expand;
use crate::folder::MARK;
use crate::pod::{Container, Pod, list};
use crate::quantity;

/// What a value may depend on besides the object.
pub(crate) struct Surroundings<'a> {
    /// The pod's addresses, the usual one first.
    pub pod: &'a [IpAddr],
    /// The node's addresses.
    pub node: &'a [IpAddr],
    /// What every process finds.
    pub usual: &'a [(String, String)],
    /// What the node has, which is what a container may use that has no limit.
    pub capacity: &'a Value,
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Missing(String);

/// Variables in the order of their definition; a later one of the same name counts.
type Variables = Vec<(String, String)>;

/// Answers the environment of a container and its words with values put in.
pub(crate) async fn environment(
    client: &Client,
    pod: &Pod,
    container: &Container,
    around: &Surroundings<'_>,
) -> Result<(Vec<String>, Variables), Missing> {
    let mut variables = around.usual.to_vec();
    set(&mut variables, MARK, pod.uid.clone());
    set(&mut variables, "HOSTNAME", hostname(pod));
    let mut own = service_links(client, pod).await?;
    for source in list(&container.object["envFrom"]) {
        let prefix = source["prefix"].as_str().unwrap_or_default();
        for (name, value) in all_of(client, &pod.namespace, source).await? {
            set(&mut own, &format!("{prefix}{name}"), value);
        }
    }
    for variable in list(&container.object["env"]) {
        let name = variable["name"].as_str().unwrap_or_default();
        let value = match variable.get("valueFrom").filter(|from| !from.is_null()) {
            None => Some(expand(variable["value"].as_str().unwrap_or_default(), &|name| find(&own, name))),
            Some(from) => value_from(client, (pod, container), from, around).await?,
        };
        if let Some(value) = value {
            set(&mut own, name, value);
        }
    }
    let words = container.words.iter().map(|word| expand(word, &|name| find(&own, name))).collect();
    for (name, value) in own {
        set(&mut variables, &name, value);
    }
    Ok((words, variables))
}

/// What a pod takes for the machine's name.
pub(crate) fn hostname(pod: &Pod) -> String {
    let wanted = pod.object.pointer("/spec/hostname").and_then(Value::as_str).filter(|name| !name.is_empty());
    // The kernel takes no more than 64 letters, Kubernetes cuts at 63.
    let name: String = wanted.unwrap_or(&pod.name).chars().take(63).collect();
    name.trim_end_matches(['-', '.']).to_owned()
}

fn set(variables: &mut Variables, name: &str, value: String) {
    variables.retain(|(known, _)| known != name);
    variables.push((name.to_owned(), value));
}

fn find(variables: &Variables, name: &str) -> Option<String> {
    variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

async fn value_from(
    client: &Client,
    (pod, container): (&Pod, &Container),
    from: &Value,
    around: &Surroundings<'_>,
) -> Result<Option<String>, Missing> {
    if let Some(path) = from.pointer("/fieldRef/fieldPath").and_then(Value::as_str) {
        return field(pod, path, around).map(Some);
    }
    if let Some(resource) = from.get("resourceFieldRef") {
        return Ok(Some(amount((pod, container), resource, around.capacity)));
    }
    for (kind, what) in [("configMapKeyRef", "configmap"), ("secretKeyRef", "secret")] {
        let Some(reference) = from.get(kind) else { continue };
        let (name, key) =
            (reference["name"].as_str().unwrap_or_default(), reference["key"].as_str().unwrap_or_default());
        let is_optional = reference["optional"] == true;
        let Some(object) = fetch(client, (&pod.namespace, what, name), is_optional).await? else {
            return Ok(None);
        };
        let value = texts(&object, what).into_iter().find(|(known, _)| known == key).map(|(_, value)| value);
        return match value {
            None if !is_optional => {
                let kind = if what == "secret" { "Secret" } else { "ConfigMap" };
                Err(Missing(format!("couldn't find key {key} in {kind} {}/{name}", pod.namespace)))
            }
            value => Ok(value),
        };
    }
    Ok(None)
}

/// A field of the pod, by the paths that Kubernetes knows.
pub(crate) fn field(pod: &Pod, path: &str, around: &Surroundings<'_>) -> Result<String, Missing> {
    let all = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    let first = |addresses: &[IpAddr]| all(addresses).into_iter().next().unwrap_or_default();
    let text =
        |pointer: &str| pod.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map =
            &pod.object.pointer("/metadata").unwrap_or(&Value::Null)[map.trim_start_matches("metadata.")];
        return Ok(map[key].as_str().unwrap_or_default().to_owned());
    }
    match path {
        "metadata.name" => Ok(pod.name.clone()),
        "metadata.namespace" => Ok(pod.namespace.clone()),
        "metadata.uid" => Ok(pod.uid.clone()),
        "spec.nodeName" => Ok(text("/spec/nodeName")),
        "spec.serviceAccountName" => Ok(text("/spec/serviceAccountName")),
        "status.podIP" => Ok(first(around.pod)),
        "status.podIPs" => Ok(all(around.pod).join(",")),
        "status.hostIP" => Ok(first(around.node)),
        "status.hostIPs" => Ok(all(around.node).join(",")),
        _ => Err(Missing(format!("unsupported fieldPath: {path}"))),
    }
}

/// A limit or request of a container, in units of the divisor, rounded up.
pub(crate) fn amount((pod, container): (&Pod, &Container), resource: &Value, capacity: &Value) -> String {
    let named = resource["containerName"].as_str().unwrap_or(&container.name);
    let container = pod.containers.iter().find(|known| known.name == named).unwrap_or(container);
    let (kind, name) =
        resource["resource"].as_str().and_then(|path| path.split_once('.')).unwrap_or_default();
    let own = &container.object["resources"][kind][name];
    let amount = if own.is_null() && kind == "limits" { &capacity[name] } else { own };
    let amount = amount.as_str().and_then(quantity::thousandths).unwrap_or(0);
    let divisor = resource["divisor"].as_str().and_then(quantity::thousandths).filter(|divisor| *divisor > 0);
    amount.div_ceil(divisor.unwrap_or(1000)).to_string()
}

async fn all_of(client: &Client, namespace: &str, source: &Value) -> Result<Variables, Missing> {
    for (kind, what) in [("configMapRef", "configmap"), ("secretRef", "secret")] {
        let Some(reference) = source.get(kind) else { continue };
        let name = reference["name"].as_str().unwrap_or_default();
        let object = fetch(client, (namespace, what, name), reference["optional"] == true).await?;
        return Ok(object.map(|object| texts(&object, what)).unwrap_or_default());
    }
    Ok(Variables::new())
}

async fn fetch(
    client: &Client,
    (namespace, what, name): (&str, &str, &str),
    is_optional: bool,
) -> Result<Option<Value>, Missing> {
    match client.get(&format!("/api/v1/namespaces/{namespace}/{what}s/{name}")).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() && is_optional => Ok(None),
        Err(error) if error.is_not_found() => Err(Missing(format!("{what} \"{name}\" not found"))),
        Err(error @ (ClientError::Refused { .. } | ClientError::Unreachable(_))) => {
            Err(Missing(format!("failed to read the {what} \"{name}\": {error}")))
        }
    }
}

/// The values of a ConfigMap or Secret that are text.
fn texts(object: &Value, what: &str) -> Variables {
    use base64::Engine;
    let decode = |value: &str| {
        if what == "configmap" {
            return Some(value.to_owned());
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(value).ok()?;
        String::from_utf8(bytes).ok()
    };
    let pairs = object["data"].as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), decode(value.as_str()?)?))).collect()
}

/// Where the Services of the namespace are, and the API server, in the variables that Docker's links had.
async fn service_links(client: &Client, pod: &Pod) -> Result<Variables, Missing> {
    let all = pod.object.pointer("/spec/enableServiceLinks").and_then(Value::as_bool).unwrap_or(true);
    let mut services = Vec::new();
    let unread = |error: ClientError| Missing(format!("services have not yet been read: {error}"));
    match client.get("/api/v1/namespaces/default/services/kubernetes").await {
        Ok(service) => services.push(service),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(unread(error)),
    }
    if all {
        let path = format!("/api/v1/namespaces/{}/services", pod.namespace);
        let mut listed = client.get(&path).await.map_err(unread)?;
        if let Some(items) = listed["items"].as_array_mut() {
            services.append(items);
        }
    }
    Ok(services.iter().flat_map(links_of).collect())
}

fn links_of(service: &Value) -> Variables {
    let address = service.pointer("/spec/clusterIP").and_then(Value::as_str).unwrap_or_default();
    let Ok(address) = address.parse::<IpAddr>() else { return Variables::new() };
    let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    let upper = |name: &str| name.to_uppercase().replace('-', "_");
    let name = upper(service.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default());
    let mut links = Variables::new();
    for (index, port) in list(&service["spec"]["ports"]).enumerate() {
        let number = &port["port"];
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_lowercase();
        let url = format!("{protocol}://{host}:{number}");
        if index == 0 {
            set(&mut links, &format!("{name}_SERVICE_HOST"), address.to_string());
            set(&mut links, &format!("{name}_SERVICE_PORT"), number.to_string());
            set(&mut links, &format!("{name}_PORT"), url.clone());
        }
        if let Some(port_name) = port["name"].as_str().filter(|name| !name.is_empty()) {
            set(&mut links, &format!("{name}_SERVICE_PORT_{}", upper(port_name)), number.to_string());
        }
        let prefix = format!("{name}_PORT_{number}_{}", protocol.to_uppercase());
        set(&mut links, &prefix, url);
        set(&mut links, &format!("{prefix}_PROTO"), protocol);
        set(&mut links, &format!("{prefix}_PORT"), number.to_string());
        set(&mut links, &format!("{prefix}_ADDR"), address.to_string());
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_become_links() {
        let service = json!({"metadata": {"name": "my-web"}, "spec": {"clusterIP": "10.0.0.1", "ports": [
            {"name": "http-alt", "port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
        let text: Vec<String> =
            links_of(&service).iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            text.join("\n"),
            "MY_WEB_SERVICE_HOST=10.0.0.1\nMY_WEB_SERVICE_PORT=80\nMY_WEB_PORT=tcp://10.0.0.1:80\n\
             MY_WEB_SERVICE_PORT_HTTP_ALT=80\nMY_WEB_PORT_80_TCP=tcp://10.0.0.1:80\nMY_WEB_PORT_80_TCP_PROTO=tcp\n\
             MY_WEB_PORT_80_TCP_PORT=80\nMY_WEB_PORT_80_TCP_ADDR=10.0.0.1\nMY_WEB_PORT_53_UDP=udp://10.0.0.1:53\n\
             MY_WEB_PORT_53_UDP_PROTO=udp\nMY_WEB_PORT_53_UDP_PORT=53\nMY_WEB_PORT_53_UDP_ADDR=10.0.0.1"
        );
        let headless =
            json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}});
        assert!(links_of(&headless).is_empty());
    }

    #[test]
    fn fields_of_the_pod() {
        let object = json!({"metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"x/y": "l"}},
            "spec": {"nodeName": "node", "containers": []}});
        let pod = Pod::read(object, &crate::images::Images::default()).unwrap();
        let addresses = ["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        let node = ["192.0.2.1".parse().unwrap()];
        let around = Surroundings { pod: &addresses, node: &node, usual: &[], capacity: &Value::Null };
        for (path, expected) in [
            ("metadata.name", "a"),
            ("metadata.namespace", "n"),
            ("metadata.uid", "u"),
            ("metadata.labels['x/y']", "l"),
            ("metadata.annotations['z']", ""),
            ("spec.nodeName", "node"),
            ("status.podIP", "10.0.0.5"),
            ("status.podIPs", "10.0.0.5,fd00::5"),
            ("status.hostIP", "192.0.2.1"),
            ("status.phase", "unsupported fieldPath: status.phase"),
        ] {
            let found = field(&pod, path, &around).unwrap_or_else(|missing| missing.to_string());
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn amounts_of_what_a_container_may_use() {
        let resources = json!({"limits": {"memory": "2Mi"}, "requests": {"cpu": "250m"}});
        let object = json!({"metadata": {"name": "a", "uid": "u"},
            "spec": {"containers": [{"name": "x", "resources": resources}, {"name": "y"}]}});
        let pod = Pod::read(object, &crate::images::Images::default()).unwrap();
        let capacity = json!({"cpu": "4", "memory": "1024Ki"});
        for (container, resource, divisor, expected) in [
            ("x", "limits.memory", "1", "2097152"),
            ("x", "limits.memory", "1Ki", "2048"),
            ("x", "requests.cpu", "1m", "250"),
            ("x", "requests.cpu", "", "1"),
            ("y", "limits.cpu", "", "4"),
            ("y", "limits.memory", "1Mi", "1"),
            ("y", "requests.memory", "", "0"),
        ] {
            let asked = json!({"containerName": container, "resource": resource, "divisor": divisor});
            let found = amount((&pod, &pod.containers[0]), &asked, &capacity);
            assert_eq!(found, expected, "{asked}");
        }
    }
}
