//! The scale of what makes Pods: how many there shall be, as `autoscaling/v1` has it.

use serde_json::{Value, json};

use crate::kinds::{Column, Kind, Rules, Scope, created, labels};
use crate::meta;
use crate::mistake::{Mistake, Path, refuse};
use crate::names;
use crate::status::Status;

/// A scale. It is nowhere but under another object, whose scale it is.
pub static KIND: Kind = Kind {
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
    type_name: "autoscaling.v1.Scale",
    plural: "scales",
    singular: "scale",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: &[],
    subresources: &[],
    selectable: &[],
    table: "",
    rules: Rules {
        columns: &[
            Column::new("Desired", "integer", "How many Pods there shall be."),
            Column::new("Available", "integer", "How many Pods there are."),
            Column::AGE,
        ],
        cells: |scale, now| {
            let count = |of: &str| scale[of]["replicas"].as_i64().unwrap_or(0);
            vec![count("spec").into(), count("status").into(), created(scale, now)]
        },
        ..Rules::PLAIN
    },
};

/// Answers the scale of a Deployment or a ReplicaSet.
pub fn scale_of(object: &Value) -> Value {
    let (meta, count) = (&object["metadata"], |of: &str| object[of]["replicas"].as_i64().unwrap_or(0));
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {},
        "spec": {}, "status": {"replicas": count("status")},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !meta[field].is_null() {
            scale["metadata"][field] = meta[field].clone();
        }
    }
    if count("spec") != 0 {
        scale["spec"]["replicas"] = count("spec").into();
    }
    let selector = labels::line(&object["spec"]["selector"]);
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// Gives an object the scale that a client wants. The object gets the `resourceVersion` that the client believes it has, or
/// none.
pub fn apply_scale(object: &mut Value, scale: &Value, kind: &Kind) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mistakes = check(scale);
    if !mistakes.is_empty() {
        return Err(refuse(&KIND, &name, &mistakes));
    }
    let uid = |of: &Value| of["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let (wanted, has) = (uid(scale), uid(object));
    if !wanted.is_empty() && wanted != has {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {has}");
        let mut status = Status::conflict(kind, &name, &why);
        let resource = format!("{}.{}/scale", kind.plural, kind.group);
        status.message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        if let Some(details) = &mut status.details {
            details.insert("kind".to_owned(), format!("{}/scale", kind.plural).into());
        }
        return Err(status);
    }
    object["spec"]["replicas"] = scale["spec"]["replicas"].as_i64().unwrap_or(0).into();
    match scale["metadata"]["resourceVersion"].as_str() {
        Some(revision) => object["metadata"]["resourceVersion"] = revision.into(),
        None => drop(object["metadata"].as_object_mut().and_then(|meta| meta.remove("resourceVersion"))),
    }
    Ok(())
}

fn check(scale: &Value) -> Vec<Mistake> {
    let mut found = meta::check(scale, &KIND, names::dns_subdomain);
    let (replicas, path) = (scale["spec"]["replicas"].as_i64().unwrap_or(0), Path::new("spec"));
    if replicas < 0 {
        let why = "must be greater than or equal to 0";
        found.push(Mistake::invalid(&path.child("replicas"), replicas, why));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Value {
        json!({"metadata": {"name": "d", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 1},
               "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "d"}}}, "status": {}})
    }

    #[test]
    fn a_scale_is_read_and_written() {
        let mut object = deployment();
        let mut scale = scale_of(&object);
        let wanted = json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": {"name": "d", "namespace": "n", "uid": "u", "resourceVersion": "7"},
            "spec": {"replicas": 2}, "status": {"replicas": 0, "selector": "app=d"}});
        assert_eq!(scale, wanted);
        scale["spec"] = json!({});
        let kind = Kind::find("apps", "v1", "deployments").expect("it is served");
        apply_scale(&mut object, &scale, kind).expect("it can be 0");
        assert_eq!(
            (&object["spec"]["replicas"], &object["metadata"]["resourceVersion"]),
            (&json!(0), &json!("7"))
        );
        assert_eq!(scale_of(&object)["spec"], json!({}));
        scale["metadata"]["uid"] = "v".into();
        assert_eq!(
            apply_scale(&mut object, &scale, kind).expect_err("it is another").message,
            "Operation cannot be fulfilled on deployments.apps/scale \"d\": Precondition failed: UID in precondition: v, UID \
             in object meta: u"
        );
    }
}
