//! The EndpointSlice controller against this project's API server: from its start to right slices, its memory, what it
//! costs when nothing happens, how fast a changed pod is in its slice, and that a restart writes nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use testkit::answers::{Access, Call, Client, Frames, OwnController, OwnServer};

use super::Size;
use super::figures::{ms, percentile, resident};

/// How many requests fill the server at a time.
const FILLERS: u32 = 32;
/// How many Services are in a namespace.
const IN_NAMESPACE: u32 = 100;
/// How many nodes the pods are on.
const NODES: u32 = 100;
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
/// How often a node says that it lives.
const BEAT: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(600);
/// How long nothing is done to see what that costs.
const IDLE: Duration = Duration::from_secs(20);

/// Runs the benchmark.
pub(super) fn run(size: Size) -> Result<()> {
    let binary = crate::conformance::build_product(crate::root()?)?;
    let folder = std::env::temp_dir().join(format!("signalbox-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).context("making a folder")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(measure(&binary, &folder, size));
    // A leftover folder in /tmp harms nobody.
    drop(std::fs::remove_dir_all(&folder));
    result
}

async fn measure(binary: &Path, folder: &Path, size: Size) -> Result<()> {
    let server = OwnServer::start(binary, &folder.join("data"), &[]).map_err(anyhow::Error::msg)?;
    let access = server.access().clone();
    let (services, pods) = (size.services, size.services * size.endpoints);
    let begin = Instant::now();
    fill(&access, size).await?;
    println!(
        "{services} Services, {pods} pods; the API server took them in {:.0} s",
        begin.elapsed().as_secs_f64()
    );

    let alive = tokio::spawn(keep_alive(access.clone()));

    let begin = Instant::now();
    let controller = start(&server)?;
    wait_for_slices(&access, services).await?;
    println!(
        "first start until every Service has its slice and Endpoints  {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    settle(&controller).await;
    idle(&controller).await;
    change(&access, size).await?;

    drop(controller);
    let mut watch = watch(&access, SLICES).await?;
    let begin = Instant::now();
    let controller = start(&server)?;
    settle(&controller).await;
    println!("restart until it is at rest  {:.1} s", begin.elapsed().as_secs_f64());
    let written = tokio::time::timeout(Duration::from_secs(1), watch.next()).await;
    println!("slices written by the restart: {}", if written.is_ok() { "some" } else { "none" });
    idle(&controller).await;
    alive.abort();
    Ok(())
}

fn start(server: &OwnServer) -> Result<OwnController> {
    OwnController::start(server, &["--leader-elect=false"]).map_err(anyhow::Error::msg)
}

/// Waits until the process has used nearly no processor for a second.
async fn settle(controller: &OwnController) {
    let begin = Instant::now();
    let mut before = processor(controller);
    while begin.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = processor(controller);
        if now - before < Duration::from_millis(20) {
            return;
        }
        before = now;
    }
}

async fn idle(controller: &OwnController) {
    let before = processor(controller);
    tokio::time::sleep(IDLE).await;
    let share = (processor(controller) - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    let (now, most) = resident(&controller.id().to_string());
    println!("at rest  {share:.2} % of a processor, resident memory {now:.0} MiB, at most {most:.0} MiB");
}

/// What processor time a process has used, in ticks of the kernel.
fn processor(controller: &OwnController) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", controller.id())).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// One pod after the other becomes unready and ready again.
async fn change(access: &Access, size: Size) -> Result<()> {
    let mut client = Client::new(access);
    let mut lags = Vec::new();
    let mut writes = 0_u32;
    let changes = size.changes.min(200);
    for change in 0..changes {
        let service = change * 37 % size.services;
        let (namespace, name) = (namespace(service), format!("s{service}-0"));
        let collection = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        let mut watch = watch(access, &collection).await?;
        let begin = Instant::now();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
        send(&mut client, merge(&path, &status(service * size.endpoints, "False"))).await?;
        let written = tokio::time::timeout(LIMIT, watch.next()).await.context("a slice")?;
        lags.push(begin.elapsed());
        writes += u32::from(written.is_some());
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(50), watch.next()).await {
            writes += 1;
        }
        send(&mut client, merge(&path, &status(service * size.endpoints, "True"))).await?;
        // So that it is not taken for a write of the next change.
        tokio::time::timeout(LIMIT, watch.next()).await.context("a slice")?;
    }
    println!(
        "one pod changed until its slice was written, {changes} times:  p50 {}   p99 {}   {:.2} slices written each",
        ms(percentile(&mut lags, 0.5)),
        ms(percentile(&mut lags, 0.99)),
        f64::from(writes) / f64::from(changes)
    );
    Ok(())
}

async fn wait_for_slices(access: &Access, services: u32) -> Result<()> {
    let mut client = Client::new(access);
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        if count(&mut client, SLICES).await? >= u64::from(services)
            && count(&mut client, "/api/v1/endpoints").await? >= u64::from(services)
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("not all Services have slices after {LIMIT:?}")
}

async fn count(client: &mut Client, collection: &str) -> Result<u64> {
    let list = send(client, Call::new(http::Method::GET, &format!("{collection}?limit=1"))).await?;
    let shown = list["items"].as_array().map_or(0, Vec::len) as u64;
    Ok(shown + list["metadata"]["remainingItemCount"].as_u64().unwrap_or_default())
}

async fn watch(access: &Access, collection: &str) -> Result<Frames> {
    let client = Client::new(access);
    let list = send(&mut Client::new(access), Call::new(http::Method::GET, &format!("{collection}?limit=1")))
        .await?;
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let path = format!("{collection}?watch=1&resourceVersion={revision}");
    let (_, frames) = client.watch(&Call::new(http::Method::GET, &path)).await?;
    Ok(frames)
}

/// Creates namespaces, nodes, Services and pods.
async fn fill(access: &Access, size: Size) -> Result<()> {
    let mut client = Client::new(access);
    for number in 0..size.services.div_ceil(IN_NAMESPACE) {
        let object = json!({"metadata": {"name": namespace(number * IN_NAMESPACE)}});
        send(&mut client, Call::json(http::Method::POST, "/api/v1/namespaces", &object)).await?;
    }
    for number in 0..NODES {
        let labels = json!({"topology.kubernetes.io/zone": format!("z{}", number % 3)});
        let object = json!({"metadata": {"name": format!("n{number}"), "labels": labels}});
        send(&mut client, Call::json(http::Method::POST, "/api/v1/nodes", &object)).await?;
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        send(&mut client, merge(&format!("/api/v1/nodes/n{number}/status"), &ready)).await?;
        let object = json!({"metadata": {"name": format!("n{number}")}, "spec": {"holderIdentity": "bench"}});
        send(&mut client, Call::json(http::Method::POST, LEASES, &object)).await?;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for filler in 0..FILLERS {
        let mut client = Client::new(access);
        tasks.spawn(async move {
            for service in (filler..size.services).step_by(FILLERS as usize) {
                fill_service(&mut client, service, size.endpoints).await?;
            }
            Ok::<(), anyhow::Error>(())
        });
    }
    while let Some(filled) = tasks.join_next().await {
        filled.context("filling the server")??;
    }
    Ok(())
}

/// Has every node say that it lives each ten seconds, as nodes do.
async fn keep_alive(access: Access) -> Result<()> {
    let mut client = Client::new(&access);
    for beat in 0_u64.. {
        for number in 0..NODES {
            let renewed = json!({"spec": {"leaseTransitions": beat / 2, "renewTime": format!("2026-01-02T00:00:00.{beat:06}Z")}});
            send(&mut client, merge(&format!("{LEASES}/n{number}"), &renewed)).await?;
            tokio::time::sleep(BEAT / NODES).await;
        }
    }
    Ok(())
}

async fn fill_service(client: &mut Client, service: u32, endpoints: u32) -> Result<()> {
    let at = format!("/api/v1/namespaces/{}", namespace(service));
    let object = json!({
        "metadata": {"name": format!("s{service}")},
        "spec": {"selector": {"app": format!("s{service}")}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    send(client, Call::json(http::Method::POST, &format!("{at}/services"), &object)).await?;
    for endpoint in 0..endpoints {
        let (name, number) = (format!("s{service}-{endpoint}"), service * endpoints + endpoint);
        let object = json!({
            "metadata": {"name": name, "labels": {"app": format!("s{service}"), "pod-template-hash": "abc"}},
            "spec": {"nodeName": format!("n{}", number % NODES), "containers": [{"name": "c", "image": "i"}]},
        });
        send(client, Call::json(http::Method::POST, &format!("{at}/pods"), &object)).await?;
        send(client, merge(&format!("{at}/pods/{name}/status"), &status(number, "True"))).await?;
    }
    Ok(())
}

fn namespace(service: u32) -> String {
    format!("ns{}", service / IN_NAMESPACE)
}

fn status(number: u32, ready: &str) -> Value {
    let ip = format!("10.{}.{}.{}", 128 + (number >> 16), number >> 8 & 255, number & 255);
    json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
        {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-02T00:00:00Z"}]}})
}

fn merge(path: &str, patch: &Value) -> Call {
    Call::new(http::Method::PATCH, path).with_body("application/merge-patch+json", patch.to_string())
}

async fn send(client: &mut Client, call: Call) -> Result<Value> {
    let path = call.path.clone();
    let answer = client.call(&call).await?;
    if answer.code >= 300 {
        return Err(anyhow!("{path} answers {}: {}", answer.code, answer.json()["message"]));
    }
    Ok(answer.json())
}
