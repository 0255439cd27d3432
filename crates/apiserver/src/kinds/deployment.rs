//! Pods of one version, and from one to the next.

use serde_json::{Value, json};

use super::pod::defaults::set;
use super::pod::life;
use super::pod::read::{negative, number, text};
use super::workload::{self, column, last_cells, wide};
use super::{ALL_VERBS, Column, Kind, Rules, SCALE, STATUS, Scope};
use crate::mistake::{Mistake, Path};

/// Pods of one version, and from one to the next.
pub(super) const KIND: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    type_name: "apps.v1.Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[SCALE, STATUS],
    selectable: &[],
    table: "deployments",
    rules: Rules {
        defaults,
        prepare,
        prepare_update,
        validate,
        validate_update,
        prepare_status: |new, old| workload::prepare_status(new, old, &["generation", "labels"]),
        validate_status,
        warnings: workload::warnings,
        columns: COLUMNS,
        cells,
        ..Rules::PLAIN
    },
};

const COLUMNS: &[Column] = &[
    column("Ready", "string", "How many of its Pods are ready, of how many that there shall be."),
    column("Up-to-date", "string", "How many are of the newest version."),
    column("Available", "string", "How many have been ready for long enough."),
    column("Age", "string", "How long ago it was created."),
    wide("Containers", "The names of the containers of each Pod."),
    wide("Images", "What they are made of."),
    wide("Selector", "The labels by which it knows its Pods."),
];

fn cells(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut cells = vec![
        json!(format!("{}/{}", number(status, "readyReplicas"), number(spec, "replicas"))),
        json!(number(status, "updatedReplicas")),
        json!(number(status, "availableReplicas")),
    ];
    cells.extend(last_cells(object, now));
    cells
}

fn defaults(object: &mut Value) {
    workload::defaults(object);
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    set(spec, "strategy", json!({}));
    let strategy = &mut spec["strategy"];
    set(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        set(strategy, "rollingUpdate", json!({}));
        for field in ["maxUnavailable", "maxSurge"] {
            if strategy["rollingUpdate"][field].is_null() {
                strategy["rollingUpdate"][field] = "25%".into();
            }
        }
    }
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
}

fn prepare(object: &mut Value) {
    object["metadata"]["generation"] = 1.into();
    object["status"] = json!({});
}

/// Annotations count as well: they are copied to the ReplicaSets.
fn prepare_update(new: &mut Value, old: &Value) {
    new["status"] = old["status"].clone();
    let is_changed =
        new["spec"] != old["spec"] || new["metadata"]["annotations"] != old["metadata"]["annotations"];
    life::count(new, old, is_changed);
}

fn validate(object: &Value) -> Vec<Mistake> {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut found: Vec<Mistake> = negative(spec, "replicas", &path).into_iter().collect();
    found.extend(workload::selection(spec, &path));
    found.extend(strategy(&spec["strategy"], &path.child("strategy")));
    let counts = ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"];
    found.extend(counts.iter().filter_map(|field| negative(spec, field, &path)));
    let deadline = number(spec, "progressDeadlineSeconds");
    if deadline <= number(spec, "minReadySeconds") {
        let why = "must be greater than minReadySeconds";
        found.push(Mistake::invalid(&path.child("progressDeadlineSeconds"), deadline, why));
    }
    found
}

fn validate_update(new: &Value, old: &Value) -> Vec<Mistake> {
    let mut found = validate(new);
    found.extend(workload::reselected(new, old));
    found
}

fn strategy(strategy: &Value, path: &Path) -> Vec<Mistake> {
    let rolling = &strategy["rollingUpdate"];
    match text(strategy, "type") {
        "Recreate" if rolling.is_null() => Vec::new(),
        "Recreate" => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            vec![Mistake::forbidden(&path.child("rollingUpdate"), why)]
        }
        "RollingUpdate" => rolling_update(rolling, &path.child("rollingUpdate")),
        other => {
            // Kubernetes prints its own struct here (in another order).
            let rolling = match rolling {
                Value::Object(_) => {
                    json!({"MaxUnavailable": rolling["maxUnavailable"], "MaxSurge": rolling["maxSurge"]})
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    Value::Null
                }
            };
            let whole = json!({"Type": other, "RollingUpdate": rolling});
            vec![Mistake::not_supported(path, whole, &["Recreate", "RollingUpdate"])]
        }
    }
}

fn rolling_update(rolling: &Value, path: &Path) -> Vec<Mistake> {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    let (at, mut found) = (path.child("maxUnavailable"), Vec::new());
    found.extend(share(unavailable, &at));
    found.extend(share(surge, &path.child("maxSurge")));
    if amount(unavailable) == 0 && amount(surge) == 0 {
        found.push(Mistake::invalid(&at, unavailable.clone(), "may not be 0 when `maxSurge` is 0"));
    }
    if percent(unavailable).is_some_and(|percent| percent > 100) {
        found.push(Mistake::invalid(&at, unavailable.clone(), "must not be greater than 100%"));
    }
    found
}

/// A number of Pods, or so many of a hundred.
fn share(share: &Value, path: &Path) -> Option<Mistake> {
    match share.as_str() {
        Some(_) => percent(share).is_none().then(|| {
            let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                       regex used for validation is '[0-9]+%')";
            Mistake::invalid(path, share.clone(), why)
        }),
        None => {
            let number = share.as_i64().unwrap_or(0);
            let why = "must be greater than or equal to 0";
            (number < 0).then(|| Mistake::invalid(path, number, why))
        }
    }
}

fn percent(share: &Value) -> Option<i64> {
    let digits = share.as_str()?.strip_suffix('%')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(i64::MAX))
}

fn amount(share: &Value) -> i64 {
    percent(share).or(share.as_i64()).unwrap_or(0)
}

fn validate_status(new: &Value, old: &Value) -> Vec<Mistake> {
    let (new, old) = (&new["status"], &old["status"]);
    let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
    let all = [
        "observedGeneration",
        "replicas",
        parts[0],
        parts[1],
        parts[2],
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    let mut found = workload::counts(new, &all, &parts);
    let count = number(new, "collisionCount");
    if count < number(old, "collisionCount") {
        let path = Path::new("status").child("collisionCount");
        found.push(Mistake::invalid(&path, count, "cannot be decremented"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_the_next_version_are_judged() {
        let check = |given: Value, wanted: &[&str]| {
            let mut object = json!({"spec": {"strategy": given}});
            defaults(&mut object);
            let found = strategy(&object["spec"]["strategy"], &Path::new("s"));
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), wanted);
        };
        check(json!({}), &[]);
        check(json!({"type": "Recreate"}), &[]);
        check(
            json!({"type": "Recreate", "rollingUpdate": {}}),
            &["s.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
        );
        check(
            json!({"type": "X"}),
            &[
                "s: Unsupported value: {\"RollingUpdate\":null,\"Type\":\"X\"}: supported values: \"Recreate\", \"RollingUpdate\"",
            ],
        );
        check(
            json!({"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}),
            &["s.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
        );
        check(
            json!({"rollingUpdate": {"maxUnavailable": "101%", "maxSurge": -1}}),
            &[
                "s.rollingUpdate.maxSurge: Invalid value: -1: must be greater than or equal to 0",
                "s.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ],
        );
        check(
            json!({"rollingUpdate": {"maxUnavailable": "x"}}),
            &[
                "s.rollingUpdate.maxUnavailable: Invalid value: \"x\": a valid percent string must be a numeric string \
               followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            ],
        );
    }

    #[test]
    fn parts_are_not_more_than_the_whole() {
        let status = json!({"status": {"replicas": 1, "readyReplicas": 2, "availableReplicas": 3}});
        let found = validate_status(&status, &json!({"status": {"collisionCount": 1}}));
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
                "status.collisionCount: Invalid value: 0: cannot be decremented",
            ]
        );
    }
}
