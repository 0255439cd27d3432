//! Following a history, and starting from scratch where it ended, give the same views.

use std::collections::BTreeMap;

use desired::{Changes, Desired, Options, node_view};
use model::{Family, NodeView, ServiceKey, ServiceView};
use objects::{EndpointSlice, Event, Objects, Touched};
use proptest::collection::vec;
use proptest::{option, prop_assert_eq, proptest};
use testkit::generate::{self, Cluster, cluster, history, sample, universe};

use crate::scratch;

/// What back ends hold: they compute anew only what they are told to.
struct Held {
    desired: Desired,
    nodes: BTreeMap<Family, NodeView>,
    services: BTreeMap<(Family, ServiceKey), ServiceView>,
}

impl Held {
    fn new(options: &Options) -> Self {
        Self { desired: Desired::new(options.clone()), nodes: BTreeMap::new(), services: BTreeMap::new() }
    }

    fn take(&mut self, objects: &Objects, touched: &Touched) -> Changes {
        let changes = self.desired.changed(objects, touched);
        for family in Family::BOTH {
            if changes.node {
                self.nodes.insert(family, self.desired.node_view(objects, family));
            }
            for key in &changes.services {
                match self.desired.service_view(objects, key, family) {
                    Some(view) => self.services.insert((family, key.clone()), view),
                    None => self.services.remove(&(family, key.clone())),
                };
            }
        }
        changes
    }
}

/// The objects of a cache, read back.
fn contents(objects: &Objects) -> Cluster {
    let keys = universe::SERVICES.map(|name| ServiceKey::new(universe::NAMESPACE, name));
    let slices: Vec<EndpointSlice> = keys.iter().flat_map(|key| objects.slices_of(key)).cloned().collect();
    Cluster {
        node: objects.node(universe::NODE).cloned(),
        service_cidrs: objects.service_cidrs().cloned().collect(),
        services: objects.services().cloned().collect(),
        slices,
    }
}

proptest! {
    #[test]
    fn incremental_equals_from_scratch(
        first in generate::options(),
        others in vec(option::weighted(0.1, generate::options()), 20),
        history in history(60),
        portions in vec(1..8_usize, 20),
    ) {
        let mut options = first;
        let mut objects = Objects::default();
        let mut held = Held::new(&options);
        let mut events = history.into_iter();
        for (portion, other) in portions.into_iter().zip(others) {
            let mut touched = Touched::default();
            for event in events.by_ref().take(portion) {
                touched.merge(objects.apply(event));
            }
            if let Some(other) = other {
                held.desired.set_options(other.clone());
                options = other;
            }
            held.take(&objects, &touched);
            for family in Family::BOTH {
                let scratch = scratch::view(&options, &contents(&objects), family);
                prop_assert_eq!(&held.nodes[&family], &scratch.node);
                let services: Vec<&ServiceView> =
                    held.services.iter().filter(|((f, _), _)| *f == family).map(|(_, view)| view).collect();
                prop_assert_eq!(services, scratch.services.iter().collect::<Vec<_>>());
                prop_assert_eq!(held.desired.view(&objects, family), scratch);
            }
        }
    }
}

fn of(cluster: Cluster) -> (Objects, Held) {
    let mut objects = Objects::default();
    let mut held = Held::new(&options());
    let mut touched = Touched::default();
    for event in cluster.events() {
        touched.merge(objects.apply(event));
    }
    held.take(&objects, &touched);
    (objects, held)
}

fn options() -> Options {
    Options { masquerade_all: false, node_addresses: Vec::new(), ..sample(&generate::options(), 1) }
}

fn big_cluster() -> Cluster {
    (0..)
        .map(|seed| sample(&cluster(), seed))
        .find(|c| c.services.len() == 5 && c.node.is_some())
        .expect("one of them")
}

#[test]
fn a_node_that_only_reports_that_it_lives_changes_nothing() {
    let (objects, mut held) = of(big_cluster());
    let touched = Touched { node: true, service_cidrs: true, ..Touched::default() };
    assert_eq!(held.take(&objects, &touched), Changes::default());
}

#[test]
fn another_pod_range_concerns_the_node_alone_and_another_zone_every_service() {
    let cluster = big_cluster();
    let (mut objects, mut held) = of(cluster.clone());
    held.desired.set_options(Options { detect_local: desired::DetectLocal::NodeCidr, ..options() });
    held.take(&objects, &Touched::default());

    let mut node = cluster.node.expect("this cluster has a node");
    node.pod_cidrs = vec!["10.99.0.0/16".parse().expect("a prefix")];
    let touched = objects.apply(Event::Applied(objects::Object::Node(node.clone())));
    let changes = held.take(&objects, &touched);
    assert_eq!((changes.node, changes.services.len()), (true, 0));

    node.zone = Some("elsewhere".into());
    let touched = objects.apply(Event::Applied(objects::Object::Node(node)));
    let changes = held.take(&objects, &touched);
    assert_eq!((changes.node, changes.services.len()), (false, 5));
}

#[test]
fn views_from_an_unchanged_cache_need_no_touched_services_the_first_time() {
    let (objects, _) = of(big_cluster());
    let mut late = Desired::new(options());
    assert_eq!(late.changed(&objects, &Touched::default()).services.len(), 5);
    let cidrs: Vec<_> = objects.service_cidrs().flat_map(|cidr| cidr.cidrs.clone()).collect();
    let node = node_view(&options(), objects.node(universe::NODE), &cidrs, Family::V4);
    assert_eq!(late.view(&objects, Family::V4).node, node);
    assert_eq!(late.view(&objects, Family::V4), scratch::view(&options(), &contents(&objects), Family::V4));
}
