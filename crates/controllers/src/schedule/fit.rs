//! Whether a Pod can go to a node, and in Kubernetes' words why not.

use std::collections::BTreeMap;

use crate::trimmed::{Node, NodeTerm, Pairs, Pod, Port, Requirement, Taint, Toleration};

/// Why a Pod cannot go to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    /// The node takes no Pods.
    Cordoned,
    /// The node cannot run Pods, or something keeps this Pod away.
    Tainted,
    /// It is not a node that the Pod wants.
    Unwanted,
    /// A port of the node is another Pod's.
    PortTaken,
    /// It runs as many Pods as it can.
    Full,
}

impl Refusal {
    fn words(self) -> &'static str {
        match self {
            Self::Cordoned => "node(s) were unschedulable",
            Self::Tainted => "node(s) had untolerated taint(s)",
            Self::Unwanted => "node(s) didn't match Pod's node affinity/selector",
            Self::PortTaken => "node(s) didn't have free ports for the requested pod ports",
            Self::Full => "Too many pods",
        }
    }

    /// Whether there would be room if other Pods went.
    fn is_crowd(self) -> bool {
        match self {
            Self::Cordoned | Self::Tainted | Self::Unwanted => false,
            Self::PortTaken | Self::Full => true,
        }
    }
}

/// Why a Pod cannot go to a node; the first reason counts. `there`: the Pods on it.
pub(super) fn refusal(pod: &Pod, node: &Node, there: &[&Pod]) -> Option<Refusal> {
    let cordon = taint("node.kubernetes.io/unschedulable");
    let not_ready = taint("node.kubernetes.io/not-ready");
    if node.spec.unschedulable && !is_tolerated(pod, &cordon) {
        return Some(Refusal::Cordoned);
    }
    // Kubernetes puts a taint on a node that is not ready; here the condition itself is asked.
    if !node.is_ready() && !is_tolerated(pod, &not_ready) {
        return Some(Refusal::Tainted);
    }
    let mut hard = node.spec.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
    if hard.any(|taint| !is_tolerated(pod, taint)) {
        return Some(Refusal::Tainted);
    }
    if !is_wanted(pod, node) {
        return Some(Refusal::Unwanted);
    }
    let taken = || there.iter().flat_map(|other| host_ports(other));
    if host_ports(pod).any(|port| taken().any(|other| collide(port, other))) {
        return Some(Refusal::PortTaken);
    }
    if node.most_pods().is_some_and(|most| there.len() >= most) {
        return Some(Refusal::Full);
    }
    None
}

fn taint(key: &str) -> Taint {
    Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() }
}

/// Whether a Pod does not mind a taint.
pub(super) fn is_tolerated(pod: &Pod, taint: &Taint) -> bool {
    pod.spec.tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

/// Whether a toleration is about a taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let is_meant = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
    if !is_meant(&toleration.effect, &taint.effect) || !is_meant(&toleration.key, &taint.key) {
        return false;
    }
    let numbers = || Some((taint.value.parse::<i64>().ok()?, toleration.value.parse::<i64>().ok()?));
    match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        "Lt" => numbers().is_some_and(|(is, bound)| is < bound),
        "Gt" => numbers().is_some_and(|(is, bound)| is > bound),
        _ => false,
    }
}

fn is_wanted(pod: &Pod, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    let has_all = pod.spec.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let required = pod.spec.affinity.node_affinity.required.as_ref();
    has_all
        && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches(term, node)))
}

/// Whether a term means a node; one that says nothing means none.
pub(super) fn matches(term: &NodeTerm, node: &Node) -> bool {
    if term.match_expressions.is_empty() && term.match_fields.is_empty() {
        return false;
    }
    let fields: Pairs = [("metadata.name".to_owned(), node.metadata.name.clone())].into();
    let hold = |wanted: &[Requirement], of: &Pairs| {
        wanted.iter().all(|one| one.holds(of.get(&one.key).map(String::as_str)))
    };
    hold(&term.match_expressions, &node.metadata.labels) && hold(&term.match_fields, &fields)
}

fn host_ports(pod: &Pod) -> impl Iterator<Item = &Port> {
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    containers.flat_map(|container| &container.ports).filter(|port| port.host_port != 0)
}

fn collide(a: &Port, b: &Port) -> bool {
    let protocol =
        |port: &Port| if port.protocol.is_empty() { "TCP".to_owned() } else { port.protocol.clone() };
    let is_any = |port: &Port| ["", "0.0.0.0", "::"].contains(&port.host_ip.as_str());
    a.host_port == b.host_port
        && protocol(a) == protocol(b)
        && (is_any(a) || is_any(b) || a.host_ip == b.host_ip)
}

/// Why no node takes a Pod. Kubernetes says as well whether putting other Pods away would help.
pub(super) fn sentence(refusals: &[Refusal]) -> String {
    let all = refusals.len();
    let reasons = counted(refusals.iter().map(|refusal| refusal.words()));
    let preemption = counted(refusals.iter().map(|refusal| {
        if refusal.is_crowd() {
            "No preemption victims found for incoming pod"
        } else {
            "Preemption is not helpful for scheduling"
        }
    }));
    format!("0/{all} nodes are available: {reasons}. preemption: 0/{all} nodes are available: {preemption}.")
}

fn counted<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    let mut texts: Vec<String> = counts.into_iter().map(|(word, count)| format!("{count} {word}")).collect();
    texts.sort();
    texts.join(", ")
}
