//! How connections to kubelets and to Pods are secured.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::Security;
use crate::access::{AccessError, ClientKey};

/// What the server says and wants to hear when it speaks to kubelets.
#[derive(Debug, Clone, Default)]
pub struct Kubelets {
    /// Who it is.
    pub key: Option<Arc<ClientKey>>,
    /// Whose certificates kubelets have, in PEM. `None`: they are not checked.
    pub authority: Option<String>,
    /// Which addresses of nodes are taken, the best first; such as `InternalIP`.
    pub address_types: Vec<String>,
}

/// The configurations of TLS.
#[derive(Debug, Clone)]
pub(super) struct Configs {
    kubelet: Arc<ClientConfig>,
    unchecked: Arc<ClientConfig>,
    anybody: Arc<ClientConfig>,
}

impl Configs {
    pub(super) fn new(kubelets: &Kubelets) -> Result<Self, AccessError> {
        let key = kubelets.key.as_ref();
        let unchecked = Arc::new(config(None, key)?);
        let kubelet = match &kubelets.authority {
            Some(authority) => Arc::new(config(Some(authority), key)?),
            None => unchecked.clone(),
        };
        Ok(Self { kubelet, unchecked, anybody: Arc::new(config(None, None)?) })
    }

    /// `None`: without TLS.
    pub(super) fn of(&self, security: Security) -> Option<Arc<ClientConfig>> {
        match security {
            Security::None => None,
            Security::Anybody => Some(self.anybody.clone()),
            Security::Kubelet => Some(self.kubelet.clone()),
            Security::UncheckedKubelet => Some(self.unchecked.clone()),
        }
    }
}

/// HTTP/1.1 only: what is upgraded must be.
fn config(authority: Option<&str>, key: Option<&Arc<ClientKey>>) -> Result<ClientConfig, AccessError> {
    let builder = match authority {
        Some(pem) => {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(trusted(pem)?)
        }
        None => trust::anybody()?,
    };
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(key.clone()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn trusted(pem: &str) -> Result<RootCertStore, AccessError> {
    let wrong = |why: String| AccessError::Tls(rustls::Error::General(why));
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        trusted.add(certificate.map_err(|error| wrong(error.to_string()))?)?;
    }
    if trusted.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(trusted)
}
