//! This project's own API server as a child process, for as long as the value lives.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::access::Access;
use super::client::{Call, Client};

/// A server that is not ready by then never will be.
const PATIENCE: Duration = Duration::from_secs(20);

/// No controllers ran when the answers were recorded.
const FOR_RECORDED: [&str; 1] = ["--disable-controllers"];
/// The administrator of the recorded answers, some of which tell the name.
const TOKEN: &str = "admintoken";
const ADMINISTRATOR: &str = "admintoken,admin,admin,\"system:masters\"\n";

/// A server; dropping it kills it.
#[derive(Debug)]
pub struct OwnServer {
    program: PathBuf,
    data: PathBuf,
    port: u16,
    flags: Vec<String>,
    child: Option<Child>,
    access: Access,
}

impl OwnServer {
    /// Starts `signalbox apiserver` on a free loopback port, with its data in a folder, and waits until it is ready.
    pub fn start(program: &Path, data: &Path, flags: &[&str]) -> Result<Self, String> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.map_err(|error| format!("a free port: {error}"))?.port();
        let access = Access::new(&format!("https://127.0.0.1:{port}"), TOKEN);
        let mut server = Self {
            program: program.to_owned(),
            data: data.to_owned(),
            port,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            child: None,
            access,
        };
        server.restart()?;
        Ok(server)
    }

    /// The same as the server was that gave the recorded answers.
    pub fn for_recorded(program: &Path, data: &Path) -> Result<Self, String> {
        Self::start(program, data, &FOR_RECORDED)
    }

    /// Starts it again with its data at its port, after killing it if it still runs. Its history begins anew.
    pub fn restart(&mut self) -> Result<(), String> {
        self.kill();
        std::fs::create_dir_all(&self.data).map_err(|error| format!("{}: {error}", self.data.display()))?;
        let tokens = self.data.with_extension("tokens");
        let mut options = File::options();
        options.create(true).truncate(true).write(true).mode(0o600);
        let written = options.open(&tokens).and_then(|mut file| file.write_all(ADMINISTRATOR.as_bytes()));
        written.map_err(|error| format!("{}: {error}", tokens.display()))?;
        let log = File::options().create(true).append(true).open(self.data.with_extension("log"));
        let log = log.map_err(|error| format!("the server's log: {error}"))?;
        let mut command = Command::new(&self.program);
        command.arg("apiserver").arg("--data").arg(&self.data);
        command.arg(format!("--listen=127.0.0.1:{}", self.port)).arg("--token-auth-file").arg(&tokens);
        command.args(&self.flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        self.child = Some(child);
        self.wait()
    }

    /// Where it is and who may ask.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Its process; `None`: it does not run.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Takes its process, which nobody kills then.
    pub fn take(&mut self) -> Option<Child> {
        self.child.take()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// The kubeconfig that it wrote.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    /// Kills it, as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }

    fn wait(&mut self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < end {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Err(format!("the API server ended with {status}:\n{}", self.log_tail()));
            }
            match is_ready(&self.access) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("the API server is not ready after {PATIENCE:?}: {last}\n{}", self.log_tail()))
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Asks in a thread of its own, so that it may be called from asynchronous code, too.
fn is_ready(access: &Access) -> Result<(), String> {
    let ask = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("a runtime: {error}"))?;
        let call = Call::new(http::Method::GET, "/readyz");
        let code = runtime.block_on(async { Client::new(access).call(&call).await })?.code;
        if code == 200 { Ok(()) } else { Err(format!("/readyz answers {code}")) }
    };
    std::thread::scope(|scope| scope.spawn(ask).join()).unwrap_or_else(|_| Err("asking panicked".into()))
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}
