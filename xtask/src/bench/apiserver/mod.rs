//! The API server as its clients see it: the release binary, TLS, a directory of its own, everything over loopback.

mod client;
mod etcd;
mod load;
mod node;
mod plain;
mod product;
mod reads;
mod watches;
mod writes;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::Size;
use super::figures::ms;
use super::store;
use client::{Asked, Client, JSON, Target};
use plain::Plain;
use product::{Product, Serving, size};

/// How large it is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Api {
    #[command(flatten)]
    size: Size,
    /// Leave durable writes out
    #[arg(long)]
    no_writes: bool,
    /// A binary to measure instead of this checkout's
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where; the default folder for temporary files may be in memory
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// Runs the benchmark, in a folder that goes afterwards.
pub(super) fn run(api: &Api) -> Result<()> {
    crate::tools::require_etcd()?;
    let binary = match &api.binary {
        Some(binary) => binary.clone(),
        None => crate::conformance::build_product(crate::root()?)?,
    };
    let folder = api.folder.join(format!("signalbox-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let product = Product { binary, data: std::path::absolute(&folder)?.join("data") };
    let mut result = runtime.block_on(measure(api, &product, &folder));
    runtime.shutdown_background();
    if result.is_ok() && rustix::process::geteuid().is_root() {
        result = node::run(&product);
    }
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    result
}

async fn measure(api: &Api, product: &Product, folder: &Path) -> Result<()> {
    println!("start, from exec to the first 200 of /readyz");
    let serving = product.start().await?;
    println!("  the first, which makes keys and certificates  {:>8}", ms(serving.start));
    serving.stop()?;
    let serving = product.start().await?;
    println!("  empty                                         {:>8}", ms(serving.start));
    documents(&serving.target).await?;
    memory("empty, after discovery and OpenAPI", &serving);

    load::namespace(&serving.target).await?;
    let plain = Plain::start(&product.data).await?;
    let floor = Duration::from_secs_f64(store::floor(&folder.join("floor"), 200)?);
    reads::one(&serving.target, &plain, floor).await?;
    if !api.no_writes {
        writes::run(&serving.target, folder).await?;
    }
    serving.stop()?;
    std::fs::remove_dir_all(&product.data)?;
    loaded(api.size, product).await
}

async fn loaded(of: Size, product: &Product) -> Result<()> {
    let serving = product.start().await?;
    load::namespace(&serving.target).await?;
    node::fill(&serving.target).await?;
    let begin = Instant::now();
    load::fill(&serving.target, of).await?;
    let rate = f64::from(of.services * 2) / begin.elapsed().as_secs_f64();
    println!(
        "{} Services and slices of {} endpoints, made at {rate:.0} objects/s",
        of.services, of.endpoints
    );
    memory("with them", &serving);
    let plain = Plain::start(&product.data).await?;
    reads::lists(&serving.target, &plain).await?;
    memory("after the lists", &serving);
    watches::run(&serving.target, &plain, of).await?;
    memory("after the watches", &serving);
    serving.stop()?;
    let serving = product.start().await?;
    println!("start with them: {}", ms(serving.start));
    memory("after that", &serving);
    println!("  the file of the store: {:.1} MiB", size(&product.data.join("objects.redb"))?);
    serving.stop()
}

/// What a kubectl asks before it does anything.
async fn documents(target: &Target) -> Result<()> {
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let openapi = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let mut client = Client::connect(target).await?;
    for (path, accept) in [
        ("/api", aggregated),
        ("/apis", aggregated),
        ("/openapi/v2", openapi),
        ("/openapi/v3", JSON),
        ("/openapi/v3/api/v1", JSON),
        ("/openapi/v3/apis/apps/v1", JSON),
    ] {
        client.count(Asked::get(path, accept)).await.with_context(|| path.to_owned())?;
    }
    Ok(())
}

fn memory(when: &str, serving: &Serving) {
    let (now, most) = serving.resident();
    println!("resident memory {when}: {now:.1} MiB, at most {most:.1} MiB");
}
