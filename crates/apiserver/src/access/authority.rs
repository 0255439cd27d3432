//! The certificate authority of this server: a directory of keys and certificates that is made at the first start and kept.
//!
//! A file that is damaged, or that somebody else made, is never replaced: clients trust what is in it. Only certificates that
//! this authority signed itself are made anew, for the same key, when they near their end or say the wrong names.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::{self, Purpose, Wanted};
use super::files::{self, Readers};
use super::kubeconfig::{self, Client};
use super::tls::{self, ClientKey, Serving};
use super::{AccessError, TokenKey};
use crate::body::time::Instant;

const DAY: i64 = 86_400;
const AUTHORITY_DAYS: u32 = 3650;
const LEAF_DAYS: u32 = 365;
/// A certificate is made anew when it has fewer days left.
const DAYS_LEFT: i64 = 30;

/// Under which names and addresses the server is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The machine's name; may be empty.
    pub hostname: String,
    /// The cluster's domain, such as `cluster.local`.
    pub domain: String,
    /// The first address of each range of Service addresses: that of the Service `kubernetes`.
    pub addresses: Vec<IpAddr>,
    /// More names and addresses.
    pub extra: Vec<String>,
}

impl Names {
    fn all(&self) -> BTreeSet<String> {
        let fixed =
            ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let mut all: BTreeSet<String> = fixed.map(str::to_owned).into();
        all.insert(format!("kubernetes.default.svc.{}", self.domain.trim_end_matches('.')));
        all.extend(self.addresses.iter().map(IpAddr::to_string));
        let given = std::iter::once(&self.hostname).chain(&self.extra).map(|name| name.trim());
        // An address has many spellings, of which a certificate knows none.
        let usual = |name: &str| {
            name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
        };
        all.extend(given.filter(|name| !name.is_empty()).map(usual));
        all
    }
}

/// Who a client certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The user.
    pub user: String,
    /// A group that the user is in.
    pub group: String,
}

impl Subject {
    /// Who may do everything.
    pub fn admin() -> Self {
        Self { user: "kubernetes-admin".into(), group: "system:masters".into() }
    }

    /// The agent of a node.
    pub fn node(name: &str) -> Self {
        Self { user: format!("system:node:{name}"), group: "system:nodes".into() }
    }

    /// A proxy on some node.
    pub fn proxy() -> Self {
        Self { user: "system:kube-proxy".into(), group: "system:node-proxier".into() }
    }

    /// The server itself, when it asks kubelets.
    pub fn kubelet_client() -> Self {
        Self { user: "kube-apiserver-kubelet-client".into(), group: "system:masters".into() }
    }

    /// Somebody who may only look, and not at Secrets.
    pub fn reader(user: &str) -> Self {
        Self { user: user.to_owned(), group: super::rbac::READERS.into() }
    }
}

/// The keys of this server.
pub struct Authority {
    directory: PathBuf,
    names: BTreeSet<String>,
    /// In PEM.
    certificate: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    serving: Arc<Serving>,
    kubelet_client: Arc<ClientKey>,
    admin: Client,
    token_key: Arc<TokenKey>,
}

impl Authority {
    /// Reads the directory `pki` in `directory`, and makes what is missing.
    pub fn open(directory: &Path, names: &Names, now: Instant) -> Result<Self, AccessError> {
        let directory = directory.join("pki");
        files::make_directory(&directory)?;
        let names = names.all();
        let keeper = Keeper::open(&directory, now.seconds)?;
        let serving = Serving::new(keeper.serving(&names)?);
        let admin = keeper.admin()?;
        let token_key = Arc::new(keeper.token_key()?);
        let kubelet_client = Arc::new(ClientKey::new(kubelet_client(&keeper.issuer, now)?));
        let Keeper { certificate, der, issuer, .. } = keeper;
        let serving = Arc::new(serving);
        Ok(Self { directory, names, certificate, der, issuer, serving, kubelet_client, admin, token_key })
    }

    /// Makes the server's certificate anew when it nears its end; connections that begin from then on see it. Answers
    /// whether there is a new one.
    pub fn renew_if_needed(&self, now: Instant) -> Result<bool, AccessError> {
        let keeper = Keeper::open(&self.directory, now.seconds)?;
        if keeper.der != self.der {
            return Err(AccessError::damaged(
                &self.directory.join("ca.crt"),
                "it was replaced while the server runs",
            ));
        }
        let shown = self.kubelet_client.shown().end_entity_cert().ok().and_then(|der| certificate::read(der));
        if shown.is_none_or(|said| said.not_after - now.seconds < DAYS_LEFT * DAY) {
            self.kubelet_client.replace(kubelet_client(&self.issuer, now)?);
        }
        Ok(self.serving.replace(keeper.serving(&self.names)?))
    }

    /// Answers what the server shows kubelets. It is made anew at each start and in time, and never on the disk.
    pub fn kubelet_client(&self) -> Arc<ClientKey> {
        self.kubelet_client.clone()
    }

    /// Answers a new kubeconfig for a client of the server whose directory this is; that may be running, and nothing of it
    /// changes. `server`: an URL; the number: for how many days.
    pub fn kubeconfig_of(
        directory: &Path,
        server: &str,
        (subject, days): (&Subject, u32),
        now: Instant,
    ) -> Result<String, AccessError> {
        let directory = directory.join("pki");
        let file = directory.join("ca.crt");
        if !file.exists() {
            return Err(AccessError::damaged(&file, "there is no such file: is this a server's directory?"));
        }
        let Keeper { certificate, issuer, .. } = Keeper::open(&directory, now.seconds)?;
        let client = issue(&issuer, (subject, days), now)?;
        Ok(kubeconfig::text(server, &certificate, &client))
    }

    /// Answers the certificate of the authority in PEM: what clients trust.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Answers the key that signs tokens.
    pub fn token_key(&self) -> Arc<TokenKey> {
        self.token_key.clone()
    }

    /// Answers how connections are secured. Clients may come without a certificate, but not with somebody else's.
    pub fn server_config(&self) -> Result<ServerConfig, AccessError> {
        tls::server_config(self.serving.clone(), &self.der)
    }

    /// Makes a certificate for a client.
    pub fn issue(&self, subject: &Subject, days: u32, now: Instant) -> Result<Client, AccessError> {
        issue(&self.issuer, (subject, days), now)
    }

    /// Answers the kubeconfig of who may do everything. `server`: an URL.
    pub fn admin_kubeconfig(&self, server: &str) -> String {
        self.kubeconfig(server, &self.admin)
    }

    /// Answers the kubeconfig of a client.
    pub fn kubeconfig(&self, server: &str, client: &Client) -> String {
        kubeconfig::text(server, &self.certificate, client)
    }
}

fn kubelet_client(issuer: &Issuer<'static, KeyPair>, now: Instant) -> Result<CertifiedKey, AccessError> {
    let Client { user, certificate, key } = issue(issuer, (&Subject::kubelet_client(), LEAF_DAYS), now)?;
    let unsigned = |error: rustls::pki_types::pem::Error| AccessError::Unsigned {
        name: user.clone(),
        why: error.to_string(),
    };
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(unsigned)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(unsigned)?;
    Ok(CertifiedKey::from_der(vec![der], key, &rustls::crypto::ring::default_provider())?)
}

fn issue(
    issuer: &Issuer<'static, KeyPair>,
    (subject, days): (&Subject, u32),
    now: Instant,
) -> Result<Client, AccessError> {
    let key = new_key(&subject.user)?;
    let wanted = Wanted {
        name: &subject.user,
        group: Some(&subject.group),
        purpose: Purpose::Client,
        now: now.seconds,
        days,
    };
    let certificate = wanted.signed(&key, issuer)?;
    Ok(Client { user: subject.user.clone(), certificate, key: key.serialize_pem() })
}

/// Says nothing of keys.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("directory", &self.directory).field("names", &self.names).finish()
    }
}

/// Reads and writes the directory.
struct Keeper<'a> {
    directory: &'a Path,
    now: i64,
    certificate: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl<'a> Keeper<'a> {
    fn open(directory: &'a Path, now: i64) -> Result<Self, AccessError> {
        let file = directory.join("ca.crt");
        let damaged = |why: &str| AccessError::damaged(&file, why);
        let wanted =
            Wanted { name: "signalbox", group: None, purpose: Purpose::Authority, now, days: AUTHORITY_DAYS };
        let text = files::read(&file, Readers::All)?;
        let key = key(&directory.join("ca.key"), text.as_ref().map(|_| file.as_path()))?;
        let certificate = match text {
            Some(text) => text,
            None => {
                let text = wanted.self_signed(&key)?;
                files::write(&file, &text, Readers::All)?;
                text
            }
        };
        let (der, said) = certificate_in(&file, &certificate)?;
        if !said.is_authority {
            return Err(damaged("it is not the certificate of an authority"));
        }
        if !certificate::is_signed_by(&der, &der) {
            return Err(damaged("it was not signed by itself"));
        }
        if said.public_key != key.subject_public_key_info() {
            return Err(damaged("it does not belong to ca.key"));
        }
        if said.not_after < now {
            return Err(damaged("it has expired, and everything that it signed with it"));
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| damaged(&error.to_string()))?;
        Ok(Self { directory, now, certificate, der, issuer })
    }

    fn serving(&self, names: &BTreeSet<String>) -> Result<CertifiedKey, AccessError> {
        let wanted = Wanted {
            name: "kube-apiserver",
            group: None,
            purpose: Purpose::Server(names),
            now: self.now,
            days: LEAF_DAYS,
        };
        let (text, key) = self.leaf("server", &wanted)?;
        let (der, _) = certificate_in(&self.directory.join("server.crt"), &text)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(CertifiedKey::from_der(vec![der], key, &rustls::crypto::ring::default_provider())?)
    }

    fn admin(&self) -> Result<Client, AccessError> {
        let Subject { user, group } = Subject::admin();
        let wanted = Wanted {
            name: &user,
            group: Some(&group),
            purpose: Purpose::Client,
            now: self.now,
            days: LEAF_DAYS,
        };
        let (certificate, key) = self.leaf("admin", &wanted)?;
        Ok(Client { user, certificate, key: key.serialize_pem() })
    }

    fn token_key(&self) -> Result<TokenKey, AccessError> {
        let file = self.directory.join("sa.key");
        let key = key(&file, None)?;
        TokenKey::new(&key).ok_or_else(|| AccessError::damaged(&file, "tokens need a key of the curve P-256"))
    }

    /// Answers a certificate in PEM and its key. The key stays when the certificate is made anew, so that being stopped
    /// between two files never leaves two that do not fit.
    fn leaf(&self, stem: &str, wanted: &Wanted<'_>) -> Result<(String, KeyPair), AccessError> {
        let file = self.directory.join(format!("{stem}.crt"));
        let text = files::read(&file, Readers::All)?;
        let key_file = self.directory.join(format!("{stem}.key"));
        let key = key(&key_file, text.as_ref().map(|_| file.as_path()))?;
        if let Some(text) = text {
            let (der, said) = certificate_in(&file, &text)?;
            if !certificate::is_signed_by(&der, &self.der) {
                return Err(AccessError::damaged(&file, "it was not signed by ca.crt"));
            }
            if said.public_key != key.subject_public_key_info() {
                return Err(AccessError::damaged(&file, format!("it does not belong to {stem}.key")));
            }
            if self.is_still_right(&said, wanted) {
                return Ok((text, key));
            }
        }
        let text = wanted.signed(&key, &self.issuer)?;
        files::write(&file, &text, Readers::All)?;
        Ok((text, key))
    }

    fn is_still_right(&self, said: &certificate::Said, wanted: &Wanted<'_>) -> bool {
        let serves_all = match wanted.purpose {
            Purpose::Server(names) => said.serves == *names,
            Purpose::Client | Purpose::Authority => true,
        };
        serves_all
            && said.name == wanted.name
            && said.not_before <= self.now
            && said.not_after - self.now >= DAYS_LEFT * DAY
    }
}

/// Reads a key, or makes one. `certificate`: what there is already, which a new key would not fit.
fn key(file: &Path, certificate: Option<&Path>) -> Result<KeyPair, AccessError> {
    if let Some(text) = files::read(file, Readers::Owner)? {
        let why = |error: rcgen::Error| AccessError::damaged(file, format!("there is no key in it: {error}"));
        return KeyPair::from_pem(&text).map_err(why);
    }
    if let Some(certificate) = certificate {
        return Err(AccessError::damaged(certificate, format!("its key {} is missing", file.display())));
    }
    let key = new_key(&file.display().to_string())?;
    files::write(file, &key.serialize_pem(), Readers::Owner)?;
    Ok(key)
}

fn new_key(name: &str) -> Result<KeyPair, AccessError> {
    let why = |error: rcgen::Error| AccessError::Unsigned { name: name.to_owned(), why: error.to_string() };
    KeyPair::generate().map_err(why)
}

/// Reads the one certificate in a file's text.
fn certificate_in(
    file: &Path,
    text: &str,
) -> Result<(CertificateDer<'static>, certificate::Said), AccessError> {
    let ders: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let ders = ders.map_err(|error| AccessError::damaged(file, error.to_string()))?;
    let [der] = &ders[..] else {
        return Err(AccessError::damaged(file, format!("it has {} certificates instead of one", ders.len())));
    };
    let said = certificate::read(der).ok_or_else(|| AccessError::damaged(file, "it has no certificate"))?;
    Ok((der.clone().into_owned(), said))
}
