//! Names: read out of messages with all their pointers, and kept in the form that is compared and looked up.

use std::fmt;
use std::str::FromStr;

use super::Malformed;

/// The longest name in wire form.
const LONGEST: usize = 255;
/// The longest label.
const LONGEST_LABEL: usize = 63;
/// What the first byte of a pointer has set.
const POINTER: u8 = 0b1100_0000;

/// A name in wire form without pointers, in lower case: what is equal is equal byte by byte.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

/// Why a text is no name. Reads after the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongName {
    /// Two dots in a row, or one at the beginning.
    #[error("has an empty label")]
    EmptyLabel,
    /// More than 63 bytes between dots.
    #[error("has a label of more than 63 bytes")]
    LongLabel,
    /// More than 255 bytes.
    #[error("is longer than 255 bytes")]
    Long,
    /// An escape that is none.
    #[error("has a broken escape")]
    Escape,
}

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Answers the wire form.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// Answers this name below `parent`; `None` when that is too long.
    pub fn of_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>, parent: &Self) -> Option<Self> {
        let mut wire = Vec::with_capacity(64);
        for label in labels {
            if label.is_empty() || label.len() > LONGEST_LABEL {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend(label.iter().map(u8::to_ascii_lowercase));
        }
        wire.extend_from_slice(&parent.0);
        (wire.len() <= LONGEST).then(|| Self(wire.into()))
    }

    /// Answers whether it is `zone` or below it.
    pub fn is_within(&self, zone: &Self) -> bool {
        is_within(&self.0, &zone.0)
    }

    /// Answers the labels, the leftmost first, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels(&self.0)
    }

    /// Answers the name without its leftmost label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let first = usize::from(*self.0.first()?);
        (first != 0).then(|| Self(self.0[first + 1..].into()))
    }
}

impl FromStr for Name {
    type Err = WrongName;

    /// Reads a name as people write it, with or without the dot at the end, `\.` and `\ddd` for bytes.
    fn from_str(text: &str) -> Result<Self, WrongName> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label = Vec::new();
        if text == "." {
            return Ok(Self::root());
        }
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'.' => end_label(&mut wire, &mut label)?,
                b'\\' => label.push(escaped(&mut bytes)?),
                byte => label.push(byte.to_ascii_lowercase()),
            }
        }
        if !label.is_empty() {
            end_label(&mut wire, &mut label)?;
        }
        wire.push(0);
        if wire.len() > LONGEST { Err(WrongName::Long) } else { Ok(Self(wire.into())) }
    }
}

fn end_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) -> Result<(), WrongName> {
    if label.is_empty() {
        return Err(WrongName::EmptyLabel);
    }
    if label.len() > LONGEST_LABEL {
        return Err(WrongName::LongLabel);
    }
    wire.push(label.len() as u8);
    wire.append(label);
    Ok(())
}

fn escaped(bytes: &mut std::str::Bytes<'_>) -> Result<u8, WrongName> {
    let first = bytes.next().ok_or(WrongName::Escape)?;
    if !first.is_ascii_digit() {
        return Ok(first.to_ascii_lowercase());
    }
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(WrongName::Escape)?;
        value = value * 10 + u32::from(digit - b'0');
    }
    u8::try_from(value).map(|byte| byte.to_ascii_lowercase()).map_err(|_| WrongName::Escape)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, f)
    }
}

/// Room for one name in wire form without pointers.
#[derive(Clone)]
pub struct NameBuffer {
    bytes: [u8; LONGEST],
    len: u8,
}

impl NameBuffer {
    /// Room that holds the root.
    pub fn new() -> Self {
        Self { bytes: [0; LONGEST], len: 1 }
    }

    /// Reads the name at `at` of a message, its case kept, and answers where it ends there.
    ///
    /// A pointer must lead to before the labels that it follows; so every name ends.
    pub fn read(&mut self, message: &[u8], at: usize) -> Result<usize, Malformed> {
        const BROKEN: Malformed = Malformed("a name breaks off");
        // Most names have no pointer.
        if let Some(whole) = plain(message, at) {
            self.bytes[..whole.len()].copy_from_slice(whole);
            self.len = whole.len() as u8;
            return Ok(at + whole.len());
        }
        let (mut at, mut start, mut end, mut len) = (at, at, None, 0);
        loop {
            let first = *message.get(at).ok_or(BROKEN)?;
            if first & POINTER == POINTER {
                let low = *message.get(at + 1).ok_or(BROKEN)?;
                let to = usize::from(u16::from_be_bytes([first & !POINTER, low]));
                if to >= start {
                    return Err(Malformed("a pointer does not lead back"));
                }
                end.get_or_insert(at + 2);
                (at, start) = (to, to);
                continue;
            }
            if first & POINTER != 0 {
                return Err(Malformed("a label is of an unknown kind"));
            }
            let next = at + 1 + usize::from(first);
            let label = message.get(at..next).ok_or(BROKEN)?;
            let room = self.bytes.get_mut(len..len + label.len()).ok_or(Malformed("a name is too long"))?;
            room.copy_from_slice(label);
            len += label.len();
            at = next;
            if first == 0 {
                self.len = len as u8;
                return Ok(end.unwrap_or(at));
            }
        }
    }

    /// Makes it lower case. The lengths of labels are no letters.
    pub fn make_lower(&mut self) {
        self.bytes[..usize::from(self.len)].make_ascii_lowercase();
    }

    /// Answers the wire form.
    pub fn as_wire(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Answers it as a name to keep, in lower case.
    pub fn to_name(&self) -> Name {
        Name(self.as_wire().to_ascii_lowercase().into())
    }

    /// Answers whether it, in lower case, is `zone` or below it.
    pub fn is_within(&self, zone: &Name) -> bool {
        is_within(self.as_wire(), &zone.0)
    }

    /// Answers the labels, the leftmost first, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels(self.as_wire())
    }
}

impl Default for NameBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl From<&Name> for NameBuffer {
    fn from(name: &Name) -> Self {
        let mut buffer = Self::new();
        buffer.bytes[..name.0.len()].copy_from_slice(&name.0);
        buffer.len = name.0.len() as u8;
        buffer
    }
}

impl fmt::Display for NameBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(self.as_wire(), f)
    }
}

impl fmt::Debug for NameBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(self.as_wire(), f)
    }
}

/// Answers the name at `at` where it has no pointers and is well-formed.
fn plain(message: &[u8], at: usize) -> Option<&[u8]> {
    let mut end = at;
    loop {
        match *message.get(end)? {
            0 => return message.get(at..=end).filter(|whole| whole.len() <= LONGEST),
            len @ 1..=63 => end += usize::from(len) + 1,
            64.. => return None,
        }
    }
}

/// Answers the labels of a wire form without pointers.
pub(super) fn labels(mut wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = wire.split_first().filter(|(len, _)| **len != 0)?;
        let (label, rest) = rest.split_at_checked(usize::from(*len))?;
        wire = rest;
        Some(label)
    })
}

fn is_within(name: &[u8], zone: &[u8]) -> bool {
    let Some(above) = name.len().checked_sub(zone.len()) else { return false };
    if name[above..] != *zone {
        return false;
    }
    // The zone's first byte must be the length of a label, not a byte within one.
    let mut at = 0;
    while at < above {
        at += usize::from(name[at]) + 1;
    }
    at == above
}

fn write_text(wire: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if wire == [0] {
        return f.write_str(".");
    }
    for label in labels(wire) {
        for byte in label {
            match byte {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                    write!(f, "\\{}", char::from(*byte))?
                }
                b'!'..=b'~' => write!(f, "{}", char::from(*byte))?,
                byte => write!(f, "\\{byte:03}")?,
            }
        }
        f.write_str(".")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn texts_are_names() {
        let check = |text: &str, expected: &str| assert_eq!(name(text).to_string(), expected, "{text}");
        check(".", ".");
        check("", ".");
        check("Web.Default.svc", "web.default.svc.");
        check("a\\.b.c.", "a\\.b.c.");
        check("a\\065\\200", "aa\\200.");
        check("_http._tcp.x", "_http._tcp.x.");
        let wrong = |text: &str| text.parse::<Name>().unwrap_err();
        assert_eq!(wrong(".a"), WrongName::EmptyLabel);
        assert_eq!(wrong("a..b"), WrongName::EmptyLabel);
        assert_eq!(wrong(&"a".repeat(64)), WrongName::LongLabel);
        assert_eq!(wrong(&"abcdefg.".repeat(32)), WrongName::Long);
        assert_eq!(wrong("a\\25"), WrongName::Escape);
        assert_eq!(wrong("a\\256"), WrongName::Escape);
        assert_eq!(name(&format!("{}ab", "abcdefg.".repeat(31))).as_wire().len(), 252);
    }

    #[test]
    fn names_lie_within_zones() {
        let check = |text: &str, zone: &str, expected: bool| {
            assert_eq!(name(text).is_within(&name(zone)), expected, "{text} {zone}");
        };
        check("a.cluster.local", "cluster.local", true);
        check("cluster.local", "cluster.local", true);
        check("local", "cluster.local", false);
        check("acluster.local", "cluster.local", false);
        check("anything", ".", true);
        check(".", ".", true);
        // A label whose bytes look like the zone.
        check("x\\007cluster\\005local", "cluster.local", false);
    }

    #[test]
    fn pointers_lead_back_or_nowhere() {
        let check = |message: &[u8], at: usize, expected: Result<(&str, usize), &str>| {
            let mut buffer = NameBuffer::new();
            let found =
                buffer.read(message, at).map(|end| (buffer.to_string(), end)).map_err(|error| error.0);
            assert_eq!(found, expected.map(|(text, end)| (text.to_owned(), end)));
        };
        check(b"\x01A\x00\x01b\xc0\x00", 3, Ok(("b.A.", 7)));
        check(b"\x00\xc0\x00\xc0\x01", 3, Ok((".", 5)));
        check(b"\xc0\x00", 0, Err("a pointer does not lead back"));
        check(b"\x01a\xc0\x00", 0, Err("a pointer does not lead back"));
        check(b"\x01a\xc0\x04\x01b\xc0\x00", 4, Err("a pointer does not lead back"));
        check(b"\x01a\xc0\x09", 0, Err("a pointer does not lead back"));
        check(b"\x01a\xc0", 0, Err("a name breaks off"));
        check(b"\x02a", 0, Err("a name breaks off"));
        check(b"\x01a", 0, Err("a name breaks off"));
        check(b"", 0, Err("a name breaks off"));
        check(b"\x41a\x00", 0, Err("a label is of an unknown kind"));
        check(b"\x81a\x00", 0, Err("a label is of an unknown kind"));
        let long: Vec<u8> = [&[63; 64][..]; 4].concat();
        check(&long, 0, Err("a name is too long"));
    }
}
