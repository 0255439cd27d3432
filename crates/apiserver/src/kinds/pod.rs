//! Containers that share addresses.

use super::{ALL_VERBS, FieldValue, Kind, Rules, STATUS, Scope, Selectable};

/// Containers that share addresses.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    type_name: "core.v1.Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[STATUS],
    selectable: &[
        Selectable { label: "spec.nodeName", value: FieldValue::Text("/spec/nodeName") },
        Selectable { label: "spec.restartPolicy", value: FieldValue::Text("/spec/restartPolicy") },
        Selectable { label: "spec.schedulerName", value: FieldValue::Text("/spec/schedulerName") },
        Selectable { label: "spec.serviceAccountName", value: FieldValue::Text("/spec/serviceAccountName") },
        Selectable { label: "spec.hostNetwork", value: FieldValue::Flag("/spec/hostNetwork") },
        Selectable { label: "status.phase", value: FieldValue::Text("/status/phase") },
        Selectable { label: "status.podIP", value: FieldValue::Text("/status/podIP") },
        Selectable {
            label: "status.nominatedNodeName",
            value: FieldValue::Text("/status/nominatedNodeName"),
        },
    ],
    table: "pods",
    rules: Rules::PLAIN,
};
