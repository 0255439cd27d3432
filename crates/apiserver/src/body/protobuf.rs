//! Objects as protobuf, by the schema, both ways; byte for byte as Kubernetes' generated code (gogoproto) writes them:
//! fields by number, those that are no pointers even when empty, maps by key.
//!
//! `apiVersion` and `kind` are not in a message but in the [`Envelope`] around it. Fields without a number are left out.

use std::collections::VecDeque;

use bytes::Bytes;
use objects::wire::{Fields, Value as Wire, Wrong};
use serde_json::{Map, Value};

use super::canonical::printed;
use super::go::{self, Member};
use super::time::{self, Instant, Precision};
use super::{base64, quantity, transcode};
use crate::schema::{Schema, Shape, TypeId};

/// What stands before every envelope.
const MAGIC: &[u8] = b"k8s\0";
/// What stands behind the message of an envelope: that it is not compressed, and no other content type.
const END: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];
/// A piece of a list has at least so many bytes, so that small objects do not cost a system call each.
const PIECE: usize = 64 * 1024;

/// Why bytes are no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are no bytes at all.
    #[error("empty data")]
    Empty,
    /// The four bytes before the envelope are missing.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// Nothing follows the four bytes.
    #[error("empty body")]
    EmptyBody,
    /// The encoding is broken.
    #[error("proto: {0}")]
    Wire(#[from] Wrong),
    /// A field is encoded as another type.
    #[error("proto: wrong wireType for field {0}")]
    WireType(&'static str),
    /// A field holds what its type cannot be.
    #[error("proto: field {field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// What stands around a message: `runtime.Unknown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Group and version, such as `apps/v1`; may be empty.
    pub api_version: String,
    /// The kind; may be empty.
    pub kind: String,
    /// The message.
    pub raw: &'a [u8],
    /// How the message is compressed; empty: it is not.
    pub content_encoding: String,
    /// What the message is; empty: protobuf.
    pub content_type: String,
}

impl<'a> Envelope<'a> {
    /// Puts a message into its envelope, with the four bytes in front.
    pub fn seal(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
        let mut out = beginning(api_version, kind, message.len());
        out.reserve_exact(message.len() + END.len());
        out.extend_from_slice(message);
        out.extend_from_slice(END);
        out
    }

    /// Opens an envelope.
    pub fn open(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        let inside = bytes.strip_prefix(MAGIC).ok_or(DecodeError::Magic)?;
        if inside.is_empty() {
            return Err(DecodeError::EmptyBody);
        }
        let mut envelope = Self {
            api_version: String::new(),
            kind: String::new(),
            raw: &[],
            content_encoding: String::new(),
            content_type: String::new(),
        };
        for field in Fields::new(inside) {
            match field? {
                (1, wire) => {
                    for field in Fields::new(message("typeMeta", wire)?) {
                        match field? {
                            (1, wire) => envelope.api_version = text("apiVersion", wire)?,
                            (2, wire) => envelope.kind = text("kind", wire)?,
                            _ => {}
                        }
                    }
                }
                (2, wire) => envelope.raw = message("raw", wire)?,
                (3, wire) => envelope.content_encoding = text("contentEncoding", wire)?,
                (4, wire) => envelope.content_type = text("contentType", wire)?,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

/// An envelope up to its message, of which only the length is known.
fn beginning(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut type_meta = Vec::new();
    put_bytes(&mut type_meta, 1, api_version.as_bytes());
    put_bytes(&mut type_meta, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(type_meta.len() + 24);
    out.extend_from_slice(MAGIC);
    put_bytes(&mut out, 1, &type_meta);
    put_varint(&mut out, 2 << 3 | 2);
    put_varint(&mut out, length as u64);
    out
}

/// Encodes an object as a message, without an envelope.
pub fn encode(object: &Value, of: TypeId) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(fields) = object.as_object() {
        put_fields(&mut out, fields, of);
    }
    out
}

/// Encodes the object of a [`text`](super::text) as a message, behind what is in `out`. What was printed here is not read
/// into an object first.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &[u8], of: TypeId) {
    let start = out.len();
    if transcode::put_message(out, text, of).is_none() {
        out.truncate(start);
        out.extend_from_slice(&encode(&serde_json::from_slice(text).unwrap_or_default(), of));
    }
}

/// Encodes a list of a kind, such as a `ServiceList`: its metadata and its items.
pub fn encode_list(list: &Value, item: TypeId) -> Vec<u8> {
    let metadata = Schema::get().find("meta.v1.ListMeta").expect("a test looks it up");
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &encode(list.get("metadata").unwrap_or(&Value::Object(Map::new())), metadata));
    for object in list.get("items").and_then(Value::as_array).into_iter().flatten() {
        put_bytes(&mut out, 2, &encode(object, item));
    }
    out
}

/// Encodes a list of [`text`](super::text)s in its envelope, in pieces that are sent one by one.
pub(crate) fn list_of_texts(
    (api_version, kind): (&str, &str),
    metadata: &Value,
    (texts, of): (&[Bytes], TypeId),
) -> VecDeque<Bytes> {
    let list_meta = Schema::get().find("meta.v1.ListMeta").expect("a test looks it up");
    let (mut pieces, mut piece, mut length) = (VecDeque::new(), Vec::with_capacity(PIECE + PIECE / 4), 0);
    put_bytes(&mut piece, 1, &encode(metadata, list_meta));
    for text in texts {
        put_varint(&mut piece, 2 << 3 | 2);
        let start = piece.len();
        piece.push(0);
        put_text(&mut piece, text, of);
        transcode::set_length(&mut piece, start);
        if piece.len() > PIECE {
            length += piece.len();
            pieces.push_back(std::mem::replace(&mut piece, Vec::with_capacity(PIECE + PIECE / 4)).into());
        }
    }
    length += piece.len();
    piece.extend_from_slice(END);
    pieces.push_back(piece.into());
    pieces.push_front(beginning(api_version, kind, length).into());
    pieces
}

/// Encodes an event of a watch, with an object in its envelope. No envelope is around the event.
pub fn encode_event(event_type: &str, enveloped: &[u8]) -> Vec<u8> {
    let mut extension = Vec::with_capacity(enveloped.len() + 8);
    put_bytes(&mut extension, 1, enveloped);
    let mut out = Vec::with_capacity(extension.len() + 24);
    put_bytes(&mut out, 1, event_type.as_bytes());
    put_bytes(&mut out, 2, &extension);
    out
}

/// Decodes a message as an object without `apiVersion` and `kind`, in its canonical form.
pub fn decode(bytes: &[u8], of: TypeId) -> Result<Value, DecodeError> {
    let mut fields = Map::new();
    read_fields(bytes, of, &mut fields)?;
    Ok(Value::Object(printed(fields, of)))
}

/// Decodes a list of a kind: `metadata` and `items`.
pub fn decode_list(bytes: &[u8], item: TypeId) -> Result<Value, DecodeError> {
    let list_meta = Schema::get().find("meta.v1.ListMeta").expect("a test looks it up");
    let (mut metadata, mut items) = (Map::new(), Vec::new());
    for field in Fields::new(bytes) {
        match field? {
            (1, wire) => read_fields(message("metadata", wire)?, list_meta, &mut metadata)?,
            (2, wire) => items.push(decode(message("items", wire)?, item)?),
            _ => {}
        }
    }
    Ok(serde_json::json!({"metadata": printed(metadata, list_meta), "items": items}))
}

fn put_fields(out: &mut Vec<u8>, object: &Map<String, Value>, of: TypeId) {
    for member in go::fields_of(of).own.iter().filter(|member| member.field.number > 0) {
        let field = member.field;
        if let (Shape::Object(inner), true) = (&field.shape, field.is_inline) {
            let mut inlined = Vec::new();
            put_fields(&mut inlined, object, *inner);
            put_bytes(out, field.number, &inlined);
            continue;
        }
        match object.get(field.name) {
            None | Some(Value::Null) => {
                if member.is_always_encoded() {
                    put(out, field.number, &field.shape, &Value::Null);
                }
            }
            Some(value) => put(out, field.number, &field.shape, value),
        }
    }
}

pub(super) fn put(out: &mut Vec<u8>, number: u32, shape: &Shape, value: &Value) {
    match shape {
        Shape::Text => put_bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Shape::Bool => put_number(out, number, value.as_bool().unwrap_or_default().into()),
        Shape::Int32 | Shape::Int64 => {
            put_number(out, number, value.as_i64().unwrap_or_default().cast_unsigned());
        }
        Shape::Double => {
            put_varint(out, u64::from(number) << 3 | 1);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Shape::Bytes => {
            let bytes = base64::decode(value.as_str().unwrap_or_default()).unwrap_or_default();
            put_bytes(out, number, &bytes);
        }
        Shape::Time => put_bytes(out, number, &time_message(value.as_str(), Precision::Seconds)),
        Shape::MicroTime => put_bytes(out, number, &time_message(value.as_str(), Precision::Micros)),
        Shape::Quantity => {
            let mut inner = Vec::new();
            put_bytes(&mut inner, 1, value.as_str().unwrap_or("0").as_bytes());
            put_bytes(out, number, &inner);
        }
        Shape::IntOrString => {
            let mut inner = Vec::new();
            put_number(&mut inner, 1, value.is_string().into());
            put_number(&mut inner, 2, value.as_i64().unwrap_or_default().cast_unsigned());
            put_bytes(&mut inner, 3, value.as_str().unwrap_or_default().as_bytes());
            put_bytes(out, number, &inner);
        }
        Shape::Fields | Shape::Raw => {
            let mut inner = Vec::new();
            put_bytes(&mut inner, 1, value.to_string().as_bytes());
            put_bytes(out, number, &inner);
        }
        Shape::Object(id) => {
            let mut inner = Vec::new();
            put_fields(&mut inner, value.as_object().unwrap_or(&Map::new()), *id);
            put_bytes(out, number, &inner);
        }
        Shape::List(of) => {
            value.as_array().into_iter().flatten().for_each(|part| put(out, number, of, part));
        }
        Shape::Map(of) => put_map(out, number, of, value),
    }
}

fn put_map(out: &mut Vec<u8>, number: u32, of: &Shape, value: &Value) {
    let mut entries: Vec<(&String, &Value)> = value.as_object().into_iter().flatten().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in entries {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, key.as_bytes());
        put(&mut entry, 2, of, value);
        put_bytes(out, number, &entry);
    }
}

/// Seconds and nanoseconds; no time at all is an empty message.
pub(super) fn time_message(text: Option<&str>, precision: Precision) -> Vec<u8> {
    let mut out = Vec::new();
    let instant = text.and_then(|text| time::parse(text, precision).ok());
    if let Some(instant) = instant.filter(|instant| !instant.is_zero()) {
        let nanos = if precision == Precision::Micros { instant.nanos } else { 0 };
        put_number(&mut out, 1, instant.seconds.cast_unsigned());
        put_number(&mut out, 2, nanos.into());
    }
    out
}

/// Negative numbers take ten bytes, as `int32` and `int64` do.
pub(super) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn read_fields(bytes: &[u8], of: TypeId, into: &mut Map<String, Value>) -> Result<(), DecodeError> {
    let own = &go::fields_of(of).own;
    for field in Fields::new(bytes) {
        let (number, wire) = field?;
        if let Some(member) = own.iter().find(|member| member.field.number == number) {
            read(member, wire, into)?;
        }
    }
    Ok(())
}

/// Reads one field of a message. A list gets one more part, an object that came before gets more fields.
fn read(member: &Member, wire: Wire<'_>, into: &mut Map<String, Value>) -> Result<(), DecodeError> {
    let name = member.field.name;
    match &member.field.shape {
        Shape::Object(id) if member.field.is_inline => read_fields(message(name, wire)?, *id, into),
        Shape::Object(id) => {
            let Value::Object(fields) = into.entry(name).or_insert_with(|| Value::Object(Map::new())) else {
                return Err(DecodeError::WireType(name));
            };
            read_fields(message(name, wire)?, *id, fields)
        }
        Shape::List(of) => {
            let Value::Array(parts) = into.entry(name).or_insert_with(|| Value::Array(Vec::new())) else {
                return Err(DecodeError::WireType(name));
            };
            read_parts(name, of, wire, parts)
        }
        Shape::Map(of) => {
            let (key, value) = read_entry(name, of, message(name, wire)?)?;
            let Value::Object(parts) = into.entry(name).or_insert_with(|| Value::Object(Map::new())) else {
                return Err(DecodeError::WireType(name));
            };
            parts.insert(key, value);
            Ok(())
        }
        shape @ (Shape::Text
        | Shape::Bool
        | Shape::Int32
        | Shape::Int64
        | Shape::Double
        | Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::Quantity
        | Shape::IntOrString
        | Shape::Fields
        | Shape::Raw) => {
            into.insert(name.to_owned(), value(name, shape, wire)?);
            Ok(())
        }
    }
}

/// Numbers may also come packed, many in one field.
fn read_parts(
    name: &'static str,
    of: &Shape,
    wire: Wire<'_>,
    parts: &mut Vec<Value>,
) -> Result<(), DecodeError> {
    let is_number = matches!(of, Shape::Int32 | Shape::Int64 | Shape::Bool);
    match wire {
        Wire::Bytes(packed) if is_number => {
            let mut at = 0;
            while at < packed.len() {
                let length = packed[at..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
                let end = at.saturating_add(length);
                let bytes = packed.get(at..end).filter(|bytes| bytes.len() <= 10);
                let bytes = bytes.ok_or_else(|| Wrong::new("a packed number is cut off", at))?;
                let number =
                    bytes.iter().rev().fold(0_u64, |number, byte| number << 7 | u64::from(byte & 0x7f));
                parts.push(value(name, of, Wire::Number(number))?);
                at = end;
            }
        }
        Wire::Bytes(_) | Wire::Number(_) => parts.push(value(name, of, wire)?),
    }
    Ok(())
}

fn read_entry(name: &'static str, of: &Shape, bytes: &[u8]) -> Result<(String, Value), DecodeError> {
    let (mut key, mut part) = (String::new(), None);
    for field in Fields::new(bytes) {
        match field? {
            (1, wire) => key = text(name, wire)?,
            (2, wire) => part = Some(value(name, of, wire)?),
            _ => {}
        }
    }
    let part = match part {
        Some(part) => part,
        None => value(name, of, Wire::Bytes(b""))?,
    };
    Ok((key, part))
}

fn value(name: &'static str, shape: &Shape, wire: Wire<'_>) -> Result<Value, DecodeError> {
    Ok(match shape {
        Shape::Text => text(name, wire)?.into(),
        Shape::Bool => (number(name, wire)? != 0).into(),
        // As in Go, what does not fit is cut off.
        #[expect(clippy::cast_possible_truncation, reason = "protobuf's int32 keeps the low half")]
        Shape::Int32 => (number(name, wire)? as i32).into(),
        Shape::Int64 => number(name, wire)?.into(),
        Shape::Double => f64::from_bits(number(name, wire)?.cast_unsigned()).into(),
        Shape::Bytes => base64::encode(message(name, wire)?).into(),
        Shape::Time => read_time(name, message(name, wire)?, Precision::Seconds)?,
        Shape::MicroTime => read_time(name, message(name, wire)?, Precision::Micros)?,
        Shape::Quantity => read_quantity(name, message(name, wire)?)?.into(),
        Shape::IntOrString => read_int_or_string(name, message(name, wire)?)?,
        Shape::Fields | Shape::Raw => read_raw(name, message(name, wire)?)?,
        Shape::Object(id) => {
            let mut fields = Map::new();
            read_fields(message(name, wire)?, *id, &mut fields)?;
            Value::Object(fields)
        }
        Shape::List(_) | Shape::Map(_) => return Err(DecodeError::WireType(name)),
    })
}

fn read_time(name: &'static str, bytes: &[u8], precision: Precision) -> Result<Value, DecodeError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::new(bytes) {
        match field? {
            (1, wire) => seconds = number(name, wire)?,
            (2, wire) => nanos = number(name, wire)?,
            _ => {}
        }
    }
    let out_of_range = || DecodeError::Field { field: name, reason: "the time is out of range".to_owned() };
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000).ok_or_else(out_of_range)?;
    Ok(Instant { seconds, nanos }.print(precision).ok_or_else(out_of_range)?.into())
}

fn read_quantity(name: &'static str, bytes: &[u8]) -> Result<String, DecodeError> {
    let mut amount = String::new();
    for field in Fields::new(bytes) {
        if let (1, wire) = field? {
            amount = text(name, wire)?;
        }
    }
    if amount.is_empty() {
        return Ok("0".to_owned());
    }
    quantity::canonical(&amount)
        .map_err(|reason| DecodeError::Field { field: name, reason: reason.to_owned() })
}

fn read_int_or_string(name: &'static str, bytes: &[u8]) -> Result<Value, DecodeError> {
    let (mut is_text, mut whole, mut words) = (false, 0, String::new());
    for field in Fields::new(bytes) {
        match field? {
            (1, wire) => is_text = number(name, wire)? != 0,
            #[expect(clippy::cast_possible_truncation, reason = "protobuf's int32 keeps the low half")]
            (2, wire) => whole = number(name, wire)? as i32,
            (3, wire) => words = text(name, wire)?,
            _ => {}
        }
    }
    Ok(if is_text { words.into() } else { whole.into() })
}

fn read_raw(name: &'static str, bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut json: &[u8] = b"null";
    for field in Fields::new(bytes) {
        if let (1, wire) = field? {
            json = message(name, wire)?;
        }
    }
    let wrong = |error: serde_json::Error| DecodeError::Field { field: name, reason: error.to_string() };
    serde_json::from_slice(json).map_err(wrong)
}

fn message<'a>(name: &'static str, wire: Wire<'a>) -> Result<&'a [u8], DecodeError> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        Wire::Number(_) => Err(DecodeError::WireType(name)),
    }
}

/// Bytes that are no UTF-8 become replacement characters, as they do when Go prints JSON.
fn text(name: &'static str, wire: Wire<'_>) -> Result<String, DecodeError> {
    Ok(String::from_utf8_lossy(message(name, wire)?).into_owned())
}

fn number(name: &'static str, wire: Wire<'_>) -> Result<i64, DecodeError> {
    match wire {
        Wire::Number(number) => Ok(number.cast_signed()),
        Wire::Bytes(_) => Err(DecodeError::WireType(name)),
    }
}
