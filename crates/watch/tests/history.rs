//! Random histories with faults: what the source said, folded, is in the end what the server has, and at no time is an
//! object lost that was there all the while.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::time::Duration;

use common::{World, hasty, node, service, slice};
use objects::{Kind, ObjectKey};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use serde_json::{Value, json};
use testkit::apiserver::{
    ApiServer, Behaviour, Fault, FaultRule, Options, Refusal, Resource, Verb, WatchList,
};

/// What happens to the server.
#[derive(Debug, Clone)]
enum Step {
    Write(Write),
    Inject(FaultRule),
    Compact,
    /// It is down for so many milliseconds, and something may change meanwhile.
    Outage(u64, Option<Write>),
    /// It is another kind of server from now on.
    Become {
        protobuf: bool,
        watch_list: WatchList,
        service_fields: bool,
        service_cidrs: bool,
    },
    Pause,
}

/// What changes. Objects are numbered.
#[derive(Debug, Clone)]
enum Write {
    Service {
        number: u8,
        port: u16,
        other_proxy: bool,
    },
    NoService(u8),
    Slice {
        number: u8,
        endpoints: u8,
        headless: bool,
    },
    NoSlice(u8),
    Zone(u8),
    ServiceCidr(u8),
    NoServiceCidr(u8),
    /// Only the label that gives a Service to another proxy.
    OtherProxy(u8, bool),
}

/// An answer to `a` in this many of the times to one.
fn rarely(times: u32) -> impl Strategy<Value = bool> {
    (0..times).prop_map(|throw| throw == 0)
}

fn writes() -> impl Strategy<Value = Write> {
    let number = || 0_u8..12;
    let service = (number(), 1_u16..100, rarely(4));
    let slice = (number(), 0_u8..20, rarely(5));
    prop_oneof![
        3 => service.prop_map(|(number, port, other_proxy)| Write::Service { number, port, other_proxy }),
        1 => number().prop_map(Write::NoService),
        2 => slice.prop_map(|(number, endpoints, headless)| Write::Slice { number, endpoints, headless }),
        1 => number().prop_map(Write::NoSlice),
        1 => (0_u8..3).prop_map(Write::Zone),
        1 => (1_u8..4).prop_map(Write::ServiceCidr),
        1 => (1_u8..4).prop_map(Write::NoServiceCidr),
        1 => (number(), any::<bool>()).prop_map(|(number, other)| Write::OtherProxy(number, other)),
    ]
}

fn faults() -> impl Strategy<Value = Fault> {
    let fixed = [
        Fault::Hang,
        Fault::Reset,
        Fault::Slow(Duration::from_millis(3)),
        Fault::GoneEvent,
        Fault::gone(),
        Fault::internal_error(),
        Fault::refusal(&Refusal::new(403, "Forbidden", "not for you")),
        Fault::refusal(&Refusal::new(429, "TooManyRequests", "later")),
        Fault::refusal(&Refusal::new(404, "NotFound", "the server could not find the requested resource")),
        Fault::html(),
        Fault::garbage("application/vnd.kubernetes.protobuf"),
        Fault::garbage("application/json"),
    ];
    let size = || 0_usize..3000;
    prop_oneof![
        3 => select(fixed.to_vec()),
        1 => size().prop_map(Fault::HangAfter),
        1 => size().prop_map(Fault::ResetAfter),
        1 => size().prop_map(Fault::EndAfter),
        1 => size().prop_map(|size| Fault::GarbageAfter(size, vec![0xff; 64])),
        1 => size().prop_map(|size| Fault::GarbageAfter(size, b"\n}{\n".to_vec())),
    ]
}

fn rules() -> impl Strategy<Value = FaultRule> {
    let resources = [Resource::Services, Resource::EndpointSlices, Resource::Nodes, Resource::ServiceCidrs];
    let resource = prop::option::of(select(resources.to_vec()));
    let verb = prop::option::of(select(vec![Verb::List, Verb::Watch]));
    (faults(), 1_u32..4, 0_u32..2, resource, verb).prop_map(|(fault, times, skip, resource, verb)| {
        let rule = FaultRule::new(fault).times(times).skip(skip);
        let rule = resource.map_or(rule.clone(), |resource| rule.on(resource));
        verb.map_or(rule.clone(), |verb| rule.verb(verb))
    })
}

fn watch_lists() -> impl Strategy<Value = WatchList> {
    select(vec![WatchList::Served, WatchList::Served, WatchList::Forbidden, WatchList::Ignored])
}

fn steps() -> impl Strategy<Value = Step> {
    let servers = (any::<bool>(), watch_lists(), rarely(8), rarely(4));
    Union::new_weighted(vec![
        (18, writes().prop_map(Step::Write).boxed()),
        (2, rules().prop_map(Step::Inject).boxed()),
        (1, Just(Step::Compact).boxed()),
        (1, (0_u64..150, prop::option::of(writes())).prop_map(|(time, w)| Step::Outage(time, w)).boxed()),
        (
            1,
            servers
                .prop_map(|(protobuf, watch_list, no_fields, no_cidrs)| Step::Become {
                    protobuf,
                    watch_list,
                    service_fields: !no_fields,
                    service_cidrs: !no_cidrs,
                })
                .boxed(),
        ),
        (1, Just(Step::Pause).boxed()),
    ])
}

impl Write {
    fn apply(&self, server: &ApiServer) {
        match self {
            Self::Service { number, port, other_proxy } => {
                let mut object = service(&format!("s{number}"));
                object["spec"]["ports"][0]["port"] = json!(port);
                if *other_proxy {
                    object["metadata"]["labels"] =
                        json!({"service.kubernetes.io/service-proxy-name": "other"});
                }
                server.apply(object);
            }
            Self::NoService(number) => drop(server.delete("Service", "shop", &format!("s{number}"))),
            Self::Slice { number, endpoints, headless } => {
                let addresses: Vec<String> = (0..*endpoints).map(|i| format!("10.244.1.{i}")).collect();
                let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
                let mut object = slice(&format!("s{number}"), &addresses);
                if *headless {
                    object["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
                }
                server.apply(object);
            }
            Self::NoSlice(number) => drop(server.delete("EndpointSlice", "shop", &format!("s{number}"))),
            Self::Zone(zone) => {
                let mut object = node("n1");
                object["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(format!("z{zone}"));
                server.apply(object);
            }
            Self::ServiceCidr(number) => drop(server.apply(json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
                "metadata": {"name": format!("c{number}")}, "spec": {"cidrs": [format!("10.9{number}.0.0/16")]}}))),
            Self::NoServiceCidr(number) => drop(server.delete("ServiceCIDR", "", &format!("c{number}"))),
            Self::OtherProxy(number, other) => {
                let name = format!("s{number}");
                let label: Value = if *other { json!("x") } else { json!(null) };
                if server.get("Service", "shop", &name).is_some() {
                    let body =
                        json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": label}}});
                    server.merge_patch(("Service", "shop", &name), &body, false);
                }
            }
        }
    }
}

impl Step {
    async fn take(&self, world: &mut World) {
        match self {
            Self::Write(write) => write.apply(&world.server),
            Self::Inject(rule) => world.server.inject(rule.clone()),
            Self::Compact => world.server.compact(),
            Self::Outage(time, write) => {
                world.server.stop();
                world.during(Duration::from_millis(*time)).await;
                if let Some(write) = write {
                    write.apply(&world.server);
                }
                world.server.restart().unwrap();
            }
            Self::Become { protobuf, watch_list, service_fields, service_cidrs } => {
                world.server.change(|behaviour| {
                    behaviour.protobuf = *protobuf;
                    behaviour.watch_list = *watch_list;
                    behaviour.service_fields = *service_fields;
                    behaviour.service_cidrs = *service_cidrs;
                });
            }
            Self::Pause => drop(world.during(Duration::from_millis(20)).await),
        }
    }
}

async fn history(behaviour: Behaviour, steps: &[Step]) {
    let mut world = World::start_with(Options { behaviour, ..Options::default() }, hasty(), |server| {
        server.apply(service("always"));
        server.apply(slice("always", &["10.244.1.1"]));
        server.apply(node("n1"));
    });
    world.until_equal().await;
    let always = [
        ObjectKey { kind: Kind::Service, name: "shop/always".into() },
        ObjectKey { kind: Kind::EndpointSlice, name: "shop/always".into() },
        ObjectKey { kind: Kind::Node, name: "n1".into() },
        ObjectKey { kind: Kind::ServiceCidr, name: "kubernetes".into() },
    ];
    for (number, step) in steps.iter().enumerate() {
        step.take(&mut world).await;
        world.during(Duration::from_millis(2)).await;
        for key in &always {
            assert!(world.fold.objects.contains_key(key), "step {number}: {key:?} is lost");
        }
    }
    world.server.clear_faults();
    world.server.change(|behaviour| {
        behaviour.service_fields = true;
        behaviour.service_cidrs = true;
    });
    world.until_equal().await;
    for kind in Kind::ALL {
        assert_eq!(world.fold.cache.count(kind), world.fold.names(kind).len(), "{kind:?} in the cache");
    }
    let progress = world.progress.snapshot();
    let sum = |count: fn(&watch::KindProgress) -> u64| progress.iter().map(count).sum::<u64>();
    println!(
        "{} steps: {} lists, {} events, {} errors",
        steps.len(),
        sum(|kind| kind.lists),
        sum(|kind| kind.events),
        sum(|kind| kind.errors)
    );
}

/// How many histories are tried: `PROPTEST_CASES`, or a few, because each lasts about a second.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(8, |cases| cases.parse().expect("PROPTEST_CASES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(), max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn random_histories_end_in_agreement(
        protobuf in any::<bool>(),
        bookmarks in 50_u64..250,
        steps in vec(steps(), 40..140),
    ) {
        let bookmark_interval = Duration::from_millis(bookmarks);
        let behaviour = Behaviour { protobuf, bookmark_interval, ..Behaviour::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(history(behaviour, &steps));
    }
}
