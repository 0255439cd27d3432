//! Objects as they are stored, straight to protobuf: a [`text`](super::text) has the fields in the order of their numbers,
//! so that it is read once, from front to back, and nothing is kept of it.
//!
//! What it does *not* read: any other JSON. [`protobuf`](super::protobuf) reads that into an object first.

use std::borrow::Cow;

use super::protobuf::{put, put_bytes, put_number, put_varint, time_message};
use super::time::Precision;
use super::{base64, go};
use crate::schema::{Shape, TypeId};
use serde_json::Value;

/// Encodes the object of a text as a message. `None`: the text is not as it would have been printed here; what was added to
/// `out` is of no use then.
pub(super) fn put_message(out: &mut Vec<u8>, text: &[u8], of: TypeId) -> Option<()> {
    let mut reading = Reading { text, out };
    let mut name = reading.first_name()?;
    // They stand in front, and not in the message.
    for outside in ["kind", "apiVersion"] {
        let is_inside =
            go::fields_of(of).own.iter().any(|part| part.field.number > 0 && part.field.name == outside);
        if is_inside {
            return None;
        }
        if name == Some(outside.as_bytes()) {
            reading.any()?;
            name = reading.next_name()?;
        }
    }
    reading.fields(&mut name, of)?;
    (name.is_none() && reading.text.is_empty()).then_some(())
}

struct Reading<'a, 'o> {
    /// What is not read yet.
    text: &'a [u8],
    out: &'o mut Vec<u8>,
}

impl<'a> Reading<'a, '_> {
    /// Reads the fields of an object, of which the first name was read already.
    fn fields(&mut self, name: &mut Option<&'a [u8]>, of: TypeId) -> Option<()> {
        for member in &go::fields_of(of).own {
            let field = member.field;
            if let (Shape::Object(inner), true) = (&field.shape, field.is_inline) {
                if field.number == 0 {
                    return None;
                }
                self.delimited(field.number, |reading| reading.fields(name, *inner))?;
                continue;
            }
            if *name != Some(field.name.as_bytes()) {
                if field.number > 0 && member.is_always_encoded() {
                    put(self.out, field.number, &field.shape, &Value::Null);
                }
                continue;
            }
            if field.number == 0 {
                self.any()?;
            } else if !self.eat(b"null") {
                self.value(field.number, &field.shape)?;
            } else if member.is_always_encoded() {
                put(self.out, field.number, &field.shape, &Value::Null);
            }
            *name = self.next_name()?;
        }
        Some(())
    }

    fn value(&mut self, number: u32, shape: &Shape) -> Option<()> {
        match shape {
            Shape::Text => {
                let text = self.string()?;
                put_bytes(self.out, number, text.as_bytes());
            }
            Shape::Bool => {
                let value = self.eat(b"true");
                if !value && !self.eat(b"false") {
                    return None;
                }
                put_number(self.out, number, value.into());
            }
            Shape::Int32 | Shape::Int64 => {
                let value = self.whole()?;
                put_number(self.out, number, value.cast_unsigned());
            }
            Shape::Double => {
                let value: f64 = serde_json::from_slice(self.any()?).ok()?;
                put_varint(self.out, u64::from(number) << 3 | 1);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Shape::Bytes => {
                let bytes = base64::decode(&self.string()?).ok()?;
                put_bytes(self.out, number, &bytes);
            }
            Shape::Time => {
                let message = time_message(Some(&self.string()?), Precision::Seconds);
                put_bytes(self.out, number, &message);
            }
            Shape::MicroTime => {
                let message = time_message(Some(&self.string()?), Precision::Micros);
                put_bytes(self.out, number, &message);
            }
            Shape::Quantity => {
                let amount = self.string()?;
                self.delimited(number, |reading| {
                    put_bytes(reading.out, 1, amount.as_bytes());
                    Some(())
                })?;
            }
            Shape::IntOrString => self.int_or_string(number)?,
            Shape::Fields | Shape::Raw => {
                let text = self.any()?;
                let text = plain(text)?;
                self.delimited(number, |reading| {
                    put_bytes(reading.out, 1, &text);
                    Some(())
                })?;
            }
            Shape::Object(of) => {
                let mut name = self.first_name()?;
                self.delimited(number, |reading| reading.fields(&mut name, *of))?;
                if name.is_some() {
                    return None;
                }
            }
            Shape::List(of) => self.list(number, of)?,
            Shape::Map(of) => self.map(number, of)?,
        }
        Some(())
    }

    fn int_or_string(&mut self, number: u32) -> Option<()> {
        let is_text = self.text.first() == Some(&b'"');
        let (whole, words) = if is_text { (0, self.string()?) } else { (self.whole()?, Cow::Borrowed("")) };
        self.delimited(number, |reading| {
            put_number(reading.out, 1, is_text.into());
            put_number(reading.out, 2, whole.cast_unsigned());
            put_bytes(reading.out, 3, words.as_bytes());
            Some(())
        })
    }

    fn list(&mut self, number: u32, of: &Shape) -> Option<()> {
        if !self.eat(b"[") {
            return None;
        }
        if self.eat(b"]") {
            return Some(());
        }
        loop {
            self.value(number, of)?;
            if self.eat(b"]") {
                return Some(());
            }
            if !self.eat(b",") {
                return None;
            }
        }
    }

    fn map(&mut self, number: u32, of: &Shape) -> Option<()> {
        if !self.eat(b"{") {
            return None;
        }
        if self.eat(b"}") {
            return Some(());
        }
        let mut last: Option<Cow<'a, str>> = None;
        loop {
            let key = self.string()?;
            // A map is encoded by its keys.
            if last.as_ref().is_some_and(|last| *last >= key) || !self.eat(b":") {
                return None;
            }
            self.delimited(number, |reading| {
                put_bytes(reading.out, 1, key.as_bytes());
                reading.value(2, of)
            })?;
            if self.eat(b"}") {
                return Some(());
            }
            if !self.eat(b",") {
                return None;
            }
            last = Some(key);
        }
    }

    /// Puts a message whose length is known when it is written.
    fn delimited(&mut self, number: u32, write: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        put_varint(self.out, u64::from(number) << 3 | 2);
        let start = self.out.len();
        self.out.push(0);
        write(self)?;
        set_length(self.out, start);
        Some(())
    }

    /// Reads the beginning of an object, and the name of its first field. `None` inside: it has none.
    fn first_name(&mut self) -> Option<Option<&'a [u8]>> {
        if !self.eat(b"{") {
            return None;
        }
        if self.eat(b"}") { Some(None) } else { self.name().map(Some) }
    }

    /// Reads what stands behind a field: the name of another, or the end.
    fn next_name(&mut self) -> Option<Option<&'a [u8]>> {
        if self.eat(b",") {
            return self.name().map(Some);
        }
        self.eat(b"}").then_some(None)
    }

    /// Names have nothing that is escaped.
    fn name(&mut self) -> Option<&'a [u8]> {
        let text = self.text.strip_prefix(b"\"")?;
        let end = text.iter().position(|byte| *byte == b'"')?;
        self.text = text[end + 1..].strip_prefix(b":")?;
        Some(&text[..end])
    }

    fn eat(&mut self, wanted: &[u8]) -> bool {
        let rest = self.text.strip_prefix(wanted);
        self.text = rest.unwrap_or(self.text);
        rest.is_some()
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let (all, inside) = (self.text, self.text.strip_prefix(b"\"")?);
        let end = inside.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if inside[end] == b'"' {
            self.text = &inside[end + 1..];
            return std::str::from_utf8(&inside[..end]).ok().map(Cow::Borrowed);
        }
        let length = string_length(all)?;
        self.text = &all[length..];
        serde_json::from_slice(&all[..length]).ok().map(Cow::Owned)
    }

    fn whole(&mut self) -> Option<i64> {
        let is_digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
        let length = self.text.iter().take_while(|byte| is_digit(byte)).count();
        let (digits, rest) = self.text.split_at(length);
        self.text = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Reads any value, and answers its text.
    fn any(&mut self) -> Option<&'a [u8]> {
        let (mut depth, mut at) = (0_usize, 0);
        loop {
            match self.text.get(at) {
                Some(b'"') => at += string_length(&self.text[at..])?,
                Some(b'{' | b'[') => (depth, at) = (depth + 1, at + 1),
                Some(b'}' | b']') if depth > 0 => (depth, at) = (depth - 1, at + 1),
                Some(_) => at += 1,
                None => return None,
            }
            if depth == 0 && matches!(self.text.get(at), Some(b',' | b'}' | b']')) {
                let (value, rest) = self.text.split_at(at);
                self.text = rest;
                return Some(value);
            }
        }
    }
}

/// Sets the length of a message that was written behind its place, which has one byte.
pub(super) fn set_length(out: &mut Vec<u8>, start: usize) {
    let end = out.len();
    let mut length = end - start - 1;
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out[start] = short;
        return;
    }
    let mut bytes = 1;
    while length >> (7 * bytes) > 0 {
        bytes += 1;
    }
    out.resize(end + bytes - 1, 0);
    out.copy_within(start + 1..end, start + bytes);
    for byte in &mut out[start..start + bytes] {
        *byte = length.to_le_bytes()[0] | 0x80;
        length >>= 7;
    }
    out[start + bytes - 1] &= 0x7f;
}

/// Answers how long the string is with which a text begins, quotes included.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// A value as others print it: without what only Go escapes, which it writes as numbers.
fn plain(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !text.windows(2).any(|pair| pair == b"\\u") {
        return Some(Cow::Borrowed(text));
    }
    let value: Value = serde_json::from_slice(text).ok()?;
    Some(Cow::Owned(value.to_string().into_bytes()))
}
