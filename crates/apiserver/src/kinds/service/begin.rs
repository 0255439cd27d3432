//! Which addresses and ports a Service takes and gives back (`alloc.go` of Kubernetes' registry of Services).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::spec::{Spec, fields, node_port, set_node_port, set_texts};
use super::{KIND, families, update};
use crate::address;
use crate::allocate::{self, Owner};
use crate::mistake::{Mistake, Path, refuse};
use crate::status::Status;
use crate::writing::Writing;

/// Completes a new or changed Service with what it gets of the cluster, and gives back what it does not need any more.
pub(super) fn begin(writing: &mut Writing<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    if let Some(old) = old {
        update::keep_allocated(new, old);
    }
    update::join_cluster_ips(new, old);
    let families = allocate::families(writing);
    let wrong = families::complete(new, old, &families);
    if !wrong.is_empty() {
        return Err(refused(new, &wrong));
    }
    match old {
        None => take_addresses(writing, new, 0)?,
        Some(old) => change_addresses(writing, new, old)?,
    }
    match old {
        None => take_ports(writing, new)?,
        Some(old) => change_ports(writing, new, old)?,
    }
    let had_health_check = old.is_some_and(|old| Spec::of(old).needs_health_check());
    if Spec::of(new).needs_health_check() && !had_health_check {
        take_health_port(writing, new)?;
    }
    if let Some(old) = old {
        give_ports_back(writing, new, old);
    }
    Ok(())
}

/// Gives everything back.
pub(super) fn release(writing: &mut Writing<'_>, old: &Value) {
    let owner = Owner::of(old);
    for address in Spec::of(old).addresses() {
        allocate::give_address_back(writing, address, &owner);
    }
    for number in Spec::of(old).taken_ports() {
        allocate::give_port_back(writing, number, &owner);
    }
}

fn refused(service: &Value, wrong: &[Mistake]) -> Status {
    refuse(&KIND, service["metadata"]["name"].as_str().unwrap_or_default(), wrong)
}

/// Takes an address for each family from this one on, those that are named and any others.
fn take_addresses(writing: &mut Writing<'_>, new: &mut Value, from: usize) -> Result<(), Status> {
    let (spec, owner) = (Spec::of(new), Owner::of(new));
    let families: Vec<String> = spec.texts("ipFamilies").into_iter().map(str::to_owned).collect();
    let mut addresses: Vec<String> = spec.texts("clusterIPs").into_iter().map(str::to_owned).collect();
    if spec.is_external_name() || addresses.first().is_some_and(|first| first == "None") {
        return Ok(());
    }
    addresses.resize(addresses.len().max(families.len()), String::new());
    for (at, family) in families.iter().enumerate().skip(from) {
        if addresses[at].is_empty() {
            let given = allocate::take_any_address(writing, family, &owner);
            let given =
                given.map_err(|why| Status::internal(&format!("failed to allocate a serviceIP: {why}")))?;
            addresses[at] = given.to_string();
            continue;
        }
        let asked = address::lenient(&addresses[at]).ok_or(allocate::NoAddress::OutOfRange);
        if let Err(why) = asked.and_then(|address| allocate::take_address(writing, address, &owner)) {
            let why = format!("failed to allocate IP {}: {why}", addresses[at]);
            let field = Path::new("spec").child("clusterIPs");
            return Err(refused(new, &[Mistake::invalid(&field, json!(addresses), why)]));
        }
    }
    set_texts(new, "clusterIPs", &addresses);
    if let Some(first) = addresses.into_iter().next().filter(|_| from == 0) {
        fields(new).insert("clusterIP".to_owned(), first.into());
    }
    Ok(())
}

fn change_addresses(writing: &mut Writing<'_>, new: &mut Value, old: &Value) -> Result<(), Status> {
    let (was, is) = (Spec::of(old), Spec::of(new));
    if families::is_settled(new, old) {
        return Ok(());
    }
    if was.is_external_name() {
        return take_addresses(writing, new, 0);
    }
    if was.texts("clusterIPs").first() == Some(&"None") {
        return Ok(());
    }
    let owner = Owner::of(old);
    if is.is_external_name() {
        for address in was.addresses() {
            allocate::give_address_back(writing, address, &owner);
        }
        return Ok(());
    }
    match (was.texts("ipFamilies").len(), is.texts("ipFamilies").len()) {
        (1, 2) => take_addresses(writing, new, 1),
        (2, 1) => {
            for address in was.addresses().into_iter().skip(1) {
                allocate::give_address_back(writing, address, &owner);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn asked_port(new: &Value, at: usize, number: i64, why: &impl ToString) -> Status {
    let field = Path::new("spec").child("ports").index(at).child("nodePort");
    refused(new, &[Mistake::invalid(&field, number, why.to_string())])
}

fn any_port(writing: &mut Writing<'_>, owner: &Owner) -> Result<i64, Status> {
    let given = allocate::take_any_port(writing, owner);
    given.map_err(|why| Status::internal(&format!("failed to allocate a nodePort: {why}")))
}

/// Takes ports for a new Service. One number serves all protocols of a port.
fn take_ports(writing: &mut Writing<'_>, new: &mut Value) -> Result<(), Status> {
    if !Spec::of(new).has_node_ports() {
        return Ok(());
    }
    let (owner, wants) = (Owner::of(new), Spec::of(new).wants_node_ports());
    let ports: Vec<(i64, i64)> = Spec::of(new)
        .ports()
        .iter()
        .map(|port| (port["port"].as_i64().unwrap_or(0), node_port(port)))
        .collect();
    let mut given: BTreeMap<i64, i64> = BTreeMap::new();
    let mut named: BTreeMap<i64, i64> = BTreeMap::new();
    for (port, number) in ports.iter().filter(|(_, number)| *number != 0) {
        named.entry(*port).or_insert(*number);
    }
    for (at, &(port, asked)) in ports.iter().enumerate() {
        if asked == 0 && !wants {
            continue;
        }
        let number = match (given.get(&port).copied(), named.get(&port).copied()) {
            (Some(number), _) if asked == 0 || asked == number => number,
            (Some(_), _) => {
                allocate::take_port(writing, asked, &owner)
                    .map_err(|why| asked_port(new, at, asked, &why))?;
                asked
            }
            (None, Some(number)) => {
                allocate::take_port(writing, number, &owner)
                    .map_err(|why| asked_port(new, at, number, &why))?;
                given.insert(port, number);
                number
            }
            (None, None) => {
                let number = any_port(writing, &owner)?;
                given.insert(port, number);
                number
            }
        };
        set_node_port(new, at, number);
    }
    Ok(())
}

/// Takes the ports that the Service has not yet. That no protocol has a number twice is judged with the rest.
fn change_ports(writing: &mut Writing<'_>, new: &mut Value, old: &Value) -> Result<(), Status> {
    if !Spec::of(new).has_node_ports() {
        return Ok(());
    }
    let (owner, wants) = (Owner::of(new), Spec::of(new).wants_node_ports());
    let had = if Spec::of(old).has_node_ports() { Spec::of(old).node_ports() } else { Vec::new() };
    let mut had: BTreeSet<i64> = had.into_iter().collect();
    let asked: Vec<i64> = Spec::of(new).ports().iter().map(node_port).collect();
    for (at, asked) in asked.into_iter().enumerate() {
        if asked == 0 && wants {
            let number = any_port(writing, &owner)?;
            set_node_port(new, at, number);
        } else if asked != 0 && !had.contains(&asked) {
            allocate::take_port(writing, asked, &owner).map_err(|why| asked_port(new, at, asked, &why))?;
            had.insert(asked);
        }
    }
    Ok(())
}

/// Kubernetes answers 500 when the port that is asked for is taken; it is the client's mistake.
fn take_health_port(writing: &mut Writing<'_>, new: &mut Value) -> Result<(), Status> {
    let (owner, asked) = (Owner::of(new), Spec::of(new).number("healthCheckNodePort"));
    if asked == 0 {
        let given = allocate::take_any_port(writing, &owner);
        let number = given.map_err(|why| {
            Status::internal(&format!("failed to allocate a HealthCheck NodePort 0: {why}"))
        })?;
        fields(new).insert("healthCheckNodePort".to_owned(), number.into());
        return Ok(());
    }
    allocate::take_port(writing, asked, &owner).map_err(|why| {
        let field = Path::new("spec").child("healthCheckNodePort");
        refused(new, &[Mistake::invalid(&field, asked, why.to_string())])
    })
}

/// Gives back what the Service had and has not any more. Last of all: a number that is given back in a write cannot be
/// taken for something else in the same write.
fn give_ports_back(writing: &mut Writing<'_>, new: &Value, old: &Value) {
    let (owner, kept) = (Owner::of(old), Spec::of(new).taken_ports());
    // They are sorted.
    for number in Spec::of(old).taken_ports().into_iter().filter(|number| kept.binary_search(number).is_err())
    {
        allocate::give_port_back(writing, number, &owner);
    }
}
