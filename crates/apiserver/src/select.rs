//! Selectors: which objects are meant, by labels and by fields, with the words that Kubernetes has for wrong ones.

use std::fmt;

use serde_json::{Map, Value};

use crate::kinds::Kind;
use crate::names;

/// What objects must have. The default means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldTerm>,
}

/// One thing about labels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    /// Objects without the label, too.
    NotIn(Vec<String>),
    Exists,
    Missing,
    Greater(i64),
    Less(i64),
}

/// One thing about fields.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldTerm {
    label: String,
    value: String,
    equals: bool,
}

/// Why a selector is none; the message of a 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Selector {
    /// Reads the parameters `labelSelector` and `fieldSelector`; empty ones mean all.
    pub fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Wrong> {
        Ok(Self { labels: Parser::of(labels).requirements()?, fields: field_terms(kind, fields)? })
    }

    /// Answers whether it means all objects.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Answers whether more than labels must be known.
    pub fn looks_at_fields(&self) -> bool {
        !self.fields.is_empty()
    }

    /// Answers the only name that it can mean, if it says so.
    pub fn name(&self) -> Option<&str> {
        let term = self.fields.iter().find(|term| term.equals && term.label == "metadata.name");
        term.map(|term| term.value.as_str())
    }

    /// Answers whether an object is meant.
    pub fn matches(&self, kind: &Kind, object: &Value) -> bool {
        let none = Map::new();
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object).unwrap_or(&none);
        self.labels.iter().all(|requirement| requirement.is_met(labels))
            && self.fields.iter().all(|term| (field(kind, &term.label, object) == term.value) == term.equals)
    }
}

impl Requirement {
    fn is_met(&self, labels: &Map<String, Value>) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Operator::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            Operator::Exists => value.is_some(),
            Operator::Missing => value.is_none(),
            Operator::Greater(than) => number().is_some_and(|number| number > *than),
            Operator::Less(than) => number().is_some_and(|number| number < *than),
        }
    }
}

fn field(kind: &Kind, label: &str, object: &Value) -> String {
    let metadata = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    match label {
        "metadata.name" => metadata("name"),
        "metadata.namespace" => metadata("namespace"),
        label => {
            let known = kind.selectable.iter().find(|selectable| selectable.label == label);
            known.map_or_else(String::new, |selectable| selectable.value.of(object))
        }
    }
}

fn field_terms(kind: &Kind, text: &str) -> Result<Vec<FieldTerm>, Wrong> {
    let mut terms = Vec::new();
    for term in unescaped_split(text) {
        if term.is_empty() {
            continue;
        }
        let operators = [("!=", false), ("==", true), ("=", true)];
        let found = operators.into_iter().filter_map(|(sign, equals)| Some((term.find(sign)?, sign, equals)));
        // The first that stands there; at one place the longer sign.
        let Some((at, sign, equals)) = found.min_by_key(|(at, sign, _)| (*at, std::cmp::Reverse(sign.len())))
        else {
            return Err(Wrong(format!("invalid selector: '{text}'; can't understand '{term}'")));
        };
        let (label, value) = (term[..at].to_owned(), unescaped(&term[at + sign.len()..])?);
        check_field(kind, &label)?;
        terms.push(FieldTerm { label, value, equals });
    }
    Ok(terms)
}

/// Kinds with fields of their own say it in other words than the rest.
fn check_field(kind: &Kind, label: &str) -> Result<(), Wrong> {
    let is_usual = matches!(label, "metadata.name" | "metadata.namespace");
    if is_usual || kind.selectable.iter().any(|selectable| selectable.label == label) {
        return Ok(());
    }
    Err(Wrong(if kind.selectable.is_empty() {
        format!("\"{label}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {label}")
    }))
}

/// Parts between commas that have no backslash before them.
fn unescaped_split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut is_escaped) = (Vec::new(), 0, false);
    for (at, char) in text.char_indices() {
        match char {
            '\\' if !is_escaped => is_escaped = true,
            ',' if !is_escaped => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => is_escaped = false,
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A backslash stands before `\`, `,` and `=`, and before nothing else.
fn unescaped(text: &str) -> Result<String, Wrong> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => {
                    return Err(Wrong(format!("invalid field selector: invalid escape sequence: \\{other}")));
                }
                None => return Err(Wrong("invalid field selector: unterminated escape sequence".to_owned())),
            },
            ',' | '=' => return Err(Wrong(format!("invalid field selector: unescaped {char} in value"))),
            char => out.push(char),
        }
    }
    Ok(out)
}

/// A part of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `! = == != > < , ( )`.
    Sign(&'static str),
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Sign(sign) => sign,
            Self::End => "",
        }
    }
}

struct Parser {
    tokens: std::vec::IntoIter<Token>,
}

const SIGNS: [&str; 9] = ["==", "!=", "=", "!", ">", "<", ",", "(", ")"];

impl Parser {
    fn of(text: &str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let length = match sign {
                Some(sign) => {
                    tokens.push(Token::Sign(sign));
                    sign.len()
                }
                None => {
                    let is_end = |char: char| char.is_whitespace() || "=!><,()".contains(char);
                    let end = rest.find(is_end).unwrap_or(rest.len());
                    tokens.push(Token::Word(rest[..end].to_owned()));
                    end
                }
            };
            rest = rest[length..].trim_start();
        }
        Self { tokens: tokens.into_iter() }
    }

    fn peek(&self) -> Token {
        self.tokens.as_slice().first().cloned().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token {
        self.tokens.next().unwrap_or(Token::End)
    }

    fn requirements(mut self) -> Result<Vec<Requirement>, Wrong> {
        let mut found = Vec::new();
        loop {
            match self.peek() {
                Token::Word(_) | Token::Sign("!") => {
                    let requirement = self.requirement();
                    found.push(
                        requirement
                            .map_err(|Wrong(why)| Wrong(format!("unable to parse requirement: {why}")))?,
                    );
                    match self.next() {
                        Token::End => break,
                        Token::Sign(",") => {
                            let next = self.peek();
                            if !matches!(next, Token::Word(_) | Token::Sign("!")) {
                                return Err(Wrong(format!(
                                    "found '{}', expected: identifier after ','",
                                    next.text()
                                )));
                            }
                        }
                        other @ (Token::Word(_) | Token::Sign(_)) => {
                            return Err(Wrong(format!(
                                "found '{}', expected: ',' or 'end of string'",
                                other.text()
                            )));
                        }
                    }
                }
                Token::End => break,
                Token::Sign(sign) => {
                    return Err(Wrong(format!(
                        "found '{sign}', expected: !, identifier, or 'end of string'"
                    )));
                }
            }
        }
        Ok(found)
    }

    fn requirement(&mut self) -> Result<Requirement, Wrong> {
        let is_missing = self.peek() == Token::Sign("!");
        if is_missing {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other @ (Token::Sign(_) | Token::End) => {
                return Err(Wrong(format!("found '{}', expected: identifier", other.text())));
            }
        };
        check_key(&key)?;
        if is_missing {
            return Ok(Requirement { key, operator: Operator::Missing });
        }
        if matches!(self.peek(), Token::End | Token::Sign(",")) {
            return Ok(Requirement { key, operator: Operator::Exists });
        }
        let operator = self.operator(&key)?;
        Ok(Requirement { key, operator })
    }

    fn operator(&mut self, key: &str) -> Result<Operator, Wrong> {
        let one = |parser: &mut Self| -> Result<Vec<String>, Wrong> {
            let value = parser.exact_value()?;
            check_values(key, std::slice::from_ref(&value))?;
            Ok(vec![value])
        };
        match self.next() {
            Token::Sign("=" | "==") => Ok(Operator::In(one(self)?)),
            Token::Sign("!=") => Ok(Operator::NotIn(one(self)?)),
            Token::Sign(">") => Ok(Operator::Greater(self.integer()?)),
            Token::Sign("<") => Ok(Operator::Less(self.integer()?)),
            Token::Word(word) if word == "in" || word == "notin" => {
                let values = self.values()?;
                check_values(key, &values)?;
                Ok(if word == "in" { Operator::In(values) } else { Operator::NotIn(values) })
            }
            other @ (Token::Word(_) | Token::Sign(_) | Token::End) => {
                Err(Wrong(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())))
            }
        }
    }

    /// A value, or nothing, which is the empty one.
    fn exact_value(&mut self) -> Result<String, Wrong> {
        match self.peek() {
            Token::End | Token::Sign(",") => Ok(String::new()),
            Token::Word(value) => {
                self.next();
                Ok(value)
            }
            Token::Sign(sign) => Err(Wrong(format!("found '{sign}', expected: identifier"))),
        }
    }

    fn integer(&mut self) -> Result<i64, Wrong> {
        let value = self.exact_value()?;
        value.parse().map_err(|_| {
            Wrong(format!("values[0]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"))
        })
    }

    /// `(a, b)`; nothing between commas is the empty value.
    fn values(&mut self) -> Result<Vec<String>, Wrong> {
        match self.next() {
            Token::Sign("(") => {}
            other @ (Token::Word(_) | Token::Sign(_) | Token::End) => {
                return Err(Wrong(format!("found '{}' expected: '('", other.text())));
            }
        }
        let mut values = std::collections::BTreeSet::new();
        let mut last: Option<String> = None;
        loop {
            match self.next() {
                Token::Word(value) if last.is_none() => last = Some(value),
                Token::Sign(",") => {
                    values.insert(last.take().unwrap_or_default());
                    if self.peek() == Token::Sign(")") {
                        last = Some(String::new());
                    }
                }
                Token::Sign(")") => {
                    values.extend(last.or_else(|| values.is_empty().then(String::new)));
                    return Ok(values.into_iter().collect());
                }
                other @ (Token::Word(_) | Token::Sign(_) | Token::End) if last.is_some() => {
                    return Err(Wrong(format!("found '{}', expected: ',' or ')'", other.text())));
                }
                other @ (Token::Word(_) | Token::Sign(_) | Token::End) => {
                    return Err(Wrong(format!("found '{}', expected: ',', or identifier", other.text())));
                }
            }
        }
    }
}

fn check_key(key: &str) -> Result<(), Wrong> {
    match names::qualified_name(key).into_iter().next() {
        Some(why) => Err(Wrong(format!("<nil>: Invalid value: \"{key}\": {why}"))),
        None => Ok(()),
    }
}

fn check_values(key: &str, values: &[String]) -> Result<(), Wrong> {
    for (at, value) in values.iter().enumerate() {
        if let Some(why) = names::label_value(value).into_iter().next() {
            return Err(Wrong(format!("values[{at}][{key}]: Invalid value: \"{value}\": {why}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pods() -> &'static Kind {
        Kind::find("", "v1", "pods").expect("pods are served")
    }

    /// Which of these objects are meant; or why it is none.
    fn check(labels: &str, fields: &str) -> String {
        let objects = [
            ("a", json!({"x": "1", "env": "prod"}), json!({"nodeName": "n1"})),
            ("b", json!({"x": "2", "env": "dev"}), json!({"hostNetwork": true})),
            ("c", json!({"y": "1", "z": ""}), json!({})),
        ];
        match Selector::parse(pods(), labels, fields) {
            Err(wrong) => wrong.to_string(),
            Ok(selector) => {
                let is_meant = |(name, labels, spec): &(&str, Value, Value)| {
                    let object = json!({"metadata": {"name": name, "namespace": "ns", "labels": labels}, "spec": spec});
                    selector.matches(pods(), &object)
                };
                objects.iter().filter(|object| is_meant(object)).map(|(name, ..)| *name).collect()
            }
        }
    }

    #[test]
    fn labels_select() {
        for (selector, wanted) in [
            ("", "abc"),
            ("x=1", "a"),
            ("x==1", "a"),
            ("x!=1", "bc"),
            ("x in (1,2)", "ab"),
            ("x in(2)", "b"),
            ("x notin (1)", "bc"),
            ("x", "ab"),
            ("!x", "c"),
            ("x>1", "b"),
            ("x<2", "a"),
            ("x,env=dev", "b"),
            ("z=", "c"),
            ("z in ()", "c"),
            (" x = 1 , env = prod ", "a"),
        ] {
            assert_eq!(check(selector, ""), wanted, "{selector}");
        }
    }

    /// The words are Kubernetes' own, as recorded from its API server.
    #[test]
    fn wrong_selectors_are_named() {
        for (selector, wanted) in [
            ("x in ", "unable to parse requirement: found '' expected: '('"),
            ("=1", "found '=', expected: !, identifier, or 'end of string'"),
            ("x=a b", "found 'b', expected: ',' or 'end of string'"),
            (
                "x near (a)",
                "unable to parse requirement: found 'near', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a,,b", "found ',', expected: identifier after ','"),
            (
                "x>a",
                "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
            (
                "-x=1",
                "unable to parse requirement: <nil>: Invalid value: \"-x\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            ),
            (
                "x=-1",
                "unable to parse requirement: values[0][x]: Invalid value: \"-1\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            ),
            (
                "a/b/c=1",
                "unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
            ),
        ] {
            assert_eq!(check(selector, ""), wanted, "{selector}");
        }
    }

    #[test]
    fn fields_select() {
        for (selector, wanted) in [
            ("metadata.name=a", "a"),
            ("metadata.name!=a", "bc"),
            ("metadata.namespace=ns,spec.nodeName=n1", "a"),
            ("spec.nodeName=", "bc"),
            ("spec.hostNetwork=true", "b"),
            ("spec.hostNetwork==false", "ac"),
            ("status.phase=zzz", ""),
            ("nope=zzz", "field label not supported: nope"),
            ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ] {
            assert_eq!(check("", selector), wanted, "{selector}");
        }
        let leases = Kind::find("coordination.k8s.io", "v1", "leases").expect("leases are served");
        let wrong = Selector::parse(leases, "", "spec.holderIdentity=zzz").expect_err("no such field");
        assert_eq!(
            wrong.0,
            "\"spec.holderIdentity\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert_eq!(Selector::parse(pods(), "x=1", "metadata.name=a").expect("both").name(), Some("a"));
        assert!(Selector::parse(pods(), "", "").expect("nothing").is_everything());
    }
}
