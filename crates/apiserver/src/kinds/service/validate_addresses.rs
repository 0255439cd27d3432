//! Judges the addresses of a Service, their families, and how they change.

use serde_json::{Value, json};

use super::spec::Spec;
use crate::address;
use crate::allocate::family;
use crate::mistake::{Mistake, Path};

const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];

fn field(name: &str) -> Path {
    Path::new("spec").child(name)
}

/// Answers where addresses, families and policy contradict each other.
pub(super) fn consistent(service: &Value) -> Vec<Mistake> {
    let spec = Spec::of(service);
    if spec.is_external_name() {
        return Vec::new();
    }
    let mut wrong = joined(spec);
    wrong.extend(families(spec));
    let (is_readable, of_addresses) = addresses(spec);
    wrong.extend(of_addresses);
    if is_readable {
        wrong.extend(paired(spec));
    }
    wrong
}

fn joined(spec: Spec<'_>) -> Vec<Mistake> {
    let (one, all, field) = (spec.text("clusterIP"), spec.texts("clusterIPs"), field("clusterIPs"));
    match (one, all.first()) {
        ("", None) => Vec::new(),
        ("", Some(_)) => {
            vec![Mistake::invalid(&field, json!(all), "must be empty when `clusterIP` is not specified")]
        }
        (_, None) => vec![Mistake::required(&field, "")],
        (one, Some(first)) if *first == one => Vec::new(),
        (_, Some(_)) => vec![Mistake::invalid(&field, json!(all), "first value must match `clusterIP`")],
    }
}

fn families(spec: Spec<'_>) -> Vec<Mistake> {
    let (all, mut wrong) = (spec.texts("ipFamilies"), Vec::new());
    for (at, family) in all.iter().enumerate() {
        let field = field("ipFamilies").index(at);
        if !FAMILIES.contains(family) {
            wrong.push(Mistake::not_supported(&field, *family, FAMILIES));
        }
        if all[..at].contains(family) {
            wrong.push(Mistake::duplicate(&field, *family));
        }
    }
    let policy = spec.text("ipFamilyPolicy");
    if spec.field("ipFamilyPolicy").is_some() && !POLICIES.contains(&policy) {
        wrong.push(Mistake::not_supported(&field("ipFamilyPolicy"), policy, POLICIES));
    }
    wrong
}

/// Also answers whether the addresses can be compared with the rest.
fn addresses(spec: Spec<'_>) -> (bool, Vec<Mistake>) {
    let (all, field, mut wrong) = (spec.texts("clusterIPs"), field("clusterIPs"), Vec::new());
    for (at, address) in all.iter().enumerate() {
        if at > 0 || *address != "None" {
            wrong.extend(address::address(address, &field.index(at)));
        } else if all.len() > 1 {
            wrong.push(Mistake::invalid(&field, json!(all), "'None' must be the first and only value"));
        }
    }
    let is_readable = wrong.is_empty();
    if all.len() > 2 {
        wrong.push(Mistake::invalid(&field, json!(all), "may only hold up to 2 values"));
    }
    (is_readable, wrong)
}

/// Addresses with each other, and with the families.
fn paired(spec: Spec<'_>) -> Vec<Mistake> {
    let (all, path, mut wrong) = (spec.texts("clusterIPs"), field("clusterIPs"), Vec::new());
    let families: Vec<&str> =
        all.iter().filter_map(|address| address::lenient(address)).map(family).collect();
    if all.len() > 1 && !FAMILIES.iter().all(|family| families.contains(family)) {
        wrong.push(Mistake::invalid(&path, json!(all), "may specify no more than one IP for each IP family"));
    }
    if spec.is_headless() {
        return wrong;
    }
    for (at, (wanted, is)) in spec.texts("ipFamilies").into_iter().zip(families).enumerate() {
        if FAMILIES.contains(&wanted) && wanted != is {
            let why = format!("expected an {wanted} value as indicated by `ipFamilies[{at}]`");
            wrong.push(Mistake::invalid(&path.index(at), all[at], why));
        }
    }
    wrong
}

/// Judges how addresses and families change: a second one may come and go, the first stays.
pub(super) fn changed(new: &Value, old: &Value) -> Vec<Mistake> {
    let (is, was) = (Spec::of(new), Spec::of(old));
    if is.is_external_name() || was.is_external_name() {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    if !(is.is_headless() && was.is_headless()) {
        wrong.extend(changed_addresses(is, was));
    }
    if !is.is_headless() && !was.is_headless() {
        wrong.extend(changed_families(is, was));
    }
    wrong
}

fn not_single(spec: Spec<'_>, what: &str) -> Option<Mistake> {
    let policy = spec.field("ipFamilyPolicy").cloned().unwrap_or_default();
    let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
    (policy != "SingleStack").then(|| Mistake::invalid(&field("ipFamilyPolicy"), policy, why))
}

fn changed_addresses(is: Spec<'_>, was: Spec<'_>) -> Vec<Mistake> {
    let (after, before, path) = (is.texts("clusterIPs"), was.texts("clusterIPs"), field("clusterIPs"));
    let fixed = |at: usize| Mistake::invalid(&path.index(at), json!(after), "may not change once set");
    if after.len() == before.len() {
        return (0..before.len()).filter(|at| before[*at] != after[*at]).map(fixed).collect();
    }
    let mut wrong = Vec::new();
    match (before.first(), after.first()) {
        (Some(_), None) => {
            let why = "primary clusterIP can not be unset";
            wrong.push(Mistake::invalid(&path.index(0), Value::Null, why));
        }
        (Some(before), Some(after)) if before != after => wrong.push(fixed(0)),
        (Some(_) | None, _) => {}
    }
    if before.len() > after.len() && after.len() == 1 {
        wrong.extend(not_single(is, "clusterIP"));
    }
    wrong
}

fn changed_families(is: Spec<'_>, was: Spec<'_>) -> Vec<Mistake> {
    let (after, before, path) =
        (is.texts("ipFamilies"), was.texts("ipFamilies"), field("ipFamilies").index(0));
    let fixed = |shown: Value| Mistake::invalid(&path, shown, "may not change once set");
    if after.len() == before.len() {
        let differ = before.iter().zip(&after).filter(|(before, after)| before != after);
        return differ.map(|_| fixed(json!(after))).collect();
    }
    let addresses = is.texts("clusterIPs");
    let mut wrong = Vec::new();
    if before.len() > after.len() && addresses.is_empty() {
        wrong.push(Mistake::invalid(&path, json!(after), "primary ipFamily can not be unset"));
    }
    if let (Some(before), Some(after)) = (before.first(), after.first())
        && before != after
    {
        wrong.push(fixed(json!(addresses)));
    }
    if before.len() > after.len() && after.len() == 1 {
        wrong.extend(not_single(is, "ipFamily"));
    }
    wrong
}
