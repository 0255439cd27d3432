//! Frames of SPDY/3.1: bytes to frames, and back. No I/O.
//!
//! Flow control is left out, as Go's clients do, and with it priorities: who does not read is waited for.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::headers::{Headers, Reader, nothing};

/// The most bytes of a frame that is no data.
const MOST_CONTROL: usize = 64 * 1024;
/// Data of longer frames is handed on in parts.
const PART: usize = 32 * 1024;
/// The bytes before each frame.
const HEAD: usize = 8;

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const HEADERS: u16 = 8;
/// The mark of the last frame of a stream in one direction.
const FIN: u8 = 1;

/// What the other end sent makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) &'static str);

/// What the other end says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// There is a new stream.
    Open(u32, Headers),
    /// Some data of a stream.
    Data(u32, Bytes),
    /// A stream has no more data.
    End(u32),
    /// A stream is given up.
    Reset(u32),
    /// Are you there?
    Ping(u32),
}

/// Frames from bytes, however they are cut.
pub(crate) struct Decoder {
    /// What came and was not yet looked at.
    pub(crate) bytes: BytesMut,
    data: Option<Data>,
    ended: Option<u32>,
    headers: Reader,
}

/// A frame of data, of which so much is still to come.
struct Data {
    stream: u32,
    left: usize,
    is_last: bool,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { bytes: BytesMut::new(), data: None, ended: None, headers: Reader::new() }
    }

    /// The next frame; `None`: more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Fault> {
        loop {
            if let Some(stream) = self.ended.take() {
                return Ok(Some(Frame::End(stream)));
            }
            if let Some(data) = &mut self.data {
                if data.left == 0 {
                    self.ended = data.is_last.then_some(data.stream);
                    self.data = None;
                    continue;
                }
                let length = data.left.min(self.bytes.len()).min(PART);
                data.left -= length;
                let part = self.bytes.split_to(length).freeze();
                return Ok((length > 0).then_some(Frame::Data(data.stream, part)));
            }
            let Some((head, rest)) = self.bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
            let [kind @ .., flags, _, _, _] = *head;
            let (kind, length) = (u32::from_be_bytes(kind), length(*head));
            if kind >> 31 == 0 {
                self.data = Some(Data { stream: kind, left: length, is_last: flags & FIN != 0 });
                self.bytes.advance(HEAD);
                continue;
            }
            if length > MOST_CONTROL {
                return Err(Fault("a frame that is too long"));
            }
            if rest.len() < length {
                return Ok(None);
            }
            self.bytes.advance(HEAD);
            let body = self.bytes.split_to(length);
            if let Some(frame) = self.control(kind, flags, &body)? {
                return Ok(Some(frame));
            }
        }
    }

    fn control(&mut self, kind: u32, flags: u8, body: &[u8]) -> Result<Option<Frame>, Fault> {
        let [version @ .., high, low] = kind.to_be_bytes();
        if u16::from_be_bytes(version) & 0x7fff != VERSION {
            return Err(Fault("another version than 3"));
        }
        let kind = u16::from_be_bytes([high, low]);
        if !matches!(kind, SYN_STREAM | SYN_REPLY | RST_STREAM | PING | HEADERS) {
            return Ok(None);
        }
        let Some((id, body)) = body.split_first_chunk() else {
            return Err(Fault("a frame that ends too early"));
        };
        let id = u32::from_be_bytes(*id);
        let stream = id & 0x7fff_ffff;
        match kind {
            RST_STREAM => return Ok(Some(Frame::Reset(stream))),
            PING => return Ok(Some(Frame::Ping(id))),
            _ => {}
        }
        // Of a new stream: the stream that it belongs to, and its priority.
        let skipped = if kind == SYN_STREAM { 6 } else { 0 };
        let headers = self.headers.read(body.get(skipped..).ok_or(Fault("a frame that ends too early"))?)?;
        self.ended = (flags & FIN != 0).then_some(stream);
        Ok((kind == SYN_STREAM).then_some(Frame::Open(stream, headers)))
    }
}

fn length(head: [u8; HEAD]) -> usize {
    let [.., high, middle, low] = head;
    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
}

/// The answer to a new stream. `begins`: it is the first.
pub(crate) fn reply(stream: u32, begins: bool) -> Bytes {
    control(SYN_REPLY, &[&stream.to_be_bytes()[..], &nothing(begins)].concat())
}

/// Gives a stream up because of a mistake of the other end.
pub(crate) fn refuse(stream: u32) -> Bytes {
    const REFUSED_STREAM: u32 = 3;
    control(RST_STREAM, &[stream.to_be_bytes(), REFUSED_STREAM.to_be_bytes()].concat())
}

/// The answer to a ping.
pub(crate) fn pong(id: u32) -> Bytes {
    control(PING, &id.to_be_bytes())
}

/// Some data. More than fits into a frame is cut off.
pub(crate) fn data(stream: u32, bytes: &[u8]) -> Bytes {
    const MOST: usize = 0xff_ffff;
    frame(stream, 0, &bytes[..bytes.len().min(MOST)])
}

/// There is no more data.
pub(crate) fn end(stream: u32) -> Bytes {
    frame(stream, FIN, &[])
}

fn control(kind: u16, body: &[u8]) -> Bytes {
    frame(1 << 31 | u32::from(VERSION) << 16 | u32::from(kind), 0, body)
}

fn frame(kind: u32, flags: u8, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + body.len());
    frame.put_u32(kind);
    frame.put_u32(u32::from(flags) << 24 | u32::try_from(body.len()).unwrap_or(0));
    frame.put_slice(body);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// What is decoded when the bytes come `step` at a time.
    fn decoded(hex: &str, step: usize) -> String {
        let (mut decoder, mut said) = (Decoder::new(), String::new());
        for chunk in bytes(hex).chunks(step) {
            decoder.bytes.extend_from_slice(chunk);
            loop {
                match decoder.next() {
                    Ok(None) => break,
                    Ok(Some(Frame::Open(stream, headers))) => {
                        said.push_str(&format!("open {stream}"));
                        headers.iter().for_each(|(name, value)| said.push_str(&format!(" {name}={value}")));
                        said.push('\n');
                    }
                    // Data may come in any parts.
                    Ok(Some(Frame::Data(stream, data))) => {
                        let text = String::from_utf8_lossy(&data).into_owned();
                        let begin = format!("data {stream} ");
                        match said.lines().last() {
                            Some(last) if last.starts_with(&begin) => {
                                said.pop();
                                said.push_str(&format!("{text}\n"));
                            }
                            _ => said.push_str(&format!("{begin}{text}\n")),
                        }
                    }
                    Ok(Some(Frame::End(stream))) => said.push_str(&format!("end {stream}\n")),
                    Ok(Some(Frame::Reset(stream))) => said.push_str(&format!("reset {stream}\n")),
                    Ok(Some(Frame::Ping(id))) => said.push_str(&format!("ping {id}\n")),
                    Err(Fault(why)) => {
                        said.push_str(&format!("fault: {why}\n"));
                        return said;
                    }
                }
            }
        }
        said
    }

    fn check(hex: &str, expected: &str) {
        for step in [1, 3, 1000] {
            assert_eq!(decoded(hex, step), expected, "{hex} by {step}");
        }
    }

    #[test]
    fn frames_of_a_client() {
        check(
            "80030001 0000003d 00000001 00000000 0000
             78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c0600000000ffff
             80030001 01000018 00000003 00000000 0000 c2aa19540e2512d60b000000ffff
             00000001 00000002 6869 00000001 01000001 21
             80030006 00000004 00000007
             80030003 00000008 00000003 00000005",
            "open 1 streamtype=error port=8080 requestid=0\nopen 3 streamtype=data port=8080 requestid=0\nend 3\n\
             data 1 hi!\nend 1\nping 7\nreset 3\n",
        );
        // Settings, the size of a window, a good-bye and what does not exist are nothing to be answered.
        check(
            "80030004 0000000c 00000001 00000004 00010000 80030009 00000008 00000001 00001000
             80030007 00000008 00000000 00000000 80030063 00000001 00 80030006 00000004 00000001",
            "ping 1\n",
        );
    }

    #[test]
    fn garbage() {
        check("80020001 00000000", "fault: another version than 3\n");
        check("80030001 00ffffff", "fault: a frame that is too long\n");
        check("80030001 00000002 0000", "fault: a frame that ends too early\n");
        check("80030001 00000004 00000001", "fault: a frame that ends too early\n");
        check("80030006 00000000", "fault: a frame that ends too early\n");
        check(
            "80030001 0000000c 00000001 00000000 0000 ffff",
            "fault: headers that are not compressed as they should\n",
        );
        // Half a frame is waited for.
        check("80030006 00000004 0000", "");
        check("00000001 00ffffff", "");
    }

    #[test]
    fn any_bytes_are_answered_somehow() {
        let valid = bytes(
            "80030001 0000003d 00000001 00000000 0000
             78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c0600000000ffff
             80030001 01000018 00000003 00000000 0000 c2aa19540e2512d60b000000ffff 00000001 01000002 6869
             80030006 00000004 00000007",
        );
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        let (mut faults, mut frames) = (0, 0);
        for _ in 0..5000 {
            let mut bytes = valid.clone();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                bytes[at] = u8::try_from(random(256)).unwrap();
            }
            let mut decoder = Decoder::new();
            decoder.bytes.extend_from_slice(&bytes);
            loop {
                match decoder.next() {
                    Ok(Some(_)) => frames += 1,
                    Ok(None) => break,
                    Err(_) => {
                        faults += 1;
                        break;
                    }
                }
            }
        }
        assert!(faults > 1000 && frames > 5000, "{faults} {frames}");
    }

    #[test]
    fn frames_for_a_client() {
        for (frame, expected) in [
            (reply(1, true), "80030002 00000014 00000001 7801000400fbff00000000000000ffff"),
            (reply(3, false), "80030002 00000012 00000003 000400fbff00000000000000ffff"),
            (refuse(5), "80030003 00000008 00000005 00000003"),
            (pong(9), "80030006 00000004 00000009"),
            (data(1, b"hi"), "00000001 00000002 6869"),
            (end(1), "00000001 01000000"),
        ] {
            assert_eq!(frame, bytes(expected), "{expected}");
        }
    }
}
