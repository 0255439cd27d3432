//! The certificate that the node shows to who connects: it signs itself, and is kept in the node's directory.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::time::Time;

const DAY: Duration = Duration::from_secs(86_400);
/// Nobody who trusts it makes a difference between this and a shorter time: it was made by the node alone.
const DAYS: u32 = 3650;
/// A certificate is made anew when it has fewer days left.
const DAYS_LEFT: u32 = 30;

/// A certificate and its key.
pub(super) type Pair = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// Answers the certificate of a directory, if it is good for these names and addresses; else a new one.
pub(super) fn open(directory: &Path, names: &[String], now: Time) -> io::Result<Pair> {
    if let Some(pair) = read(directory, names, now) {
        return Ok(pair);
    }
    let (certificate, key) = make(names, now).map_err(io::Error::other)?;
    fs::create_dir_all(directory)?;
    // A key without its certificate is made anew, too: neither is worth anything without the other.
    write(&directory.join("serving.key"), &key.serialize_pem())?;
    write(&directory.join("serving.crt"), &certificate.pem())?;
    Ok((certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

fn read(directory: &Path, names: &[String], now: Time) -> Option<Pair> {
    let text = fs::read(directory.join("serving.crt")).ok()?;
    let certificate = CertificateDer::from_pem_slice(&text).ok()?;
    let key = KeyPair::from_pem(&fs::read_to_string(directory.join("serving.key")).ok()?).ok()?;
    let (_, said) = X509Certificate::from_der(&certificate).ok()?;
    let end = u64::try_from(said.validity().not_after.timestamp()).ok()?;
    let is_good = said.public_key().raw == key.subject_public_key_info()
        && Duration::from_secs(end) > now + DAY * DAYS_LEFT
        && served(&said) == names.iter().cloned().collect();
    is_good.then(|| (certificate.into_owned(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

/// The names and addresses that a certificate is for.
fn served(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    let text = |name: &GeneralName<'_>| {
        if let GeneralName::DNSName(name) = name {
            return Some((*name).to_owned());
        }
        let GeneralName::IPAddress(bytes) = name else { return None };
        let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
        four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .ok()
            .map(|address| address.to_string())
    };
    names.value.general_names.iter().filter_map(text).collect()
}

fn make(names: &[String], now: Time) -> Result<(rcgen::Certificate, KeyPair), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let name = names.first().map(String::as_str).unwrap_or_default();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{name}"));
    let first = rcgen::date_time_ymd(1970, 1, 1);
    // Clocks of clients may be behind.
    params.not_before = first + now.saturating_sub(DAY);
    params.not_after = first + (now + DAY * DAYS);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = names.iter().map(|name| alternative(name)).collect::<Result<_, _>>()?;
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?, key))
}

fn alternative(name: &str) -> Result<SanType, rcgen::Error> {
    Ok(match name.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.to_owned().try_into()?),
    })
}

/// Writes a file for the owner alone, wholly or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_as_long_as_it_is_right() {
        let folder = std::env::temp_dir().join(format!("signalbox-serving-{}", std::process::id()));
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (usual, now) =
            (names(&["node-1", "192.0.2.1", "2001:db8::1"]), Duration::from_secs(1_800_000_000));
        let first = open(&folder, &usual, now).unwrap();
        let again = |names: &[String], now| open(&folder, names, now).unwrap().0;
        assert_eq!(again(&usual, now + DAY), first.0);
        let renewed = again(&usual, now + DAY * (DAYS - DAYS_LEFT));
        assert_ne!(renewed, first.0);
        let moved = again(&names(&["node-1", "192.0.2.2"]), now + DAY);
        assert_ne!(moved, renewed);
        fs::write(folder.join("serving.key"), "garbage").unwrap();
        assert_ne!(again(&names(&["node-1", "192.0.2.2"]), now + DAY), moved);
        fs::remove_dir_all(&folder).unwrap();
    }
}
