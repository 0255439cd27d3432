//! Cookies (RFC 7873), in the one form that servers of all makers share (RFC 9018): who shows the server's half was sent it
//! before, so the address is no forgery. Pure.
//!
//! What this does *not* do: refuse those without. It is only rates that do not apply to those with one.

use std::hash::Hasher;
use std::net::IpAddr;

use ring::rand::SecureRandom;

use crate::wire::{COOKIE, COOKIE_ROOM, HEADER, Query, Type};

/// The length of a client's half.
const CLIENT: usize = 8;
/// The length of both halves: the server's has version, three bytes for nothing, time and hash.
const WHOLE: usize = 24;
/// The only version.
const VERSION: u8 = 1;
/// RFC 9018, section 4.3: how many seconds old a half may be ..
const OLDEST: i32 = 3600;
/// .. how old it is when the clock of who made it is ahead ..
const YOUNGEST: i32 = -300;
/// .. and when it is renewed.
const RENEWED: i32 = 1800;
/// The length of an OPT record without options.
const OPT: usize = 11;

/// What the server's halves of cookies are made with.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieSecret([u8; 16]);

impl CookieSecret {
    /// One that nobody else has.
    pub fn random() -> Self {
        let mut secret = [0; 16];
        // Without chance in the machine there is no TLS either.
        let filled = ring::rand::SystemRandom::new().fill(&mut secret);
        filled.expect("the kernel has random numbers");
        Self(secret)
    }
}

impl std::fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CookieSecret").finish_non_exhaustive()
    }
}

/// The cookie that a query shows, and who shows it.
pub(super) struct Shown<'a> {
    pub(super) cookies: &'a Cookies,
    pub(super) cookie: &'a [u8],
    /// The client, and the time in seconds since 1970.
    pub(super) who: (IpAddr, u32),
}

impl Shown<'_> {
    /// Answers whether the client has its address for sure.
    pub(super) fn is_known(&self) -> bool {
        self.cookies.age(self.cookie, self.who).is_some()
    }

    /// Adds both halves to an answer that ends with an OPT record, and answers its length. A half that is not old stays.
    pub(super) fn stamp(&self, out: &mut [u8], len: usize) -> usize {
        if !out.get(..len).is_some_and(|answer| len >= HEADER + OPT && is_bare(answer)) {
            return len;
        }
        let Some(room) = out.get_mut(len - 2..len + COOKIE_ROOM) else { return len };
        room[..2].copy_from_slice(&(COOKIE_ROOM as u16).to_be_bytes());
        room[2..4].copy_from_slice(&COOKIE.to_be_bytes());
        room[4..6].copy_from_slice(&(WHOLE as u16).to_be_bytes());
        room[6..].copy_from_slice(&self.cookies.renewed(self.cookie, self.who));
        len + COOKIE_ROOM
    }
}

/// What makes and knows the server's half. Servers with one secret know each other's.
#[derive(Debug, Clone)]
pub(super) struct Cookies {
    secret: [u64; 2],
}

/// Answers the cookie that a query has. Costs next to nothing for one that has none.
pub(super) fn cookie_of(message: &[u8]) -> Option<&[u8]> {
    let has_additional = *message.get(HEADER - 1)? != 0;
    if !has_additional || is_bare(message) {
        return None;
    }
    Query::read(message).ok()?.edns?.cookie
}

/// Answers whether a message ends with an OPT record without options.
fn is_bare(message: &[u8]) -> bool {
    let Some(opt) = message.last_chunk::<OPT>() else { return false };
    opt[..3] == [0, 0, Type::OPT.0 as u8] && opt[9..] == [0, 0]
}

impl Cookies {
    /// What makes cookies with this secret.
    pub(super) fn new(CookieSecret(secret): &CookieSecret) -> Self {
        let (low, high) = secret.split_at(8);
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("half of sixteen bytes"));
        Self { secret: [word(low), word(high)] }
    }

    /// Answers both halves as they are sent.
    fn renewed(&self, cookie: &[u8], (client, now): (IpAddr, u32)) -> [u8; WHOLE] {
        let mut whole = [0; WHOLE];
        if self.age(cookie, (client, now)).is_some_and(|age| age <= RENEWED) {
            whole.copy_from_slice(cookie);
            return whole;
        }
        whole[..CLIENT].copy_from_slice(&cookie[..CLIENT]);
        whole[CLIENT] = VERSION;
        whole[12..16].copy_from_slice(&now.to_be_bytes());
        let hash = self.hash(&whole[..16], client);
        whole[16..].copy_from_slice(&hash);
        whole
    }

    /// Answers how old the server's half is, where there is one that is right and of its time.
    fn age(&self, cookie: &[u8], (client, now): (IpAddr, u32)) -> Option<i32> {
        let cookie: &[u8; WHOLE] = cookie.try_into().ok()?;
        let made = u32::from_be_bytes([cookie[12], cookie[13], cookie[14], cookie[15]]);
        // Seconds go round after 136 years (RFC 1982).
        let age = now.wrapping_sub(made) as i32;
        let is_right = cookie[CLIENT] == VERSION && self.hash(&cookie[..16], client) == cookie[16..];
        (is_right && (YOUNGEST..=OLDEST).contains(&age)).then_some(age)
    }

    /// Four words and an address: what differs is not found by measuring the time of a comparison of eight bytes.
    #[allow(deprecated, reason = "it stays SipHash-2-4, which the other hashers of the library need not")]
    fn hash(&self, head: &[u8], client: IpAddr) -> [u8; 8] {
        let mut hasher = std::hash::SipHasher::new_with_keys(self.secret[0], self.secret[1]);
        hasher.write(head);
        match client {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        hasher.finish().to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn cookies(secret: &str) -> Cookies {
        Cookies::new(&CookieSecret(bytes(secret).try_into().unwrap()))
    }

    /// RFC 9018, appendix A: what all servers must make of the same.
    #[test]
    fn cookies_are_those_of_all_servers() {
        let secret = "e5e973e5a6b2a43f48e7dc849e37bfcf";
        let v6 = "2001:db8:220:1:59de:d0f4:8769:82b8";
        let first = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let check = |secret, client: &str, now, (shown, expected): (&str, &str)| {
            let found = cookies(secret).renewed(&bytes(shown), (client.parse().unwrap(), now));
            assert_eq!(found.to_vec(), bytes(expected), "{client}");
        };
        check(secret, "198.51.100.100", 0x5cf7_9f11, ("2464c4abcf10c957", first));
        let second = "2464c4abcf10c957010000005cf7a871d4a564a1442aca77";
        check(secret, "198.51.100.100", 0x5cf7_a871, (first, second));
        // The bytes for nothing are no mistake when they are something.
        let other = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
        check(secret, "203.0.113.203", 0x5cf7_8f71, (other, other));
        let old = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        check("dd3bdf9344b678b185a6f5cb60fca715", v6, 0x5cf7_c579, (old, old));
        let new = "22681ab97d52c298010000005cf7c609a6bb79d16625507a";
        check("445536bcd2513298075a5d379663c962", v6, 0x5cf7_c609, (old, new));
    }

    #[test]
    fn a_cookie_is_for_its_client_and_its_hour() {
        let cookies = cookies("e5e973e5a6b2a43f48e7dc849e37bfcf");
        let client: IpAddr = "198.51.100.100".parse().unwrap();
        let made = 1_559_731_985;
        let cookie = cookies.renewed(&bytes("2464c4abcf10c957"), (client, made));
        let check = |client, now: u32, expected| {
            let is_known = cookies.age(&cookie, (client, now)).is_some();
            let found = (is_known, cookies.renewed(&cookie, (client, now)) == cookie);
            assert_eq!(found, expected, "{client} {now}");
        };
        check(client, made, (true, true));
        check(client, made - 300, (true, true));
        check(client, made - 301, (false, false));
        check(client, made + 1800, (true, true));
        check(client, made + 1801, (true, false));
        check(client, made + 3600, (true, false));
        check(client, made + 3601, (false, false));
        check("198.51.100.101".parse().unwrap(), made, (false, false));
        for at in 0..WHOLE {
            let mut other = cookie;
            other[at] ^= 1;
            assert_eq!(cookies.age(&other, (client, made)), None, "byte {at}");
        }
        assert_eq!(cookies.age(&cookie[..8], (client, made)), None);
        assert_eq!(cookies.age(&[&cookie[..], &[0; 8]].concat(), (client, made)), None);
    }

    #[test]
    fn only_answers_with_an_opt_record_get_one() {
        let cookies = Cookies::new(&CookieSecret([7; 16]));
        let who = ("10.0.0.1".parse().unwrap(), 1000);
        let shown = Shown { cookies: &cookies, cookie: b"abcdefgh", who };
        let stamp = |answer: &[u8], room: usize| {
            let mut out = answer.to_vec();
            out.resize(room, 0);
            let len = shown.stamp(&mut out, answer.len());
            out[..len].to_vec()
        };
        let answer = [&[0; HEADER][..], b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00"].concat();
        let stamped = stamp(&answer, 100);
        assert_eq!((stamped.len(), &stamped[21..27]), (51, &b"\x00\x1c\x00\x0a\x00\x18"[..]));
        assert_eq!(&stamped[27..35], b"abcdefgh");
        assert_eq!(stamp(&answer, 50), answer);
        assert_eq!(stamp(&answer[..HEADER], 100), &answer[..HEADER]);
        assert_eq!(stamp(&stamped, 200), stamped);
    }
}
