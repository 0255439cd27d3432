//! A Pod is given to a node: what `POST pods/NAME/binding` does.

use serde_json::{Value, json};

use super::{KIND, admission, read};
use crate::body::time::{Instant, Precision};
use crate::kinds::{Acted, Kind};
use crate::meta;
use crate::mistake::{self, Mistake, Path, aggregate};
use crate::status::Status;
use crate::writing::Writing;

/// Gives a Pod to a node as a Binding says.
pub(super) fn act(writing: &mut Writing<'_>, pod: &mut Value, binding: &Value) -> Result<Acted, Status> {
    let nodes = Kind::find("", "v1", "nodes").expect("nodes are served");
    let node = writing.read(nodes, read::text(&binding["target"], "name"))?;
    bind(pod, binding, node.as_ref(), writing.now)?;
    Ok(Acted::Changed)
}

/// Gives a Pod to the node that a Binding names. `node`: that node, if it is known; its zone becomes the Pod's.
///
/// The generation stays as it is.
pub fn bind(pod: &mut Value, binding: &Value, node: Option<&Value>, now: Instant) -> Result<(), Status> {
    check(pod, binding)?;
    let target = read::text(&binding["target"], "name");
    pod["spec"]["nodeName"] = target.into();
    for of in ["annotations", "labels"] {
        for (key, value) in read::pairs(&binding["metadata"], of) {
            pod["metadata"][of][key] = value.into();
        }
    }
    if let Some(node) = node {
        admission::add_topology(pod, node);
    }
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    set_scheduled(&mut pod["status"], now);
    Ok(())
}

fn check(pod: &Value, binding: &Value) -> Result<(), Status> {
    let name = read::text(&pod["metadata"], "name");
    if read::text(&binding["metadata"], "name") != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let mut wrong = meta::labels(&binding["metadata"]["labels"], &Path::new("metadata").child("labels"));
    let annotations = &binding["metadata"]["annotations"];
    wrong.extend(meta::annotations(annotations, &Path::new("metadata").child("annotations")));
    if !wrong.is_empty() {
        return Err(mistake::refuse_as("", "Binding", name, &wrong));
    }
    let mistakes = mistakes(&binding["target"]);
    if !mistakes.is_empty() {
        // Kubernetes makes no Status of these, so they are the server's fault.
        return Err(Status::new(500, "", aggregate(&mistakes)));
    }
    for (field, words) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let (wanted, has) = (read::text(&binding["metadata"], field), read::text(&pod["metadata"], field));
        if !wanted.is_empty() && wanted != has {
            let why = format!(
                "Precondition failed: {words} in precondition: {wanted}, {words} in object meta: {has}"
            );
            return Err(Status::conflict(&KIND, name, &why));
        }
    }
    let node = read::text(&pod["spec"], "nodeName");
    let why = if pod["metadata"]["deletionTimestamp"].is_string() {
        format!("pod {name} is being deleted, cannot be assigned to a host")
    } else if !node.is_empty() {
        format!("pod {name} is already assigned to node {}", crate::body::quoted(node))
    } else if !read::list(&pod["spec"], "schedulingGates").is_empty() {
        format!("pod {name} has non-empty .spec.schedulingGates")
    } else {
        return Ok(());
    };
    let mut status = Status::conflict(&KIND, name, &why);
    status.message = format!("Operation cannot be fulfilled on pods/binding \"{name}\": {why}");
    if let Some(details) = &mut status.details {
        details.insert("kind".to_owned(), "pods/binding".into());
    }
    Err(status)
}

fn mistakes(target: &Value) -> Vec<Mistake> {
    let (path, mut found) = (Path::new("target"), Vec::new());
    let kind = read::text(target, "kind");
    if !["", "Node"].contains(&kind) {
        found.push(Mistake::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]));
    }
    if read::text(target, "name").is_empty() {
        found.push(Mistake::required(&path.child("name"), ""));
    }
    found
}

fn set_scheduled(status: &mut Value, now: Instant) {
    let mut conditions = read::list(status, "conditions").to_vec();
    let mut scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
                               "lastTransitionTime": now.print(Precision::Seconds)});
    match conditions.iter_mut().find(|condition| condition["type"] == "PodScheduled") {
        Some(condition) => {
            if condition["status"] == "True" {
                scheduled["lastTransitionTime"] = condition["lastTransitionTime"].clone();
            }
            *condition = scheduled;
        }
        None => conditions.push(scheduled),
    }
    status["conditions"] = conditions.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant { seconds: 1_767_225_600, nanos: 5 };

    fn pod() -> Value {
        json!({"metadata": {"name": "p", "uid": "u"}, "spec": {}, "status": {"phase": "Pending"}})
    }

    #[test]
    fn a_pod_is_bound_once() {
        let mut pod = pod();
        let binding = json!({"metadata": {"name": "p", "annotations": {"a": "b"}},
                             "target": {"kind": "Node", "name": "n1"}});
        let zone = json!({"topology.kubernetes.io/zone": "z"});
        let node = json!({"metadata": {"labels": zone}});
        assert_eq!(bind(&mut pod, &binding, Some(&node), NOW), Ok(()));
        let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
                               "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let wanted = json!({"metadata": {"name": "p", "uid": "u", "annotations": {"a": "b"}, "labels": zone},
                            "spec": {"nodeName": "n1"}, "status": {"phase": "Pending", "conditions": [scheduled]}});
        assert_eq!(pod, wanted);
        let refused = bind(&mut pod, &binding, None, NOW).unwrap_err();
        assert_eq!(
            refused.message,
            "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\""
        );
        assert_eq!(refused.json()["details"], json!({"name": "p", "kind": "pods/binding"}));
        assert_eq!(pod, wanted);
    }

    #[test]
    fn what_cannot_be_bound_is_refused() {
        let check = |mut pod: Value, binding: Value, code: u16, wanted: &str| {
            let refused = bind(&mut pod, &binding, None, NOW).unwrap_err();
            assert_eq!((refused.code, refused.message.as_str()), (code, wanted));
        };
        let target = json!({"name": "n"});
        check(
            pod(),
            json!({"metadata": {"name": "q"}, "target": target}),
            400,
            "name in URL does not match name in Binding object",
        );
        check(
            pod(),
            json!({"metadata": {"name": "p"}, "target": {"kind": "X"}}),
            500,
            "[target.kind: Unsupported value: \"X\": supported values: \"Node\", \"<empty>\", target.name: Required value]",
        );
        check(
            pod(),
            json!({"metadata": {"name": "p", "uid": "v"}, "target": target}),
            409,
            "Operation cannot be fulfilled on pods \"p\": Precondition failed: UID in precondition: v, UID in object meta: u",
        );
        let pairs = json!({"name": "p", "labels": {"a": "-"}, "annotations": {"b/c/d": "e"}});
        let refused = bind(&mut pod(), &json!({"metadata": pairs, "target": target}), None, NOW).unwrap_err();
        let fields: Vec<&Value> = refused.details.as_ref().unwrap()["causes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["field"])
            .collect();
        assert_eq!(
            (refused.code, fields),
            (422, vec![&json!("metadata.labels"), &json!("metadata.annotations")])
        );
        let mut gone = pod();
        gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        check(
            gone,
            json!({"metadata": {"name": "p"}, "target": target}),
            409,
            "Operation cannot be fulfilled on pods/binding \"p\": pod p is being deleted, cannot be assigned to a host",
        );
    }
}
