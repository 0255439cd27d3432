//! What rules of iptables mode count by name, shown under kube-proxy's names: read for each scrape.

use std::cell::RefCell;

use backend_iptables::Counter;
use sys::Error;
use sys::nfacct::Nfacct;
use telemetry::Metrics;
use tracing::warn;

/// Shows the counters of the calling thread's network namespace, unless the kernel has none.
pub(crate) fn watch_counters(metrics: &Metrics) -> Result<(), Error> {
    let Some(nfacct) = Nfacct::open()? else { return Ok(()) };
    let nfacct = RefCell::new(nfacct);
    let shown = Counter::ALL.map(|counter| {
        let (name, help) = shown_as(counter);
        (counter, metrics.counter(name, help, &[]))
    });
    metrics.before_scrape(move || match nfacct.borrow_mut().counters() {
        Ok(found) => {
            for (counter, shown) in &shown {
                let Some(found) = found.iter().find(|found| found.name == counter.name()) else { continue };
                let shown = shown.with_label_values::<&str>(&[]);
                shown.inc_by((found.packets as f64 - shown.get()).max(0.0));
            }
        }
        Err(error) => warn!(%error, "the counters of packets cannot be read"),
    });
    Ok(())
}

/// Name and help.
fn shown_as(counter: Counter) -> (&'static str, &'static str) {
    match counter {
        Counter::Invalid => (
            "kubeproxy_iptables_ct_state_invalid_dropped_packets_total",
            "Packets that were dropped because connection tracking could not place them.",
        ),
        Counter::LocalhostNodePorts => (
            "kubeproxy_iptables_localhost_nodeports_accepted_packets_total",
            "New connections to NodePorts on 127.0.0.0/8.",
        ),
    }
}
