//! Makes a network, and removes it. The only part that touches the kernel.

use std::net::IpAddr;
use std::os::fd::AsFd;

use model::{Family, IpNet};
use sys::Error;
use sys::link::{End, Links, Towards};
use sys::netns::{Namespace, kill_processes};
use sys::nftables::{Batch, CommitError, Field, Hook, HookKind, NftSocket, Nftables, Rule};
use sys::sysctl;
use tracing::warn;

use crate::plan::{Site, overlap};
use crate::record::Record;
use crate::step::{Place, Step};

/// The table of the rules that are not the proxy's.
const TABLE: &str = "signalbox-up";
/// Hardware addresses, the same on every link: neighbours are told, not asked, since nobody's address is on the link.
const NEAR: [u8; 6] = [0xee; 6];
const FAR: [u8; 6] = [0xee, 0xee, 0xee, 0xee, 0xee, 0x01];

/// Makes a network of which there is nothing yet.
pub fn build(site: &Site) -> Result<(), Error> {
    site.steps().iter().try_for_each(make)
}

/// Removes what there may be of a network, with every process in it. Goes on whatever fails; what fails is in the log.
/// `settings`: whether those of the machine become what they were.
pub fn remove(record: &Record, settings: bool) {
    let namespaces: Vec<_> = record.namespaces.iter().map(|name| Namespace::named(name)).collect();
    kill_processes(&namespaces);
    // The namespace may live on in a process that was not ended; its links go with the machine's ends.
    let existing = record.links.iter().filter(|link| sys::link::exists(link));
    let removed = existing.map(|link| Links::open()?.delete(link));
    tell(removed.collect::<Vec<_>>());
    namespaces.iter().for_each(Namespace::remove);
    if record.has_rules {
        tell(vec![remove_rules()]);
    }
    if settings {
        tell(record.settings.iter().map(|(name, value)| sysctl::write(name, value)).collect());
    }
}

/// Answers whether everything that a network is made of is there. One whose making was broken off is not, though it may
/// look so: what is missing of it may be a route.
pub fn exists(record: &Record) -> bool {
    record.is_complete
        && record.links.iter().all(|link| sys::link::exists(link))
        && record.namespaces.iter().all(|name| Namespace::named(name).run(|| ()).is_ok())
}

/// Answers which addresses and routes of the machine are in the way of a network that is not there yet.
pub fn conflicts(site: &Site) -> Result<Vec<String>, Error> {
    if site.lan.netns.is_some() {
        return Ok(Vec::new());
    }
    let mut links = Links::open()?;
    let addresses = links.addresses()?.into_iter().map(|address| ("the address", address));
    let routes = links.routes()?.into_iter().map(|route| ("a route to", route));
    let taken: Vec<_> = addresses.chain(routes).collect();
    let conflicts = site.ranges().into_iter().filter_map(|range| {
        // What leads everywhere else is in nobody's way.
        let is_in_way = |(_, other): &&(&str, IpNet)| other.prefix_len() > 1 && overlap(&range, other);
        let (what, other) = taken.iter().find(is_in_way)?;
        Some(format!("{range} is in use: this machine has {what} {other}"))
    });
    Ok(conflicts.collect())
}

fn tell(results: Vec<Result<(), Error>>) {
    for error in results.into_iter().filter_map(Result::err) {
        warn!("failed to {error}");
    }
}

fn make(step: &Step) -> Result<(), Error> {
    match step {
        Step::Namespace(name) => {
            let made = Namespace::create(name)?;
            made.run(|| Links::open()?.set_up("lo"))?
        }
        Step::Pair { place, near, far_place, far } => make_pair((place, near), (far_place, far)),
        Step::Address(place, link, address) => within(place, |links| links.add_address(link, *address, true)),
        Step::Route(place, to, link) => within(place, |links| {
            links.add_route(*to, Towards::Link(link))?;
            // A single address is a node's, at the other end; in a range there is nobody.
            if to.prefix_len() == to.max_prefix_len() {
                links.add_neighbour(link, to.addr(), FAR)
            } else {
                Ok(())
            }
        }),
        Step::Router(place, to, (router, link)) => within(place, |links| {
            links.add_route(*to, Towards::GatewayAt(*router, link))?;
            // Of the two ends of a link the LAN's is the near one.
            if to.prefix_len() == 0 { links.add_neighbour(link, *router, NEAR) } else { Ok(()) }
        }),
        Step::Setting(place, name, value) => run_in(place, || sysctl::write(name, value)),
        Step::Masquerade(ranges) => add_rules(ranges),
    }
}

fn make_pair((place, near): (&Place, &str), (far_place, far): (&Place, &str)) -> Result<(), Error> {
    // A pair whose ends are both here is made without a namespace.
    let there = if place == far_place { &None } else { far_place };
    let inside = there.as_ref().map(|name| Namespace::named(name).open()).transpose()?;
    within(place, |links| {
        let (near, far) = (End { name: near, address: Some(NEAR) }, End { name: far, address: Some(FAR) });
        links.add_veth(near, far, inside.as_ref().map(AsFd::as_fd))?;
        links.set_up(near.name)
    })?;
    within(far_place, |links| links.set_up(far))?;
    within(place, |links| links.await_running(near))
}

fn within(place: &Place, function: impl FnOnce(&mut Links) -> Result<(), Error> + Send) -> Result<(), Error> {
    run_in(place, || function(&mut Links::open()?))
}

fn run_in(place: &Place, function: impl FnOnce() -> Result<(), Error> + Send) -> Result<(), Error> {
    match place {
        Some(name) => Namespace::named(name).run(function)?,
        None => function(),
    }
}

fn add_rules(ranges: &[IpNet]) -> Result<(), Error> {
    for family in Family::BOTH {
        let ranges: Vec<_> = ranges.iter().filter(|range| is_of(range.addr(), family)).copied().collect();
        if ranges.is_empty() {
            continue;
        }
        let mut batch = Batch::new(family, TABLE);
        batch.add_table("signalbox up: pods reach the rest of the world with the machine's address");
        let hook = Hook { kind: HookKind::Postrouting, nat: true, priority: 100 };
        batch.add_chain("postrouting", Some(hook));
        for from in &ranges {
            let rule = Rule::new(family).prefix(Field::Saddr, *from, true);
            let rule = ranges.iter().fold(rule, |rule, to| rule.prefix(Field::Daddr, *to, false));
            batch.add_rule("postrouting", &rule.masquerade());
        }
        NftSocket::open()?.commit(batch).map_err(refused)?;
    }
    Ok(())
}

fn remove_rules() -> Result<(), Error> {
    let mut socket = NftSocket::open()?;
    for family in Family::BOTH {
        if socket.tables(family)?.iter().any(|name| name == TABLE) {
            let mut batch = Batch::new(family, TABLE);
            batch.delete_table();
            socket.commit(batch).map_err(refused)?;
        }
    }
    Ok(())
}

fn refused(error: CommitError) -> Error {
    match error {
        CommitError::Failed(error) => error,
        CommitError::Refused { refused } => {
            let (errno, text) =
                refused.into_iter().next().map_or((0, String::new()), |one| (one.errno, one.text));
            Error::Refused { what: format!("change the table {TABLE}"), errno, text }
        }
    }
}

fn is_of(address: IpAddr, family: Family) -> bool {
    address.is_ipv4() == (family == Family::V4)
}
