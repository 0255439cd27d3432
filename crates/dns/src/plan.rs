//! From a configuration to what one server needs, and what one server cannot do of it. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::config::{Api, Fallthrough, Kubernetes, Mistakes, PodMode, Remark, Settings};
use crate::wire::Name;
use crate::zone;

/// What one server needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The cluster's names; `None`: there are none.
    pub zone: Option<zone::Settings>,
    /// How the API server is reached; `None`: as given otherwise.
    pub api: Option<Api>,
    /// Where to answer.
    pub listen: Vec<SocketAddr>,
}

impl Plan {
    /// Makes the plan; or lists what one server cannot do.
    pub fn new(settings: &Settings) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut wrong = |name: &Name, reason: &str| {
            mistakes.push(Remark { place: format!("the server for {name}"), reason: reason.to_owned() });
        };
        let mut plan = Self { zone: None, api: None, listen: Vec::new() };
        for server in &settings.servers {
            let root = Name::root();
            let name = server.zones.first().unwrap_or(&root);
            let listen = addresses(&server.addresses, server.port);
            if !plan.listen.is_empty() && plan.listen != listen {
                wrong(
                    name,
                    "has another port or other addresses than the one before; all must have the same",
                );
            }
            plan.listen = listen;
            let Some(kubernetes) = &server.kubernetes else { continue };
            if plan.zone.is_some() {
                wrong(name, "has the cluster's names, as another one has; one can");
            }
            match zone(kubernetes) {
                Ok(zone) => plan.zone = Some(zone),
                Err(reason) => wrong(name, reason),
            }
            plan.api.clone_from(&kubernetes.api);
        }
        if mistakes.is_empty() { Ok(plan) } else { Err(Mistakes(mistakes)) }
    }
}

fn addresses(given: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = given.iter().map(|address| SocketAddr::new(*address, port)).collect();
    if all.is_empty() {
        all.push((Ipv6Addr::UNSPECIFIED, port).into());
    }
    all
}

fn zone(kubernetes: &Kubernetes) -> Result<zone::Settings, &'static str> {
    let (reverse, own): (Vec<&Name>, Vec<&Name>) = kubernetes.zones.iter().partition(|zone| is_reverse(zone));
    let [own] = own[..] else { return Err("has several zones for the cluster's names; one is understood") };
    let mut settings = zone::Settings::new(own.clone());
    settings.reverse = reverse.into_iter().cloned().collect();
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
    Ok(settings)
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
        Plan::new(&settings).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn a_corefile_is_a_plan() {
        let found = plan(
            ".:53 {\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n pods insecure\n fallthrough in-addr.arpa ip6.arpa\n \
            ttl 30\n namespaces b a\n endpoint_pod_names\n ignore empty_service\n kubeconfig /k\n }\n}\norg {\n}",
        );
        let mut zone = zone::Settings::new("cluster.local".parse().expect("a name"));
        zone.pods = zone::Pods::Insecure;
        zone.ttl = 30;
        zone.namespaces = ["a".into(), "b".into()].into();
        (zone.names_endpoints_after_pods, zone.ignores_empty_services) = (true, true);
        let listen = vec!["[::]:53".parse().expect("an address")];
        assert_eq!(found, Ok(Plan { zone: Some(zone), api: Some(Api::Kubeconfig("/k".into())), listen }));
        let found = plan("a:54 {\n bind 10.0.0.1 fd00::1\n}").expect("it can be done");
        assert_eq!(
            found.listen,
            ["10.0.0.1:54", "[fd00::1]:54"].map(|text| text.parse().expect("an address"))
        );
        assert_eq!(found.zone, None);
    }

    #[test]
    fn what_one_server_cannot_do_is_listed() {
        let kubernetes = "{\n kubernetes cluster.local\n}\n";
        for (text, wanted) in [
            (
                "a {\n}\nb:54 {\n}".to_owned(),
                "the server for b.: has another port or other addresses than the one before; all must have the same",
            ),
            (
                format!("a {kubernetes}b {kubernetes}"),
                "the server for b.: has the cluster's names, as another one has; one can",
            ),
            (
                "a {\n kubernetes b.c d.e\n}".to_owned(),
                "the server for a.: has several zones for the cluster's names; one is understood",
            ),
        ] {
            assert_eq!(plan(&text), Err(wanted.to_owned()), "{text}");
        }
    }
}
