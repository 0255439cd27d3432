//! YAML as a tree that keeps the order of mappings: steps, probes and ports of a case are in an order that counts.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{CaseError, wrong};

/// One node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // Without it `y` and `no` would be truth values.
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
    }

    /// Answers the text of a scalar, numbers included: `udp/53` and `8080` are both ports.
    pub(crate) fn text(&self, what: &str) -> Result<String, CaseError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Int(number) => Ok(number.to_string()),
            Self::Bool(_) | Self::Float(_) | Self::Null | Self::List(_) | Self::Map(_) => {
                Err(wrong(format!("{what}: expected a text, found {self:?}")))
            }
        }
    }

    pub(crate) fn bool(&self, what: &str) -> Result<bool, CaseError> {
        let Self::Bool(value) = self else { return Err(wrong(format!("{what}: expected true or false"))) };
        Ok(*value)
    }

    pub(crate) fn count(&self, what: &str) -> Result<u32, CaseError> {
        let Self::Int(number) = self else { return Err(wrong(format!("{what}: expected a number"))) };
        u32::try_from(*number).map_err(|_| wrong(format!("{what}: {number} is out of range")))
    }

    /// Answers a time; what is absent (null) is none.
    pub(crate) fn seconds(&self, what: &str) -> Result<std::time::Duration, CaseError> {
        let seconds = match self {
            Self::Int(number) => *number as f64,
            Self::Float(number) => *number,
            Self::Null => 0.0,
            Self::Bool(_) | Self::Text(_) | Self::List(_) | Self::Map(_) => {
                return Err(wrong(format!("{what}: expected seconds")));
            }
        };
        std::time::Duration::try_from_secs_f64(seconds).map_err(|error| wrong(format!("{what}: {error}")))
    }

    /// Answers the items of a list; what is absent (null) is empty.
    pub(crate) fn list(&self, what: &str) -> Result<&[Yaml], CaseError> {
        match self {
            Self::List(items) => Ok(items),
            Self::Null => Ok(&[]),
            Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) | Self::Map(_) => {
                Err(wrong(format!("{what}: expected a list")))
            }
        }
    }

    /// Answers the entries of a mapping in their order; what is absent (null) is empty.
    pub(crate) fn entries(&self, what: &str) -> Result<&[(String, Yaml)], CaseError> {
        match self {
            Self::Map(entries) => Ok(entries),
            Self::Null => Ok(&[]),
            Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) | Self::List(_) => {
                Err(wrong(format!("{what}: expected a mapping, found {self:?}")))
            }
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(number) => Value::from(*number),
            Self::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            Self::Text(text) => Value::String(text.clone()),
            Self::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(entries) => {
                Value::Object(entries.iter().map(|(k, v)| (k.clone(), v.to_json())).collect::<Map<_, _>>())
            }
        }
    }
}

/// A mapping that is taken apart field by field; what nobody took is an unknown word.
pub(crate) struct Fields {
    what: String,
    left: Vec<(String, Yaml)>,
}

impl Fields {
    pub(crate) fn of(value: &Yaml, what: impl Into<String>) -> Result<Self, CaseError> {
        let what = what.into();
        let left = value.entries(&what)?.to_vec();
        Ok(Self { what, left })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.left.iter().any(|(key, _)| key == name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.left.iter().map(|(key, _)| key.as_str())
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Yaml> {
        let at = self.left.iter().position(|(key, _)| key == name)?;
        Some(self.left.remove(at).1)
    }

    pub(crate) fn take_text(&mut self, name: &str) -> Result<Option<String>, CaseError> {
        let what = format!("{}.{name}", self.what);
        self.take(name).map(|value| value.text(&what)).transpose()
    }

    pub(crate) fn need_text(&mut self, name: &str) -> Result<String, CaseError> {
        self.take_text(name)?.ok_or_else(|| wrong(format!("{}: no {name}", self.what)))
    }

    /// Fails when fields are left that nobody knew.
    pub(crate) fn end(self) -> Result<(), CaseError> {
        if self.left.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.left.into_iter().map(|(key, _)| key).collect();
        Err(wrong(format!("{}: unknown {}", self.what, names.join(", "))))
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Yaml, E> {
        i64::try_from(value).map(Yaml::Int).map_err(E::custom)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
        Ok(Yaml::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Yaml, E> {
        Ok(Yaml::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        Yaml::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Yaml, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Yaml::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Yaml, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Yaml::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_kinds() {
        let tree =
            Yaml::parse("{b: 1, a: [1.5, null, true, '2', x: y], \"\": udp/53, v: '[fd00::1]:80'}").unwrap();
        let text = |s: &str| Yaml::Text(s.into());
        let inner = Yaml::Map(vec![("x".into(), text("y"))]);
        let list = Yaml::List(vec![Yaml::Float(1.5), Yaml::Null, Yaml::Bool(true), text("2"), inner]);
        let expected = [("b", Yaml::Int(1)), ("a", list), ("", text("udp/53")), ("v", text("[fd00::1]:80"))];
        assert_eq!(tree, Yaml::Map(expected.map(|(k, v)| (k.into(), v)).to_vec()));
    }

    #[test]
    fn names_what_nobody_took() {
        let mut fields = Fields::of(&Yaml::parse("{a: 1, b: 2, c: 3}").unwrap(), "step").unwrap();
        assert_eq!(fields.take_text("a").unwrap().as_deref(), Some("1"));
        assert_eq!(fields.end().unwrap_err().to_string(), "step: unknown b, c");
    }
}
