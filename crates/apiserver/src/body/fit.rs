//! Fits what was read into a type: which fields there are, what may stand in them, and what Go says about the rest.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::go::{self, Member};
use super::json::Node;
use super::time::{self, Precision};
use super::words::quoted;
use super::{base64, quantity};
use crate::schema::{Shape, TypeId};

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Fitted {
    /// The fields that were given and exist. Not yet in canonical form.
    pub(super) fields: Map<String, Value>,
    /// Unknown and doubled fields, in the order of the text; each once, a hundred at most.
    pub(super) remarks: Vec<String>,
}

/// Fits an object with `apiVersion` and `kind`; the error is worded as Go words it.
pub(super) fn fit(node: Node, of: TypeId) -> Result<Fitted, String> {
    let mut fitting = Fitting { place: go::fields_of(of).name, ..Fitting::default() };
    let mut fields = Map::new();
    match node {
        Node::Null => {}
        Node::Map(entries) => fitting.object(of, entries, &mut fields)?,
        other @ (Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_)) => {
            let name = go::fields_of(of).name;
            return Err(format!("json: cannot unmarshal {} into Go value of type v1.{name}", other.kind()));
        }
    }
    match fitting.mistake {
        Some(mistake) => Err(mistake),
        None => Ok(Fitted { fields, remarks: fitting.remarks }),
    }
}

/// Kubernetes stops counting here.
const MOST_REMARKS: usize = 100;

/// A field, or a part of what it holds.
#[derive(Clone, Copy)]
struct Part<'a> {
    member: &'a Member,
    shape: &'a Shape,
}

impl<'a> Part<'a> {
    fn of(self, shape: &'a Shape) -> Self {
        Self { shape, ..self }
    }
}

#[derive(Default)]
struct Fitting {
    /// The type whose fields are read.
    place: &'static str,
    /// The names of the fields around, without list positions and map keys: Go's own path.
    outer: Vec<&'static str>,
    /// The path with list positions and map keys.
    path: String,
    remarks: Vec<String>,
    seen: BTreeSet<String>,
    /// The first value of a wrong type. Go reads on, since texts that cannot be read matter more.
    mistake: Option<String>,
}

impl Fitting {
    fn object(
        &mut self,
        of: TypeId,
        entries: Vec<(String, Node)>,
        into: &mut Map<String, Value>,
    ) -> Result<(), String> {
        let is_outermost = self.outer.is_empty() && self.path.is_empty();
        let known = &go::fields_of(of).flat;
        let mut seen = BTreeSet::new();
        for (name, node) in entries {
            let member = known.get(name.as_str());
            let is_type_meta = is_outermost && matches!(name.as_str(), "apiVersion" | "kind");
            if member.is_none() && !is_type_meta {
                self.remark("unknown", &name);
                continue;
            }
            if !seen.insert(name.clone()) {
                self.remark("duplicate", &name);
            }
            // What they say was read before.
            let Some(member) = member else { continue };
            let (place, length) = (self.place, self.path.len());
            self.place = go::fields_of(of).name;
            self.outer.push(member.field.name);
            self.step(&name);
            let given = into.remove(&name);
            if let Some(value) = self.field(member, node, given)? {
                into.insert(name, value);
            }
            self.path.truncate(length);
            self.outer.pop();
            self.place = place;
        }
        Ok(())
    }

    /// Answers what a field holds. When it was given before, objects and maps get more and others are replaced.
    fn field(&mut self, member: &Member, node: Node, before: Option<Value>) -> Result<Option<Value>, String> {
        if node == Node::Null {
            return Ok(before.filter(|_| !member.is_nullable));
        }
        self.value(Part { member, shape: &member.field.shape }, node, before)
    }

    fn value(&mut self, part: Part<'_>, node: Node, before: Option<Value>) -> Result<Option<Value>, String> {
        let mut fields = match before {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        Ok(match (part.shape, node) {
            (Shape::Fields | Shape::Raw, node) => Some(any(node)?),
            (Shape::Quantity, node) => Some(amount(&node)?.into()),
            (Shape::IntOrString, Node::Text(text)) | (Shape::Text, Node::Text(text)) => Some(text.into()),
            (Shape::Time, Node::Text(text)) => Some(moment(&text, Precision::Seconds)?),
            (Shape::MicroTime, Node::Text(text)) => Some(moment(&text, Precision::Micros)?),
            (Shape::Bool, Node::Bool(value)) => Some(value.into()),
            (Shape::Int32 | Shape::Int64 | Shape::IntOrString | Shape::Double, Node::Number(text)) => {
                self.number(part, &text)
            }
            (Shape::Bytes, Node::Text(text)) => match base64::decode(&text) {
                Ok(bytes) => Some(base64::encode(&bytes).into()),
                Err(at) => {
                    self.mistake.get_or_insert_with(|| format!("illegal base64 data at input byte {at}"));
                    None
                }
            },
            (Shape::Object(id), Node::Map(entries)) => {
                self.object(*id, entries, &mut fields)?;
                Some(Value::Object(fields))
            }
            (Shape::List(of), Node::List(parts)) => Some(self.list(part.of(of), parts)?),
            (Shape::Map(of), Node::Map(entries)) => {
                self.map(part.of(of), entries, &mut fields)?;
                Some(Value::Object(fields))
            }
            // Go's readers of times and of numbers or texts stop at once.
            (Shape::Time | Shape::MicroTime | Shape::IntOrString, node) => {
                return Err(self.mismatch(part, node.kind()));
            }
            (_, node) => {
                let mistake = self.mismatch(part, node.kind());
                self.mistake.get_or_insert(mistake);
                None
            }
        })
    }

    fn list(&mut self, part: Part<'_>, parts: Vec<Node>) -> Result<Value, String> {
        let length = self.path.len();
        let mut values = Vec::with_capacity(parts.len());
        for (at, node) in parts.into_iter().enumerate() {
            self.path.push_str(&format!("[{at}]"));
            let value = if node == Node::Null { None } else { self.value(part, node, None)? };
            values.push(value.unwrap_or(Value::Null));
            self.path.truncate(length);
        }
        Ok(Value::Array(values))
    }

    fn map(
        &mut self,
        part: Part<'_>,
        entries: Vec<(String, Node)>,
        into: &mut Map<String, Value>,
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for (key, node) in entries {
            let length = self.path.len();
            self.step(&key);
            let value = if node == Node::Null { None } else { self.value(part, node, None)? };
            self.path.truncate(length);
            if !seen.insert(key.clone()) {
                self.remark("duplicate", &key);
            }
            into.insert(key, value.unwrap_or(Value::Null));
        }
        Ok(())
    }

    fn number(&mut self, part: Part<'_>, text: &str) -> Option<Value> {
        let value = if *part.shape == Shape::Double {
            text.parse().ok().and_then(Number::from_f64).map(Value::Number)
        } else {
            let fits = |number: &i64| *part.shape == Shape::Int64 || i32::try_from(*number).is_ok();
            text.parse::<i64>().ok().filter(fits).map(Value::from)
        };
        if value.is_none() {
            let mistake = self.mismatch(part, &format!("number {text}"));
            self.mistake.get_or_insert(mistake);
        }
        value
    }

    fn mismatch(&self, part: Part<'_>, found: &str) -> String {
        let (place, path, wanted) = (self.place, self.outer.join("."), part.member.type_name(part.shape));
        format!("json: cannot unmarshal {found} into Go struct field {place}.{path} of type {wanted}")
    }

    fn step(&mut self, name: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
    }

    fn remark(&mut self, what: &str, name: &str) {
        if self.remarks.len() >= MOST_REMARKS {
            return;
        }
        let dot = if self.path.is_empty() { "" } else { "." };
        let remark = format!("{what} field {}", quoted(&format!("{}{dot}{name}", self.path)));
        if self.seen.insert(remark.clone()) {
            self.remarks.push(remark);
        }
    }
}

/// Amounts are read from whatever stands there.
fn amount(node: &Node) -> Result<String, &'static str> {
    match node {
        Node::Text(text) => quantity::canonical(text.trim()),
        Node::Number(text) => quantity::canonical(text),
        Node::Null | Node::Bool(_) | Node::List(_) | Node::Map(_) => quantity::canonical("?"),
    }
}

fn moment(text: &str, precision: Precision) -> Result<Value, String> {
    let instant = time::parse(text, precision)?;
    if instant.is_zero() {
        return Ok(Value::Null);
    }
    let printed = instant.print(precision);
    printed.map(Value::from).ok_or_else(|| format!("parsing time {}: year out of range", quoted(text)))
}

/// Answers any JSON as it is; of keys that stand there twice the last one counts.
pub(super) fn any(node: Node) -> Result<Value, String> {
    Ok(match node {
        Node::Null => Value::Null,
        Node::Bool(value) => value.into(),
        Node::Text(text) => text.into(),
        Node::Number(text) => {
            let whole =
                text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from));
            let value =
                whole.ok().or_else(|| text.parse().ok().and_then(Number::from_f64).map(Value::Number));
            value.ok_or_else(|| {
                format!("json: cannot unmarshal number {text} into Go value of type float64")
            })?
        }
        Node::List(parts) => Value::Array(parts.into_iter().map(any).collect::<Result<_, _>>()?),
        Node::Map(entries) => {
            let entries = entries.into_iter().map(|(key, node)| Ok((key, any(node)?)));
            Value::Object(entries.collect::<Result<_, String>>()?)
        }
    })
}
