//! TLS to a server whose certificate is not checked.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::access::Proof;

/// Makes a connection secret; `host` is address and port. A token is not shown here.
pub(super) async fn secure(
    stream: TcpStream,
    host: &str,
    proof: Option<&Proof>,
) -> io::Result<TlsStream<TcpStream>> {
    let config = trust::anybody().map_err(io::Error::other)?;
    let config = match proof {
        Some(Proof::Certificate(certificate, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
            let key = PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?;
            config.with_client_auth_cert(chain.map_err(io::Error::other)?, key).map_err(io::Error::other)?
        }
        Some(Proof::Token(_)) | None => config.with_no_client_auth(),
    };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Connects to a server as bytes, speaking one protocol, `h2` or `http/1.1`; with a client's certificate and key in PEM,
/// or without.
pub async fn connect(
    address: &str,
    protocol: &str,
    client: Option<(&str, &str)>,
) -> io::Result<TlsStream<TcpStream>> {
    let builder = trust::anybody().map_err(io::Error::other)?;
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate =
                CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(io::Error::other)?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(io::Error::other)?;
            builder.with_client_auth_cert(vec![certificate], key).map_err(io::Error::other)?
        }
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
