//! Numbered channels in the messages of a WebSocket: the first byte says which.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::spdy::Fault;
use super::websocket::{self, Decoder, Event, MISTAKE, NORMAL};
use super::wire::Out;

/// How much is read at once.
const READ: usize = 32 * 1024;

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are, the channel as a byte.
    Binary,
    /// In base64, the channel as a digit.
    Base64,
}

impl Form {
    /// A message of a channel; there are less than ten in base64.
    pub(super) fn message(self, channel: u8, bytes: &[u8]) -> Bytes {
        match self {
            Self::Binary => websocket::binary(&[&[channel], bytes]),
            Self::Base64 => websocket::text(&[&[b'0' + channel], STANDARD.encode(bytes).as_bytes()]),
        }
    }
}

/// The parts of messages that a client sends; pings are answered.
pub(super) struct Messages<R> {
    from: R,
    out: Out,
    decoder: Decoder,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    pub(super) fn new(from: R, out: Out) -> Self {
        Self { from, out, decoder: Decoder::new() }
    }

    /// The next part, and whether a message begins with it; `None`: there are no more.
    pub(super) async fn next(&mut self) -> Option<(bool, Bytes)> {
        loop {
            match self.decoder.next() {
                Ok(Some(Event::Part { begins, bytes })) => return Some((begins, bytes)),
                Ok(Some(Event::Ping(bytes))) => self.out.send(websocket::pong(&bytes)).await.ok()?,
                Ok(Some(Event::Close)) => {
                    drop(self.out.send(websocket::close(NORMAL)).await);
                    return None;
                }
                Ok(None) => {
                    self.decoder.bytes.reserve(READ);
                    let read = self.from.read_buf(&mut self.decoder.bytes).await.ok()?;
                    if read == 0 {
                        return None;
                    }
                }
                Err(Fault(why)) => {
                    tracing::debug!(why, "a client of WebSocket makes no sense");
                    drop(self.out.send(websocket::close(MISTAKE)).await);
                    return None;
                }
            }
        }
    }
}

/// Tells channels apart.
pub(super) struct Channels {
    form: Form,
    channel: Option<u8>,
    /// The beginning of four letters of base64.
    letters: Vec<u8>,
}

impl Channels {
    pub(super) fn new(form: Form) -> Self {
        Self { form, channel: None, letters: Vec::new() }
    }

    /// Answers the channel of a part of a message, and what it says there.
    pub(super) fn hear(&mut self, begins: bool, mut bytes: Bytes) -> Result<Option<(u8, Bytes)>, Fault> {
        if begins {
            self.channel = None;
            self.letters.clear();
        }
        let channel = match self.channel {
            Some(channel) => channel,
            None => {
                let Some(first) = bytes.first().copied() else { return Ok(None) };
                bytes.advance(1);
                let channel = match self.form {
                    Form::Binary => first,
                    Form::Base64 => {
                        first.checked_sub(b'0').filter(|c| *c < 10).ok_or(Fault("no number of a channel"))?
                    }
                };
                *self.channel.insert(channel)
            }
        };
        let bytes = match self.form {
            Form::Binary => bytes,
            Form::Base64 => {
                self.letters.extend_from_slice(&bytes);
                let rest = self.letters.split_off(self.letters.len() / 4 * 4);
                let letters = std::mem::replace(&mut self.letters, rest);
                STANDARD.decode(letters).map_err(|_| Fault("no base64"))?.into()
            }
        };
        Ok(Some((channel, bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(form: Form, parts: &[(bool, &'static str)]) -> String {
        let mut channels = Channels::new(form);
        let mut said = Vec::new();
        for (begins, part) in parts {
            said.push(match channels.hear(*begins, Bytes::from_static(part.as_bytes())) {
                Ok(Some((channel, bytes))) => format!("{channel}:{}", String::from_utf8_lossy(&bytes)),
                Ok(None) => "-".to_owned(),
                Err(Fault(why)) => why.to_owned(),
            });
        }
        said.join(" ")
    }

    #[test]
    fn channels_are_told_apart() {
        let binary = [(true, "\0ab"), (false, "c"), (true, ""), (false, "\u{4}x"), (true, "\u{1}")];
        assert_eq!(heard(Form::Binary, &binary), "0:ab 0:c - 4:x 1:");
        let base64 =
            [(true, "0aGVs"), (false, "bG"), (false, "8="), (true, "4"), (true, "0a"), (true, "0aGk=")];
        assert_eq!(heard(Form::Base64, &base64), "0:hel 0: 0:lo 4: 0: 0:hi");
        assert_eq!(heard(Form::Base64, &[(true, "x")]), "no number of a channel");
        assert_eq!(heard(Form::Base64, &[(true, "0????")]), "no base64");
        assert_eq!(&Form::Base64.message(1, b"hi")[..], b"\x81\x051aGk=");
        assert_eq!(&Form::Binary.message(1, b"hi")[..], b"\x82\x03\x01hi");
    }
}
