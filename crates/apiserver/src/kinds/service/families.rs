//! Which families of addresses a Service has: what it does not say follows from its addresses, its policy and the
//! cluster (`initIPFamilyFields` of Kubernetes).

use serde_json::{Value, json};

use super::spec::{Spec, fields, set_texts};
use super::validate_addresses;
use crate::address;
use crate::allocate::family;
use crate::mistake::{Mistake, Path};

/// Completes policy and families of a new or changed Service. `families`: those of the cluster, the usual one first.
///
/// Answers what is wrong; then it is complete only in part.
pub(super) fn complete(new: &mut Value, old: Option<&Value>, families: &[&str]) -> Vec<Mistake> {
    if Spec::of(new).is_external_name() || old.is_some_and(|old| is_settled(new, old)) {
        return Vec::new();
    }
    complete_policy(new, old);
    let wrong = validate_addresses::consistent(new);
    if !wrong.is_empty() {
        return wrong;
    }
    let mut wrong = old.map(|old| shrink(new, old)).unwrap_or_default();
    wrong.extend(too_many_for_one(new));
    wrong.extend(infer(new, families));
    if !wrong.is_empty() {
        return wrong;
    }
    // Whoever makes a headless Service without a selector fills in endpoints of any family, whatever the cluster has.
    let is_free = Spec::of(new).text("clusterIP") == "None" && !Spec::of(new).has_selector();
    let wrong = if is_free { Vec::new() } else { not_configured(new, families) };
    if wrong.is_empty() {
        let can_be_two = is_free || families.len() == 2;
        add_families(new, families.first().copied().unwrap_or("IPv4"), can_be_two);
    }
    wrong
}

/// Whether nothing changes for a Service that prefers two families: it gets none, and loses none, only because the
/// cluster did.
pub(super) fn is_settled(new: &Value, old: &Value) -> bool {
    let (new, old) = (Spec::of(new), Spec::of(old));
    new.text("ipFamilyPolicy") == "PreferDualStack"
        && ["", "PreferDualStack"].contains(&old.text("ipFamilyPolicy"))
        && new.text("type") == old.text("type")
        && (new.is("ClusterIP") || new.has_node_ports())
        && new.texts("clusterIPs") == old.texts("clusterIPs")
        && new.texts("ipFamilies") == old.texts("ipFamilies")
}

fn policy(service: &Value) -> &str {
    Spec::of(service).text("ipFamilyPolicy")
}

fn complete_policy(new: &mut Value, old: Option<&Value>) {
    if Spec::of(new).field("ipFamilyPolicy").is_some() {
        return;
    }
    let is_free = Spec::of(new).text("clusterIP") == "None" && !Spec::of(new).has_selector();
    let policy = match old.and_then(|old| Spec::of(old).field("ipFamilyPolicy")) {
        Some(policy) => policy.clone(),
        None if is_free => "RequireDualStack".into(),
        None => "SingleStack".into(),
    };
    fields(new).insert("ipFamilyPolicy".to_owned(), policy);
}

fn policy_mistake(service: &Value, why: &str) -> Mistake {
    Mistake::invalid(&Path::new("spec").child("ipFamilyPolicy"), policy(service), why)
}

/// Drops the second family if the policy says so and nothing else was changed; without the policy it cannot go.
fn shrink(new: &mut Value, old: &Value) -> Vec<Mistake> {
    let mut wrong = Vec::new();
    let is_single = policy(new) == "SingleStack";
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (before, after) = (Spec::of(old).texts(field), Spec::of(new).texts(field));
        if is_single && before == after && after.len() > 1 {
            let first = vec![after[0].to_owned()];
            set_texts(new, field, &first);
        } else if !is_single && !after.is_empty() && after.len() < before.len() {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            wrong.push(policy_mistake(new, &why));
        }
    }
    wrong
}

fn too_many_for_one(new: &Value) -> Vec<Mistake> {
    let fields = [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")];
    let two = fields
        .iter()
        .filter(|(field, _)| policy(new) == "SingleStack" && Spec::of(new).texts(field).len() == 2);
    two.map(|(_, what)| {
        let why =
            format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
        policy_mistake(new, &why)
    })
    .collect()
}

/// Adds the families of the addresses that are given.
fn infer(new: &mut Value, families: &[&str]) -> Vec<Mistake> {
    let addresses: Vec<String> = Spec::of(new).texts("clusterIPs").into_iter().map(str::to_owned).collect();
    let mut known: Vec<String> = Spec::of(new).texts("ipFamilies").into_iter().map(str::to_owned).collect();
    let mut wrong = Vec::new();
    for (at, address) in addresses.iter().enumerate().take_while(|(_, address)| *address != "None") {
        let Some(family) = address::lenient(address).map(family).filter(|_| at >= known.len()) else {
            continue;
        };
        if families.contains(&family) {
            known.push(family.to_owned());
        } else {
            let field = Path::new("spec").child("clusterIPs").index(at);
            let why = format!("{family} is not configured on this cluster");
            wrong.push(Mistake::invalid(&field, json!(addresses), why));
        }
    }
    set_texts(new, "ipFamilies", &known);
    wrong
}

fn not_configured(new: &Value, families: &[&str]) -> Vec<Mistake> {
    let mut wrong = Vec::new();
    if policy(new) == "RequireDualStack" && families.len() < 2 {
        wrong.push(policy_mistake(new, "this cluster is not configured for dual-stack services"));
    }
    let field = Path::new("spec").child("ipFamilies");
    let asked = Spec::of(new).texts("ipFamilies").into_iter().enumerate();
    let unknown = asked.filter(|(_, family)| !families.contains(family));
    wrong
        .extend(unknown.map(|(at, family)| {
            Mistake::invalid(&field.index(at), family, "not configured on this cluster")
        }));
    wrong
}

fn add_families(new: &mut Value, usual: &str, can_be_two: bool) {
    let mut families: Vec<String> =
        Spec::of(new).texts("ipFamilies").into_iter().map(str::to_owned).collect();
    if families.is_empty() {
        families.push(usual.to_owned());
    }
    if families.len() == 1 && can_be_two && policy(new) != "SingleStack" {
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
    }
    set_texts(new, "ipFamilies", &families);
}
