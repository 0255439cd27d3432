//! Version 2.0 in protobuf: the JSON's parts as messages of gnostic's `openapi.v2` (`OpenAPIv2.proto`), by a table of its
//! fields. Only those that our documents use are in it.

use serde_json::Value;

/// A message that may stand somewhere.
#[derive(Debug)]
struct Message {
    /// What in JSON tells that it is this one: a field, and its value unless that is empty. No field: it always is.
    sign: (&'static str, &'static str),
    /// The numbers under which it is in the messages around it, outermost first.
    around: &'static [u32],
    /// Its fields by their names in JSON, with their numbers.
    fields: &'static [(&'static str, u32, Part)],
    /// The number under which what begins with `x-` is; 0: it has none.
    extensions: u32,
}

/// How a field is written.
#[derive(Debug)]
enum Part {
    /// A text.
    Text,
    /// A list of texts.
    Texts,
    /// `true`; false is not written.
    Flag,
    /// Any JSON.
    Any,
    /// A text inside a message that has room for several.
    Inside,
    /// A message inside the messages of these numbers.
    One(&'static [u32], &'static [Message]),
    /// A list of messages.
    Many(&'static [Message]),
    /// A message with entries under this number, each a name and a message.
    Named(u32, &'static [Message]),
}

/// Writes a document from its parts, which are taken one after the other: paths, definitions, parameters.
pub(super) fn document(about: &Value, parts: [&mut dyn Iterator<Item = (String, Value)>; 3]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, b"2.0");
    let mut info = Vec::new();
    put_fields(&mut info, &INFO, about);
    put_bytes(&mut out, 2, &info);
    for ((_, number, entry, messages), part) in SECTIONS.iter().zip(parts) {
        let mut section = Vec::new();
        for (name, value) in part {
            put_entry(&mut section, *entry, (&name, &message(messages, &value)));
        }
        put_bytes(&mut out, *number, &section);
    }
    out
}

/// The sections of a document: their names, their numbers, the number of an entry in them, what an entry is.
static SECTIONS: [(&str, u32, u32, &[Message]); 3] =
    [("paths", 8, 2, &PATH), ("definitions", 9, 1, &SCHEMA), ("parameters", 10, 1, &PARAMETER)];

const ALWAYS: (&str, &str) = ("", "");

static INFO: Message = Message {
    sign: ALWAYS,
    around: &[],
    fields: &[("title", 1, Part::Text), ("version", 2, Part::Text)],
    extensions: 7,
};
static PATH: [Message; 1] = [Message {
    sign: ALWAYS,
    around: &[],
    fields: &[
        ("get", 2, Part::One(&[], &OPERATION)),
        ("put", 3, Part::One(&[], &OPERATION)),
        ("post", 4, Part::One(&[], &OPERATION)),
        ("delete", 5, Part::One(&[], &OPERATION)),
        ("options", 6, Part::One(&[], &OPERATION)),
        ("head", 7, Part::One(&[], &OPERATION)),
        ("patch", 8, Part::One(&[], &OPERATION)),
        ("parameters", 9, Part::Many(&PARAMETER_OR_REFERENCE)),
    ],
    extensions: 10,
}];
static OPERATION: [Message; 1] = [Message {
    sign: ALWAYS,
    around: &[],
    fields: &[
        ("tags", 1, Part::Texts),
        ("description", 3, Part::Text),
        ("operationId", 5, Part::Text),
        ("produces", 6, Part::Texts),
        ("consumes", 7, Part::Texts),
        ("parameters", 8, Part::Many(&PARAMETER_OR_REFERENCE)),
        ("responses", 9, Part::Named(1, &RESPONSE)),
        ("schemes", 10, Part::Texts),
    ],
    extensions: 13,
}];
static PARAMETER_OR_REFERENCE: [Message; 2] = [
    Message { sign: ("$ref", ""), around: &[2], fields: &[("$ref", 1, Part::Text)], extensions: 0 },
    Message { sign: ("in", "body"), around: &[1, 1], fields: BODY, extensions: 6 },
];
static PARAMETER: [Message; 2] = [
    Message { sign: ("in", "query"), around: &[2, 3], fields: QUERY, extensions: 23 },
    Message { sign: ("in", "path"), around: &[2, 4], fields: PLACE, extensions: 22 },
];
const BODY: &[(&str, u32, Part)] = &[
    ("name", 2, Part::Text),
    ("in", 3, Part::Text),
    ("required", 4, Part::Flag),
    ("schema", 5, Part::One(&[], &SCHEMA)),
];
const QUERY: &[(&str, u32, Part)] = &[
    ("required", 1, Part::Flag),
    ("in", 2, Part::Text),
    ("description", 3, Part::Text),
    ("name", 4, Part::Text),
    ("type", 6, Part::Text),
    ("uniqueItems", 20, Part::Flag),
];
const PLACE: &[(&str, u32, Part)] = &[
    ("required", 1, Part::Flag),
    ("in", 2, Part::Text),
    ("description", 3, Part::Text),
    ("name", 4, Part::Text),
    ("type", 5, Part::Text),
    ("uniqueItems", 19, Part::Flag),
];
static RESPONSE: [Message; 1] = [Message {
    sign: ALWAYS,
    around: &[1],
    fields: &[("description", 1, Part::Text), ("schema", 2, Part::One(&[1], &SCHEMA))],
    extensions: 5,
}];
static SCHEMA: [Message; 1] = [Message {
    sign: ALWAYS,
    around: &[],
    fields: &[
        ("$ref", 1, Part::Text),
        ("format", 2, Part::Text),
        ("description", 4, Part::Text),
        ("default", 5, Part::Any),
        ("required", 19, Part::Texts),
        ("additionalProperties", 21, Part::One(&[1], &SCHEMA)),
        ("type", 22, Part::Inside),
        ("items", 23, Part::One(&[1], &SCHEMA)),
        ("properties", 25, Part::Named(1, &SCHEMA)),
    ],
    extensions: 31,
}];

/// Answers a message with the messages around it.
fn message(messages: &[Message], value: &Value) -> Vec<u8> {
    let is_it = |message: &&Message| {
        let (field, text) = message.sign;
        field.is_empty() || value.get(field).is_some_and(|found| text.is_empty() || found == text)
    };
    let Some(message) = messages.iter().find(is_it) else { return Vec::new() };
    let mut inner = Vec::new();
    put_fields(&mut inner, message, value);
    wrapped(inner, message.around)
}

fn wrapped(inner: Vec<u8>, around: &[u32]) -> Vec<u8> {
    around.iter().rev().fold(inner, |inner, number| {
        let mut outer = Vec::with_capacity(inner.len() + 8);
        put_bytes(&mut outer, *number, &inner);
        outer
    })
}

fn put_fields(out: &mut Vec<u8>, message: &Message, value: &Value) {
    for (name, number, part) in message.fields {
        if let Some(value) = value.get(*name) {
            put_part(out, (*number, part), value);
        }
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        if message.extensions > 0 && name.starts_with("x-") {
            put_entry(out, message.extensions, (name, &any(value)));
        }
    }
}

fn put_part(out: &mut Vec<u8>, (number, part): (u32, &Part), value: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
    let list = || value.as_array().into_iter().flatten();
    match part {
        Part::Text => put_bytes(out, number, &text(value)),
        Part::Texts => list().for_each(|value| put_bytes(out, number, &text(value))),
        Part::Flag if value.as_bool() == Some(true) => {
            put_varint(out, u64::from(number) << 3);
            put_varint(out, 1);
        }
        Part::Flag => {}
        Part::Any => put_bytes(out, number, &any(value)),
        Part::Inside => put_bytes(out, number, &wrapped(text(value), &[1])),
        Part::One(around, messages) => put_bytes(out, number, &wrapped(message(messages, value), around)),
        Part::Many(messages) => list().for_each(|value| put_bytes(out, number, &message(messages, value))),
        Part::Named(entry, messages) => {
            let mut entries = Vec::new();
            for (name, value) in value.as_object().into_iter().flatten() {
                put_entry(&mut entries, *entry, (name, &message(messages, value)));
            }
            put_bytes(out, number, &entries);
        }
    }
}

/// Answers any JSON as a message: its text as YAML, which JSON is.
fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 2, value.to_string().as_bytes());
    out
}

fn put_entry(out: &mut Vec<u8>, number: u32, (name, message): (&str, &[u8])) {
    let mut entry = Vec::with_capacity(name.len() + message.len() + 8);
    put_bytes(&mut entry, 1, name.as_bytes());
    put_bytes(&mut entry, 2, message);
    put_bytes(out, number, &entry);
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Reads documents again, by the same table.
#[cfg(test)]
pub(super) mod tests {
    use objects::wire::{Fields, Value as Wire};
    use serde_json::{Map, Value, json};

    use super::*;

    type Found<'a> = Vec<(u32, Wire<'a>)>;

    fn fields(bytes: &[u8]) -> Found<'_> {
        Fields::new(bytes).map(|field| field.expect("a field")).collect()
    }

    fn bytes<'a>(wire: &Wire<'a>) -> &'a [u8] {
        let Wire::Bytes(bytes) = wire else { panic!("no bytes: {wire:?}") };
        bytes
    }

    fn text(wire: &Wire<'_>) -> String {
        String::from_utf8(bytes(wire).to_vec()).expect("UTF-8")
    }

    /// Goes into messages that hold one other each.
    fn inside<'a>(mut message: &'a [u8], numbers: &[u32]) -> Option<&'a [u8]> {
        for number in numbers {
            let found = fields(message);
            let [(only, wire)] = &found[..] else { return None };
            if only != number {
                return None;
            }
            message = bytes(wire);
        }
        Some(message)
    }

    fn any(message: &[u8]) -> Value {
        let found = fields(message);
        assert_eq!((found.len(), found[0].0), (1, 2));
        serde_json::from_slice(bytes(&found[0].1)).expect("JSON")
    }

    fn entry(wire: &Wire<'_>) -> (String, Vec<u8>) {
        let found = fields(bytes(wire));
        assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
        (text(&found[0].1), bytes(&found[1].1).to_vec())
    }

    fn read_one(messages: &[Message], bytes: &[u8]) -> Value {
        let fits = |message: &&Message| inside(bytes, message.around).is_some();
        let found: Vec<&Message> = messages.iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "which message is it?");
        read_fields(found[0], inside(bytes, found[0].around).expect("it fits"))
    }

    fn read_fields(message: &Message, bytes: &[u8]) -> Value {
        let mut object = Map::new();
        for (number, wire) in fields(bytes) {
            if number == message.extensions {
                let (name, value) = entry(&wire);
                object.insert(name, any(&value));
                continue;
            }
            let known = message.fields.iter().find(|known| known.1 == number);
            let (name, _, part) = known.unwrap_or_else(|| panic!("field {number}"));
            let value = read_part(part, &wire);
            match (object.get_mut(*name).and_then(Value::as_array_mut), value) {
                (Some(all), Value::Array(more)) => all.extend(more),
                (_, value) => assert_eq!(object.insert((*name).to_owned(), value), None, "{name} twice"),
            }
        }
        object.into()
    }

    fn read_part(part: &Part, wire: &Wire<'_>) -> Value {
        match part {
            Part::Text => text(wire).into(),
            Part::Texts => json!([text(wire)]),
            Part::Flag => (*wire == Wire::Number(1)).into(),
            Part::Any => any(bytes(wire)),
            Part::Inside => text(&Wire::Bytes(inside(bytes(wire), &[1]).expect("one text"))).into(),
            Part::One(around, messages) => {
                read_one(messages, inside(bytes(wire), around).expect("one message"))
            }
            Part::Many(messages) => json!([read_one(messages, bytes(wire))]),
            Part::Named(number, messages) => read_entries((*number, messages), bytes(wire)),
        }
    }

    fn read_entries((number, messages): (u32, &[Message]), message: &[u8]) -> Value {
        let read = |(found, wire): (u32, Wire<'_>)| {
            assert_eq!(found, number);
            let (name, value) = entry(&wire);
            (name, read_one(messages, &value))
        };
        fields(message).into_iter().map(read).collect::<Map<_, _>>().into()
    }

    /// Reads a document as the JSON that it was made from.
    pub(crate) fn read(document: &[u8]) -> Value {
        let mut out = Map::new();
        for (number, wire) in fields(document) {
            let (name, value) = match number {
                1 => ("swagger", text(&wire).into()),
                2 => ("info", read_fields(&INFO, bytes(&wire))),
                number => {
                    let section = SECTIONS.iter().find(|known| known.1 == number).expect("a section");
                    (section.0, read_entries((section.2, section.3), bytes(&wire)))
                }
            };
            out.insert(name.to_owned(), value);
        }
        out.into()
    }
}
