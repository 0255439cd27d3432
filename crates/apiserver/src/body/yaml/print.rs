//! Prints YAML: keys sorted, lists not indented, texts in quotes only where they need them.

use std::cmp::Ordering;
use std::fmt::Write;

use serde_json::Value;

use super::scalar;

/// Lines of words are broken at the first space behind this column.
const WIDTH: usize = 80;

/// Answers an object as Kubernetes answers YAML.
pub fn encode(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => put_map(&mut out, fields, 0, true),
        Value::Array(parts) if !parts.is_empty() => put_list(&mut out, parts, 0),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => {
            put_leaf(&mut out, other, 0, 0);
            out.push('\n');
        }
    }
    out
}

fn put_map(out: &mut String, fields: &serde_json::Map<String, Value>, indent: usize, is_new_line: bool) {
    for (at, (key, value)) in sorted(fields.iter().collect()).into_iter().enumerate() {
        if at > 0 || is_new_line {
            out.push_str(&" ".repeat(indent));
        }
        let start = out.len();
        put_key(out, key);
        out.push(':');
        let column = indent + out[start..].chars().count();
        put_after(out, value, indent, column);
    }
}

/// Merges halves that are sorted already. The order of go-yaml runs in circles for some keys, and the sort of the standard
/// library panics then.
fn sorted<'a>(mut entries: Vec<(&'a String, &'a Value)>) -> Vec<(&'a String, &'a Value)> {
    if entries.len() < 2 {
        return entries;
    }
    let mut behind = sorted(entries.split_off(entries.len() / 2)).into_iter().peekable();
    let mut front = sorted(entries).into_iter().peekable();
    let mut all = Vec::new();
    while let (Some((one, _)), Some((other, _))) = (front.peek(), behind.peek()) {
        let next = if order(one, other) == Ordering::Greater { &mut behind } else { &mut front };
        all.extend(next.next());
    }
    all.extend(front.chain(behind));
    all
}

/// Orders keys as go-yaml does: by character, but numbers by what they count, and letters behind other characters.
fn order(one: &str, other: &str) -> Ordering {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let Some(at) = one.iter().zip(&other).position(|(one, other)| one != other) else {
        return one.len().cmp(&other.len());
    };
    match (one[at].is_alphabetic(), other[at].is_alphabetic()) {
        (true, true) => return one[at].cmp(&other[at]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero behind other digits counts as one.
    let before = one[..at].iter().rev().take_while(|char| char.is_ascii_digit());
    let has_zero = one[at] == '0' || other[at] == '0';
    let start = i64::from(has_zero && before.into_iter().any(|digit| *digit != '0'));
    let number = |text: &[char]| {
        let digits = text[at..].iter().map_while(|char| char.to_digit(10));
        let count = digits.clone().count();
        (digits.fold(start, |number, digit| number.wrapping_mul(10).wrapping_add(i64::from(digit))), count)
    };
    number(&one).cmp(&number(&other)).then(one[at].cmp(&other[at]))
}

/// A key stands on one line. go-yaml marks long ones, and those with line ends, by `?`; they are quoted here.
fn put_key(out: &mut String, key: &str) {
    match style(key) {
        // As a key it would merge.
        Style::Plain if key == "<<" => put_double(out, key, None),
        Style::Plain => out.push_str(key),
        Style::Single => put_single(out, key, None),
        Style::Double | Style::Literal => put_double(out, key, None),
    }
}

/// Prints what follows a key, up to the end of the line.
fn put_after(out: &mut String, value: &Value, indent: usize, column: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            put_map(out, fields, indent + 2, true);
        }
        Value::Array(parts) if !parts.is_empty() => {
            out.push('\n');
            put_list(out, parts, indent);
        }
        leaf @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => {
            out.push(' ');
            put_leaf(out, leaf, indent + 2, column + 1);
            out.push('\n');
        }
    }
}

fn put_list(out: &mut String, parts: &[Value], indent: usize) {
    for part in parts {
        out.push_str(&" ".repeat(indent));
        put_item(out, part, indent);
    }
}

/// Prints an entry of a list behind its indentation.
fn put_item(out: &mut String, part: &Value, indent: usize) {
    out.push_str("- ");
    match part {
        Value::Object(fields) if !fields.is_empty() => put_map(out, fields, indent + 2, false),
        Value::Array(parts) if !parts.is_empty() => {
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    out.push_str(&" ".repeat(indent + 2));
                }
                put_item(out, part, indent + 2);
            }
        }
        leaf @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => {
            put_leaf(out, leaf, indent + 2, indent + 2);
            out.push('\n');
        }
    }
}

/// Prints what has no lines of its own; a text may take more of them, indented.
fn put_leaf(out: &mut String, value: &Value, indent: usize, column: usize) {
    let fold = Some(Fold { indent, column });
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        Value::String(text) => match style(text) {
            Style::Plain => put_plain(out, text, fold),
            Style::Single => put_single(out, text, fold),
            Style::Double => put_double(out, text, fold),
            Style::Literal => put_literal(out, text, indent),
        },
    }
}

/// Whole numbers have no fraction, as in Go.
fn number_text(number: &serde_json::Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// Where a text begins, and how far its further lines are indented.
#[derive(Debug, Clone, Copy)]
struct Fold {
    indent: usize,
    column: usize,
}

/// Chooses as go-yaml and its emitter do.
fn style(text: &str) -> Style {
    let is_line_end = |char: char| matches!(char, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let is_special =
        text.chars().any(|char| !is_printable(char) && !is_line_end(char)) || text.contains(['\r']);
    let has_space_before_line_end =
        text.chars().zip(text.chars().skip(1)).any(|(one, next)| one == ' ' && is_line_end(next));
    if text.contains('\n') {
        let is_plain_block = !is_special && !has_space_before_line_end && !text.ends_with(' ');
        return if is_plain_block { Style::Literal } else { Style::Double };
    }
    if is_special || scalar::needs_quotes(text) || text.chars().any(is_line_end) {
        return Style::Double;
    }
    let has_space_outside = text.starts_with(' ') || text.ends_with(' ');
    if has_space_outside || has_indicator(text) { Style::Single } else { Style::Plain }
}

fn is_printable(char: char) -> bool {
    // The emitter of go-yaml knows no characters beyond three bytes.
    matches!(char, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// Whether a plain text would be read as something of YAML's own.
fn has_indicator(text: &str) -> bool {
    if text.starts_with("---") || text.starts_with("...") {
        return true;
    }
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    let mut is_first = true;
    while let Some(char) = chars.next() {
        let ends_word = chars.peek().is_none_or(|next| matches!(next, ' ' | '\t'));
        let is_indicator = if is_first {
            "#,[]{}&*!|>'\"%@`".contains(char) || ("-?:".contains(char) && ends_word)
        } else {
            (char == ':' && ends_word) || (char == '#' && matches!(before, ' ' | '\t'))
        };
        if is_indicator {
            return true;
        }
        (before, is_first) = (char, false);
    }
    false
}

/// Answers whether a line is broken at a space: it is long enough, and the space stands alone.
fn breaks(fold: Option<Fold>, column: usize, before: char, next: Option<char>) -> bool {
    fold.is_some() && column > WIDTH && before != ' ' && next.is_some_and(|next| next != ' ')
}

fn put_plain(out: &mut String, text: &str, fold: Option<Fold>) {
    put_folded(out, text, fold, |out, char| {
        out.push(char);
        1
    });
}

fn put_single(out: &mut String, text: &str, fold: Option<Fold>) {
    out.push('\'');
    let fold = fold.map(|fold| Fold { column: fold.column + 1, ..fold });
    put_folded(out, text, fold, |out, char| {
        out.push(char);
        if char == '\'' {
            out.push('\'');
            return 2;
        }
        1
    });
    out.push('\'');
}

fn put_folded(out: &mut String, text: &str, fold: Option<Fold>, put: impl Fn(&mut String, char) -> usize) {
    let mut column = fold.map_or(0, |fold| fold.column);
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if let (' ', Some(fold)) =
            (char, fold.filter(|_| breaks(fold, column, before, chars.peek().copied())))
        {
            out.push('\n');
            out.push_str(&" ".repeat(fold.indent));
            column = fold.indent;
        } else {
            column += put(out, char);
        }
        before = char;
    }
}

fn put_double(out: &mut String, text: &str, fold: Option<Fold>) {
    out.push('"');
    let mut column = fold.map_or(0, |fold| fold.column + 1);
    let mut was_space = false;
    let length = text.chars().count();
    let mut chars = text.chars().enumerate().peekable();
    while let Some((at, char)) = chars.next() {
        let is_inside = at > 0 && at + 1 < length;
        if let (' ', Some(fold)) = (char, fold.filter(|_| is_inside && !was_space && column > WIDTH)) {
            out.push('\n');
            out.push_str(&" ".repeat(fold.indent));
            column = fold.indent;
            if chars.peek().is_some_and(|(_, next)| *next == ' ') {
                out.push('\\');
                column += 1;
            }
            was_space = true;
            continue;
        }
        let start = out.len();
        put_escaped(out, char);
        column += out[start..].chars().count();
        was_space = char == ' ';
    }
    out.push('"');
}

fn put_escaped(out: &mut String, char: char) {
    let code = u32::from(char);
    let written = match char {
        '"' => out.write_str("\\\""),
        '\\' => out.write_str("\\\\"),
        '\0' => out.write_str("\\0"),
        '\u{7}' => out.write_str("\\a"),
        '\u{8}' => out.write_str("\\b"),
        '\t' => out.write_str("\\t"),
        '\n' => out.write_str("\\n"),
        '\u{b}' => out.write_str("\\v"),
        '\u{c}' => out.write_str("\\f"),
        '\r' => out.write_str("\\r"),
        '\u{1b}' => out.write_str("\\e"),
        '\u{85}' => out.write_str("\\N"),
        '\u{2028}' => out.write_str("\\L"),
        '\u{2029}' => out.write_str("\\P"),
        char if is_printable(char) => out.write_char(char),
        _ if code <= 0xff => write!(out, "\\x{code:02X}"),
        _ if code <= 0xffff => write!(out, "\\u{code:04X}"),
        _ => write!(out, "\\U{code:08X}"),
    };
    written.expect("a text takes every text");
}

/// Prints line by line. A text that begins with a space or line end says how far it is indented, and one that ends with
/// no line end, or with many, says so.
fn put_literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    let ends = text.len() - text.trim_end_matches('\n').len();
    match ends {
        0 => out.push('-'),
        1 if text != "\n" => {}
        _ => out.push('+'),
    }
    let body = text.strip_suffix('\n').unwrap_or(text);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.push_str(&" ".repeat(indent));
            out.push_str(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_printed_as_kubernetes_prints_them() {
        let value = json!({
            "kind": "ConfigMap", "apiVersion": "v1", "immutable": false,
            "metadata": {"name": "a", "creationTimestamp": "2024-01-01T00:00:00Z", "labels": {}, "finalizers": [],
                         "managedFields": [{"fieldsV1": {"f:data": {".": {}, "f:k": {}}}, "manager": "m"}]},
            "nested": [[1, 2], [], ["a", {"b": null}]],
        });
        let expected = r#"apiVersion: v1
immutable: false
kind: ConfigMap
metadata:
  creationTimestamp: "2024-01-01T00:00:00Z"
  finalizers: []
  labels: {}
  managedFields:
  - fieldsV1:
      f:data:
        .: {}
        f:k: {}
    manager: m
  name: a
nested:
- - 1
  - 2
- []
- - a
  - b: null
"#;
        assert_eq!(encode(&value), expected);
    }

    #[test]
    fn keys_are_in_the_order_of_go_yaml() {
        let keys = [
            "", "-a", ".", "1", "1-", "1a", "2", "10", "a", "a.b", "a/b", "a1", "a2", "a10", "aB", "ab", "b",
        ];
        for pair in keys.windows(2) {
            assert_eq!(order(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(order(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn keys_in_a_circle_do_no_harm() {
        let parts = ["a", "-", "1", "0", "10", "é", "_", "Z", ".", "00", "\u{1}"];
        let mut fields = serde_json::Map::new();
        for (one, two, three) in parts
            .iter()
            .flat_map(|one| parts.map(|two| (one, two)))
            .flat_map(|(one, two)| parts.map(|three| (one, two, three)))
        {
            fields.insert(format!("{one}{two}{three}"), Value::Null);
        }
        let mut found: Vec<&String> =
            sorted(fields.iter().collect()).into_iter().map(|(key, _)| key).collect();
        found.sort_unstable();
        assert!(found.into_iter().eq(fields.keys()));
    }

    #[test]
    fn texts_have_quotes_where_they_need_them() {
        let check = |text: &str, expected: &str| {
            assert_eq!(encode(&json!({"a": text})), format!("a: {expected}\n"), "{text:?}");
            let read = super::super::parse(encode(&json!({"a": text})).as_bytes()).unwrap();
            let expected = super::super::super::json::Node::Text(text.to_owned());
            assert_eq!(read.node, super::super::super::json::Node::Map(vec![("a".to_owned(), expected)]));
        };
        for text in ["true", "1", "null", "y", "", "2024-01-01T00:00:00Z", "0x1", "1e3", "~", "1:30", ".5"] {
            check(text, &format!("\"{text}\""));
        }
        for text in [
            "a",
            "10.96.0.1",
            "fd00::1",
            "a b",
            "a#b",
            "a:b",
            "-x",
            "1Gi",
            "apps/v1",
            "a'b",
            "a\"b",
            "žluť",
            "?x",
            "=",
        ] {
            check(text, text);
        }
        for text in [
            "*", "- a", "a: b", "a #b", " a", "a ", "[a]", "{}", "@a", "%", "#", "- ", "a:", "&a", "!a", ">",
            "::",
        ] {
            check(text, &format!("'{text}'"));
        }
        check("'a'", "'''a'''");
        check("two\nlines", "|-\n  two\n  lines");
        check("two\nlines\n", "|\n  two\n  lines");
        check("two\n\nlines\n\n", "|+\n  two\n\n  lines\n");
        check(" indented\nlines\n", "|2\n   indented\n  lines");
        check("space \nlines", r#""space \nlines""#);
        check("tab\there", r#""tab\there""#);
        check("\u{1}\u{2028}", r#""\x01\L""#);
        let long = "word ".repeat(30);
        let expected = format!("{}word\n  {}word", "word ".repeat(16 - 1), "word ".repeat(14 - 1));
        check(long.trim_end(), &expected);
    }
}
