//! etcd beside it: what kube-apiserver keeps its objects in, asked as kube-apiserver asks it (gRPC, one put for each write).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::BodyExt;

use super::client::{Asked, Client, Target};
use super::product::{Running, free_address};

const PUT: &str = "/etcdserverpb.KV/Put";
const LIMIT: Duration = Duration::from_secs(20);

/// etcd, started and ready; one member, every put on the disk before it is answered.
pub(super) struct Etcd {
    _process: Running,
    pub(super) target: Target,
}

impl Etcd {
    pub(super) async fn start(folder: &Path) -> Result<Self> {
        let (clients, peers) = (free_address()?, free_address()?);
        let (ours, others) = (format!("http://{clients}"), format!("http://{peers}"));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(folder.join("etcd")).args(["--name", "bench"]);
        command.args(["--listen-client-urls", &ours, "--advertise-client-urls", &ours]);
        command.args(["--listen-peer-urls", &others, "--initial-advertise-peer-urls", &others]);
        command.args(["--initial-cluster", &format!("bench={others}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Running(command.spawn().context("starting etcd")?);
        let target = Target { address: clients, tls: None, token: String::new() };
        let begin = Instant::now();
        loop {
            if let Ok(mut client) = Client::connect(&target).await
                && put(&mut client, "begin", b"").await.is_ok()
            {
                return Ok(Self { _process: process, target });
            }
            if begin.elapsed() > LIMIT {
                bail!("etcd did not become ready");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Puts a value.
pub(super) async fn put(client: &mut Client, key: &str, value: &[u8]) -> Result<()> {
    // A gRPC message of two fields of bytes: the key and the value.
    let mut message = Vec::with_capacity(value.len() + key.len() + 16);
    message.extend_from_slice(&[0; 5]);
    for (tag, bytes) in [(0x0a, key.as_bytes()), (0x12, value)] {
        message.push(tag);
        let mut length = bytes.len();
        while length >= 0x80 {
            message.push(length.to_le_bytes()[0] | 0x80);
            length >>= 7;
        }
        message.push(length.to_le_bytes()[0]);
        message.extend_from_slice(bytes);
    }
    let length = u32::try_from(message.len() - 5)?;
    message[1..5].copy_from_slice(&length.to_be_bytes());
    let asked = Asked {
        method: "POST",
        path: PUT,
        accept: "*/*",
        body: Bytes::from(message),
        content_type: "application/grpc",
    };
    let response = client.begin(asked).await?;
    let collected = response.into_body().collect().await?;
    let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status"));
    ensure!(status.is_some_and(|status| status == "0"), "etcd refuses a put: {status:?}");
    Ok(())
}
