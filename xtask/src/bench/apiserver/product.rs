//! The API server as a process: its start, its memory, its end.

use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::client::{Asked, Client, JSON, Target, trust};
use crate::bench::figures::resident;

/// The token of the clients.
const TOKEN: &str = "bench-token";
/// How long anything may take to start.
const LIMIT: Duration = Duration::from_secs(60);

/// A program that ends with this.
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What is started, and where it keeps its data.
pub(super) struct Product {
    pub(super) binary: PathBuf,
    pub(super) data: PathBuf,
}

/// It, started and ready.
pub(super) struct Serving {
    process: Running,
    pub(super) target: Target,
    /// From its start to the first 200 of `/readyz`, a new connection's handshake included.
    pub(super) start: Duration,
}

impl Product {
    /// Starts it and waits until it is ready.
    pub(super) async fn start(&self) -> Result<Serving> {
        std::fs::create_dir_all(&self.data)?;
        let tokens = self.data.with_extension("tokens");
        std::fs::write(&tokens, format!("{TOKEN},bench,bench,\"system:masters\"\n"))?;
        std::fs::set_permissions(&tokens, Permissions::from_mode(0o600))?;
        let address = free_address()?;
        let mut command = Command::new(&self.binary);
        command.args(["apiserver", "-v=0", "--listen", &address.to_string(), "--data"]).arg(&self.data);
        command.arg("--token-auth-file").arg(&tokens).stdin(Stdio::null()).stderr(Stdio::null());
        let begin = Instant::now();
        let mut process = Running(command.spawn().context("starting the API server")?);
        loop {
            if let Ok(target) = self.is_ready(address).await {
                return Ok(Serving { process, target, start: begin.elapsed() });
            }
            if begin.elapsed() > LIMIT || process.0.try_wait()?.is_some() {
                bail!("the API server did not become ready");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn is_ready(&self, address: SocketAddr) -> Result<Target> {
        let tls = Some(trust(&self.data.join("pki/ca.crt"))?);
        let target = Target { address, tls, token: TOKEN.to_owned() };
        Client::connect(&target).await?.ask(Asked::get("/readyz", JSON)).await?;
        Ok(target)
    }
}

impl Serving {
    /// Resident memory now and at most, in MiB.
    pub(super) fn resident(&self) -> (f64, f64) {
        resident(&self.process.0.id().to_string())
    }

    /// Ends it in good order.
    pub(super) fn stop(mut self) -> Result<()> {
        let process = rustix::process::Pid::from_child(&self.process.0);
        rustix::process::kill_process(process, rustix::process::Signal::TERM)?;
        self.process.0.wait().context("waiting for the API server's end")?;
        Ok(())
    }
}

/// An address of loopback that nobody uses.
pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Bytes of a file, in MiB.
pub(super) fn size(file: &Path) -> Result<f64> {
    Ok(std::fs::metadata(file).with_context(|| file.display().to_string())?.len() as f64 / (1 << 20) as f64)
}
