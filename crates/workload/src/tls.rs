//! TLS for probes: whatever certificate the container has is good, as Kubernetes has it.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Begins TLS with whoever answers.
pub(crate) async fn connect(stream: TcpStream, address: IpAddr) -> Result<TlsStream<TcpStream>, String> {
    let config = trust::anybody().map_err(|error| format!("failed to prepare TLS: {error}"))?;
    let name = ServerName::IpAddress(address.into());
    TlsConnector::from(Arc::new(config.with_no_client_auth()))
        .connect(name, stream)
        .await
        .map_err(|error| format!("failed to begin TLS: {error}"))
}
