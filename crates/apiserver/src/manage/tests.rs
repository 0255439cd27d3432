//! What holds for any objects of any kind, and for whatever clients may send.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::compare::Changes;
use super::entries::{Entries, Id, Operation};
use super::set::Set;
use super::typed::{At, said, with_named};
use super::{Configuration, Manager, apply, bare, update};
use crate::body::canonical;
use crate::kinds::{KINDS, Kind};
use crate::schema::{Schema, Shape, Topology, TypeId};

/// Numbers by chance, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn object_of(of: TypeId, depth: u32, dice: &mut Dice) -> Value {
    let mut fields = Map::new();
    for field in Schema::get().fields(of).filter(|field| !["managedFields", "metadata"].contains(&field.name))
    {
        let is_key = field.is_required && depth < 8;
        if is_key || (depth < 6 && dice.roll(4) == 0) {
            let mut value = value_of(&field.shape, depth + 1, dice);
            if let (Topology::Keyed(_) | Topology::Set, Some(list)) = (&field.topology, value.as_array_mut())
            {
                let at = At::root(of).field(field.name).unwrap();
                let mut seen = Vec::new();
                list.retain(|entry| match at.element(entry) {
                    Ok(element) if !seen.contains(&element) => {
                        seen.push(element);
                        true
                    }
                    _ => false,
                });
            }
            fields.insert(field.name.to_owned(), value);
        }
    }
    Value::Object(fields)
}

fn value_of(shape: &Shape, depth: u32, dice: &mut Dice) -> Value {
    let text = |dice: &mut Dice| Value::from(["a", "b", "<c>"][dice.roll(3) as usize]);
    match shape {
        Shape::Text => text(dice),
        Shape::Bool => (dice.roll(2) == 0).into(),
        Shape::Int32 | Shape::Int64 | Shape::Double | Shape::IntOrString => dice.roll(3).into(),
        Shape::Bytes => "YQ==".into(),
        Shape::Time => "2026-01-01T00:00:00Z".into(),
        Shape::MicroTime => "2026-01-01T00:00:00.000000Z".into(),
        Shape::Quantity => ["1", "2Gi"][dice.roll(2) as usize].into(),
        Shape::Fields | Shape::Raw => json!({"any": [dice.roll(2)]}),
        Shape::Object(of) => object_of(*of, depth, dice),
        Shape::List(of) => (0..dice.roll(3)).map(|_| value_of(of, depth, dice)).collect(),
        Shape::Map(of) => {
            let entries =
                (0..dice.roll(3)).map(|_| (["x", "y/z"][dice.roll(2) as usize].to_owned(), dice.roll(9)));
            let names: Vec<(String, u64)> = entries.collect::<Vec<_>>();
            Value::Object(names.into_iter().map(|(name, _)| (name, value_of(of, depth, dice))).collect())
        }
    }
}

/// A configuration of a kind.
fn configuration(kind: &Kind, seed: u64) -> (TypeId, Value) {
    let of = Schema::get().find(kind.type_name).unwrap();
    let mut dice = Dice(seed);
    let mut object = object_of(of, 0, &mut dice);
    let meta = Schema::get().find("meta.v1.ObjectMeta").unwrap();
    object["metadata"] = object_of(meta, 1, &mut dice);
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    (of, object)
}

/// One that is stored as it is.
fn canonical_configuration(kind: &Kind, seed: u64) -> (TypeId, Value) {
    let (of, mut object) = configuration(kind, seed);
    canonical(&mut object, of);
    (of, object)
}

fn a_kind() -> impl Strategy<Value = &'static Kind> {
    (0..KINDS.len()).prop_map(|at| KINDS[at])
}

struct World {
    of: TypeId,
    api_version: String,
    live: Option<Value>,
    seconds: u32,
}

impl World {
    fn new(of: TypeId, kind: &Kind) -> Self {
        Self { of, api_version: kind.api_version(), live: None, seconds: 0 }
    }

    fn apply(&mut self, name: &str, object: &Value) -> Value {
        self.seconds += 1;
        let time = format!("2026-01-01T00:00:{:02}Z", self.seconds);
        let manager =
            Manager { name, api_version: &self.api_version, subresource: "", time: &time, ignored: &[] };
        let applied = apply(self.of, self.live.as_ref(), Configuration { object, force: true }, &manager)
            .unwrap_or_else(|error| panic!("{error:?}: {object}"));
        let mut new = applied.object.clone();
        canonical(&mut new, self.of);
        applied.finish(&mut new, self.live.as_ref());
        self.live = Some(new.clone());
        new
    }
}

fn owned(object: &Value, name: &str) -> Set {
    let manager = Manager { name, api_version: "", subresource: "", time: "", ignored: &[] };
    let mut entries = Entries::of(object).unwrap();
    entries.0.remove(&Id::of(&manager, Operation::Apply)).map(|entry| entry.fields).unwrap_or_default()
}

/// What an object says that can be owned.
fn ownable(of: TypeId, object: &Value) -> Set {
    said(At::root(of), &bare(object)).unwrap().difference(&Set::of_fields(super::update::NOBODYS))
}

proptest! {
    #[test]
    fn sets_are_read_as_they_are_written(kind in a_kind(), seed: u64) {
        let (of, object) = configuration(kind, seed);
        let set = said(At::root(of), &bare(&object)).unwrap();
        prop_assert_eq!(Set::read(&set.print()), Ok(set.clone()));
        let text = set.print().to_string();
        prop_assert_eq!(Set::read(&serde_json::from_str(&text).unwrap()), Ok(set));
    }

    #[test]
    fn applying_again_changes_nothing(kind in a_kind(), seed: u64) {
        let (of, object) = configuration(kind, seed);
        let mut world = World::new(of, kind);
        let once = world.apply("a", &object);
        prop_assert_eq!(world.apply("a", &object), once);
    }

    #[test]
    fn who_forces_owns(kind in a_kind(), seeds: (u64, u64)) {
        let (of, first) = canonical_configuration(kind, seeds.0);
        let (_, second) = canonical_configuration(kind, seeds.1);
        let mut world = World::new(of, kind);
        let alone = world.apply("a", &first);
        let both = world.apply("b", &second);
        prop_assert_eq!(owned(&both, "b"), ownable(of, &second));
        let changes = Changes::between(At::root(of), &bare(&alone), &bare(&both)).unwrap();
        let taken = changes.modified.union(&changes.added).union(&changes.removed);
        prop_assert_eq!(owned(&both, "a"), owned(&alone, "a").difference(&taken));
    }

    #[test]
    fn nobody_loses_what_another_takes_back(kind in a_kind(), seeds: (u64, u64, u64)) {
        let (of, first) = canonical_configuration(kind, seeds.0);
        let (_, second) = canonical_configuration(kind, seeds.1);
        let (_, third) = canonical_configuration(kind, seeds.2);
        let mut world = World::new(of, kind);
        world.apply("a", &first);
        world.apply("b", &second);
        let live = world.live.clone().unwrap();
        let after = world.apply("a", &third);
        // What a says anew it may take; all else of b has to stay, and to stay b's.
        let root = Some(At::root(of));
        let kept = owned(&live, "b").difference(&with_named(root, &ownable(of, &third)));
        prop_assert_eq!(kept.difference(&owned(&after, "b")), Set::default());
        prop_assert_eq!(kept.difference(&with_named(root, &ownable(of, &after))), Set::default());
    }

    #[test]
    fn updates_own_what_they_change(kind in a_kind(), seeds: (u64, u64)) {
        let (of, mut first) = configuration(kind, seeds.0);
        let (_, mut second) = configuration(kind, seeds.1);
        canonical(&mut first, of);
        canonical(&mut second, of);
        let api_version = kind.api_version();
        let manager = Manager { name: "a", api_version: &api_version, subresource: "", time: "2026-01-01T00:00:00Z", ignored: &[] };
        update(of, None, &mut first, &manager);
        update(of, Some(&first), &mut second, &Manager { name: "b", ..manager });
        let same = second.clone();
        let mut again = second.clone();
        update(of, Some(&same), &mut again, &Manager { name: "c", time: "2026-01-01T00:00:01Z", ..manager });
        prop_assert_eq!(again, same, "who changes nothing is not recorded");
    }

    #[test]
    fn no_bytes_make_it_panic(text in "\\PC{0,40}", keys in proptest::collection::vec("(f|k|v|i|x)?:?\\PC{0,8}", 0..6)) {
        let mut fields = Value::from(text);
        for key in keys {
            let _ = Set::read(&fields);
            fields = json!({ key: fields, ".": 1 });
        }
        let of = Schema::get().find("core.v1.Service").unwrap();
        let manager = Manager { name: "a", api_version: "v1", subresource: "", time: "x", ignored: &[] };
        let live = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "uid": "u"}, "spec": {"type": "A"}});
        for fields in [fields.clone(), json!({ "f:spec": fields })] {
            let mut new = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"managedFields": [
                {"manager": "b", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields, "time": "y"}]},
                "spec": {"ports": [{"port": 1}]}});
            update(of, Some(&live), &mut new, &manager);
            let object = json!({"apiVersion": "v1", "kind": "Service", "spec": fields});
            let _ = apply(of, Some(&new), Configuration { object: &object, force: false }, &manager);
        }
    }
}
