//! The log: text lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// Starts the log of this process. `verbosity` counts as kube-proxy's `-v`: 0 and 1 show what changes state, 2 to 4
/// the reasons as well, more shows everything. A `filter` in the syntax of `tracing` (`watch=trace,info`) wins.
///
/// Does nothing when a log was started before, which only tests do.
pub fn start_log(verbosity: u8, filter: Option<&str>) {
    let level = match verbosity {
        0 | 1 => LevelFilter::INFO,
        2..=4 => LevelFilter::DEBUG,
        5.. => LevelFilter::TRACE,
    };
    // The libraries below us are only heard when something is wrong with them, unless a filter asks.
    let quiet = "hyper=warn,hyper_util=warn,kube=warn,kube_client=warn,tower=warn,rustls=warn,h2=warn";
    let directives = filter.map_or_else(|| format!("{level},{quiet}"), str::to_owned);
    let started = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(directives))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
    drop(started);
}
