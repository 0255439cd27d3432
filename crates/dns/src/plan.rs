//! From a configuration to what runs: which clusters are followed, and which servers answer where. Pure.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::config::{Api, Fallthrough, Kubernetes, Mistakes, PodMode, Remark, SearchPath, Server, Settings};
use crate::upstream::Resolv;
use crate::wire::Name;
use crate::zone::{self, Searches};

/// What runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The clusters whose names there are, each once.
    pub clusters: Vec<Cluster>,
    /// For each server, by its number, the zones that it has: number of the cluster, number in it.
    pub shown: Vec<Vec<(usize, usize)>>,
    /// Where is answered, and the numbers of the servers that do.
    pub places: BTreeMap<SocketAddr, Vec<usize>>,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its names. Those of addresses are in the first.
    pub zones: Vec<zone::Settings>,
    /// How its API server is reached; `None`: as given otherwise.
    pub api: Option<Api>,
    /// How long a configuration that took another one's place waits for its names.
    pub patience: Duration,
}

/// How a file is read.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

impl Plan {
    /// Makes the plan. `own` are the addresses by which clients know the servers, for NS records; without, those of the servers.
    pub fn new(settings: &Settings, own: &[IpAddr], read: ReadFile<'_>) -> Result<Self, Mistakes> {
        let mut plan = Self { clusters: Vec::new(), shown: Vec::new(), places: BTreeMap::new() };
        let mut mistakes = Vec::new();
        for (number, server) in settings.servers.iter().enumerate() {
            for address in addresses(&server.addresses, server.port) {
                plan.places.entry(address).or_default().push(number);
            }
            let cluster =
                server.kubernetes.as_ref().map(|kubernetes| cluster(server, kubernetes, (own, read)));
            let cluster = cluster.transpose().unwrap_or_else(|reason| {
                let name = server.zones.first().cloned().unwrap_or_else(Name::root);
                mistakes.push(Remark { place: format!("the server for {name}"), reason });
                None
            });
            plan.shown
                .push(cluster.map(|cluster| plan_cluster(&mut plan.clusters, cluster)).unwrap_or_default());
        }
        if mistakes.is_empty() { Ok(plan) } else { Err(Mistakes(mistakes)) }
    }
}

/// Two servers that say the same of a cluster have the same one.
fn plan_cluster(clusters: &mut Vec<Cluster>, cluster: Cluster) -> Vec<(usize, usize)> {
    let zones = cluster.zones.len();
    let number = clusters.iter().position(|other| *other == cluster).unwrap_or_else(|| {
        clusters.push(cluster);
        clusters.len() - 1
    });
    (0..zones).map(|zone| (number, zone)).collect()
}

fn addresses(given: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = given.iter().map(|address| SocketAddr::new(*address, port)).collect();
    if all.is_empty() {
        all.push((Ipv6Addr::UNSPECIFIED, port).into());
    }
    all
}

fn cluster(
    server: &Server,
    kubernetes: &Kubernetes,
    (own, read): (&[IpAddr], ReadFile<'_>),
) -> Result<Cluster, String> {
    let (reverse, names): (Vec<&Name>, Vec<&Name>) =
        kubernetes.zones.iter().partition(|zone| is_reverse(zone));
    let mut zones = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let mut zone = zone(kubernetes, name.clone());
        zone.reverse = reverse.iter().filter(|_| at == 0).copied().cloned().collect();
        zone.servers = if own.is_empty() { server.addresses.clone() } else { own.to_vec() };
        zone.searches = searches(server, name, read)?;
        zones.push(zone);
    }
    Ok(Cluster { zones, api: kubernetes.api.clone(), patience: kubernetes.patience })
}

fn zone(kubernetes: &Kubernetes, name: Name) -> zone::Settings {
    let mut settings = zone::Settings::new(name);
    settings.fallthrough = match &kubernetes.fallthrough {
        Fallthrough::Never => Vec::new(),
        Fallthrough::Always => vec![Name::root()],
        Fallthrough::Within(zones) => zones.clone(),
    };
    settings.pods = match kubernetes.pods {
        PodMode::Disabled => zone::Pods::Disabled,
        PodMode::Insecure => zone::Pods::Insecure,
        PodMode::Verified => zone::Pods::Verified,
    };
    settings.ttl = kubernetes.ttl;
    settings.namespaces = kubernetes.namespaces.iter().map(|name| name.as_str().into()).collect();
    settings.names_endpoints_after_pods = kubernetes.endpoint_pod_names;
    settings.ignores_empty_services = kubernetes.ignores_empty_services;
    settings.labels.clone_from(&kubernetes.labels);
    settings.has_endpoints = kubernetes.has_endpoints;
    settings
}

fn searches(server: &Server, name: &Name, read: ReadFile<'_>) -> Result<Searches, String> {
    let is_of_zone = |completes: &&crate::config::Completion| {
        completes.zones.iter().any(|zone| name.is_within(zone) || zone.is_within(name))
    };
    let Some(completes) = server.completes.as_ref().filter(is_of_zone) else { return Ok(Searches::Never) };
    match &completes.by {
        SearchPath::OfPods => Ok(Searches::OfPods),
        SearchPath::Any => Ok(Searches::Any),
        SearchPath::File(file) => {
            let text = read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            let domains = Resolv::parse(&text).search.into_iter();
            let domain = |text: String| {
                text.parse::<Name>().map_err(|error| format!("`{text}` in {}: {error}", file.display()))
            };
            Ok(Searches::Through(domains.map(domain).collect::<Result<_, _>>()?))
        }
    }
}

fn is_reverse(zone: &Name) -> bool {
    let labels: Vec<&[u8]> = zone.labels().collect();
    labels.ends_with(&[b"in-addr", b"arpa"]) || labels.ends_with(&[b"ip6", b"arpa"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(corefile: &str) -> Result<Plan, String> {
        let settings = Settings::parse(corefile, &|_| None).expect("it is right");
        let read = |path: &Path| match path.to_str() {
            Some("/resolv") => Ok("search a.svc.b b\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        Plan::new(&settings, &[], &read).map_err(|mistakes| mistakes.to_string())
    }

    fn places(plan: &Plan) -> String {
        let places = plan.places.iter().map(|(address, servers)| format!("{address} {servers:?}"));
        places.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_corefile_is_a_plan() {
        let found = plan(
            ".:53 {\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n pods insecure\n fallthrough in-addr.arpa ip6.arpa\n \
            ttl 30\n namespaces b a\n endpoint_pod_names\n ignore empty_service\n kubeconfig /k\n labels a=b, c in (d, e)\n \
            noendpoints\n startup_timeout 7s\n }\n}\norg {\n}",
        );
        let mut zone = zone::Settings::new("cluster.local".parse().expect("a name"));
        zone.pods = zone::Pods::Insecure;
        zone.ttl = 30;
        zone.namespaces = ["a".into(), "b".into()].into();
        (zone.names_endpoints_after_pods, zone.ignores_empty_services) = (true, true);
        (zone.labels, zone.has_endpoints) = ("a=b, c in (d, e)".to_owned(), false);
        let cluster = Cluster {
            zones: vec![zone],
            api: Some(Api::Kubeconfig("/k".into())),
            patience: Duration::from_secs(7),
        };
        let places = BTreeMap::from([("[::]:53".parse().expect("an address"), vec![0, 1])]);
        assert_eq!(found, Ok(Plan { clusters: vec![cluster], shown: vec![vec![(0, 0)], vec![]], places }));
    }

    #[test]
    fn servers_have_their_places() {
        let local = "cluster.local:53 {\n bind 169.254.20.10 10.96.0.10\n}\n.:53 {\n bind 169.254.20.10\n}\n.:5353 {\n}";
        let found = plan(local).expect("it can be done");
        assert_eq!(places(&found), "10.96.0.10:53 [0], 169.254.20.10:53 [0, 1], [::]:5353 [2]");
        assert_eq!(found.clusters, []);
    }

    #[test]
    fn clusters_are_followed_once_each() {
        let kubernetes = "{\n kubernetes a.local b.local 10.0.0.0/8\n}\n";
        let other = "{\n kubernetes a.local {\n endpoint https://10.0.0.1\n }\n bind 10.0.0.7\n}\n";
        let found = plan(&format!(".:53 {kubernetes}.:54 {kubernetes}.:55 {other}")).expect("it can be done");
        assert_eq!(found.shown, [vec![(0, 0), (0, 1)], vec![(0, 0), (0, 1)], vec![(1, 0)]]);
        let zone = |cluster: usize, zone: usize| {
            let zone = &found.clusters[cluster].zones[zone];
            format!("{} {:?} {:?}", zone.zone, zone.reverse, zone.servers)
        };
        assert_eq!(zone(0, 0), "a.local. [10.in-addr.arpa.] []");
        assert_eq!(zone(0, 1), "b.local. [] []");
        assert_eq!(zone(1, 0), "a.local. [] [10.0.0.7]");
    }

    #[test]
    fn searches_are_those_of_the_zone() {
        let searches = |autopath: &str| {
            let text = format!(". {{\n kubernetes b {{\n pods verified\n }}\n autopath {autopath}\n}}");
            plan(&text).map(|plan| format!("{:?}", plan.clusters[0].zones[0].searches))
        };
        assert_eq!(searches("@kubernetes"), Ok("OfPods".to_owned()));
        assert_eq!(searches("b @kubernetes"), Ok("OfPods".to_owned()));
        assert_eq!(searches("a.svc.b @kubernetes"), Ok("OfPods".to_owned()));
        assert_eq!(searches("c @kubernetes"), Ok("Never".to_owned()));
        assert_eq!(searches("/resolv"), Ok("Through([a.svc.b., b.])".to_owned()));
        assert_eq!(
            searches("/none"),
            Err("the server for .: cannot read /none: entity not found".to_owned())
        );
    }
}
