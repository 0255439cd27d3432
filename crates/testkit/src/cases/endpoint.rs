//! Endpoints of slices: `a1`, `{a1: terminating}`, `{a1: ready, zones: [z1]}`, `{address: 10.0.0.1, node: n1}`, `k1.1-70`.

use serde_json::{Value, json};

use super::plan::{Family, Plan};
use super::yaml::{Fields, Yaml};
use super::{CaseError, wrong};

/// One item of a list of endpoints; it may stand for many.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSpec {
    who: Who,
    conditions: Value,
    zones: Value,
    nodes: Value,
    node: Option<String>,
    hostname: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Who {
    Names(Vec<String>),
    Address(String),
}

/// The states by the words that case files use.
fn conditions(word: &str) -> Option<Value> {
    Some(match word {
        "ready" => json!({"ready": true, "serving": true, "terminating": false}),
        "notready" => json!({"ready": false, "serving": false, "terminating": false}),
        "serving-only" => json!({"ready": false, "serving": true, "terminating": false}),
        "terminating" => json!({"ready": false, "serving": true, "terminating": true}),
        "gone" => json!({"ready": false, "serving": false, "terminating": true}),
        "ready-terminating" => json!({"ready": true, "serving": true, "terminating": true}),
        "ready-not-serving" => json!({"ready": true, "serving": false, "terminating": true}),
        "unset" => Value::Null,
        "unset-terminating" => json!({"terminating": true}),
        "unready-unset" => json!({"ready": false}),
        "unready-terminating-unset" => json!({"ready": false, "terminating": true}),
        _ => return None,
    })
}

impl EndpointSpec {
    pub(super) fn parse(plan: &Plan, item: &Yaml) -> Result<Self, CaseError> {
        if let Yaml::Text(name) = item {
            return Self::named(plan, name, "ready");
        }
        let mut fields = Fields::of(item, "endpoint")?;
        let known = fields.names().filter(|name| plan.has(name) || range_of(name).is_some());
        let known: Vec<String> = known.map(str::to_owned).collect();
        if known.len() > 1 {
            return Err(wrong(format!("more than one endpoint in {item:?}")));
        }
        let word = known.first().map_or("state", String::as_str);
        let state = fields.take_text(word)?.unwrap_or_else(|| "ready".into());
        let address = fields.take_text("address")?;
        let mut spec = match (known.first(), address) {
            (_, Some(address)) => Self { who: Who::Address(address), ..Self::of_state(&state)? },
            (Some(name), None) => Self::named(plan, name, &state)?,
            (None, None) => return Err(wrong(format!("neither name nor address in {item:?}"))),
        };
        spec.zones = fields.take("zones").map_or(Value::Null, |zones| zones.to_json());
        spec.nodes = fields.take("nodes").map_or(Value::Null, |nodes| nodes.to_json());
        spec.node = fields.take_text("node")?;
        if let (Who::Address(_), None, Some(name)) = (&spec.who, &spec.node, known.first()) {
            spec.node = plan.node_of(name).map(str::to_owned);
        }
        spec.hostname = fields.take_text("hostname")?;
        fields.end()?;
        Ok(spec)
    }

    /// An endpoint by its name alone, or by the name and the word of its state.
    pub fn named(plan: &Plan, name: &str, state: &str) -> Result<Self, CaseError> {
        let names = range_of(name).unwrap_or_else(|| vec![name.to_owned()]);
        if let Some(stranger) = names.iter().find(|name| !plan.has(name)) {
            return Err(wrong(format!("no such endpoint: {stranger}")));
        }
        Ok(Self { who: Who::Names(names), ..Self::of_state(state)? })
    }

    fn of_state(state: &str) -> Result<Self, CaseError> {
        let conditions = conditions(state).ok_or_else(|| wrong(format!("unknown endpoint state {state}")))?;
        let (zones, nodes) = (Value::Null, Value::Null);
        Ok(Self { who: Who::Names(Vec::new()), conditions, zones, nodes, node: None, hostname: None })
    }

    /// Answers the API's form of the endpoints.
    pub fn endpoints(&self, plan: &Plan, family: Family) -> Result<Vec<Value>, CaseError> {
        match &self.who {
            Who::Address(address) => Ok(vec![self.endpoint(address, None)]),
            Who::Names(names) => names
                .iter()
                .map(|name| {
                    let address = plan.address(name, family);
                    let address = address.ok_or_else(|| wrong(format!("no such endpoint: {name}")))?;
                    Ok(self.endpoint(&address.to_string(), plan.node_of(name)))
                })
                .collect(),
        }
    }

    fn endpoint(&self, address: &str, its_node: Option<&str>) -> Value {
        let mut endpoint = json!({"addresses": [address]});
        if !self.conditions.is_null() {
            endpoint["conditions"] = self.conditions.clone();
        }
        // `node: none` takes the node name away from an endpoint that has one.
        let node = self.node.as_deref().or(its_node).filter(|node| !node.is_empty() && *node != "none");
        if let Some(node) = node {
            endpoint["nodeName"] = json!(node);
        }
        if let Some(hostname) = &self.hostname {
            endpoint["hostname"] = json!(hostname);
        }
        for (field, names) in [("forZones", &self.zones), ("forNodes", &self.nodes)] {
            let names = names.as_array().map(Vec::as_slice).unwrap_or_default();
            if !names.is_empty() {
                let hints: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
                endpoint["hints"][field] = json!(hints);
            }
        }
        endpoint
    }
}

/// Answers the names that `k1.1-70` stands for.
pub(super) fn range_of(word: &str) -> Option<Vec<String>> {
    let (pod, range) = word.split_once('.')?;
    let (first, last) = range.split_once('-')?;
    let is_bulk = pod.len() == 2 && pod.starts_with('k') && pod.ends_with(|c: char| c.is_ascii_digit());
    let (first, last): (u8, u8) = (first.parse().ok()?, last.parse().ok()?);
    is_bulk.then(|| (first..=last).map(|number| format!("{pod}.{number}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(yaml: &str, family: Family, expected: Value) {
        let plan = Plan::new();
        let spec = EndpointSpec::parse(&plan, &Yaml::parse(yaml).unwrap()).unwrap();
        assert_eq!(Value::Array(spec.endpoints(&plan, family).unwrap()), expected);
    }

    #[test]
    fn reads_all_forms() {
        let ready = json!({"ready": true, "serving": true, "terminating": false});
        let v4 = Family::V4;
        check("a1", v4, json!([{"addresses": ["10.244.1.2"], "conditions": ready, "nodeName": "n1"}]));
        check("{b2: unset, node: none}", Family::V6, json!([{"addresses": ["fd00:10:244:2::3"]}]));
        check(
            "k1.2-3",
            v4,
            json!([{"addresses": ["10.244.1.130"], "conditions": ready, "nodeName": "n1"},
                   {"addresses": ["10.244.1.131"], "conditions": ready, "nodeName": "n1"}]),
        );
        check(
            "{address: 10.0.0.1, node: n2, zones: [z1], nodes: [n3], hostname: h}",
            v4,
            json!([{"addresses": ["10.0.0.1"], "conditions": ready, "nodeName": "n2", "hostname": "h",
                    "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n3"}]}}]),
        );
    }

    #[test]
    fn refuses_unknown_words() {
        let plan = Plan::new();
        for (yaml, expected) in [
            ("e7", "no such endpoint: e7"),
            ("{a1: asleep}", "unknown endpoint state asleep"),
            ("{a1: ready, zone: z1}", "endpoint: unknown zone"),
        ] {
            let error = EndpointSpec::parse(&plan, &Yaml::parse(yaml).unwrap()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
