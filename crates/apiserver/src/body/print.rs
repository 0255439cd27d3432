//! Objects as JSON texts in the order of Go's structs: `kind` and `apiVersion` first, then fields by number.
//!
//! Objects are stored in this form, so that an answer is what is stored.

use serde_json::Value;

use crate::schema::{Schema, Shape, TypeId};

/// Prints an object, without a line break behind it.
pub fn text(object: &Value, of: TypeId) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    let mut printing = Printing { out: &mut out, is_first: true };
    for name in ["kind", "apiVersion"] {
        if let Some(value) = object.get(name) {
            printing.field(name, value, &Shape::Text);
        }
    }
    printing.fields(object, of, true);
    out.push(b'}');
    out
}

/// Prints a document of no type in the schema, with `kind` and `apiVersion` in front.
pub fn put_document(out: &mut Vec<u8>, value: &Value) {
    let Some(fields) = value.as_object() else { return put(out, value, None) };
    out.push(b'{');
    let is_in_front = |name: &str| matches!(name, "kind" | "apiVersion" | "metadata");
    let front =
        ["kind", "apiVersion", "metadata"].into_iter().filter_map(|name| Some((name, fields.get(name)?)));
    let rest =
        fields.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| !is_in_front(name));
    for (at, (name, value)) in front.chain(rest).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put_text(out, name);
        out.push(b':');
        put(out, value, None);
    }
    out.push(b'}');
}

/// Prints an object again, over several lines, as people read it.
pub fn indented(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 2);
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    for (at, byte) in text.iter().copied().enumerate() {
        if in_text {
            out.push(byte);
            (in_text, is_escaped) = (is_escaped || byte != b'"', byte == b'\\' && !is_escaped);
            continue;
        }
        let is_empty_inside = |closing: u8| text.get(at + 1) == Some(&closing);
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                if !is_empty_inside(if byte == b'{' { b'}' } else { b']' }) {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                let is_empty = at > 0 && matches!(text[at - 1], b'{' | b'[');
                if !is_empty {
                    depth = depth.saturating_sub(1);
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b'\n' => {}
            byte => {
                in_text = byte == b'"';
                out.push(byte);
            }
        }
    }
    out
}

struct Printing<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl Printing<'_> {
    fn fields(&mut self, object: &Value, of: TypeId, is_outermost: bool) {
        let schema = Schema::get();
        for field in &schema.of(of).fields {
            if field.is_inline {
                if let Shape::Object(inlined) = field.shape {
                    self.fields(object, inlined, false);
                }
                continue;
            }
            // They were printed first.
            if is_outermost && matches!(field.name, "kind" | "apiVersion") {
                continue;
            }
            if let Some(value) = object.get(field.name) {
                self.field(field.name, value, &field.shape);
            }
        }
    }

    fn field(&mut self, name: &str, value: &Value, shape: &Shape) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        put_text(self.out, name);
        self.out.push(b':');
        put(self.out, value, Some(shape));
    }
}

fn put(out: &mut Vec<u8>, value: &Value, shape: Option<&Shape>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => put_text(out, text),
        Value::Array(parts) => {
            let inner = if let Some(Shape::List(inner)) = shape { Some(&**inner) } else { None };
            out.push(b'[');
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                put(out, part, inner);
            }
            out.push(b']');
        }
        Value::Object(parts) => {
            out.push(b'{');
            if let Some(Shape::Object(of)) = shape {
                Printing { out, is_first: true }.fields(value, *of, false);
            } else {
                let inner = if let Some(Shape::Map(inner)) = shape { Some(&**inner) } else { None };
                for (at, (key, part)) in parts.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    put_text(out, key);
                    out.push(b':');
                    put(out, part, inner);
                }
            }
            out.push(b'}');
        }
    }
}

/// Go escapes what a browser could take for markup, too.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut start = 0;
    let bytes = text.as_bytes();
    for (at, char) in text.char_indices() {
        let escape = match char {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '<' => "\\u003c",
            '>' => "\\u003e",
            '&' => "\\u0026",
            '\u{2028}' => "\\u2028",
            '\u{2029}' => "\\u2029",
            char if char < ' ' => {
                out.extend_from_slice(&bytes[start..at]);
                out.extend_from_slice(format!("\\u{:04x}", u32::from(char)).as_bytes());
                start = at + 1;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..at]);
        out.extend_from_slice(escape.as_bytes());
        start = at + char.len_utf8();
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_stand_in_the_order_of_gos_structs() {
        let of = Schema::get().find("core.v1.ConfigMap").expect("a type");
        let object = json!({"data": {"k": "<a>&\u{2028}\u{1}\""}, "apiVersion": "v1", "kind": "ConfigMap",
                            "metadata": {"uid": "u", "name": "a", "labels": {"z": "1", "b": "2"}}});
        let printed = String::from_utf8(text(&object, of)).expect("it is UTF-8");
        let wanted = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","uid":"u","labels":{"b":"2","z":"1"}},"data":{"k":"\u003ca\u003e\u0026\u2028\u0001\""}}"#;
        assert_eq!(printed, wanted);
        assert_eq!(serde_json::from_str::<Value>(&printed).expect("it is JSON"), object);
    }

    #[test]
    fn indentation_is_gos() {
        let printed = indented(br#"{"a":{},"b":[],"c":[1,{"d":"x: {,\"}"}]}"#);
        let wanted = "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1,\n    {\n      \"d\": \"x: {,\\\"}\"\n    }\n  ]\n}";
        assert_eq!(String::from_utf8(printed).expect("it is UTF-8"), wanted);
    }
}
