//! The server's thread: its network namespace, its listener, its connections.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::connection::Connection;
use super::router;
use super::shared::Shared;

/// How often a listener is tried while old sockets still hold its address.
const BIND_ATTEMPTS: u32 = 100;

/// What a thread needs to serve.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) shared: Arc<Shared>,
    pub(super) listen: SocketAddr,
    pub(super) netns: Option<std::path::PathBuf>,
    pub(super) tls: Option<TlsAcceptor>,
}

/// A running thread. Dropping it ends the thread and cuts all connections.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts the thread and waits until it listens.
    pub(super) fn start(serving: Serving) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (report, reported) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("test-apiserver".into()).spawn(move || {
            if let Err(error) = serve(serving, stopped, &report) {
                // The starter may have its address already; then there is nobody left to tell.
                drop(report.send(Err(error)));
            }
        })?;
        let address = reported.recv().map_err(|_| io::Error::other("the server's thread died"))??;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic inside was printed by its thread.
            drop(thread.join());
        }
    }
}

fn serve(
    serving: Serving,
    stopped: oneshot::Receiver<()>,
    report: &mpsc::SyncSender<io::Result<SocketAddr>>,
) -> io::Result<()> {
    if let Some(path) = &serving.netns {
        enter(path)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = bind(serving.listen).await?;
        drop(report.send(listener.local_addr()));
        tokio::select! {
            () = accept(&serving, &listener) => {}
            // The sender sends nothing: its end is the signal.
            _ = stopped => {}
        }
        Ok(())
    })
    // Dropping the runtime drops all connections, as the death of a process does.
}

fn enter(path: &Path) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let namespace = std::fs::File::open(path).map_err(named)?;
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))
        .map_err(|error| named(error.into()))
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let mut attempt = 0;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < BIND_ATTEMPTS => attempt += 1,
            Err(error) => return Err(io::Error::new(error.kind(), format!("{address}: {error}"))),
            Ok(listener) => return Ok(listener),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn accept(serving: &Serving, listener: &TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Such as too many open files: the next one may fare better.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(handle(serving.clone(), stream));
    }
}

async fn handle(serving: Serving, stream: TcpStream) {
    // Frames of a watch are small and must not wait for each other. Failure costs only delay.
    drop(stream.set_nodelay(true));
    let Ok(connection) = Connection::of(&stream).map(Arc::new) else { return };
    match serving.tls {
        None => speak(serving.shared, connection, stream).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                speak(serving.shared, connection, stream).await;
            }
        }
    }
}

async fn speak<S>(shared: Arc<Shared>, connection: Arc<Connection>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| router::answer(shared.clone(), connection.clone(), request));
    // Clients that vanish and injected resets are this server's daily bread.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}
