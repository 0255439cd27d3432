//! How a Pod begins, counts its changes and goes.

use serde_json::{Value, json};

use super::{affinity, amounts, read};

/// Makes a new Pod what a new Pod is.
pub(super) fn prepare(pod: &mut Value) {
    pod["metadata"]["generation"] = 1.into();
    pod["status"] = json!({"phase": "Pending", "qosClass": quality(&pod["spec"])});
    if !read::list(&pod["spec"], "schedulingGates").is_empty() {
        pod["status"]["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "lastProbeTime": null, "lastTransitionTime": null,
            "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    affinity::add_own_labels(pod);
}

/// Takes the status back and counts the generation.
pub(super) fn prepare_update(new: &mut Value, old: &Value) {
    new["status"] = old["status"].clone();
    count(new, old, new["spec"] != old["spec"]);
}

/// Counts the generation if something was changed.
pub(in crate::kinds) fn count(new: &mut Value, old: &Value, is_changed: bool) {
    let generation = read::number(&old["metadata"], "generation").saturating_add(i64::from(is_changed));
    if generation > 0 {
        new["metadata"]["generation"] = generation.into();
    }
}

/// Answers how long a Pod stays that is deleted. Without a node nobody has to end its containers.
pub(super) fn grace(pod: &Value, asked: Option<i64>) -> Option<i64> {
    let period = asked.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(0);
    let is_on_a_node = !read::text(&pod["spec"], "nodeName").is_empty();
    let is_finished = matches!(read::text(&pod["status"], "phase"), "Succeeded" | "Failed");
    match period {
        0 => None,
        _ if !is_on_a_node || is_finished => None,
        ..0 => Some(1),
        period => Some(period),
    }
}

/// Answers the class of a Pod's quality of service.
pub(super) fn quality(spec: &Value) -> &'static str {
    let containers = || read::list(spec, "containers").iter().chain(read::list(spec, "initContainers"));
    let amount = |of: &Value, of_what: &str, name: &str| {
        of["resources"][of_what][name].as_str().map(amounts::nano).filter(|amount| *amount > 0)
    };
    let of_pod = json!({"resources": spec["resources"]});
    // What the Pod has as a whole counts instead of what its containers have.
    let all: Vec<&Value> = if spec["resources"].is_object() { vec![&of_pod] } else { containers().collect() };
    let has_any = all.iter().any(|of| {
        ["cpu", "memory"]
            .iter()
            .any(|name| amount(of, "requests", name).is_some() || amount(of, "limits", name).is_some())
    });
    let is_fixed = all.iter().all(|of| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = amount(of, "limits", name);
            limit.is_some() && amount(of, "requests", name).is_none_or(|request| Some(request) == limit)
        })
    });
    match (has_any, is_fixed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_a_node_and_not_finished_stays() {
        let pod = |node: &str, phase: &str| json!({"spec": {"nodeName": node, "terminationGracePeriodSeconds": 30}, "status": {"phase": phase}});
        for (pod, asked, wanted) in [
            (pod("n", "Running"), None, Some(30)),
            (pod("n", "Running"), Some(5), Some(5)),
            (pod("n", "Running"), Some(0), None),
            (pod("n", "Running"), Some(-1), Some(1)),
            (pod("", "Pending"), Some(5), None),
            (pod("n", "Succeeded"), None, None),
            (pod("n", "Failed"), Some(-1), None),
        ] {
            assert_eq!(grace(&pod, asked), wanted, "{pod} {asked:?}");
        }
    }

    #[test]
    fn the_generation_ends_at_the_largest() {
        for (before, is_changed, wanted) in [
            (json!(null), false, json!(null)),
            (json!(null), true, json!(1)),
            (json!(i64::MAX), true, json!(i64::MAX)),
        ] {
            let mut new = json!({"metadata": {}});
            count(&mut new, &json!({"metadata": {"generation": before}}), is_changed);
            assert_eq!(new["metadata"]["generation"], wanted);
        }
    }

    #[test]
    fn the_class_follows_from_what_is_asked_for() {
        let of = |resources: Value| quality(&json!({"containers": [{"resources": resources}]}));
        assert_eq!(of(json!({})), "BestEffort");
        assert_eq!(of(json!({"limits": {"x.io/y": "1"}})), "BestEffort");
        assert_eq!(of(json!({"requests": {"cpu": "1"}})), "Burstable");
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(of(json!({"requests": both, "limits": {"cpu": "1000m", "memory": "1Gi"}})), "Guaranteed");
        assert_eq!(of(json!({"requests": both, "limits": {"cpu": "2", "memory": "1Gi"}})), "Burstable");
    }
}
