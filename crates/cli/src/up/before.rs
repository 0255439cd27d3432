//! What is on the machine before the cluster starts and after it has ended: the network, and what an earlier run left.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use site::{Record, Site};
use tracing::{info, warn};
use workload::Settings;

use super::{read_record, record};

/// How long the pods have to go by themselves when the cluster stops.
const GRACE: Duration = Duration::from_secs(5);

/// Makes the network, or takes over what an earlier run left if that is the same. Answers nodes of an earlier run that are
/// not there any more.
pub(super) fn prepare(site: &Site, data: &Path) -> anyhow::Result<Vec<String>> {
    let before = read_record(data)?;
    let wanted = Record::new(site, before.as_ref());
    let mut old_nodes = Vec::new();
    if let Some(before) = &before {
        let is_gone = |name: &&String| !site.nodes.iter().any(|node| node.name == **name);
        old_nodes = before.nodes.iter().map(|(name, _)| name).filter(is_gone).cloned().collect();
        if before.steps == wanted.steps && site::exists(before) {
            info!("found the network of an earlier run");
            return Ok(old_nodes);
        }
        stop_pods(data, &before.nodes);
        // The next network may have nothing to do with this machine's own, and then nobody else removes them.
        remove_rules(before.has_rules);
        site::remove(before, false);
    }
    let conflicts = site::conflicts(site).map_err(|error| anyhow!("failed to {error}"))?;
    if let Some(conflict) = conflicts.first() {
        return Err(anyhow!(
            "{conflict}: choose other ranges (--cluster-cidr, --node-cidr, --service-cluster-ip-range) or --isolated"
        ));
    }
    if site.lan.netns.is_none() && agent::has_rules().map_err(|error| anyhow!("failed to {error}"))? {
        // They would be repaired against each other for ever, and the end of one would be that of both.
        return Err(anyhow!(
            "another proxy has rules on this machine (`signalbox up`, `signalbox proxy` or kube-proxy): end it, remove them \
             (`signalbox proxy --cleanup`), or choose --isolated"
        ));
    }
    write(&wanted, data)?;
    if let Err(error) = site::build(site) {
        site::remove(&wanted, true);
        return Err(anyhow!("failed to {error}"));
    }
    write(&Record { is_complete: true, ..wanted }, data)?;
    Ok(old_nodes)
}

/// Ends the pods' processes and removes the network, with the rules in it. What is kept is what a next start needs.
pub(super) fn tidy(site: &Site, data: &Path) {
    let before = match read_record(data) {
        Ok(Some(before)) => before,
        Ok(None) => {
            warn!("somebody has removed the record of the network; what is known of it goes");
            Record::new(site, None)
        }
        Err(error) => return warn!("{error:#}"),
    };
    stop_pods(data, &before.nodes);
    remove_rules(site.lan.netns.is_none());
    site::remove(&before, false);
    let Record { settings, nodes, .. } = before;
    if let Err(error) = write(&Record { settings, nodes, ..Record::default() }, data) {
        warn!("{error:#}");
    }
}

/// Removes the proxy's rules from the machine's own network, if it was part of the cluster; all others go with their namespaces.
pub(super) fn remove_rules(is_machine_part: bool) {
    if !is_machine_part {
        return;
    }
    if let Err(error) = agent::cleanup() {
        warn!("failed to {error}");
    }
    // A proxy in iptables mode may have been there before.
    let chains = agent::remove_own_chains();
    let has_chains = !chains.is_empty();
    for error in chains.into_iter().filter_map(Result::err) {
        warn!("failed to {error}");
    }
    if has_chains && let Err(error) = agent::cleanup_ipsets() {
        warn!("failed to {error}");
    }
}

/// The directory of a node.
pub(super) fn folder(data: &Path, node: &str) -> std::path::PathBuf {
    data.join("nodes").join(node)
}

/// What is needed to end a node's pods.
pub(super) fn of_node(data: &Path, (name, netns): &(String, Option<String>)) -> Settings {
    Settings { state_dir: folder(data, name), netns: netns.clone(), ..Settings::default() }
}

fn stop_pods(data: &Path, nodes: &[(String, Option<String>)]) {
    std::thread::scope(|scope| {
        for node in nodes {
            let settings = of_node(data, node);
            scope.spawn(move || workload::stop_all(&settings, GRACE));
        }
    });
}

fn write(wanted: &Record, data: &Path) -> anyhow::Result<()> {
    let file = record(data);
    wanted.write(&file).with_context(|| format!("failed to write {}", file.display()))
}
