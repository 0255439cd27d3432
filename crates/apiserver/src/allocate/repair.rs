//! The check at the start: what Services say, and what is noted as taken, agree.
//!
//! Both are written together, so there is something to repair only if objects were deleted behind the Service's back, as
//! Kubernetes allows for IPAddresses, or if the store was filled by other means.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::{Owner, addresses, ports};
use crate::address;
use crate::kinds::Kind;
use crate::kinds::service::Spec;
use crate::writing::Writing;

/// Makes both agree: Services keep what they say. Answers what was wrong, in no order that means anything.
pub fn repair(writing: &mut Writing<'_>) -> Vec<String> {
    let mut wanted = Wanted::default();
    let kind = Kind::find("", "v1", "services").expect("it is served");
    for (_, bytes) in writing.list(kind.table, "") {
        if let Ok(service) = serde_json::from_slice::<Value>(&bytes) {
            wanted.note(&service);
        }
    }
    let mut wrong = std::mem::take(&mut wanted.wrong);
    repair_addresses(writing, &wanted, &mut wrong);
    repair_ports(writing, &wanted, &mut wrong);
    wrong
}

/// Notes an address again whose IPAddress was deleted while its Service still has it. Answers whether it had to.
pub fn restore(writing: &mut Writing<'_>, deleted: &Value) -> bool {
    let name = deleted["metadata"]["name"].as_str().unwrap_or_default();
    let (Some(owner), Ok(address)) = (addresses::owner_of(deleted), name.parse::<IpAddr>()) else {
        return false;
    };
    let services = Kind::find("", "v1", "services").expect("it is served");
    let service = writing.object(services, &owner.to_string());
    let has_it = service.is_some_and(|service| Spec::of(&service).addresses().contains(&address));
    if !has_it || writing.has(addresses::kind().table, name) {
        return false;
    }
    addresses::put(writing, address, &owner);
    true
}

/// What Services say that they have.
#[derive(Default)]
struct Wanted {
    addresses: BTreeMap<IpAddr, Owner>,
    ports: BTreeMap<i64, Owner>,
    wrong: Vec<String>,
}

impl Wanted {
    fn note(&mut self, service: &Value) {
        let (owner, spec) = (Owner::of(service), Spec::of(service));
        for address in spec.addresses() {
            let first = self.addresses.entry(address).or_insert_with(|| owner.clone());
            if *first != owner {
                self.wrong.push(format!("address {address} is in two Services: {first} and {owner}"));
            }
        }
        for number in spec.taken_ports() {
            let first = self.ports.entry(number).or_insert_with(|| owner.clone());
            if *first != owner {
                self.wrong.push(format!("node port {number} is in two Services: {first} and {owner}"));
            }
        }
    }
}

fn repair_addresses(writing: &mut Writing<'_>, wanted: &Wanted, wrong: &mut Vec<String>) {
    let table = addresses::kind().table;
    for (address, owner) in &wanted.addresses {
        let key = address.to_string();
        match writing.object(addresses::kind(), &key) {
            Some(object) if addresses::owner_of(&object).as_ref() == Some(owner) => continue,
            Some(_) => wrong.push(format!("address {address} of the Service {owner} was noted for another")),
            None => wrong.push(format!("address {address} of the Service {owner} was not noted")),
        }
        addresses::put(writing, *address, owner);
    }
    let is_ours =
        |object: &Value| object["metadata"]["labels"][addresses::MANAGED_BY.0] == addresses::MANAGED_BY.1;
    for (key, bytes) in writing.list(table, "") {
        let is_wanted = address::lenient(&key).is_some_and(|address| wanted.addresses.contains_key(&address));
        if !is_wanted && serde_json::from_slice(&bytes).is_ok_and(|object: Value| is_ours(&object)) {
            wrong.push(format!("address {key} was noted and no Service has it"));
            writing.delete(table, &key);
        }
    }
}

fn repair_ports(writing: &mut Writing<'_>, wanted: &Wanted, wrong: &mut Vec<String>) {
    for (number, owner) in &wanted.ports {
        match writing.get(ports::TABLE, &number.to_string()) {
            Some(noted) if *noted == *owner.to_string().as_bytes() => continue,
            Some(_) => wrong.push(format!("node port {number} of the Service {owner} was noted for another")),
            None => wrong.push(format!("node port {number} of the Service {owner} was not noted")),
        }
        ports::put(writing, *number, owner);
    }
    for (key, _) in writing.list(ports::TABLE, "") {
        if !key.parse().is_ok_and(|number: i64| wanted.ports.contains_key(&number)) {
            wrong.push(format!("node port {key} was noted and no Service has it"));
            writing.delete(ports::TABLE, &key);
        }
    }
}
