//! Packets that are built and read by hand: SCTP INIT and INIT ACK, ICMP echo, bare TCP segments.

use std::net::{IpAddr, SocketAddr};

/// The chunk type of a request for an association.
pub(super) const INIT: u8 = 1;
/// The chunk type of its answer.
pub(super) const INIT_ACK: u8 = 2;
const COOKIE: u16 = 7;

/// An SCTP packet with one INIT or INIT ACK chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sctp {
    pub(super) source_port: u16,
    pub(super) port: u16,
    /// The verification tag of the receiver; 0 in an INIT.
    pub(super) receiver: u32,
    pub(super) kind: u8,
    /// The sender's own tag.
    pub(super) tag: u32,
    /// What an INIT ACK has as its cookie.
    pub(super) text: String,
}

impl Sctp {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(64 + self.text.len());
        packet.extend_from_slice(&self.source_port.to_be_bytes());
        packet.extend_from_slice(&self.port.to_be_bytes());
        packet.extend_from_slice(&self.receiver.to_be_bytes());
        packet.extend_from_slice(&[0; 4]);
        let parameter = if self.text.is_empty() { 0 } else { 4 + self.text.len() };
        packet.extend_from_slice(&[self.kind, 0]);
        packet.extend_from_slice(&((20 + parameter) as u16).to_be_bytes());
        packet.extend_from_slice(&self.tag.to_be_bytes());
        packet.extend_from_slice(&65_535_u32.to_be_bytes());
        packet.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 1]);
        if parameter > 0 {
            packet.extend_from_slice(&COOKIE.to_be_bytes());
            packet.extend_from_slice(&(parameter as u16).to_be_bytes());
            packet.extend_from_slice(self.text.as_bytes());
        }
        packet.resize(packet.len().next_multiple_of(4), 0);
        let sum = crc32c(&packet);
        packet[8..12].copy_from_slice(&sum.to_le_bytes());
        packet
    }

    /// Reads a packet; `None` when it is too short to hold such a chunk.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let short = |at: usize| packet.get(at..)?.first_chunk::<2>().map(|b| u16::from_be_bytes(*b));
        let long = |at: usize| packet.get(at..)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
        let (kind, length) = (*packet.get(12)?, usize::from(short(14)?));
        let cookie = || {
            let is_cookie = length > 24 && short(32)? == COOKIE;
            let text = packet.get(36..32 + usize::from(short(34)?))?;
            is_cookie.then(|| String::from_utf8_lossy(text).into_owned())
        };
        packet.get(..32)?;
        Some(Self {
            source_port: short(0)?,
            port: short(2)?,
            receiver: long(4)?,
            kind,
            tag: long(16)?,
            text: cookie().unwrap_or_default(),
        })
    }
}

/// CRC-32C, bit by bit: packets are tiny.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// The Internet checksum. An odd part counts as if a zero followed it.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts
        .iter()
        .flat_map(|part| part.chunks(2))
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let mut sum: u32 = words.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An echo request. The kernel computes the checksum of IPv6 ones.
pub(super) fn echo_request(ipv6: bool, id: u16, sequence: u16) -> Vec<u8> {
    let mut packet = vec![if ipv6 { 128 } else { 8 }, 0, 0, 0];
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(b"signalbox-echo..");
    if !ipv6 {
        let sum = checksum(&[&packet]);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// A bare IPv4 TCP segment with its IP header; `None` for IPv6.
pub(super) fn tcp_segment(
    (from, to): (SocketAddr, SocketAddr),
    (sequence, ack): (u32, u32),
    flags: u8,
) -> Option<Vec<u8>> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.ip(), to.ip()) else { return None };
    let (source, destination) = (source.octets(), destination.octets());
    let mut segment = Vec::with_capacity(20);
    segment.extend_from_slice(&from.port().to_be_bytes());
    segment.extend_from_slice(&to.port().to_be_bytes());
    segment.extend_from_slice(&sequence.to_be_bytes());
    segment.extend_from_slice(&ack.to_be_bytes());
    segment.extend_from_slice(&[5 << 4, flags, 4, 0, 0, 0, 0, 0]);
    let pseudo = [source, destination, [0, 6, 0, 20]].concat();
    let sum = checksum(&[&pseudo, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
    packet.extend_from_slice(&source);
    packet.extend_from_slice(&destination);
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&segment);
    Some(packet)
}

/// A TCP segment that came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) source_port: u16,
    pub(super) port: u16,
    pub(super) sequence: u32,
    pub(super) ack: u32,
    /// Bytes of content.
    pub(super) length: usize,
}

impl Segment {
    /// Reads an IPv4 packet with a TCP segment in it.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let header = usize::from(packet.first()? & 15) * 4;
        let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?])).min(packet.len());
        let segment = packet.get(header..)?.first_chunk::<20>()?;
        let offset = usize::from(segment[12] >> 4) * 4;
        let long =
            |at: usize| u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
        Some(Self {
            source_port: u16::from_be_bytes([segment[0], segment[1]]),
            port: u16::from_be_bytes([segment[2], segment[3]]),
            sequence: long(4),
            ack: long(8),
            length: total.checked_sub(header + offset)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sctp_packets_are_read_back() {
        for text in ["", "a1 10.0.0.1:5 10.0.0.2:9999"] {
            let kind = if text.is_empty() { INIT } else { INIT_ACK };
            let packet =
                Sctp { source_port: 5, port: 9999, receiver: 7, kind, tag: 99, text: text.to_owned() };
            assert_eq!(Sctp::read(&packet.bytes()), Some(packet.clone()));
            assert_eq!(Sctp::read(&packet.bytes()[..20]), None);
        }
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn tcp_segments_are_read_back() {
        let ends = ("10.0.0.1:1000".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
        let packet = tcp_segment(ends, (17, 18), 16).unwrap();
        let read = Segment { source_port: 1000, port: 80, sequence: 17, ack: 18, length: 0 };
        assert_eq!(Segment::read(&packet), Some(read));
        assert_eq!(checksum(&[&packet[..20]]), 0, "a header with its checksum sums up to nothing");
    }
}
