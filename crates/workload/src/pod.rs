//! What of a Pod object its node needs, in types that cannot be wrong.
//!
//! What it does *not* do: default or validate; the API server has done both.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sys::cgroup::Limits;

use crate::images::Images;
use crate::quantity;
use crate::time::{self, Time};
use crate::volumes::{self, Volume};

/// A pod that is bound to this node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pod {
    /// Its identity.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its containers in the order of their start: those that initialise first.
    pub containers: Vec<Container>,
    /// What happens when a container ends.
    pub restart: Restart,
    /// How long its processes have to end.
    pub grace: Duration,
    /// How long it may be active.
    pub deadline: Option<Duration>,
    /// Whether it shares the node's network.
    pub host_network: bool,
    /// Set when it is being deleted: until when its processes may run.
    pub deletion: Option<Deletion>,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Types of conditions that must be true as well.
    pub gates: Vec<String>,
    /// The object.
    pub object: Value,
}

/// That a pod is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deletion {
    /// How long its processes have.
    pub grace: Duration,
}

/// Which ended containers are started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// All.
    Always,
    /// Those that failed.
    OnFailure,
    /// None.
    Never,
}

/// When a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Before the others, to its end.
    Init,
    /// From before the others, for as long as they run.
    Sidecar,
    /// As the pod's purpose.
    Main,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Container {
    /// Its name.
    pub name: String,
    /// When it runs.
    pub role: Role,
    /// The image that is asked for.
    pub image: String,
    /// The words that start it, not yet expanded; empty: no program stands for the image.
    pub words: Vec<String>,
    /// Probes.
    pub startup: Option<Probe>,
    /// Probes.
    pub readiness: Option<Probe>,
    /// Probes.
    pub liveness: Option<Probe>,
    /// What is done after its start.
    pub post_start: Option<Act>,
    /// What is done before its end.
    pub pre_stop: Option<Act>,
    /// What it may use.
    pub limits: Limits,
    /// The object's part about it.
    pub object: Value,
}

/// Something done to a container from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// A command in the container.
    Exec(Vec<String>),
    /// A GET.
    Http(Http),
    /// A connection. Empty host: the pod's address.
    Tcp(String, u16),
    /// A question about the health of a service.
    Grpc(u16, String),
    /// Nothing, for a while.
    Sleep(Duration),
}

/// A GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Http {
    /// Whom to connect to; empty: the pod's address.
    pub host: String,
    /// Where.
    pub port: u16,
    /// What to ask for, with its query.
    pub path: String,
    /// Whether over TLS.
    pub tls: bool,
    /// More headers.
    pub headers: Vec<(String, String)>,
}

/// A question that is asked again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// How.
    pub act: Act,
    /// How long after the start.
    pub delay: Duration,
    /// How often.
    pub period: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
    /// How many good answers in a row are needed.
    pub successes: u32,
    /// How many bad ones.
    pub failures: u32,
    /// How long the container has to end when it failed.
    pub grace: Option<Duration>,
}

impl Pod {
    /// Reads a Pod object; images become programs.
    pub(crate) fn read(object: Value, images: &Images) -> Result<Self, String> {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (uid, namespace, name) =
            (text("/metadata/uid"), text("/metadata/namespace"), text("/metadata/name"));
        // The identity becomes part of paths.
        if name.is_empty() || uid.is_empty() || !uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(format!("the pod {namespace}/{name} has no usable uid: {uid:?}"));
        }
        let spec = &object["spec"];
        let restart = match spec["restartPolicy"].as_str() {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            Some(_) | None => Restart::Always,
        };
        let init = list(&spec["initContainers"]).map(|container| {
            let role = if container["restartPolicy"] == "Always" { Role::Sidecar } else { Role::Init };
            Container::read(container, role, images)
        });
        let main = list(&spec["containers"]).map(|container| Container::read(container, Role::Main, images));
        let containers: Vec<Container> = init.chain(main).collect();
        if let Some(wrong) = containers.iter().find(|container| !is_label(&container.name)) {
            return Err(format!("the pod {namespace}/{name} has a container named {:?}", wrong.name));
        }
        let volumes = volumes::read(spec);
        if let Some(wrong) = volumes.iter().find(|volume| !is_label(&volume.name)) {
            return Err(format!("the pod {namespace}/{name} has a volume named {:?}", wrong.name));
        }
        let grace = seconds(&spec["terminationGracePeriodSeconds"], 30);
        let deleted = object.pointer("/metadata/deletionTimestamp").and_then(Value::as_str);
        let deletion = deleted.map(|_| Deletion {
            grace: object
                .pointer("/metadata/deletionGracePeriodSeconds")
                .map_or(grace, |value| seconds(value, 30)),
        });
        Ok(Self {
            containers,
            restart,
            grace,
            deadline: spec["activeDeadlineSeconds"].as_u64().map(Duration::from_secs),
            host_network: spec["hostNetwork"] == true,
            deletion,
            volumes,
            gates: list(&spec["readinessGates"])
                .filter_map(|gate| gate["conditionType"].as_str().map(str::to_owned))
                .collect(),
            uid,
            namespace,
            name,
            object,
        })
    }

    /// Answers when its node first said something about it.
    pub(crate) fn start_time(&self) -> Option<Time> {
        self.object.pointer("/status/startTime").and_then(Value::as_str).and_then(time::parse)
    }

    /// Answers the path of the object at the API server.
    pub(crate) fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.name)
    }
}

impl Container {
    fn read(object: &Value, role: Role, images: &Images) -> Self {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let ports: BTreeMap<&str, u16> = list(&object["ports"])
            .filter_map(|port| Some((port["name"].as_str()?, number(&port["containerPort"])?)))
            .collect();
        let probe = |field: &str| Probe::read(&object[field], &ports);
        let hook = |pointer: &str| object.pointer(pointer).and_then(|act| Act::read(act, &ports));
        let image = text("image");
        let limit = |name: &str| object["resources"]["limits"][name].as_str();
        Self {
            name: text("name"),
            role,
            words: words_of(object, images.program(&image)),
            startup: probe("startupProbe"),
            readiness: probe("readinessProbe"),
            liveness: probe("livenessProbe"),
            post_start: hook("/lifecycle/postStart"),
            pre_stop: hook("/lifecycle/preStop"),
            limits: Limits {
                memory: limit("memory").and_then(quantity::units),
                cpu: limit("cpu").and_then(quantity::thousandths),
            },
            image,
            object: object.clone(),
        }
    }

    /// Answers whether it has a terminal.
    pub(crate) fn tty(&self) -> bool {
        self.object["tty"] == true
    }
}

/// A command takes the place of the image's entrypoint and its usual arguments, which follow `--`; arguments only of the
/// latter.
fn words_of(object: &Value, program: Option<&[String]>) -> Vec<String> {
    let texts =
        |field: &str| list(&object[field]).filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let (command, args) = (texts("command"), texts("args"));
    if !command.is_empty() {
        return command.into_iter().chain(args).collect();
    }
    let mut parts = program.unwrap_or_default().splitn(2, |word| word == "--");
    let (entrypoint, usual) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if entrypoint.is_empty() {
        return Vec::new();
    }
    let args = if args.is_empty() { usual.to_vec() } else { args };
    entrypoint.iter().cloned().chain(args).collect()
}

impl Probe {
    fn read(object: &Value, ports: &BTreeMap<&str, u16>) -> Option<Self> {
        let count = |field: &str, usual: u32| {
            let found = object[field].as_u64().filter(|count| *count > 0);
            found.map_or(usual, |count| u32::try_from(count).unwrap_or(u32::MAX))
        };
        Some(Self {
            act: Act::read(object, ports)?,
            delay: seconds(&object["initialDelaySeconds"], 0),
            period: seconds(&object["periodSeconds"], 10).max(Duration::from_secs(1)),
            timeout: seconds(&object["timeoutSeconds"], 1).max(Duration::from_secs(1)),
            successes: count("successThreshold", 1),
            failures: count("failureThreshold", 3),
            grace: object["terminationGracePeriodSeconds"].as_u64().map(Duration::from_secs),
        })
    }
}

impl Act {
    fn read(object: &Value, ports: &BTreeMap<&str, u16>) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let port = |value: &Value| number(value).or_else(|| ports.get(value.as_str()?).copied());
        if let Some(exec) = object.get("exec") {
            return Some(Self::Exec(list(&exec["command"]).map(text).collect()));
        }
        if let Some(get) = object.get("httpGet") {
            let path = text(&get["path"]);
            return Some(Self::Http(Http {
                host: text(&get["host"]),
                // No such port: nobody will answer at 0.
                port: port(&get["port"]).unwrap_or(0),
                path: if path.starts_with('/') { path } else { format!("/{path}") },
                tls: get["scheme"] == "HTTPS",
                headers: list(&get["httpHeaders"])
                    .map(|header| (text(&header["name"]), text(&header["value"])))
                    .collect(),
            }));
        }
        if let Some(tcp) = object.get("tcpSocket") {
            return Some(Self::Tcp(text(&tcp["host"]), port(&tcp["port"]).unwrap_or(0)));
        }
        if let Some(grpc) = object.get("grpc") {
            return Some(Self::Grpc(port(&grpc["port"]).unwrap_or(0), text(&grpc["service"])));
        }
        object.get("sleep").map(|sleep| Self::Sleep(seconds(&sleep["seconds"], 0)))
    }
}

/// The items of a list; none where there is no list.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn seconds(value: &Value, usual: u64) -> Duration {
    // Negative ones are refused by the API server, but for the grace period of a deletion, which it makes 1.
    Duration::from_secs(value.as_i64().map_or(usual, |seconds| u64::try_from(seconds).unwrap_or(1)))
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok())
}

fn is_label(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_read() {
        let object = json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u-1", "deletionTimestamp": "2026-01-01T00:00:00Z",
                "deletionGracePeriodSeconds": 5},
            "spec": {
                "restartPolicy": "OnFailure", "hostNetwork": true, "terminationGracePeriodSeconds": 7,
                "initContainers": [{"name": "i", "command": ["x"]}, {"name": "s", "restartPolicy": "Always"}],
                "containers": [{"name": "m", "image": "web:1", "ports": [{"name": "http", "containerPort": 80}],
                    "resources": {"limits": {"memory": "1Mi", "cpu": "250m"}},
                    "readinessProbe": {"httpGet": {"port": "http", "path": "ok"}, "periodSeconds": 2},
                    "livenessProbe": {"grpc": {"port": 9, "service": "s"}, "failureThreshold": 1},
                    "lifecycle": {"preStop": {"sleep": {"seconds": 3}}, "postStart": {"exec": {"command": ["y"]}}}}],
            },
        });
        let mut images = Images::default();
        images.add("web=serve -a -- -b").unwrap();
        let pod = Pod::read(object, &images).unwrap();
        let roles: Vec<_> = pod.containers.iter().map(|c| (c.name.as_str(), c.role)).collect();
        assert_eq!(roles, [("i", Role::Init), ("s", Role::Sidecar), ("m", Role::Main)]);
        assert_eq!((pod.restart, pod.grace.as_secs(), pod.host_network), (Restart::OnFailure, 7, true));
        assert_eq!(pod.deletion, Some(Deletion { grace: Duration::from_secs(5) }));
        let main = &pod.containers[2];
        assert_eq!(main.words, ["serve", "-a", "-b"]);
        assert_eq!(main.limits, Limits { memory: Some(1_048_576), cpu: Some(250) });
        let readiness = main.readiness.as_ref().unwrap();
        assert!(matches!(&readiness.act, Act::Http(http) if http.port == 80 && http.path == "/ok"));
        assert_eq!((readiness.period.as_secs(), readiness.failures), (2, 3));
        assert_eq!(main.liveness.as_ref().unwrap().act, Act::Grpc(9, "s".to_owned()));
        assert_eq!(main.pre_stop, Some(Act::Sleep(Duration::from_secs(3))));
        assert_eq!(main.post_start, Some(Act::Exec(vec!["y".to_owned()])));
    }

    #[test]
    fn commands_and_arguments_take_the_place_of_an_images() {
        let check = |program: &str, object: Value, expected: &str| {
            let mut images = Images::default();
            images.add(&format!("web={program}")).unwrap();
            assert_eq!(words_of(&object, images.program("web")).join(" "), expected, "{program} {object}");
        };
        check("serve -a", json!({}), "serve -a");
        check("serve -a", json!({"args": ["x"]}), "serve -a x");
        check("serve -a -- -b -- -c", json!({}), "serve -a -b -- -c");
        check("serve -a -- -b", json!({"args": ["x"]}), "serve -a x");
        check("serve -a -- -b", json!({"command": ["y"]}), "y");
        check("serve", json!({"command": ["y"], "args": ["x"]}), "y x");
        assert_eq!(words_of(&json!({"args": ["x"]}), None), [""; 0]);
    }

    #[test]
    fn names_that_would_lead_elsewhere_are_refused() {
        for (uid, container) in [("../x", "a"), ("", "a"), ("u", "../a"), ("u", "")] {
            let object =
                json!({"metadata": {"name": "a", "uid": uid}, "spec": {"containers": [{"name": container}]}});
            assert!(Pod::read(object, &Images::default()).is_err(), "{uid} {container}");
        }
    }
}
