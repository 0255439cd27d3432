//! Trees by pointer: reading a value, setting and removing one, and filling in what earlier answers brought.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::cases::yaml::Yaml;

/// Answers the value that a JSON pointer leads to; the empty pointer is the whole document.
pub(super) fn at<'a>(document: &'a Value, pointer: &str) -> Option<&'a Value> {
    document.pointer(pointer)
}

/// Sets a value, making the mappings on the way; `-` appends to a list.
pub(super) fn set(document: &mut Yaml, pointer: &str, value: Yaml) -> Result<(), String> {
    let (path, last) = split(pointer).ok_or_else(|| format!("{pointer}: no pointer"))?;
    let parent = path.iter().try_fold(document, |at, part| step(at, part, true));
    match parent.ok_or_else(|| format!("{pointer}: leads nowhere"))? {
        Yaml::Map(entries) => match entries.iter_mut().find(|(key, _)| *key == last) {
            Some((_, old)) => *old = value,
            None => entries.push((last, value)),
        },
        Yaml::List(items) if last == "-" => items.push(value),
        Yaml::List(items) => {
            let place = last.parse().ok().and_then(|at: usize| items.get_mut(at));
            *place.ok_or_else(|| format!("{pointer}: no such item"))? = value;
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) => {
            return Err(format!("{pointer}: its parent is a scalar"));
        }
    }
    Ok(())
}

/// Removes a value; one that is not there is no mistake.
pub(super) fn remove(document: &mut Yaml, pointer: &str) {
    let Some((path, last)) = split(pointer) else { return };
    match path.iter().try_fold(document, |at, part| step(at, part, false)) {
        Some(Yaml::Map(entries)) => entries.retain(|(key, _)| *key != last),
        Some(Yaml::List(items)) => {
            if let Some(at) = last.parse::<usize>().ok().filter(|at| *at < items.len()) {
                items.remove(at);
            }
        }
        Some(Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_)) | None => {}
    }
}

fn split(pointer: &str) -> Option<(Vec<String>, String)> {
    let mut parts: Vec<_> = pointer
        .strip_prefix('/')?
        .split('/')
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect();
    let last = parts.pop()?;
    Some((parts, last))
}

fn step<'a>(at: &'a mut Yaml, part: &str, make: bool) -> Option<&'a mut Yaml> {
    match at {
        Yaml::Map(entries) => {
            let place = match entries.iter().position(|(key, _)| key == part) {
                Some(place) => place,
                None if make => {
                    entries.push((part.to_owned(), Yaml::Map(Vec::new())));
                    entries.len() - 1
                }
                None => return None,
            };
            Some(&mut entries[place].1)
        }
        Yaml::List(items) => items.get_mut(part.parse::<usize>().ok()?),
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) => None,
    }
}

/// What is filled into requests.
#[derive(Debug, Default)]
pub(super) struct Filling {
    /// The case's namespace, if it has one.
    pub(super) namespace: Option<String>,
    /// Bodies of earlier answers by the names they were saved under.
    pub(super) saved: BTreeMap<String, Value>,
}

impl Filling {
    /// Puts the namespace and saved values into a text.
    pub(super) fn text(&self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or_else(|| format!("{text}: no end of ${{"))?;
            filled.push_str(before);
            let value = self.look_up(name)?;
            filled.push_str(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            rest = after;
        }
        filled.push_str(rest);
        Ok(match &self.namespace {
            Some(namespace) => filled.replace("$ns", namespace),
            None => filled,
        })
    }

    /// The same in every key and text of a tree. A text that is nothing but a saved value becomes that value.
    pub(super) fn tree(&self, tree: &Yaml) -> Result<Yaml, String> {
        Ok(match tree {
            Yaml::Text(text) => match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                Some(name) if !name.contains("${") => from_json(self.look_up(name)?),
                Some(_) | None => Yaml::Text(self.text(text)?),
            },
            Yaml::List(items) => {
                Yaml::List(items.iter().map(|item| self.tree(item)).collect::<Result<_, _>>()?)
            }
            Yaml::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| Ok((self.text(key)?, self.tree(value)?)));
                Yaml::Map(entries.collect::<Result<_, String>>()?)
            }
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => tree.clone(),
        })
    }

    /// Answers a saved body.
    pub(super) fn saved(&self, name: &str) -> Result<&Value, String> {
        self.saved.get(name).ok_or_else(|| format!("nothing was saved as {name}"))
    }

    fn look_up(&self, expression: &str) -> Result<&Value, String> {
        let (name, pointer) =
            expression.find('/').map_or((expression, ""), |slash| expression.split_at(slash));
        at(self.saved(name)?, pointer).ok_or_else(|| format!("{expression}: the answer had no such value"))
    }
}

/// A tree of the same shape with its keys in the order of the document.
pub(super) fn from_json(value: &Value) -> Yaml {
    match value {
        Value::Null => Yaml::Null,
        Value::Bool(value) => Yaml::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Yaml::Int(number),
            (None, Some(number)) => Yaml::Float(number),
            (None, None) => Yaml::Text(number.to_string()),
        },
        Value::String(text) => Yaml::Text(text.clone()),
        Value::Array(items) => Yaml::List(items.iter().map(from_json).collect()),
        Value::Object(fields) => {
            Yaml::Map(fields.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
    }
}

/// Keeps the order of keys: a server that names several mistakes does so in the order of the document.
impl Serialize for Yaml {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filling() -> Filling {
        let saved = json!({"metadata": {"name": "web", "generation": 3}, "ports": [80]});
        Filling { namespace: Some("t-x".into()), saved: BTreeMap::from([("s".to_owned(), saved)]) }
    }

    #[test]
    fn fills_texts_and_trees() {
        for (text, expected) in [
            ("/ns/$ns/${s/metadata/name}?g=${s/metadata/generation}", Ok("/ns/t-x/web?g=3")),
            ("${s/metadata/nope}", Err("s/metadata/nope: the answer had no such value")),
            ("${q}", Err("nothing was saved as q")),
            ("${s", Err("${s: no end of ${")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(filling().text(text), expected, "{text}");
        }
        let tree = Yaml::parse("{$ns: ['${s/ports/0}', 'x${s/ports/0}', 5], b: '${s/metadata}'}").unwrap();
        assert_eq!(
            serde_json::to_string(&filling().tree(&tree).unwrap()).unwrap(),
            r#"{"t-x":[80,"x80",5],"b":{"generation":3,"name":"web"}}"#
        );
    }

    #[test]
    fn sets_and_removes() {
        let mut tree = Yaml::parse("{z: 1, a: [x, y], b: {}}").unwrap();
        for (pointer, value) in [("/z", "2"), ("/a/-", "w"), ("/a/0", "v"), ("/c/d~1e", "6")] {
            set(&mut tree, pointer, Yaml::Text(value.into())).unwrap();
        }
        for pointer in ["/b", "/a/1", "/a/9", "/no/where"] {
            remove(&mut tree, pointer);
        }
        let text = serde_json::to_string(&tree).unwrap();
        assert_eq!(text, r#"{"z":"2","a":["v","w"],"c":{"d/e":"6"}}"#);
        for pointer in ["z", "/a/7", "/z/x", "/a/q/r"] {
            assert!(set(&mut tree, pointer, Yaml::Null).is_err(), "{pointer}");
        }
    }
}
