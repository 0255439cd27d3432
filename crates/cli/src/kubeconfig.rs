//! `signalbox kubeconfig`: a new client of `signalbox apiserver`, with a certificate of its own.

use std::path::PathBuf;

use ::apiserver::access::authority::Subject;
use ::apiserver::access::{Authority, kubeconfig};
use anyhow::{Context, anyhow};
use clap::{Args as Arguments, ValueEnum};

use crate::apiserver::now;

/// Who it is for.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// The directory of the server
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// What the client may do
    #[arg(long)]
    role: Role,
    /// The client's name [default: kubernetes-admin or reader; a proxy is always system:kube-proxy]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Where the client finds the server [default: as the server's own kubeconfig says]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// How long the certificate is good
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Where to write it, readable by its owner only [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Everything
    Admin,
    /// What a proxy on a node needs
    NodeProxy,
    /// To look at everything but Secrets
    Readonly,
}

/// Makes a certificate and writes the kubeconfig.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let subject = match args.role {
        Role::Admin => Subject::admin(),
        Role::NodeProxy => Subject::proxy(),
        Role::Readonly => Subject::reader("reader"),
    };
    let user = args.user.as_ref().filter(|_| args.role != Role::NodeProxy);
    let subject = Subject { user: user.unwrap_or(&subject.user).clone(), ..subject };
    let server = match &args.server {
        Some(server) => server.clone(),
        None => served_at(args)?,
    };
    let text = Authority::kubeconfig_of(&args.data, &server, (&subject, args.days), now())
        .map_err(|error| anyhow!("failed to {error}"))?;
    match &args.output {
        Some(file) => kubeconfig::write(file, &text).map_err(|error| anyhow!("failed to {error}")),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

/// The URL in the kubeconfig that the server wrote.
fn served_at(args: &Args) -> anyhow::Result<String> {
    let file = args.data.join("kubeconfig");
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!("failed to read {}: without --server it says where the server is", file.display())
    })?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("server:"));
    let url = line.map(|url| url.trim().trim_matches('"').to_owned());
    url.ok_or_else(|| anyhow!("failed to find the server in {}", file.display()))
}
