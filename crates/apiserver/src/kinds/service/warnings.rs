//! What clients should know about the Services that they write.

use serde_json::Value;

use super::spec::Spec;
use crate::address;
use crate::mistake::Path;
use crate::range;

/// Answers the warnings, in the order of Kubernetes.
pub(super) fn of(service: &Value, _old: Option<&Value>) -> Vec<String> {
    let spec = Spec::of(service);
    let path = |name: &str| Path::new("spec").child(name);
    let mut warnings = Vec::new();
    let hints = "service.kubernetes.io/topology-aware-hints";
    if service["metadata"]["annotations"].get(hints).is_some() {
        let better = "service.kubernetes.io/topology-mode";
        warnings.push(format!("annotation {hints} is deprecated, please use {better} instead"));
    }
    for (at, address) in spec.texts("clusterIPs").into_iter().enumerate() {
        warnings.extend(address::warning(address, &path("clusterIPs").index(at)));
    }
    if spec.is("ClusterIP") && spec.text("clusterIP") == "None" {
        warnings.extend(headless(spec));
    }
    let external = spec.texts("externalIPs");
    if !external.is_empty() {
        let words = "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
        warnings.push(words.to_owned());
    }
    for (at, address) in external.iter().enumerate() {
        warnings.extend(address::warning(address, &path("externalIPs").index(at)));
    }
    warnings.extend(address::warning(spec.text("loadBalancerIP"), &path("loadBalancerIP")));
    for (at, text) in spec.texts("loadBalancerSourceRanges").into_iter().enumerate() {
        warnings.extend(range::warnings(text, &path("loadBalancerSourceRanges").index(at)));
    }
    if spec.is_external_name() && !external.is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !spec.is_external_name() && !spec.text("externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.text("trafficDistribution") == "PreferClose" {
        let words = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(words.to_owned());
    }
    warnings
}

fn headless(spec: Spec<'_>) -> Vec<String> {
    let ignored = [
        (!spec.text("loadBalancerIP").is_empty(), "spec.loadBalancerIP"),
        (!spec.texts("externalIPs").is_empty(), "spec.externalIPs"),
        (spec.text("sessionAffinity") != "None", "spec.SessionAffinity"),
    ];
    let ignored = ignored.iter().filter(|(is_set, _)| *is_set);
    ignored.map(|(_, field)| format!("{field} is ignored for headless services")).collect()
}
