//! Cuts the stream of a watch into frames: lines of JSON, or protobuf messages behind a length of four bytes.
//!
//! Does *not* look into the frames.

use bytes::{Buf, Bytes, BytesMut};

/// The largest frame that is believed. The largest object a real server stores is 1.5 MiB by default.
pub(crate) const MAX_FRAME: usize = 64 << 20;

/// The form of an answer, told by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON.
    Json,
    /// Kubernetes' protobuf.
    Protobuf,
}

impl Form {
    /// Reads a `Content-Type`.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or("").trim() {
            "application/json" => Some(Self::Json),
            "application/vnd.kubernetes.protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }
}

/// The stream claims a frame that is larger than [`MAX_FRAME`], in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge(pub(crate) usize);

/// Bytes that have come and are not yet a frame.
#[derive(Debug)]
pub(crate) struct Frames {
    form: Form,
    bytes: BytesMut,
    /// How much of `bytes` is known to hold no end of line.
    searched: usize,
}

impl Frames {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, bytes: BytesMut::new(), searched: 0 }
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// Answers whether the stream stands inside a frame.
    pub(crate) fn is_inside(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Takes the next complete frame.
    pub(crate) fn pop(&mut self) -> Result<Option<Bytes>, TooLarge> {
        match self.form {
            Form::Json => self.pop_line(),
            Form::Protobuf => self.pop_message(),
        }
    }

    fn pop_line(&mut self) -> Result<Option<Bytes>, TooLarge> {
        loop {
            let Some(end) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.bytes.len();
                return if self.searched > MAX_FRAME { Err(TooLarge(self.searched)) } else { Ok(None) };
            };
            let line = self.bytes.split_to(self.searched + end);
            self.bytes.advance(1);
            self.searched = 0;
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(line.freeze()));
            }
        }
    }

    fn pop_message(&mut self) -> Result<Option<Bytes>, TooLarge> {
        let Some(length) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(TooLarge(length));
        }
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        self.bytes.advance(4);
        Ok(Some(self.bytes.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, stream: &[u8], expected: &[&[u8]]) {
        for size in 1..=stream.len() {
            let mut frames = Frames::new(form);
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                frames.push(piece);
                while let Some(frame) = frames.pop().unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found, expected, "pieces of {size}");
            assert!(!frames.is_inside());
        }
    }

    #[test]
    fn frames_do_not_depend_on_the_pieces() {
        check(Form::Json, b"{}\n\n[1]\r\n  \n{\"a\":\"\\n\"}\n", &[b"{}", b"[1]\r", b"{\"a\":\"\\n\"}"]);
        check(Form::Protobuf, b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01\n", &[b"ab", b"", b"\n"]);
    }

    #[test]
    fn absurd_lengths_are_refused_at_once() {
        let mut frames = Frames::new(Form::Protobuf);
        frames.push(b"<!DO");
        assert_eq!(frames.pop(), Err(TooLarge(0x3c21_444f)));
        let mut frames = Frames::new(Form::Json);
        frames.push(&vec![b' '; MAX_FRAME + 1]);
        assert_eq!(frames.pop(), Err(TooLarge(MAX_FRAME + 1)));
    }

    #[test]
    fn an_unfinished_frame_is_noticed() {
        let mut frames = Frames::new(Form::Protobuf);
        frames.push(b"\0\0\0\x05abc");
        assert_eq!(frames.pop(), Ok(None));
        assert!(frames.is_inside());
    }
}
