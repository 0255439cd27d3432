//! A range of addresses for Services.

use serde_json::{Value, json};

use super::rules::created;
use super::{ALL_VERBS, Column, Kind, Rules, STATUS, Scope};
use crate::mistake::{Mistake, Path};
use crate::range::{self, Range};

/// A range of addresses for Services.
pub(super) const KIND: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "ServiceCIDR",
    type_name: "networking.v1.ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[STATUS],
    selectable: &[],
    table: "servicecidrs",
    rules: Rules {
        prepare: |object| object["status"] = json!({}),
        prepare_update: |new, old| new["status"] = old["status"].clone(),
        prepare_status: |new, old| new["spec"] = old["spec"].clone(),
        validate,
        validate_update: |new, old| {
            let mut wrong = validate(new);
            wrong.extend(changed(new, old));
            wrong
        },
        columns: &[Column::new("CIDRs", "string", "The ranges of addresses."), Column::AGE],
        cells: |object, now| vec![ranges(object).join(",").into(), created(object, now)],
        ..Rules::PLAIN
    },
};

fn ranges(object: &Value) -> Vec<&str> {
    object["spec"]["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn field() -> Path {
    Path::new("spec").child("cidrs")
}

fn validate(object: &Value) -> Vec<Mistake> {
    let all = ranges(object);
    let families: Vec<Option<bool>> =
        all.iter().map(|text| Range::parse(text).map(|range| range.address.is_ipv4())).collect();
    match families[..] {
        [] => vec![Mistake::required(&field(), "at least one CIDR required")],
        [_] => range::canonical(all[0], &field().index(0)),
        [Some(first), Some(second)] if first != second => {
            let each = all.iter().enumerate();
            each.flat_map(|(at, text)| range::canonical(text, &field().index(at))).collect()
        }
        [_, _] => {
            let why =
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            vec![Mistake::invalid(&field(), json!(all), why)]
        }
        [_, _, _, ..] => {
            let why = "may only hold up to 2 values";
            vec![Mistake::invalid(&field(), json!({"CIDRs": all}), why)]
        }
    }
}

/// A second family may come; everything else stays.
fn changed(new: &Value, old: &Value) -> Vec<Mistake> {
    let (after, before) = (ranges(new), ranges(old));
    let is_joined = (before.len(), after.len()) == (1, 2);
    if after.len() != before.len() && !is_joined {
        return vec![Mistake::invalid(&field(), json!(after), "field is immutable")];
    }
    let pairs = before.iter().zip(&after).enumerate().filter(|(_, (before, after))| before != after);
    pairs.map(|(at, (_, after))| Mistake::invalid(&field().index(at), *after, "field is immutable")).collect()
}
