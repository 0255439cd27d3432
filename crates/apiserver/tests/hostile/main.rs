//! Bad input of every sort, the same in each run: the recorded requests, and what a seed makes of them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod bodies;
mod limits;
mod recorded;
mod requests;

use apiserver::chance::Chance;

/// How many changed inputs are played; fuzzing plays more.
const PLAYED: usize = 400;
/// How many changed bodies are read.
const READ: usize = 20_000;

#[test]
fn recorded_requests_are_answered_and_leave_the_store_whole() {
    let sent: usize = recorded::inputs().iter().map(|(_, input)| requests::play(input)).sum();
    assert!(sent > 800, "{sent} requests were sent");
}

#[test]
fn what_is_nested_deeply_is_refused_or_can_be_changed_and_deleted() {
    for levels in [1, 50, 100, 110, 115, 116, 117, 118, 120, 127, 128, 200, 400, 100_000] {
        let nested = format!("{}{{}}{}", "{\"f:a\":".repeat(levels), "}".repeat(levels));
        let path = "/api/v1/namespaces/default/configmaps";
        let create = format!(
            "POST {path}\n\n{{\"metadata\":{{\"name\":\"deep\",\"managedFields\":[{{\"manager\":\"m\",\"operation\":\"Update\",\
             \"apiVersion\":\"v1\",\"time\":\"2020-01-01T00:00:00Z\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{nested}}}]}}}}"
        );
        let patch = format!(
            "PATCH {path}/deep\ncontent-type: application/merge-patch+json\n\n{{\"data\":{{\"a\":\"b\"}}}}"
        );
        let wide = format!("POST {path}\n\n{}{}", "{\"metadata\":".repeat(levels), "[".repeat(levels));
        let input = [create, patch, wide].map(String::into_bytes).join(requests::BETWEEN);
        assert_eq!(requests::play(&input), 3);
    }
}

#[test]
fn numbers_end_at_the_largest() {
    let path = "/api/v1/namespaces/default/configmaps";
    let largest = i64::MAX;
    let create = format!(
        "POST {path}\n\n{{\"metadata\":{{\"name\":\"last\",\"generation\":{largest},\"finalizers\":[\"x.io/a\"]}}}}"
    );
    let input = [create, format!("DELETE {path}/last\n\n")].map(String::into_bytes).join(requests::BETWEEN);
    assert_eq!(requests::play(&input), 2);
}

#[test]
fn changed_requests_are_answered_and_leave_the_store_whole() {
    let seeds = recorded::inputs();
    let mut chance = Chance::new(*b"changed requests");
    let mut sent = 0;
    for _ in 0..PLAYED {
        let (_, seed) = &seeds[pick(&mut chance, seeds.len())];
        let (_, other) = &seeds[pick(&mut chance, seeds.len())];
        let mut input = spliced(&mut chance, seed, other);
        changed(&mut chance, &mut input);
        sent += requests::play(&input);
    }
    assert!(sent > PLAYED, "{sent} requests were sent");
}

#[test]
fn what_one_language_accepts_every_language_can_say() {
    let inputs = recorded::inputs();
    let seeds: Vec<_> = inputs.iter().flat_map(|(_, input)| recorded::bodies(input)).collect();
    assert!(seeds.len() > 1000, "{}", seeds.len());
    let mut chance = Chance::new(*b"changed bodies..");
    let mut accepted = 0;
    for _ in 0..READ {
        let mut input = seeds[pick(&mut chance, seeds.len())].clone();
        let (kind, how) = (input[0], input[1]);
        changed(&mut chance, &mut input);
        input.resize(input.len().max(2), 0);
        (input[0], input[1]) = (kind, how);
        accepted += usize::from(bodies::read(&input));
    }
    assert!(accepted > READ / 20 && accepted < READ, "{accepted} of {READ} were accepted");
}

fn pick(chance: &mut Chance, below: usize) -> usize {
    usize::try_from(chance.below(below.max(1) as u64)).unwrap()
}

/// Some requests of one input and some of another.
fn spliced(chance: &mut Chance, one: &[u8], other: &[u8]) -> Vec<u8> {
    let (one, other) = (requests::parts(one), requests::parts(other));
    let (end, begin) = (pick(chance, one.len() + 1), pick(chance, other.len() + 1));
    [&one[..end], &other[begin..]].concat().join(requests::BETWEEN)
}

/// Pieces that mean something to somebody.
const PIECES: [&[u8]; 24] = [
    b"\0",
    b"\xff",
    b"\"",
    b"{}",
    b"[]",
    b"null",
    b"-1",
    b"0",
    b"65536",
    b"9223372036854775808",
    b"1e400",
    b"\\ud800",
    b"%2F",
    b"%00",
    b"..",
    b"&*a",
    b"!!binary ",
    b"\xf0\x9f\x9a\x82",
    b"255.255.255.255",
    b"::",
    b"metadata",
    b"$patch",
    b"kubernetes",
    b"default",
];

/// Changes a few bytes.
fn changed(chance: &mut Chance, bytes: &mut Vec<u8>) {
    for _ in 0..=chance.below(4) {
        let at = pick(chance, bytes.len() + 1);
        let end = (at + pick(chance, 9)).min(bytes.len());
        match chance.below(5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..end, PIECES[pick(chance, PIECES.len())].iter().copied())),
            2 => {
                let copied: Vec<u8> = bytes[at..end].to_vec();
                let to = pick(chance, bytes.len() + 1);
                drop(bytes.splice(to..to, copied));
            }
            3 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            _ if at < bytes.len() => bytes[at] = u8::try_from(chance.below(256)).unwrap_or_default(),
            _ => {}
        }
    }
}
