//! Whom the programs of a container run as, from what its pod says. Pure.

use serde_json::Value;

use crate::pod::{Container, Pod, list};

/// The user and the group, where something is said of them; `Err` says why nobody may be what would come of it.
pub(crate) fn user(pod: &Pod, container: &Container) -> Result<(Option<u32>, Option<u32>), String> {
    let said = |field: &str| {
        let own = &container.object["securityContext"][field];
        if own.is_null() { &pod.object["spec"]["securityContext"][field] } else { own }
    };
    let id = |field: &str| said(field).as_u64().and_then(|id| u32::try_from(id).ok());
    let user = id("runAsUser");
    if said("runAsNonRoot") == true {
        let who = || {
            format!("(pod: \"{}_{}({})\", container: {})", pod.name, pod.namespace, pod.uid, container.name)
        };
        match user {
            Some(0) => return Err(format!("container's runAsUser breaks non-root policy {}", who())),
            Some(_) => {}
            // No image says otherwise.
            None => return Err(format!("container has runAsNonRoot and image will run as root {}", who())),
        }
    }
    Ok((user, id("runAsGroup")))
}

/// The groups beside the first.
pub(crate) fn groups(pod: &Pod) -> Vec<u32> {
    let context = &pod.object["spec"]["securityContext"];
    let all = list(&context["supplementalGroups"]).chain(std::iter::once(&context["fsGroup"]));
    all.filter_map(Value::as_u64).filter_map(|group| u32::try_from(group).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_run_as_they_shall() {
        let breaks = "container's runAsUser breaks non-root policy (pod: \"p_n(u)\", container: c)";
        let root = "container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)";
        for (of_pod, own, expected) in [
            (json!({}), json!({}), Ok((None, None))),
            (json!({"runAsUser": 7, "runAsGroup": 8}), json!({}), Ok((Some(7), Some(8)))),
            (json!({"runAsUser": 7, "runAsGroup": 8}), json!({"runAsUser": 0}), Ok((Some(0), Some(8)))),
            (json!({"runAsNonRoot": true}), json!({}), Err(root)),
            (json!({"runAsNonRoot": true}), json!({"runAsNonRoot": false}), Ok((None, None))),
            (json!({"runAsNonRoot": true}), json!({"runAsUser": 7}), Ok((Some(7), None))),
            (json!({"runAsUser": 0}), json!({"runAsNonRoot": true}), Err(breaks)),
        ] {
            let container = json!({"name": "c", "securityContext": own});
            let object = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
                "spec": {"securityContext": of_pod, "containers": [container]}});
            let pod = Pod::read(object, &crate::images::Images::default()).unwrap();
            let found = user(&pod, &pod.containers[0]);
            assert_eq!(found, expected.map_err(str::to_owned), "{of_pod} {own}");
        }
    }

    #[test]
    fn groups_are_counted_together() {
        let object = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [],
            "securityContext": {"supplementalGroups": [5, 6], "fsGroup": 7}}});
        assert_eq!(groups(&Pod::read(object, &crate::images::Images::default()).unwrap()), [5, 6, 7]);
    }
}
