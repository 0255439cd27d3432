//! Numbers of `linux/netfilter/nf_tables.h` and of the comments and types that `nft` keeps in user data
//! (`libnftnl/udata.h`).

use model::Family;

pub(super) const SUBSYSTEM: u16 = 10;
pub(super) const BATCH_BEGIN: u16 = 0x10;
pub(super) const BATCH_END: u16 = 0x11;

pub(super) const NEW_TABLE: u16 = 0;
pub(super) const GET_TABLE: u16 = 1;
pub(super) const DEL_TABLE: u16 = 2;
pub(super) const NEW_CHAIN: u16 = 3;
pub(super) const GET_CHAIN: u16 = 4;
pub(super) const DEL_CHAIN: u16 = 5;
pub(super) const NEW_RULE: u16 = 6;
pub(super) const GET_RULE: u16 = 7;
pub(super) const DEL_RULE: u16 = 8;
pub(super) const NEW_SET: u16 = 9;
pub(super) const GET_SET: u16 = 10;
pub(super) const DEL_SET: u16 = 11;
pub(super) const NEW_ELEMENT: u16 = 12;
pub(super) const GET_ELEMENT: u16 = 13;
pub(super) const GET_GENERATION: u16 = 16;
pub(super) const DEL_ELEMENT: u16 = 14;
pub(super) const NEW_GENERATION: u16 = 15;
/// Since Linux 6.3: like `DEL_ELEMENT`, but a missing element is no error.
pub(super) const DESTROY_ELEMENT: u16 = 30;

pub(super) const SET_INTERVAL: u32 = 0x4;
pub(super) const SET_MAP: u32 = 0x8;
pub(super) const SET_TIMEOUT: u32 = 0x10;
pub(super) const SET_EVAL: u32 = 0x20;
pub(super) const SET_CONCAT: u32 = 0x80;
pub(super) const DATA_VERDICT: u32 = 0xffff_ff00;

pub(super) const VERDICT_DROP: i32 = 0;
pub(super) const VERDICT_ACCEPT: i32 = 1;
pub(super) const VERDICT_JUMP: i32 = -3;
pub(super) const VERDICT_GOTO: i32 = -4;
pub(super) const VERDICT_RETURN: i32 = -5;

/// The header that every nfnetlink message has behind the netlink header.
pub(super) fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// A message type of this subsystem.
pub(super) fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

/// The number of a family in netfilter.
pub(super) fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// A comment as `nft` keeps it: type, length, text with its closing zero. Cut at the 255 bytes a length can say.
pub(super) fn comment(kind: u8, text: &str) -> Vec<u8> {
    let mut end = text.len().min(126);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    let mut bytes = vec![kind, text.len() as u8 + 1];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Reads such a comment.
pub(super) fn read_comment(kind: u8, mut bytes: &[u8]) -> Option<String> {
    while let [found, length, rest @ ..] = bytes {
        let value = rest.get(..usize::from(*length))?;
        if *found == kind {
            return Some(crate::netlink::text(value).to_owned());
        }
        bytes = &rest[usize::from(*length)..];
    }
    None
}
