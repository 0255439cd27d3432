//! What `signalbox up` tells people. Events of a running cluster are the log's business.

use std::path::Path;
use std::time::Duration;

use site::{Node, Site};

use super::Args;
use super::cluster::Cluster;

/// Says what runs, where kubectl finds it, and what to try.
pub(super) fn ready(args: &Args, (site, data): (&Site, &Path), (cluster, took): (&Cluster, Duration)) {
    println!("{}", text(&lines(args, site), (cluster.url(), cluster.kubeconfig()), took));
    if site.lan.netns.is_some() {
        println!("Services and pods are reached from inside:  {}", inside(site));
    }
    println!("Ctrl-C stops it and keeps what is in {}; `{}` removes that, too.", data.display(), down(data));
}

/// Says that it ends.
pub(super) fn stopping() {
    eprintln!("stopping");
}

/// Says that it does not wait for its parts any longer.
pub(super) fn hurrying() {
    eprintln!("removing what there is");
}

fn down(data: &Path) -> String {
    if data == Path::new(super::DATA) {
        return "signalbox down".to_owned();
    }
    format!("signalbox down --data {}", data.display())
}

fn inside(site: &Site) -> String {
    let nodes = site.nodes.iter().filter_map(|node| node.netns.as_deref());
    nodes.take(1).map(|netns| format!("ip netns exec {netns} curl http://CLUSTER-IP")).collect()
}

/// A line for each node.
fn lines(args: &Args, site: &Site) -> Vec<String> {
    let width = site.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
    let line = |(index, node): (usize, &Node)| {
        let zone = if args.zones.is_empty() {
            String::new()
        } else {
            format!("  zone {}", args.zones[index % args.zones.len()])
        };
        let place = node
            .netns
            .as_ref()
            .map_or_else(|| "this machine".to_owned(), |name| format!("network namespace {name}"));
        format!("{:width$}  {}  pods {}{zone}  {place}", node.name, list(&node.addresses), list(&node.pods))
    };
    site.nodes.iter().enumerate().map(line).collect()
}

fn list<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn text(nodes: &[String], (url, kubeconfig): (&str, &Path), took: Duration) -> String {
    let nodes: String = nodes.iter().map(|line| format!("  node        {line}\n")).collect();
    let kubeconfig = kubeconfig.display();
    format!(
        "A cluster runs on this machine; it was ready after {:.1} s.\n\n  API server  {url}\n{nodes}\nIn another terminal:\n\n  \
         export KUBECONFIG={kubeconfig}\n  \
         kubectl create deployment backend --image=signalbox/whoami --replicas=3 --port=8080\n  \
         kubectl expose deployment backend --port=80 --target-port=8080\n  \
         kubectl get pods,endpointslices,services -o wide\n",
        took.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_try_is_said() {
        let nodes = ["node-1  10.243.0.1  pods 10.244.1.0/24  this machine".to_owned()];
        let said =
            text(&nodes, ("https://127.0.0.1:6443", Path::new("/x/kubeconfig")), Duration::from_millis(420));
        let expected = "\
A cluster runs on this machine; it was ready after 0.4 s.

  API server  https://127.0.0.1:6443
  node        node-1  10.243.0.1  pods 10.244.1.0/24  this machine

In another terminal:

  export KUBECONFIG=/x/kubeconfig
  kubectl create deployment backend --image=signalbox/whoami --replicas=3 --port=8080
  kubectl expose deployment backend --port=80 --target-port=8080
  kubectl get pods,endpointslices,services -o wide
";
        assert_eq!(said, expected);
    }
}
