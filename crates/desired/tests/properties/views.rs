//! Properties of every view and of the specification.

use std::collections::{BTreeMap, BTreeSet};

use desired::route;
use model::{Endpoint, Family, FrontendView, Outcome, PortView, Route, Scope, ServiceKey, View};
use proptest::prelude::any;
use proptest::{prop_assert, prop_assert_eq, proptest};
use testkit::generate::{cluster, cluster_and_packets, options, sample};

use crate::scratch;

fn ports(view: &View) -> impl Iterator<Item = (&ServiceKey, &PortView)> {
    view.services.iter().flat_map(|service| service.ports.iter().map(move |port| (&service.key, port)))
}

fn used(port: &PortView, scope: Scope) -> Vec<Endpoint> {
    let is_used = |view: &&model::EndpointView| match scope {
        Scope::Cluster => view.cluster.is_used(),
        Scope::Local => view.in_local.is_used(),
    };
    port.endpoints.iter().filter(is_used).map(|view| view.endpoint).collect()
}

proptest! {
    #[test]
    fn routes_are_what_the_fates_say(options in options(), cluster in cluster(), v6 in any::<bool>()) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let view = scratch::view(&options, &cluster, family);
        for (_, port) in ports(&view) {
            for route in [&port.internal, &port.external, &port.external_from_cluster] {
                if let Route::Balance(scope, endpoints) = route {
                    prop_assert!(!endpoints.is_empty());
                    prop_assert!(endpoints.is_sorted());
                    prop_assert_eq!(endpoints, &used(port, *scope));
                }
            }
            prop_assert!(port.endpoints.windows(2).all(|pair| pair[0].endpoint < pair[1].endpoint));
        }
    }

    #[test]
    fn the_order_of_slices_does_not_matter(cluster in cluster(), options in options()) {
        let mut turned = cluster.clone();
        turned.slices.reverse();
        turned.services.reverse();
        for slice in &mut turned.slices {
            slice.endpoints.reverse();
            slice.ports.reverse();
        }
        for family in Family::BOTH {
            prop_assert_eq!(scratch::view(&options, &turned, family), scratch::view(&options, &cluster, family));
        }
    }

    #[test]
    fn every_frontend_is_programmed_for_one_service_and_the_shadowed_know_for_which(
        cluster in cluster(),
        options in options(),
    ) {
        for family in Family::BOTH {
            let view = scratch::view(&options, &cluster, family);
            let place = |port: &PortView, frontend: &FrontendView| (frontend.address, port.protocol, frontend.port);
            let mut programmed = BTreeMap::new();
            for (key, port) in ports(&view) {
                for frontend in port.frontends.iter().filter(|frontend| frontend.shadowed_by.is_none()) {
                    let before = programmed.insert(place(port, frontend), key);
                    prop_assert_eq!(before, None, "{:?}", frontend);
                }
            }
            for (_, port) in ports(&view) {
                for frontend in &port.frontends {
                    let Some(winner) = &frontend.shadowed_by else { continue };
                    prop_assert_eq!(programmed.get(&place(port, frontend)), Some(&winner));
                }
            }
        }
    }

    #[test]
    fn a_packet_has_one_outcome_or_several_endpoints(
        (cluster, packets) in cluster_and_packets(Family::V4, 10),
        options in options(),
    ) {
        let view = scratch::view(&options, &cluster, Family::V4);
        for packet in packets {
            let outcomes = route(&view, &packet);
            prop_assert!(!outcomes.is_empty());
            let reaches = |outcome: &Outcome| matches!(outcome, Outcome::Reaches { .. });
            prop_assert!(outcomes.len() == 1 || outcomes.iter().all(reaches));
        }
    }
}

/// The universe is worth something only if random packets meet every kind of outcome often.
#[test]
fn random_packets_meet_every_kind_of_outcome() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..300 {
        let (options, (cluster, packets)) = sample(&(options(), cluster_and_packets(Family::V4, 10)), seed);
        let view = scratch::view(&options, &cluster, Family::V4);
        for outcomes in packets.iter().map(|packet| route(&view, packet)) {
            let kind = match outcomes.first().expect("every packet has an outcome") {
                Outcome::Reaches { masqueraded: true, .. } => "masqueraded",
                Outcome::Reaches { masqueraded: false, .. } => "reaches",
                Outcome::Dropped => "dropped",
                Outcome::Rejected => "rejected",
                Outcome::Untouched => "untouched",
            };
            *counts.entry(kind).or_default() += 1;
        }
    }
    let often: BTreeSet<&str> =
        counts.iter().filter(|(_, count)| **count >= 200).map(|(kind, _)| *kind).collect();
    assert_eq!(often.len(), 5, "{counts:?}");
}
