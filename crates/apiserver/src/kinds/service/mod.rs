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

use super::{ALL_VERBS, Does, FieldValue, Kind, PROXY_VERBS, Rules, STATUS, Scope, Selectable, Subresource};
use crate::connect;
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
    subresources: &[PROXY, STATUS],
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

/// What the Pods behind it serve.
const PROXY: Subresource = Subresource {
    name: "proxy",
    kind: Some(("", "v1", "ServiceProxyOptions")),
    verbs: PROXY_VERBS,
    does: Does::Connect(connect::SERVICE_PROXY),
};

/// An update of the status may change the metadata too.
fn only_status(new: &mut Value, old: &Value) {
    new["spec"] = old["spec"].clone();
}
