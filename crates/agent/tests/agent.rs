//! The loop with kernels that are slow, or fail: what is written, and when.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::{Agent, Event, Settings, Threads};
use backend::{Backend, Driver};
use backend_iptables::IptablesBackend;
use backend_nftables::{Key, NftablesBackend, Verdicts, installed};
use desired::{DetectLocal, NodePortAddresses, Options};
use model::Family;
use objects::{Event as ObjectEvent, Kind, Names};
use serde_json::{Value, json};
use sys::Error;
use sys::ipset;
use sys::iptables::{self, FakeXtables, RestoreError, Xtables};
use sys::nftables::{
    Batch, CommitError, Element, FakeNftables, Fault, KernelExpression, Nftables, TableDump,
};
use tokio::sync::mpsc;

/// A kernel that the test can look into while the agent writes it. Each write takes a while.
#[derive(Clone, Default)]
struct Kernel {
    fake: Arc<Mutex<FakeNftables>>,
    write_time: Duration,
}

impl Kernel {
    fn frontends(&self, family: Family) -> usize {
        let items = installed(&mut *self.fake.lock().unwrap(), family).unwrap_or_default();
        items.iter().filter(|(key, _)| matches!(key, Key::Verdict(Verdicts::Refused, _))).count()
    }

    fn commits(&self) -> usize {
        self.fake.lock().unwrap().commits
    }
}

impl Nftables for Kernel {
    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        std::thread::sleep(self.write_time);
        self.fake.lock().unwrap().commit(batch)
    }

    fn tables(&mut self, family: Family) -> Result<Vec<String>, Error> {
        self.fake.lock().unwrap().tables(family)
    }

    fn read_table(&mut self, family: Family, name: &str) -> Result<Option<TableDump>, Error> {
        self.fake.lock().unwrap().read_table(family, name)
    }

    fn read_elements(
        &mut self,
        family: Family,
        set: (&str, &str),
        each: &mut dyn FnMut(Element<'_>),
    ) -> Result<(), Error> {
        self.fake.lock().unwrap().read_elements(family, set, each)
    }

    fn read_rules(
        &mut self,
        family: Family,
        table: &str,
        each: &mut dyn FnMut(&str, &[KernelExpression<'_>]),
    ) -> Result<(), Error> {
        self.fake.lock().unwrap().read_rules(family, table, each)
    }

    fn can_destroy(&self) -> bool {
        true
    }
}

fn options() -> Options {
    Options {
        node_name: "n1".into(),
        node_addresses: Vec::new(),
        fallback_addresses: Vec::new(),
        detect_local: DetectLocal::ClusterCidr(Vec::new()),
        masquerade_all: false,
        masquerade_bit: 14,
        node_port_addresses: NodePortAddresses::Primary,
        manners: model::Manners::default(),
    }
}

/// Programs that the test can look into.
#[derive(Clone, Default)]
struct Programs(Arc<Mutex<FakeXtables>>);

impl Xtables for Programs {
    fn save(&mut self) -> Result<String, Error> {
        self.0.lock().unwrap().save()
    }

    fn restore(&mut self, text: &str) -> Result<(), RestoreError> {
        self.0.lock().unwrap().restore(text)
    }

    fn changes_single_rules(&self) -> bool {
        self.0.lock().unwrap().changes_single_rules()
    }

    fn elements(&mut self, set: &str) -> Result<Option<Vec<ipset::Element>>, Error> {
        self.0.lock().unwrap().elements(set)
    }

    fn make_set(&mut self, set: &str) -> Result<(), Error> {
        self.0.lock().unwrap().make_set(set)
    }

    fn change_set(
        &mut self,
        set: &str,
        added: &[ipset::Element],
        removed: &[ipset::Element],
    ) -> Result<(), Error> {
        self.0.lock().unwrap().change_set(set, added, removed)
    }

    fn remove_set(&mut self, set: &str) -> Result<(), Error> {
        self.0.lock().unwrap().remove_set(set)
    }
}

impl Programs {
    fn refusals(&self) -> usize {
        let mut fake = self.0.lock().unwrap();
        fake.clear_faults();
        fake.save().unwrap().matches("-j REJECT").count()
    }
}

fn start(kernels: [Kernel; 2]) -> mpsc::Sender<Event> {
    let drivers = Family::BOTH.into_iter().zip(kernels);
    run(drivers.map(|(family, kernel)| (family, Driver::new(NftablesBackend::new(family, kernel)))).collect())
}

fn run<B>(drivers: Vec<(Family, Driver<B>)>) -> mpsc::Sender<Event>
where
    B: Backend<Key: Send, Value: Send> + Send + 'static,
{
    let (events, queue) = mpsc::channel(1024);
    let agent = Agent::new(Settings::new(options()), drivers, Threads::default());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(agent.run(queue));
    });
    events
}

fn service(number: u32) -> ObjectEvent {
    let ips = json!([format!("10.96.{}.{}", number / 256, number % 256), format!("fd00:10:96::{number:x}")]);
    let object: Value = json!({"metadata": {"name": format!("s{number}"), "namespace": "shop"},
                               "spec": {"clusterIPs": ips, "ports": [{"port": 80}]}});
    let decoded = objects::decode_json(Kind::Service, object.to_string().as_bytes(), &mut Names::new());
    ObjectEvent::Applied(decoded.unwrap())
}

fn send(events: &mpsc::Sender<Event>, all: impl IntoIterator<Item = ObjectEvent>) {
    all.into_iter().for_each(|event| events.blocking_send(Event::Objects(event)).unwrap());
}

/// Waits until this is so.
#[track_caller]
fn wait_for(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_first_write_waits_for_every_source_and_then_everything_is_there_at_once() {
    let kernel = Kernel::default();
    let events = start([kernel.clone(), Kernel::default()]);
    send(&events, Kind::ALL.map(ObjectEvent::ListStarted));
    send(&events, (1..=20).map(service));
    send(&events, [Kind::Service, Kind::Node, Kind::ServiceCidr].map(ObjectEvent::ListFinished));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(kernel.commits(), 0, "EndpointSlices are not known yet");
    send(&events, [ObjectEvent::ListFinished(Kind::EndpointSlice)]);
    wait_for("all Services", || kernel.frontends(Family::V4) == 20);
    assert_eq!(kernel.commits(), 1);
    send(&events, [service(21)]);
    wait_for("one more", || kernel.frontends(Family::V4) == 21);
    events.blocking_send(Event::Shutdown).unwrap();
    wait_for("the end", || events.is_closed());
    assert_eq!(kernel.frontends(Family::V4), 21, "the rules stay");
}

#[test]
fn what_arrives_while_the_kernel_is_busy_is_written_together() {
    let slow = Kernel { write_time: Duration::from_millis(10), ..Kernel::default() };
    let events = start([slow.clone(), Kernel::default()]);
    send(&events, Kind::ALL.map(ObjectEvent::ListStarted));
    send(&events, Kind::ALL.map(ObjectEvent::ListFinished));
    for number in 1..=500 {
        send(&events, [service(number)]);
        std::thread::sleep(Duration::from_micros(500));
    }
    wait_for("all Services", || slow.frontends(Family::V4) == 500);
    // 250 ms of changes; a write takes 10 ms (and its clean-up as long) and is followed by four times as much rest.
    assert!(slow.commits() < 40, "{} writes", slow.commits());
    drop(events);
}

#[test]
fn a_family_whose_kernel_fails_does_not_hold_up_the_other() {
    let (good, bad) = (Kernel::default(), Kernel::default());
    bad.fake.lock().unwrap().set_faults(|| Fault::Fail);
    let events = start([good.clone(), bad.clone()]);
    send(&events, Kind::ALL.map(ObjectEvent::ListStarted));
    send(&events, (1..=5).map(service));
    send(&events, Kind::ALL.map(ObjectEvent::ListFinished));
    wait_for("IPv4", || good.frontends(Family::V4) == 5);
    send(&events, [service(6)]);
    wait_for("IPv4 again", || good.frontends(Family::V4) == 6);
    bad.fake.lock().unwrap().clear_faults();
    wait_for("IPv6 after its failures", || bad.frontends(Family::V6) == 6);
    // Somebody deletes the table, and the notification comes.
    bad.fake.lock().unwrap().delete_foreign_table(Family::V6, "signalbox");
    assert_eq!(bad.frontends(Family::V6), 0);
    events.blocking_send(Event::KernelChanged(Family::V6)).unwrap();
    wait_for("IPv6 repaired", || bad.frontends(Family::V6) == 6);
}

#[test]
fn a_lock_that_somebody_holds_keeps_nobody_else_from_anything() {
    let (locked, free) = (Programs::default(), Programs::default());
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    locked.0.lock().unwrap().set_faults(move || {
        *count.lock().unwrap() += 1;
        iptables::Fault::Locked
    });
    let drivers = Family::BOTH.into_iter().zip([locked.clone(), free.clone()]);
    let events = run(drivers
        .map(|(family, programs)| (family, Driver::new(IptablesBackend::new(family, programs))))
        .collect());
    send(&events, Kind::ALL.map(ObjectEvent::ListStarted));
    send(&events, (1..=3).map(service));
    send(&events, Kind::ALL.map(ObjectEvent::ListFinished));
    wait_for("IPv6", || free.refusals() == 3);
    send(&events, [service(4)]);
    wait_for("IPv6 again", || free.refusals() == 4);
    wait_for("the lock is asked for again", || *asked.lock().unwrap() >= 3);
    assert_eq!(locked.0.lock().unwrap().restores, 0);
    assert_eq!(locked.refusals(), 0, "and from here on it is free");
    wait_for("IPv4", || locked.refusals() == 4);
    locked.0.lock().unwrap().set_faults(|| iptables::Fault::Locked);
    send(&events, [service(5)]);
    events.blocking_send(Event::Shutdown).unwrap();
    wait_for("the end", || events.is_closed());
}
