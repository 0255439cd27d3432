//! An address that stays.

mod begin;
mod defaults;
mod families;
mod spec;
mod table;
mod update;
mod validate;
mod validate_addresses;
mod warnings;

use serde_json::{Value, json};

use super::{ALL_VERBS, FieldValue, Kind, Rules, STATUS, Scope, Selectable};
use crate::names;

pub(crate) use spec::Spec;

/// An address that stays.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Service",
    type_name: "core.v1.Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[STATUS],
    selectable: &[
        Selectable { label: "spec.clusterIP", value: FieldValue::Text("/spec/clusterIP") },
        Selectable { label: "spec.type", value: FieldValue::Text("/spec/type") },
    ],
    table: "services",
    rules: Rules {
        name: names::dns_label,
        defaults: defaults::complete,
        begin: begin::begin,
        release: begin::release,
        prepare: |service| service["status"] = json!({"loadBalancer": {}}),
        prepare_update: update::prepare,
        prepare_status: only_status,
        validate: validate::create,
        validate_update: validate::update,
        validate_status: validate::status,
        warnings: warnings::of,
        is_created_by_update: true,
        is_answered_when_deleted: true,
        columns: table::COLUMNS,
        cells: table::cells,
        ..Rules::PLAIN
    },
};

/// An update of the status may change the metadata too.
fn only_status(new: &mut Value, old: &Value) {
    new["spec"] = old["spec"].clone();
}
