//! Searches: a client that tries a name in the domains of its resolv.conf, one after the other, can have the answer of the
//! last query to its first one. Pure.

use std::net::IpAddr;

use super::service::dashed;
use super::{Absence, Zone};
use crate::wire::{Name, NameBuffer};

/// Which searches are answered at their first query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Searches {
    /// None.
    Never,
    /// Those that begin in the namespace of a Pod with the client's address. Pods must be verified.
    OfPods,
    /// Those that begin in any namespace.
    Any,
    /// Those through these domains.
    Through(Vec<Name>),
}

/// Where a search ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// At a name of the zone.
    Here(Name),
    /// At a name that only others may know.
    Elsewhere(Name),
}

impl Zone {
    /// Answers where a client ends that looks for a name in the domains of its resolv.conf, when this is its first query:
    /// `www.example.org.default.svc.cluster.local` ends at `www.example.org`, `web.shop.default.svc.cluster.local` at
    /// `web.shop.svc.cluster.local`. `None` for what is no such query, or leads to nothing within the zone.
    ///
    /// A name of one label is not looked for elsewhere: it is a Service that is not there more often than a name of the world.
    pub fn search(&self, name: &NameBuffer, client: IpAddr) -> Option<Search> {
        match &self.settings.searches {
            Searches::Never => None,
            Searches::Any => self.search_from_namespace(name, None),
            Searches::OfPods => self.search_from_namespace(name, Some(client)),
            Searches::Through(domains) => self.search_through(name, domains),
        }
    }

    fn search_from_namespace(&self, name: &NameBuffer, client: Option<IpAddr>) -> Option<Search> {
        let zone = &self.settings.zone;
        let below =
            name.as_wire().len().checked_sub(zone.as_wire().len()).filter(|_| name.is_within(zone))?;
        // The name is what is looked for, then namespace, `svc`, and the zone.
        let starts: Vec<usize> = starts(&name.as_wire()[..below]).collect();
        let [_, _, .., namespace, _] = *starts.as_slice() else { return None };
        self.entry(&name.as_wire()[namespace..])
            .filter(|_| name.as_wire()[namespace..below].ends_with(b"\x03svc"))?;
        if let Some(client) = client {
            let own = label_at(name.as_wire(), namespace);
            let pod = Name::of_labels([dashed(client).as_bytes(), own, b"pod"], zone)?;
            self.entry(pod.as_wire())?;
        }
        let labels = || starts.iter().take(starts.len() - 2).map(|at| label_at(name.as_wire(), *at));
        let whole = Name::of_labels(labels(), &Name::root())?;
        if whole.is_within(zone) {
            return self.is_known(&whole).then_some(Search::Here(whole));
        }
        let service = Name::of_labels(labels().chain([&b"svc"[..]]), zone).filter(|name| self.is_known(name));
        let here = service.or_else(|| Name::of_labels(labels(), zone).filter(|name| self.is_known(name)));
        Some(here.map_or(Search::Elsewhere(whole), Search::Here))
    }

    /// What is in a domain of others is not asked for: only the whole name is.
    fn search_through(&self, name: &NameBuffer, domains: &[Name]) -> Option<Search> {
        let (first, rest) = domains.split_first()?;
        let below =
            name.as_wire().len().checked_sub(first.as_wire().len()).filter(|_| name.is_within(first))?;
        let wanted: Vec<usize> = starts(&name.as_wire()[..below]).collect();
        if wanted.len() < 2 {
            return None;
        }
        let labels = || wanted.iter().map(|at| label_at(name.as_wire(), *at));
        let whole = Name::of_labels(labels(), &Name::root())?;
        let own = |name: &Name| name.is_within(&self.settings.zone);
        let tried = rest.iter().filter(|domain| own(domain));
        let found =
            tried.filter_map(|domain| Name::of_labels(labels(), domain)).find(|name| self.is_known(name));
        match found {
            Some(found) => Some(Search::Here(found)),
            None if own(&whole) => self.is_known(&whole).then_some(Search::Here(whole)),
            None => Some(Search::Elsewhere(whole)),
        }
    }

    fn is_known(&self, name: &Name) -> bool {
        let absence = || self.absence(&NameBuffer::from(name), &self.settings.zone);
        self.entry(name.as_wire()).is_some() || absence() != Absence::Unknown
    }
}

/// Answers where the labels of a name begin.
fn starts(wire: &[u8]) -> impl Iterator<Item = usize> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let at = next;
        next += usize::from(*wire.get(at)?) + 1;
        Some(at)
    })
}

fn label_at(wire: &[u8], at: usize) -> &[u8] {
    &wire[at + 1..=at + usize::from(wire[at])]
}

#[cfg(test)]
mod tests {
    use crate::answer::Asking;
    use crate::script::{ASKING, ask, settings, zone};
    use crate::zone::{Pods, Searches, Settings};

    const OBJECTS: &str = "
        namespace a
        namespace b
        service b/web 10.96.0.1
        pod a/one 10.0.0.1
        pod b/two 10.0.0.2";

    /// The alias that is answered first, or what else is.
    fn check(searches: &Searches, (client, question): (&str, &str), expected: &str) {
        let settings = Settings { searches: searches.clone(), pods: Pods::Verified, ..settings() };
        let asking = Asking { client: client.parse().unwrap(), ..ASKING };
        let found = ask(&zone(settings, OBJECTS), &asking, &format!("A {question}.cluster.local"));
        let first = found.lines().find(|line| line.contains(" CNAME ")).or(found.lines().next());
        let first = first.map(|line| line.rsplit_once("CNAME ").map_or(line, |(_, target)| target));
        assert_eq!(first, Some(expected), "{client} {question}");
    }

    #[test]
    fn pods_search_from_their_own_namespace() {
        let searches = Searches::OfPods;
        check(&searches, ("10.0.0.1", "web.b.a.svc"), "web.b.svc.cluster.local.");
        check(&searches, ("10.0.0.1", "www.example.org.a.svc"), "alias of www.example.org.");
        check(&searches, ("10.0.0.2", "www.example.org.b.svc"), "alias of www.example.org.");
        // Another Pod's namespace is no search, nor is anything that a stranger asks for.
        check(&searches, ("10.0.0.1", "www.example.org.b.svc"), "NXDOMAIN aa");
        check(&searches, ("10.0.0.9", "www.example.org.a.svc"), "NXDOMAIN aa");
        check(&Searches::Any, ("10.0.0.9", "www.example.org.a.svc"), "alias of www.example.org.");
        check(&Searches::Never, ("10.0.0.1", "web.b.a.svc"), "NXDOMAIN aa");
    }

    #[test]
    fn searches_go_through_given_domains() {
        let domains = ["b.svc.cluster.local", "corp.example", "svc.cluster.local", "cluster.local"];
        let searches = Searches::Through(domains.iter().map(|name| name.parse().unwrap()).collect());
        check(&searches, ("10.0.0.9", "web.b.b.svc"), "web.b.svc.cluster.local.");
        check(&searches, ("10.0.0.9", "web.b.svc.b.svc"), "web.b.svc.cluster.local.");
        check(&searches, ("10.0.0.9", "web.b.svc.cluster.local.b.svc"), "web.b.svc.cluster.local.");
        check(&searches, ("10.0.0.9", "no.b.svc.cluster.local.b.svc"), "NXDOMAIN aa");
        check(&searches, ("10.0.0.9", "www.example.org.b.svc"), "alias of www.example.org.");
        check(&searches, ("10.0.0.9", "www.example.org.a.svc"), "NXDOMAIN aa");
        check(&searches, ("10.0.0.9", "www.b.svc"), "NXDOMAIN aa");
    }
}
