//! Any bytes: nothing panics, and what is written is read back.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
    }

    /// Bytes that look like a message get further.
    #[test]
    fn broken_messages_are_read(
        counts in [0u8..3, 0..3, 0..3, 0..3],
        body in prop::collection::vec(prop_oneof![0u8..8, Just(0xc0), Just(12), any::<u8>()], 0..200),
    ) {
        let mut bytes = vec![0, 1, 1, 0];
        bytes.extend(counts.iter().flat_map(|count| [0, *count]));
        bytes.extend(b"\x01a\x01b\x00\x00\x01\x00\x01");
        bytes.extend(body);
        read_everything(&bytes);
    }

    #[test]
    fn names_survive_text(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8)) {
        let name = Name::of_labels(labels.iter().map(Vec::as_slice), &Name::root()).unwrap();
        prop_assert_eq!(name.to_string().parse::<Name>().unwrap(), name);
    }
}

fn read_everything(bytes: &[u8]) {
    let mut out = [0; 600];
    match Query::read(bytes) {
        Err(Unanswerable::Drop(_)) => {}
        Err(Unanswerable::Refuse(rcode, _)) => assert!(Reply::refuse(bytes, rcode, &mut out, 1232) >= HEADER),
        Ok(query) => {
            let reply = Reply::to(&query, &mut out, query.udp_size(), 1232).unwrap();
            let len = reply.finish();
            let answer = Message::read(&out[..len]).unwrap();
            assert!(answer.is_about(&query));
            assert!(answer.records().all(|record| record.is_ok()));
        }
    }
    let Ok(message) = Message::read(bytes) else { return };
    let _ = message.rcode();
    for record in message.records().filter_map(Result::ok) {
        let mut name = NameBuffer::new();
        let _ = (record.read_name(&mut name), record.read_target(&mut name), record.negative_ttl());
        copy(&record);
    }
}

/// A copied record has the name and, where that is a name, the target of the original.
fn copy(record: &Record<'_>) {
    let (mut asked, mut out) = ([0; 100], [0; 70_000]);
    let len = write_query(&mut asked, (1, 0), (b"\x01b\x00", Type::A), None).unwrap();
    let query = Query::read(&asked[..len]).unwrap();
    let mut reply = Reply::to(&query, &mut out, LONGEST, 1232).unwrap();
    if reply.push_copy(record.section, record, record.ttl) != Ok(true) {
        return;
    }
    let len = reply.finish();
    let copy = Message::read(&out[..len]).unwrap().records().next().unwrap().unwrap();
    let (mut one, mut other) = (NameBuffer::new(), NameBuffer::new());
    record.read_name(&mut one).unwrap();
    copy.read_name(&mut other).unwrap();
    assert_eq!(one.as_wire(), other.as_wire());
    if record.kind == Type::CNAME && record.read_target(&mut one).is_ok() {
        copy.read_target(&mut other).unwrap();
        assert_eq!(one.as_wire(), other.as_wire());
    }
}
