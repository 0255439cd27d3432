//! Objects of every type, through every encoding and back.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use super::protobuf::{self, Envelope};
use super::{canonical, go};
use crate::schema::{Schema, Shape, TypeId};

fn id(name: &str) -> TypeId {
    Schema::get().find(name).unwrap_or_else(|| panic!("{name} is no type"))
}

/// Draws numbers out of the bytes that proptest gives, so that it can make them smaller.
struct Dice {
    bytes: Vec<u8>,
    at: usize,
}

impl Dice {
    fn roll(&mut self, sides: u8) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte % sides
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::from(self.roll(u8::try_from(from.len()).unwrap()))].clone()
    }

    fn value(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Text => {
                self.pick(&["", "a", "true", "10.0.0.1", "ž\u{1F40E}", "two\nlines", " x: y"]).into()
            }
            Shape::Bool => (self.roll(2) == 0).into(),
            Shape::Int32 => self.pick(&[0, 1, -1, 80, i32::MAX, i32::MIN]).into(),
            Shape::Int64 => self.pick(&[0, 1, -1, 1 << 40, i64::MAX, i64::MIN]).into(),
            Shape::Double => self.pick(&[0.5, -1.25]).into(),
            Shape::Bytes => self.pick(&["", "eA==", "AAEC/w=="]).into(),
            Shape::Time => {
                self.pick(&["1970-01-01T00:00:00Z", "2026-11-23T14:06:07Z", "1950-01-01T23:59:59Z"]).into()
            }
            Shape::MicroTime => {
                self.pick(&["2026-11-23T14:06:07.000250Z", "1970-01-01T00:00:00.000000Z"]).into()
            }
            Shape::Quantity => self.pick(&["0", "100m", "1Gi", "1500", "-1"]).into(),
            Shape::IntOrString => self.pick(&[json!(0), json!(80), json!("http"), json!(""), json!(-1)]),
            Shape::Fields | Shape::Raw => {
                self.pick(&[json!({}), json!({"f:spec": {".": {}, "n": [1, null]}})])
            }
            Shape::Object(id) => Value::Object(self.object(*id)),
            Shape::List(of) => (0..self.roll(3)).map(|_| self.value(of)).collect(),
            Shape::Map(of) => {
                let keys = ["", "a", "kubernetes.io/x"];
                Value::Object(
                    (0..self.roll(3)).map(|_| (self.pick(&keys).to_owned(), self.value(of))).collect(),
                )
            }
        }
    }

    fn object(&mut self, id: TypeId) -> Map<String, Value> {
        let mut object = Map::new();
        for (name, member) in &go::fields_of(id).flat {
            if member.field.number > 0 && self.roll(3) == 0 {
                object.insert((*name).to_owned(), self.value(&member.field.shape));
            }
        }
        object
    }
}

/// Runs a check on objects of every type, in their canonical form.
fn check_every_type(check: impl Fn(TypeId, &'static str, &Value)) {
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let dice = proptest::collection::vec(any::<u8>(), 0..600);
    for (id, kind) in Schema::get().types() {
        runner
            .run(&dice, |bytes| {
                let mut object = Value::Object(Dice { bytes, at: 0 }.object(id));
                canonical(&mut object, id);
                check(id, kind.name, &object);
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{}: {error}", kind.name));
    }
}

#[test]
fn protobuf_gives_every_object_back() {
    check_every_type(|id, name, object| {
        let bytes = protobuf::encode(object, id);
        assert_eq!(protobuf::decode(&bytes, id).as_ref(), Ok(object), "{name}");
        assert_eq!(protobuf::encode(&protobuf::decode(&bytes, id).unwrap(), id), bytes, "{name}");
    });
}

#[test]
fn canonical_objects_stay_as_they_are() {
    check_every_type(|id, name, object| {
        let mut again = object.clone();
        canonical(&mut again, id);
        assert_eq!(again, *object, "{name}");
    });
}

#[test]
fn broken_protobuf_is_an_error_and_no_panic() {
    let types: Vec<TypeId> = Schema::get().types().map(|(id, _)| id).collect();
    let mut runner = TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() });
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    runner
        .run(&(bytes, 0..types.len(), any::<u8>()), |(mut bytes, at, flip)| {
            let _ = protobuf::decode(&bytes, types[at]);
            let _ = Envelope::open(&bytes);
            let mut valid = protobuf::encode(
                &Value::Object(Dice { bytes: bytes.clone(), at: 0 }.object(types[at])),
                types[at],
            );
            if let Some(byte) = bytes.pop().and_then(|place| {
                let length = valid.len().max(1);
                valid.get_mut(usize::from(place) % length)
            }) {
                *byte ^= flip;
            }
            if let Ok(object) = protobuf::decode(&valid, types[at]) {
                let again = protobuf::decode(&protobuf::encode(&object, types[at]), types[at]);
                prop_assert_eq!(again, Ok(object));
            }
            Ok(())
        })
        .unwrap();
}
