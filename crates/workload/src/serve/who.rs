//! Who connects: TLS with a client's certificate, which alone says who somebody is.

use std::sync::Arc;

use http::StatusCode;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::Pair;
use super::refusal::Refusal;

/// Members may do everything, as everywhere in Kubernetes.
const MASTERS: &str = "system:masters";
/// The name under which API servers usually come.
const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// TLS 1.2 and 1.3. `authority`: the certificates in PEM that clients' have to be signed by; `None`: nobody is believed.
pub(super) fn config((certificate, key): Pair, authority: Option<&str>) -> Result<ServerConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let failed = |error: rustls::Error| error.to_string();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(text) => {
            let mut trusted = RootCertStore::empty();
            for one in CertificateDer::pem_slice_iter(text.as_bytes()) {
                trusted
                    .add(one.map_err(|error| format!("the client authority: {error}"))?)
                    .map_err(failed)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| format!("the client authority: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(vec![certificate], key).map_err(failed)?;
    // Frames of SPDY and WebSocket need a connection of their own.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Somebody, as their certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    name: String,
    groups: Vec<String>,
}

impl Who {
    /// Reads a certificate that was found to be good; `None`: nobody.
    pub(super) fn read(certificate: Option<&CertificateDer<'_>>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate?).ok()?;
        let subject = certificate.subject();
        let text =
            |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
        Some(Self {
            name: subject.iter_common_name().last().and_then(text).unwrap_or_default(),
            groups: subject.iter_organization().filter_map(text).collect(),
        })
    }
}

/// Refuses who may not do everything: there is nothing that others may.
pub(super) fn check(who: Option<&Who>) -> Result<(), Refusal> {
    let Some(who) = who else { return Err(Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized")) };
    if who.name == API_SERVER || who.groups.iter().any(|group| group == MASTERS) {
        return Ok(());
    }
    let text = format!("Forbidden (user={}, resource=nodes, subresource=proxy)", who.name);
    Err(Refusal::new(StatusCode::FORBIDDEN, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_server_and_masters_may() {
        let who = |name: &str, groups: &[&str]| {
            Some(Who {
                name: name.to_owned(),
                groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            })
        };
        for (who, expected) in [
            (None, 401),
            (who("kube-apiserver-kubelet-client", &[]), 200),
            (who("admin", &["x", "system:masters"]), 200),
            (who("system:masters", &["system:nodes"]), 403),
        ] {
            let code = check(who.as_ref()).map_or_else(|refusal| refusal.code.as_u16(), |()| 200);
            assert_eq!(code, expected, "{who:?}");
        }
    }
}
