//! How connections are secured, with certificates that can change while the server runs.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SignatureScheme};

use super::AccessError;

/// What the server shows its clients.
#[derive(Debug)]
pub(super) struct Serving(RwLock<Arc<CertifiedKey>>);

impl Serving {
    pub(super) fn new(key: CertifiedKey) -> Self {
        Self(RwLock::new(Arc::new(key)))
    }

    /// Shows another certificate from now on; answers whether it is another one.
    pub(super) fn replace(&self, key: CertifiedKey) -> bool {
        let mut shown = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if shown.cert == key.cert {
            return false;
        }
        *shown = Arc::new(key);
        true
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// What the server shows kubelets, whose client it is.
#[derive(Debug)]
pub struct ClientKey(RwLock<Arc<CertifiedKey>>);

impl ClientKey {
    pub(super) fn new(key: CertifiedKey) -> Self {
        Self(RwLock::new(Arc::new(key)))
    }

    /// What is shown now.
    pub(super) fn shown(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows another certificate from now on.
    pub(super) fn replace(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

impl ResolvesClientCert for ClientKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// TLS 1.2 and 1.3, HTTP/2 and 1.1. A client's certificate must be of the authority; tokens come without one.
pub(super) fn server_config(
    serving: Arc<Serving>,
    authority: &CertificateDer<'static>,
) -> Result<ServerConfig, AccessError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut trusted = RootCertStore::empty();
    trusted.add(authority.clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
