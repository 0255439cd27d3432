//! A DNS server that knows one name (RFC 1035), to see that a static program asks one.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

const TYPE_A: [u8; 2] = [0, 1];

/// Answers queries until the socket fails: the address for the name, nothing for other types, "no such name" for others.
pub(super) fn serve(socket: &UdpSocket, name: &str, address: Ipv4Addr) -> io::Result<()> {
    let mut query = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut query)?;
        if let Some(answer) = answer(&query[..length], name, address) {
            socket.send_to(&answer, from)?;
        }
    }
}

/// `None` for what is no query.
fn answer(query: &[u8], known: &str, address: Ipv4Addr) -> Option<Vec<u8>> {
    let (name, end) = question(query)?;
    let kind = query.get(end..end + 2)?;
    let is_known = name.eq_ignore_ascii_case(known);
    let has_answer = is_known && kind == TYPE_A;
    let mut answer = query.get(..2)?.to_vec();
    // A response, with recursion, "no such name" where that is so; one question, at most one answer.
    answer.extend([0x81, if is_known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(has_answer), 0, 0, 0, 0]);
    answer.extend(query.get(12..end + 4)?);
    if has_answer {
        // The name of the question, type A, class IN, a minute, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The name that is asked for and where it ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        let label = query.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(label).into_owned());
    }
}
