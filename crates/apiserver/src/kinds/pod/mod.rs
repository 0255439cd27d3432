//! Containers that share addresses.
//!
//! The parts of a Pod that templates of Pods have too (`defaults::spec`, `spec::check`, `warnings::of`) are written for
//! both.

mod admission;
mod affinity;
mod amounts;
pub mod binding;
mod containers;
pub(in crate::kinds) mod defaults;
mod env;
mod eviction;
mod image;
pub(in crate::kinds) mod life;
mod network;
mod parts;
mod probes;
pub(in crate::kinds) mod read;
mod scheduling;
pub(in crate::kinds) mod spec;
mod status;
mod table;
mod update;
mod volumes;
pub(in crate::kinds) mod warnings;

use super::{ALL_VERBS, FieldValue, Kind, Rules, Scope, Selectable};

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
    subresources: parts::PARTS,
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
    rules: Rules {
        defaults: defaults::pod,
        prepare: life::prepare,
        prepare_update: life::prepare_update,
        validate: spec::check_pod,
        validate_update: update::check,
        prepare_status: status::prepare,
        validate_status: status::check,
        warnings: warnings::of_pod,
        begin: admission::begin,
        is_answered_when_deleted: true,
        is_graceful: true,
        grace: life::grace,
        columns: table::COLUMNS,
        cells: table::cells,
        ..Rules::PLAIN
    },
};
