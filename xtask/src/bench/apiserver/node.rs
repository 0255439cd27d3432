//! A node agent that starts with this API server: until its rules are complete.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;
use testkit::world::{OneNode, one_node};

use super::client::{Asked, Client, Target};
use super::load::{SERVICES, SLICES};
use super::product::{Product, Running};
use crate::bench::agent::{API_SERVER, PODS, await_pod, service, slice, start_pod};
use crate::bench::figures::{ms, resident};
use crate::sweep::Sweep;

/// How long the API server may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Makes the node, and the Service whose answer says that everything is in force.
pub(super) async fn fill(target: &Target) -> Result<()> {
    let mut client = Client::connect(target).await?;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
                      "status": {"addresses": [{"type": "InternalIP", "address": "192.168.77.11"}]}});
    client.ask(Asked::json("POST", "/api/v1/nodes", node.to_string())).await?;
    let web = service("web", Ipv4Addr::new(10, 96, 0, 10));
    client.ask(Asked::json("POST", SERVICES, web.to_string())).await?;
    client.ask(Asked::json("POST", SLICES, slice(0).to_string())).await?;
    Ok(())
}

/// Measures it, in network namespaces of its own.
pub(super) fn run(product: &Product) -> Result<()> {
    let sweep = Sweep::begin("bench", false)?;
    let mut node = one_node(&format!("{}-", sweep.run())).map_err(|error| anyhow!("failed to {error}"))?;
    node.add_pod("client", &[[10, 244, 1, 10].into()]).map_err(|error| anyhow!("failed to {error}"))?;
    start_pod(&mut node, "pod0", PODS[0])?;
    let mut server = node.world().command("outside", &product.binary);
    server.args(["apiserver", "-v=0", "--listen", API_SERVER, "--data"]).arg(&product.data);
    let _server = started(server, "the API server")?;
    await_listening(&node)?;
    let begin = Instant::now();
    let mut proxy = node.world().command("node", &product.binary);
    proxy.args(["proxy", "--hostname-override=node", "--cluster-cidr=10.244.0.0/16", "--kubeconfig"]);
    proxy.arg(product.data.join("kubeconfig"));
    let proxy = started(proxy, "the proxy")?;
    await_pod(&node, "pod0")?;
    let took = begin.elapsed();
    let (now, most) = resident(&proxy.0.id().to_string());
    println!(
        "signalbox proxy with this API server: start until the last Service answers {}; resident {now:.1} MiB, at most {most:.1}",
        ms(took)
    );
    Ok(())
}

fn started(mut command: Command, what: &str) -> Result<Running> {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    Ok(Running(command.spawn().with_context(|| format!("starting {what}"))?))
}

fn await_listening(node: &OneNode) -> Result<()> {
    let address: SocketAddr = API_SERVER.parse().context("the address of the API server")?;
    let begin = Instant::now();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
    while !node.world().namespace("outside").run(connect).map_err(|error| anyhow!("failed to {error}"))? {
        ensure!(begin.elapsed() < LIMIT, "the API server does not listen at {API_SERVER}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
