//! The controllers as one machine without effects: it hears what is seen and what was answered, and says what to do next.
//!
//! The shell does what it says. Tests play the shell, the server and the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde_json::Value;
use watch::client::ClientError;

use crate::action::{Action, Kind, Plan, Said, Verb};
use crate::moment::Moment;
use crate::queue::Queue;
use crate::tally::Tally;
use crate::trimmed::{Deployment, Node, Place, Pod, ReplicaSet};
use crate::world::{Key, News, World, concerned_by_node};
use crate::{
    Controller, Settings, deployment, eviction, lifecycle, namespace, orphans, ranges, replica_set, schedule,
};

/// How long a node may be away before its Pods go.
const QUARANTINE: Duration = Duration::from_secs(40);
/// How long to rest at most, and how much longer is too long.
pub(crate) const LONGEST_REST: Duration = Duration::from_secs(60);
const LATE: Duration = Duration::from_secs(5);

/// The controllers.
#[derive(Debug)]
pub(crate) struct Engine {
    controllers: BTreeSet<Controller>,
    ranges: Vec<IpNet>,
    root: Option<String>,
    grace: Duration,
    world: World,
    queue: Queue<Key>,
    /// What the last attempt to make or delete something ended with.
    failures: BTreeMap<Key, String>,
    /// What was said once: of which object, and the reason.
    told: BTreeSet<(String, &'static str)>,
    was_synced: bool,
    tally: Tally,
    /// Until when there is nothing to do unless something is heard.
    rests_until: Option<Moment>,
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) struct Job {
    /// What for.
    pub(crate) key: Key,
    /// What.
    pub(crate) plan: Plan,
}

/// What an answer means for the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Fine,
    /// It ends, and is made anew when something changes.
    Over,
    /// It ends, and is made anew soon.
    Again,
}

/// What an answer means for the plan that an action is of.
pub(crate) fn verdict(action: &Action, answer: &Result<Value, ClientError>) -> Verdict {
    let error = match answer {
        Ok(object) if action.verb == Verb::Confirm => {
            let meta = &object["metadata"];
            let is_it = meta["uid"] == action.uid.as_str() && meta["deletionTimestamp"].is_null();
            return if is_it { Verdict::Fine } else { Verdict::Over };
        }
        Ok(_) => return Verdict::Fine,
        Err(error) => error,
    };
    match action.verb {
        // It is gone, or it is another one.
        Verb::Delete if error.is_not_found() || error.is_conflict() => Verdict::Fine,
        Verb::Create if is_namespace_leaving(error) => Verdict::Over,
        Verb::Patch { .. } | Verb::Bind | Verb::Confirm if error.is_not_found() => Verdict::Over,
        Verb::Create | Verb::Patch { .. } | Verb::Bind | Verb::Confirm | Verb::Delete => Verdict::Again,
    }
}

fn is_namespace_leaving(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { code: 403 | 404, message, .. } => {
            message.contains("because it is being terminated") || message.starts_with("namespaces ")
        }
        ClientError::Refused { .. } | ClientError::Unreachable(_) => false,
    }
}

impl Engine {
    /// The controllers that the settings name.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            controllers: settings.controllers.clone(),
            ranges: settings.cluster_ranges.clone(),
            root: settings.root_certificate.clone(),
            grace: settings.node_grace,
            world: World::default(),
            queue: Queue::default(),
            failures: BTreeMap::new(),
            told: BTreeSet::new(),
            was_synced: false,
            tally: Tally::new(&settings.queues),
            rests_until: None,
        }
    }

    /// What is known.
    #[cfg(test)]
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Hears what was seen.
    pub(crate) fn hear(&mut self, news: News, now: Moment) {
        self.note_sleep(now);
        self.world.signs.hear(&news, now);
        let keys = self.world.hear(news);
        self.enqueue(keys, now);
        if self.world.is_synced() && !self.was_synced {
            self.was_synced = true;
            self.enqueue(vec![Key::Ranges, Key::Schedule, Key::Orphans], now);
        }
    }

    fn enqueue(&mut self, keys: impl IntoIterator<Item = Key>, now: Moment) {
        for key in keys {
            let controller = controller(&key);
            if self.controllers.contains(&controller) {
                self.tally.of(controller).added();
                self.queue.add(key, now);
            }
        }
    }

    /// What is to be done now; the answers to it are told by [`Engine::answered`] and [`Engine::done`].
    pub(crate) fn next(&mut self, now: Moment) -> Option<(Job, Vec<Said>)> {
        self.note_sleep(now);
        let next = self.find_next(now);
        if next.is_none() {
            let latest = now.plus(LONGEST_REST);
            self.rests_until = Some(self.wakes().map_or(latest, |when| when.clamp(now, latest)));
        }
        next
    }

    /// Who wakes up much too late, as with a machine that was asleep, has not listened.
    fn note_sleep(&mut self, now: Moment) {
        if self.rests_until.is_some_and(|until| until.plus(LATE) < now) {
            self.world.signs.restart(now);
        }
        self.rests_until = Some(self.rests_until.map_or(now, |until| until.max(now)));
    }

    fn find_next(&mut self, now: Moment) -> Option<(Job, Vec<Said>)> {
        if !self.was_synced {
            return None;
        }
        let expired = self.world.pods.expire(now);
        let mut keys: Vec<Key> = expired.iter().flat_map(|pod| self.world.concerned_by_pod(pod)).collect();
        let expired = self.world.sets.expire(now);
        keys.extend(expired.iter().flat_map(|set| self.world.concerned_by_set(set)));
        self.enqueue(keys, now);
        loop {
            let Some((key, due)) = self.queue.take(now) else {
                self.tally.set_depths(self.queue.overdue(now).map(controller));
                return None;
            };
            self.tally.of(controller(&key)).taken(now.since(due));
            let mut plan = self.plan(&key, now);
            if let Some(when) = plan.again {
                self.queue.add(key.clone(), when);
            }
            let mut said = std::mem::take(&mut plan.said);
            said.retain(|one| !one.is_once || self.told.insert((one.of["uid"].to_string(), one.reason)));
            if !plan.steps.is_empty() || !said.is_empty() {
                return Some((Job { key, plan }, said));
            }
            let took = self.queue.done(key.clone(), false, now);
            self.tally.of(controller(&key)).done(took);
        }
    }

    /// When there may be something to do although nothing is heard.
    pub(crate) fn wakes(&self) -> Option<Moment> {
        self.queue.next().filter(|_| self.was_synced)
    }

    /// Hears what an action came to; answers what there is to say of it.
    pub(crate) fn answered(
        &mut self,
        key: &Key,
        action: &Action,
        (answer, now): (&Result<Value, ClientError>, Moment),
    ) -> Option<Said> {
        match answer {
            Ok(object) => {
                self.written(action, object, now);
                if self.is_counted(key, action) {
                    self.failures.remove(key);
                }
                let said = action.told[0].clone()?;
                Some(end(said, object["metadata"]["name"].as_str().unwrap_or_default()))
            }
            Err(error) => {
                if matches!(error, ClientError::Unreachable(_)) {
                    // Nobody is heard either.
                    self.world.signs.restart(now);
                }
                if error.is_not_found() && action.verb != Verb::Create {
                    self.lost(action, now);
                }
                if verdict(action, answer) != Verdict::Again || !self.is_counted(key, action) {
                    return None;
                }
                let message = message(error);
                self.failures.insert(key.clone(), message.clone());
                Some(end(action.told[1].clone()?, &message))
            }
        }
    }

    /// Whether the object tells in its status that the action failed.
    fn is_counted(&self, key: &Key, action: &Action) -> bool {
        match (key, &action.verb) {
            (Key::ReplicaSet(_), Verb::Create | Verb::Delete) => action.kind == Kind::Pod,
            (Key::Deployment(_), Verb::Create) => action.kind == Kind::ReplicaSet,
            (
                Key::ReplicaSet(_)
                | Key::Deployment(_)
                | Key::Schedule
                | Key::Node(_)
                | Key::Evictions(_)
                | Key::Ranges
                | Key::Orphans
                | Key::Account(_)
                | Key::Root(_),
                Verb::Create | Verb::Delete | Verb::Patch { .. } | Verb::Bind | Verb::Confirm,
            ) => false,
        }
    }

    /// Hears that a plan has ended.
    pub(crate) fn done(&mut self, key: Key, verdict: Verdict, now: Moment) {
        let tally = self.tally.of(controller(&key));
        let is_failed = verdict == Verdict::Again;
        if is_failed {
            tally.retried();
        }
        tally.done(self.queue.done(key, is_failed, now));
    }

    /// Takes what was written as known.
    fn written(&mut self, action: &Action, object: &Value, now: Moment) {
        let keys = match (&action.verb, action.kind) {
            (Verb::Bind, _) => {
                let node = action.body["target"]["name"].as_str().unwrap_or_default();
                self.world.give(&action.place, &action.uid, node);
                Vec::new()
            }
            (Verb::Confirm, _) => Vec::new(),
            (Verb::Delete, _) => self.doomed(action, now),
            (Verb::Create | Verb::Patch { .. }, Kind::Pod) => {
                read::<Pod>(object).map(|pod| self.world.write_pod(pod, now)).unwrap_or_default()
            }
            (Verb::Create | Verb::Patch { .. }, Kind::ReplicaSet) => {
                let Some(set) = read::<ReplicaSet>(object) else { return };
                let keys = self.world.concerned_by_set(&set);
                if self.world.sets.write(set, now) { keys } else { Vec::new() }
            }
            (Verb::Create | Verb::Patch { .. }, Kind::Deployment) => {
                let Some(new) = read::<Deployment>(object) else { return };
                let key = Key::Deployment(new.metadata.place());
                if self.world.deployments.write(new, now) { vec![key] } else { Vec::new() }
            }
            (Verb::Create | Verb::Patch { .. }, Kind::Node) => {
                let Some(node) = read::<Node>(object) else { return };
                let keys = concerned_by_node(&node);
                if self.world.nodes.write(node, now) { keys } else { Vec::new() }
            }
            (Verb::Create | Verb::Patch { .. }, Kind::ServiceAccount) => {
                if let Some(one) = read(object) {
                    self.world.accounts.write(one, now);
                }
                Vec::new()
            }
            (Verb::Create | Verb::Patch { .. }, Kind::ConfigMap) => {
                if let Some(one) = read(object) {
                    self.world.roots.write(one, now);
                }
                Vec::new()
            }
        };
        self.enqueue(keys, now);
    }

    fn doomed(&mut self, action: &Action, now: Moment) -> Vec<Key> {
        match action.kind {
            Kind::Pod => {
                self.world.pods.doom(&action.place, &action.uid, now);
                let pod = self.world.pods.get(&action.place);
                pod.map(|pod| self.world.concerned_by_pod(pod)).unwrap_or_default()
            }
            Kind::ReplicaSet => {
                self.world.sets.doom(&action.place, &action.uid, now);
                Vec::new()
            }
            Kind::Deployment | Kind::Node | Kind::ServiceAccount | Kind::ConfigMap => Vec::new(),
        }
    }

    /// What was written to is not there.
    fn lost(&mut self, action: &Action, now: Moment) {
        let keys = self.doomed(action, now);
        self.enqueue(keys, now);
    }

    fn plan(&mut self, key: &Key, now: Moment) -> Plan {
        match key {
            Key::ReplicaSet(place) => self.plan_set(key, place, now),
            Key::Deployment(place) => self.plan_deployment(key, place, now),
            Key::Schedule => self.plan_schedule(now),
            Key::Node(name) => self.plan_node(name, now),
            Key::Evictions(name) => self.plan_evictions(name, now),
            Key::Ranges => ranges::reconcile(&self.ranges, &self.world.nodes.all().collect::<Vec<_>>()),
            Key::Orphans => {
                self.world.note_missing(now);
                let pods: Vec<&Pod> = self.world.pods.all().collect();
                orphans::reconcile(&pods, &self.world.missing, (QUARANTINE, now))
            }
            Key::Account(name) => {
                let place = Place { namespace: String::new(), name: name.clone() };
                let Some(namespace) = self.world.namespaces.get(&place) else { return Plan::default() };
                namespace::account(namespace, self.world.account(name))
            }
            Key::Root(name) => {
                let place = Place { namespace: String::new(), name: name.clone() };
                let known = self.world.namespaces.get(&place).zip(self.root.as_ref());
                let Some((namespace, certificate)) = known else { return Plan::default() };
                namespace::root(namespace, self.world.root(name), certificate)
            }
        }
    }

    fn plan_node(&mut self, name: &str, now: Moment) -> Plan {
        let world = &mut self.world;
        let nodes: Vec<&Node> = world.nodes.all().collect();
        let is_other = world.pace.look(&nodes, now);
        let Some((node, heard)) = world.node(name).zip(world.signs.last(name)) else {
            return Plan::default();
        };
        let leave = world.pace.leave(node, &nodes, now);
        let grace = self.grace;
        let is_lost = lifecycle::is_lost(node, (heard, grace), now);
        let pods = if is_lost { world.pods_on(name) } else { Vec::new() };
        let plan = lifecycle::reconcile(&lifecycle::View { node, heard, grace, pods, leave, now });
        if lifecycle::begins_to_put_away(node, &plan) {
            let node = node.clone();
            self.world.pace.used(&node, now);
        }
        if is_other {
            let others = self.world.nodes.all().map(|node| Key::Node(node.metadata.name.clone()));
            let others: Vec<Key> = others.collect();
            self.enqueue(others, now);
        }
        plan
    }

    fn plan_evictions(&mut self, name: &str, now: Moment) -> Plan {
        let mut clocks = self.world.clocks.remove(name).unwrap_or_default();
        let Some(node) = self.world.node(name) else { return Plan::default() };
        if clocks.is_empty() && !eviction::puts_away(node) {
            return Plan::default();
        }
        let plan = eviction::reconcile(node, &self.world.pods_on(name), &mut clocks, now);
        if !clocks.is_empty() {
            self.world.clocks.insert(name.to_owned(), clocks);
        }
        plan
    }

    fn plan_set(&mut self, key: &Key, place: &Place, now: Moment) -> Plan {
        let Some(set) = self.world.sets.get(place) else {
            self.failures.remove(key);
            return Plan::default();
        };
        let (world, space) = (&self.world, place.namespace.as_str());
        let own = world.pods.owned(space, &set.metadata.uid);
        let family = set.metadata.controller().map(|owner| world.sets.owned(space, &owner.uid));
        let family = family.into_iter().flatten();
        let view = replica_set::View {
            set,
            pods: own.chain(world.pods.owned(space, "")).collect(),
            related: family.flat_map(|set| world.pods.owned(space, &set.metadata.uid)).collect(),
            failure: self.failures.get(key).map(String::as_str),
            now,
        };
        replica_set::reconcile(&view)
    }

    fn plan_deployment(&mut self, key: &Key, place: &Place, now: Moment) -> Plan {
        let Some(deployment) = self.world.deployments.get(place) else {
            self.failures.remove(key);
            return Plan::default();
        };
        let (world, space) = (&self.world, place.namespace.as_str());
        let own = world.sets.owned(space, &deployment.metadata.uid);
        let sets: Vec<&ReplicaSet> = own.chain(world.sets.owned(space, "")).collect();
        let is_busy =
            |set: &&ReplicaSet| world.pods.owned(space, &set.metadata.uid).any(|pod| !pod.is_over());
        let busy = sets.iter().copied().filter(is_busy).map(|set| set.metadata.uid.as_str());
        let view = deployment::View {
            deployment,
            busy: busy.collect(),
            sets,
            taken: world.sets.inside(space).map(|set| set.metadata.name.as_str()).collect(),
            failure: self.failures.get(key).map(String::as_str),
            now,
        };
        deployment::reconcile(&view)
    }

    fn plan_schedule(&self, now: Moment) -> Plan {
        let world = &self.world;
        if world.waiting.is_empty() {
            return Plan::default();
        }
        let view = schedule::View {
            waiting: world.waiting.iter().filter_map(|place| world.pods.get(place)).collect(),
            placed: world.pods.all().filter(|pod| !pod.spec.node_name.is_empty()).collect(),
            nodes: world.nodes.all().filter(|node| !node.metadata.is_leaving()).collect(),
            now,
        };
        schedule::reconcile(&view)
    }
}

fn controller(key: &Key) -> Controller {
    match key {
        Key::ReplicaSet(_) => Controller::ReplicaSet,
        Key::Deployment(_) => Controller::Deployment,
        Key::Schedule => Controller::Scheduler,
        Key::Node(_) => Controller::NodeLifecycle,
        Key::Evictions(_) => Controller::TaintEviction,
        Key::Ranges => Controller::NodeIpam,
        Key::Orphans => Controller::PodGc,
        Key::Account(_) => Controller::ServiceAccount,
        Key::Root(_) => Controller::RootCa,
    }
}

fn read<T: DeserializeOwned>(object: &Value) -> Option<T> {
    T::deserialize(object).ok()
}

fn end(mut said: Said, with: &str) -> Said {
    if said.is_open {
        said.message.push_str(with);
    }
    said
}

fn message(error: &ClientError) -> String {
    match error {
        ClientError::Refused { message, .. } => message.clone(),
        ClientError::Unreachable(why) => why.clone(),
    }
}
