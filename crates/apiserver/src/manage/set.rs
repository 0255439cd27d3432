//! Sets of fields, and how `managedFields` writes them (`FieldsV1`).
//!
//! A set does *not* know types: whether its fields exist is for others to say.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::value::{self, Json};
use crate::body::quoted;

/// One step from what has parts to a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Element {
    /// A field of an object, or a key of a map.
    Field(String),
    /// The entry of a list whose fields have these values; sorted.
    Key(Vec<(String, Json)>),
    /// A value in a list of values.
    Value(Json),
    /// A place in a list.
    Index(i64),
}

/// Fields that somebody owns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Set(BTreeMap<Element, Node>);

/// Nobody can own a part without children and without membership, so such a node does not exist.
#[derive(Debug, Clone, Default, PartialEq)]
struct Node {
    is_member: bool,
    below: Set,
}

impl Set {
    /// Answers a set of fields, each with those that it stands in.
    pub(super) fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Vec<Element> = path.iter().map(|name| Element::Field((*name).to_owned())).collect();
            set.insert(&path);
        }
        set
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a part; those that it stands in are not added. Nobody owns the object itself, which is the empty path.
    pub(super) fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => self.0.entry(last.clone()).or_default().is_member = true,
            [first, rest @ ..] => self.0.entry(first.clone()).or_default().below.insert(rest),
        }
    }

    pub(super) fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.0.get(last).is_some_and(|node| node.is_member),
            [first, rest @ ..] => self.0.get(first).is_some_and(|node| node.below.has(rest)),
        }
    }

    pub(super) fn has_member(&self, element: &Element) -> bool {
        self.0.get(element).is_some_and(|node| node.is_member)
    }

    /// Answers what is owned below a part, if anything is.
    pub(super) fn below(&self, element: &Element) -> Option<&Self> {
        self.0.get(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (element, theirs) in &other.0 {
            let node = all.0.entry(element.clone()).or_default();
            node.is_member |= theirs.is_member;
            node.below = node.below.union(&theirs.below);
        }
        all
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.filtered(|element, node| {
            let theirs = other.0.get(element)?;
            let is_member = node.is_member && theirs.is_member;
            Some(Node { is_member, below: node.below.intersection(&theirs.below) })
        })
    }

    /// Without what the other set has, but with what stands in it.
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.filtered(|element, node| {
            let Some(theirs) = other.0.get(element) else { return Some(node.clone()) };
            let is_member = node.is_member && !theirs.is_member;
            Some(Node { is_member, below: node.below.difference(&theirs.below) })
        })
    }

    /// Without what the other set has and all that stands in it.
    pub(super) fn recursive_difference(&self, other: &Self) -> Self {
        self.filtered(|element, node| match other.0.get(element) {
            Some(theirs) if theirs.is_member => None,
            Some(theirs) => Some(Node {
                is_member: node.is_member,
                below: node.below.recursive_difference(&theirs.below),
            }),
            None => Some(node.clone()),
        })
    }

    fn filtered(&self, node: impl Fn(&Element, &Node) -> Option<Node>) -> Self {
        let kept = self.0.iter().filter_map(|(element, old)| Some((element.clone(), node(element, old)?)));
        Self(kept.filter(|(_, node)| node.is_member || !node.below.is_empty()).collect())
    }

    /// Rebuilds a set part by part: `change` gets a part, whether it is owned, and what is owned below it.
    pub(super) fn rebuilt(&self, change: impl Fn(&Element, bool, &Self) -> (bool, Self)) -> Self {
        self.filtered(|element, node| {
            let (is_member, below) = change(element, node.is_member, &node.below);
            Some(Node { is_member, below })
        })
    }

    /// Answers every path, in the order in which conflicts list them: what is here before what is below.
    pub(super) fn paths(&self) -> Vec<Vec<Element>> {
        let mut all = Vec::new();
        self.collect(&mut Vec::new(), &mut all);
        all
    }

    fn collect(&self, prefix: &mut Vec<Element>, all: &mut Vec<Vec<Element>>) {
        for (element, _) in self.0.iter().filter(|(_, node)| node.is_member) {
            all.push(prefix.iter().chain([element]).cloned().collect());
        }
        for (element, node) in &self.0 {
            prefix.push(element.clone());
            node.below.collect(prefix, all);
            prefix.pop();
        }
    }

    /// Reads `FieldsV1`. Elements of unknown sorts are passed over, since a later version may know them.
    pub(super) fn read(fields: &Value) -> Result<Self, String> {
        read(fields).map(|(set, _)| set)
    }

    /// Writes `FieldsV1`.
    pub(super) fn print(&self) -> Value {
        let print = |(element, node): (&Element, &Node)| {
            let mut below = node.below.print();
            if let Some(fields) = below.as_object_mut().filter(|fields| node.is_member && !fields.is_empty())
            {
                fields.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (element.print(), below)
        };
        Value::Object(self.0.iter().map(print).collect())
    }
}

/// Answers the parts, and whether what they are parts of is owned itself.
fn read(fields: &Value) -> Result<(Set, bool), String> {
    let fields = match fields.as_object() {
        Some(fields) => fields,
        None if fields.is_null() => return Ok((Set::default(), true)),
        None => return Err("a set of fields is an object".to_owned()),
    };
    let mut set = Set::default();
    let mut is_member = false;
    for (key, inner) in fields {
        if key == "." {
            is_member = true;
            continue;
        }
        let Some(element) = Element::read(key)? else { continue };
        let (below, is_member) = read(inner)?;
        set.0.insert(element, Node { is_member, below });
    }
    let is_member = is_member || set.is_empty();
    Ok((set, is_member))
}

impl Element {
    /// Reads a key of `FieldsV1`; `None`: it is of an unknown sort.
    fn read(key: &str) -> Result<Option<Self>, String> {
        let parse = |text: &str| {
            serde_json::from_str(text).map(value::plain).map_err(|error: serde_json::Error| error.to_string())
        };
        let Some((sort, rest)) = key.split_at_checked(2).filter(|(sort, _)| sort.ends_with(':')) else {
            return Err(format!("missing colon: {key}"));
        };
        Ok(Some(match sort {
            "f:" => Self::Field(rest.to_owned()),
            "v:" => Self::Value(Json(parse(rest)?)),
            "k:" => match parse(rest)? {
                Value::Object(fields) => Self::key(fields),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    return Err(format!("no object: {key}"));
                }
            },
            "i:" => Self::Index(rest.parse().map_err(|_| format!("no number: {key}"))?),
            _ => return Ok(None),
        }))
    }

    /// Answers the entry with these values.
    pub(super) fn key(fields: Map<String, Value>) -> Self {
        Self::Key(fields.into_iter().map(|(name, field)| (name, Json(value::plain(field)))).collect())
    }

    fn print(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(fields) => {
                let fields: Map<String, Value> =
                    fields.iter().map(|(name, Json(field))| (name.clone(), field.clone())).collect();
                format!("k:{}", value::text(&Value::Object(fields)))
            }
            Self::Value(Json(of)) => format!("v:{}", value::text(of)),
            Self::Index(at) => format!("i:{at}"),
        }
    }
}

/// As messages show it: `.name`, `[port=80,protocol="TCP"]`, `[="a"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |Json(of): &Json| of.as_str().map_or_else(|| of.to_string(), quoted);
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, field)| format!("{name}={}", shown(field))).collect();
                write!(f, "[{}]", fields.join(","))
            }
            Self::Value(of) => write!(f, "[={}]", shown(of)),
            Self::Index(at) => write!(f, "[{at}]"),
        }
    }
}

/// Answers a path as messages show it.
pub(super) fn shown(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Json {}

impl PartialOrd for Json {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Json {
    fn cmp(&self, other: &Self) -> Ordering {
        value::order(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(fields: Value) -> Set {
        Set::read(&fields).unwrap_or_else(|error| panic!("{fields}: {error}"))
    }

    fn lines(set: &Set) -> String {
        set.paths().iter().map(|path| shown(path)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn fields_are_read_and_written() {
        let fields = json!({"f:spec": {"f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}},
                                       "f:externalIPs": {"v:\"10.0.0.1\"": {}, "v:2": {}}, "f:list": {"i:3": {}}}});
        let read = set(fields.clone());
        assert_eq!(read.print(), fields);
        assert_eq!(
            lines(&read),
            ".spec.ports .spec.externalIPs[=2] .spec.externalIPs[=\"10.0.0.1\"] .spec.list[3] \
             .spec.ports[port=80,protocol=\"TCP\"] .spec.ports[port=80,protocol=\"TCP\"].name"
        );
        // Numbers that say the same are the same; unknown sorts of elements are passed over.
        assert_eq!(set(json!({"v:80.0": {}, "x:y": {}})), set(json!({"v:80": null})));
        assert_eq!(set(json!({"v:\"<&>\"": {}})).print(), json!({"v:\"\\u003c\\u0026\\u003e\"": {}}));
        for wrong in
            [json!({"f": {}}), json!({"fx": {}}), json!({"k:[]": {}}), json!({"i:x": {}}), json!({"f:a": 1})]
        {
            assert!(Set::read(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sets_are_calculated_with() {
        let check = |result: Set, wanted: &str| assert_eq!(lines(&result), wanted);
        let a = set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}));
        let b = set(json!({"f:a": {"f:b": {}}, "f:e": {}}));
        check(a.union(&b), ".a .d .e .a.b .a.c");
        check(a.intersection(&b), ".a.b");
        check(a.difference(&b), ".a .d .a.c");
        check(b.difference(&a), ".e");
        check(b.recursive_difference(&set(json!({"f:a": {}}))), ".e");
        check(a.recursive_difference(&set(json!({"f:a": {"f:b": {}}}))), ".a .d .a.c");
        assert!(a.has(&[Element::Field("a".into()), Element::Field("b".into())]) && !a.has(&[]));
    }
}
