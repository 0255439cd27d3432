//! What kubelets answer about Pods: `log`, `exec`, `attach`, `portforward`.

use serde_json::Value;

use super::node::kubelet;
use super::{Asked, Connect, Passes, Security, Target, escaped_path, query_of};
use crate::body::time::{Precision, parse};
use crate::mistake::{self, Mistake, Path};
use crate::rest::Query;
use crate::status::Status;

/// `pods/NAME/log`.
pub(crate) const LOG: Connect = Connect { find: log, passes: Passes::Text };
/// `pods/NAME/exec`.
pub(crate) const EXEC: Connect =
    Connect { find: |asked| streams(asked, "exec", &["command"]).map(Some), passes: Passes::Bytes };
/// `pods/NAME/attach`.
pub(crate) const ATTACH: Connect =
    Connect { find: |asked| streams(asked, "attach", &[]).map(Some), passes: Passes::Bytes };
/// `pods/NAME/portforward`.
pub(crate) const PORT_FORWARD: Connect =
    Connect { find: |asked| port_forward(asked).map(Some), passes: Passes::Bytes };

/// A Pod without a node has said nothing.
fn log(asked: &Asked<'_>) -> Result<Option<Target>, Status> {
    let options = log_options(asked)?;
    let pod = asked.object("pods", asked.namespace, asked.name)?;
    let container = container(&pod, asked)?;
    let Some(node) = node_of(&pod) else { return Ok(None) };
    let path = format!("/containerLogs/{}/{}/{container}", asked.namespace, asked.name);
    let mut target = kubelet(asked, node, (escaped_path(&path), Some(query_of(&options))))?;
    if flag(asked.query, "insecureSkipTLSVerifyBackend") {
        target.security = Security::UncheckedKubelet;
    }
    Ok(Some(target))
}

/// The options of a log as the kubelet is asked for them.
fn log_options(asked: &Asked<'_>) -> Result<Vec<(&'static str, String)>, Status> {
    let query = asked.query;
    let mut passed = Vec::new();
    for name in ["follow", "previous", "timestamps"] {
        passed.extend(flag(query, name).then(|| (name, "true".to_owned())));
    }
    let mut numbers = [("tailLines", None), ("limitBytes", None), ("sinceSeconds", None)];
    for (name, value) in &mut numbers {
        *value = query.number(name)?;
        passed.extend(value.map(|value| (*name, value.to_string())));
    }
    let [tail, limit, since] = numbers.map(|(_, value)| value);
    let time = query.get("sinceTime").filter(|text| !text.is_empty());
    let time = time.map(|text| parse(text, Precision::Seconds)).transpose().map_err(Status::bad_request)?;
    passed.extend(time.and_then(|time| time.print(Precision::Seconds)).map(|time| ("sinceTime", time)));
    let stream = query.get("stream");
    passed.extend(stream.map(|stream| ("stream", stream.to_owned())));
    // Go's way to write a path without a name is `[]`.
    let whole = Path::new("[]");
    let mut found = Vec::new();
    let positive = "must be greater than 0";
    if let Some(lines) = tail.filter(|lines| *lines < 0) {
        found.push(Mistake::invalid(&Path::new("tailLines"), lines, "must be greater than or equal to 0"));
    }
    if let Some(bytes) = limit.filter(|bytes| *bytes < 1) {
        found.push(Mistake::invalid(&Path::new("limitBytes"), bytes, positive));
    }
    match since {
        Some(_) if time.is_some() => {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            found.push(Mistake::forbidden(&whole, why));
        }
        Some(seconds) if seconds < 1 => {
            found.push(Mistake::invalid(&Path::new("sinceSeconds"), seconds, positive));
        }
        Some(_) | None => {}
    }
    if let Some(stream) = stream {
        let known = ["All", "Stderr", "Stdout"];
        if !known.contains(&stream) {
            found.push(Mistake::not_supported(&Path::new("stream"), stream, &known));
        }
        if stream != "All" && tail.is_some() {
            let why = "`tailLines` and specific `stream` are mutually exclusive for now";
            found.push(Mistake::forbidden(&whole, why));
        }
    }
    if found.is_empty() {
        Ok(passed)
    } else {
        Err(mistake::refuse_as("", "PodLogOptions", asked.name, &found))
    }
}

/// The streams of a container: of a process in it that is made for that, or of its own one.
fn streams(asked: &Asked<'_>, what: &str, texts: &[&'static str]) -> Result<Target, Status> {
    let pod = asked.object("pods", asked.namespace, asked.name)?;
    let container = container(&pod, asked)?;
    let node = assigned(&pod, asked)?;
    let mut passed = Vec::new();
    for (name, kubelets) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        passed.extend(flag(asked.query, name).then(|| (kubelets, "1".to_owned())));
    }
    for name in texts {
        passed.extend(asked.query.all(name).into_iter().map(|text| (*name, text)));
    }
    let path = format!("/{what}/{}/{}/{container}", asked.namespace, asked.name);
    kubelet(asked, node, (escaped_path(&path), Some(query_of(&passed))))
}

fn port_forward(asked: &Asked<'_>) -> Result<Target, Status> {
    let mut ports = Vec::new();
    for text in asked.query.all("ports").iter().flat_map(|texts| texts.split(',')) {
        let wrong = |_| Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"));
        ports.push(text.parse::<i32>().map_err(wrong)?.to_string());
    }
    let pod = asked.object("pods", asked.namespace, asked.name)?;
    let node = assigned(&pod, asked)?;
    let passed = if ports.is_empty() { Vec::new() } else { vec![("port", ports.join(","))] };
    let path = format!("/portForward/{}/{}", asked.namespace, asked.name);
    kubelet(asked, node, (escaped_path(&path), Some(query_of(&passed))))
}

/// Answers which container is meant: the one that is named, or the only one.
fn container(pod: &Value, asked: &Asked<'_>) -> Result<String, Status> {
    let names = |field: &str| -> Vec<String> {
        let list = pod["spec"][field].as_array().into_iter().flatten();
        list.map(|container| container["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let containers = names("containers");
    let all = [names("initContainers"), containers.clone(), names("ephemeralContainers")].concat();
    let pod = asked.name;
    match asked.query.get("container").unwrap_or_default() {
        "" => match &containers[..] {
            [only] => Ok(only.clone()),
            [] => Err(Status::bad_request(format!("a container name must be specified for pod {pod}"))),
            [_, _, ..] => {
                let names = all.join(" ");
                let why =
                    format!("a container name must be specified for pod {pod}, choose one of: [{names}]");
                Err(Status::bad_request(why))
            }
        },
        named if all.iter().any(|known| known == named) => Ok(named.to_owned()),
        named => Err(Status::bad_request(format!("container {named} is not valid for pod {pod}"))),
    }
}

fn node_of(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty())
}

fn assigned<'a>(pod: &'a Value, asked: &Asked<'_>) -> Result<&'a str, Status> {
    let why = || Status::bad_request(format!("pod {} does not have a host assigned", asked.name));
    node_of(pod).ok_or_else(why)
}

fn flag(query: &Query, name: &str) -> bool {
    query.flag(name).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::super::proxy::tests::found;
    use super::*;
    use serde_json::json;

    fn objects() -> Vec<(&'static str, &'static str, Value)> {
        let addresses = json!([{"type": "InternalIP", "address": "127.0.0.1"}]);
        let pod = |containers: &[&str], node: &str| {
            let containers: Vec<Value> = containers.iter().map(|name| json!({"name": name})).collect();
            json!({"spec": {"containers": containers, "nodeName": node, "initContainers": [{"name": "i"}]}})
        };
        vec![
            ("nodes", "n", json!({"status": {"addresses": addresses}})),
            ("pods", "one", pod(&["c"], "n")),
            ("pods", "two", pod(&["a", "b"], "n")),
            ("pods", "none", pod(&[], "n")),
            ("pods", "new", pod(&["c"], "")),
            ("pods", "lost", pod(&["c"], "m")),
        ]
    }

    fn check(what: &Connect, name: &str, wanted: &str) {
        assert_eq!(found(what, name, "", &objects()), wanted, "{name}");
    }

    #[test]
    fn logs_are_where_the_kubelet_is() {
        let at = "Kubelet 127.0.0.1:10250/containerLogs/x";
        check(&LOG, "one", &format!("{at}/one/c? trusted"));
        check(&LOG, "one?container=i", &format!("{at}/one/i? trusted"));
        let every =
            "one?follow=true&previous&timestamps=1&sinceSeconds=5&tailLines=0&limitBytes=1&stream=All";
        let passed =
            "follow=true&limitBytes=1&previous=true&sinceSeconds=5&stream=All&tailLines=0&timestamps=true";
        check(&LOG, every, &format!("{at}/one/c?{passed} trusted"));
        check(
            &LOG,
            "one?sinceTime=2026-01-02T03:04:05.6%2B01:00&follow=false",
            &format!("{at}/one/c?sinceTime=2026-01-02T02%3A04%3A05Z trusted"),
        );
        check(
            &LOG,
            "one?insecureSkipTLSVerifyBackend=true",
            "UncheckedKubelet 127.0.0.1:10250/containerLogs/x/one/c? trusted",
        );
        check(&LOG, "new", "nowhere");
    }

    #[test]
    fn a_log_that_cannot_be_is_refused() {
        check(&LOG, "gone", "404 pods \"gone\" not found");
        check(&LOG, "lost", "404 nodes \"m\" not found");
        check(&LOG, "two", "400 a container name must be specified for pod two, choose one of: [i a b]");
        check(&LOG, "none", "400 a container name must be specified for pod none");
        check(&LOG, "one?container=d", "400 container d is not valid for pod one");
        check(&LOG, "one?tailLines=x", "400 strconv.ParseInt: parsing \"x\": invalid syntax");
        check(
            &LOG,
            "one?sinceTime=now",
            "400 parsing time \"now\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"now\" as \"2006\"",
        );
        let refused = "422 PodLogOptions \"one\" is invalid: ";
        for (query, why) in [
            ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
            (
                "sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z",
                "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            ),
            (
                "stream=Stdin",
                "stream: Unsupported value: \"Stdin\": supported values: \"All\", \"Stderr\", \"Stdout\"",
            ),
            (
                "stream=Stdout&tailLines=1",
                "[]: Forbidden: `tailLines` and specific `stream` are mutually exclusive for now",
            ),
        ] {
            check(&LOG, &format!("one?{query}"), &format!("{refused}{why}"));
        }
    }

    #[test]
    fn streams_are_where_the_kubelet_is() {
        check(
            &EXEC,
            "one?command=sh&command=-c&command=echo+a%26b&stdin=true&stdout=1&stderr=false&tty=true&container=c",
            "Kubelet 127.0.0.1:10250/exec/x/one/c?command=sh&command=-c&command=echo+a%26b&input=1&output=1&tty=1 trusted",
        );
        check(
            &ATTACH,
            "one?stdout=true&stderr=true&command=no",
            "Kubelet 127.0.0.1:10250/attach/x/one/c?error=1&output=1 trusted",
        );
        check(&PORT_FORWARD, "two", "Kubelet 127.0.0.1:10250/portForward/x/two? trusted");
        check(
            &PORT_FORWARD,
            "two?ports=80&ports=81,82",
            "Kubelet 127.0.0.1:10250/portForward/x/two?port=80%2C81%2C82 trusted",
        );
    }

    #[test]
    fn streams_that_cannot_be_are_refused() {
        for what in [&EXEC, &ATTACH] {
            check(what, "two", "400 a container name must be specified for pod two, choose one of: [i a b]");
        }
        for what in [&EXEC, &ATTACH, &PORT_FORWARD] {
            check(what, "new", "400 pod new does not have a host assigned");
            check(what, "gone", "404 pods \"gone\" not found");
            check(what, "lost", "404 nodes \"m\" not found");
        }
        check(&PORT_FORWARD, "one?ports=http", "400 strconv.ParseInt: parsing \"http\": invalid syntax");
    }
}
