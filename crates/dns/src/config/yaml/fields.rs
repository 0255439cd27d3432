//! Reading fields of a text in YAML, and noting each mistake with the path of its field.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::super::Remark;

/// Mistakes so far.
pub(super) type Noted = RefCell<Vec<Remark>>;

/// An object and its path.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
    noted: &'a Noted,
}

impl<'a> Fields<'a> {
    /// Takes a value that must be an object, with no other fields than these.
    pub(super) fn of(value: &'a Value, path: String, known: &[&str], noted: &'a Noted) -> Option<Self> {
        let Some(map) = value.as_object() else {
            noted.borrow_mut().push(Remark::new(path, format!("{} is not an object", shown(value))));
            return None;
        };
        let fields = Self { map, path, noted };
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            fields.wrong(name, format!("is no field; there are {}", known.join(", ")));
        }
        Some(fields)
    }

    /// The path of a field.
    pub(super) fn path(&self, name: &str) -> String {
        let dot = if self.path.is_empty() || name.is_empty() { "" } else { "." };
        format!("{}{dot}{name}", self.path)
    }

    pub(super) fn wrong(&self, name: &str, reason: impl Into<String>) {
        self.noted.borrow_mut().push(Remark::new(self.path(name), reason));
    }

    /// Null is as good as nothing.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn typed<T>(&self, name: &str, wanted: &str, read: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.get(name)?;
        let found = read(value);
        if found.is_none() {
            self.wrong(name, format!("{} is not {wanted}", shown(value)));
        }
        found
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.typed(name, "a text", Value::as_str)
    }

    pub(super) fn flag(&self, name: &str, usual: bool) -> bool {
        self.typed(name, "true or false", Value::as_bool).unwrap_or(usual)
    }

    pub(super) fn number(&self, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let wanted = match *range.end() {
            u32::MAX => format!("a whole number from {} on", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        let read =
            |value: &Value| u32::try_from(value.as_u64()?).ok().filter(|number| range.contains(number));
        self.typed(name, &wanted, read)
    }

    /// Reads a text that means something.
    pub(super) fn read<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.taken(name, read(self.text(name)?))
    }

    /// Reads a list of texts that mean something.
    pub(super) fn list<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let item = |(at, value): (usize, &Value)| {
            let name = format!("{name}[{at}]");
            let Some(text) = value.as_str() else {
                self.wrong(&name, format!("{} is not a text", shown(value)));
                return None;
            };
            self.taken(&name, read(text))
        };
        self.values(name).iter().enumerate().filter_map(item).collect()
    }

    pub(super) fn object(&self, name: &str, known: &[&str]) -> Option<Fields<'a>> {
        Fields::of(self.get(name)?, self.path(name), known, self.noted)
    }

    pub(super) fn objects(&self, name: &str, known: &[&str]) -> Vec<Fields<'a>> {
        let path = |at| self.path(&format!("{name}[{at}]"));
        let item = |(at, value)| Fields::of(value, path(at), known, self.noted);
        self.values(name).iter().enumerate().filter_map(item).collect()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn values(&self, name: &str) -> &'a [Value] {
        self.typed(name, "a list", Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn taken<T>(&self, name: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|reason| self.wrong(name, reason)).ok()
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => format!("`{value}`"),
    }
}
