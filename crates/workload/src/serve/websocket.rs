//! Frames of WebSocket (RFC 6455), the server's side: bytes to events, and back. No I/O.
//!
//! A message is handed on as it comes, however long it is: what is kept is never more than was read at once.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::spdy::Fault;

/// Longer parts of messages are cut.
const PART: usize = 32 * 1024;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const LAST: u8 = 0x80;

/// The end was reached as it should be.
pub(super) const NORMAL: u16 = 1000;
/// The other end made a mistake.
pub(super) const MISTAKE: u16 = 1002;

/// What the other end says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A part of a message.
    Part {
        /// Whether it is the first.
        begins: bool,
        /// Its bytes; may be none.
        bytes: Bytes,
    },
    /// Are you there?
    Ping(Bytes),
    /// There will be no more.
    Close,
}

/// The answer to the key of a handshake.
pub(super) fn accept(key: &[u8]) -> String {
    const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, MAGIC].concat()))
}

/// Events from bytes, however they are cut.
pub(super) struct Decoder {
    /// What came and was not yet looked at.
    pub(super) bytes: BytesMut,
    /// The frame that is being read.
    frame: Option<Payload>,
    /// Whether a message has begun that has not ended.
    inside: bool,
}

struct Payload {
    begins: bool,
    is_last: bool,
    left: u64,
    mask: [u8; 4],
    /// Whether nothing of it was handed on yet.
    is_new: bool,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { bytes: BytesMut::new(), frame: None, inside: false }
    }

    /// The next event; `None`: more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            if let Some(frame) = &mut self.frame {
                if frame.left == 0 && !frame.is_new {
                    self.inside = !frame.is_last;
                    self.frame = None;
                    continue;
                }
                return Ok(part(frame, &mut self.bytes));
            }
            let Some(head) = Head::read(&self.bytes)? else { return Ok(None) };
            if head.opcode >= CLOSE {
                let length = usize::try_from(head.length).unwrap_or(usize::MAX);
                if self.bytes.len() < head.size + length {
                    return Ok(None);
                }
                self.bytes.advance(head.size);
                let mut payload = self.bytes.split_to(length);
                unmask(&mut payload, head.mask);
                match head.opcode {
                    CLOSE => return Ok(Some(Event::Close)),
                    PING => return Ok(Some(Event::Ping(payload.freeze()))),
                    _ => continue,
                }
            }
            let begins = head.opcode != CONTINUATION;
            if begins == self.inside {
                return Err(Fault("a message that begins within another, or continues none"));
            }
            self.inside = true;
            self.bytes.advance(head.size);
            self.frame = Some(Payload {
                begins,
                is_last: head.is_last,
                left: head.length,
                mask: head.mask,
                is_new: true,
            });
        }
    }
}

fn part(frame: &mut Payload, bytes: &mut BytesMut) -> Option<Event> {
    let left = usize::try_from(frame.left).unwrap_or(usize::MAX);
    let length = left.min(bytes.len()).min(PART);
    if length == 0 && left > 0 {
        return None;
    }
    let mut part = bytes.split_to(length);
    unmask(&mut part, frame.mask);
    frame.mask.rotate_left(length % 4);
    frame.left -= length as u64;
    let begins = frame.begins && std::mem::take(&mut frame.is_new);
    frame.is_new = false;
    Some(Event::Part { begins, bytes: part.freeze() })
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in bytes.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

struct Head {
    opcode: u8,
    is_last: bool,
    length: u64,
    mask: [u8; 4],
    /// How many bytes the head itself has.
    size: usize,
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Option<Self>, Fault> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (opcode, is_last) = (first & 0x0f, first & LAST != 0);
        if first & 0x70 != 0 || !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
            return Err(Fault("a frame of no known kind"));
        }
        if second & 0x80 == 0 {
            return Err(Fault("a frame without a mask"));
        }
        let short = second & 0x7f;
        if opcode >= CLOSE && (short > 125 || !is_last) {
            return Err(Fault("a long frame about the connection"));
        }
        let (length, rest) = match (short, rest) {
            (126, [high, low, rest @ ..]) => (u64::from(u16::from_be_bytes([*high, *low])), rest),
            (127, rest) => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            (126, _) => return Ok(None),
            (short, rest) => (u64::from(short), rest),
        };
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some(Self { opcode, is_last, length, mask: *mask, size: bytes.len() - rest.len() }))
    }
}

/// A whole message of bytes.
pub(super) fn binary(parts: &[&[u8]]) -> Bytes {
    frame(BINARY, parts)
}

/// A whole message of text.
pub(super) fn text(parts: &[&[u8]]) -> Bytes {
    frame(TEXT, parts)
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Bytes {
    frame(PONG, &[payload])
}

/// The end, and why.
pub(super) fn close(code: u16) -> Bytes {
    frame(CLOSE, &[&code.to_be_bytes()])
}

fn frame(opcode: u8, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut frame = BytesMut::with_capacity(length + 10);
    frame.put_u8(LAST | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => frame.put_u8(short),
        (_, Ok(middle)) => {
            frame.put_u8(126);
            frame.put_u16(middle);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    parts.iter().for_each(|part| frame.put_slice(part));
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], step: usize) -> String {
        let (mut decoder, mut said) = (Decoder::new(), String::new());
        for chunk in bytes.chunks(step) {
            decoder.bytes.extend_from_slice(chunk);
            loop {
                match decoder.next() {
                    Ok(None) => break,
                    Ok(Some(Event::Part { begins, bytes })) => {
                        let begin = if begins { "[" } else { "" };
                        said.push_str(&format!("{begin}{}", String::from_utf8_lossy(&bytes)));
                    }
                    Ok(Some(Event::Ping(bytes))) => {
                        said.push_str(&format!("<ping {}>", String::from_utf8_lossy(&bytes)))
                    }
                    Ok(Some(Event::Close)) => said.push_str("<close>"),
                    Err(Fault(why)) => {
                        said.push_str(why);
                        return said;
                    }
                }
            }
        }
        said
    }

    fn check(bytes: &[u8], expected: &str) {
        for step in [1, 2, 7, 100_000] {
            assert_eq!(decoded(bytes, step), expected, "{bytes:?} by {step}");
        }
    }

    /// As a client sends it.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
            length => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        frame.extend_from_slice(&mask);
        let at = frame.len();
        frame.extend_from_slice(payload);
        unmask(&mut frame[at..], mask);
        frame
    }

    #[test]
    fn messages_of_a_client() {
        // The example of RFC 6455, section 5.7.
        check(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58], "[Hello");
        let all = [
            masked(0x02, b"one"),
            masked(0x89, b"?"),
            masked(0x00, b" and"),
            masked(0x80, b" two"),
            masked(0x82, b""),
            masked(0x8a, b"late"),
            masked(0x82, "x".repeat(300).as_bytes()),
            masked(0x88, b"\x03\xe8"),
        ];
        check(&all.concat(), &format!("[one<ping ?> and two[[{}<close>", "x".repeat(300)));
    }

    #[test]
    fn garbage() {
        check(&[0x81, 0x05], "a frame without a mask");
        check(&[0xc1, 0x85], "a frame of no known kind");
        check(&[0x83, 0x85], "a frame of no known kind");
        check(&[0x89, 0xfe], "a long frame about the connection");
        check(&[0x09, 0x80], "a long frame about the connection");
        check(&masked(0x80, b"x"), "a message that begins within another, or continues none");
        let twice = [masked(0x01, b"x"), masked(0x81, b"y")].concat();
        check(&twice, "[xa message that begins within another, or continues none");
        // A length beyond everything is waited for, and nothing is kept for it.
        check(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, b'a'], "[a");
    }

    #[test]
    fn messages_for_a_client() {
        assert_eq!(&binary(&[b"a", b"bc"])[..], b"\x82\x03abc");
        assert_eq!(&text(&[])[..], b"\x81\x00");
        assert_eq!(&pong(b"x")[..], b"\x8a\x01x");
        assert_eq!(&close(NORMAL)[..], b"\x88\x02\x03\xe8");
        assert_eq!(binary(&[&[0; 126]])[..4], [0x82, 126, 0, 126]);
        assert_eq!(binary(&[&[0; 65_536]])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        // RFC 6455, section 1.3.
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
