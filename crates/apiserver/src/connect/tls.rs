//! How connections to kubelets and to Pods are secured.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

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
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match authority {
        Some(pem) => checked(pem, &provider)?,
        None => Arc::new(Unchecked(provider.clone())),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(key.clone()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn checked(pem: &str, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, AccessError> {
    let wrong = |why: String| AccessError::Tls(rustls::Error::General(why));
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        trusted.add(certificate.map_err(|error| wrong(error.to_string()))?)?;
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(trusted), provider.clone()).build();
    built.map_err(|error| wrong(error.to_string()))
}

/// Takes every certificate, but only from who has its key.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
