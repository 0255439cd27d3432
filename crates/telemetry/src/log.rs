//! The log: lines on standard error.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// What [`set_verbosity`] changes.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// The shape of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Starts the log of this process. `verbosity` counts as kube-proxy's `-v`: 0 and 1 show what changes state, 2 to 4
/// the reasons as well, more shows everything. A `filter` in the syntax of `tracing` (`watch=trace,info`) wins.
///
/// Does nothing when a log was started before, which only tests do.
pub fn start_log(format: Format, verbosity: u8, filter: Option<&str>) {
    let (filter, handle) =
        reload::Layer::new(parse(filter.map_or_else(|| directives(verbosity), str::to_owned)));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        Format::Text => layer.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
        Format::Json => layer.json().flatten_event(true).with_target(false).boxed(),
    };
    if tracing_subscriber::registry().with(filter).with(layer).try_init().is_ok() {
        drop(FILTER.set(handle));
    }
}

/// Changes the verbosity of the log that was started. Answers whether there is one.
pub fn set_verbosity(verbosity: u8) -> bool {
    FILTER.get().is_some_and(|filter| filter.reload(parse(directives(verbosity))).is_ok())
}

fn parse(directives: String) -> EnvFilter {
    EnvFilter::builder().parse_lossy(directives)
}

fn directives(verbosity: u8) -> String {
    let level = match verbosity {
        0 | 1 => LevelFilter::INFO,
        2..=4 => LevelFilter::DEBUG,
        5.. => LevelFilter::TRACE,
    };
    // The libraries below us are only heard when something is wrong with them, unless a filter asks.
    format!("{level},hyper=warn,hyper_util=warn,kube=warn,kube_client=warn,tower=warn,rustls=warn,h2=warn")
}
