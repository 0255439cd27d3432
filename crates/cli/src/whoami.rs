//! `signalbox whoami`: a server to try Services with.

use std::time::Duration;

use anyhow::Context;
use clap::Args as Arguments;
use tokio::runtime::Builder;
use workload::Whoami;

/// Where, and what it says.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, value_name = "PORT", env = "PORT", default_value_t = 8080)]
    port: u16,
    /// A word in every answer, such as a version
    #[arg(long, value_name = "WORD", env = "GREETING", default_value = "hello")]
    greeting: String,
    /// After SIGTERM, go on until nobody has come for so long: the news has to reach everybody who sends requests
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000)]
    linger: u64,
}

/// Serves until a signal ends it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let whoami = Whoami {
        port: args.port,
        name: crate::proxy::host_name(),
        greeting: args.greeting.clone(),
        linger: Duration::from_millis(args.linger),
    };
    let runtime = Builder::new_current_thread().enable_all().build().context("failed to start")?;
    runtime.block_on(whoami.run()).with_context(|| format!("failed to serve at port {}", args.port))
}
