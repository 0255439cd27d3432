//! Reads YAML by the events of its parser, so that lines, quotes and doubled keys are known.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::super::json::{DEEPEST, Node};
use super::super::words::quoted;
use super::super::{NO_KIND, Tree, base64};
use super::scalar;

/// How many values aliases may stand for in all: more is an attack.
const MOST_NODES: usize = 1_000_000;
/// How many bytes of texts may be copied for anchors and aliases in all: twice as many as a body can have.
const MOST_COPIED: usize = 6 * 1024 * 1024;

/// Reads the first document of a text. The error is worded as Kubernetes words it, as far as the parsers agree.
pub(in super::super) fn parse(bytes: &[u8]) -> Result<Tree, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "yaml: invalid leading UTF-8 octet".to_owned())?;
    let mut reading = Reading {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        remarks: Vec::new(),
        depth: 0,
        nodes: 0,
        copied: 0,
    };
    let mut node = Node::Null;
    loop {
        let (event, span) = reading.next()?;
        if matches!(event, Event::DocumentEnd | Event::StreamEnd) {
            break;
        }
        if event.is_node() {
            node = reading.node(event, span)?;
        }
    }
    Ok(Tree { node, remarks: reading.remarks })
}

/// Kubernetes' own words.
const EXCESSIVE: &str = "yaml: document contains excessive aliasing";

struct Reading<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, (Node, Extent)>,
    /// Keys that stand there twice.
    remarks: Vec<String>,
    depth: usize,
    nodes: usize,
    /// The bytes of texts that were copied.
    copied: usize,
}

/// How much a value is.
#[derive(Clone, Copy, Default)]
struct Extent {
    nodes: usize,
    /// Of its texts.
    bytes: usize,
    depth: usize,
}

impl<'a> Reading<'a> {
    /// Takes the next event but comments.
    fn next(&mut self) -> Result<(Event<'a>, Span), String> {
        loop {
            match self.parser.next_event() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => return Err(worded(&error)),
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, String> {
        self.count(1)?;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("{NO_KIND}exceeded max depth"));
        }
        let (anchor, node) = if let Event::Scalar(text, style, anchor, tag) = event {
            let tag = tag.as_ref().and_then(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:"));
            (anchor, word(&text, style, tag.as_deref())?)
        } else if let Event::SequenceStart(_, anchor, _) = event {
            (anchor, self.list()?)
        } else if let Event::MappingStart(_, anchor, _) = event {
            (anchor, self.map()?)
        } else if let Event::Alias(anchor) = event {
            (0, self.alias(anchor)?)
        } else {
            return Err(format!("yaml: line {}: did not find expected node content", span.start.line()));
        };
        if anchor > 0 {
            let extent = Extent::of(&node);
            self.count_copy(extent)?;
            self.anchors.insert(anchor, (node.clone(), extent));
        }
        self.depth -= 1;
        Ok(node)
    }

    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes += nodes;
        if self.nodes > MOST_NODES {
            return Err(EXCESSIVE.to_owned());
        }
        Ok(())
    }

    /// Counts a copy before it is made.
    fn count_copy(&mut self, extent: Extent) -> Result<(), String> {
        self.count(extent.nodes)?;
        self.copied += extent.bytes;
        if self.copied > MOST_COPIED { Err(EXCESSIVE.to_owned()) } else { Ok(()) }
    }

    fn alias(&mut self, anchor: usize) -> Result<Node, String> {
        let (_, extent) = self.anchors.get(&anchor).ok_or("yaml: anchor value contains itself")?;
        let extent = *extent;
        if self.depth + extent.depth > DEEPEST {
            return Err(format!("{NO_KIND}exceeded max depth"));
        }
        self.count_copy(extent)?;
        Ok(self.anchors.get(&anchor).map(|(known, _)| known.clone()).unwrap_or(Node::Null))
    }

    fn list(&mut self) -> Result<Node, String> {
        let mut parts = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Node::List(parts)),
                (event, span) => parts.push(self.node(event, span)?),
            }
        }
    }

    /// Reads a map. It goes through JSON next, which sorts keys; of doubled ones the last one counts.
    fn map(&mut self) -> Result<Node, String> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut merged: Vec<(String, Node)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let is_merge = event.scalar() == Some(("<<", ScalarStyle::Plain));
            let key = self.node(event, span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            if is_merge {
                merge(value, &mut merged)?;
                continue;
            }
            let shown = if let Node::Text(text) = &key { Some(quoted(text)) } else { None };
            let key = key_text(key)?;
            match places.get(&key) {
                Some(place) => {
                    let shown = shown.unwrap_or_else(|| key.clone());
                    self.remarks.push(format!("line {}: key {shown} already set in map", span.start.line()));
                    entries[*place].1 = value;
                }
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push((key, value));
                }
            }
        }
        for (key, value) in merged {
            if !places.contains_key(&key) {
                places.insert(key.clone(), entries.len());
                entries.push((key, value));
            }
        }
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Node::Map(entries))
    }
}

/// What `<<` names is merged, unless it is there already.
fn merge(value: Node, merged: &mut Vec<(String, Node)>) -> Result<(), String> {
    match value {
        Node::Map(entries) => merged.extend(entries),
        Node::List(parts) => {
            for part in parts {
                let Node::Map(entries) = part else {
                    return Err("yaml: map merge requires map or sequence of maps as the value".to_owned());
                };
                merged.extend(entries);
            }
        }
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {
            return Err("yaml: map merge requires map or sequence of maps as the value".to_owned());
        }
    }
    Ok(())
}

impl Extent {
    fn of(node: &Node) -> Self {
        let mut all = match node {
            Node::List(parts) => parts.iter().map(Self::of).fold(Self::default(), Self::with),
            Node::Map(entries) => {
                let entry = |(key, value): &(String, Node)| {
                    Self { bytes: key.len(), ..Self::default() }.with(Self::of(value))
                };
                entries.iter().map(entry).fold(Self::default(), Self::with)
            }
            Node::Number(text) | Node::Text(text) => Self { bytes: text.len(), ..Self::default() },
            Node::Null | Node::Bool(_) => Self::default(),
        };
        all.nodes += 1;
        all.depth += 1;
        all
    }

    /// Both, side by side.
    fn with(self, other: Self) -> Self {
        Self {
            nodes: self.nodes + other.nodes,
            bytes: self.bytes + other.bytes,
            depth: self.depth.max(other.depth),
        }
    }
}

/// Only plain words mean anything but a text, and only if no tag says otherwise.
fn word(text: &str, style: ScalarStyle, tag: Option<&str>) -> Result<Node, String> {
    match tag {
        Some("str") => return Ok(Node::Text(text.to_owned())),
        Some("binary") => {
            let bytes = base64::decode(text.trim())
                .map_err(|_| "yaml: !!binary value contains invalid base64 data")?;
            return Ok(Node::Text(String::from_utf8_lossy(&bytes).into_owned()));
        }
        _ => {}
    }
    if style != ScalarStyle::Plain {
        return Ok(Node::Text(text.to_owned()));
    }
    if scalar::is_special_float(text) {
        return Err(format!("json: unsupported value: {text}"));
    }
    Ok(scalar::resolve(text))
}

/// Keys of JSON are texts.
fn key_text(key: Node) -> Result<String, String> {
    match key {
        Node::Text(text) | Node::Number(text) => Ok(text),
        Node::Bool(value) => Ok(value.to_string()),
        Node::Null => Ok("null".to_owned()),
        other @ (Node::List(_) | Node::Map(_)) => Err(format!(
            "yaml: invalid map key: {}",
            if other.kind() == "array" { "a list" } else { "a map" }
        )),
    }
}

/// The parsers differ in what they say around a mistake, much less in the mistake.
fn worded(error: &ScanError) -> String {
    let info = error.info();
    let mistake = match info.split_once(", ") {
        Some((context, mistake)) if context.starts_with("while ") => mistake,
        _ => info.as_str(),
    };
    let mistake = match mistake {
        "unclosed bracket '['" => "did not find expected ',' or ']'".to_owned(),
        "unclosed bracket '{'" => "did not find expected ',' or '}'".to_owned(),
        "recursion limit exceeded" => "exceeded max depth".to_owned(),
        "unclosed quote" => "found unexpected end of stream".to_owned(),
        mistake if mistake.starts_with("expected ") => format!("did not find {mistake}"),
        mistake => mistake.to_owned(),
    };
    format!("yaml: line {}: {mistake}", error.marker().line())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(node: &Node) -> String {
        match node {
            Node::Null => "null".to_owned(),
            Node::Bool(value) => value.to_string(),
            Node::Number(text) => text.clone(),
            Node::Text(text) => quoted(text),
            Node::List(parts) => format!("[{}]", parts.iter().map(shown).collect::<Vec<_>>().join(",")),
            Node::Map(entries) => {
                let entry = |(key, value): &(String, Node)| format!("{key}:{}", shown(value));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn documents_are_read() {
        let check = |text: &str, expected: &str| {
            let tree = parse(text.as_bytes());
            let found = tree.map(|tree| [vec![shown(&tree.node)], tree.remarks].concat().join(" | "));
            assert_eq!(found.unwrap_or_else(|error| error), expected, "{text}");
        };
        check("", "null");
        check("# nothing\n", "null");
        check("b: 1\na: x # comment\n", r#"{a:"x",b:1}"#);
        check("a: y\nb: \"y\"\nc: 'y'\nd: |\n  y\n", r#"{a:true,b:"y",c:"y",d:"y\n"}"#);
        check("1: a\ntrue: b\nnull: c\n", r#"{1:"a",null:"c",true:"b"}"#);
        check("a: {k: v, k: w}\n", r#"{a:{k:"w"}} | line 1: key "k" already set in map"#);
        check("a: 1\n\na:\n  2\n", r#"{a:2} | line 4: key "a" already set in map"#);
        check("w: &x {a: 1, b: 2}\nx: {<<: *x, b: 3}\ny: *x\n", "{true:{a:1,b:2},w:{a:1,b:2},x:{a:1,b:3}}");
        check("--- {a: 1}\n--- {b: 2}\n", "{a:1}");
        check("a: !!str 1\nb: !!binary eA==\n", r#"{a:"1",b:"x"}"#);
        check("a: [b", "yaml: line 1: did not find expected ',' or ']'");
        check("? [a]\n: b\n", "yaml: invalid map key: a list");
        check("a: .inf\n", "json: unsupported value: .inf");
        check(&"[".repeat(1000), "yaml: line 1: exceeded max depth");
        let bomb = format!(
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n{}",
            ('b'..'j')
                .map(|name| {
                    let before = char::from(u8::try_from(name).unwrap() - 1);
                    format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 10].join(","))
                })
                .collect::<String>()
        );
        check(&bomb, EXCESSIVE);
    }

    #[test]
    fn copies_are_counted_by_their_bytes_before_they_are_made() {
        let check = |text: String, is_fine: bool| {
            let read = parse(text.as_bytes()).map(drop);
            assert_eq!(read, if is_fine { Ok(()) } else { Err(EXCESSIVE.to_owned()) }, "{}", text.len());
        };
        let long = "x".repeat(2 << 20);
        // It is kept for its anchor, and twice more.
        check(format!("- &a {long}\n- *a\n- *a\n"), true);
        check(format!("- &a {long}\n{}", "- *a\n".repeat(100_000)), false);
        check(format!("- &a\n  ? {long}\n  : 1\n{}", "- *a\n".repeat(100_000)), false);
        check(format!("{}{long}{}", "- &a [&b [&c [&d ", "]]]"), false);
        // Aliases of nothing much are counted by their number.
        check(format!("- &a x\n{}", "- *a\n".repeat(100_000)), true);
        let nested: String = (0..100).map(|at| format!("&n{at} [")).collect();
        check(format!("{nested}{}{}", "1,".repeat(20_000), "]".repeat(100)), false);
    }
}
