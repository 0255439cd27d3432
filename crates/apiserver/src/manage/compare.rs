//! What is different between two objects of a type, as those who share it see it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::set::{Element, Set};
use super::typed::{At, entries, is_hollow};
use super::value::same;

/// The fields that are different. None is in two of the sets.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// They are gone.
    pub(super) removed: Set,
    /// They have another value.
    pub(super) modified: Set,
    /// They are new.
    pub(super) added: Set,
}

impl Changes {
    /// Answers what became of the old object. Where a list has an entry that cannot be told apart there is no answer.
    pub(super) fn between(at: At<'_>, old: &Value, new: &Value) -> Result<Self, String> {
        let mut changes = Self::default();
        changes.walk(at, [Some(old), Some(new)], &mut Vec::new())?;
        Ok(changes)
    }

    /// Without fields that are nobody's concern, and all that stands in them.
    pub(super) fn without(self, ignored: &Set) -> Self {
        Self {
            removed: self.removed.recursive_difference(ignored),
            modified: self.modified.recursive_difference(ignored),
            added: self.added.recursive_difference(ignored),
        }
    }

    fn walk(&mut self, at: At<'_>, pair: [Option<&Value>; 2], path: &mut Vec<Element>) -> Result<(), String> {
        let [old, new] = pair;
        let at = at.holding(new.or(old));
        let is_leaf = !at.is_shared() || (is_hollow(old) && is_hollow(new));
        match (old, new) {
            (None, _) => self.added.insert(path),
            (_, None) => self.removed.insert(path),
            (Some(old), Some(new)) if is_leaf && !same(old, new) => self.modified.insert(path),
            (Some(_), Some(_)) => {}
        }
        if is_leaf {
            return Ok(());
        }
        self.fields(at, pair, path)?;
        self.entries(at, pair, path)
    }

    fn fields(
        &mut self,
        at: At<'_>,
        pair: [Option<&Value>; 2],
        path: &mut Vec<Element>,
    ) -> Result<(), String> {
        let nothing = Map::new();
        let [old, new] = pair.map(|value| value.and_then(Value::as_object).unwrap_or(&nothing));
        let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
        for name in names {
            let inner = at.field(name).ok_or_else(|| format!("{name}: field not declared in schema"))?;
            path.push(Element::Field(name.clone()));
            self.walk(inner, [old.get(name), new.get(name)], path)?;
            path.pop();
        }
        Ok(())
    }

    fn entries(
        &mut self,
        at: At<'_>,
        pair: [Option<&Value>; 2],
        path: &mut Vec<Element>,
    ) -> Result<(), String> {
        let mut by_element: BTreeMap<Element, [Vec<&Value>; 2]> = BTreeMap::new();
        for (side, value) in pair.into_iter().enumerate() {
            for entry in entries(value) {
                by_element.entry(at.element(entry)?).or_default()[side].push(entry);
            }
        }
        for (element, [old, new]) in by_element {
            path.push(element);
            self.entry(at.entry(), [&old, &new], path)?;
            path.pop();
        }
        Ok(())
    }

    /// Entries that stand there twice are one value, owned as a whole.
    fn entry(&mut self, at: At<'_>, pair: [&[&Value]; 2], path: &mut Vec<Element>) -> Result<(), String> {
        match pair {
            [[] | [_], [] | [_]] => self.walk(at, pair.map(|side| side.first().copied()), path),
            [[_, _, ..], [_, _, ..]] => {
                let [old, new] = pair;
                if old.len() != new.len() || !old.iter().zip(new).all(|(old, new)| same(old, new)) {
                    self.modified.insert(path);
                }
                Ok(())
            }
            [[_, _, ..], new] => {
                self.removed.insert(path);
                new.first().map_or(Ok(()), |new| self.walk(at, [None, Some(new)], path))
            }
            [old, [_, _, ..]] => {
                let walked = old.first().map_or(Ok(()), |old| self.walk(at, [Some(old), None], path));
                self.added.insert(path);
                walked
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::set::shown;
    use crate::schema::Schema;
    use serde_json::json;

    /// `+` added, `-` removed, `~` modified.
    #[test]
    fn changes_are_found() {
        let of = Schema::get().find("core.v1.Service").unwrap();
        let check = |old: Value, new: Value, wanted: &str| {
            let changes =
                Changes::between(At::root(of), &json!({ "spec": old }), &json!({ "spec": new })).unwrap();
            let mut found: Vec<String> = Vec::new();
            for (sign, set) in [("+", &changes.added), ("-", &changes.removed), ("~", &changes.modified)] {
                found.extend(
                    set.paths().iter().map(|path| format!("{sign}{}", shown(path).replace(".spec", ""))),
                );
            }
            assert_eq!(found.join(" "), wanted, "{old} {new}");
        };
        let port = |name: &str| json!({"port": 1, "name": name});
        check(json!({"type": "A"}), json!({"type": "B", "clusterIP": "x"}), "+.clusterIP ~.type");
        check(json!({"selector": {"a": "b"}}), json!({"selector": {"a": "c"}}), "~.selector");
        check(
            json!({}),
            json!({"ports": [port("a")]}),
            "+.ports +.ports[port=1,protocol=\"TCP\"] +.ports[port=1,protocol=\"TCP\"].name +.ports[port=1,protocol=\"TCP\"].port",
        );
        check(
            json!({"ports": null}),
            json!({"ports": [port("a")]}),
            "+.ports[port=1,protocol=\"TCP\"] +.ports[port=1,protocol=\"TCP\"].name +.ports[port=1,protocol=\"TCP\"].port",
        );
        check(
            json!({"ports": [port("a")]}),
            json!({"ports": [port("b")]}),
            "~.ports[port=1,protocol=\"TCP\"].name",
        );
        check(json!({"ports": []}), json!({"ports": null}), "~.ports");
        check(json!({"sessionAffinityConfig": {}}), json!({"sessionAffinityConfig": {}}), "");
        let twice = json!({"ports": [port("a"), port("b")]});
        check(twice.clone(), twice.clone(), "");
        check(twice.clone(), json!({"ports": [port("b"), port("b")]}), "~.ports[port=1,protocol=\"TCP\"]");
        check(json!({"ports": []}), twice, "+.ports[port=1,protocol=\"TCP\"]");
    }
}
