//! An address that a Service has.

use serde_json::{Value, json};

use super::rules::created;
use super::{ALL_VERBS, Column, Kind, Rules, Scope};
use crate::mistake::{Mistake, Path};
use crate::{names, range};

/// An address that a Service has.
pub(super) const KIND: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "IPAddress",
    type_name: "networking.v1.IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[],
    table: "ipaddresses",
    rules: Rules {
        name: range::canonical_address,
        validate,
        validate_update: |new, old| {
            let mut wrong = validate(new);
            wrong.extend(changed(new, old));
            wrong
        },
        // Kubernetes forgets the heading of the age, which it shows.
        columns: &[Column::new("ParentRef", "string", "What has the address."), Column::AGE],
        cells: |object, now| vec![parent(object).into(), created(object, now)],
        ..Rules::PLAIN
    },
};

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["spec"]["parentRef"][field].as_str().unwrap_or_default()
}

/// `services/default/kubernetes`.
fn parent(object: &Value) -> String {
    if !object["spec"]["parentRef"].is_object() {
        return "<none>".to_owned();
    }
    let all = ["group", "resource", "namespace", "name"].map(|field| text(object, field));
    all.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("/")
}

fn validate(object: &Value) -> Vec<Mistake> {
    let path = Path::new("spec").child("parentRef");
    if !object["spec"]["parentRef"].is_object() {
        return vec![Mistake::required(&path, "")];
    }
    let mut wrong = Vec::new();
    let mut judge = |field: &str, is_required: bool, judge: fn(&str) -> Vec<String>| match text(object, field)
    {
        "" if is_required => wrong.push(Mistake::required(&path.child(field), "")),
        "" => {}
        value => {
            let path = path.child(field);
            wrong.extend(judge(value).into_iter().map(|why| Mistake::invalid(&path, value, why)));
        }
    };
    judge("group", false, names::dns_subdomain);
    judge("resource", true, names::path_segment);
    judge("name", true, names::path_segment);
    judge("namespace", false, names::path_segment);
    wrong
}

fn changed(new: &Value, old: &Value) -> Option<Mistake> {
    if new["spec"]["parentRef"] == old["spec"]["parentRef"] {
        return None;
    }
    let path = Path::new("spec").child("parentRef");
    let shown = json!({"Group": text(new, "group"), "Resource": text(new, "resource"),
                       "Namespace": text(new, "namespace"), "Name": text(new, "name")});
    let mistake = Mistake::invalid(&path, shown, "field is immutable");
    Some(mistake.ordered(&["Group", "Resource", "Namespace", "Name"]))
}
