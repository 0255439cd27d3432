//! Who is asked for names that are not the cluster's, where no file says more about it than their addresses.
//!
//! What it does *not* do: ask (`dns` does).

use std::sync::Arc;

use ::dns::Asked;
use ::dns::blocks::{Blocks, attend};
use ::dns::config::Settings;
use ::dns::metrics::DnsMetrics;
use anyhow::{anyhow, bail};
use telemetry::Metrics;
use tokio::sync::{mpsc, watch};

/// Where queries for others go, and what is done with them.
pub(crate) type Forwarding = (Option<mpsc::Sender<Asked>>, watch::Receiver<Arc<Blocks>>);

/// How many queries wait at most for somebody who asks.
const BACKLOG: usize = 1024;

/// Has these asked, as kubeadm's Corefile does it: addresses, `tls://` addresses or files as `/etc/resolv.conf`; none: nobody
/// is asked. Queries are counted where metrics are given. Runs inside the runtime.
pub(crate) fn forwarding(to: &[String], metrics: Option<&Metrics>) -> anyhow::Result<Forwarding> {
    let written = Settings::parse(&corefile(to)?, &|_| None);
    let mut written = written.map_err(|mistakes| anyhow!("{}: {mistakes}", to.join(",")))?;
    written.servers.iter_mut().for_each(|server| server.is_counted = metrics.is_some());
    let metrics = DnsMetrics::register(metrics.unwrap_or(&Metrics::default()), env!("CARGO_PKG_VERSION"));
    let blocks = Blocks::new(&written.servers, &metrics);
    let blocks = Arc::new(blocks.map_err(|error| anyhow!("{}: failed to {error}", to.join(",")))?);
    tokio::spawn(blocks.clone().follow());
    let (tell, told) = watch::channel(blocks);
    let (asked, questions) = mpsc::channel(BACKLOG);
    let attending = attend(questions, told.clone());
    tokio::spawn(async move {
        attending.await;
        drop(tell);
    });
    Ok((Some(asked), told))
}

fn corefile(to: &[String]) -> anyhow::Result<String> {
    // Words of a file, which must not become others of its words.
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "./:-_[]%@".contains(letter);
    if let Some(odd) = to.iter().find(|text| text.is_empty() || !text.chars().all(is_plain)) {
        bail!("{odd:?} is neither an address nor a file");
    }
    let forward =
        if to.is_empty() { String::new() } else { format!(" forward . {}\n cache 30\n", to.join(" ")) };
    Ok(format!(". {{\n errors\n loadbalance\n{forward}}}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_cannot_be_asked_is_named() {
        for (to, expected) in [
            ("", "\"\" is neither an address nor a file"),
            ("1.1.1.1 }", "\"1.1.1.1 }\" is neither"),
            ("{$HOME}", "is neither an address nor a file"),
            ("https://1.1.1.1", "https://1.1.1.1: "),
            ("1.1.1", "1.1.1: "),
        ] {
            let error = forwarding(&[to.to_owned()], None).map(|_| to).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
        assert!(forwarding(&["127.0.0.1:53".to_owned(), "tls://[::1]".to_owned()], None).is_ok());
        assert!(forwarding(&[], None).is_ok());
    }
}
