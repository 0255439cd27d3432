//! What happened: one thing in two groups, whose fields have other names.

use super::{ALL_VERBS, FieldValue, Kind, Rules, Scope, Selectable};

/// What happened, in the core group's words.
pub(super) const CORE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    type_name: "core.v1.Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[
        Selectable { label: "involvedObject.kind", value: FieldValue::Text("/involvedObject/kind") },
        Selectable {
            label: "involvedObject.namespace",
            value: FieldValue::Text("/involvedObject/namespace"),
        },
        Selectable { label: "involvedObject.name", value: FieldValue::Text("/involvedObject/name") },
        Selectable { label: "involvedObject.uid", value: FieldValue::Text("/involvedObject/uid") },
        Selectable {
            label: "involvedObject.apiVersion",
            value: FieldValue::Text("/involvedObject/apiVersion"),
        },
        Selectable {
            label: "involvedObject.resourceVersion",
            value: FieldValue::Text("/involvedObject/resourceVersion"),
        },
        Selectable {
            label: "involvedObject.fieldPath",
            value: FieldValue::Text("/involvedObject/fieldPath"),
        },
        Selectable { label: "reason", value: FieldValue::Text("/reason") },
        Selectable { label: "reportingComponent", value: FieldValue::Text("/reportingComponent") },
        Selectable {
            label: "source",
            value: FieldValue::FirstText(&["/source/component", "/reportingComponent"]),
        },
        Selectable { label: "type", value: FieldValue::Text("/type") },
    ],
    table: "events",
    rules: Rules::PLAIN,
};

/// What happened.
pub(super) const KIND: Kind = Kind {
    group: "events.k8s.io",
    version: "v1",
    kind: "Event",
    type_name: "events.v1.Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[
        Selectable { label: "regarding.kind", value: FieldValue::Text("/regarding/kind") },
        Selectable { label: "regarding.namespace", value: FieldValue::Text("/regarding/namespace") },
        Selectable { label: "regarding.name", value: FieldValue::Text("/regarding/name") },
        Selectable { label: "regarding.uid", value: FieldValue::Text("/regarding/uid") },
        Selectable { label: "regarding.apiVersion", value: FieldValue::Text("/regarding/apiVersion") },
        Selectable {
            label: "regarding.resourceVersion",
            value: FieldValue::Text("/regarding/resourceVersion"),
        },
        Selectable { label: "regarding.fieldPath", value: FieldValue::Text("/regarding/fieldPath") },
        Selectable { label: "reason", value: FieldValue::Text("/reason") },
        Selectable { label: "reportingController", value: FieldValue::Text("/reportingController") },
        Selectable {
            label: "source",
            value: FieldValue::FirstText(&["/deprecatedSource/component", "/reportingController"]),
        },
        Selectable { label: "type", value: FieldValue::Text("/type") },
    ],
    table: "events",
    rules: Rules::PLAIN,
};
