//! The cluster's own certificate authority: a self-signed certificate named after the cluster, and its key.
//!
//! Whoever has the key can make members of the cluster: every voter has it, so that whichever of them leads
//! can sign. Not for who is entitled to a certificate: that is decided before it is asked.

use super::certificate::{Certificate, role_name};
use super::files::{self, Secrecy, failed};
use super::{Fingerprint, PkiError};
use bannkreis_core::ids::{ClusterId, NodeId};
use bannkreis_core::time::Timestamp;
use bannkreis_raft::Role;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
    SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use std::path::Path;
use time::OffsetDateTime;

/// The authority's certificate in the cluster's directory.
pub(super) const CERTIFICATE_FILE: &str = "ca.crt";
/// Its key.
const KEY_FILE: &str = "ca.key";
/// How long the authority itself holds: renewing it is a cluster's refounding.
const AUTHORITY_DAYS: u32 = 20 * 365;
/// Certificates hold from a day ago, so that a host whose clock is late believes them.
const BACKDATED_DAYS: u32 = 1;
/// Bytes of a serial number: random, and so never used twice (RFC 5280, 4.1.2.2: at most 20).
const SERIAL_BYTES: usize = 16;
/// A certificate request longer than this, in bytes, is not looked at.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Whose certificate is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A node's.
    Node {
        /// Its id.
        node: NodeId,
        /// Its host's name.
        name: String,
    },
    /// Somebody's who asks over the network.
    Client {
        /// What they may do.
        role: Role,
        /// Who they are, for the audit.
        name: String,
    },
}

/// A certificate authority with its key.
pub struct Authority {
    cluster: ClusterId,
    pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one, nowhere stored.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn make(cluster: ClusterId, now: Timestamp) -> Result<Authority, PkiError> {
        let failed = |error: rcgen::Error| PkiError(format!("no authority can be made: {error}"));
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = template(cluster, now, AUTHORITY_DAYS)?;
        params.distinguished_name.push(DnType::CommonName, cluster.to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        Authority::from_pem(cluster, pem, key.serialize_pem())
    }

    /// From what [`Authority::certificate_pem`] and [`Authority::key_pem`] gave.
    ///
    /// # Errors
    /// When they are not a certificate and its key, or another cluster's.
    pub fn from_pem(cluster: ClusterId, pem: String, key_pem: String) -> Result<Authority, PkiError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| PkiError(format!("the authority's certificate can not be read: {error}")))?;
        let named = Certificate::read(&der)?;
        if named.common_name != cluster.to_string() {
            let whose = named.common_name;
            return Err(PkiError(format!("it is the authority of the cluster {whose}, not of {cluster}")));
        }
        let failed = |error: rcgen::Error| PkiError(format!("the authority's key can not be read: {error}"));
        let key = KeyPair::from_pem(&key_pem).map_err(failed)?;
        if Fingerprint::of_public_key(&key.subject_public_key_info()) != named.fingerprint {
            return Err(PkiError("the authority's key does not belong to its certificate".to_owned()));
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(failed)?;
        Ok(Authority { cluster, pem, key_pem, issuer })
    }

    /// The one in `dir`; `None` when its certificate or its key is not there.
    ///
    /// # Errors
    /// When they are there and can not be used.
    pub fn read(dir: &Path, cluster: ClusterId) -> Result<Option<Authority>, PkiError> {
        let Some(pem) = files::read(&dir.join(CERTIFICATE_FILE))? else { return Ok(None) };
        let Some(key_pem) = files::read(&dir.join(KEY_FILE))? else { return Ok(None) };
        let authority = Authority::from_pem(cluster, pem, key_pem);
        authority.map(Some).map_err(|PkiError(why)| {
            PkiError(format!(
                "{} and {}: {why}; restore them from a backup, or join the cluster again",
                dir.join(CERTIFICATE_FILE).display(),
                dir.join(KEY_FILE).display()
            ))
        })
    }

    /// Stores it durably: the key first, so that a certificate never stands there without a key that was
    /// never stored.
    ///
    /// # Errors
    /// The first file that can not be written.
    pub fn write(&self, dir: &Path) -> Result<(), PkiError> {
        files::make_dir(dir)?;
        files::write(dir, KEY_FILE, &self.key_pem, Secrecy::Key)?;
        files::write(dir, CERTIFICATE_FILE, &self.pem, Secrecy::Certificate)
    }

    /// Removes the key in `dir`, and then the certificate.
    pub(super) fn forget(dir: &Path) -> Result<(), PkiError> {
        for name in [KEY_FILE, CERTIFICATE_FILE] {
            let path = dir.join(name);
            std::fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
        }
        Ok(())
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// Its key: for a voter's eyes only.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Makes a certificate for the key that signed `request` (a certificate request in DER), in PEM. Of the
    /// request only the key counts: names and role are the caller's word.
    ///
    /// # Errors
    /// When it is no request, its signature is wrong, or its key is of a kind that is not known.
    pub fn sign(
        &self,
        request: &[u8],
        subject: &Subject,
        now: Timestamp,
        days: u32,
    ) -> Result<String, PkiError> {
        let asked = read_request(request)?;
        let mut params = template(self.cluster, now, days)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let (role, common_name) = match subject {
            Subject::Node { node, name } => {
                params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
                // A name that can not stand in DNS is for people only, and stands in the node's record.
                for dns in [&self.cluster.to_string(), name] {
                    params.subject_alt_names.extend(dns.as_str().try_into().ok().map(SanType::DnsName));
                }
                (Role::Node, node.to_string())
            }
            Subject::Client { role, name } => (*role, name.clone()),
        };
        params.distinguished_name.push(DnType::OrganizationalUnitName, role_name(role));
        params.distinguished_name.push(DnType::CommonName, common_name);
        let signed = CertificateSigningRequestParams { params, public_key: asked.public_key };
        Ok(signed.signed_by(&self.issuer).map_err(|error| refused(&error))?.pem())
    }
}

/// The name of the key that a certificate request (in DER) is for.
///
/// # Errors
/// When it is no request, its signature is wrong, or its key is of a kind that is not known.
pub fn requested_key(request: &[u8]) -> Result<Fingerprint, PkiError> {
    let asked = read_request(request)?;
    Ok(Fingerprint::of_public_key(&asked.public_key.subject_public_key_info()))
}

fn read_request(request: &[u8]) -> Result<CertificateSigningRequestParams, PkiError> {
    if request.len() > REQUEST_BYTES_MAX {
        let size = request.len();
        return Err(PkiError(format!("a certificate request of {size} bytes is over {REQUEST_BYTES_MAX}")));
    }
    CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
        .map_err(|error| refused(&error))
}

fn refused(error: &rcgen::Error) -> PkiError {
    PkiError(format!("the certificate request is refused: {error}"))
}

/// What all certificates of a cluster have in common.
fn template(cluster: ClusterId, now: Timestamp, days: u32) -> Result<CertificateParams, PkiError> {
    let day = |ms: u64| {
        let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(seconds)
            .map_err(|error| PkiError(format!("this host's clock is out of range: {error}; set it")))
    };
    let mut serial = [0; SERIAL_BYTES];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut serial)
        .map_err(|_| PkiError("the kernel gives no random bytes".to_owned()))?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, format!("bannkreis {cluster}"));
    let mut params = CertificateParams::default();
    params.not_before = day(now.0.saturating_sub(u64::from(BACKDATED_DAYS) * DAY_MS))?;
    params.not_after = day(now.0.saturating_add(u64::from(days) * DAY_MS))?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = name;
    Ok(params)
}
