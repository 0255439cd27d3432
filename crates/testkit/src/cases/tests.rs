//! The reader of cases: short forms, refusals, and every recorded file.

use std::path::Path;

use serde_json::json;

use super::text::{expanded, unfolded};
use super::*;

fn all() -> Vec<Case> {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/dataplane")).unwrap()
}

#[test]
fn every_case_file_is_read() {
    let cases = all();
    assert_eq!(cases.len(), 127);
    for case in &cases {
        for mode in ["iptables", "nftables"] {
            let recorded: Vec<_> = case.observed[mode].keys().collect();
            let mut labels: Vec<_> = case.labels.iter().collect();
            labels.sort();
            assert_eq!(recorded, labels, "{} in mode {mode}", case.name);
        }
    }
    let sum: usize = cases.iter().map(|case| case.labels.len()).sum();
    assert_eq!(sum, 605, "outcomes in all");
}

#[test]
fn many_objects_come_out_of_few_lines() {
    let cases = all();
    let case = cases.iter().find(|case| case.name == "scale-300-services").unwrap();
    let Change::Write(objects) = &case.steps[0].change[0] else { panic!("not objects") };
    assert_eq!(objects.len(), 600);
    assert_eq!(objects[299].body["spec"]["clusterIP"], json!("10.96.41.44"));
    assert_eq!(objects[599].body["metadata"]["labels"], json!({"kubernetes.io/service-name": "m-300"}));
    let Target::Packets(targets) = &case.steps[0].probe[0].1.target else { panic!("not packets") };
    assert_eq!((targets.len(), targets[299].as_str()), (300, "tcp/10.96.41.44:80"));
    let Change::Delete(keys) = &case.steps[1].change[0] else { panic!("not a deletion") };
    assert_eq!((keys.len(), keys[299].name.as_str()), (300, "m-300"));
}

#[test]
fn the_order_of_probes_is_kept() {
    let cases = all();
    let case = cases.iter().find(|case| case.name == "affinity-udp").unwrap();
    let labels: Vec<_> = case.steps[0].probe.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels, ["one", "many", "many-again"]);
    let Change::EditSlice(edit) = &case.steps[1].change[0] else { panic!("not an edit") };
    assert_eq!(edit.remove, [Member::Chosen("one".into())]);
}

#[track_caller]
fn check_text(text: &str, expected: &str) {
    assert_eq!(expanded(&Plan::new(), text).unwrap(), expected);
}

#[test]
fn writes_short_forms_out() {
    check_text("tcp/$n1:80", "tcp/192.168.77.11:80");
    check_text("tcp/[$n1.v6]:80", "tcp/[fd77::11]:80");
    check_text("$n2.alt/32 and $k1.7.", "192.168.78.12/32 and 10.244.1.135.");
    check_text("tcp/$add(10.96.40.0,300):$sum(30000,12)", "tcp/10.96.41.44:30012");
    check_text("$add(fd00::ff,1)", "fd00::100");
    check_text("f=$(cat ${x}) $a1x $", "f=$(cat ${x}) $a1x $");
}

#[test]
fn unfolds_each() {
    let tree = Yaml::parse("[{each: 2, service: m-%i, port: '$sum(1000,%i)'}, x]").unwrap();
    let expected = Yaml::parse("[{service: m-1, port: 1001}, {service: m-2, port: 1002}, x]").unwrap();
    assert_eq!(unfolded(&tree).unwrap(), expected);
}

#[test]
fn unknown_words_are_refused() {
    let step = "{case: x, topic: t, why: w, steps: [{STEP}]}";
    for (inner, expected) in [
        ("probes: {a: c1 tcp/1.2.3.4:5}", "step: unknown probes"),
        ("change: [{explode: now}]", "unknown change"),
        ("change: [{delete: service/web, node: n1}]", "change: unknown node"),
        ("change: [{service: web, spec: {}, slice: web-1}]", "object: unknown slice"),
        ("change: [{proxy: restart, nodes: [n4]}]", "no such node: n4"),
        ("change: [{endpoints: web-1, mark: {a1: tired}}]", "unknown endpoint state tired"),
        ("check: {after: flow}", "after checks an unknown flow flow"),
    ] {
        let error = Case::parse(&Plan::new(), "x", &step.replace("STEP", inner)).unwrap_err();
        assert!(error.to_string().contains(expected), "{inner}: {error}");
    }
}
