//! Selectors of labels that stand in objects (`metav1.LabelSelector`): judged, met, in words.

use serde_json::Value;

use super::pod::read::{self, list, pairs, text, wrongs};
use crate::meta;
use crate::mistake::{Mistake, Path};
use crate::names;

/// Answers the mistakes in a selector; null is none.
pub(super) fn check(selector: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = meta::labels(&selector["matchLabels"], &path.child("matchLabels"));
    for (at, one) in read::places(selector, "matchExpressions", path) {
        let values = list(one, "values");
        match text(one, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                found.push(Mistake::required(&at.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                found.push(Mistake::forbidden(&at.child("values"), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                found.push(Mistake::invalid(&at.child("operator"), other, "not a valid selector operator"))
            }
        }
        let key = text(one, "key");
        found.extend(wrongs(&at.child("key"), key, names::qualified_name(key)));
        for (at, value) in read::places(one, "values", &at) {
            let value = value.as_str().unwrap_or_default();
            found.extend(wrongs(&at, value, names::label_value(value)));
        }
    }
    found
}

/// Answers whether a selector says nothing; null does not say even that.
pub(super) fn is_empty(selector: &Value) -> bool {
    pairs(selector, "matchLabels").next().is_none() && list(selector, "matchExpressions").is_empty()
}

/// Answers whether labels are meant; null means none at all, the empty selector all.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    selector.is_object()
        && pairs(selector, "matchLabels").all(|(key, value)| labels[key] == value)
        && list(selector, "matchExpressions").iter().all(|one| {
            let value = &labels[text(one, "key")];
            let is_listed = !value.is_null() && list(one, "values").contains(value);
            match text(one, "operator") {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "Exists" => !value.is_null(),
                "DoesNotExist" => value.is_null(),
                _ => false,
            }
        })
}

/// Answers a selector in one line, as clients write it: sorted by key.
pub(crate) fn line(selector: &Value) -> String {
    let labels = pairs(selector, "matchLabels").map(|(key, value)| (key, format!("{key}={value}")));
    let expressions = list(selector, "matchExpressions").iter().map(|one| {
        let key = text(one, "key");
        let mut values: Vec<&str> = list(one, "values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let words = match text(one, "operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        (key, words)
    });
    let mut all: Vec<(&str, String)> = labels.chain(expressions).collect();
    all.sort_by_key(|(key, _)| *key);
    all.into_iter().map(|(_, words)| words).collect::<Vec<_>>().join(",")
}

/// Answers a selector as tables show it.
pub(super) fn cell(selector: &Value) -> String {
    match line(selector) {
        line if line.is_empty() => "<none>".to_owned(),
        line => line,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_is_met_and_in_words() {
        let selector = json!({"matchLabels": {"b": "1", "a": "2"}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["y", "x"]}, {"key": "d", "operator": "DoesNotExist"},
            {"key": "e", "operator": "Exists"}, {"key": "f", "operator": "NotIn", "values": ["z"]},
        ]});
        assert_eq!(line(&selector), "a=2,b=1,c in (x,y),!d,e,f notin (z)");
        assert!(matches(&selector, &json!({"a": "2", "b": "1", "c": "x", "e": ""})));
        for labels in [
            json!({"a": "2", "b": "1", "c": "x", "e": "", "d": ""}),
            json!({"a": "2", "b": "1", "c": "z", "e": ""}),
            json!({"a": "2", "b": "1", "c": "x", "e": "", "f": "z"}),
            json!({"a": "2", "b": "1", "c": "x"}),
            json!(null),
        ] {
            assert!(!matches(&selector, &labels), "{labels}");
        }
        assert!(matches(&json!({}), &json!(null)) && !matches(&json!(null), &json!({"a": "b"})));
        assert_eq!(cell(&json!({})), "<none>");
    }
}
