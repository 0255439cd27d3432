//! This project's own API server as a child process, for as long as the value lives.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::access::Access;
use super::client::{Call, Client};

/// A server that is not ready by then never will be.
const PATIENCE: Duration = Duration::from_secs(20);

/// No controllers ran when the answers were recorded.
const FOR_RECORDED: [&str; 1] = ["--disable-controllers"];

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct OwnServer {
    child: Child,
    data: PathBuf,
    access: Access,
}

impl OwnServer {
    /// Starts `signalbox apiserver` on a free loopback port, with its data in a folder, and waits until it is ready.
    pub fn start(program: &Path, data: &Path, flags: &[&str]) -> Result<Self, String> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.map_err(|error| format!("a free port: {error}"))?.port();
        Self::start_at(program, (data, port), flags)
    }

    /// The same as the server was that gave the recorded answers.
    pub fn for_recorded(program: &Path, data: &Path) -> Result<Self, String> {
        Self::start(program, data, &FOR_RECORDED)
    }

    /// The same at a given port, such as that of a server before it.
    pub fn start_at(program: &Path, (data, port): (&Path, u16), flags: &[&str]) -> Result<Self, String> {
        std::fs::create_dir_all(data).map_err(|error| format!("{}: {error}", data.display()))?;
        let log = std::fs::File::options().create(true).append(true).open(data.with_extension("log"));
        let log = log.map_err(|error| format!("the server's log: {error}"))?;
        let mut command = Command::new(program);
        command
            .arg("apiserver")
            .arg("--data")
            .arg(data)
            .arg(format!("--listen=127.0.0.1:{port}"))
            .args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        // A process that cannot be reached is killed by Drop.
        let mut server = Self { child, data: data.to_owned(), access: Access::new("", "") };
        server.wait()?;
        Ok(server)
    }

    /// Where it is and who may ask.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The kubeconfig that it wrote.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    /// Kills it, as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn wait(&mut self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("a runtime: {error}"))?;
        let end = Instant::now() + PATIENCE;
        let mut last = "it wrote no kubeconfig".to_owned();
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the API server ended with {status}:\n{}", self.log_tail()));
            }
            match self.try_access().and_then(|access| Ok((runtime.block_on(is_ready(&access))?, access))) {
                Ok(((), access)) => {
                    self.access = access;
                    return Ok(());
                }
                Err(error) => last = error,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("the API server is not ready after {PATIENCE:?}: {last}\n{}", self.log_tail()))
    }

    fn try_access(&self) -> Result<Access, String> {
        let text = std::fs::read_to_string(self.kubeconfig()).map_err(|error| error.to_string())?;
        Access::of_kubeconfig(&text)
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

async fn is_ready(access: &Access) -> Result<(), String> {
    let answer = Client::new(access).call(&Call::new(http::Method::GET, "/readyz")).await?;
    if answer.code == 200 { Ok(()) } else { Err(format!("/readyz answers {}", answer.code)) }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}
