//! Selectors: which labels are meant.

use serde::Deserialize;

use super::Pairs;

/// Which labels are meant. An empty one means every object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Selector {
    /// Labels that have to be there.
    pub(crate) match_labels: Pairs,
    /// What else has to hold.
    pub(crate) match_expressions: Vec<Requirement>,
}

impl Selector {
    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether labels are meant.
    pub(crate) fn matches(&self, labels: &Pairs) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|wanted| wanted.holds(labels.get(&wanted.key).map(String::as_str)))
    }
}

/// Something that has to hold for a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Requirement {
    /// The label's name.
    pub(crate) key: String,
    /// How its value relates to `values`.
    pub(crate) operator: String,
    /// The values.
    pub(crate) values: Vec<String>,
}

impl Requirement {
    /// Whether it holds for a label's value; `None`: there is no such label. An unknown operator never holds.
    pub(crate) fn holds(&self, value: Option<&str>) -> bool {
        let is_one_of = value.is_some_and(|value| self.values.iter().any(|one| one == value));
        match self.operator.as_str() {
            "In" => is_one_of,
            "NotIn" => !is_one_of,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => self.compared(value).is_some_and(|(value, bound)| value > bound),
            "Lt" => self.compared(value).is_some_and(|(value, bound)| value < bound),
            _ => false,
        }
    }

    fn compared(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_select() {
        let labels: Pairs =
            [("app", "door"), ("tier", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let check = |selector: serde_json::Value, expected: bool| {
            let parsed: Selector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(parsed.matches(&labels), expected, "{selector}");
        };
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        check(json!({}), true);
        check(json!({"matchLabels": {"app": "door"}}), true);
        check(json!({"matchLabels": {"app": "door", "other": ""}}), false);
        check(expression("app", "In", &["window", "door"]), true);
        check(expression("app", "NotIn", &["window", "door"]), false);
        check(expression("other", "NotIn", &["door"]), true);
        check(expression("other", "In", &["door"]), false);
        check(expression("app", "Exists", &[]), true);
        check(expression("app", "DoesNotExist", &[]), false);
        check(expression("tier", "Gt", &["1"]), true);
        check(expression("tier", "Lt", &["2"]), false);
        check(expression("app", "Gt", &["1"]), false);
        check(expression("app", "Near", &["door"]), false);
    }
}
