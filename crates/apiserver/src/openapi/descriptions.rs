//! What types and fields mean, in one line each: for `kubectl explain`.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Answers what a field means, or with an empty name the type itself; `None`: nobody has written it down.
pub(super) fn of(type_name: &str, field: &str) -> Option<&'static str> {
    static ALL: OnceLock<HashMap<(&'static str, &'static str), &'static str>> = OnceLock::new();
    ALL.get_or_init(|| lines().map(|(of, field, text)| ((of, field), text)).collect())
        .get(&(type_name, field))
        .copied()
}

/// Every line: type, field (empty: the type itself), text.
fn lines() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let facts =
        include_str!("descriptions.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut type_name = "";
    facts.map(move |line| match line.strip_prefix("  ") {
        Some(field) => {
            let (field, text) = field.split_once(' ').unwrap_or((field, ""));
            (type_name, field, text)
        }
        None => {
            let (name, text) = line.split_once(' ').unwrap_or((line, ""));
            type_name = name;
            (name, "", text)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::served;
    use crate::schema::{Schema, Shape, Type};

    /// Whether a type has a field of its own or inlined from another that has none described.
    fn declares(kind: &Type, field: &str) -> bool {
        kind.fields.iter().any(|known| known.name == field && !known.is_inline)
    }

    #[test]
    fn every_line_names_a_field_that_exists() {
        let schema = Schema::get();
        let mut seen = std::collections::BTreeSet::new();
        for (type_name, field, text) in lines() {
            assert!(seen.insert((type_name, field)), "{type_name} {field} is there twice");
            assert!(!text.is_empty() && text.ends_with('.'), "{type_name} {field}: {text:?} is no sentence");
            assert!(text.len() <= 160, "{type_name} {field}: too long");
            if type_name == "meta.v1.TypeMeta" {
                assert!(["", "apiVersion", "kind"].contains(&field), "{field}");
                continue;
            }
            let of = schema.find(type_name).unwrap_or_else(|| panic!("{type_name}: no such type"));
            assert!(field.is_empty() || declares(schema.of(of), field), "{type_name} has no {field}");
        }
    }

    /// The types that people ask about most, beside the kinds themselves.
    const ASKED_ABOUT: [&str; 40] = [
        "core.v1.ServiceSpec",
        "core.v1.ServicePort",
        "core.v1.ServiceStatus",
        "core.v1.SessionAffinityConfig",
        "core.v1.ClientIPConfig",
        "core.v1.LoadBalancerStatus",
        "core.v1.LoadBalancerIngress",
        "core.v1.EndpointSubset",
        "core.v1.EndpointAddress",
        "core.v1.EndpointPort",
        "core.v1.ObjectReference",
        "core.v1.PodSpec",
        "core.v1.Container",
        "core.v1.ContainerPort",
        "core.v1.Probe",
        "core.v1.ProbeHandler",
        "core.v1.HTTPGetAction",
        "core.v1.EnvVar",
        "core.v1.EnvVarSource",
        "core.v1.PodStatus",
        "core.v1.PodCondition",
        "core.v1.ContainerStatus",
        "core.v1.NodeSpec",
        "core.v1.NodeStatus",
        "core.v1.NodeSystemInfo",
        "apps.v1.ReplicaSetSpec",
        "apps.v1.ReplicaSetStatus",
        "apps.v1.DeploymentSpec",
        "apps.v1.DeploymentStatus",
        "apps.v1.DeploymentStrategy",
        "coordination.v1.LeaseSpec",
        "discovery.v1.Endpoint",
        "discovery.v1.EndpointConditions",
        "discovery.v1.EndpointHints",
        "discovery.v1.EndpointPort",
        "networking.v1.IPAddressSpec",
        "networking.v1.ServiceCIDRSpec",
        "meta.v1.ObjectMeta",
        "meta.v1.OwnerReference",
        "meta.v1.LabelSelector",
    ];

    #[test]
    fn what_people_ask_about_is_described() {
        let schema = Schema::get();
        let kinds = served().into_iter().map(|kind| kind.type_name);
        for name in kinds.chain(ASKED_ABOUT) {
            let of = schema.of(schema.find(name).unwrap());
            assert!(super::of(of.name, "").is_some(), "{}", of.name);
            // What the table of types does not know well enough either (Number 0 in it) may go without.
            for field in of.fields.iter().filter(|field| !field.is_inline && field.shape != Shape::Raw) {
                assert!(super::of(of.name, field.name).is_some(), "{} {}", of.name, field.name);
            }
        }
    }
}
