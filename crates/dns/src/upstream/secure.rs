//! How connections to others are secured: DNS over TLS (RFC 7858).

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::UpstreamError;
use crate::config::Forward;

/// What secures the connections of one block, and whose certificates are expected.
#[derive(Clone)]
pub(super) struct Security {
    pub(super) connector: TlsConnector,
    name: Option<ServerName<'static>>,
}

impl Security {
    pub(super) fn new(settings: &Forward) -> Result<Self, UpstreamError> {
        let roots = match &settings.tls_authority {
            Some(path) => roots_of(path)?,
            None => roots_of_machine(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match &settings.tls_identity {
            None => builder.with_no_client_auth(),
            Some([certificate, key]) => {
                builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?)?
            }
        };
        let name = settings
            .tls_server_name
            .clone()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| UpstreamError::ServerName(name)));
        Ok(Self { connector: Arc::new(config).into(), name: name.transpose()? })
    }

    /// Whose certificate the one at this address must have.
    pub(super) fn name_at(&self, address: IpAddr) -> ServerName<'static> {
        self.name.clone().unwrap_or_else(|| ServerName::IpAddress(address.into()))
    }
}

/// Those that cannot be used are passed over: machines have a few that nobody misses.
fn roots_of_machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn roots_of(path: &Path) -> Result<RootCertStore, UpstreamError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    found.map_err(|error| UpstreamError::Pem(path.to_owned(), error))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, UpstreamError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| UpstreamError::Pem(path.to_owned(), error))
}
