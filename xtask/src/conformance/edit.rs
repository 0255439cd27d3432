//! The changes of a step, and the book of what a case has written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use testkit::cases::{
    Change, EndpointSpec, Family, Key, Kind, Marked, Member, NODES, Object, ProxyAction, SliceEdit,
};

use super::lab::Lab;
use super::run::Runner;

/// Rest after an injected segment, for the answers that it provokes.
const INJECTION_SETTLE: Duration = Duration::from_millis(100);

pub(super) fn all_nodes() -> Vec<String> {
    NODES.map(str::to_owned).to_vec()
}

impl Runner {
    /// Does one change. Answers whether it gives the proxies something to catch up with.
    pub(super) fn change(&mut self, change: &Change) -> Result<bool> {
        match change {
            Change::Write(objects) => self.objects.write_all(&self.lab, objects)?,
            Change::Delete(keys) => keys.iter().for_each(|key| self.objects.remove(&self.lab, key)),
            Change::Patch { key, body, status } => self.objects.patch(&self.lab, key, (body, *status))?,
            Change::EditSlice(edit) => self.edit_slice(edit)?,
            Change::Proxy { action, nodes, config } => {
                if config.is_some() {
                    self.config = None;
                }
                if *action != ProxyAction::Start {
                    let kindly = matches!(action, ProxyAction::Stop | ProxyAction::Restart);
                    self.lab.stop_proxies(nodes, kindly);
                }
                if matches!(action, ProxyAction::Start | ProxyAction::Restart | ProxyAction::Crash) {
                    self.lab.start_proxies(nodes, config.as_ref())?;
                }
            }
            Change::KillApiServer => {
                self.lab.stop_api_server();
                return Ok(false);
            }
            Change::StartApiServer => self.lab.start_api_server()?,
            Change::Wipe { nodes } => self.lab.wipe(nodes)?,
            Change::Host { script, nodes } => {
                // The next case must not find what it leaves behind.
                self.config = None;
                self.lab.host(nodes, script)?;
            }
            Change::Sleep(time) => {
                std::thread::sleep(*time);
                return Ok(false);
            }
            Change::Inject { flow, sequence, flags } => {
                self.inject(flow, *sequence, *flags)?;
                return Ok(false);
            }
            Change::Converge => {
                self.lab.converge()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn edit_slice(&mut self, edit: &SliceEdit) -> Result<()> {
        let Key { kind, namespace, name } = &edit.key;
        let slice = self.lab.api.get(kind.name(), namespace, name);
        let mut slice = slice.with_context(|| format!("there is no {}", edit.key))?;
        let family = if slice["addressType"] == "IPv6" { Family::V6 } else { Family::V4 };
        let mut endpoints = match &edit.set {
            Some(members) => self.members(members, family)?,
            None => slice["endpoints"].as_array().cloned().unwrap_or_default(),
        };
        for gone in self.members(&edit.remove, family)? {
            endpoints.retain(|endpoint| endpoint["addresses"] != gone["addresses"]);
        }
        for (who, state) in &edit.mark {
            let name = match who {
                Marked::Named(name) => name.clone(),
                Marked::Chosen(label) => self.memory.chosen(label)?,
            };
            mark(&mut endpoints, self.members_named(&name, state, family)?)
                .with_context(|| format!("{name} is not in {}", edit.key))?;
        }
        endpoints.extend(self.members(&edit.add, family)?);
        slice["endpoints"] = json!(endpoints);
        if let Some(ports) = &edit.ports {
            slice["ports"] = ports.clone();
        }
        self.lab.write(slice)
    }

    fn members(&self, members: &[Member], family: Family) -> Result<Vec<Value>> {
        let mut endpoints = Vec::new();
        for member in members {
            endpoints.extend(match member {
                Member::Named(spec) => spec.endpoints(&self.lab.plan, family)?,
                Member::Chosen(label) => self.members_named(&self.memory.chosen(label)?, "ready", family)?,
            });
        }
        Ok(endpoints)
    }

    fn members_named(&self, name: &str, state: &str, family: Family) -> Result<Vec<Value>> {
        Ok(EndpointSpec::named(&self.lab.plan, name, state)?.endpoints(&self.lab.plan, family)?)
    }

    /// Sends a segment as if the endpoint of a flow had sent it, far outside of the window but rightly acknowledged.
    fn inject(&mut self, flow: &str, sequence: u32, flags: u8) -> Result<()> {
        let flow = self.flows.get_mut(flow).with_context(|| format!("no open flow {flow}"))?;
        let (Some(src), Some(dst)) = (flow.first.src, flow.first.dst) else {
            bail!("the flow was never open")
        };
        let owner = self.lab.plan.owner(dst.ip()).with_context(|| format!("{dst} belongs to nobody"))?;
        let mut command = self.lab.tool.command("inject", &owner.name);
        command.args(["--from", &dst.to_string(), "--to", &src.to_string(), "--learn-ms", "2000"]);
        command.args(["--seq", &sequence.to_string(), "--flags", &flags.to_string()]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("injecting")?;
        let mut ready = String::new();
        let output = child.stdout.take().context("the output of the injector")?;
        BufReader::new(output).read_line(&mut ready).context("the output of the injector")?;
        // It learns the numbers of the connection from this exchange.
        flow.ping(Duration::from_millis(1500))?;
        let finished = child.wait_with_output().context("injecting")?;
        if !finished.status.success() {
            bail!("inject: {}", String::from_utf8_lossy(&finished.stderr).trim());
        }
        std::thread::sleep(INJECTION_SETTLE);
        Ok(())
    }
}

/// Gives the endpoints with the addresses of `new` their conditions; `None` when one of them is not there.
fn mark(endpoints: &mut [Value], new: Vec<Value>) -> Option<()> {
    for new in new {
        let mut hits = endpoints.iter_mut().filter(|e| e["addresses"] == new["addresses"]).peekable();
        hits.peek()?;
        for hit in hits {
            match new.get("conditions") {
                Some(conditions) => hit["conditions"] = conditions.clone(),
                None => drop(hit.as_object_mut()?.remove("conditions")),
            }
        }
    }
    Some(())
}

/// What a case has written and has to be removed after it.
#[derive(Debug, Default)]
pub(super) struct Objects {
    written: Vec<Key>,
    nodes: BTreeSet<String>,
}

impl Objects {
    /// Writes objects, Services before slices.
    pub(super) fn write_all(&mut self, lab: &Lab, objects: &[Object]) -> Result<()> {
        let mut objects: Vec<_> = objects.iter().collect();
        objects.sort_by_key(|object| object.key.kind);
        for object in objects {
            lab.write(object.body.clone())?;
            if !self.written.contains(&object.key) {
                self.written.push(object.key.clone());
            }
            if let Some(status) = &object.status {
                self.patch(lab, &object.key, (&json!({"status": status}), true))?;
            }
        }
        Ok(())
    }

    pub(super) fn patch(&mut self, lab: &Lab, key: &Key, (body, status): (&Value, bool)) -> Result<()> {
        self.touch(key);
        let place = (key.kind.name(), key.namespace.as_str(), key.name.as_str());
        if lab.api.get(place.0, place.1, place.2).is_none() {
            bail!("there is no {key}");
        }
        lab.api.merge_patch(place, body, status);
        Ok(())
    }

    pub(super) fn remove(&mut self, lab: &Lab, key: &Key) {
        self.touch(key);
        // It may be gone already: the case wants it gone.
        lab.api.delete(key.kind.name(), &key.namespace, &key.name);
        self.written.retain(|written| written != key);
    }

    /// Deletes everything, the latest first, and puts the Nodes back.
    pub(super) fn remove_all(&mut self, lab: &Lab) -> Result<()> {
        for key in std::mem::take(&mut self.written).iter().rev() {
            lab.api.delete(key.kind.name(), &key.namespace, &key.name);
        }
        std::mem::take(&mut self.nodes).iter().try_for_each(|node| lab.put_node(node))
    }

    pub(super) fn has_touched_nodes(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Answers how many endpoints the Service with the most has.
    pub(super) fn most_endpoints(&self, lab: &Lab) -> usize {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for key in self.written.iter().filter(|key| key.kind == Kind::Slice) {
            let Some(slice) = lab.api.get(key.kind.name(), &key.namespace, &key.name) else { continue };
            let service =
                slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str().unwrap_or_default();
            *counts.entry(service.to_owned()).or_default() +=
                slice["endpoints"].as_array().map_or(0, Vec::len);
        }
        counts.into_values().max().unwrap_or(0)
    }

    fn touch(&mut self, key: &Key) {
        if key.kind == Kind::Node {
            self.nodes.insert(key.name.clone());
        }
    }
}
