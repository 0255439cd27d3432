//! Handshakes as they are, with a clock that stands still.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
};

use super::*;
use crate::access::authority::Subject;
use crate::access::kubeconfig::Client;

#[derive(Debug)]
struct Clock(i64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.0.unsigned_abs())))
    }
}

fn server(authority: &Authority, now: i64) -> Arc<ServerConfig> {
    let mut config = authority.server_config().unwrap();
    config.time_provider = Arc::new(Clock(now));
    Arc::new(config)
}

/// A client that trusts an authority and may be somebody.
fn client(
    trusted: &Authority,
    who: Option<&Client>,
    version: &'static SupportedProtocolVersion,
    now: i64,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Clock(now)))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match who {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let certificate = CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Answers both ends, or what went wrong at one of them.
fn shake(
    server: Arc<ServerConfig>,
    client: ClientConfig,
    name: &str,
) -> Result<(ServerConnection, ClientConnection), String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        while !wire.is_empty() {
            let read = server.read_tls(&mut &wire[..]).unwrap();
            wire.drain(..read);
            server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        }
        server.write_tls(&mut wire).unwrap();
        while !wire.is_empty() {
            let read = client.read_tls(&mut &wire[..]).unwrap();
            wire.drain(..read);
            client.process_new_packets().map_err(|error| format!("client: {error}"))?;
        }
    }
    Ok((server, client))
}

#[test]
fn a_certificate_is_of_the_authority_or_there_is_none() {
    let (folder, other) = (Folder::new(), Folder::new());
    let (authority, other) = (open(&folder), open(&other));
    let issue = |by: &Authority, days, now| Some(by.issue(&Subject::node("a"), days, at(now)).unwrap());
    let good = issue(&authority, 7, NOW);
    for (what, trusted, who, name, wrong) in [
        ("good", &authority, good.clone(), "kubernetes.default.svc", ""),
        ("by address", &authority, good.clone(), "10.96.0.1", ""),
        ("by address", &authority, good.clone(), "::1", ""),
        ("nobody", &authority, None, "localhost", ""),
        (
            "somebody else's",
            &authority,
            issue(&other, 7, NOW),
            "localhost",
            "server: invalid peer certificate: BadSignature",
        ),
        (
            "expired",
            &authority,
            issue(&authority, 7, NOW - 30 * DAY),
            "localhost",
            "server: invalid peer certificate: certificate expired",
        ),
        (
            "not yet",
            &authority,
            issue(&authority, 7, NOW + DAY),
            "localhost",
            "server: invalid peer certificate: certificate not valid yet",
        ),
        ("other server", &other, None, "localhost", "client: invalid peer certificate: "),
        (
            "other name",
            &authority,
            None,
            "example.org",
            "client: invalid peer certificate: certificate not valid for name",
        ),
    ] {
        for version in [&TLS12, &TLS13] {
            let client = client(trusted, who.as_ref(), version, NOW);
            match shake(server(&authority, NOW), client, name) {
                Ok((server, _)) => {
                    assert_eq!(wrong, "", "{what} {version:?}");
                    assert_eq!(server.alpn_protocol(), Some(&b"h2"[..]));
                    assert_eq!(server.peer_certificates().is_some(), who.is_some(), "{what} {version:?}");
                }
                Err(error) => {
                    assert!(!wrong.is_empty() && error.starts_with(wrong), "{what} {version:?}: {error}");
                }
            }
        }
    }
}

/// Certificates say what they are for.
#[test]
fn the_server_s_own_certificate_is_no_client() {
    let folder = Folder::new();
    let authority = open(&folder);
    let read = |name: &str| std::fs::read_to_string(folder.join("pki").join(name)).unwrap();
    let posing = Client { user: String::new(), certificate: read("server.crt"), key: read("server.key") };
    let error = shake(server(&authority, NOW), client(&authority, Some(&posing), &TLS13, NOW), "localhost");
    let error = error.map(drop).unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
}

#[test]
fn a_new_certificate_is_shown_without_a_restart() {
    let folder = Folder::new();
    let authority = open(&folder);
    let later = NOW + 360 * DAY;
    let config = server(&authority, later);
    let shown = || {
        let (_, client) =
            shake(config.clone(), client(&authority, None, &TLS13, later), "localhost").unwrap();
        client.peer_certificates().unwrap().to_vec()
    };
    let first = shown();
    assert_eq!(shown(), first);
    assert!(authority.renew_if_needed(at(later)).unwrap());
    assert_ne!(shown(), first);
}

#[test]
fn kubelets_are_shown_a_certificate_that_is_good() {
    let folder = Folder::new();
    let authority = open(&folder);
    let key = authority.kubelet_client();
    let said = || crate::access::certificate::read(key.shown().end_entity_cert().unwrap()).unwrap();
    let first = said();
    assert_eq!(
        (first.name.as_str(), &first.groups[..]),
        ("kube-apiserver-kubelet-client", &["system:masters".to_owned()][..])
    );
    for (days, is_new) in [(300, false), (340, true), (600, false), (340 + 340, true)] {
        let before = said();
        authority.renew_if_needed(at(NOW + days * DAY)).unwrap();
        let now = said();
        assert_eq!(now != before, is_new, "after {days} days");
        assert!(now.not_after > NOW + (days + 29) * DAY, "after {days} days");
    }
    // Whoever has the directory has the authority's key; a certificate of that power beside it would be one more to lose.
    let files = std::fs::read_dir(folder.join("pki")).unwrap();
    assert!(files.flatten().all(|file| !file.file_name().to_string_lossy().contains("kubelet")));
}
