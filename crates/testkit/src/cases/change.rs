//! What a step does before it looks: objects, the proxies, the API server, the nodes.

use std::time::Duration;

use serde_json::Value;

use super::config::ProxyConfig;
use super::endpoint::EndpointSpec;
use super::object::{Key, Kind, Object, is_object, ports};
use super::plan::{NODES, Plan};
use super::text::{expanded_tree, unfolded};
use super::yaml::{Fields, Yaml};
use super::{CaseError, wrong};

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Objects that follow one another are written together: Services first, then slices.
    Write(Vec<Object>),
    Delete(Vec<Key>),
    /// A merge patch, of the status alone where `status` is set.
    Patch {
        key: Key,
        body: Value,
        status: bool,
    },
    /// Edits the endpoints of a slice that the case wrote.
    EditSlice(SliceEdit),
    Proxy {
        action: ProxyAction,
        nodes: Vec<String>,
        config: Option<ProxyConfig>,
    },
    KillApiServer,
    StartApiServer,
    /// Removes all rules and flows of the nodes.
    Wipe {
        nodes: Vec<String>,
    },
    /// What somebody else does on the nodes: firewall rules and the like.
    Host {
        script: String,
        nodes: Vec<String>,
    },
    Sleep(Duration),
    /// A segment of a flow that is far outside of the window.
    Inject {
        flow: String,
        sequence: u32,
        flags: u8,
    },
    /// Waits for the proxies, in the middle of other changes.
    Converge,
}

/// What happens to the proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyAction {
    Stop,
    Kill,
    Start,
    /// Stopped and started.
    Restart,
    /// Killed and started.
    Crash,
}

/// An edit of a slice; in the order of the fields.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceEdit {
    pub key: Key,
    pub set: Option<Vec<Member>>,
    pub remove: Vec<Member>,
    /// Who gets another state, by its word.
    pub mark: Vec<(Marked, String)>,
    pub add: Vec<Member>,
    pub ports: Option<Value>,
}

/// An endpoint that the case names, or that a probe found.
#[derive(Debug, Clone, PartialEq)]
pub enum Member {
    Named(EndpointSpec),
    /// The one that the probe or flow of this label reached.
    Chosen(String),
}

/// As [`Member`], for new states.
#[derive(Debug, Clone, PartialEq)]
pub enum Marked {
    Named(String),
    Chosen(String),
}

/// Reads a list of changes and groups objects that follow one another.
pub(super) fn changes(plan: &Plan, list: &Yaml) -> Result<Vec<Change>, CaseError> {
    let list = unfolded(list)?;
    let mut changes = Vec::new();
    for item in list.list("change")? {
        // `%i` of `delete-each` must survive, and does: it is no short form of its own.
        let item = expanded_tree(plan, item)?;
        if !is_object(&item)? {
            changes.push(change(plan, &item)?);
            continue;
        }
        let object = Object::parse(plan, &item)?;
        match changes.last_mut() {
            Some(Change::Write(objects)) => objects.push(object),
            _ => changes.push(Change::Write(vec![object])),
        }
    }
    Ok(changes)
}

fn change(plan: &Plan, item: &Yaml) -> Result<Change, CaseError> {
    let mut fields = Fields::of(item, "change")?;
    let first = fields.names().find(|name| VERBS.contains(name)).map(str::to_owned);
    let Some(verb) = first else { return Err(wrong(format!("unknown change {item:?}"))) };
    let change = match verb.as_str() {
        "delete-each" => delete_each(&mut fields)?,
        "delete" => Change::Delete(references(&fields.take("delete").unwrap_or(Yaml::Null))?),
        "patch" => Change::Patch {
            key: Key::parse(&fields.need_text("patch")?)?,
            body: fields.take("body").ok_or_else(|| wrong("patch without body"))?.to_json(),
            status: fields.take("status").map(|v| v.bool("status")).transpose()?.unwrap_or(false),
        },
        "endpoints" => Change::EditSlice(slice_edit(plan, &mut fields)?),
        "proxy" => proxy(&mut fields)?,
        "apiserver" => match fields.need_text("apiserver")?.as_str() {
            "kill" => Change::KillApiServer,
            "start" => Change::StartApiServer,
            other => return Err(wrong(format!("apiserver: {other}"))),
        },
        "wipe" => {
            fields.take("wipe");
            Change::Wipe { nodes: nodes(&mut fields)? }
        }
        "host" => Change::Host { script: fields.need_text("host")?, nodes: nodes(&mut fields)? },
        "sleep" => Change::Sleep(fields.take("sleep").unwrap_or(Yaml::Null).seconds("sleep")?),
        "inject" => inject(&mut fields)?,
        "converge" => {
            fields.take("converge");
            Change::Converge
        }
        other => return Err(wrong(format!("change {other} is listed but not read"))),
    };
    fields.end()?;
    Ok(change)
}

/// In the order in which they are looked for.
const VERBS: [&str; 11] = [
    "delete-each",
    "delete",
    "patch",
    "endpoints",
    "proxy",
    "apiserver",
    "wipe",
    "host",
    "sleep",
    "inject",
    "converge",
];

fn delete_each(fields: &mut Fields) -> Result<Change, CaseError> {
    let count = fields.take("delete-each").unwrap_or(Yaml::Null).count("delete-each")?;
    let of = fields.need_text("of")?;
    let keys = (1..=count).map(|number| Key::parse(&of.replace("%i", &number.to_string())));
    Ok(Change::Delete(keys.collect::<Result<_, _>>()?))
}

fn references(tree: &Yaml) -> Result<Vec<Key>, CaseError> {
    if let Yaml::Text(text) = tree {
        return Ok(vec![Key::parse(text)?]);
    }
    tree.list("delete")?.iter().map(|item| Key::parse(&item.text("delete")?)).collect()
}

fn nodes(fields: &mut Fields) -> Result<Vec<String>, CaseError> {
    let Some(list) = fields.take("nodes") else { return Ok(NODES.map(str::to_owned).to_vec()) };
    let names: Vec<_> =
        list.list("nodes")?.iter().map(|item| item.text("nodes")).collect::<Result<_, _>>()?;
    if let Some(stranger) = names.iter().find(|name| !NODES.contains(&name.as_str())) {
        return Err(wrong(format!("no such node: {stranger}")));
    }
    Ok(names)
}

fn proxy(fields: &mut Fields) -> Result<Change, CaseError> {
    let action = match fields.need_text("proxy")?.as_str() {
        "stop" => ProxyAction::Stop,
        "kill" => ProxyAction::Kill,
        "start" => ProxyAction::Start,
        "restart" => ProxyAction::Restart,
        "crash" => ProxyAction::Crash,
        other => return Err(wrong(format!("proxy: {other}"))),
    };
    let nodes = nodes(fields)?;
    let config = fields.take("config").map(|tree| ProxyConfig::parse(&tree)).transpose()?;
    Ok(Change::Proxy { action, nodes, config })
}

fn inject(fields: &mut Fields) -> Result<Change, CaseError> {
    let flow = fields.need_text("inject")?;
    let sequence = fields.take("seq").map(|v| v.count("seq")).transpose()?.unwrap_or(1 << 30);
    let flags = fields.take("flags").map(|v| v.count("flags")).transpose()?.unwrap_or(16);
    let flags = u8::try_from(flags).map_err(|_| wrong(format!("flags {flags}")))?;
    Ok(Change::Inject { flow, sequence, flags })
}

fn slice_edit(plan: &Plan, fields: &mut Fields) -> Result<SliceEdit, CaseError> {
    let name = fields.need_text("endpoints")?;
    let key = Key { kind: Kind::Slice, namespace: "default".into(), name };
    let members = |tree: Option<Yaml>| -> Result<Vec<Member>, CaseError> {
        tree.unwrap_or(Yaml::Null).list("endpoints")?.iter().map(|item| member(plan, item)).collect()
    };
    let set = fields.take("set").map(|tree| members(Some(tree))).transpose()?;
    let remove = members(fields.take("remove"))?;
    let add = members(fields.take("add"))?;
    let mut mark = Vec::new();
    for (who, state) in fields.take("mark").unwrap_or(Yaml::Null).entries("mark")? {
        let state = state.text("mark")?;
        let who = match who.strip_prefix("chosen-") {
            Some(label) => Marked::Chosen(label.to_owned()),
            None => Marked::Named(who.clone()),
        };
        // Chosen endpoints are known only when the case runs; the word of the state is checked now.
        let name = if let Marked::Named(name) = &who { name } else { "a1" };
        EndpointSpec::named(plan, name, &state)?;
        mark.push((who, state));
    }
    let ports = fields.take("ports").map(|tree| ports(&tree)).transpose()?;
    Ok(SliceEdit { key, set, remove, mark, add, ports })
}

fn member(plan: &Plan, item: &Yaml) -> Result<Member, CaseError> {
    if let Yaml::Map(_) = item {
        let mut fields = Fields::of(item, "member")?;
        if let Some(label) = fields.take_text("chosen")? {
            fields.end()?;
            return Ok(Member::Chosen(label));
        }
    }
    Ok(Member::Named(EndpointSpec::parse(plan, item)?))
}
