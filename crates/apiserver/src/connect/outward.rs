//! How nodes and Pods are reached: TCP, from here or from wherever the process says, and TLS.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::{Configs, Kubelets};
use super::{Target, is_proxyable};
use crate::access::AccessError;

/// How long it may take to reach somebody, TLS included.
const DIAL_TIME: Duration = Duration::from_secs(10);

/// Opens a connection, such as from inside of a network namespace.
pub type Dial =
    Arc<dyn Fn(SocketAddr) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> + Send + Sync>;

/// Opens connections from where the process is.
pub fn from_here() -> Dial {
    Arc::new(|address| Box::pin(TcpStream::connect(address)))
}

/// How nodes and Pods are reached. Clones are the same.
#[derive(Clone)]
pub struct Outward {
    dial: Dial,
    configs: Configs,
    address_types: Vec<String>,
}

/// A connection to somebody.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Why nobody is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialError {
    /// It would be the server itself.
    NotAllowed,
    /// In Go's words.
    Failed(String),
}

impl Outward {
    /// Reaches them by a function, such as [`from_here`].
    pub fn by(dial: Dial, kubelets: &Kubelets) -> Result<Self, AccessError> {
        let address_types = kubelets.address_types.clone();
        Ok(Self { dial, configs: Configs::new(kubelets)?, address_types })
    }

    /// Answers which addresses of nodes are taken, the best first.
    pub(crate) fn address_types(&self) -> &[String] {
        &self.address_types
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self, target: &Target) -> Result<Box<dyn Wire>, DialError> {
        let timed_out = || DialError::Failed(format!("dial tcp {}: i/o timeout", target.authority()));
        tokio::time::timeout(DIAL_TIME, self.reach(target)).await.map_err(|_| timed_out())?
    }

    async fn reach(&self, target: &Target) -> Result<Box<dyn Wire>, DialError> {
        let stream = self.dial(target).await?;
        // An answer that waits for the next one is no use to anybody.
        drop(stream.set_nodelay(true));
        let Some(config) = self.configs.of(target.security) else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| DialError::Failed(format!("tls: {error}")))?;
        let secured = TlsConnector::from(config).connect(name, stream).await;
        let secured = secured.map_err(|error| DialError::Failed(format!("tls: {error}")))?;
        Ok(Box::new(secured))
    }

    /// Tries every address of the target.
    async fn dial(&self, target: &Target) -> Result<TcpStream, DialError> {
        let failed =
            |error: &io::Error, at: &str| DialError::Failed(format!("dial tcp{at}: {}", words(error)));
        let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|error| failed(&error, ""))?.collect();
        if !target.is_trusted && found.iter().any(|address| !is_proxyable(address.ip())) {
            return Err(DialError::NotAllowed);
        }
        let mut last = DialError::Failed(format!("dial tcp: lookup {}: no such host", target.host));
        for address in found {
            match (self.dial)(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = failed(&error, &format!(" {address}")),
            }
        }
        Err(last)
    }
}

/// Says nothing of keys.
impl fmt::Debug for Outward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outward").field("address_types", &self.address_types).finish_non_exhaustive()
    }
}

/// What went wrong in Go's words, where people know them.
fn words(error: &io::Error) -> String {
    let known = [
        (io::ErrorKind::ConnectionRefused, "connect: connection refused"),
        (io::ErrorKind::HostUnreachable, "connect: no route to host"),
        (io::ErrorKind::NetworkUnreachable, "connect: network is unreachable"),
        (io::ErrorKind::TimedOut, "i/o timeout"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == error.kind());
    found.map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Security;
    use super::*;

    fn target(host: &str, is_trusted: bool) -> Target {
        let path = String::new();
        Target { security: Security::None, host: host.to_owned(), port: 9, path, query: None, is_trusted }
    }

    fn refusing() -> Outward {
        let dial: Dial = Arc::new(|_| Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) }));
        Outward::by(dial, &Kubelets::default()).expect("TLS can be set up")
    }

    #[tokio::test]
    async fn who_is_not_there_is_told_in_gos_words() {
        let refused = |text: &str| Err(DialError::Failed(text.to_owned()));
        for (host, is_trusted, wanted) in [
            ("10.0.0.5", false, refused("dial tcp 10.0.0.5:9: connect: connection refused")),
            ("fd00::5", false, refused("dial tcp [fd00::5]:9: connect: connection refused")),
            ("127.0.0.1", true, refused("dial tcp 127.0.0.1:9: connect: connection refused")),
            ("127.0.0.1", false, Err(DialError::NotAllowed)),
            ("localhost", false, Err(DialError::NotAllowed)),
        ] {
            let connected = refusing().connect(&target(host, is_trusted)).await.map(|_| ());
            assert_eq!(connected, wanted, "{host}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_for_long() {
        let dial: Dial = Arc::new(|_| Box::pin(std::future::pending()));
        let outward = Outward::by(dial, &Kubelets::default()).expect("TLS can be set up");
        let begin = tokio::time::Instant::now();
        let connected = outward.connect(&target("10.0.0.5", false)).await.map(|_| ());
        assert_eq!(connected, Err(DialError::Failed("dial tcp 10.0.0.5:9: i/o timeout".to_owned())));
        assert_eq!(begin.elapsed(), DIAL_TIME);
    }
}
