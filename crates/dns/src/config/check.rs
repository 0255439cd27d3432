//! What must be true of all settings together, however they were written.

use std::net::SocketAddr;

use crate::wire::Name;

use super::domain;
use super::words::MOST_UPSTREAMS;
use super::{Forward, PodMode, SearchPath, Server, Settings, Upstream};

/// Answers what is wrong, with the number of the server (or nothing, for all of them).
pub(super) fn mistakes(settings: &Settings) -> Vec<(Option<usize>, String)> {
    let mut found = Vec::new();
    if settings.servers.is_empty() {
        found.push((None, "there is no server".to_owned()));
    }
    for (at, server) in settings.servers.iter().enumerate() {
        let earlier = &settings.servers[..at];
        found.extend(server_mistakes(server, earlier).into_iter().map(|reason| (Some(at), reason)));
    }
    found
}

fn server_mistakes(server: &Server, earlier: &[Server]) -> Vec<String> {
    let mut found = Vec::new();
    for zone in &server.zones {
        if earlier.iter().any(|other| other.zones.contains(zone) && is_same_place(server, other)) {
            found.push(format!("`{zone}` at port {} is served by an earlier server", server.port));
        }
    }
    if let Some(kubernetes) = &server.kubernetes
        && kubernetes.zones.iter().all(|zone| domain::is_reverse(zone) || *zone == Name::root())
    {
        found.push("kubernetes needs a zone for its names, such as cluster.local".to_owned());
    }
    let are_pods_known = server.kubernetes.as_ref().map(|kubernetes| kubernetes.pods == PodMode::Verified);
    found.extend(server.completes.iter().filter_map(|completes| match (&completes.by, are_pods_known) {
        (_, None) => Some("searches are completed through `kubernetes`, which is missing".to_owned()),
        (SearchPath::OfPods, Some(false)) => Some(
            "searches of pods are known by their addresses: `kubernetes` needs `pods verified`".to_owned(),
        ),
        (SearchPath::OfPods, Some(true)) | (SearchPath::Any | SearchPath::File(_), Some(_)) => None,
    }));
    found.extend(server.forwards.iter().filter_map(forward_mistake));
    found
}

fn is_same_place(one: &Server, other: &Server) -> bool {
    let meets = one.addresses.is_empty()
        || other.addresses.is_empty()
        || one.addresses.iter().any(|address| other.addresses.contains(address));
    one.port == other.port && meets
}

fn forward_mistake(forward: &Forward) -> Option<String> {
    let to = forward.to.len();
    if to == 0 {
        return Some(format!("forwarding `{}` needs somebody to ask", forward.from));
    }
    if to > MOST_UPSTREAMS {
        return Some(format!(
            "forwarding `{}` to {to} upstreams, {MOST_UPSTREAMS} are the most",
            forward.from
        ));
    }
    let is_unspecified = |to: &&Upstream| match to {
        Upstream::Plain(at) | Upstream::Tls(at) => is_nowhere(at),
        Upstream::File(_) => false,
    };
    let nowhere = forward.to.iter().find(is_unspecified)?;
    Some(format!("forwarding `{}` to {nowhere:?}: nobody can be asked there", forward.from))
}

fn is_nowhere(at: &SocketAddr) -> bool {
    at.ip().is_unspecified() || at.ip().is_multicast()
}
