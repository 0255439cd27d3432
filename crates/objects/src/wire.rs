//! Walks the fields of a protobuf message in place.

use std::fmt;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A varint, or a number of fixed width.
    Number(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
}

/// What is wrong with a message, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrong {
    what: &'static str,
    at: usize,
}

impl std::error::Error for Wrong {}

impl Wrong {
    /// Names a mistake at this byte.
    pub fn new(what: &'static str, at: usize) -> Self {
        Self { what, at }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// The fields of a message, in order: number and value. Ends after the first mistake.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Begins with the first field of a message.
    pub fn new(message: &'a [u8]) -> Self {
        Self { message, at: 0 }
    }

    fn wrong<T>(&self, what: &'static str) -> Result<T, Wrong> {
        Err(Wrong { what, at: self.at })
    }

    fn varint(&mut self) -> Result<u64, Wrong> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let Some(byte) = self.message.get(self.at) else {
                return self.wrong("the message ends inside a number");
            };
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        self.wrong("a number has more than 64 bits")
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Wrong> {
        let rest = &self.message[self.at..];
        let Some(bytes) = usize::try_from(length).ok().and_then(|length| rest.get(..length)) else {
            return self.wrong("a field is longer than its message");
        };
        self.at += bytes.len();
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Wrong> {
        let key = self.varint()?;
        let Ok(number) = u32::try_from(key >> 3) else { return self.wrong("a field number is too large") };
        if number == 0 {
            return self.wrong("a field has the number 0");
        }
        let fixed = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Number(fixed(self.take(8)?)),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Number(fixed(self.take(4)?)),
            _ => return self.wrong("a field has an unknown wire type"),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Wrong>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_wire_type_are_read() {
        let message = b"\x08\x96\x01\x12\x02hi\x1d\x01\0\0\0\x21\x02\0\0\0\0\0\0\0";
        let fields: Result<Vec<_>, _> = Fields::new(message).collect();
        let expected = vec![
            (1, Value::Number(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Number(1)),
            (4, Value::Number(2)),
        ];
        assert_eq!(fields, Ok(expected));
    }

    #[test]
    fn mistakes_are_named_and_end_the_walk() {
        let check = |message: &[u8], expected: &str| {
            let mut fields = Fields::new(message);
            let wrong = fields.find_map(Result::err).map(|wrong| wrong.to_string());
            assert_eq!(wrong.as_deref(), Some(expected));
            assert_eq!(fields.next(), None);
        };
        check(b"\x0a\x05ab", "a field is longer than its message at byte 2");
        check(b"\x08\xff", "the message ends inside a number at byte 2");
        check(&[0xff; 12], "a number has more than 64 bits at byte 10");
        check(b"\x0b", "a field has an unknown wire type at byte 1");
        check(b"\x02\x00", "a field has the number 0 at byte 1");
    }
}
