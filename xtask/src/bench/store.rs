//! The API server's store: durable writes against the disk's own time for as many bytes, and what it takes to open a large
//! one.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use store::{Range, Store, Window, Write};

use super::figures::{median, ms, percentile, resident};

/// How large it is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Objects {
    /// Objects; half the size of an EndpointSlice with ten endpoints each
    #[arg(long, default_value_t = 20_000)]
    objects: u32,
    /// Writers at the same time, in the second measurement
    #[arg(long, default_value_t = 64)]
    writers: u32,
    /// Where; the default folder for temporary files may be in memory
    #[arg(long, default_value = ".")]
    folder: std::path::PathBuf,
}

/// Bytes of an object.
const SIZE: usize = 1200;
/// Writes of one writer alone, and of all together.
const ALONE: u32 = 500;
const TOGETHER: u32 = 20_000;
/// How often the disk alone is asked.
const FLOOR: u32 = 500;

/// Runs the benchmark, in a folder that goes afterwards.
pub(super) fn run(objects: &Objects) -> Result<()> {
    sys::memory::use_one_heap();
    let folder = objects.folder.join(format!("signalbox-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let result = measure(objects, &folder);
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    result
}

fn measure(objects: &Objects, folder: &Path) -> Result<()> {
    let floor = floor(&folder.join("floor"), FLOOR)?;
    let file = folder.join("store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let store = Store::open(&file, Window::default())?;
    let mut alone = runtime.block_on(writes(&store, 1, ALONE))?;
    let begin = Instant::now();
    let mut together = runtime.block_on(writes(&store, objects.writers, TOGETHER))?;
    let rate = f64::from(TOGETHER) / begin.elapsed().as_secs_f64();
    println!("durable writes of {SIZE} bytes");
    println!(
        "  one writer           p50 {:>9}   p99 {:>9}   {:.1} x the disk's own time for one fsync ({})",
        ms(percentile(&mut alone, 0.5)),
        ms(percentile(&mut alone, 0.99)),
        percentile(&mut alone, 0.5).as_secs_f64() / floor,
        ms(Duration::from_secs_f64(floor))
    );
    println!(
        "  {:>2} writers           p50 {:>9}   p99 {:>9}   {rate:.0} writes/s, {:.1} for each fsync that the disk could do",
        objects.writers,
        ms(percentile(&mut together, 0.5)),
        ms(percentile(&mut together, 0.99)),
        rate * floor
    );
    runtime.block_on(writes(&store, objects.writers, objects.objects))?;
    drop(store);
    sys::memory::give_back();
    let (before, _) = resident("self");
    let begin = Instant::now();
    let store = Store::open(&file, Window::default())?;
    let opened = begin.elapsed();
    let (after, _) = resident("self");
    let size = std::fs::metadata(&file)?.len() as f64 / (1 << 20) as f64;
    println!(
        "{} objects: opened and checked in {}, {:.1} MiB in memory for {:.1} MiB of values, {size:.1} MiB on the disk",
        store.count("objects"),
        ms(opened),
        after - before,
        store.count("objects") as f64 * SIZE as f64 / (1 << 20) as f64
    );
    let begin = Instant::now();
    let listed = store.list("objects", &Range::default(), None)?;
    println!("a list of all {}", ms(begin.elapsed()));
    ensure!(listed.entries.len() == store.count("objects"), "a list of everything holds everything");
    Ok(())
}

/// Seconds that the disk takes for as many bytes, one fsync each.
pub(super) fn floor(path: &Path, count: u32) -> Result<f64> {
    let mut file = File::create(path)?;
    let mut times = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        file.write_all(&[7; SIZE])?;
        file.sync_data()?;
        times.push(begin.elapsed().as_secs_f64());
    }
    Ok(median(&mut times))
}

/// How long each write took, from asking until it is durable.
pub(super) async fn writes(store: &Store, writers: u32, count: u32) -> Result<Vec<Duration>> {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut times = Vec::new();
            for number in (writer..count).step_by(writers as usize) {
                let key: Arc<str> = format!("load/object-{number}").into();
                let write =
                    Write::Put { table: "objects".into(), key, value: vec![number as u8; SIZE].into() };
                let begin = Instant::now();
                store.write(move |_| Ok::<_, std::convert::Infallible>((vec![write], ()))).await?;
                times.push(begin.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut all = Vec::new();
    while let Some(times) = tasks.join_next().await {
        all.extend(times??);
    }
    Ok(all)
}
