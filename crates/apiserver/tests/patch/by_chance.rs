//! A patch computed from two objects makes the one of the other, and no patch at all makes the program panic.

use std::collections::BTreeMap;

use apiserver::patch::{Kind, apply};
use apiserver::schema::{Schema, TypeId};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A service; a port stands at most once in it.
fn service() -> impl Strategy<Value = Value> {
    let texts = || proptest::collection::btree_map("[a-c]", "[x-z]{0,2}", 0..3);
    let port = (proptest::option::of("[a-b]"), proptest::option::of(0..3)).prop_map(|(name, target)| {
        let mut port = json!({});
        if let Some(name) = name {
            port["name"] = json!(name);
        }
        if let Some(target) = target {
            port["targetPort"] = json!(target);
        }
        port
    });
    let ports = proptest::collection::btree_map(1..6, port, 0..5).prop_shuffled_entries().prop_map(|ports| {
        ports.into_iter().map(|(number, mut port)| {
            port["port"] = json!(number);
            port
        })
    });
    let finalizers = proptest::collection::btree_set("[f-h]", 0..3);
    (texts(), texts(), ports.prop_map(Vec::from_iter), finalizers, proptest::bool::ANY).prop_map(
        |(labels, selector, ports, finalizers, has_selector)| {
            let mut service =
                json!({"metadata": {"labels": labels, "finalizers": finalizers}, "spec": {"ports": ports}});
            if has_selector {
                service["spec"]["selector"] = json!(selector);
            }
            service
        },
    )
}

trait ShuffledEntries {
    fn prop_shuffled_entries(self) -> impl Strategy<Value = Vec<(i32, Value)>>;
}

impl<S: Strategy<Value = BTreeMap<i32, Value>>> ShuffledEntries for S {
    fn prop_shuffled_entries(self) -> impl Strategy<Value = Vec<(i32, Value)>> {
        self.prop_map(|entries| entries.into_iter().collect::<Vec<_>>()).prop_shuffle()
    }
}

/// Any JSON, with the words that mean something more often than chance has them.
fn anything() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("$patch"),
        Just("$retainKeys"),
        Just("$setElementOrder/ports"),
        Just("$deleteFromPrimitiveList/finalizers"),
        Just("$setElementOrder"),
        Just("metadata"),
        Just("spec"),
        Just("ports"),
        Just("port"),
        Just("finalizers"),
        Just("labels"),
        Just("selector"),
        Just("op"),
        Just("path"),
        Just("from"),
        Just("value"),
    ]
    .prop_map(str::to_owned);
    let text = prop_oneof![
        Just("delete"),
        Just("replace"),
        Just("merge"),
        Just("add"),
        Just("remove"),
        Just("move"),
        Just("copy"),
        Just("test"),
        Just("/spec/ports/-1"),
        Just("/spec/ports/-"),
        Just("/spec/ports/99999999999999999999"),
        Just("/spec"),
        Just("spec"),
        Just("/metadata/finalizers/0"),
        Just(""),
        Just("/"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..4).prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn of_service() -> TypeId {
    Schema::get().find("core.v1.Service").expect("the table has services")
}

fn patched(kind: Kind, patch: &Value, old: &Value) -> Value {
    apply(kind, patch.to_string().as_bytes(), old, of_service())
        .unwrap_or_else(|error| panic!("{error}: {patch}"))
}

fn merge_diff(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return new.clone() };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let mut diff: Map<String, Value> = gone.collect();
    for (key, value) in new {
        if old.get(key) != Some(value) {
            diff.insert(key.clone(), merge_diff(old.get(key).unwrap_or(&Value::Null), value));
        }
    }
    Value::Object(diff)
}

/// A strategic patch: like a merge patch, but for the two merged lists of these services.
fn strategic_diff(old: &Value, new: &Value) -> Value {
    let mut diff = merge_diff(old, new);
    let lists =
        |of: &Value, place: &str| of.pointer(place).and_then(Value::as_array).cloned().unwrap_or_default();
    let (old_ports, new_ports) = (lists(old, "/spec/ports"), lists(new, "/spec/ports"));
    let find =
        |ports: &[Value], wanted: &Value| ports.iter().find(|port| port["port"] == wanted["port"]).cloned();
    let mut ports: Vec<Value> = Vec::new();
    for port in &new_ports {
        let mut entry = merge_diff(&find(&old_ports, port).unwrap_or(json!({})), port);
        entry["port"] = port["port"].clone();
        ports.push(entry);
    }
    let gone = old_ports.iter().filter(|port| find(&new_ports, port).is_none());
    ports.extend(gone.map(|port| json!({"port": port["port"], "$patch": "delete"})));
    let order: Vec<Value> = new_ports.iter().map(|port| json!({"port": port["port"]})).collect();
    diff["spec"]["ports"] = json!(ports);
    diff["spec"]["$setElementOrder/ports"] = json!(order);
    let (before, after) = (lists(old, "/metadata/finalizers"), lists(new, "/metadata/finalizers"));
    let without = |list: &[Value], other: &[Value]| {
        list.iter().filter(|value| !other.contains(value)).cloned().collect::<Vec<_>>()
    };
    diff["metadata"]["finalizers"] = json!(without(&after, &before));
    diff["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!(without(&before, &after));
    diff["metadata"]["$setElementOrder/finalizers"] = json!(after);
    diff
}

fn json_diff(old: &Value, new: &Value, path: &str, operations: &mut Vec<Value>) {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        operations.push(json!({"op": "replace", "path": path, "value": new}));
        return;
    };
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        operations.push(json!({"op": "remove", "path": format!("{path}/{key}")}));
    }
    for (key, value) in new.iter().filter(|(key, value)| old.get(*key) != Some(*value)) {
        let path = format!("{path}/{key}");
        match old.get(key) {
            Some(old) => json_diff(old, value, &path, operations),
            None => operations.push(json!({"op": "add", "path": path, "value": value})),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_difference_makes_the_new_of_the_old(old in service(), new in service()) {
        prop_assert_eq!(&patched(Kind::Merge, &merge_diff(&old, &new), &old), &new);
        prop_assert_eq!(&patched(Kind::Strategic, &strategic_diff(&old, &new), &old), &new);
        let mut operations = Vec::new();
        json_diff(&old, &new, "", &mut operations);
        prop_assert_eq!(&patched(Kind::Json, &Value::from(operations), &old), &new);
    }

    #[test]
    fn no_patch_panics(patch in anything(), old in service(), odd in anything()) {
        for kind in [Kind::Json, Kind::Merge, Kind::Strategic] {
            for object in [&old, &odd] {
                drop(apply(kind, patch.to_string().as_bytes(), object, of_service()));
                drop(apply(kind, Value::from(vec![patch.clone()]).to_string().as_bytes(), object, of_service()));
            }
        }
    }

    #[test]
    fn no_body_panics(body in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"{}[]\",:\\u0e-1tn ".to_vec())], 0..40)) {
        for kind in [Kind::Json, Kind::Merge, Kind::Strategic] {
            drop(apply(kind, &body, &json!({}), of_service()));
        }
    }

    /// What the scanner of faults lets pass, the parser takes too, and the other way round.
    #[test]
    fn json_is_read_as_written(value in anything()) {
        let body = json!({"data": value}).to_string();
        let of = Schema::get().find("core.v1.ConfigMap").unwrap();
        let read = apply(Kind::Merge, body.as_bytes(), &json!({}), of);
        prop_assert!(read.is_ok(), "{:?}", read);
    }
}
