//! X.509: making certificates, and reading what one says.
//!
//! Whether a certificate can be trusted is *not* decided here: rustls does that when a connection begins.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::AccessError;

const DAY: i64 = 86_400;
/// Clocks of clients may be so much behind.
const SLACK: i64 = 3600;
/// The last second that X.509 can say is in 9999.
const LAST: u64 = 253_402_300_799;

/// What a certificate shall say.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    /// Its common name.
    pub(super) name: &'a str,
    /// Its organisation: a group, for clients.
    pub(super) group: Option<&'a str>,
    /// What it is for.
    pub(super) purpose: Purpose<'a>,
    /// From when on, in seconds since 1970.
    pub(super) now: i64,
    /// For how long.
    pub(super) days: u32,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// Signing others.
    Authority,
    /// Serving under these names and addresses.
    Server(&'a BTreeSet<String>),
    /// Being somebody.
    Client,
}

impl Wanted<'_> {
    /// Makes the certificate of an authority, which signs itself.
    pub(super) fn self_signed(&self, key: &KeyPair) -> Result<String, AccessError> {
        let signed = self.params().and_then(|params| params.self_signed(key));
        signed.map(|certificate| certificate.pem()).map_err(|error| self.unsigned(&error))
    }

    /// Makes a certificate for a key.
    pub(super) fn signed(&self, key: &KeyPair, issuer: &Issuer<'_, KeyPair>) -> Result<String, AccessError> {
        let signed = self.params().and_then(|params| params.signed_by(key, issuer));
        signed.map(|certificate| certificate.pem()).map_err(|error| self.unsigned(&error))
    }

    fn unsigned(&self, error: &rcgen::Error) -> AccessError {
        AccessError::Unsigned { name: self.name.to_owned(), why: error.to_string() }
    }

    fn params(&self) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(group) = self.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, self.name);
        let moment = |seconds: i64| {
            let seconds = u64::try_from(seconds).unwrap_or(0).min(LAST);
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        params.not_before = moment(self.now - SLACK);
        params.not_after = moment(self.now + i64::from(self.days) * DAY);
        params.serial_number = Some(serial()?);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match self.purpose {
            Purpose::Authority => {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.key_usages.extend([KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]);
            }
            Purpose::Server(names) => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.subject_alt_names =
                    names.iter().map(|name| alternative(name)).collect::<Result<_, _>>()?;
                params.use_authority_key_identifier_extension = true;
            }
            Purpose::Client => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                params.use_authority_key_identifier_extension = true;
            }
        }
        Ok(params)
    }
}

fn alternative(name: &str) -> Result<SanType, rcgen::Error> {
    Ok(match name.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.to_owned().try_into()?),
    })
}

/// Two certificates of one authority never have the same number, also those of the same key.
fn serial() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    // A positive number without leading zeros (RFC 5280, 4.1.2.2).
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Its common name; empty: none.
    pub(super) name: String,
    /// Its organisations.
    pub(super) groups: Vec<String>,
    /// The names and addresses that it serves.
    pub(super) serves: BTreeSet<String>,
    /// The first second in which it is valid, since 1970.
    pub(super) not_before: i64,
    /// The last.
    pub(super) not_after: i64,
    /// Whether it may sign others.
    pub(super) is_authority: bool,
    /// The key that it is for, in DER.
    pub(super) public_key: Vec<u8>,
}

/// Reads a certificate; `None`: it is none.
pub(super) fn read(der: &[u8]) -> Option<Said> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let subject = certificate.subject();
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
    let alternatives = certificate.subject_alternative_name().ok()?;
    let serves = alternatives.iter().flat_map(|found| &found.value.general_names).filter_map(served);
    let is_authority = certificate.basic_constraints().ok()?.is_some_and(|constraints| constraints.value.ca);
    Some(Said {
        // Go takes the last of several, as `pkix.Name` is filled.
        name: subject.iter_common_name().last().and_then(text).unwrap_or_default(),
        groups: subject.iter_organization().filter_map(text).collect(),
        serves: serves.collect(),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        is_authority,
        public_key: certificate.public_key().raw.to_vec(),
    })
}

/// Whether the key of `authority` signed `certificate` (both in DER).
pub(super) fn is_signed_by(certificate: &[u8], authority: &[u8]) -> bool {
    let (Ok((_, certificate)), Ok((_, authority))) =
        (X509Certificate::from_der(certificate), X509Certificate::from_der(authority))
    else {
        return false;
    };
    certificate.issuer() == authority.subject()
        && certificate.verify_signature(Some(authority.public_key())).is_ok()
}

fn served(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some((*name).to_owned());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    if let Ok(four) = <[u8; 4]>::try_from(*bytes) {
        return Some(IpAddr::from(four).to_string());
    }
    <[u8; 16]>::try_from(*bytes).ok().map(|sixteen| IpAddr::from(sixteen).to_string())
}
