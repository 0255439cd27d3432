//! `signalbox dns --config FILE`: a Corefile, a ConfigMap with one, or a file of our own, followed while it runs.

use std::path::Path;

use ::dns::serve::{Configured, run_configured};
use ::watch::ApiConfig;
use anyhow::anyhow;
use tokio::sync::watch;

use super::{Args, policy, stopped, threads};

/// Runs until a signal ends it, or until queries turn out to come back.
pub(super) async fn serve(args: &Args, file: &Path) -> anyhow::Result<()> {
    let configured = Configured {
        file: file.to_owned(),
        environment: variable,
        api: ApiConfig::new(args.kubeconfig.clone(), args.master.clone(), ""),
        own: args.server_address.clone(),
        policy: policy(args, false),
        has_cookies: args.cookies,
        threads: threads(args),
        version: env!("CARGO_PKG_VERSION"),
    };
    let (stop, stopping) = watch::channel(false);
    let mut running = std::pin::pin!(run_configured(configured, stopping));
    tokio::select! {
        result = &mut running => return result.map_err(|error| anyhow!("failed to {error}")),
        result = stopped() => result?,
    }
    stop.send_replace(true);
    running.await.map_err(|error| anyhow!("failed to {error}"))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
