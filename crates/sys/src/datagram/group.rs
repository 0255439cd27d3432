//! Which answers of a batch are one for the kernel: those to one client that have one length, and one shorter at the end.
//!
//! A C library asks for A and AAAA at a time from one socket, so that is what two answers in a batch often are.

use std::mem;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use super::BATCH;
/// The room that [`write_segment`] takes.
pub(super) const SEGMENT: usize = 24;
/// The bytes of a group; UDP has at most 65,507.
const MOST: usize = 60_000;

/// Groups of answers, each in the order in which it is sent.
#[derive(Debug)]
pub(super) struct Groups {
    groups: [Group; BATCH],
    count: usize,
    /// Who comes after each answer in its group.
    next: [u8; BATCH],
}

#[derive(Debug, Clone, Copy, Default)]
struct Group {
    first: u8,
    last: u8,
    count: u8,
    /// Nothing may come after a shorter one.
    is_full: bool,
    size: usize,
}

impl Groups {
    /// Groups answers of these lengths, 0 for none; `is_same` says whether two of them go to one client.
    pub(super) fn of(lengths: &[usize], is_same: impl Fn(usize, usize) -> bool) -> Self {
        let mut groups = Self { groups: [Group::default(); BATCH], count: 0, next: [0; BATCH] };
        for (number, len) in lengths.iter().copied().enumerate().filter(|(_, len)| *len > 0) {
            let all = groups.groups[..groups.count].iter_mut();
            let fitting =
                all.filter(|group| group.takes(len)).find(|group| is_same(group.first.into(), number));
            match fitting {
                Some(group) => group.add(number as u8, len, &mut groups.next),
                None => groups.begin(number as u8, len),
            }
        }
        groups
    }

    /// Has a group for each answer.
    pub(super) fn single(lengths: &[usize]) -> Self {
        Self::of(lengths, |_, _| false)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Answers the number of a group's first answer.
    pub(super) fn head(&self, group: usize) -> usize {
        self.groups[group].first.into()
    }

    /// Answers the numbers of a group's answers.
    pub(super) fn members(&self, group: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let (group, next) = (self.groups[group], self.next);
        let mut at = group.first;
        (0..group.count).map(move |_| {
            let number = usize::from(at);
            at = next[number];
            number
        })
    }

    /// Answers where the kernel has to cut a group; `None` where it is one answer alone.
    pub(super) fn segment(&self, group: usize) -> Option<u16> {
        let group = &self.groups[group];
        (group.count > 1).then_some(group.size as u16)
    }

    fn begin(&mut self, number: u8, size: usize) {
        self.groups[self.count] = Group { first: number, last: number, count: 1, is_full: false, size };
        self.count += 1;
    }
}

impl Group {
    fn takes(&self, len: usize) -> bool {
        let is_fitting = len <= self.size || self.count == 1;
        !self.is_full && is_fitting && self.size.max(len) * (usize::from(self.count) + 1) <= MOST
    }

    fn add(&mut self, number: u8, len: usize, next: &mut [u8; BATCH]) {
        self.is_full = len != self.size;
        self.count += 1;
        if len > self.size {
            next[usize::from(number)] = self.first;
            (self.first, self.size) = (number, len);
        } else {
            next[usize::from(self.last)] = number;
            self.last = number;
        }
    }
}

/// Answers whether the kernel knows UDP_SEGMENT; one that does not would send all answers as one.
pub(super) fn is_known(socket: &UdpSocket) -> bool {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    let (pointer, option) = ((&raw mut value).cast(), libc::UDP_SEGMENT);
    // SAFETY: the pointer and the length are those of `value`.
    unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_UDP, option, pointer, &raw mut len) == 0 }
}

/// Writes the control message UDP_SEGMENT behind others of this length; answers the length of all.
pub(super) fn write_segment(control: &mut [u8], at: usize, size: u16) -> usize {
    // Where the kernel looks for the next message.
    let at = at.next_multiple_of(size_of::<usize>());
    let room = &mut control[at..at + SEGMENT];
    // SAFETY: all zeroes are a valid value.
    let mut head: libc::cmsghdr = unsafe { mem::zeroed() };
    // SAFETY: both only compute.
    let (len, space) = unsafe { (libc::CMSG_LEN(2), libc::CMSG_SPACE(2)) };
    head.cmsg_len = len as _;
    head.cmsg_level = libc::SOL_UDP;
    head.cmsg_type = libc::UDP_SEGMENT;
    // SAFETY: the room is longer than a header.
    unsafe { room.as_mut_ptr().cast::<libc::cmsghdr>().write_unaligned(head) };
    let data = size_of::<libc::cmsghdr>();
    room[data..data + 2].copy_from_slice(&size.to_ne_bytes());
    at + space as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers are written as a client and a length: `a100`.
    fn check(answers: &str, expected: &str) {
        let answers: Vec<(u8, usize)> =
            answers.split(' ').map(|text| (text.as_bytes()[0], text[1..].parse().unwrap())).collect();
        let lengths: Vec<usize> = answers.iter().map(|(_, len)| *len).collect();
        let groups = Groups::of(&lengths, |one, other| answers[one].0 == answers[other].0);
        let shown = (0..groups.len()).map(|group| {
            let members: Vec<String> = groups.members(group).map(|number| number.to_string()).collect();
            assert_eq!(groups.head(group), groups.members(group).next().unwrap());
            match groups.segment(group) {
                Some(size) => format!("{} by {size}", members.join("+")),
                None => members.join("+"),
            }
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expected, "{answers:?}");
    }

    #[test]
    fn answers_to_one_client_go_together() {
        check("a100", "0");
        check("a100 b100", "0 1");
        check("a100 b100 a100 b100 a100", "0+2+4 by 100 1+3 by 100");
        // One shorter may be the last, and what comes first may be that one.
        check("a100 a90 a100", "0+1 by 100 2");
        check("a90 a100 a90 a90", "1+0 by 100 2+3 by 90");
        check("a90 a90 a100", "0+1 by 90 2");
        check("a0 a90 b0 a90", "1+3 by 90");
        check("a30000 a30000 a30000", "0+1 by 30000 2");
    }
}
