//! Random histories with faults: what the source said, folded, is in the end what the server has, and at no time is an
//! object lost that was there all the while.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::time::Duration;

use common::{World, hasty, node, service, slice};
use objects::{Kind, ObjectKey};
use serde_json::{Value, json};
use testkit::apiserver::{Behaviour, Fault, FaultRule, Options, Resource, Verb, WatchList};

/// A small generator of random numbers (xorshift), so that a seed repeats a history.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % sides
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.throw(choices.len() as u64)).unwrap()].clone()
    }

    fn fault(&mut self) -> FaultRule {
        let protobuf = "application/vnd.kubernetes.protobuf";
        let size = usize::try_from(self.throw(3000)).unwrap();
        let fault = self.one_of(&[
            Fault::Hang,
            Fault::Reset,
            Fault::HangAfter(size),
            Fault::ResetAfter(size),
            Fault::EndAfter(size),
            Fault::GarbageAfter(size, vec![0xff; 64]),
            Fault::GarbageAfter(size, b"\n}{\n".to_vec()),
            Fault::Slow(Duration::from_millis(3)),
            Fault::GoneEvent,
            Fault::gone(),
            Fault::internal_error(),
            Fault::html(),
            Fault::garbage(protobuf),
            Fault::garbage("application/json"),
        ]);
        let times = u32::try_from(1 + self.throw(3)).unwrap();
        let rule = FaultRule::new(fault).times(times);
        let rule = match self.throw(4) {
            0 => rule,
            1 => rule.on(Resource::Services),
            2 => rule.on(Resource::EndpointSlices),
            _ => rule.on(Resource::Nodes),
        };
        match self.throw(3) {
            0 => rule,
            1 => rule.verb(Verb::List),
            _ => rule.verb(Verb::Watch),
        }
    }

    fn write(&mut self, world: &World) {
        let server = &world.server;
        let name = format!("s{}", self.throw(12));
        match self.throw(8) {
            0 | 1 => {
                let mut object = service(&name);
                object["spec"]["ports"][0]["port"] = json!(1 + self.throw(100));
                if self.throw(4) == 0 {
                    object["metadata"]["labels"] =
                        json!({"service.kubernetes.io/service-proxy-name": "other"});
                }
                server.apply(object);
            }
            2 => drop(server.delete("Service", "shop", &name)),
            3 | 4 => {
                let addresses: Vec<String> = (0..self.throw(20)).map(|i| format!("10.244.1.{i}")).collect();
                let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
                let mut object = slice(&name, &addresses);
                if self.throw(5) == 0 {
                    object["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
                }
                server.apply(object);
            }
            5 => drop(server.delete("EndpointSlice", "shop", &name)),
            6 => {
                let mut object = node("n1");
                object["metadata"]["labels"]["topology.kubernetes.io/zone"] =
                    json!(format!("z{}", self.throw(3)));
                server.apply(object);
            }
            _ => {
                let label: Value = if self.throw(2) == 0 { json!("x") } else { json!(null) };
                if server.get("Service", "shop", &name).is_some() {
                    let body =
                        json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": label}}});
                    server.merge_patch(("Service", "shop", &name), &body, false);
                }
            }
        }
    }

    async fn step(&mut self, world: &mut World) {
        match self.throw(24) {
            0 | 1 => world.server.inject(self.fault()),
            2 => world.server.compact(),
            3 => {
                world.server.stop();
                let pause = Duration::from_millis(self.throw(150));
                world.during(pause).await;
                if self.throw(2) == 0 {
                    self.write(world);
                }
                world.server.restart().unwrap();
            }
            4 => {
                let protobuf = self.throw(2) == 0;
                let watch_list = self.one_of(&[
                    WatchList::Served,
                    WatchList::Served,
                    WatchList::Forbidden,
                    WatchList::Ignored,
                ]);
                let service_fields = self.throw(8) > 0;
                world.server.change(|behaviour| {
                    behaviour.protobuf = protobuf;
                    behaviour.watch_list = watch_list;
                    behaviour.service_fields = service_fields;
                });
            }
            5 => drop(world.during(Duration::from_millis(20)).await),
            _ => self.write(world),
        }
    }
}

async fn history(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let behaviour = Behaviour {
        protobuf: dice.throw(2) == 0,
        bookmark_interval: Duration::from_millis(50 + dice.throw(200)),
        ..Behaviour::default()
    };
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
    for step in 0..120 {
        dice.step(&mut world).await;
        world.during(Duration::from_millis(2)).await;
        for key in &always {
            assert!(world.fold.objects.contains_key(key), "seed {seed}, step {step}: {key:?} is lost");
        }
    }
    world.server.clear_faults();
    world.server.change(|behaviour| behaviour.service_fields = true);
    println!(
        "seed {seed}: {} lists of Services, {} errors",
        world.fold.lists[&Kind::Service],
        errors(&world)
    );
    world.until_equal().await;
}

fn errors(world: &World) -> u64 {
    world.progress.snapshot().iter().map(|kind| kind.errors).sum()
}

#[tokio::test]
async fn random_histories_end_in_agreement() {
    let seeds: Vec<u64> = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (1..=6).collect(),
    };
    for seed in seeds {
        history(seed).await;
    }
}
