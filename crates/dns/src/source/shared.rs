//! Names out of a watch that somebody else keeps: the proxy's, so that a node has one.
//!
//! That watch says which objects a list has, this says which are gone. Pure.

use objects::naming;
use rustc_hash::FxHashMap;

use super::decode;
use crate::object::{Change, Key, Kind};

/// What is known of the objects, and from which list.
#[derive(Debug, Default)]
pub struct Shared {
    services: Known,
    slices: Known,
    keeps_pods: bool,
}

#[derive(Debug, Default)]
struct Known {
    list: u32,
    seen: FxHashMap<Key, u32>,
}

impl Shared {
    /// Begins with nothing. `keeps_pods`: whether anything is named after Pods; their names take more room than the rest.
    pub fn new(keeps_pods: bool) -> Self {
        Self { keeps_pods, ..Self::default() }
    }

    /// Answers what follows from an event.
    pub fn take(&mut self, event: naming::Event) -> Vec<Change> {
        match event {
            naming::Event::ListStarted(kind) => {
                if let Some((_, known)) = self.known(kind) {
                    known.list = known.list.wrapping_add(1);
                }
                Vec::new()
            }
            naming::Event::Applied(object) => vec![self.put(object)],
            naming::Event::Deleted(kind, key) => {
                let Some((kind, known)) = self.known(kind) else { return Vec::new() };
                let was_there = known.seen.remove(&key).is_some();
                was_there.then_some(Change::Gone(kind, key)).into_iter().collect()
            }
            naming::Event::ListFinished(kind) => {
                let Some((kind, known)) = self.known(kind) else { return Vec::new() };
                let list = known.list;
                let gone = known.seen.extract_if(|_, seen| *seen != list);
                let mut changes: Vec<Change> = gone.map(|(key, _)| Change::Gone(kind, key)).collect();
                changes.push(Change::Synced(kind));
                changes
            }
        }
    }

    fn put(&mut self, mut object: naming::Object) -> Change {
        if let naming::Object::Slice(slice) = &mut object
            && !self.keeps_pods
        {
            slice.endpoints.iter_mut().for_each(|endpoint| endpoint.pod = None);
        }
        let (known, key) = match &object {
            naming::Object::Service(service) => (&mut self.services, &service.key),
            naming::Object::Slice(slice) => (&mut self.slices, &slice.key),
        };
        match known.seen.get_mut(key) {
            Some(list) => *list = known.list,
            None => drop(known.seen.insert(key.clone(), known.list)),
        }
        Change::Put(decode::object(object))
    }

    fn known(&mut self, kind: objects::Kind) -> Option<(Kind, &mut Known)> {
        match kind {
            objects::Kind::Service => Some((Kind::Service, &mut self.services)),
            objects::Kind::EndpointSlice => Some((Kind::Slice, &mut self.slices)),
            objects::Kind::Node | objects::Kind::ServiceCidr => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use objects::Kind as Watched;

    use super::*;
    use crate::script::object;

    fn service(text: &str) -> naming::Event {
        let json = format!(
            r#"{{"metadata":{{"namespace":"a","name":"{text}"}},"spec":{{"clusterIP":"10.0.0.1"}}}}"#
        );
        let read = objects::decode_json_names(Watched::Service, json.as_bytes()).unwrap().unwrap();
        naming::Event::Applied(read)
    }

    #[test]
    fn a_list_says_what_is_gone_when_it_is_complete() {
        let mut shared = Shared::new(false);
        let there = |name: &str| Change::Put(object(&format!("service a/{name} 10.0.0.1")));
        let gone = |name: &str| Change::Gone(Kind::Service, Key::new("a", name));
        let (begin, end) =
            (naming::Event::ListStarted(Watched::Service), naming::Event::ListFinished(Watched::Service));
        for (event, expected) in [
            (begin.clone(), vec![]),
            (service("b"), vec![there("b")]),
            (service("c"), vec![there("c")]),
            (end.clone(), vec![Change::Synced(Kind::Service)]),
            (begin.clone(), vec![]),
            (service("c"), vec![there("c")]),
            // It broke: the next list begins.
            (begin, vec![]),
            (service("d"), vec![there("d")]),
            (service("b"), vec![there("b")]),
            (end, vec![gone("c"), Change::Synced(Kind::Service)]),
            (naming::Event::Deleted(Watched::Service, Key::new("a", "d")), vec![gone("d")]),
            (naming::Event::Deleted(Watched::Service, Key::new("a", "d")), vec![]),
        ] {
            assert_eq!(shared.take(event.clone()), expected, "{event:?}");
        }
    }

    #[test]
    fn names_of_pods_are_kept_where_something_is_named_after_them() {
        let json = r#"{"metadata":{"namespace":"a","name":"b-1","labels":{"kubernetes.io/service-name":"b"}},
            "endpoints":[{"addresses":["10.0.0.1"],"targetRef":{"kind":"Pod","name":"p"}}]}"#;
        let read = objects::decode_json_names(Watched::EndpointSlice, json.as_bytes()).unwrap().unwrap();
        for (keeps, expected) in [(true, "slice a/b-1 b | p@10.0.0.1"), (false, "slice a/b-1 b | 10.0.0.1")] {
            let changes = Shared::new(keeps).take(naming::Event::Applied(read.clone()));
            assert_eq!(changes, [Change::Put(object(expected))]);
        }
    }
}
